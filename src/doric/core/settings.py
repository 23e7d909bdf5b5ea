"""The settings from flags, environment variables and `.env`: which model to ask, where, and with which key.

Flags take precedence over the environment, and the environment over `.env`, also when the value is empty. A key is sent
only to its own provider. OPENAI_API_KEY is sent to the server that the user sets.
"""

import ipaddress
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from doric.core.errors import SettingsError, missing_package

log = logging.getLogger("doric")
PROVIDERS = {
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "huggingface": ("https://router.huggingface.co/v1", "HF_TOKEN"),
}
NO_KEY = "no-key"
"""The key sent to servers that need none, because the protocol requires one."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The server to ask. `base_url` and `key` are "" if not given. `model` is "" if the server must be asked for it."""

    provider: str
    base_url: str
    model: str
    key_variable: str
    key: str = field(repr=False)

    @property
    def given(self) -> bool:
        """Whether there is a model to ask: a key is set, or a base URL, whose server may need no key."""
        return bool(self.key or self.base_url)

    @property
    def address(self) -> str:
        """The base URL to use: the given one, else the provider's."""
        return self.base_url or PROVIDERS[self.provider][0]

    @property
    def local(self) -> bool:
        """Whether there is a base URL but no key, as for the user's own server."""
        return bool(self.base_url) and not self.key


def load_settings(
    *,
    model: str | None = None,
    base_url: str | None = None,
    key_variable: str | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
) -> Settings:
    """Read the settings. `dotenv` defaults to `.env` in the working folder. Raises `SettingsError`.

    `key_variable` is for a second server, such as a baseline: its key is read from that variable, and MODEL_PROVIDER
    is ignored.
    """
    values = read_dotenv(dotenv or Path(".env")) | dict(os.environ if environ is None else environ)
    provider = ("" if key_variable else values.get("MODEL_PROVIDER", "").strip().lower()) or "openai"
    if provider not in PROVIDERS:
        raise SettingsError(f"MODEL_PROVIDER is '{provider}'", hint=f"Set it to one of: {', '.join(PROVIDERS)}.")
    provider_url, provider_variable = PROVIDERS[provider]
    variable = key_variable or provider_variable
    key = _checked_key(values.get(variable, "").strip(), variable)
    default = provider_url if key and provider != "openai" else ""
    source = "--base-url" if base_url else "OPENAI_BASE_URL"
    chosen = normalize_url(base_url or values.get("OPENAI_BASE_URL", "").strip() or default, source=source)
    if key and chosen:
        _check_recipient(chosen, source, provider, variable)
    return Settings(provider, chosen, model or values.get("MODEL", "").strip(), variable, key)


def choose_backend(wanted: str, settings: Settings) -> str:
    """ "openai" or "heuristic": the value of `--backend`, or what the settings allow. Raises `SettingsError`."""
    if wanted == "auto":
        return "openai" if settings.given else "heuristic"
    if wanted == "openai" and not settings.given:
        raise SettingsError("--backend openai, but there is no key and no base URL", hint=credentials_hint(settings))
    return wanted


def credentials_hint(settings: Settings) -> str:
    """How to set a key or a local server, in one line."""
    return (
        f"Set {settings.key_variable} (or copy .env.template to .env and fill it in), "
        "or name a local server with --base-url http://localhost:11434/v1."
    )


# --- .env -----------------------------------------------------------------------------------------------------------


def read_dotenv(path: Path = Path(".env")) -> dict[str, str]:
    """The non-empty variables of a `.env` file; no variables if the file is missing. Raises `SettingsError`."""
    if not path.is_file():
        return {}
    try:
        from dotenv import dotenv_values  # slow to import, and not needed for --help
    except ImportError as error:
        raise missing_package(error) from error
    try:
        return {key: value for key, value in dotenv_values(path, encoding="utf-8-sig").items() if value}
    except (UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path} cannot be read", hint="Save it as UTF-8 text that you may read.") from error


def find_dotenv(folder: Path) -> Path:
    """The path of `.env` in `folder` or in the nearest parent that has it; in `folder` if none has it."""
    folder = folder.absolute()
    return next((above / ".env" for above in (folder, *folder.parents) if (above / ".env").is_file()), folder / ".env")


# --- URLs -----------------------------------------------------------------------------------------------------------


def normalize_url(url: str, *, source: str) -> str:
    """A base URL without a final slash and without /chat/completions; "" stays "".

    It must be an http(s) URL with a valid host and port, and without user, password, query or fragment. Otherwise this
    raises `SettingsError`, which names `source` (the flag or variable). Invalid URLs are not echoed, because they may
    contain a key.

    >>> normalize_url("HTTP://[::1]:8000/v1/chat/completions/", source="VLLM_URL")
    'http://[::1]:8000/v1'
    """
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")  # as the connection does; refuses labels that are empty or too long
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is not a number, a missing bracket, a host that cannot be encoded
        valid = False
    if not valid or any(map(str.isspace, url)):
        hint = "It must begin with http:// or https:// and name a host, for instance http://localhost:11434/v1."
        raise SettingsError(f"the URL in {source} is not valid", hint=hint)
    if "@" in parts.netloc or "?" in url or "#" in url:
        hint = "Give the URL alone; a key belongs in its own variable."
        raise SettingsError(f"the URL in {source} contains a user name, a key or a query", hint=hint)
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def same_origin(one: str, other: str) -> bool:
    """Whether two URLs lead to the same server: scheme, host and port are equal.

    >>> same_origin("https://api.example.org/v1", "https://API.example.org:443/other")
    True
    """
    return _origin(one) == _origin(other)


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address means this machine, so that nothing is sent over the network.

    >>> [is_loopback(host) for host in ("localhost", "::1", "127.0.0.2", "192.168.0.7", "gpu-box", "localhost.org")]
    [True, True, True, False, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


# --- keys -----------------------------------------------------------------------------------------------------------


def _checked_key(key: str, variable: str) -> str:
    if all("!" <= char <= "~" for char in key):
        return key
    hint = "Copy it again: ASCII letters, digits and signs only, without spaces or a line break."
    raise SettingsError(f"{variable} contains a character that no key has", hint=hint)


def _check_recipient(url: str, source: str, provider: str, variable: str) -> None:
    """Raise `SettingsError` if a provider's key would go to another server; warn if a key would go unencrypted."""
    parts, own = urlsplit(url), urlsplit(PROVIDERS[provider][0])
    if provider != "openai" and (parts.scheme, parts.netloc) != (own.scheme, own.netloc):
        hint = f"Leave out {source} to ask {own.netloc}, or set MODEL_PROVIDER=openai to ask the URL."
        raise SettingsError(f"MODEL_PROVIDER is {provider}, but {source} would send {variable} elsewhere", hint=hint)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        log.warning("%s is sent to %s unencrypted: prefer https.", variable, parts.netloc)
