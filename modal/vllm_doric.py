# # Serve Doric on Modal with vLLM, behind two locks
#
#     cd modal
#     uv run modal deploy vllm_doric.py    # a URL that starts a GPU when called and stops it when nobody calls
#     uv run modal run vllm_doric.py       # a throw-away copy: health, lock, one streamed answer and its timing
#
# The file reads from top to bottom: what can be chosen, the image, the storage, the inner lock, the server, the check.
# It runs twice: on your machine when you deploy, and in the container when somebody calls. Nothing set in your shell
# exists over there, so every choice is written into the image. Keys are the exception: they travel in a Modal Secret
# and are in no image, no argument list and no log. `README.md` beside this file walks through all of it.

import hmac
import inspect
import json
import os
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
START_LIMIT = 20 * MINUTES  # the first start of a big model: download, compile, capture graphs

# ## What can be chosen
#
# Each field is a variable of that name, in the environment or in `.env`; the environment wins, an empty one is unset.
# `DORIC_MODEL` is a merged checkpoint, or a LoRA adapter when `DORIC_BASE_MODEL` says what it adapts. Either is a Hub
# repository (`you/doric-4b`) or a folder of the Volume `doric-models`, which is mounted at `/models`. `DORIC_GPU` may
# name several, `L4,A10`: Modal takes the first that it has. They share one command line, so all count the same.

GPUS = ("T4", "L4", "A10", "A10G", "L40S", "A100", "A100-40GB", "A100-80GB", "RTX-PRO-6000")
GPUS += ("H100", "H100!", "H200", "B200", "B200+")  # as of 2026; a newer one is added here


@dataclass(frozen=True)
class Config:
    """One deployment's choices, written into the image by `as_env` and read back there by `from_env`."""

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
        """The choices among these variables. Raises ValueError naming the variable that is wrong."""
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
            raise ValueError(f"DORIC_GPU must be one of {' '.join(GPUS)}, or several with commas, not {wrong[0]!r}")
        counts = {count or "1" for _, count in chosen.gpus()}
        if len(counts) != 1 or not counts <= set("12345678"):
            raise ValueError(f"DORIC_GPU must ask for one number of GPUs, from :1 to :8, not {chosen.DORIC_GPU!r}")
        return chosen

    def gpus(self) -> list[tuple[str, str]]:
        """The GPUs to try, in order, each with how many of it ("" for one)."""
        parts = [part.strip().partition(":") for part in self.DORIC_GPU.upper().split(",")]
        return [(name, count) for name, _, count in parts]

    def as_env(self) -> dict[str, str]:
        """The same choices as variables for the image. No key is among them."""
        return {name: str(int(value) if isinstance(value, bool) else value) for name, value in asdict(self).items()}


def on_hub(model: str) -> bool:
    """Whether a model is a Hub repository rather than a folder."""
    return bool(model) and not model.startswith("/")


def variables() -> dict[str, str]:
    """What the deployer set: `.env` beside or above this file, then the environment. In the container: the image's."""
    if not modal.is_local():
        return dict(os.environ)
    try:
        from dotenv import dotenv_values, find_dotenv  # not in the image, and not needed there
    except ModuleNotFoundError:
        print("note: .env is not read without python-dotenv: start with `uv run`, or install it", file=sys.stderr)
        return dict(os.environ)
    written = {name: text for name, text in dotenv_values(find_dotenv()).items() if text is not None}
    return {**written, **os.environ}


given = variables()
try:
    config = Config.from_env(given)
except ValueError as error:
    print(f"error: {error}\nhint: modal/README.md has a table of the variables", file=sys.stderr)
    raise SystemExit(2) from None

# ## What main is today
#
# A model on the Hub without a revision is asked for its newest commit while deploying, and that commit is deployed:
# what answers next month is what was looked at today. Keys go to the host they are for, wherever it redirects to.


