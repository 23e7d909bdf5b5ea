"""The Modal app: its deployment to a recorder, its start as in the container, and its access control."""

import io
import json
import os
import random
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from modal_proto import api_pb2

import vllm_doric
from chat_mock import ChatMock
from modal_recorder import Recorder, deploy, recording
from scripts import load_script
from vllm_doric import Config, RequireKey

ROOT = Path(__file__).parents[1]
APP = ROOT / "modal" / "vllm_doric.py"
SECRET = {"doric-vllm": {"VLLM_API_KEY"}}
HUB = {"HF_ENDPOINT": "http://127.0.0.1:9"}  # a closed port, so that no test calls the real Hub
# Flags of older vLLM versions that the current parser refuses. Most examples on the web still use them.
REMOVED = {
    "--disable-log-requests",
    "--swap-space",
    "--task",
    "--device",
    "--guided-decoding-backend",
    "--speculative-model",
    "--num-scheduler-steps",
    "--max-seq-len-to-capture",
    "--rope-scaling",
    "--use-v2-block-manager",
    "--disable-frontend-multiprocessing",
    "--preemption-mode",
    "--worker-use-ray",
    "--enable-prompt-adapter",
}


@dataclass
class Deployed:
    """The result of `modal deploy`, with the recorded requests."""

    code: int
    output: str
    recorder: Recorder


@pytest.fixture
def shipped(tmp_path: Path) -> Callable[..., Deployed]:
    """Deploys a copy of the app in a separate folder, so that only the `.env` of the test is read."""

    def ship(*, secrets: dict[str, set[str]] = SECRET, dotenv: str = "", **env: str) -> Deployed:
        app = tmp_path / "app" / APP.name
        app.parent.mkdir(exist_ok=True)
        shutil.copy(APP, app)
        (app.parent / ".env").write_text(dotenv)
        with recording(secrets) as recorder:
            done = deploy(app, recorder, {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **HUB, **env})
        return Deployed(done.returncode, done.stdout, recorder)

    return ship


START = """
import json, modal
modal.is_local = lambda: False
import vllm_doric
class Quiet:
    def __init__(self, argv, env):
        print(json.dumps({"argv": argv, "path": env["PYTHONPATH"]}))
    def poll(self):
        return None
vllm_doric.subprocess.Popen = Quiet
vllm_doric.wait_until_ready = lambda process, seconds: None
vllm_doric.serve.local()
"""


def start(folder: Path, image_env: dict[str, str], key: str = "sk-container") -> subprocess.CompletedProcess[str]:
    """Run `serve` as in the container, with only the uploaded file, the variables of the image, and the Secret."""
    folder.mkdir(exist_ok=True)
    shutil.copy(APP, folder)
    env = {"PATH": os.environ["PATH"], "MODAL_IS_REMOTE": "1", "VLLM_API_KEY": key, **image_env}
    return subprocess.run(
        [sys.executable, "-c", START], cwd=folder, env=env, capture_output=True, text=True, timeout=60
    )


def argv_of(folder: Path, image_env: dict[str, str]) -> list[str]:
    """The command line of vLLM in the container."""
    done = start(folder, image_env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["argv"]


def adapter(folder: Path, rank: int, **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, **more}))
    return folder


# -- deployed ----------------------------------------------------------------------------------------------------------


def test_deployment_has_proxy_auth_limits_and_caches(shipped):
    """The app is one web function with proxy auth, long start timeout, container limit, parallel inputs and volumes."""
    done = shipped()
    assert done.code == 0, done.output
    assert "eprecat" not in done.output
    function = done.recorder.function
    assert function.webhook_config.type == api_pb2.WEBHOOK_TYPE_WEB_SERVER
    assert function.webhook_config.requires_proxy_auth
    assert min(function.webhook_config.web_server_startup_timeout, function.startup_timeout_secs) >= 600
    assert (function.concurrency_limit, function.max_concurrent_inputs) == (1, 32)
    assert {Path(mount.mount_path).name for mount in function.volume_mounts} == {"huggingface", "vllm", "models"}
    assert [request.required_keys for request in done.recorder.sent(api_pb2.SecretGetOrCreateRequest)] == [
        ["VLLM_API_KEY"]
    ]


def test_versions_are_pinned(shipped):
    """The image pins exact versions, including the base image and uv."""
    builds = shipped().recorder.sent(api_pb2.ImageGetOrCreateRequest)
    commands = "\n".join(line for build in builds for line in build.image.dockerfile_commands)
    assert re.search(r"FROM nvidia/cuda:\d+\.\d+\.\d+-devel", commands)
    assert re.search(r"vllm==\d+\.\d+\.\d+", commands)
    assert not re.search(r"uv:latest|pip install[^\n]* [a-z_]+( |$)(?!=)", commands)


