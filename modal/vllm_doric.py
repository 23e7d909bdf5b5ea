# # Serve a Doric model on Modal with vLLM, protected by two credentials
#
#     cd modal
#     uv run modal deploy vllm_doric.py    # a URL; a GPU starts at the first request and stops when there are no more
#     uv run modal run vllm_doric.py       # test a temporary copy: health, API key, one streamed answer and its timing
#
# Read the file from top to bottom: settings, revisions, image, storage, API key check, vLLM arguments, server, test.
# The file runs twice: on your machine when you deploy, and in the container when a request comes. The variables of your
# shell do not exist in the container, so all settings are written into the image. Only the keys are not: they are in a
# Modal Secret, and never in an image, an argument list or a log. `README.md` in this folder explains every step.

import hmac
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import asdict, dataclass, fields, replace
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

import modal

MINUTES = 60
PORT = 8000
START_LIMIT = 20 * MINUTES  # a big model's first start downloads weights, compiles and captures CUDA graphs

# ## Settings
#
# Each field is a variable with the same name, in the environment or in `.env`. The environment takes precedence, and an
# empty value counts as unset. `DORIC_MODEL` is a merged checkpoint, or a LoRA adapter if `DORIC_BASE_MODEL` is set to
# its base model. Both are Hub repositories (`you/doric-4b`) or folders in the Volume `doric-models`, which is mounted
# at `/models`. `DORIC_GPU` may list several types, such as `L4,A10`: Modal uses the first one that is available. All
# types must have the same number of GPUs, because there is only one vLLM command line.

GPUS = ("T4", "L4", "A10", "A10G", "L40S", "A100", "A100-40GB", "A100-80GB", "RTX-PRO-6000")
GPUS += ("H100", "H100!", "H200", "B200", "B200+")  # as of 2026; add newer GPUs here
FEW = {"A10": 4, "A10G": 4}  # the most GPUs of a container, where it is not 8


