"""Generate a dataset with an open model on GPUs of Modal, and stop the GPUs when the generator has ended.

    uv run --group modal modal/teacher_doric.py --model Qwen/Qwen3-4B-Instruct-2507 --yes -- --out datasets/big.jsonl

The flags after `--` are those of dataset_generation/generate_doric_dataset.py. Before anything is paid, its plan, the
model and Modal's Secret are checked, and the largest possible cost is printed. Then teacher_app.py is deployed: up to
--containers containers with vLLM behind one address. When one of them is ready, the generator starts, with the address
and the key in its environment. When it ends for any reason, and after --max-hours, the app is stopped. modal/README.md
says what limits the costs if this machine fails. --dry-run or --help after `--` only print what the generator prints.

Exit status: that of the generator (0 done, 1 rows are missing, 2 an error to fix); 1 if the app may still be running or
no container became ready; 130 stopped by Ctrl-C; 129 and 143 ended by SIGHUP and SIGTERM.
"""

import os
import signal

# so that Ctrl-C ends the program without a traceback while the modules are imported, unless it is ignored
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO

from doric.core import cli, gpu_prices
from doric.core.env_file import find_dotenv, load_variables
from doric.core.errors import SettingsError
from doric.core.settings import check_key
from doric.teacher.modal_app import LOGS, ModalApp, TeacherError, say
from doric.teacher.models import EXAMPLE, check_on_hub, model_name
from doric.teacher.processes import GRACE_SECONDS, Deadline, Signalled, Signals

FOLDER = Path(__file__).absolute().parent
GENERATOR = FOLDER.parent / "dataset_generation" / "generate_doric_dataset.py"
PLACEHOLDER = "https://doric-teacher.modal.run"
"""Stands for the address of the server while the generator only plans."""
HOUR = 3600.0
CALLS = 64
"""Calls in flight per container."""
READY_SECONDS = 30 * 60.0
"""How long the first container may take: waiting for a free GPU, and 20 minutes to load the model."""
PAUSE, WATCH_SECONDS = 3.0, 20.0
"""The seconds between two calls of a server that is not ready, and between two questions for failed containers."""
FAILURES = 2
"""After so many failed starts, the run ends: the next ones would fail for the same reason."""


# --- flags ----------------------------------------------------------------------------------------------------------

REPORTS = ("--help", "--version", "--dry-run", "--check")
"""Flags of the generator with which it only prints something."""
OWN = "is set by this command"
FOREIGN = {
    "--base-url": OWN, "--model": OWN, "--backend": OWN, "--merge": "needs no model: run the generator alone",
    "--batch": "is for a provider's Batches API", "--batch-files": "needs no server: run the generator alone",
}  # fmt: skip
"""Flags of the generator that cannot be given, and why."""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line. What follows `--` is in `generator`."""
    given = list(sys.argv[1:] if argv is None else argv)
    cut = given.index("--") if "--" in given else len(given)
    parser = cli.Parser(__doc__)
    flag = parser.add_argument
    flag("--model", type=model_name, help="a model of the Hugging Face Hub, or a folder such as /models/teacher in the "
         "Volume doric-models (required; the variable MODEL is for other commands)")  # fmt: skip
    flag("--revision", default="", metavar="COMMIT", help="commit of the model (default: the newest, which is printed)")
    flag("--containers", type=cli.bounded(int, 1, 100), default=1, metavar="N", help="most containers (default: 1)")
    flag("--gpu", type=gpu_prices.gpu_type, default="H100", metavar="TYPE",
         help="GPU of a container, also H100:2 (default: H100)")  # fmt: skip
    flag("--max-hours", type=cli.bounded(float, 0.1, 24), default=2.0, metavar="H",
         help="after this time everything is stopped; start-up counts, some minutes (default: 2)")  # fmt: skip
    flag("--max-model-len", type=cli.positive_int, default=8192, metavar="N", help="context in tokens (default: 8192)")
    flag(
        "--cores", type=cli.positive_float, default=8.0, metavar="N", help="most CPU cores of a container (default: 8)"
    )
    flag("--memory", type=cli.positive_float, default=128.0, metavar="GIB",
         help="most main memory of a container (default: 128)")  # fmt: skip
    flag("--rate", type=cli.positive_float, metavar="USD", help="price of one GPU per hour, if it has changed")
    flag("--yes", action="store_true", help="do not ask before the costs begin")
    args, unknown = parser.parse_known_args(given[:cut])
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}. Flags of the generator come after --")
    args.generator = given[cut + 1 :]
    for name, why in FOREIGN.items():
        if name in map(full_name, args.generator):
            parser.error(f"{name} after -- {why}")
    args.reports = any(full_name(text) in REPORTS or re.match("-h", text) for text in args.generator)
    if args.reports:
        return args
    if not args.model:
        parser.error(f"--model is required, for instance --model {EXAMPLE}; the variable MODEL is for other commands")
    if args.rate is None and args.gpu.partition(":")[0] not in gpu_prices.GPUS:
        parser.error(f"the price of {args.gpu} is not known: run `modal billing rates` and give it with --rate")
    judge, where = (value_of(name, args.generator) for name in ("--judge-model", "--judge-base-url"))
    if judge not in (None, args.model) and where is None and "://" not in judge:
        parser.error(f"--judge-model {judge} needs --judge-base-url, because the teacher serves {args.model} only")
    return args


def full_name(text: str) -> str:
    """The flag of the generator that a beginning of it means, as argparse allows; the text itself if it is no such."""
    name = text.partition("=")[0]
    known = (*FOREIGN, *REPORTS, "--judge-model", "--judge-base-url", "--max-concurrency")
    found = [flag for flag in known if flag == name or (len(name) > 2 and flag.startswith(name))]
    return name if name in known else next(iter(found), text)


def value_of(flag: str, given: Sequence[str]) -> str | None:
    """The value of a flag among the generator's; None if it is not given."""
    found = None
    for at, text in enumerate(given):
        if full_name(text) == flag:
            found = text.partition("=")[2] if "=" in text else next(iter(given[at + 1 :]), "")
    return found


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
        f"{args.model} on {args.containers} x {args.gpu} for at most {args.max_hours:g} h costs at most "
        f"${each * args.containers * args.max_hours:.2f}: ${each:.2f} per container and hour ({source}; "
        "`uv run modal billing rates` prints today's). The start of a container, some minutes, is included. Building "
        "the image and storing the model's weights are not."
    )