def test_local_vllm_has_the_same_version():
    """`uv run --group vllm` installs the same vLLM version as the app."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    assert f'"{groups["vllm"][0]}"' in APP.read_text("utf-8")


def test_settings_reach_the_container(shipped, tmp_path):
    """Settings from the shell are written into the image, and vLLM gets them as arguments in the container."""
    done = shipped(
        DORIC_MODEL="acme/doric-4b",
        DORIC_REVISION="abc123",
        DORIC_GPU="A100-80GB:2",
        MAX_MODEL_LEN="4096",
        FAST_BOOT="0",
        SCALEDOWN_MINUTES="2",
        MAX_CONTAINERS="3",
    )
    argv = argv_of(tmp_path / "container", done.recorder.image_env)
    assert argv[:5] == ["vllm", "serve", "acme/doric-4b", "--revision", "abc123"]
    for pair in ("--served-model-name doric", "--max-model-len 4096", "--tensor-parallel-size 2"):
        assert pair in " ".join(argv)
    assert "--no-enforce-eager" in argv
    function = done.recorder.function
    assert (function.concurrency_limit, function.task_idle_timeout_secs) == (3, 120)
    assert (function.resources.gpu_config.gpu_type, function.resources.gpu_config.count) == ("A100-80GB", 2)


def test_dotenv_is_read_and_the_environment_wins(shipped):
    """Settings are read from .env in the app's folder, and the environment overrides them."""
    done = shipped(dotenv="DORIC_MODEL=acme/from-file\nMAX_MODEL_LEN=1024\n", MAX_MODEL_LEN="2048")
    assert done.recorder.image_env["DORIC_MODEL"] == "acme/from-file"
    assert done.recorder.image_env["MAX_MODEL_LEN"] == "2048"
    assert "DORIC_REVISION is not set" in done.output


@pytest.fixture
def hub() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A Hub with one repository. Yields its URL, and the list of requests as (path, Authorization header)."""
    asked: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            known = self.path == "/api/models/acme/doric/revision/main"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(b'{"sha": "c0ffee"}' if known else b"{}")

        def log_message(self, format: str, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_a_revision_that_is_not_set_is_resolved_when_deploying(shipped, hub, tmp_path):
    """Without a revision, main's commit is written into the image, but a set revision or a folder needs no request."""
    url, asked = hub
    done = shipped(HF_ENDPOINT=url, HF_TOKEN="hf-mine", DORIC_MODEL="acme/doric")
    assert done.recorder.image_env["DORIC_REVISION"] == "c0ffee"
    assert "acme/doric is deployed at c0ffee" in done.output
    assert asked == [("/api/models/acme/doric/revision/main", "Bearer hf-mine")]
    argv = argv_of(tmp_path / "container", done.recorder.image_env)
    assert argv[3:5] == ["--revision", "c0ffee"]
    shipped(HF_ENDPOINT=url, DORIC_MODEL="acme/doric", DORIC_REVISION="v1")
    shipped(HF_ENDPOINT=url)
    assert len(asked) == 1


def test_unknown_revision_gives_a_note(shipped, hub):
    """If the Hub names no commit of the model, a note says that it is not pinned, and the base is still pinned."""
    done = shipped(HF_ENDPOINT=hub[0], DORIC_MODEL="acme/other", DORIC_BASE_MODEL="acme/doric")
    assert (done.code, done.recorder.image_env["DORIC_BASE_REVISION"]) == (0, "c0ffee")
    assert "DORIC_REVISION is not set, and the Hub did not name a commit of acme/other (Not Found)" in done.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("L5", "one of T4 L4 .* not 'L5'"),
        ("", None),
        ("L4,", "one of .* not ''"),
        ("L4:0", ":1 to :8"),
        ("L4:x", ":1 to :8"),
        ("H100:16", ":1 to :8"),
        ("L4:8,A10:8", "at most 4 GPUs of the type A10"),
        ("L4,A100:2", ":1 to :8, for all"),
        ("h100!:2, h200:2", None),
    ],
)
def test_gpus_are_checked_before_anything_is_sent(text, message):
    """An unknown GPU, or a list with different numbers of GPUs, is refused, and the error has the allowed values."""
    if message is None:
        Config.from_env({"DORIC_GPU": text})
        return
    with pytest.raises(ValueError, match=f"DORIC_GPU must .*{message}"):
        Config.from_env({"DORIC_GPU": text})


