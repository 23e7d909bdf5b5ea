"""The teacher on Modal: what is deployed, the cost bound, and that the app is stopped however the run ends."""

import ast
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from modal._utils.function_utils import parse_gpu_config
from modal_proto import api_pb2

import teacher_doric
import vllm_doric
from doric.core import gpu_prices
from doric.core.errors import SettingsError
from doric.teacher import costs, modal_app, processes, readiness, run
from mock_server import Behaviour, serving
from modal_recorder import Recorder, account, deploy, recording
from test_teacher_models import COMMIT, hub

ROOT = Path(__file__).parents[1]
KEY = "sk-teacher-secret"
SECRET = {"doric-vllm": {"VLLM_API_KEY"}}
FAKE_MODAL = """
import json, os, signal, sys, time
from pathlib import Path
folder, mode = Path(os.environ["FAKE_MODAL"]), os.environ.get("FAKE_MODE", "")
with (folder / "calls").open("a") as log:
    log.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
state, command = folder / "state", " ".join(sys.argv[1:3])
if command.startswith("deploy"):
    state.write_text("deployed")
    if mode == "deploy fails":
        sys.exit("no such Secret")
    if mode == "signal":
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(60)
elif command == "app list":
    apps = [{"description": "other", "state": "deployed"}]
    if state.exists():
        ids = {"app_id": "ap-1"} if mode == "stop fails" else {}
        apps.append({"description": "doric-teacher", "state": state.read_text()} | ids)
    print(json.dumps(apps))
elif command == "app stop":
    stops = (folder / "calls").read_text().count('[["app", "stop"')
    if mode == "stop fails" or (mode == "stop fails twice" and stops < 3):
        sys.exit("the connection failed")
    state.write_text("stopped")
elif command == "app stats":
    print(json.dumps({"servers": {"total": {"containers": {"errors": int(os.environ.get("FAKE_ERRORS", "0"))}}}}))
elif command == "app logs":
    print(os.environ.get("FAKE_LOG", ""))
elif command == "volume ls":
    if not (names := os.environ.get("FAKE_VOLUME")):
        sys.exit("No such file or directory")
    print(json.dumps([{"filename": "teacher/" + name} for name in names.split()]))
"""
FAKE_SERVER = """
import os
class Server:
    @staticmethod
    def from_name(app, name):
        assert (app, name) == ("doric-teacher", "Teacher")
        return Server()
    def get_url(self):
        return os.environ["FAKE_URL"]
class Secret:
    @staticmethod
    def from_name(name, required_keys):
        assert name == "doric-vllm"
        missing = set(required_keys) - set(os.environ.get("FAKE_SECRET", "VLLM_API_KEY").split())
        return Secret(missing)
    def __init__(self, missing):
        self.missing = missing
    def hydrate(self):
        if self.missing:
            raise ValueError(f"Secret is missing key(s): {sorted(self.missing)}")
"""
# Signals that the test runner ignores would be ignored in the command too.
DEFAULT_SIGNALS = (
    "import os, signal, sys\n"
    "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_DFL)\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))\n"
MODEL = ("--model", "acme/teacher")
FLAGS = (*MODEL, "--yes")


@dataclass
class FakeModal:
    """A `modal` package for the child processes: it records each call with its environment."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of each call."""
        file = self.folder / "calls"
        return [json.loads(line)[0] for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def stops(self) -> int:
        """The number of `modal app stop`."""
        return sum(call[:2] == ["app", "stop"] for call in self.calls)

    @property
    def stopped(self) -> bool:
        """Whether the app is stopped, or was never deployed."""
        return not (self.folder / "state").exists() or (self.folder / "state").read_text() == "stopped"


@pytest.fixture
def modal(tmp_path: Path) -> FakeModal:
    """The fake, which child processes import because of PYTHONPATH."""
    package = tmp_path / "lib" / "modal"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE_SERVER)
    (package / "__main__.py").write_text(FAKE_MODAL)
    env = {name: os.environ[name] for name in ("PATH", "HOME")}
    env |= {"PYTHONPATH": str(tmp_path / "lib"), "FAKE_MODAL": str(tmp_path), "VLLM_API_KEY": KEY, "COLUMNS": "200"}
    env |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": ""}  # no Hub can be reached
    return FakeModal(tmp_path, env)


def start(modal: FakeModal, *arguments: object, **env: str) -> "subprocess.Popen[str]":
    """The command in its own process."""
    command = [sys.executable, "-c", DEFAULT_SIGNALS, "modal/teacher_doric.py", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=modal.env | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def options(*given: str):
    return teacher_doric.parse_args([*FLAGS, *given])


# -- flags and costs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--containers", "0"], "from 1 to 100"),
        (["--containers", "101"], "from 1 to 100"),
        (["--max-hours", "0.01"], "from 0.1 to 24"),
        (["--max-hours", "25"], "from 0.1 to 24"),
        (["--max-hours", "nan"], "from 0.1 to 24"),
        (["--gpu", "H100:9"], "from 1 to 8"),
        (["--gpu", "A10:8"], "from 1 to 4"),
        (["--gpu", "H100:"], "from 1 to 8"),
        (["--gpu", "H100,L4"], "not a GPU type"),
        (["--gpu", "B300", "--rate", "9"], "not a GPU type"),
        (["--gpu", "H200"], "--rate"),
        (["--model", "gpt-6.1-terra"], "not a model of the Hugging Face Hub"),
        (["--model", ""], "not a model of the Hugging Face Hub"),
        (["--out", "x.jsonl"], "unknown: --out x.jsonl. Flags of the generator come after --"),
        (["--rate", "0"], "above 0"),
        (["--max-model-len", "8k"], "whole number"),
        (["--", "--base-url", "http://x"], "--base-url after --"),
        (["--", "--model=other"], "--model after --"),
        (["--", "--base-ur", "http://x"], "--base-url after --"),
        (["--", "--backend", "heuristic"], "--backend after --"),
        (["--", "--merge", "a.jsonl", "--dry-run"], "--merge after -- needs no model"),
        (["--", "--batch", "submit"], "--batch after -- is for"),
        (["--", "--batch-f"], "--batch-files after -- needs no server"),
        (["--", "--judge-model", "gpt-6"], "--judge-model gpt-6 needs --judge-base-url"),
        (["--", "--judge-mod=gpt-6"], "--judge-model gpt-6 needs --judge-base-url"),
    ],
)
def test_wrong_flags(given, message, capsys):
    """A wrong flag is an error of one line with a hint, and exit status 2."""
    with pytest.raises(SystemExit) as stopped:
        options(*given)
    lines = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2
    assert message in lines[0]
    assert [line.partition(":")[0] for line in lines] == ["error", "hint"]


