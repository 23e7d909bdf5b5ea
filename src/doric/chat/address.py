"""Where the model is, what opens its doors, and to whom each key may be shown.

Knows no connection: it only reads what was set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Self
from urllib.parse import SplitResult, urlsplit

from doric.chat.errors import Refused

LIKE = "like https://host, or http://localhost:8000"


@dataclass(frozen=True)
class Address:
    """Where the model is and what opens its doors; the keys are not in its repr."""

    url: str
    api_key: str = field(default="", repr=False)
    modal_key: str = field(default="", repr=False)
    modal_secret: str = field(default="", repr=False)
    modal_domain: str = ""  # a domain of the user's own that leads to Modal

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """From VLLM_URL, VLLM_API_KEY, MODAL_KEY, MODAL_SECRET and MODAL_DOMAIN. Raises Refused."""
        names = ("VLLM_URL", "VLLM_API_KEY", "MODAL_KEY", "MODAL_SECRET", "MODAL_DOMAIN")
        url, *others = (env.get(name, "").strip() for name in names)
        if not url:
            raise Refused(
                "VLLM_URL is not set", "put it in .env: what `modal deploy` printed, or http://localhost:8000"
            )
        for name, text in zip(names, (url, *others), strict=True):
            if not text.isascii() or not text.isprintable() or " " in text:
                raise Refused(f"{name} holds a character that cannot be sent", "was something else pasted with it?")
        return cls(root(url), *others)

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def at_modal(self) -> bool:
        """Whether Modal's own keys may be sent: over https, to Modal or to the domain said to lead there."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        own = self.modal_domain.lower().removeprefix("https://").rstrip("/")
        return parts.scheme == "https" and (host.endswith(".modal.run") or host == own)

    @property
    def warning(self) -> str:
        """What to know before the key is sent; "" when it leaves this machine encrypted or not at all."""
        parts = urlsplit(self.url)
        if not self.api_key or parts.scheme == "https" or is_loopback(parts.hostname or ""):
            return ""
        tunnel = f"ssh -L 8000:localhost:{parts.port or 80} {parts.hostname}, and VLLM_URL=http://localhost:8000"
        return f"VLLM_API_KEY goes to {self.host} unencrypted; https would hide it, or a tunnel: {tunnel}"

    def headers(self) -> dict[str, str]:
        """Every request's headers; a key that is not set, or is none of this host's business, is not sent."""
        keys = {"Authorization": f"Bearer {self.api_key}" if self.api_key else ""}
        if self.at_modal:
            keys |= {"Modal-Key": self.modal_key, "Modal-Secret": self.modal_secret}
        return {"Content-Type": "application/json", **{name: key for name, key in keys.items() if key}}


def root(url: str) -> str:
    """The address that paths are put after: without /v1/chat/completions, /v1 and a slash. Raises Refused.

    What is wrong is named without repeating the address, for a password may be in it.

    >>> root("HTTP://[::1]:8000/v1/chat/completions/")
    'http://[::1]:8000'
    """
    parts = web_address(url)
    if parts is None:
        raise Refused("VLLM_URL is no web address", LIKE)
    if "@" in parts.netloc:
        raise Refused("VLLM_URL holds a name or a password", f"the key goes into VLLM_API_KEY; the address is {LIKE}")
    path = parts.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def web_address(url: str, *, query: bool = False) -> SplitResult | None:
    """The parts of an address that a connection can be made to, or None; one that paths go after has no query."""
    try:
        parts = urlsplit(url)
        wrong = parts.port == 0 or parts.scheme not in ("http", "https")
        wrong = wrong or (not query and bool(parts.query or parts.fragment))
        (parts.hostname or "").encode("idna")  # as the socket will: no empty and no overlong label
    except ValueError:  # a port beyond 65535, a bracket too few; UnicodeError is one as well
        return None
    return None if wrong or not parts.hostname else parts


def is_loopback(host: str) -> bool:
    """Whether what is sent to a host stays on this machine.

    >>> [is_loopback(host) for host in ("localhost", "::1", "127.0.0.2", "192.168.0.7", "gpu-box", "localhost.org")]
    [True, True, True, False, False, False]
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def shown(url: str) -> str:
    """An address as it may be shown: without a path, and without the name and password that may be in it.

    >>> shown("https://me:secret@host:8000/login?token=1")
    'https://host:8000'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
