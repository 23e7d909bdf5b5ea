"""The settings from flags, environment variables and `.env`: which model to ask, where, and with which key.

Flags take precedence over the environment, and the environment over `.env`, also when the value is empty. A key is sent
only to its own provider. OPENAI_API_KEY is sent to the server that the user sets.
"""

import ipaddress
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from doric.core.env_file import find_dotenv, load_variables
from doric.core.errors import SettingsError
from doric.core.extra_body import parse_extra_body

log = logging.getLogger("doric")
PROVIDERS = {
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "huggingface": ("https://router.huggingface.co/v1", "HF_TOKEN"),
}
PRIVATE_DOMAINS = (".local", ".lan", ".internal", ".home.arpa", ".intranet", ".localdomain", ".home", ".corp")
"""The ends of host names that exist only in private networks."""
MIN_KEY = 8
"""Characters. A shorter key is a word that may be in other places too."""
NO_KEY = "no-key"
"""The key sent to servers that need none, because the protocol requires one."""
EXAMPLE_URLS = {"VLLM_URL": "http://localhost:8000"}
EXAMPLE_URL = "http://localhost:11434/v1"
PAGES = ("/chat/completions", "/completions", "/responses", "/models")
"""Pages of an API that users copy together with its base URL."""
API_VERSION = re.compile(r"api-version=[\w.-]+")
"""The only query that a base URL may have. Azure requires it."""
FOREIGN = frozenset("\\\"'`<>{}^|“”‘’«»…")
"""Characters that come into a URL by mistake: quotation marks, and the marks of placeholders such as <host>."""
HOST = re.compile(r"(?:\[[\da-fA-F:.%\w-]+\]|[^\[\]:!$*()+,;=&~%]+)(?::\d*)?")
WITHOUT_SCHEME = re.compile(
    r"(?!https?\b)(?://)?(?=localhost|[\w-]+[.:])([\w.-]+)(?::\d+(?:/[\w/.-]*)?|/[\w/.-]*)", re.ASCII
)
"""A URL of which only the scheme is missing. A word without a dot and a port may be a key."""
SCHEME_SLIP = re.compile(
    r"(?!https?://)(?:(https?)(?::/?|/{1,3}|;//|:\\\\)(?!/)(?=\w)|(ht+ps?|hxxps?|https?s|htt|ttps?)://(?=\w))",
    re.IGNORECASE,
)
"""A scheme with a slip: http//host, http:/host, http:host, htp://host."""
PLACEHOLDER = re.compile(
    r"(?<![a-z0-9])(?:your(?:[-_.]\w+|host|resource|server|domain|name|url|endpoint|ip|deployment|account|region|project"
    r"|workspace|company|organi[sz]ation|app|site|key)\w*|(?:insert|replace|change)[-_]?(?:me|this|here)\w*|placeholder\w*"
    r"|x{4,}|(?:api\.|www\.)?example\.com)(?![a-z0-9])|(?<=/deployments/)(?:name|deployment[-_]name|model)(?=[/?]|$)"
    r"|api-version=version$",
    re.IGNORECASE,
)
CAPITALS = re.compile(
    r"(?<=[/.@:=])(?:HOST|HOSTNAME|HOST_NAME|SERVER|SERVER_IP|IP|IP_ADDRESS|ADDRESS|PORT|DOMAIN|RESOURCE|RESOURCE_NAME|NAME"
    r"|DEPLOYMENT|DEPLOYMENT_NAME|ENDPOINT|REGION|PROJECT|WORKSPACE|WORKSPACE_NAME)(?!\w|-\w)"
)
"""What stands for a name in examples, to be replaced."""
AZURE_HOSTS = (".azure.com", ".azure.us", ".azure.cn", ".azure-api.net")