def test_the_bound_counts_all_containers_hours_and_parts():
    """GPUs, cores and memory of one container, times the containers, times the hours."""
    args = options("--gpu", "h100:2", "--containers", "4", "--max-hours", "1.5", "--cores", "6", "--memory", "100")
    each = 2 * gpu_prices.GPUS["H100"] + 6 * gpu_prices.CORE + 100 * gpu_prices.GIB
    assert costs.cost_per_hour(args) == pytest.approx(each)
    said = costs.cost_bound(args)
    assert f"${6 * each:.2f}" in said
    assert gpu_prices.DATE in said
    assert said.startswith("acme/teacher on 4 x H100:2 for at most 1.5 h costs at most $")


def test_a_rate_replaces_the_table():
    """With --rate, a GPU that is not in the table can be used, and the bound says where its price is from."""
    args = options("--gpu", "H200", "--rate", "9", "--cores", "1", "--memory", "1")
    assert 9 < costs.cost_per_hour(args) < 9.1
    assert "your --rate" in costs.cost_bound(args)


@pytest.mark.parametrize(
    ("flags", "env", "message"),
    [
        (["--model", "acme/teacher"], {}, "the cost is not confirmed"),
        (["--yes"], {"MODEL": "gpt-6.1-terra"}, "--model is required, for instance --model Qwen/"),
        (FLAGS, {"VLLM_API_KEY": ""}, "VLLM_API_KEY is not set"),
        (FLAGS, {"VLLM_API_KEY": "sk-demo\rrest"}, "VLLM_API_KEY contains a character that no key has"),
        (FLAGS, {"VLLM_API_KEY": "sk-demo…"}, "VLLM_API_KEY contains a character that no key has"),
    ],
)
def test_nothing_is_deployed_before_all_is_known(modal, flags, env, message):
    """Without a model, a key or a confirmation, Modal is not called, and the exit status is 2."""
    process = start(modal, *flags, **env)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, modal.calls) == (2, [])
    assert f"error: {message}" in err
    assert ("costs at most $" in err) == ("not confirmed" in message)
    assert "Traceback" not in err
    assert "sk-demo" not in err


def test_a_running_teacher_is_left_alone(modal):
    """If the app is running already, it is neither replaced nor stopped."""
    (modal.folder / "state").write_text("deployed")
    process = start(modal, *FLAGS)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, modal.calls) == (2, [["app", "list", "--json"]]), err
    assert "already running" in err
    assert modal_app.STOP in err


# -- before anything is deployed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--n-per-topc", "4"], "unrecognized arguments: --n-per-topc 4"),
        (["--n-per-topic", "four"], "argument --n-per-topic"),
        (["--topics-json", "missing.json"], "missing.json"),
        (["--out", "/dev/null/rows.jsonl"], "/dev/null/rows.jsonl: cannot be written"),
        (["--out", "modal"], "modal: cannot be written: it is a directory"),
        (["--report", "README.md"], "README.md"),
        (["--langs", "xx"], "xx"),
        (["--max-cost", "5"], "--max-cost needs a known price"),
        (["--from-texts", "docs"], "--from-texts needs --source, --licence, --permission"),
        (["--out"], "argument --out: expected one argument"),
        (["rows.jsonl"], "unrecognized arguments: rows.jsonl"),
    ],
)
def test_a_mistake_in_the_flags_of_the_generator_costs_nothing(modal, given, message):
    """The generator's own error and exit status come before the cost, and Modal is not called."""
    process = start(modal, *FLAGS, "--", *given)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, modal.calls, out) == (2, [], "")
    assert message in err
    assert "$" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--help"], "usage: generate_doric_dataset.py"),
        (["--out", "x.jsonl", "--hel"], "usage: generate_doric_dataset.py"),
        (["-h"], "usage: generate_doric_dataset.py"),
        (["--version"], "doric "),
        (["--dry-run", "--out", "datasets/x.jsonl"], "of them to write"),
        (["--dry", "--out", "datasets/x.jsonl"], "of them to write"),
        (["--d", "--out", "datasets/x.jsonl"], "of them to write"),
        (["--v"], "doric "),
    ],
)
def test_a_question_to_the_generator_is_answered_and_nothing_is_deployed(modal, given, said):
    """--help, --version and --dry-run after -- print the generator's answer, without a model, a key or Modal."""
    process = start(modal, "--", *given, VLLM_API_KEY="")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, modal.calls) == (0, []), err
    assert said in out


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ([*MODEL, "--", "--dry-run"], True),
        ([*MODEL, "--", "--check"], True),
        ([*MODEL, "--gpu", "H200", "--rate", "9", "--", "--dry"], True),
        ([*MODEL, "--gpu", "H200", "--", "--dry-run"], False),
        ([*MODEL, "--", "--dry-run", "--help"], False),
        (["--", "--dry-run"], False),
    ],
)
def test_a_plan_of_the_generator_is_followed_by_the_largest_possible_cost(modal, tmp_path, given, shown):
    """The cost is seen without an account, if the model and the price of the GPU are known."""
    process = start(modal, *given, "--out", tmp_path / "rows.jsonl", VLLM_API_KEY="")
    _, err = process.communicate(timeout=120)
    assert (process.returncode, modal.calls) == (0, []), err
    assert ("acme/teacher on 1 x" in err and "costs at most $" in err) == shown