@pytest.mark.parametrize("name", ["DORIC_MODEL", "DORIC_BASE_MODEL"])
@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("acme/doric-4b", True),
        ("gpt2", True),
        ("/models/doric", True),
        ("/models/my run/", True),
        ("/model/doric", False),
        ("/models", False),
        ("../finetune_notebook/runs/first/export/merged", False),
        ("finetune_notebook/runs/first/export/merged", False),
        ("./doric", False),
        ("~/doric", False),
        ("https://huggingface.co/acme/doric", False),
    ],
)
def test_a_model_that_no_container_can_find_is_refused(name, model, found):
    """A folder of this machine or a wrong path is refused before a GPU is paid for, with what is allowed."""
    config = Config(**{name: model})
    if found:
        vllm_doric.check_places(config)
        return
    with pytest.raises(ValueError, match=f"{name} must be OWNER/NAME .* such as /models/doric .*not '{model}'"):
        vllm_doric.check_places(config)


def test_a_wrong_place_of_the_model_is_one_line(shipped):
    """Nothing is sent to Modal, and the exit status is 2."""
    done = shipped(DORIC_MODEL="../finetune_notebook/runs/first/export/merged")
    assert done.code == 2
    assert "error: DORIC_MODEL must be OWNER/NAME" in done.output
    assert "Traceback" not in done.output
    assert not done.recorder.sent(api_pb2.FunctionCreateRequest)


def test_several_gpus_are_tried_in_order(shipped, tmp_path):
    """Modal gets a comma-separated list of GPUs as alternatives, and vLLM gets their common number of GPUs."""
    done = shipped(DORIC_GPU="L40S:2, A100-80GB:2")
    (created,) = done.recorder.sent(api_pb2.FunctionCreateRequest)
    gpus = [ranked.function.resources.gpu_config for ranked in created.function_data.ranked_functions]
    assert [(gpu.gpu_type, gpu.count) for gpu in gpus] == [("L40S", 2), ("A100-80GB", 2)]
    argv = " ".join(argv_of(tmp_path / "container", done.recorder.image_env))
    assert "--tensor-parallel-size 2" in argv


def test_missing_dotenv_package_gives_a_note(shipped, tmp_path):
    """Without python-dotenv, only the environment is read, and a note says so."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "dotenv.py").write_text("raise ModuleNotFoundError('dotenv')")
    done = shipped(dotenv="DORIC_MODEL=acme/from-file\n", PYTHONPATH=str(tmp_path / "lib"))
    assert (done.code, done.recorder.image_env["DORIC_MODEL"]) == (0, "/models/doric")
    assert (
        ".env is not read, because the packages of this project are not installed. Start with `uv run`" in done.output
    )


def test_no_key_leaves_the_machine(shipped, tmp_path):
    """No request to Modal has a key from the environment or .env, and no argument list has the key in the Secret."""
    keys = {"VLLM_API_KEY": "sk-mine", "MODAL_KEY": "wk-mine", "MODAL_SECRET": "ws-mine", "HF_TOKEN": "hf-mine"}
    done = shipped(dotenv="OPENAI_API_KEY=sk-file\n", **keys)
    sent = b"".join(request.SerializeToString() for request in done.recorder.requests) + done.output.encode()
    assert not re.search(rb"sk-mine|wk-mine|ws-mine|hf-mine|sk-file", sent)
    started = start(tmp_path / "container", done.recorder.image_env)
    assert "sk-container" not in started.stdout + started.stderr


def test_public_turns_off_proxy_auth_only(shipped, tmp_path):
    """DORIC_PUBLIC=1 turns off Modal's proxy auth, but the API key check stays on."""
    done = shipped(DORIC_PUBLIC="1")
    assert not done.recorder.function.webhook_config.requires_proxy_auth
    argv = argv_of(tmp_path / "container", done.recorder.image_env)
    assert argv[argv.index("--middleware") + 1] == "doric_lock.RequireKey"


@pytest.mark.parametrize(
    ("secrets", "message"),
    [({}, "Secret 'doric-vllm' not found"), ({"doric-vllm": {"OTHER"}}, "Secret is missing key(s): ['VLLM_API_KEY']")],
)
def test_a_missing_secret_stops_the_deployment(shipped, secrets, message):
    """If the Secret or the key in it is missing, nothing is deployed, and the error gives the reason."""
    done = shipped(secrets=secrets)
    assert (done.code, message in done.output) == (1, True)
    assert done.recorder.sent(api_pb2.AppPublishRequest) == []


