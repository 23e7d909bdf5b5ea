"""Generate a dataset with an open model on GPUs of Modal, and stop the GPUs when the generator has ended.

    uv run --group modal modal/teacher_doric.py --model Qwen/Qwen3-4B-Instruct-2507 --yes -- --out datasets/big.jsonl

The flags after `--` are those of dataset_generation/generate_doric_dataset.py. The largest possible cost is printed
first. Then teacher_app.py is deployed: up to --containers containers with vLLM behind one address. When one of them is
ready, the generator starts, with the address and the key in its environment. When it ends for any reason, and after
--max-hours, the app is stopped. modal/README.md says what limits the costs if this machine fails.

Exit status: that of the generator (0 done, 1 rows are missing, 2 an error to fix); 1 if the app may still be running or
no container became ready; 130 stopped by Ctrl-C; 129 and 143 ended by SIGHUP and SIGTERM.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO

from doric.core import cli, gpu_prices
from doric.core.env_file import find_dotenv, load_variables
from doric.core.errors import DoricError, SettingsError
from doric.core.settings import check_key

FOLDER = Path(__file__).absolute().parent
GENERATOR = FOLDER.parent / "dataset_generation" / "generate_doric_dataset.py"
APP, SERVER = "doric-teacher", "Teacher"
STOP = f"uv run modal app stop --yes {APP}"
MODAL = (sys.executable, "-m", "modal")
ADDRESS = f"import modal; print(modal.Server.from_name({APP!r}, {SERVER!r}).get_url())"
HOUR = 3600.0
CALLS = 64
"""Calls in flight per container."""
GRACE_SECONDS = cli.CALL_SECONDS + 20
"""How long the generator may take to end its calls and save its rows."""
READY_SECONDS = 30 * 60.0
"""How long the first container may take: waiting for a free GPU, and 20 minutes to load the model."""
ANSWER_SECONDS = 120.0
CHECKS, PAUSE = 10, 3.0
"""How often Modal is asked whether the app is stopped, and the seconds between two questions."""
STDERR = 2
"""Where Modal's messages go: stdout is for the generator."""


# --- flags ----------------------------------------------------------------------------------------------------------


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line. What follows `--` is in `generator`."""
    given = list(sys.argv[1:] if argv is None else argv)
    cut = given.index("--") if "--" in given else len(given)
    parser = cli.Parser(__doc__)
    flag = parser.add_argument
    flag("--model", help="a model of the Hugging Face Hub, or a folder such as /models/teacher in the Volume "
         "doric-models (default: the variable MODEL)")  # fmt: skip
    flag("--revision", default="", metavar="COMMIT", help="commit of the model (default: the newest, which is printed)")
    flag("--containers", type=cli.bounded(int, 1, 100), default=1, metavar="N", help="most containers (default: 1)")
    flag("--gpu", type=gpu_type, default="H100", metavar="TYPE", help="GPU of a container, also H100:2 (default: H100)")
    flag("--max-hours", type=cli.bounded(float, 0, 24, above=True), default=2.0, metavar="H",
         help="after this time everything is stopped; start-up counts (default: 2)")  # fmt: skip
    flag("--max-model-len", type=cli.positive_int, default=8192, metavar="N", help="context in tokens (default: 8192)")
    flag(
        "--cores", type=cli.positive_float, default=8.0, metavar="N", help="most CPU cores of a container (default: 8)"
    )
    flag("--memory", type=cli.positive_float, default=128.0, metavar="GIB",
         help="most main memory of a container (default: 128)")  # fmt: skip
    flag("--rate", type=cli.positive_float, metavar="USD", help="price of one GPU per hour, if it has changed")
    flag("--yes", action="store_true", help="do not ask before the costs begin")
    args = parser.parse_args(given[:cut])
    args.generator = given[cut + 1 :]
    if args.rate is None and args.gpu.partition(":")[0] not in gpu_prices.GPUS:
        parser.error(f"the price of {args.gpu} is not known: run `modal billing rates` and give it with --rate")
    for name in ("--base-url", "--model", "--backend"):
        flags = [text.partition("=")[0] for text in args.generator]
        if any(len(flag) > 3 and name.startswith(flag) for flag in flags):  # argparse takes a beginning, too
            parser.error(f"{name} after -- is set by this command")
    return args


def gpu_type(text: str) -> str:
    """An argparse `type=` for one GPU type, in capitals, with an optional number of GPUs such as H100:2."""
    if not re.fullmatch(r"[A-Z0-9][A-Z0-9+!-]*(:[1-8])?", text.upper()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a GPU type such as H100 or A100-80GB:2")
    return text.upper()


# --- costs ----------------------------------------------------------------------------------------------------------


def cost_per_hour(args: argparse.Namespace) -> float:
    """The most that one container costs per hour, in dollars: its GPUs, with all cores and all memory in use."""
    name, _, number = args.gpu.partition(":")
    each = args.rate if args.rate is not None else gpu_prices.GPUS[name]
    return each * int(number or 1) + args.cores * gpu_prices.CORE + args.memory * gpu_prices.GIB


def cost_bound(args: argparse.Namespace) -> str:
    """The largest possible cost of the containers, and what is not in it, in words."""
    each = cost_per_hour(args)
    source = "your --rate" if args.rate is not None else f"prices of {gpu_prices.DATE}"
    return (
        f"{args.containers} x {args.gpu} for at most {args.max_hours:g} h cost at most "
        f"${each * args.containers * args.max_hours:.2f}: ${each:.2f} per container and hour ({source}; "
        "`uv run modal billing rates` prints today's). The start of a container, some minutes, is included. Building "
        "the image and storing the model's weights are not."
    )


def confirm(yes: bool) -> None:
    """Ask before the costs begin. Raises `SettingsError` if nobody can answer, and SystemExit if the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError("the cost is not confirmed", hint="Add --yes before the --.")
    if not cli.says_yes("Start?"):
        cli.print_stderr("Nothing was started.")
        raise SystemExit(1)