@dataclass(frozen=True, slots=True)
class Settings:
    """The server to ask. `base_url` and `key` are "" if not given. `model` is "" if the server must be asked for it.

    `extra_body` has the fields that are added to every request, `preferred` those that are left out once the server
    refuses them, such as the service tier.
    """

    provider: str
    base_url: str
    model: str
    key_variable: str
    key: str = field(repr=False)
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    preferred: Mapping[str, str] = field(default_factory=dict)

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

    @property
    def asked(self) -> str:
        """The model and its server, for people, before the server is asked for its models."""
        return f"{self.model or 'a model (MODEL or --model names it)'} at {self.address}"


def load_settings(
    *,
    model: str | None = None,
    base_url: str | None = None,
    key_variable: str | None = None,
    extra_body: str | None = None,
    service_tier: str | None = None,
    reasoning_effort: str | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
) -> Settings:
    """Read the settings. `dotenv` defaults to the nearest `.env` in the repository. Raises `SettingsError`.

    `extra_body` is the JSON of --extra-body; a field in it replaces --service-tier or --reasoning-effort.
    `key_variable` is for a second server, such as a baseline: its key is read from that variable, and MODEL_PROVIDER
    and EXTRA_BODY are ignored.
    """
    values = load_variables(dotenv or find_dotenv(Path()), environ)
    provider = ("" if key_variable else values.get("MODEL_PROVIDER", "").strip().lower()) or "openai"
    if provider not in PROVIDERS:
        raise SettingsError(f"MODEL_PROVIDER is '{provider}'", hint=f"Set it to one of: {', '.join(PROVIDERS)}.")
    provider_url, provider_variable = PROVIDERS[provider]
    variable = key_variable or provider_variable
    key = check_key(values.get(variable, "").strip(), variable)
    default = provider_url if key and provider != "openai" else ""
    source = "--base-url" if base_url else "OPENAI_BASE_URL"
    chosen = normalize_url((base_url or values.get("OPENAI_BASE_URL", "")).strip() or default, source=source)
    if key and chosen:
        _check_recipient(chosen, source, provider, variable)
    name = (model or "").strip() or ("" if key_variable else values.get("MODEL", "").strip()) or _deployment(chosen)
    more = "" if key_variable else values.get("EXTRA_BODY", "")
    text, where = (more, "EXTRA_BODY") if extra_body is None else (extra_body, "--extra-body")
    fields = parse_extra_body(text, where, keys=[key] if len(key) >= MIN_KEY else ())
    wanted = {"service_tier": service_tier, "reasoning_effort": reasoning_effort}
    preferred = {name: value for name, value in wanted.items() if value and name not in fields}
    return Settings(provider, chosen, name, variable, key, fields, preferred)


def choose_backend(wanted: str, settings: Settings) -> str:
    """ "openai" or "heuristic": the value of `--backend`, or what the settings allow. Raises `SettingsError`."""
    if wanted == "auto" and not settings.given and settings.provider != "openai":
        message = f"MODEL_PROVIDER is '{settings.provider}', but {settings.key_variable} is not set"
        raise SettingsError(message, hint="Set both, or give --backend heuristic for the embedded voice.")
    if wanted == "auto":
        return "openai" if settings.given else "heuristic"
    if wanted == "openai" and not settings.given:
        raise SettingsError("--backend openai, but there is no key and no base URL", hint=credentials_hint(settings))
    return wanted


def credentials_hint(settings: Settings) -> str:
    """How to set a key or a local server, in one line."""
    return (
        f"Set {settings.key_variable} (or copy .env.template to .env and fill it in), "
        f"or name a local server with --base-url {EXAMPLE_URL}."
    )


# --- URLs -----------------------------------------------------------------------------------------------------------