@pytest.mark.parametrize(
    "wrong", [{"DORIC_PUBLIC": "yes"}, {"FAST_BOOT": "on"}, {"MAX_MODEL_LEN": "8k"}, {"MAX_CONTAINERS": "0"}]
)
def test_an_invalid_variable_stops_before_anything_is_sent(shipped, wrong):
    """An invalid variable gives a short error with its name and exit status 2, without a traceback."""
    done = shipped(**wrong)
    assert (done.code, done.recorder.requests) == (2, [])
    assert done.output.startswith(f"error: {next(iter(wrong))} must be")


def test_settings_survive_the_image():
    """from_env reads the same settings that as_env writes."""
    config = Config(DORIC_MODEL="a/b", DORIC_PUBLIC=True, FAST_BOOT=False, MAX_CONTAINERS=7)
    assert Config.from_env(config.as_env()) == config


# -- started -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"r": 1}, 1),
        ({"r": 5}, 8),
        ({"r": 16}, 16),
        ({"r": 24}, 32),
        ({"r": 300}, 320),
        ({"r": 8, "rank_pattern": {"q_proj": 48}}, 64),
        ({"r": 8, "rank_pattern": None}, 8),
    ],
)
def test_the_rank_is_rounded_up(tmp_path, settings, allowed):
    """vLLM gets the smallest allowed rank that is large enough for every matrix of the adapter."""
    rank = settings.pop("r")
    assert vllm_doric.lora_rank(adapter(tmp_path, rank, **settings)) == allowed


def test_base_and_adapter_are_served_under_their_names(tmp_path):
    """With a base model, the adapter is served as `doric` and the base as `doric-base`, at its revision."""
    folder = adapter(tmp_path / "lora", 24)
    env = {"DORIC_MODEL": str(folder), "DORIC_BASE_MODEL": "acme/base", "DORIC_BASE_REVISION": "f00"}
    argv = " ".join(argv_of(tmp_path / "container", env))
    assert argv.startswith("vllm serve acme/base --revision f00 --served-model-name doric-base")
    assert f"--enable-lora --max-lora-rank 32 --lora-modules doric={folder}" in argv


@pytest.mark.parametrize(
    ("trained", "base"),
    [
        ("Qwen/Qwen3-4B", "Qwen/Qwen3-4B"),
        ("unsloth/Qwen3-4B-unsloth-bnb-4bit", "Qwen/Qwen3-4B"),
        ("/home/me/models/qwen3-4b/", "Qwen/Qwen3-4B"),
        ("", "Qwen/Qwen3-4B"),
    ],
    ids=["same", "quantised copy", "folder", "not named"],
)
def test_an_adapter_is_served_on_the_model_that_it_was_trained_on(tmp_path, capsys, trained, base):
    """The base model that the adapter names is accepted without a note, also as a copy with another owner."""
    vllm_doric.check_base(adapter(tmp_path, 8, base_model_name_or_path=trained), base)
    assert capsys.readouterr().out == ""


def test_an_adapter_of_another_model_is_refused(tmp_path, capsys):
    """An adapter that was trained on another Hub model stops the start, and one of a folder gives a note."""
    folder = adapter(tmp_path, 8, base_model_name_or_path="Qwen/Qwen3-4B")
    with pytest.raises(ValueError, match=r"trained on Qwen/Qwen3-4B, not on .* DORIC_BASE_MODEL=Qwen/Qwen3-4B"):
        vllm_doric.vllm_argv(Config(str(folder), "", "Qwen/Qwen3-4B-Instruct-2507"))
    vllm_doric.check_base(adapter(tmp_path, 8, base_model_name_or_path="/home/me/small"), "Qwen/Qwen3-4B")
    assert "trained on /home/me/small" in capsys.readouterr().out


def test_the_adapters_own_chat_template_is_served(tmp_path):
    """vLLM gets the template with which the adapter was trained, because it would use the base model's."""
    folder = adapter(tmp_path, 8)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    argv = vllm_doric.vllm_argv(Config(str(folder), "", "acme/base"))
    assert argv[argv.index("--chat-template") + 1] == str(folder / "chat_template.jinja")


def test_a_hub_adapter_is_downloaded_at_its_revision(tmp_path, monkeypatch):
    """An adapter on the Hub is downloaded at the pinned revision, because vLLM itself would use main."""
    asked = []

    class Hub:
        @staticmethod
        def snapshot_download(repo: str, revision: str | None) -> str:
            asked.append((repo, revision))
            return str(adapter(tmp_path, 8))

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    argv = vllm_doric.vllm_argv(Config("acme/lora", "abc", "acme/base"))
    assert asked == [("acme/lora", "abc")]
    assert argv[argv.index("--lora-modules") + 1] == f"doric={tmp_path}"