# --- signals --------------------------------------------------------------------------------------------------------


class Signalled(BaseException):
    """A signal asks the command to end. The exit status is 128 and its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = 128 + number


class Signals:
    """Ctrl-C, SIGTERM and SIGHUP. The first one raises `Signalled`, unless `quiet`; later ones only set `again`.

    So nothing can interrupt what is done after the first one. A signal that is ignored (`nohup`) stays ignored.
    """

    def __init__(self) -> None:
        self.received = self.again = self.quiet = False
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: object) -> None:
        if self.received or self.quiet:
            self.again = True
            return
        self.received = True
        raise Signalled(number)

    @contextmanager
    def ended(self, process: "subprocess.Popen[bytes]") -> Generator["subprocess.Popen[bytes]"]:
        """At the end of the block, the process is asked to end, and killed if it does not or after a second signal."""
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                limit = time.monotonic() + GRACE_SECONDS
                while process.poll() is None and time.monotonic() < limit and not self.again:
                    time.sleep(0.1)
                process.kill()
                process.wait()


def say(text: str) -> None:
    """Print a line for people; nothing happens if the terminal is gone, because the app must be stopped then too."""
    with suppress(OSError, ValueError):
        cli.print_stderr(text)


# --- Modal ----------------------------------------------------------------------------------------------------------


class TeacherError(DoricError):
    """The teacher could not be started or stopped; the exit status is 1."""

    exit_status = 1


def ask(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """The result of a short command of Modal. Signals do not reach it. No answer in time is exit status 1."""
    try:
        return subprocess.run(
            command,
            cwd=FOLDER,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {ANSWER_SECONDS:g} s")


def last_line(text: str) -> str:
    """The last line of a program's output that is not empty, without a frame around it."""
    lines = [line.strip(" \t│|╰╯─") for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "")


def running() -> bool:
    """Whether Modal lists the app as anything but stopped. Raises `TeacherError` if Modal gives no list."""
    done = ask([*MODAL, "app", "list", "--json"])
    try:
        if done.returncode:
            raise ValueError(last_line(done.stderr or done.stdout))
        states = [row["state"] for row in json.loads(done.stdout) if row["description"] == APP]
    except (ValueError, KeyError, TypeError) as error:
        hint = "`uv run modal token new` logs in."
        raise TeacherError(f"Modal did not list its apps: {error}", hint=hint) from None
    return any(state not in ("stopped", "disabled") for state in states)


def deploy(settings: Mapping[str, str], signals: Signals) -> None:
    """Build the image if it has changed, and deploy the app with these variables. Raises `TeacherError`."""
    command, env = [*MODAL, "deploy", "teacher_app.py"], {**os.environ, **settings}
    process = subprocess.Popen(
        command, cwd=FOLDER, env=env, stdin=subprocess.DEVNULL, stdout=STDERR, start_new_session=True
    )
    with signals.ended(process):
        if code := process.wait():
            raise TeacherError(f"`modal deploy` ended with exit status {code}; its messages are above")


def find_address() -> str:
    """The address of the server, without a slash at its end. Raises `TeacherError`."""
    done = ask([sys.executable, "-c", ADDRESS])
    address = last_line(done.stdout)
    if done.returncode or not address.startswith("http"):
        raise TeacherError(f"Modal gave no address: {last_line(done.stderr) or address or 'no answer'}")
    return address.rstrip("/")