def normalize_url(url: str, *, source: str) -> str:
    """A base URL without a final slash and without /chat/completions; "" stays "".

    It must be an http(s) URL with a valid host and port, and without user, password, fragment or query (except Azure's
    api-version). Otherwise this raises `SettingsError`, which names `source` (the flag or variable). Invalid URLs are
    not echoed, because they may contain a key. A host in another script is returned in its ASCII form.

    >>> normalize_url("HTTP://[::1]:8000/v1/chat/completions/", source="VLLM_URL")
    'http://[::1]:8000/v1'
    """
    if not url:
        return ""
    if what := _foreign_part(url):
        raise SettingsError(f"the URL in {source} is not valid: it contains {what}", hint="Copy it again, or type it.")
    if found := PLACEHOLDER.search(url) or CAPITALS.search(url):
        hint = f"Write the real name instead of {found.group()}."
        raise SettingsError(f"the URL in {source} is not valid: it is an example with a placeholder", hint=hint)
    try:
        parts = urlsplit(url)
        netloc = _netloc(parts)
    except ValueError as error:  # a port that is not a number, a missing bracket, a host that cannot be encoded
        raise _not_valid(url, source, _reason(error)) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _not_valid(url, source)
    if "@" not in parts.netloc and not HOST.fullmatch(parts.netloc):
        raise _not_valid(url, source, "a host name consists of letters, digits, dots and hyphens")
    query_allowed = not parts.query or API_VERSION.fullmatch(parts.query)
    if "@" in parts.netloc or "#" in url or not query_allowed or ("?" in url and not parts.query):
        hint = "Give the URL alone; a key belongs in its own variable."
        raise SettingsError(f"the URL in {source} contains a user name, a key or a query", hint=hint)
    path = parts.path.rstrip("/")
    page = next(filter(path.endswith, PAGES), "")
    if path == "/models" and parts.hostname.endswith(AZURE_HOSTS):  # there, it is the base URL
        page = ""
    return f"{parts.scheme}://{netloc}{path.removesuffix(page).rstrip('/')}" + (
        f"?{parts.query}" if parts.query else ""
    )


def _foreign_part(url: str) -> str:
    """What `url` contains although no URL does; "" if there is nothing of the kind."""
    for char in url:
        if char in FOREIGN:
            return f"the character {char}"
        if char.isspace() or not char.isprintable():
            return "a space" if char == " " else f"the invisible character U+{ord(char):04X}"
    if url.count("://") > 1:
        return "a second URL"
    open_bracket = url.endswith("]") and "[" in url
    return f"the character {url[-1]} at its end" if url.endswith(tuple(",;.)]!*")) and not open_bracket else ""


def _netloc(parts: SplitResult) -> str:
    """Host and port, with the host in ASCII. Raises ValueError if no connection can be made to them."""
    if parts.port == 0:
        raise ValueError("Port out of range 0-65535")
    host = parts.hostname or ""
    if host.isascii():
        host.encode("idna")  # refuses labels that are empty or too long
        return parts.netloc
    try:
        import idna  # the rules of 2008, as in browsers; a part of the HTTP client

        host = idna.encode(host, uts46=True).decode()
    except ImportError:
        host = host.encode("idna").decode()
    return host if parts.port is None else f"{host}:{parts.port}"


def _reason(error: ValueError) -> str:
    words = str(error).lower()
    if "port" in words:
        return "the port must be a number from 1 to 65535"
    return "a part of the host name is empty or longer than 63 letters" if "label" in words else ""


def _not_valid(url: str, source: str, reason: str = "") -> SettingsError:
    example = EXAMPLE_URLS.get(source, EXAMPLE_URL)
    if slip := SCHEME_SLIP.match(url):
        scheme = (slip[1] or ("https" if "s" in slip[2].lower() else "http")).lower()
        reason = f"it begins with {slip.group()} instead of {scheme}://"
        url = url[slip.end() :]
    if found := WITHOUT_SCHEME.fullmatch(url):
        example = f"{'http' if is_private(found[1]) else 'https'}://{url.lstrip('/')}"
    hint = f"It must begin with http:// or https:// and name a host, for instance {example}."
    host = url.partition("://")[2].partition("/")[0]
    if host.count(":") > 1 and "[" not in host:
        hint, reason = "Write it like http://[::1]:8000/v1.", "an IPv6 address must be in brackets"
    return SettingsError(f"the URL in {source} is not valid{f': {reason}' if reason else ''}", hint=hint)


