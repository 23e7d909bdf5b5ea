"""The teacher's model: the form of its name, and what the Hugging Face Hub says about it before a GPU is paid for."""

import argparse
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.parse import quote, urlsplit

from doric.core.errors import SettingsError
from doric.core.settings import check_key, is_loopback, normalize_url

HUB = "https://huggingface.co"
EXAMPLE = "Qwen/Qwen3-4B-Instruct-2507"
PART = r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?"
REPO = re.compile(rf"{PART}/{PART}", re.ASCII)
"""An owner and a name on the Hub."""
FOLDER = re.compile(r"/models(?:/[\w.-]*\w)+/?", re.ASCII)
"""A folder in the Volume doric-models."""
PAGE = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)(?:/.*)?", re.ASCII)
"""The address of a model's page."""
CONFIGS = ("config.json", "params.json")
"""vLLM loads a folder that has one of them."""
ADAPTER = "adapter_config.json"
WEIGHTS = re.compile(r"\.(safetensors|bin|pt|pth)$")
BYTES = {"F64": 2, "F32": 2, "BF16": 2, "F16": 2, "I32": 4, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1}
"""Bytes of a parameter in the GPU's memory, by the names of safetensors. Packed weights are in I32 or U8."""
SECONDS = 15.0
"""How long the Hub may take to answer."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model that the Hub knows: its commit, and whether it can be downloaded only with a token.

    `gib` is the least that its weights take of the GPU's memory, and `context` the most tokens that vLLM serves; 0 if
    not known.
    """

    commit: str
    needs_token: bool
    gib: float = 0.0
    context: int = 0


def model_name(text: str) -> str:
    """An argparse `type=` for a model of the Hub (owner/name) or a folder of the Volume (/models/...).

    >>> model_name("Qwen/Qwen3-4B-Instruct-2507"), model_name("/models/teacher")
    ('Qwen/Qwen3-4B-Instruct-2507', '/models/teacher')
    """
    if FOLDER.fullmatch(text) and ".." not in text:
        return text.rstrip("/")
    if REPO.fullmatch(text) and not re.search(r"--|\.\.", text) and not text.endswith(".git"):
        return text
    remedy = f"write OWNER/NAME as on huggingface.co, for instance {EXAMPLE}"
    if found := PAGE.fullmatch(text):
        remedy = f"write {found[1].removesuffix('.git')}"
    elif text.startswith(("/", "./", "../", "~", "\\")) or re.match(r"[A-Za-z]:\\", text):
        remedy = "a folder must be in the Volume: uv run modal volume put doric-models FOLDER /NAME, then /models/NAME"
    elif (name := re.split("[:@]", text)[0]) != text and REPO.fullmatch(name):
        remedy = f"write {name}; a commit goes into --revision"
    raise argparse.ArgumentTypeError(f"{text!r} is not a model of the Hugging Face Hub: {remedy}")