class Patient(urllib.request.HTTPRedirectHandler):
    """Modal answers a request that waits for a container with a 303 every 150 s: follow up to twenty of them.

    A redirect to another host would take the keys there: it raises URLError.
    """

    max_repeats = max_redirections = 20

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise urllib.error.URLError(f"it sends us on to {new.scheme}://{new.hostname}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def call(
    url: str, headers: Mapping[str, str], body: Mapping[str, object] | None = None, seconds: float = START_LIMIT
) -> HTTPResponse:
    """GET, or POST of a JSON body; the open response. Raises urllib.error.HTTPError for 4xx and 5xx."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {**headers, "Content-Type": "application/json"})
    return urllib.request.build_opener(Patient).open(request, timeout=seconds)


def commit_of(repo: str, env: Mapping[str, str]) -> str:
    """The newest commit of a Hub repository. Raises OSError or ValueError when the Hub does not say."""
    hub = env.get("HF_ENDPOINT") or "https://huggingface.co"
    token = {"Authorization": f"Bearer {env['HF_TOKEN']}"} if env.get("HF_TOKEN") else {}
    with call(f"{hub}/api/models/{repo}/revision/main", token, seconds=10) as answer:
        match json.load(answer):
            case {"sha": str(commit)}:
                return commit
    raise ValueError("it names no commit")


def pinned(repo: str, revision: str, variable: str) -> str:
    """The revision to deploy, asked of the Hub where none is set; "" with a note where the Hub does not say."""
    if not modal.is_local() or not on_hub(repo) or revision:
        return revision
    try:
        commit = commit_of(repo, given)
    except (OSError, HTTPException, ValueError) as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        print(f"note: {variable} is not set and the Hub does not name a commit of {repo} ({why}):", file=sys.stderr)
        print("      each start takes what is on main that day; HF_TOKEN opens a private repository", file=sys.stderr)
        return ""
    print(f"note: {variable} is not set: {repo} is deployed at {commit}, which is main today", file=sys.stderr)
    return commit


config = replace(
    config,
    DORIC_REVISION=pinned(config.DORIC_MODEL, config.DORIC_REVISION, "DORIC_REVISION"),
    DORIC_BASE_REVISION=pinned(config.DORIC_BASE_MODEL, config.DORIC_BASE_REVISION, "DORIC_BASE_REVISION"),
)

# ## The image
#
# CUDA 13, because the vLLM wheel is linked against `libcudart.so.13`; the `devel` flavour, because FlashInfer compiles
# kernels on first use. The three versions are the ones that the rehearsal on a CPU was run with.

image = (
    modal.Image.from_registry("nvidia/cuda:13.0.1-devel-ubuntu24.04", add_python="3.12")
    .entrypoint([])
    .uv_pip_install("vllm==0.32.0", "transformers==5.19.0", "huggingface_hub==2.4.0", uv_version="0.13.9")
    .env({"HF_XET_HIGH_PERFORMANCE": "1", "DO_NOT_TRACK": "1", **config.as_env()})
)

# ## Storage and keys
#
# Weights and compiled kernels outlive the container in Volumes: the second start reads them instead of making them.
# The Secret must hold `VLLM_API_KEY`, and holds `HF_TOKEN` too when a repository is private:
#
#     uv run modal secret create doric-vllm --from-dotenv ../.env.modal

volumes: dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount] = {
    "/root/.cache/huggingface": modal.Volume.from_name("doric-hf-cache", create_if_missing=True),
    "/root/.cache/vllm": modal.Volume.from_name("doric-vllm-cache", create_if_missing=True),
    "/models": modal.Volume.from_name("doric-models", create_if_missing=True),
}
secret = modal.Secret.from_name("doric-vllm", required_keys=["VLLM_API_KEY"])

# ## The inner lock
#
# vLLM's own key check guards `/v1` and a few more prefixes, and leaves others open: `POST /invocations` generates text
# for anyone. This middleware is asked first, on every path. Only the two liveness probes pass without the key.

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class RequireKey:
    """ASGI middleware: 401 for all but /health and /ping unless `Authorization: Bearer $VLLM_API_KEY` is sent."""

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


def lay_lock(folder: Path) -> None:
    """Write RequireKey as a module `doric_lock`: the vLLM process can count neither on this file nor on modal."""
    head = "from __future__ import annotations\n\nimport hmac\nimport os\n\n\n"
    (folder / "doric_lock.py").write_text(head + inspect.getsource(RequireKey), encoding="utf-8")


# ## The server's arguments
#
# The adapter is served as `doric` and its base as `doric-base`, so that one server shows before and after. vLLM notices
# an adapter of too high a rank only after it has loaded the base, so the rank is read first and rounded up to what
# vLLM allows. There is no chat template and no system prompt here: both are the checkpoint's own business.

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def lora_rank(adapter: Path) -> int:
    """The smallest rank vLLM can be told that holds the adapter in this folder. Raises ValueError if none does."""
    file = adapter / "adapter_config.json"
    if not file.is_file():
        raise ValueError(f"no adapter_config.json in {adapter}: for a merged model leave DORIC_BASE_MODEL unset")
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        ranks = [settings["r"], *(settings.get("rank_pattern") or {}).values()]
        rank = max(map(int, ranks))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        remedy = "is it a LoRA adapter, saved by PEFT? Otherwise merge it into its base and unset DORIC_BASE_MODEL"
        raise ValueError(f'{file} does not say the adapter\'s rank as a number "r": {remedy}') from error
    if rank > RANKS[-1]:
        raise ValueError(f"{adapter} has rank {rank}, vLLM serves at most {RANKS[-1]}: merge it into its base instead")
    return next(allowed for allowed in RANKS if allowed >= rank)


def lora_argv(model: str, revision: str) -> list[str]:
    """The arguments that serve this adapter as `doric`, fetched first when it is on the Hub: vLLM would take main."""
    folder = Path(model)
    if on_hub(model):
        try:
            from huggingface_hub import snapshot_download
        except ModuleNotFoundError:  # a start rehearsed outside the image: name what vLLM would fetch, at any rank
            return ["--enable-lora", "--max-lora-rank", str(RANKS[-1]), "--lora-modules", f"doric={model}"]
        try:
            folder = Path(snapshot_download(model, revision=revision or None))
        except OSError as error:  # all that the Hub's client raises when it is refused, cut off or answered nothing
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            remedy = f"is there a {model}, and is HF_TOKEN in the Secret if it is private? Deploy again to try again"
            raise RuntimeError(f"the adapter cannot be fetched from the Hub: {reason}: {remedy}") from error
    return ["--enable-lora", "--max-lora-rank", str(lora_rank(folder)), "--lora-modules", f"doric={folder}"]


def vllm_argv(config: Config) -> list[str]:
    """The whole `vllm serve` command line. No key is in it: vLLM and the lock read VLLM_API_KEY themselves."""
    if config.DORIC_BASE_MODEL:
        model, revision, name = config.DORIC_BASE_MODEL, config.DORIC_BASE_REVISION, "doric-base"
        lora = lora_argv(config.DORIC_MODEL, config.DORIC_REVISION)
    else:
        model, revision, name, lora = config.DORIC_MODEL, config.DORIC_REVISION, "doric", []
        if (Path(model) / "adapter_config.json").is_file():
            raise ValueError(f"{model} is a LoRA adapter: set DORIC_BASE_MODEL to the model it was trained on")
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
# `max_containers` caps the bill: callers beyond what it can hold wait in Modal's queue. The edge is closed unless
# `DORIC_PUBLIC=1`: without a proxy token a stranger cannot even start the GPU. Even then the inner lock stands.

app = modal.App("doric-vllm")


@app.function(
    image=image,
    gpu=[":".join(filter(None, gpu)) for gpu in config.gpus()],
    volumes=volumes,
    secrets=[secret],
    max_containers=config.MAX_CONTAINERS,
    scaledown_window=config.SCALEDOWN_MINUTES * MINUTES,
    startup_timeout=START_LIMIT,
    timeout=20 * MINUTES,  # for one request, streamed to its end
)
@modal.concurrent(max_inputs=32)
@modal.web_server(PORT, startup_timeout=START_LIMIT, requires_proxy_auth=not config.DORIC_PUBLIC)
def serve() -> None:
    """Start vLLM and return once it answers. Raises RuntimeError or ValueError with the reason when it will not."""
    if not os.environ.get("VLLM_API_KEY"):
        raise RuntimeError("the Secret doric-vllm holds an empty VLLM_API_KEY")
    argv = vllm_argv(config)
    lock = Path(tempfile.mkdtemp(prefix="doric-lock-"))
    lay_lock(lock)
    print("starting:", *argv, flush=True)
    path = [str(lock), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": os.pathsep.join(path)})
    wait_until_ready(process, START_LIMIT - MINUTES)
    threading.Thread(target=leave_with, args=(process,), daemon=True).start()


def wait_until_ready(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Return when /health answers 200. Raises RuntimeError when the process ends first or the time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (code := process.poll()) is not None:
            raise RuntimeError(f"vLLM ended with exit code {code} before it was ready: {likely_reason(config)}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5):
                return
        except OSError:  # not listening yet, or listening and still loading
            time.sleep(1)
    process.terminate()
    raise RuntimeError(f"vLLM was not ready within {seconds:.0f} s")


def likely_reason(config: Config) -> str:
    """What to say of a vLLM that will not start: a folder that was never uploaded looks to it like a bad Hub name."""
    for model in (config.DORIC_MODEL, config.DORIC_BASE_MODEL):
        if model and not on_hub(model) and not Path(model).is_dir():
            return f"there is no {model}; put it there with: modal volume put doric-models FOLDER {model[7:]}"
    return "its own words are in the log above"


def leave_with(process: subprocess.Popen[bytes]) -> None:
    """End the container when vLLM ends: Modal then starts a fresh one instead of calling a closed port for ever."""
    while process.poll() is None:
        time.sleep(2)
    print(f"vLLM ended with exit code {process.returncode}: leaving", flush=True)
    os._exit(1)


# ## The check
#
# `modal run vllm_doric.py` starts a throw-away copy and calls it first as a stranger and then as its owner. It needs
# the keys on this side too: `VLLM_API_KEY`, and `MODAL_KEY` with `MODAL_SECRET` unless the edge is open.


@app.local_entrypoint()
def check(prompt: str = "Fit like the day? Fit's a good denner for a caul nicht?") -> None:
    """Wait for health, try the lock, stream one answer and print the time to its first token."""
    url, mine = serve.get_web_url(), variables()
    wanted = ["VLLM_API_KEY"] if config.DORIC_PUBLIC else ["VLLM_API_KEY", "MODAL_KEY", "MODAL_SECRET"]
    if missing := [name for name in wanted if not mine.get(name)]:
        sys.exit(f"error: {', '.join(missing)} not set on this side\nhint: the check calls as you would; see .env")
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
        sys.exit(f"error: {url} broke off: {type(error).__name__} {error}".rstrip())


def require_lock(url: str, headers: Mapping[str, str]) -> None:
    """Leave with an error unless this URL refuses a call that carries no inner key."""
    try:
        call(url, headers).close()
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        print("locked: no key, no answer")
    else:
        sys.exit(f"error: {url} answered without the key: the inner lock is not there")


def stream_one(url: str, headers: Mapping[str, str], prompt: str) -> None:
    """Print one answer as it streams, then the time to its first token and its length in streamed pieces."""
    body = {"model": "doric", "messages": [{"role": "user", "content": prompt}], "max_tokens": 200, "stream": True}
    print(f"> {prompt}")
    asked, first, pieces, finish = time.monotonic(), None, 0, None
    with call(url, headers, body) as response:
        for line in response:
            if not line.startswith(b"data:") or line[5:].strip() in (b"", b"[DONE]"):
                continue
            text, finish = piece(line[5:], finish)
            if text:
                first = first or time.monotonic()
                pieces += 1
                print(printable(text), end="", flush=True)
    if finish is None:
        sys.exit("\nerror: the answer broke off: it came without a finish_reason")
    if first is None:
        sys.exit("error: the answer was empty")
    print(f"\nfirst token after {first - asked:.2f} s, {pieces} pieces in {time.monotonic() - asked:.2f} s")


def piece(event: bytes, finish: str | None) -> tuple[str, str | None]:
    """The text of one event, and why the answer ended as far as is known. Leaves with an error the server sends."""
    try:
        said = json.loads(event)
    except ValueError:
        sys.exit(f"\nerror: the server sent something that is not JSON: {printable(repr(event[:200]))}")
    match said:
        case {"error": error} if error:
            said = error.get("message", error) if isinstance(error, dict) else error
            sys.exit(f"\nerror: the server broke off: {printable(str(said))}")
        case {"choices": [choice, *_]}:
            return (choice.get("delta") or {}).get("content") or "", choice.get("finish_reason") or finish
    return "", finish


def printable(text: str) -> str:
    """What a model or a server says, without what a terminal would obey."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")