def test_more_calls_at_once_than_open_files_cost_nothing(modal, tmp_path):
    """The generator plans with the number of calls of all containers, so that a limit of open files is met before."""
    given = ["--containers", "20", "--", "--topics", ROOT / "topics.txt", "--out", tmp_path / "rows.jsonl"]
    command = [sys.executable, "-c", f"{LIMITED}{DEFAULT_SIGNALS}", "modal/teacher_doric.py", *FLAGS, *map(str, given)]
    done = subprocess.run(
        command, cwd=ROOT, env=modal.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, modal.calls) == (2, []), done.stderr
    assert "1,280 calls at once need" in done.stderr


def test_another_run_and_a_finished_dataset_start_no_gpu(modal, tmp_path):
    """A file that another run is writing is an error; one that has all its rows needs no teacher."""
    (tmp_path / "topics.txt").write_text("fishing\n")
    out = tmp_path / "rows.jsonl"
    given = ["--topics", tmp_path / "topics.txt", "--out", out, "--n-per-topic", "2", "--no-progress"]
    with serving(Behaviour(key=KEY)) as server:
        url = server.url.removesuffix("/v1")
        assert start(modal, *FLAGS, "--", *given, FAKE_URL=url).wait(120) == 0
    (modal.folder / "calls").unlink()
    process = start(modal, *FLAGS, "--", *given)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, modal.calls) == (0, []), err
    assert "Every row is there already. Nothing was started." in err
    with out.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = start(modal, *FLAGS, "--", *given)
        _, err = process.communicate(timeout=120)
    assert (process.returncode, modal.calls) == (2, [])
    assert "another run is writing this file" in err


def test_a_damaged_row_costs_nothing(modal, tmp_path):
    """What the generator refuses when it opens its files is found before the deployment, with file and line."""
    (tmp_path / "topics.txt").write_text("fishing\n")
    out = tmp_path / "rows.jsonl"
    given = ["--topics", tmp_path / "topics.txt", "--out", out, "--n-per-topic", "2", "--no-progress"]
    with serving(Behaviour(key=KEY)) as server:
        assert start(modal, *FLAGS, "--", *given, FAKE_URL=server.url.removesuffix("/v1")).wait(120) == 0
    (modal.folder / "calls").unlink()
    first = out.read_text("utf-8").splitlines()[0]
    out.write_text(f"{first.replace('messages', 'turns')}\n", "utf-8")
    process = start(modal, *FLAGS, "--", *given)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, modal.calls) == (2, [])
    assert f"error: {out}:1: the generator did not write this row" in err


def test_an_unknown_model_and_a_token_that_is_missing_cost_nothing(modal):
    """A model that the Hub does not know, and a gated one without HF_TOKEN in the Secret, are not deployed."""
    with hub(status=401, code="RepoNotFound") as server:
        process = start(modal, *FLAGS, **server.variables)
        _, err = process.communicate(timeout=120)
    assert (process.returncode, deployments(modal)) == (2, 0)
    assert "error: the Hugging Face Hub does not know the model acme/teacher" in err
    with hub(gated="manual") as server:
        process = start(modal, *FLAGS, **server.variables)
        _, err = process.communicate(timeout=120)
    assert (process.returncode, deployments(modal)) == (2, 0)
    assert "the Secret doric-vllm of Modal cannot be used" in err
    assert "It needs VLLM_API_KEY and HF_TOKEN" in err


def test_a_model_that_no_gpu_of_the_type_can_hold_costs_nothing(modal):
    """Weights that are larger than the memory of all GPUs of a container are not deployed."""
    with hub(safetensors={"parameters": {"BF16": 30 * 2**30}}) as server:
        process = start(modal, *FLAGS, "--gpu", "L4:2", **server.variables)
        _, err = process.communicate(timeout=120)
    assert (process.returncode, deployments(modal)) == (2, 0)
    assert "error: acme/teacher has 60 GiB of weights, L4:2 only 48 GiB" in err


def test_a_context_that_the_model_does_not_have_costs_nothing(modal):
    """vLLM refuses a longer context than that of the model, so the default of 8192 is refused before."""
    with hub(config={"max_position_embeddings": 4096}) as server:
        process = start(modal, *FLAGS, **server.variables)
        _, err = process.communicate(timeout=120)
    assert (process.returncode, deployments(modal)) == (2, 0)
    assert "error: acme/teacher has a context of only 4,096 tokens\nhint: Give --max-model-len 4096" in err