def check_on_hub(model: str, revision: str, variables: Mapping[str, str]) -> HubModel:
    """What the Hub says about a model. Raises `SettingsError` if vLLM could not load it, and OSError without an answer.

    `variables` may have HF_ENDPOINT and HF_TOKEN. The token goes to the Hub only, and not over an unencrypted network.
    """
    hub = normalize_url(variables.get("HF_ENDPOINT", "").strip(), source="HF_ENDPOINT") or HUB
    token = check_key(variables.get("HF_TOKEN", "").strip(), "HF_TOKEN")
    parts = urlsplit(hub)
    safe = parts.scheme == "https" or is_loopback(parts.hostname or "")
    headers = {"Authorization": f"Bearer {token}"} if token and safe else {}
    page = f"{hub}/api/models/{model}/revision/{quote(revision or 'main', safe='')}"
    try:
        facts = json.loads(_get(page, headers))
        names = [str(file["rfilename"]) for file in facts["siblings"]]
        commit, locked = str(facts["sha"]), bool(facts.get("gated") or facts.get("private"))
        gib = _gib((facts.get("safetensors") or {}).get("parameters") or {})
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404):
            raise _unknown(model, revision, error, bool(token)) from None
        raise OSError(f"it answered with status {error.code}") from None
    except (HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OSError(f"its answer cannot be read ({type(error).__name__})") from None
    _check_files(model, names)
    name = next(name for name in CONFIGS if name in names)
    config = _config(model, f"{hub}/{model}/resolve/{commit}/{name}", headers)
    return HubModel(commit, locked, gib, _context(config))


def _gib(parameters: Mapping[str, int]) -> float:
    """The GiB of weights, from the number of parameters of each type. What vLLM converts counts as 16 bits.

    >>> _gib({"BF16": 4 * 2**30, "F8_E4M3": 2**30, "NEW": 2**30})
    9.0
    """
    return sum(count * BYTES.get(kind, 0) for kind, count in parameters.items()) / 2**30


def _check_files(model: str, names: list[str]) -> None:
    """Raise `SettingsError` if the files of a repository are not those of a model that vLLM loads."""
    hint = f"Choose a model with a config.json and weights in safetensors, for instance {EXAMPLE}."
    if not any(name in names for name in CONFIGS):
        if ADAPTER in names:
            raise SettingsError(f"{model} is a LoRA adapter, not a model", hint="Merge it into its base model first.")
        what = "has GGUF files only" if any(name.endswith(".gguf") for name in names) else "has no config.json"
        raise SettingsError(f"{model} {what}, so vLLM cannot load it", hint=hint)
    if not any(WEIGHTS.search(name) for name in names):
        raise SettingsError(f"{model} has no weights that vLLM can load", hint=hint)


def _config(model: str, url: str, headers: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON
    """The settings of a model; {} if they cannot be read, because the container will try it again.

    Raises `SettingsError` if the token may not download a file of a gated or private model.
    """
    try:
        return json.loads(_get(url, headers))
    except urllib.error.HTTPError as error:
        if error.code in (401, 403) and headers:
            hint = f"Accept its terms on {HUB}/{model} with the account of HF_TOKEN, then wait for the approval."
            raise SettingsError(f"HF_TOKEN may not download {model}, which is gated", hint=hint) from None
    except (OSError, HTTPException, ValueError):
        pass
    return {}


def _context(config: Any) -> int:  # noqa: ANN401 - any JSON
    """The most tokens that vLLM serves; 0 if it is not clear, for example because the positions are stretched.

    >>> _context({"text_config": {"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "default"}}})
    4096
    >>> _context({"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}})
    0
    """
    if not isinstance(config, dict):
        return 0
    text = config.get("text_config")
    text = text if isinstance(text, dict) else config
    most = text.get("max_position_embeddings")
    stretched = "factor" in json.dumps([text.get("rope_scaling"), text.get("rope_parameters")])
    return most if isinstance(most, int) and not stretched else 0


def _unknown(model: str, revision: str, error: urllib.error.HTTPError, token: bool) -> SettingsError:
    """The error for a model or a revision that the Hub does not show."""
    code = error.headers.get("X-Error-Code", "")
    if code == "RevisionNotFound":
        return SettingsError(f"{model} has no revision {revision or 'main'}", hint="Correct --revision, or omit it.")
    if code == "GatedRepo":
        hint = f"Accept its terms on {HUB}/{model}, and set HF_TOKEN in .env and in the Secret doric-vllm."
        return SettingsError(f"{model} is gated", hint=hint)
    if token and error.code == 401 and code != "RepoNotFound":
        hint = "Correct it in .env (and in the Secret doric-vllm), or remove it."
        return SettingsError("the Hugging Face Hub refused HF_TOKEN", hint=hint)
    private = "give HF_TOKEN access to it" if token else "set HF_TOKEN in .env"
    return SettingsError(
        f"the Hugging Face Hub does not know the model {model}, or it is private",
        hint=f"Check the name on {HUB}/{model}. If it is private, {private}.",
    )


class SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects on the same host only, so that the token goes to no other."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The next request. Raises URLError for another host."""
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise urllib.error.URLError("it redirects to another host")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _get(url: str, headers: Mapping[str, str]) -> Any:  # noqa: ANN401 - bytes
    request = urllib.request.Request(url, headers=dict(headers))
    with urllib.request.build_opener(SameHost).open(request, timeout=SECONDS) as response:
        return response.read()