def test_a_hub_that_cannot_be_reached_gives_a_clear_error(monkeypatch):
    """If an adapter cannot be downloaded, an error before the start of vLLM names it and says what to check."""

    class Hub:
        @staticmethod
        def snapshot_download(repo: str, revision: str | None) -> str:
            raise FileNotFoundError("An error happened while trying to locate the files on the Hub\nand so on")

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    with pytest.raises(
        RuntimeError, match=r"cannot be downloaded .* locate the files on the Hub\. Check the name acme/lora"
    ):
        vllm_doric.vllm_argv(Config("acme/lora", "abc", "acme/base"))


@pytest.mark.parametrize(
    "text", ["{}", "[]", "not json", '{"r": null}', '{"r": "many"}', '{"r": 8, "rank_pattern": 3}']
)
def test_an_adapter_without_a_rank_gives_a_clear_error(tmp_path, text):
    """If a configuration has no rank, the error names the file and says what to do."""
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(ValueError, match=r"adapter_config\.json does not give .* merge it into its base"):
        vllm_doric.lora_rank(tmp_path)


@pytest.mark.parametrize("fast", [True, False])
def test_no_flag_was_removed_from_vllm(tmp_path, fast):
    """The command line has none of the removed flags and no key."""
    lora = vllm_doric.vllm_argv(Config(str(adapter(tmp_path, 8)), "", "acme/base", FAST_BOOT=fast))
    merged = vllm_doric.vllm_argv(Config("acme/doric", FAST_BOOT=fast))
    assert not REMOVED & {*lora, *merged}
    assert "--api-key" not in {*lora, *merged}
    assert all(isinstance(word, str) for word in [*lora, *merged])


@pytest.mark.parametrize(
    ("rank", "base", "message"),
    [(8, "", "set DORIC_BASE_MODEL"), (None, "acme/base", "no adapter_config.json"), (600, "acme/base", "at most 512")],
)
def test_a_model_that_cannot_be_served_is_refused_before_vllm_starts(tmp_path, rank, base, message):
    """An adapter without a base, a base without an adapter, and a rank that is too high are refused at once."""
    folder = adapter(tmp_path / "m", rank) if rank else tmp_path
    with pytest.raises(ValueError, match=message):
        vllm_doric.vllm_argv(Config(str(folder), DORIC_BASE_MODEL=base))


def test_an_empty_key_does_not_start(tmp_path):
    """A Secret with an empty key is refused, because anyone could use the server."""
    done = start(tmp_path, {}, key="")
    assert done.returncode != 0
    assert "empty VLLM_API_KEY" in done.stderr


@pytest.fixture
def health(monkeypatch) -> Iterator[list[int]]:
    """A /health endpoint on the app's port. It sends the listed statuses in order, then repeats the last status."""
    statuses = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setattr(vllm_doric, "PORT", server.server_port)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield statuses
        server.shutdown()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_the_server_is_ready_when_health_answers_200(health, sleeper):
    """A server that listens but is still loading is not ready."""
    health[:] = [503, 200]
    vllm_doric.wait_until_ready(sleeper, 20)
    assert health == [200]


def test_a_process_that_ends_early_is_reported(monkeypatch):
    """If the process ends before it is ready, the error has its exit code and the likely reason."""
    monkeypatch.setattr(vllm_doric, "config", Config("/models/nosuch"))
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    process.wait()
    with pytest.raises(RuntimeError, match=r"exit code 3 .*modal volume put doric-models FOLDER /nosuch"):
        vllm_doric.wait_until_ready(process, 60)


def test_the_wait_has_a_deadline(health, sleeper):
    """If a server is not ready in time, it is stopped."""
    health[:] = [503]
    with pytest.raises(RuntimeError, match="not ready within"):
        vllm_doric.wait_until_ready(sleeper, 0.1)
    assert sleeper.wait(10) != 0


# -- locked ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def lock(tmp_path, monkeypatch) -> type[RequireKey]:
    """RequireKey as vLLM imports it: from a module that does not need modal or the app."""
    vllm_doric.write_key_check(tmp_path)
    monkeypatch.setenv("VLLM_API_KEY", "sk-right")
    module = load_script(tmp_path / "doric_lock.py")
    assert not set(vars(module)) & {"modal", "vllm_doric", "subprocess"}
    return module.RequireKey