@dataclass(frozen=True)
class Config:
    """The settings of a deployment: `as_env` writes them into the image, `from_env` reads them in the container."""

    DORIC_MODEL: str = "/models/doric"
    DORIC_REVISION: str = ""
    DORIC_BASE_MODEL: str = ""
    DORIC_BASE_REVISION: str = ""
    DORIC_GPU: str = "L4"
    DORIC_PUBLIC: bool = False
    MAX_MODEL_LEN: int = 8192
    FAST_BOOT: bool = True
    SCALEDOWN_MINUTES: int = 5
    MAX_CONTAINERS: int = 1

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Config":
        """The settings in these variables. Raises ValueError with the name of an invalid variable."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            text = env.get(field.name, "").strip()
            if field.type is bool and text not in ("", "0", "1"):
                raise ValueError(f"{field.name} must be 1 or 0, not {text!r}")
            if field.type is int and text and not (text.isascii() and text.isdigit() and int(text) > 0):
                raise ValueError(f"{field.name} must be a whole number of at least 1, not {text!r}")
            if text:
                values[field.name] = text if field.type is str else int(text) if field.type is int else text == "1"
        chosen = cls(**values)
        if wrong := [name for name, _ in chosen.gpus() if name not in GPUS]:
            raise ValueError(f"DORIC_GPU must be one of {' '.join(GPUS)}, or a list with commas, not {wrong[0]!r}")
        counts = {count or "1" for _, count in chosen.gpus()}
        if len(counts) != 1 or not counts <= set("12345678"):
            raise ValueError(
                f"DORIC_GPU must have one count, from :1 to :8, for all its GPU types, but it is {chosen.DORIC_GPU!r}"
            )
        if many := [name for name, count in chosen.gpus() if int(count or 1) > FEW.get(name, 8)]:
            raise ValueError(f"DORIC_GPU must have at most {FEW[many[0]]} GPUs of the type {many[0]}")
        return chosen

    def gpus(self) -> list[tuple[str, str]]:
        """The GPU types to try, in order, each with its number of GPUs as a string ("" means one)."""
        parts = [part.strip().partition(":") for part in self.DORIC_GPU.upper().split(",")]
        return [(name, count) for name, _, count in parts]

    def as_env(self) -> dict[str, str]:
        """The settings as variables for the image. None of them is a key."""
        return {name: str(int(value) if isinstance(value, bool) else value) for name, value in asdict(self).items()}


def on_hub(model: str) -> bool:
    """Whether a model is a Hub repository and not a folder."""
    return bool(model) and not model.startswith("/")


def check_places(config: Config) -> None:
    """Raise ValueError for a model that no container can find, such as a folder of the machine that deploys."""
    part = r"[\w-][\w.-]*"
    for name, model in (("DORIC_MODEL", config.DORIC_MODEL), ("DORIC_BASE_MODEL", config.DORIC_BASE_MODEL)):
        if model and not re.fullmatch(rf"/models/.+|{part}(/{part})?", model, re.ASCII):
            raise ValueError(
                f"{name} must be OWNER/NAME as on huggingface.co, or a folder in the Volume doric-models such as "
                f"/models/doric (upload it with `uv run modal volume put doric-models FOLDER /doric`), not {model!r}"
            )


def variables() -> dict[str, str]:
    """The variables of the environment and of `.env`; in the container, those of the image.

    `.env` is in this folder, or in one above it in the repository. It is read as strictly as the other commands do.
    """
    if not modal.is_local():
        return dict(os.environ)
    try:
        import dotenv  # noqa: F401  # neither this nor doric is installed or needed in the image

        from doric.core.env_file import find_dotenv, load_variables
        from doric.core.errors import DoricError
    except ModuleNotFoundError:
        print(
            "note: .env is not read, because the packages of this project are not installed. Start with `uv run`",
            file=sys.stderr,
        )
        return dict(os.environ)
    try:
        path = find_dotenv(Path(__file__).parent)
        found = load_variables(path)
    except DoricError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        raise SystemExit(2) from None
    if path.is_fifo() or (path.is_file() and path.stat().st_size):
        print(f"note: settings are read from {path}", file=sys.stderr)
    return found


given = variables()
try:
    config = Config.from_env(given)
    if modal.is_local():
        check_places(config)
except ValueError as error:
    print(f"error: {error}\nhint: modal/README.md has a table of the variables", file=sys.stderr)
    raise SystemExit(2) from None

# ## Revisions
#
# If no revision is set for a model on the Hub, the Hub is asked for the newest commit when you deploy. This commit is
# served until the next deployment. A redirect to another host is refused, so that no key is sent there.


class SameHostRedirects(urllib.request.HTTPRedirectHandler):
    """Follows up to 20 redirects on the same host and raises URLError for a redirect to another host.

    While a request waits for a container, Modal answers with a 303 to the same host every 150 s.
    """

    max_repeats = max_redirections = 20

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise urllib.error.URLError(f"it redirects to another host, {new.scheme}://{new.hostname}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def call(
    url: str, headers: Mapping[str, str], body: Mapping[str, object] | None = None, seconds: float = START_LIMIT
) -> HTTPResponse:
    """Send a GET request, or a POST request if there is a JSON body. Returns the open response.

    Raises HTTPError for a 4xx or 5xx status.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {**headers, "Content-Type": "application/json"})
    return urllib.request.build_opener(SameHostRedirects).open(request, timeout=seconds)


def commit_of(repo: str, env: Mapping[str, str]) -> str:
    """The newest commit of a Hub repository. Raises OSError or ValueError if the Hub does not return a commit."""
    hub = env.get("HF_ENDPOINT") or "https://huggingface.co"
    token = {"Authorization": f"Bearer {env['HF_TOKEN']}"} if env.get("HF_TOKEN") else {}
    with call(f"{hub}/api/models/{repo}/revision/main", token, seconds=10) as answer:
        match json.load(answer):
            case {"sha": str(commit)}:
                return commit
    raise ValueError("no commit in the response")


