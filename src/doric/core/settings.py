"""Flags, environment and `.env` to one frozen value: which model to ask, where, and with which key.

A flag wins over the environment, the environment over `.env`, also with an empty value. A key goes only to its own
provider, or where the user sends OPENAI_API_KEY. Knows nothing of requests.
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
"""What a server without keys is sent, since the protocol wants something."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to ask. `base_url` and `key` are empty when not given; `model` when the server must be asked for one."""

    provider: str
    base_url: str
    model: str
    key_variable: str
    key: str = field(repr=False)

    @property
    def given(self) -> bool:
        """Whether there is any model to ask: a key, or an address that may need none."""
        return bool(self.key or self.base_url)

    @property
    def address(self) -> str:
        """The base URL to use: the one given, else the provider's."""
        return self.base_url or PROVIDERS[self.provider][0]

    @property
    def local(self) -> bool:
        """A base URL without a key: somebody's own server."""
        return bool(self.base_url) and not self.key


def load_settings(
    *,
    model: str | None = None,
    base_url: str | None = None,
    key_variable: str | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
) -> Settings:
    """Read the settings; `dotenv` is `.env` in the working folder unless named. Raises `SettingsError`.

    `key_variable` is for a second server beside the user's own: its key is read from there, whoever the provider.
    """
    values = _dotenv(dotenv or Path(".env")) | _environ(environ)
    provider = ("" if key_variable else values.get("MODEL_PROVIDER", "").strip().lower()) or "openai"
    if provider not in PROVIDERS:
        raise SettingsError(f"MODEL_PROVIDER is '{provider}'", hint=f"Set it to one of: {', '.join(PROVIDERS)}.")
    address, own_variable = PROVIDERS[provider]
    variable = key_variable or own_variable
    key = _checked_key(values.get(variable, "").strip(), variable)
    standing = address if key and provider != "openai" else ""
    source = "--base-url" if base_url else "OPENAI_BASE_URL"
    chosen = _checked_url(base_url or values.get("OPENAI_BASE_URL", "").strip() or standing, source)
    if key and chosen:
        _check_reader(chosen, source, provider, variable)
    return Settings(provider, chosen, model or values.get("MODEL", "").strip(), variable, key)


def same_origin(one: str, other: str) -> bool:
    """Whether two addresses are of one server: scheme, host and port.

    >>> same_origin("https://api.example.org/v1", "https://API.example.org:443/other")
    True
    """
    return _origin(one) == _origin(other)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def choose_backend(wanted: str, settings: Settings) -> str:
    """ "openai" or "heuristic": what `--backend` asks for, or what the settings allow. Raises `SettingsError`."""
    if wanted == "auto":
        return "openai" if settings.given else "heuristic"
    if wanted == "openai" and not settings.given:
        raise SettingsError("--backend openai, but there is no key and no base URL", hint=how_to_give(settings))
    return wanted


def how_to_give(settings: Settings) -> str:
    """The way to a key or a local server, in one line."""
    return (
        f"Set {settings.key_variable} (or copy .env.template to .env and fill it in), "
        "or name a local server with --base-url http://localhost:11434/v1."
    )


def _checked_key(key: str, variable: str) -> str:
    if all("!" <= char <= "~" for char in key):
        return key
    hint = "Copy it again: plain letters, digits and signs, without quotation marks or a line break."
    raise SettingsError(f"{variable} holds a character that no key has", hint=hint)


def _check_reader(url: str, source: str, provider: str, variable: str) -> None:
    """Raise `SettingsError` where a provider's key would go to somebody else; warn where all could read it."""
    parts, own = urlsplit(url), urlsplit(PROVIDERS[provider][0])
    if provider != "openai" and (parts.scheme, parts.netloc) != (own.scheme, own.netloc):
        hint = f"Leave out {source} to ask {own.netloc}, or set MODEL_PROVIDER=openai to ask the address."
        raise SettingsError(f"MODEL_PROVIDER is {provider}, but {source} would send {variable} elsewhere", hint=hint)
    if parts.scheme == "http" and not _is_this_machine(parts.hostname or ""):
        log.warning("%s is sent to %s unencrypted: prefer https.", variable, parts.netloc)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _checked_url(url: str, source: str) -> str:
    """The address as it is used. What is none is not repeated: it may hold a key."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and " " not in url
    except ValueError:  # a port that is no number
        good = False
    if url and not good:
        hint = "It must begin with http:// or https:// and name a host, for instance http://localhost:11434/v1."
        raise SettingsError(f"the base URL ({source}) is not an address", hint=hint)
    if any(mark in url for mark in "@?#"):
        hint = "Give the address alone; a key belongs in its variable."
        raise SettingsError("the base URL carries a name, a key or a query", hint=hint)
    return url.rstrip("/").removesuffix("/chat/completions")


def _environ(environ: Mapping[str, str] | None) -> dict[str, str]:
    return dict(os.environ if environ is None else environ)


def _dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        from dotenv import dotenv_values  # slow to import, and not needed for --help
    except ImportError as error:
        raise missing_package(error) from error
    try:
        return {key: value for key, value in dotenv_values(path, encoding="utf-8-sig").items() if value}
    except (UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path} cannot be read", hint="Save it as UTF-8 text, readable by you.") from error