async def sent_to(lock: type[RequireKey], kind: str, path: str, *headers: tuple[bytes, bytes]) -> list[dict[str, Any]]:
    """The messages that a client gets. The server behind the key check sends "in"."""
    messages: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "in"})

    async def receive() -> dict[str, Any]:
        return {}

    async def send(message: Any) -> None:
        messages.append(message)

    await lock(app)({"type": kind, "path": path, "headers": list(headers)}, receive, send)
    return messages


RIGHT = (b"authorization", b"Bearer sk-right")


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/v1/models", "/invocations", "/metrics", "/", "/health/", "//health", "/ping2"])
@pytest.mark.parametrize("header", [None, b"Bearer sk-wrong", b"Bearer ", b"sk-right", b"Basic sk-right", b"\xff"])
async def test_no_path_opens_without_the_key(lock, path, header):
    """Without the right key, every path except the health checks answers 401."""
    headers = [] if header is None else [(b"authorization", header)]
    messages = await sent_to(lock, "http", path, *headers)
    assert messages[0]["status"] == 401
    assert b"VLLM_API_KEY" in messages[1]["body"]


@pytest.mark.anyio
async def test_the_key_and_the_health_checks_get_in(lock):
    """With the right key every path works, and /health and /ping need no key."""
    assert await sent_to(lock, "http", "/v1/models", RIGHT) == [{"type": "in"}]
    assert await sent_to(lock, "http", "/health") == [{"type": "in"}]
    assert await sent_to(lock, "http", "/ping") == [{"type": "in"}]
    assert await sent_to(lock, "lifespan", "") == [{"type": "in"}]


@pytest.mark.anyio
async def test_a_websocket_needs_the_key_too(lock):
    """A websocket without the key is closed, even on the paths of the health checks."""
    assert await sent_to(lock, "websocket", "/v1/realtime") == [{"type": "websocket.close", "code": 1008}]
    assert await sent_to(lock, "websocket", "/health") == [{"type": "websocket.close", "code": 1008}]
    assert await sent_to(lock, "websocket", "/v1/realtime", RIGHT) == [{"type": "in"}]


# -- checked -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch) -> Iterator[ChatMock]:
    """A server that the app takes for its own deployment, and its keys."""
    with ChatMock() as server:
        server.manners.key = "sk-right"
        monkeypatch.setattr(vllm_doric.serve, "get_web_url", lambda: server.url)
        keys = {"VLLM_API_KEY": "sk-right", "MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1"}
        monkeypatch.setattr(vllm_doric, "variables", lambda: keys)
        yield server


def test_the_check_streams_one_answer(served, capsys):
    """`modal run` follows redirects until the server is healthy, tests the key check and times one streamed answer."""
    served.manners.first = [(303, "/health?waiting=1"), (303, "/health")]
    vllm_doric.check("Fit like?")
    out = capsys.readouterr().out
    assert "healthy after" in out
    assert "a request without the key is refused" in out
    assert "doric saw 1 messages" in out
    assert re.search(r"first token after \d+\.\d\d s, \d+ chunks", out)


def test_the_check_detects_a_missing_key_check(served):
    """If the server answers without a key, the check fails."""
    served.manners.key = ""
    with pytest.raises(SystemExit, match="the key check is not active"):
        vllm_doric.check("Fit like?")


def test_the_check_needs_the_keys_on_this_machine(served, monkeypatch):
    """Missing keys are reported before any request to the server."""
    monkeypatch.setattr(vllm_doric, "variables", lambda: {"VLLM_API_KEY": "sk-right"})
    with pytest.raises(SystemExit, match="MODAL_KEY, MODAL_SECRET not set"):
        vllm_doric.check("Fit like?")
    assert served.paths == []


def test_the_check_reports_an_unexpected_status(served):
    """The error for an unexpected status has the message from the server."""
    served.manners.first = [(500, "")]
    with pytest.raises(SystemExit, match=r"answered 500: .*starting"):
        vllm_doric.check("Fit like?")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("die", "without a finish_reason"), ("fail", "the engine is dead"), ("empty", "the answer was empty")],
)
def test_the_check_needs_a_complete_answer(served, prompt, message):
    """The check fails with a message for an incomplete answer, an error in the stream and an empty answer."""
    with pytest.raises(SystemExit, match=message):
        vllm_doric.check(prompt)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b'data: {"choices": [{"delta": {"content": "Aye"}}]}\n\ndata: [DONE]\n\n', "without a finish_reason"),
        (b'data: {"error": {"message": "out of \\u001b[2Jmemory"}}\n\n', r"reported an error: out of \[2Jmemory"),
        (b"data: {\n\n", "not JSON"),
    ],
)
def test_the_check_reads_the_stream_to_its_end(served, monkeypatch, stream, message):
    """A stream must end with a finish_reason, and error messages are printed without control characters."""
    monkeypatch.setattr(vllm_doric, "call", lambda *_: io.BytesIO(stream))
    with pytest.raises(SystemExit, match=message):
        vllm_doric.stream_one("http://x", {}, "Fit like?")