def pinned(repo: str, revision: str, variable: str) -> str:
    """The revision to deploy. If it is not set, the Hub is asked. If this fails, prints a note and returns ""."""
    if not modal.is_local() or not on_hub(repo) or revision:
        return revision
    try:
        commit = commit_of(repo, given)
    except (OSError, HTTPException, ValueError) as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        print(f"note: {variable} is not set, and the Hub did not name a commit of {repo} ({why}).", file=sys.stderr)
        print("      Each start will use the current main. A private repository needs HF_TOKEN.", file=sys.stderr)
        return ""
    print(f"note: {variable} is not set: {repo} is deployed at {commit}, the current main", file=sys.stderr)
    return commit


config = replace(
    config,
    DORIC_REVISION=pinned(config.DORIC_MODEL, config.DORIC_REVISION, "DORIC_REVISION"),
    DORIC_BASE_REVISION=pinned(config.DORIC_BASE_MODEL, config.DORIC_BASE_REVISION, "DORIC_BASE_REVISION"),
)

# ## The image
#
# It has CUDA 13, because the vLLM wheel is linked against `libcudart.so.13`. It is the `devel` image, because
# FlashInfer compiles kernels at the first use. The three package versions are the same as in the test on a CPU.

image = (
    modal.Image.from_registry("nvidia/cuda:13.0.1-devel-ubuntu24.04", add_python="3.12")
    .entrypoint([])
    .uv_pip_install("vllm==0.32.0", "transformers==5.19.0", "huggingface_hub==2.4.0", uv_version="0.13.9")
    .env({"HF_XET_HIGH_PERFORMANCE": "1", "DO_NOT_TRACK": "1", **config.as_env()})
)

# ## Storage and keys
#
# Weights and compiled kernels are kept in Volumes, so that later starts do not download or compile them again.
# The Secret must contain `VLLM_API_KEY`, and `HF_TOKEN` if a repository is private:
#
#     uv run modal secret create doric-vllm --from-dotenv ../.env.modal

HOME = "/root"  # of the container's user on Modal; not a folder of this machine

volumes: dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount] = {
    f"{HOME}/.cache/huggingface": modal.Volume.from_name("doric-hf-cache", create_if_missing=True),
    f"{HOME}/.cache/vllm": modal.Volume.from_name("doric-vllm-cache", create_if_missing=True),
    "/models": modal.Volume.from_name("doric-models", create_if_missing=True),
}
secret = modal.Secret.from_name("doric-vllm", required_keys=["VLLM_API_KEY"])