def endpoint(base_url: str, page: str) -> str:
    """The URL of a page of an API. The query of the base URL is kept.

    >>> endpoint("https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21", "chat/completions")
    'https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21'
    """
    address, mark, query = base_url.partition("?")
    return f"{address}/{page}{mark}{query}"


def key_headers(base_url: str, key: str) -> dict[str, str]:
    """The header that carries `key`: Azure's own if the URL has an api-version, else `Authorization`.

    Tokens of Microsoft Entra begin with "eyJ". They are sent as `Authorization` to Azure too.
    """
    host = urlsplit(base_url).hostname or ""
    if "?" in base_url and host.endswith(AZURE_HOSTS) and not key.startswith("eyJ"):
        return {"api-key": key}
    return {"Authorization": f"Bearer {key}"}


def _deployment(base_url: str) -> str:
    """The name of the deployment in a URL of Azure, which stands for the model; else ""."""
    found = re.search(r"/deployments/([^/?]+)", base_url)
    return unquote(found[1]) if found else ""


def at_azure(base_url: str) -> bool:
    """Whether the URL is at one of Azure's hosts."""
    return (urlsplit(base_url).hostname or "").endswith(AZURE_HOSTS)


def azure_hint(base_url: str) -> str:
    """How the URLs of Azure look, if `base_url` is at Azure and looks otherwise; else ""."""
    known = base_url.endswith("/v1") or re.search(r"/(deployments/.+|models|v1)\?", base_url)
    if not at_azure(base_url) or known:
        return ""
    return "URLs of Azure end in /openai/v1, or in /openai/deployments/NAME?api-version=VERSION."


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


def is_private(host: str) -> bool:
    """Whether a host is this machine or in a private network, so that no provider bills its calls.

    A name without a dot, such as gpu-box or ollama, can only be in the user's own network.

    >>> [is_private(host) for host in ("localhost", "10.0.0.7", "192.168.0.7", "fd00::7", "gpu-box", "nas.local")]
    [True, True, True, True, True, True]
    >>> [is_private(host) for host in ("api.openai.com", "8.8.8.8", "2001:4860:4860::8888", "localhost.org", "")]
    [False, False, False, False, False]
    """
    host = host.rstrip(".").lower()
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        return is_loopback(host) or (bool(host) and "." not in host) or host.endswith(PRIVATE_DOMAINS)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


# --- keys -----------------------------------------------------------------------------------------------------------


def check_key(key: str, variable: str) -> str:
    """`key`, if a header can hold it. Raises `SettingsError`, which names the character that no key has."""
    if (wrong := next((char for char in key if not "!" <= char <= "~"), None)) is None:
        return key
    what = {" ": "a space", "\n": "a line break", "\r": "a line break"}.get(wrong, f"the character U+{ord(wrong):04X}")
    hint = "Copy it again: ASCII letters, digits and signs only, without spaces or a line break."
    raise SettingsError(f"{variable} contains a character that no key has: {what}", hint=hint)


def _check_recipient(url: str, source: str, provider: str, variable: str) -> None:
    """Raise `SettingsError` if a provider's key would go to another server; warn if a key would go unencrypted."""
    parts, own = urlsplit(url), urlsplit(PROVIDERS[provider][0])
    if provider != "openai" and (parts.scheme, parts.netloc) != (own.scheme, own.netloc):
        hint = f"Leave out {source} to ask {own.netloc}, or set MODEL_PROVIDER=openai to ask the URL."
        raise SettingsError(f"MODEL_PROVIDER is {provider}, but {source} would send {variable} elsewhere", hint=hint)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        log.warning("%s is sent to %s unencrypted: prefer https.", variable, parts.netloc)