def test_the_check_prints_no_control_characters(served, capsys):
    """Escape sequences in an answer are removed before it is printed."""
    vllm_doric.check("escape")
    out = capsys.readouterr().out
    assert "cleared" in out
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", out)


def test_the_check_sends_no_key_to_another_host(served):
    """A redirect to another host fails the check, and nothing is sent there."""
    with ChatMock() as stranger:
        served.manners.first = [(303, f"{stranger.url}/health")]
        with pytest.raises(SystemExit, match="cannot be reached: it redirects to another host"):
            vllm_doric.check("Fit like?")
        assert stranger.paths == []


def test_the_check_reports_a_server_that_is_not_http(monkeypatch):
    """A response that is not HTTP gives an error of one line."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as client:
                client.recv(4096)
                client.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

        Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        keys = {"VLLM_API_KEY": "sk-right", "MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1"}
        monkeypatch.setattr(vllm_doric.serve, "get_web_url", lambda: url)
        monkeypatch.setattr(vllm_doric, "variables", lambda: keys)
        with pytest.raises(SystemExit, match="failed: BadStatusLine"):
            vllm_doric.check("Fit like?")


# -- with vLLM ---------------------------------------------------------------------------------------------------------

VLLM = shutil.which("vllm", path=f"{os.environ.get('VLLM_ENV', '')}/bin")
needs_vllm = pytest.mark.skipif(
    not VLLM, reason="VLLM_ENV must be an environment with vLLM: see modal/README.md, On a CPU"
)
PARSE = """
import sys
import time
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser
validate_parsed_serve_args(make_arg_parser(FlexibleArgumentParser(prog="vllm serve")).parse_args(sys.argv[1:]))
"""


def real_adapter(folder: Path, rank: int, seed: int) -> Path:
    """A random LoRA adapter for SmolLM2-135M that changes its answers. It is written without torch or peft."""
    draw, header, data = random.Random(seed), {}, bytearray()
    for layer in range(4):
        for part, shape in (("A", [rank, 576]), ("B", [576, rank])):
            start = len(data)
            data += struct.pack(f"<{rank * 576}f", *(draw.uniform(-0.5, 0.5) for _ in range(rank * 576)))
            name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{part}.weight"
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, len(data)]}
    adapter(folder, rank, lora_alpha=rank, peft_type="LORA", task_type="CAUSAL_LM", target_modules=["q_proj"])
    head = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + data)
    return folder


@dataclass
class Served:
    """A running vLLM server with the key check."""

    url: str
    log: Path

    def status(self, method: str, path: str, *headers: str) -> int:
        """The status of the response to a request without a body."""
        argv = ["curl", "-s", "-m", "30", "-o", os.devnull, "-w", "%{http_code}", "-X", method, f"{self.url}{path}"]
        done = subprocess.run([*argv, *(word for header in headers for word in ("-H", header))], capture_output=True)
        return int(done.stdout)


@pytest.fixture(scope="module")
def real(smollm2, tmp_path_factory) -> Iterator[Served]:
    """vLLM with the arguments of the app, changed for a CPU, with a second adapter, on a free local port."""
    folder = tmp_path_factory.mktemp("vllm")
    config = Config(str(real_adapter(folder / "a", 24, 1)), "", str(smollm2), MAX_MODEL_LEN=1024)
    argv = vllm_doric.vllm_argv(config)
    argv[argv.index("--host") + 1] = "127.0.0.1"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    argv[argv.index("--port") + 1] = port
    at = argv.index("--lora-modules") + 2
    argv.insert(at, f"other={real_adapter(folder / 'b', 8, 2)}")
    vllm_doric.write_key_check(folder)
    cpu = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_WAIT_POLICY": "PASSIVE", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    env = {**os.environ, **cpu, "HF_HUB_OFFLINE": "1", "VLLM_API_KEY": "sk-right", "PYTHONPATH": str(folder)}
    served = Served(f"http://127.0.0.1:{port}", folder / "log")
    with served.log.open("w") as log:
        process = subprocess.Popen([VLLM or "", *argv[1:], "--dtype", "bfloat16"], env=env, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 400
        while served.status("GET", "/health") != 200:
            assert process.poll() is None, served.log.read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(1)
        yield served
    finally:
        process.terminate()
        process.wait(60)


@needs_vllm
def test_vllm_parses_the_arguments(tmp_path):
    """vLLM's own parser accepts the command line for a merged model and the one for an adapter with its base."""
    lora = vllm_doric.vllm_argv(Config(str(adapter(tmp_path, 24)), "", "acme/base", "f00"))
    for argv in (lora, vllm_doric.vllm_argv(Config("acme/doric", "abc", FAST_BOOT=False))):
        subprocess.run([Path(VLLM or "").parent / "python", "-c", PARSE, *argv[2:]], check=True, timeout=300)