# ## The API key check
#
# vLLM's own key check covers only `/v1` and a few other prefixes, so anyone could generate text with
# `POST /invocations`. This middleware checks the key on every path. Only the two health checks need no key.

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class RequireKey:
    """ASGI middleware: answers 401 without `Authorization: Bearer $VLLM_API_KEY`, except on /health and /ping."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self.app = app
        self.expected = b"Bearer " + os.environ["VLLM_API_KEY"].encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        probe = scope["type"] == "http" and scope["path"] in ("/health", "/ping")
        if scope["type"] == "lifespan" or probe or self.holds_key(scope["headers"]):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            body = b'{"error": {"message": "missing or wrong VLLM_API_KEY", "type": "unauthorized", "code": 401}}'
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    def holds_key(self, headers: list[tuple[bytes, bytes]]) -> bool:
        return hmac.compare_digest(dict(headers).get(b"authorization", b""), self.expected)


def write_key_check(folder: Path) -> None:
    """Write RequireKey as the module `doric_lock`, because the vLLM process can import neither this file nor modal."""
    head = "from __future__ import annotations\n\nimport hmac\nimport os\n\n\n"
    (folder / "doric_lock.py").write_text(head + inspect.getsource(RequireKey), encoding="utf-8")


# ## The server's arguments
#
# The adapter is served as `doric` and its base model as `doric-base`, so that one server offers both. vLLM rejects an
# adapter with too high a rank only after loading the base model, so the rank is read first and rounded up to a rank
# that vLLM allows. System prompt and chat template come from the checkpoint. For an adapter, its own template is named:
# vLLM would take the base model's, which may let the model think first or write another date than in training.

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def lora_rank(adapter: Path) -> int:
    """The smallest rank that vLLM allows for the adapter in this folder. Raises ValueError if there is none."""
    file = adapter / "adapter_config.json"
    if not file.is_file():
        raise ValueError(f"no adapter_config.json in {adapter}. If it is a merged model, unset DORIC_BASE_MODEL")
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        ranks = [settings["r"], *(settings.get("rank_pattern") or {}).values()]
        rank = max(map(int, ranks))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        remedy = "If PEFT did not save it as a LoRA adapter, merge it into its base model and unset DORIC_BASE_MODEL"
        raise ValueError(f'{file} does not give the adapter\'s rank as a number "r". {remedy}') from error
    if rank > RANKS[-1]:
        raise ValueError(
            f"{adapter} has rank {rank}, but vLLM serves at most {RANKS[-1]}. Merge it into its base model"
        )
    return next(allowed for allowed in RANKS if allowed >= rank)


def check_base(adapter: Path, base: str) -> None:
    """Raise ValueError if the adapter was trained on another model than `base`: its answers would be nonsense.

    Copies of one model under several owners, and its quantised versions, have the same name. A folder can have any
    name, so for a folder the two are only printed.
    """
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    trained = str(settings.get("base_model_name_or_path") or "")
    if not trained or model_name(trained) == model_name(base):
        return
    if on_hub(base) and on_hub(trained) and trained.count("/") == 1:
        raise ValueError(
            f"the adapter {adapter} was trained on {trained}, not on {base}. Set DORIC_BASE_MODEL={trained}. If it is "
            "the same model under another name, correct base_model_name_or_path in adapter_config.json"
        )
    print(
        f"note: the adapter was trained on {trained} and is served on {base}: make sure they are the same", flush=True
    )


def model_name(model: str) -> str:
    """The name of a model without its owner or folder, and without the suffixes of quantised copies."""
    name = model.rstrip("/").rpartition("/")[2].lower()
    for suffix in ("-bnb-4bit", "-unsloth", "-bf16"):
        name = name.removesuffix(suffix)
    return name


def lora_argv(model: str, revision: str, base: str) -> list[str]:
    """The vLLM arguments for this adapter. A Hub adapter is downloaded first, because vLLM would ignore its revision.

    Raises RuntimeError if it cannot be downloaded, and ValueError if it cannot be served on this base model.
    """
    folder = Path(model)
    if on_hub(model):
        try:
            from huggingface_hub import snapshot_download
        except ModuleNotFoundError:  # in a test outside the image; vLLM would then download it
            return ["--enable-lora", "--max-lora-rank", str(RANKS[-1]), "--lora-modules", f"doric={model}"]
        try:
            folder = Path(snapshot_download(model, revision=revision or None))
        except OSError as error:  # all errors of the Hub's client are OSErrors: refused, interrupted or no answer
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            remedy = f"Check the name {model}, and HF_TOKEN in the Secret if it is private; then deploy again"
            raise RuntimeError(f"the adapter cannot be downloaded from the Hub: {reason}. {remedy}") from error
    rank = lora_rank(folder)
    check_base(folder, base)
    template = folder / "chat_template.jinja"
    own = ["--chat-template", str(template)] if template.is_file() else []
    return ["--enable-lora", "--max-lora-rank", str(rank), "--lora-modules", f"doric={folder}", *own]


def vllm_argv(config: Config, name: str = "doric") -> list[str]:
    """The `vllm serve` command line. It contains no key: vLLM and RequireKey read VLLM_API_KEY from the environment.

    `name` is the name under which a merged model is served. Raises ValueError or
    RuntimeError if the model cannot be served.
    """
    if config.DORIC_BASE_MODEL:
        model, revision, name = config.DORIC_BASE_MODEL, config.DORIC_BASE_REVISION, "doric-base"
        lora = lora_argv(config.DORIC_MODEL, config.DORIC_REVISION, model)
    else:
        model, revision, lora = config.DORIC_MODEL, config.DORIC_REVISION, []
        if (Path(model) / "adapter_config.json").is_file():
            raise ValueError(f"{model} is a LoRA adapter: set DORIC_BASE_MODEL to the model that it was trained on")
    pin = ["--revision", revision] if on_hub(model) and revision else []
    gpus = config.gpus()[0][1] or "1"
    return [
        *("vllm", "serve", model, *pin, "--served-model-name", name, *lora),
        *("--host", "0.0.0.0", "--port", str(PORT), "--tensor-parallel-size", gpus),
        *("--max-model-len", str(config.MAX_MODEL_LEN), "--generation-config", "auto"),
        *("--enforce-eager" if config.FAST_BOOT else "--no-enforce-eager", "--disable-fastapi-docs"),
        *("--middleware", "doric_lock.RequireKey", "--disable-access-log-for-endpoints", "/health,/metrics"),
    ]


# ## The server
#
# `max_containers` limits the cost: further requests wait in Modal's queue. Unless `DORIC_PUBLIC=1`, Modal rejects
# requests without a proxy token before a GPU starts. The API key is required in both cases.

app = modal.App("doric-vllm")


@app.function(
    image=image,
    gpu=[":".join(filter(None, gpu)) for gpu in config.gpus()],
    volumes=volumes,
    secrets=[secret],
    max_containers=config.MAX_CONTAINERS,
    scaledown_window=config.SCALEDOWN_MINUTES * MINUTES,
    startup_timeout=START_LIMIT,
    timeout=20 * MINUTES,  # time limit for one request, including streaming
)
@modal.concurrent(max_inputs=32)
@modal.web_server(PORT, startup_timeout=START_LIMIT, requires_proxy_auth=not config.DORIC_PUBLIC)
def serve() -> None:
    """Start vLLM and return when it is ready. Raises RuntimeError or ValueError with the reason if it cannot start."""
    start_vllm(config)


def start_vllm(config: Config, name: str = "doric") -> "subprocess.Popen[bytes]":
    """Start vLLM with the API key check, and return its process when it is ready. Raises the errors of `serve`."""
    if not os.environ.get("VLLM_API_KEY"):
        raise RuntimeError("the Secret doric-vllm has an empty VLLM_API_KEY")
    argv = vllm_argv(config, name)
    lock = Path(tempfile.mkdtemp(prefix="doric-lock-"))
    write_key_check(lock)
    print("starting:", *argv, flush=True)
    path = [str(lock), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": os.pathsep.join(path)})
    wait_until_ready(process, START_LIMIT - MINUTES)
    threading.Thread(target=exit_with, args=(process,), daemon=True).start()
    return process


def wait_until_ready(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Return when /health answers 200. Raises RuntimeError if the process ends first or the time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (code := process.poll()) is not None:
            raise RuntimeError(f"vLLM ended with exit code {code} before it was ready: {likely_reason(config)}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5):
                return
        except OSError:  # not listening yet, or still loading
            time.sleep(1)
    process.terminate()
    raise RuntimeError(f"vLLM was not ready within {seconds:.0f} s")


def likely_reason(config: Config) -> str:
    """The likely reason why vLLM did not start. For a missing folder, vLLM itself reports a wrong Hub name."""
    for model in (config.DORIC_MODEL, config.DORIC_BASE_MODEL):
        if model and not on_hub(model) and not Path(model).is_dir():
            return f"there is no {model}. Upload it with: modal volume put doric-models FOLDER {model[7:]}"
    return "see its messages in the log above"


def exit_with(process: subprocess.Popen[bytes]) -> None:
    """End the container when vLLM ends, so that Modal starts a new one instead of calling a closed port."""
    while process.poll() is None:
        time.sleep(2)
    print(f"vLLM ended with exit code {process.returncode}; the container stops", flush=True)
    os._exit(1)


# ## The test
#
# `modal run vllm_doric.py` starts a temporary copy and calls it without and with the API key. It needs the keys on your
# machine too: `VLLM_API_KEY`, and also `MODAL_KEY` and `MODAL_SECRET` unless `DORIC_PUBLIC=1`.


@app.local_entrypoint()
def check(prompt: str = "Fit like the day? Fit's a good denner for a caul nicht?") -> None:
    """Wait until the server is healthy, test the API key check, stream one answer and print its timing."""
    url, mine = serve.get_web_url(), variables()
    wanted = ["VLLM_API_KEY"] if config.DORIC_PUBLIC else ["VLLM_API_KEY", "MODAL_KEY", "MODAL_SECRET"]
    if missing := [name for name in wanted if not mine.get(name)]:
        sys.exit(f"error: {', '.join(missing)} not set on this machine\nhint: add the missing keys to .env")
    edge = {} if config.DORIC_PUBLIC else {"Modal-Key": mine["MODAL_KEY"], "Modal-Secret": mine["MODAL_SECRET"]}
    started = time.monotonic()
    try:
        call(f"{url}/health", edge).close()
        print(f"healthy after {time.monotonic() - started:.0f} s: {url}")
        require_lock(f"{url}/v1/models", edge)
        stream_one(f"{url}/v1/chat/completions", {**edge, "Authorization": f"Bearer {mine['VLLM_API_KEY']}"}, prompt)
    except urllib.error.HTTPError as error:
        sys.exit(f"error: {error.url} answered {error.code}: {printable(error.read(300).decode(errors='replace'))}")
    except urllib.error.URLError as error:
        sys.exit(f"error: {url} cannot be reached: {error.reason}")
    except (OSError, HTTPException) as error:
        sys.exit(f"error: the connection to {url} failed: {type(error).__name__} {error}".rstrip())


def require_lock(url: str, headers: Mapping[str, str]) -> None:
    """Exit with an error unless this URL answers 401 to a request without the API key."""
    try:
        call(url, headers).close()
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        print("API key check: a request without the key is refused")
    else:
        sys.exit(f"error: {url} answered without the API key: the key check is not active")


def stream_one(url: str, headers: Mapping[str, str], prompt: str) -> None:
    """Print one answer while it streams, then its time to the first token and number of chunks. Exits on an error."""
    body = {"model": "doric", "messages": [{"role": "user", "content": prompt}], "max_tokens": 200, "stream": True}
    print(f"> {prompt}")
    asked, first, chunks, finish = time.monotonic(), None, 0, None
    with call(url, headers, body) as response:
        for line in response:
            if not line.startswith(b"data:") or line[5:].strip() in (b"", b"[DONE]"):
                continue
            text, finish = read_event(line[5:], finish)
            if text:
                first = first or time.monotonic()
                chunks += 1
                print(printable(text), end="", flush=True)
    if finish is None:
        sys.exit("\nerror: the answer is incomplete: the stream ended without a finish_reason")
    if first is None:
        sys.exit("error: the answer was empty")
    print(f"\nfirst token after {first - asked:.2f} s, {chunks} chunks in {time.monotonic() - asked:.2f} s")


def read_event(event: bytes, finish: str | None) -> tuple[str, str | None]:
    """The text of one event and the finish_reason so far. Exits with the message of an error event."""
    try:
        data = json.loads(event)
    except ValueError:
        sys.exit(f"\nerror: the server sent an event that is not JSON: {printable(repr(event[:200]))}")
    match data:
        case {"error": error} if error:
            message = error.get("message", error) if isinstance(error, dict) else error
            sys.exit(f"\nerror: the server reported an error: {printable(str(message))}")
        case {"choices": [choice, *_]}:
            return (choice.get("delta") or {}).get("content") or "", choice.get("finish_reason") or finish
    return "", finish


def printable(text: str) -> str:
    """The text without control characters, which a terminal would execute."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")