def stop() -> None:
    """Stop the app and all its containers. Raises `TeacherError` unless Modal then says that it is stopped."""
    say("Stopping the app.")
    done = ask([*MODAL, "app", "stop", "--yes", APP])
    why = ""
    for check in range(CHECKS):
        time.sleep(PAUSE if check else 0)
        try:
            if not running():
                say(f"The app {APP} is stopped.")
                return
            why = last_line(done.stderr) if done.returncode else "Modal still lists it"
        except TeacherError as error:
            why = error.message
    raise TeacherError(f"the app {APP} may still be running and cost money: {why}", hint=f"Stop it with: {STOP}")


# --- the run --------------------------------------------------------------------------------------------------------


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error, so that the key goes to no other address."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Do not follow."""


def wait_until_ready(url: str, key: str, deadline: float) -> None:
    """Return when the server lists its models. The first call starts a container. Raises `TeacherError`.

    Modal answers 503 while there is no container.
    """
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"})
    while time.time() < deadline:
        try:
            with urllib.request.build_opener(NoRedirects).open(request, timeout=30):
                return
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                hint = "VLLM_API_KEY in .env and in the Secret doric-vllm must be the same."
                raise TeacherError(f"{url} refused VLLM_API_KEY", hint=hint) from None
        except (OSError, HTTPException):
            pass  # not reachable yet
        time.sleep(PAUSE)
    raise TeacherError(f"no container was ready in time at {url}", hint=f"See: uv run modal app logs {APP}")


def generate(args: argparse.Namespace, env: Mapping[str, str], deadline: float, signals: Signals) -> int:
    """Run the generator until it ends or the time is over. Returns its exit status, 1 if the time was over."""
    given = any(text.partition("=")[0] == "--max-concurrency" for text in args.generator)
    own = [] if given else ["--max-concurrency", str(CALLS * args.containers)]
    command = [sys.executable, str(GENERATOR), *own, *args.generator]
    with signals.ended(subprocess.Popen(command, env=dict(env), start_new_session=True)) as process:
        try:
            code = process.wait(max(0.0, deadline - time.time()))
        except subprocess.TimeoutExpired:
            say("The time of --max-hours is over. The same command resumes the run.")
            return 1
    return code if code >= 0 else 128 - code


def app_settings(args: argparse.Namespace, deadline: float) -> dict[str, str]:
    """The variables that teacher_app.py reads. An empty value hides the one in `.env`. None of them is a key."""
    return {
        "DORIC_MODEL": args.model,
        "DORIC_REVISION": args.revision,
        "DORIC_BASE_MODEL": "",
        "DORIC_BASE_REVISION": "",
        "DORIC_GPU": args.gpu,
        "DORIC_PUBLIC": "",
        "MAX_MODEL_LEN": str(args.max_model_len),
        "FAST_BOOT": "0",
        "SCALEDOWN_MINUTES": "5",
        "MAX_CONTAINERS": str(args.containers),
        "TEACHER_DEADLINE": f"{deadline:.0f}",
        "TEACHER_CALLS": str(CALLS),
        "TEACHER_CORES": f"{args.cores:g}",
        "TEACHER_GIB": f"{args.memory:g}",
    }


def use_teacher(args: argparse.Namespace, key: str, signals: Signals) -> int:
    """Deploy, wait for a container, generate. Returns the exit status of the generator."""
    deadline = time.time() + args.max_hours * HOUR
    deploy(app_settings(args, deadline), signals)
    url = find_address()
    say(f"Deployed. Waiting for the first container of {url}/v1")
    wait_until_ready(url, key, min(deadline, time.time() + READY_SECONDS))
    say("A container is ready. The generator starts.")
    call = {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": key, "MODEL": args.model, "MODEL_PROVIDER": ""}
    return generate(args, {**os.environ, **call}, deadline - 2 * GRACE_SECONDS, signals)


def run(args: argparse.Namespace) -> int:
    """Print the cost, use the teacher, and stop it. Returns the exit status."""
    mine = load_variables(find_dotenv(FOLDER))
    args.model = args.model or mine.get("MODEL", "")
    if not args.model:
        raise SettingsError("no model is chosen", hint="Give --model, for example Qwen/Qwen3-4B-Instruct-2507.")
    key = check_key(mine.get("VLLM_API_KEY", "").strip(), "VLLM_API_KEY")  # an error of HTTP would show it
    if not key:
        raise SettingsError("VLLM_API_KEY is not set", hint="modal/README.md shows how to create it and its Secret.")
    cli.print_stderr(cost_bound(args))
    confirm(args.yes)
    if running():
        raise SettingsError(f"the app {APP} is already running", hint=f"Wait for its end, or stop it with: {STOP}")
    signals = Signals()
    try:
        try:
            return use_teacher(args, key, signals)
        finally:
            signals.quiet = True
    except Signalled as signalled:
        return signalled.exit_status
    finally:
        stop()


main = cli.main(parse_args, run)

if __name__ == "__main__":
    sys.exit(main())