@needs_vllm
def test_no_route_of_vllm_opens_without_the_key(real):
    """Without the key, every route that vLLM logs, and some others, answer 401, except the two health checks."""
    routes = re.findall(r"Route: (\S+), Methods: ([A-Z, ]+)", real.log.read_text())
    assert len(routes) > 20
    tried = [(method, path) for path, methods in routes for method in methods.split(", ")]
    tried += [("GET", path) for path in ("/docs", "/openapi.json", "/", "/health/", "//v1/models", "/metrics")]
    found = {(method, path): real.status(method, re.sub(r"{\w+}", "x", path)) for method, path in tried}
    assert {path for (_, path), status in found.items() if status != 401} == {"/health", "/ping"}
    assert real.status("GET", "/v1/models", "Authorization: Bearer sk-right") == 200
    assert "sk-right" not in real.log.read_text()


@needs_vllm
def test_adapters_are_served_by_name_and_stream(real, tmp_path):
    """Through the chat, the base and two adapters of different rank give different answers under their names."""
    env = {**os.environ, "VLLM_URL": real.url, "VLLM_API_KEY": "sk-right", "XDG_STATE_HOME": str(tmp_path)}
    argv = [sys.executable, str(APP.with_name("chat_cli.py")), "--set", "temperature=0", "--set", "max_tokens=12"]
    answers = {
        name: subprocess.run(
            [*argv, "What is the capital of Scotland?"],
            env={**env, "VLLM_MODEL": name},
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        ).stdout
        for name in ("", "doric", "doric-base", "other")
    }
    assert answers[""] == answers["doric"]
    assert len(set(answers.values())) == 3


# -- documented --------------------------------------------------------------------------------------------------------


def test_every_setting_is_in_the_template_and_in_the_table():
    """.env.template has each variable of a deployment with its default, and the table in README has a row for it."""
    template, page = (ROOT / ".env.template").read_text("utf-8"), (APP.with_name("README.md")).read_text("utf-8")
    for name, value in Config().as_env().items():
        assert f"\n# {name}={value}\n" in template
        assert f"\n| `{name}` | " in page


def test_the_template_changes_no_default():
    """A deployment with an unchanged copy of .env.template has the default settings."""
    values = dict(
        line.split("=", 1) for line in (ROOT / ".env.template").read_text("utf-8").splitlines() if "=" in line
    )
    assert Config.from_env({name: value for name, value in values.items() if not name.startswith("#")}) == Config()


def test_the_quick_start_saves_the_new_key(tmp_path):
    """The commands in README write the key to .env.modal and .env, in place of an earlier key, for the user only."""
    page = APP.with_name("README.md").read_text("utf-8")
    lines = [line for line in page.splitlines() if line.startswith("(umask 077;")]
    (tmp_path / "modal").mkdir()
    (tmp_path / ".env").write_text("VLLM_API_KEY=old\nMODEL=x\n")
    script = "\n".join(lines).replace("openssl rand -hex 32", "echo 5eed")
    subprocess.run(["sh", "-ec", script], cwd=tmp_path / "modal", check=True)
    assert (tmp_path / ".env.modal").read_text() == "VLLM_API_KEY=5eed\n"
    assert (tmp_path / ".env").read_text() == "MODEL=x\nVLLM_API_KEY=5eed\n"
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (".env", ".env.modal")} == {0o600}
    ignored = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert {".env", ".env.*"} <= set(ignored)


# -- the folder --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [["-c", "import modal; modal.App"], ["-m", "modal", "--help"]])
def test_the_folder_does_not_shadow_the_package(argv):
    """In the repository's root, `import modal` imports the installed package, because the folder has no __init__.py."""
    assert not (ROOT / "modal" / "__init__.py").exists()
    subprocess.run([sys.executable, *argv], cwd=ROOT, check=True, capture_output=True, timeout=60)