def check_confirmable(yes: bool) -> None:
    """Raise `SettingsError` if nobody can be asked before the costs begin."""
    if not yes and not sys.stdin.isatty():
        raise SettingsError("the cost is not confirmed", hint="Add --yes before the --.")


def confirm(yes: bool) -> None:
    """Ask before the costs begin. Raises SystemExit if the answer is no."""
    if not yes and not cli.says_yes("Start?"):
        cli.print_stderr("Nothing was started.")
        raise SystemExit(1)


# --- before anything is paid ----------------------------------------------------------------------------------------


def plan_only(args: argparse.Namespace, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Let the generator check its flags and make its plan, without a call or a file. Its errors are printed."""
    command = [sys.executable, str(GENERATOR), "--check", *generator_flags(args)]
    return subprocess.run(
        command,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches this command only, which ends the other one
    )


def generator_flags(args: argparse.Namespace) -> list[str]:
    """The flags of the generator: those after --, and as many calls in flight as the containers take, if not given."""
    given = value_of("--max-concurrency", args.generator) is not None
    return [*([] if given else ["--max-concurrency", str(CALLS * args.containers)]), *args.generator]


def call_settings(model: str, url: str, key: str) -> dict[str, str]:
    """The generator's variables for the teacher. What `.env` has for another model is hidden by an empty value."""
    call = {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": key, "MODEL": model}
    return {**os.environ, **call, "MODEL_PROVIDER": "", "EXTRA_BODY": ""}


def check_model(args: argparse.Namespace, variables: Mapping[str, str], app: ModalApp) -> bool:
    """Whether the container needs HF_TOKEN. Raises `SettingsError` if the model cannot be served.

    `args.revision` becomes the commit that was checked, if the Hub names it.
    """
    if args.model.startswith("/"):
        app.check_folder(args.model)
        return False
    try:
        found = check_on_hub(args.model, args.revision, variables)
    except OSError as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        say(f"note: the Hugging Face Hub could not be asked for {args.model} ({why}), so its name is not checked")
        return False
    args.revision = found.commit  # a branch may move before a later container starts
    if found.gib > (most := gpu_prices.memory(args.gpu)):
        hint = "Choose a --gpu with more memory, or several, such as H100:2."
        raise SettingsError(f"{args.model} has {found.gib:.0f} GiB of weights, {args.gpu} only {most} GiB", hint=hint)
    if 0 < found.context < args.max_model_len:
        hint = f"Give --max-model-len {found.context}, or choose another model."
        raise SettingsError(f"{args.model} has a context of only {found.context:,} tokens", hint=hint)
    say(f"The model is {args.model} at the commit {found.commit}.")
    return found.needs_token


# --- the run --------------------------------------------------------------------------------------------------------


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error, so that the key goes to no other address."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Do not follow."""


def wait_until_ready(url: str, key: str, deadline: Deadline, app: ModalApp) -> None:
    """Return when the server lists its models. The first call starts a container. Raises `TeacherError`.

    Modal answers 503 while there is no container, and starts the next one if one has failed. So Modal is asked for
    failures too.
    """
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"})
    failed, watch = 0, Deadline.after(WATCH_SECONDS)
    while deadline.left() > 0:
        try:
            with urllib.request.build_opener(NoRedirects).open(request, timeout=30):
                return
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                hint = "VLLM_API_KEY in .env and in the Secret doric-vllm must be the same."
                raise TeacherError(f"{url} refused VLLM_API_KEY", hint=hint) from None
        except (OSError, HTTPException):
            pass  # not reachable yet
        if watch.left() <= 0:
            failed, watch = check_starts(app, key, failed), Deadline.after(WATCH_SECONDS)
        time.sleep(PAUSE)
    say(app.log().replace(key, "[key]"))
    raise TeacherError(f"no container was ready in time at {url}", hint=f"See: {LOGS}")


def check_starts(app: ModalApp, key: str, known: int) -> int:
    """How many containers have failed at their start. Raises `TeacherError` if there are FAILURES of them."""
    failed, reason = app.failed_starts()
    reason = (reason or "Modal names no reason").replace(key, "[key]")
    if failed >= FAILURES:
        say(app.log().replace(key, "[key]"))
        raise TeacherError(f"{failed} containers failed at their start: {reason}", hint=f"See: {LOGS}")
    if failed > known:
        say(f"A container failed at its start: {reason}. Modal starts another one.")
    return failed


def generate(args: argparse.Namespace, env: Mapping[str, str], deadline: Deadline, signals: Signals) -> int:
    """Run the generator until it ends or the time is over. Returns its exit status, 1 if the time was over."""
    command = [sys.executable, str(GENERATOR), *generator_flags(args)]
    with signals.ended(subprocess.Popen(command, env=dict(env), start_new_session=True)) as process:
        code = deadline.wait(process)
        if code is None:
            say("The time of --max-hours is over. The same command resumes the run.")
            return 1
    return exit_status(code)


def exit_status(code: int) -> int:
    """The exit status for the code of a process, which is negative if a signal has ended it."""
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


def deploy(args: argparse.Namespace, app: ModalApp, deadline: Deadline, signals: Signals) -> None:
    """Build the image if it has changed, and deploy the app. Raises `TeacherError`."""
    with signals.ended(app.deploy(app_settings(args, deadline.at))) as process:
        if code := deadline.wait(process):
            raise TeacherError(f"`modal deploy` ended with exit status {code}; its messages are above")
        if code is None:
            raise TeacherError("`modal deploy` did not end within --max-hours")


def use_teacher(args: argparse.Namespace, key: str, app: ModalApp, signals: Signals) -> int:
    """Deploy, wait for a container, generate. Returns the exit status of the generator."""
    deadline = Deadline.after(args.max_hours * HOUR)
    deploy(args, app, deadline, signals)
    url = app.address()
    say(f"Deployed. Waiting for the first container of {url}/v1")
    wait_until_ready(url, key, min(deadline, Deadline.after(READY_SECONDS), key=Deadline.left), app)
    say("A container is ready. The generator starts.")
    return generate(args, call_settings(args.model, url, key), deadline.before(2 * GRACE_SECONDS), signals)


def run(args: argparse.Namespace) -> int:
    """Check everything, print the cost, use the teacher, and stop it. Returns the exit status."""
    if args.reports:
        planned = plan_only(args, call_settings(args.model or "", PLACEHOLDER, "placeholder"))
        print(planned.stdout, end="")
        return exit_status(planned.returncode)
    variables = load_variables(find_dotenv(FOLDER))
    key = check_key(variables.get("VLLM_API_KEY", "").strip(), "VLLM_API_KEY")  # an error of HTTP would show it
    if not key:
        raise SettingsError("VLLM_API_KEY is not set", hint="modal/README.md shows how to create it and its Secret.")
    check_confirmable(args.yes)
    planned = plan_only(args, call_settings(args.model, PLACEHOLDER, key))
    if planned.returncode:
        return exit_status(planned.returncode)
    lines = [line for line in planned.stdout.splitlines() if "--price-in" not in line]
    say("\n".join(lines))
    if any(line.startswith("0 of them to write") for line in lines):
        say("Every row is there already. Nothing was started.")
        return 0
    app = ModalApp(FOLDER)
    app.check_free()
    token = check_model(args, variables, app)
    app.check_secret("VLLM_API_KEY", *["HF_TOKEN"] * token)
    cli.print_stderr(cost_bound(args))
    confirm(args.yes)
    app.check_free()  # another teacher may have been deployed while the question waited
    signals = Signals()
    try:
        try:
            return use_teacher(args, key, app, signals)
        finally:
            signals.quiet = True
    except Signalled as signalled:
        return signalled.exit_status
    finally:
        app.stop()


main = cli.main(parse_args, run)

if __name__ == "__main__":
    sys.exit(main())