def test_the_commit_that_was_checked_is_deployed(modal):
    """The newest commit that the Hub names is printed and deployed, so that all containers have the same."""
    with hub() as server:
        process = start(modal, *FLAGS, FAKE_MODE="deploy fails", **server.variables)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"The model is acme/teacher at the commit {COMMIT}." in err
    calls = [json.loads(line) for line in (modal.folder / "calls").read_text().splitlines()]
    assert [env["DORIC_REVISION"] for argv, env in calls if argv[0] == "deploy"] == [COMMIT]


def test_a_folder_that_is_not_in_the_volume_costs_nothing(modal):
    """A folder is looked up in the Volume before the deployment."""
    process = start(modal, "--model", "/models/teacher", "--yes")
    _, err = process.communicate(timeout=120)
    assert (process.returncode, deployments(modal)) == (2, 0)
    assert "there is no /teacher in the Volume doric-models: No such file or directory" in err
    assert "modal volume put doric-models FOLDER /teacher" in err


def deployments(modal: FakeModal) -> int:
    """The number of deployments."""
    return sum(call[:1] == ["deploy"] for call in modal.calls)


@pytest.mark.parametrize("gpu", gpu_prices.TYPES)
def test_every_gpu_type_passes_the_flags_the_app_and_modal(gpu):
    """What the flags accept is what the app accepts and what the installed SDK sends, with the number of GPUs."""
    args = options("--gpu", f"{gpu.lower()}:2", "--rate", "1")
    (chosen,) = vllm_doric.Config.from_env(run.app_settings(args, 4e9, KEY)).gpus()
    sent = parse_gpu_config(":".join(chosen))
    assert (sent.gpu_type, sent.count) == (gpu, 2)


def test_the_tables_of_gpus_are_the_same():
    """The app has the same types, and each price is that of a type."""
    assert (gpu_prices.TYPES, gpu_prices.FEW) == (vllm_doric.GPUS, vllm_doric.FEW)
    assert gpu_prices.GPUS.keys() | gpu_prices.FEW.keys() <= set(gpu_prices.TYPES)


# -- the run -----------------------------------------------------------------------------------------------------------


def test_a_run_makes_rows_and_stops_the_app(modal, tmp_path):
    """The cost is printed first; the generator uses the address and the key, and its exit status is that of the run."""
    (tmp_path / "topics.txt").write_text("fishing\n")
    out = tmp_path / "rows.jsonl"
    flags = ["--topics", tmp_path / "topics.txt", "--out", out, "--n-per-topic", "4", "--no-progress"]
    with serving(Behaviour(key=KEY)) as server:
        url = server.url.removesuffix("/v1")
        process = start(modal, *FLAGS, "--containers", "3", "--", *flags, FAKE_URL=url)
        stdout, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert len(out.read_text("utf-8").splitlines()) == 4
    assert err.startswith("4 rows over 1 topics: ")
    assert err.index("acme/teacher on 3 x H100 for at most 2 h costs at most $") < err.index("Deployed.")
    assert "--price-in" not in err
    assert (modal.stops, modal.stopped) == (1, True)
    assert "The app doric-teacher is stopped." in err
    assert KEY not in stdout + err + json.dumps(modal.calls) + out.read_text("utf-8")


class Phase(BaseHTTPRequestHandler):
    """A server that sends a signal to the command: when it asks for the models, or when the generator asks."""

    def do_GET(self) -> None:
        if self.server.phase == "waiting":
            self.signal()
        self.answer(200 if self.server.phase in ("ready", "generating") else 503)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.signal()
        self.answer(400)

    def signal(self) -> None:
        assert self.server.started.wait(60)
        if not self.server.sent:
            self.server.sent = True
            os.kill(self.server.pid, self.server.number)

    def answer(self, status: int) -> None:
        body = b'{"object": "list", "data": [{"id": "acme/teacher", "object": "model"}]}'
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("waiting", signal.SIGINT),
        ("waiting", signal.SIGHUP),
        ("generating", signal.SIGTERM),
        ("generating", signal.SIGINT),
    ],
)
def test_a_signal_stops_the_app_once(modal, tmp_path, phase, number):
    """A signal while a container is awaited or the generator runs ends the run, and the app is stopped exactly once."""
    (tmp_path / "topics.txt").write_text("fishing\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Phase) as server:
        server.phase, server.number, server.sent, server.started = phase, number, False, threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        flags = ["--topics", tmp_path / "topics.txt", "--out", tmp_path / "rows.jsonl", "--no-progress"]
        process = start(modal, *FLAGS, "--", *flags, FAKE_URL=f"http://127.0.0.1:{server.server_port}")
        server.pid = process.pid
        server.started.set()
        stdout, err = process.communicate(timeout=120)
        server.shutdown()
    assert server.sent
    assert process.returncode == 128 + number, err
    assert (modal.stops, modal.stopped) == (1, True)
    assert "Traceback" not in err
    assert KEY not in stdout + err


@pytest.mark.parametrize(("mode", "status"), [("signal", 128 + signal.SIGTERM), ("deploy fails", 1)])
def test_a_deployment_that_ends_early_is_stopped(modal, mode, status):
    """A signal during the deployment, and a deployment that fails, leave no app."""
    process = start(modal, *FLAGS, FAKE_MODE=mode)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert (modal.stops, modal.stopped) == (1, True)
    assert "Traceback" not in err


def test_a_signal_before_the_first_process_waits_for_the_block_that_stops_the_app(monkeypatch):
    """A signal between two handlers is not lost, raises nothing outside of `ended`, and nothing is started any more."""

    def register(number, handler):
        if number == signal.SIGINT:
            handler(number, None)

    monkeypatch.setattr(processes.signal, "signal", register)
    signals = processes.Signals()
    with pytest.raises(processes.Signalled), signals.ended(lambda: pytest.fail("nothing must start")):
        pytest.fail("the block must not begin")


def test_a_signal_while_a_process_starts_ends_it(monkeypatch):
    """A signal between the start of a process and the block that ends it is not lost, and the process is ended."""
    monkeypatch.setattr(processes.signal, "signal", lambda *_: None)  # the handlers of pytest stay
    signals, started = processes.Signals(), []

    def start():
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        signals._receive(signal.SIGTERM, None)
        return started[0]

    with pytest.raises(processes.Signalled), signals.ended(start):
        pytest.fail("the block must not begin")
    assert started[0].returncode == -signal.SIGTERM


@pytest.mark.parametrize("expected", [processes.Signalled, modal_app.TeacherError])
def test_a_first_signal_while_a_process_is_ended_waits_for_its_end(monkeypatch, expected):
    """A process that is being ended after an error or --max-hours has ended before a first signal takes effect.

    Otherwise a deployment could go on after the stop of its app.
    """
    monkeypatch.setattr(processes.signal, "signal", lambda *_: None)  # the handlers of pytest stay
    signals, started = processes.Signals(), []

    class Ending(subprocess.Popen):
        """The signal comes as soon as the process is asked to end."""

        def terminate(self):
            signals._receive(signal.SIGHUP, None)
            super().terminate()

    def start():
        started.append(Ending([sys.executable, "-c", "import time; time.sleep(60)"]))
        return started[0]

    def block():
        if expected is modal_app.TeacherError:
            raise modal_app.TeacherError("the time is over")

    with pytest.raises(expected), signals.ended(start):
        block()
    assert signals.received == signal.SIGHUP
    assert started[0].returncode == -signal.SIGTERM


def test_a_refused_key_stops_the_app(modal):
    """If the server refuses the key, the app is stopped, and the error says which two keys must be the same."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as refusing:
        threading.Thread(target=refusing.serve_forever, args=(0.02,), daemon=True).start()
        process = start(modal, *FLAGS, FAKE_URL=f"http://127.0.0.1:{refusing.server_port}")
        _, err = process.communicate(timeout=60)
        refusing.shutdown()
    assert process.returncode == 1
    assert "refused VLLM_API_KEY" in err
    assert "hint: Put the line VLLM_API_KEY=… of .env" in err
    assert "modal secret create --force doric-vllm --from-dotenv ../.env.modal" in err
    assert (modal.stops, modal.stopped) == (1, True)
    assert KEY not in err


class Refusing(Phase):
    """A server that has another key."""

    def do_GET(self) -> None:
        self.answer(401)


# The command in this process, so that its constants can be replaced.

CHECK = "if '--check' in sys.argv: sys.exit()"


@pytest.fixture
def command(modal, monkeypatch, tmp_path):
    """Runs `main` with another generator, and restores the handlers of signals afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    for name, value in modal.env.items():
        monkeypatch.setenv(name, value)
    for module in (readiness, modal_app):
        monkeypatch.setattr(module, "PAUSE", 0.0)
    script = tmp_path / "generator.py"
    monkeypatch.setattr(teacher_doric, "GENERATOR", script)

    def call(code: str, *given: str, phase: str = "ready", check: str = CHECK) -> int:
        script.write_text(f"import sys\n{check}\n{code}")
        with ThreadingHTTPServer(("127.0.0.1", 0), Phase) as server:
            server.phase = phase
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            monkeypatch.setenv("FAKE_URL", f"http://127.0.0.1:{server.server_port}/")
            try:
                return teacher_doric.main([*FLAGS, *given])
            finally:
                server.shutdown()

    yield call
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_the_key_is_in_the_environment_only(command, monkeypatch, tmp_path):
    """The generator gets address, key and model as variables, no key as an argument, and nothing of another model."""
    for name, value in {"MODEL": "gpt-6.1-terra", "MODEL_PROVIDER": "huggingface", "EXTRA_BODY": '{"x": 1}'}.items():
        monkeypatch.setenv(name, value)
    code = (
        "import json, os, sys\n"
        f"open({str(tmp_path / 'seen')!r}, 'w').write(json.dumps([sys.argv[1:], dict(os.environ)]))\n"
        "sys.exit(1)"
    )
    assert command(code, "--containers", "2", "--", "--out", "x.jsonl", "--n-per-topic", "2") == 1
    argv, env = json.loads((tmp_path / "seen").read_text())
    assert argv == ["--max-concurrency", "128", "--out", "x.jsonl", "--n-per-topic", "2"]
    assert env["OPENAI_BASE_URL"].endswith("/v1")
    assert "//v1" not in env["OPENAI_BASE_URL"]
    assert (env["OPENAI_API_KEY"], env["MODEL"]) == (KEY, "acme/teacher")
    assert (env["MODEL_PROVIDER"], env["EXTRA_BODY"]) == ("", "")


def test_a_given_concurrency_is_kept(command, tmp_path):
    """The generator's own --max-concurrency is not replaced."""
    code = f"import json, sys\nopen({str(tmp_path / 'seen')!r}, 'w').write(json.dumps(sys.argv[1:]))"
    assert command(code, "--", "--max-concurrency=7") == 0
    assert json.loads((tmp_path / "seen").read_text()) == ["--max-concurrency=7"]


@pytest.mark.parametrize(("status", "deployed"), [(0, 1), (3, 0)])
def test_the_status_of_the_check_says_whether_a_row_is_left(command, modal, status, deployed):
    """Only the exit status of --check counts, whatever the sentences are that it prints for people."""
    code = f"if '--check' in sys.argv: print('0 of them to write'); sys.exit({status})"
    assert command("", check=code) == 0
    assert deployments(modal) == deployed


def test_the_generator_ends_with_the_time(command, modal, monkeypatch, capsys):
    """After --max-hours the generator is asked to end, the app is stopped, and the exit status is 1."""
    monkeypatch.setattr(run, "GRACE_SECONDS", 7200.0)  # so that nothing of the time is left
    assert command("import time\ntime.sleep(600)", "--max-hours", "2") == 1
    assert "--max-hours is over" in capsys.readouterr().err
    assert (modal.stops, modal.stopped) == (1, True)


def test_a_teacher_deployed_during_the_question_is_neither_replaced_nor_stopped(command, monkeypatch, modal, capsys):
    """The app may be somebody else's by the time that the question is answered."""
    monkeypatch.setattr(run, "confirm", lambda yes: (modal.folder / "state").write_text("deployed"))
    assert command("") == 2
    assert deployments(modal) == modal.stops == 0
    assert "doric-teacher" in capsys.readouterr().err


def test_a_failed_stop_is_repeated(command, monkeypatch, modal, capsys):
    """A stop that fails is sent again until Modal lists the app as stopped; the command by hand is named first."""
    monkeypatch.setenv("FAKE_MODE", "stop fails twice")
    assert command("") == 0
    err = capsys.readouterr().err
    assert (modal.stops, modal.stopped) == (3, True)
    again = f"The app is not stopped yet (the connection failed). Trying again. By hand: {modal_app.STOP}"
    assert err.count(again) == 2


def test_a_stop_that_fails_again_and_again_prints_the_command(command, monkeypatch, modal, capsys):
    """If Modal still lists the app after all tries, the exit status is 1 and the hint is the command to run."""
    monkeypatch.setenv("FAKE_MODE", "stop fails")
    monkeypatch.setattr(modal_app, "CHECKS", 1)
    monkeypatch.setattr(modal_app, "TRIES", 2)
    assert command("") == 1
    err = capsys.readouterr().err
    assert "error: the app doric-teacher may still be running and cost money: the connection failed" in err
    assert err.splitlines()[-1] == f"hint: Stop it with: {modal_app.STOP}"
    assert modal.stops == 3  # the second time by the name, and by the id that Modal lists


def test_a_stop_survives_a_list_that_fails(monkeypatch, tmp_path, capsys):
    """A list of apps that fails once is no reason to give up; what counts is the list, not the command's status."""
    lists = iter([modal_app.TeacherError("no network"), ["ap-1"], []])
    app = modal_app.ModalApp(tmp_path)
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(modal_app, "PAUSE", 0.0)
    monkeypatch.setattr(
        app, "_ask", lambda *words: asked.append(words) or subprocess.CompletedProcess(words, 1, "", "x")
    )

    def running() -> list[str]:
        found = next(lists)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(app, "running", running)
    app.stop()
    assert [words[-1] for words in asked] == ["doric-teacher", "doric-teacher"]
    assert "(no network). Trying again." in capsys.readouterr().err


@pytest.mark.parametrize(("errors", "lines", "message"), [
    ("2", "", "2 containers failed at their start: Modal names no reason"),
    ("0", "2", "2 containers failed at their start: vLLM ended with exit code 1"),
])  # fmt: skip
def test_containers_that_fail_at_their_start_end_the_run(command, monkeypatch, modal, capsys, errors, lines, message):
    """After two failed starts the app is stopped with the reason, long before the time for a start is over."""
    line = f"{modal_app.FAILED} vLLM ended with exit code 1 [{KEY}]"
    monkeypatch.setenv("FAKE_ERRORS", errors)
    monkeypatch.setenv("FAKE_LOG", "\n".join([line] * int(lines or 0)))
    monkeypatch.setattr(readiness, "WATCH_SECONDS", 0.0)
    assert command("", phase="starting") == 1
    err = capsys.readouterr().err
    assert f"error: {message}" in err
    assert modal_app.LOGS in err
    assert KEY not in err
    assert (modal.stops, modal.stopped) == (1, True)


def test_a_container_with_another_key_ends_the_run_at_once(command, monkeypatch, modal, capsys):
    """The first container that finds another key in its Secret is enough: the app is stopped, and the remedy named."""
    monkeypatch.setenv("FAKE_LOG", f"{modal_app.FAILED} {teacher_app_constant('WRONG_KEY')} than the machine")
    monkeypatch.setattr(readiness, "WATCH_SECONDS", 0.0)
    assert command("", phase="starting") == 1
    err = capsys.readouterr().err
    assert "error: the Secret doric-vllm has another VLLM_API_KEY than this machine\nhint: Put the line" in err
    assert KEY not in err
    assert (modal.stops, modal.stopped) == (1, True)


def teacher_app_constant(name: str) -> str:
    """The value of a constant of teacher_app.py, which cannot be imported without its limits."""
    tree = ast.parse((ROOT / "modal" / "teacher_app.py").read_text("utf-8"))
    found = (node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name)
    return ast.literal_eval(next(found))


def test_the_app_and_the_command_use_the_same_marks():
    """What a container says about its failed start is what the command looks for."""
    for name in ("FAILED", "WRONG_KEY"):
        assert teacher_app_constant(name) == getattr(modal_app, name)


def test_a_command_that_cannot_be_started_is_no_reason_to_give_up(monkeypatch, tmp_path):
    """Without memory for a process, the stop fails like any other one, so that it is sent again; no traceback."""
    monkeypatch.setattr(modal_app.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(OSError(12, "no memory")))
    done = modal_app.ask(["modal"], tmp_path)
    assert (done.returncode, done.stderr) == (1, "Modal's command cannot be started: no memory")


def test_one_failed_start_is_said_once(monkeypatch, tmp_path, capsys):
    """One failure may pass, for example of the Hub: it is printed once, and the next start is awaited."""
    app = modal_app.ModalApp(tmp_path)
    monkeypatch.setattr(app, "failed_starts", lambda: (1, "no disk"))
    assert readiness.check_starts(app, KEY, 0) == 1
    assert readiness.check_starts(app, KEY, 1) == 1
    assert capsys.readouterr().err.count("A container failed at its start: no disk. Modal starts another one.") == 1


class Clocks:
    """A process that never ends and a machine that is suspended while it waits: only the time of day goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.waits = 1e9, 0
        monkeypatch.setattr(processes.time, "time", lambda: self.wall)
        monkeypatch.setattr(processes.time, "monotonic", lambda: 5.0)

    def wait(self, seconds: float) -> int:
        assert seconds <= processes.STEP_SECONDS
        self.waits, self.wall = self.waits + 1, self.wall + 4000
        raise subprocess.TimeoutExpired("x", seconds)

    def poll(self) -> None:
        return None


def test_a_suspended_machine_does_not_stretch_the_time(monkeypatch):
    """The limit counts the hours in which the machine was suspended, and is not stretched by a clock that is set."""
    clocks = Clocks(monkeypatch)
    deadline = processes.Deadline.after(7200)
    assert deadline.wait(clocks) is None
    assert clocks.waits == 2
    monkeypatch.setattr(processes.time, "monotonic", lambda: 9000.0)
    clocks.wall = 1e9 - 1e6
    assert deadline.left() < 0


def test_modal_itself_lists_and_stops_the_app(monkeypatch, tmp_path):
    """The installed Modal command stops the app, and its list of apps is understood."""
    app = modal_app.ModalApp(tmp_path)
    with recording({}) as recorder:
        for name, value in account(recorder, tmp_path).items():
            monkeypatch.setenv(name, value)
        assert app.running() == []
        recorder.apps = {"other": api_pb2.APP_STATE_DEPLOYED, "doric-teacher": api_pb2.APP_STATE_DEPLOYED}
        assert app.running() == ["ap-doric-teacher"]
        app.stop()
        assert app.running() == []
        assert recorder.apps["other"] == api_pb2.APP_STATE_DEPLOYED
        assert [request.app_id for request in recorder.sent(api_pb2.AppStopRequest)] == ["ap-doric-teacher"]


def test_modal_itself_knows_failures_secrets_and_folders(monkeypatch, tmp_path):
    """What the installed Modal command and library say about starts, the Secret and the Volume is understood."""
    app = modal_app.ModalApp(tmp_path)
    with recording({"doric-vllm": {"VLLM_API_KEY"}}) as recorder:
        for name, value in account(recorder, tmp_path).items():
            monkeypatch.setenv(name, value)
        recorder.apps = {"doric-teacher": api_pb2.APP_STATE_DEPLOYED}
        assert app.failed_starts() == (0, "")
        recorder.failures, recorder.log = 3, f"{modal_app.FAILED} no such model\n"
        assert app.failed_starts() == (3, "no such model")
        assert app.log() == recorder.log.strip()
        app.check_secret("VLLM_API_KEY")
        with pytest.raises(SettingsError, match=r"doric-vllm of Modal cannot be used: .*HF_TOKEN"):
            app.check_secret("VLLM_API_KEY", "HF_TOKEN")
        recorder.folders = {"teacher": ["config.json", "a.safetensors"], "lora": ["adapter_config.json"]}
        app.check_folder("/models/teacher")
        with pytest.raises(SettingsError, match="is a LoRA adapter"):
            app.check_folder("/models/lora")
        with pytest.raises(SettingsError, match="there is no /other in the Volume doric-models"):
            app.check_folder("/models/other")


def test_modal_without_an_account_is_an_error_with_a_hint(monkeypatch, tmp_path):
    """If Modal cannot be asked for its apps, nothing is deployed, and the hint is how to log in."""
    monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "none.toml"))
    for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(modal_app.TeacherError, match="Modal did not list its apps: ") as error:
        modal_app.ModalApp(tmp_path).running()
    assert "modal token new" in error.value.hint
    assert error.value.exit_status == 1
    with pytest.raises(SettingsError, match="Modal did not list its apps: "):
        modal_app.ModalApp(tmp_path).check_free()


# -- deployed ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Recorder:
    """The requests of a deployment with the settings of a run."""
    folder = tmp_path_factory.mktemp("app")
    for name in ("teacher_app.py", "vllm_doric.py"):
        shutil.copy(ROOT / "modal" / name, folder)
    (folder / ".env").write_text("DORIC_BASE_MODEL=acme/base\nMAX_CONTAINERS=9\nDORIC_PUBLIC=1\n")
    args = options("--revision", "c0ffee", "--containers", "4", "--gpu", "H100:2", "--cores", "6", "--memory", "100")
    settings = run.app_settings(args, 4_000_000_000, KEY)
    with recording(SECRET) as recorder:
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "VLLM_API_KEY": KEY, "HF_TOKEN": "hf-mine", **settings}
        done = deploy(folder / "teacher_app.py", recorder, env)
    assert done.returncode == 0, done.stdout
    assert "eprecat" not in done.stdout
    assert KEY not in done.stdout
    return recorder


def test_the_server_scales_to_zero_and_has_limits(deployed):
    """Modal gets a server with the limits of the command: no container without calls, and never more than chosen."""
    function = deployed.function
    settings = function.autoscaler_settings
    assert function.is_server
    assert (settings.min_containers, settings.max_containers, settings.scaledown_window) == (0, 4, 300)
    assert settings.buffer_containers == 0
    assert function.startup_timeout_secs >= 600
    assert (function.resources.gpu_config.gpu_type, function.resources.gpu_config.count) == ("H100", 2)
    assert (function.resources.milli_cpu_max, function.resources.memory_mb_max) == (6000, 102_400)


def test_no_key_is_sent(deployed):
    """The key and the token stay on this machine: the container has those of the Secret."""
    sent = b"".join(request.SerializeToString() for request in deployed.requests)
    assert not re.search(rf"{KEY}|hf-mine".encode(), sent)
    assert [list(one.required_keys) for one in deployed.sent(api_pb2.SecretGetOrCreateRequest)] == [["VLLM_API_KEY"]]


CONTAINER = """
import json, teacher_app, vllm_doric
class Quiet:
    def __init__(self, argv, env):
        print(json.dumps(argv))
    def poll(self):
        return None
vllm_doric.subprocess.Popen = Quiet
vllm_doric.wait_until_ready = lambda process, seconds: None
server = object.__new__(teacher_app.Teacher._get_user_cls())
server.start()
"""


def in_container(folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The start of a container, with only the two files, the variables of the image, and the Secret."""
    for name in ("teacher_app.py", "vllm_doric.py"):
        shutil.copy(ROOT / "modal" / name, folder)
    env = {"PATH": os.environ["PATH"], "MODAL_IS_REMOTE": "1", "VLLM_API_KEY": KEY, **env}
    return subprocess.run(
        [sys.executable, "-c", CONTAINER], cwd=folder, env=env, capture_output=True, text=True, timeout=60
    )


def test_a_container_serves_the_model_under_its_name_with_the_key_check(deployed, tmp_path):
    """vLLM's arguments have the model, its commit, and the check of the key, but no key."""
    done = in_container(tmp_path, deployed.image_env | deadline_in(3600))
    assert done.returncode == 0, done.stderr
    argv = json.loads(done.stdout.splitlines()[-1])
    said = " ".join(argv)
    assert argv[:3] == ["vllm", "serve", "acme/teacher"]
    for part in (
        "--revision c0ffee",
        "--served-model-name acme/teacher",
        "--tensor-parallel-size 2",
        "--no-enforce-eager",
        "--middleware doric_lock.RequireKey",
    ):
        assert part in said
    assert KEY not in done.stdout + done.stderr


def test_after_the_deadline_no_model_is_loaded(deployed, tmp_path):
    """A container that is started after --max-hours ends before it starts vLLM."""
    done = in_container(tmp_path, deployed.image_env | {"TEACHER_DEADLINE": "1"})
    assert done.returncode != 0
    assert "the time of --max-hours is over" in done.stderr
    assert done.stdout.startswith(f"{modal_app.FAILED} the time of --max-hours is over")
    assert "vllm" not in done.stdout


def test_a_deadline_of_a_wrong_clock_starts_nothing(deployed, tmp_path):
    """A deadline further away than any --max-hours would be no limit, so that no model is loaded."""
    done = in_container(tmp_path, deployed.image_env | deadline_in(30 * 3600))
    assert done.returncode != 0
    assert "the clock of the machine that deployed is wrong" in done.stdout


@pytest.mark.parametrize("key", ["sk-other", f"{KEY} "])
def test_a_container_with_another_key_loads_no_model(deployed, tmp_path, key):
    """A container compares the key of its Secret with the hash of the deploying machine's key before it starts vLLM."""
    done = in_container(tmp_path, deployed.image_env | deadline_in(3600) | {"VLLM_API_KEY": key})
    assert done.returncode != 0
    assert done.stdout.startswith(f"{modal_app.FAILED} {modal_app.WRONG_KEY} than the machine that deployed")
    assert "vllm serve" not in done.stdout
    assert key.strip() not in done.stdout + done.stderr


def test_a_container_says_why_it_failed(deployed, tmp_path):
    """The reason why vLLM did not start is one line of the log, as the command looks for it."""
    env = deployed.image_env | {"DORIC_MODEL": "/models/none", "VLLM_API_KEY": ""}
    done = in_container(tmp_path, env | deadline_in(3600))
    assert done.returncode != 0
    assert f"{modal_app.FAILED} the Secret doric-vllm has an empty VLLM_API_KEY\n" in done.stdout


def deadline_in(seconds: float) -> dict[str, str]:
    """The variable of the time limit."""
    return {"TEACHER_DEADLINE": f"{time.time() + seconds:.0f}"}


def test_the_app_is_not_deployed_by_hand(tmp_path):
    """Without the limits of the command, nothing is deployed."""
    for name in ("teacher_app.py", "vllm_doric.py"):
        shutil.copy(ROOT / "modal" / name, tmp_path)
    with recording(SECRET) as recorder:
        done = deploy(tmp_path / "teacher_app.py", recorder, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    assert (done.returncode, recorder.sent(api_pb2.AppPublishRequest)) == (2, [])
    assert "start it with teacher_doric.py" in done.stdout
