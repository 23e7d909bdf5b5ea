"""How a server is reached: certificates, proxies, redirects, and why a connection failed. Every client uses this.

Proxies are read from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, trusted certificates from SSL_CERT_FILE and
SSL_CERT_DIR. A server on this machine is never asked through a proxy.
"""

import base64
import errno
import functools
import ipaddress
import os
import re
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from doric.core.errors import FatalServerError, SettingsError
from doric.core.settings import CAPITALS, PLACEHOLDER, is_loopback, same_origin
from doric.core.text import printable
from doric.llm.transport import TransportError

if TYPE_CHECKING:
    import httpx2

MAX_REDIRECTS = 20
"""Modal sends a redirect every 150 s while a container starts."""
REDIRECTS = (300, 301, 302, 303, 307, 308)
PROBE_SECONDS = 3.0
DEFAULT_PORTS = {"http": 80, "https": 443}
CERTIFICATE_FAULTS = {  # codes of X509_V_ERR, https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error
    9: ("its certificate is not valid yet", "Check the clock of this machine."),
    10: ("its certificate has expired", "Renew the certificate, or check the clock of this machine."),
    62: ("its certificate is for another host", "Use a host name that is in the certificate."),
    64: ("its certificate is for another host", "Use a host name that is in the certificate."),
}
SELF_SIGNED = (18, 19)
UNKNOWN_AUTHORITY = (2, 20, 21, 27)
TRUST_HINT = "If you trust it, set SSL_CERT_FILE to a PEM file with the certificate that it is signed with."
NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
CUT_OFF = ("UNEXPECTED_EOF", "EOF occurred")
REFUSED = "connection refused"
UNREADABLE = "RemoteProtocolError"
"""The name of httpx's error for a response that breaks the rules of HTTP."""
NOT_CONNECTED = (
    "ConnectionRefusedError",
    "gaierror",
    "ClientConnectorError",
    "ConnectError",
    "InvalidURL",
    "UnsupportedProtocol",
)
"""Names of errors before there is a connection."""


# --- certificates ---------------------------------------------------------------------------------------------------


def tls_context() -> ssl.SSLContext:
    """The trusted certificates: those of SSL_CERT_FILE and SSL_CERT_DIR, else those of the system.

    Raises `SettingsError` if one of the variables names nothing that can be read.
    """
    return _trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.cache
def _trusted(file: str | None, folder: str | None) -> ssl.SSLContext:
    """The certificates of a file and of folders. They are read once, because that takes a twentieth of a second."""
    import httpx2

    if not file and not folder:
        return httpx2.create_ssl_context()
    hint = "Name a PEM file with certificates, or unset the variable to trust the certificates of the system."
    if folder and not all(map(os.path.isdir, folder.split(os.pathsep))):
        raise SettingsError(f"SSL_CERT_DIR is {folder}, which is not a folder", hint=hint)
    try:
        context = ssl.create_default_context(cafile=file or None, capath=None if file else folder)
        for each in (folder or "").split(os.pathsep) if folder else ():
            context.load_verify_locations(capath=each)
    except OSError as error:  # SSLError too
        raise SettingsError(f"SSL_CERT_FILE is {file}, which has no readable certificates", hint=hint) from error
    return context


# --- proxies --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `url` has no login. `variable` is the variable that names the proxy."""

    url: str
    variable: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def read(cls, text: str, variable: str) -> Self:
        """The proxy in a variable. Its login may be percent-encoded. Raises `SettingsError`, without the login."""
        hint = (
            f"Write {variable} like http://user:password@proxy.example:3128; special characters are written like %40."
        )
        text = text if "://" in text else f"http://{text}"
        if _has_placeholder(text.rpartition("@")[2]):
            raise SettingsError(f"the proxy in {variable} is an example with a placeholder", hint=hint)
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        # a password with one of / ? # that is not encoded ends the host, and a part of the password would be the host
        if not host or parts.query or parts.fragment or "#" in text or "?" in text or "@" in parts.path:
            raise SettingsError(f"the proxy in {variable} is not a valid URL", hint=hint)
        if parts.scheme not in DEFAULT_PORTS:
            hint = "Name an http proxy in HTTPS_PROXY, or put the server's host into NO_PROXY."
            raise SettingsError(
                f"{variable} names a {parts.scheme} proxy, but only http proxies can be used", hint=hint
            )
        host = f"[{host}]" if ":" in host else host
        url = f"{parts.scheme}://{host}:{port or DEFAULT_PORTS[parts.scheme]}"
        return cls(url, variable, unquote(parts.username or ""), unquote(parts.password or ""))

    @property
    def host(self) -> str:
        """Host and port."""
        return urlsplit(self.url).netloc

    @property
    def secrets(self) -> tuple[str, ...]:
        """The password in the forms in which a proxy may quote it."""
        if not self.password:
            return ()
        login = f"{self.user}:{self.password}"
        return (
            self._basic(),
            base64.b64encode(login.encode("latin-1", "replace")).decode(),
            quote(self.password),
            self.password,
        )

    def _basic(self) -> str:
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def answer_to_connect(self, url: str) -> int | None:
        """The status with which the proxy refuses to connect to `url`; None if it connects, or cannot be asked.

        HTTP clients do not say it if the refusal has a mistake, such as a body that is longer than it says.
        """
        own, target = urlsplit(self.url), urlsplit(url)
        if own.scheme != "http" or target.scheme != "https":
            return None
        place = f"{target.hostname}:{target.port or DEFAULT_PORTS['https']}"
        login = f"Proxy-Authorization: Basic {self._basic()}\r\n" if self.user or self.password else ""
        try:
            with socket.create_connection((own.hostname or "", own.port or 80), timeout=PROBE_SECONDS) as plain:
                plain.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{login}\r\n".encode())
                found = re.match(rb"HTTP/1\.\d (\d{3})\b", plain.recv(1 << 12))
        except OSError:
            return None
        return status if found and (status := int(found[1])) >= 300 else None

    def as_httpx(self, *, for_aiohttp: bool = False) -> "httpx2.Proxy":
        """The proxy for the HTTP client. aiohttp sends a login as Latin-1, so its characters are bytes of UTF-8."""
        import httpx2

        login = self.user, self.password
        if for_aiohttp:
            login = self.user.encode().decode("latin-1"), self.password.encode().decode("latin-1")
        return httpx2.Proxy(self.url, auth=login if any(login) else None)


def _has_placeholder(host: str) -> bool:
    return re.search(r"[<>{}$%]", host) is not None or bool(PLACEHOLDER.search(host) or CAPITALS.search(f"/{host}"))


def proxy_for(url: str) -> Proxy | None:
    """The proxy for requests to `url`, None if they are sent directly. Raises `SettingsError`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_this_machine(host) or _is_excluded(host, parts.port or DEFAULT_PORTS.get(parts.scheme, 0)):
        return None
    found = getproxies()
    for kind in (parts.scheme, "all"):
        if text := found.get(kind, "").strip():
            names = (f"{kind}_proxy", f"{kind}_proxy".upper())
            variable = next((name for name in names if os.environ.get(name)), "the proxy settings of the system")
            return Proxy.read(text, variable)
    return None


def _is_this_machine(host: str) -> bool:
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            return True
    return is_loopback(host)


def _is_excluded(host: str, port: int) -> bool:
    """Whether NO_PROXY names this host: a name, the end of a name, host:port, an address or a network (10.0.0.0/8)."""
    if proxy_bypass(host) or proxy_bypass(f"{host}:{port}"):
        return True
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        for each in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(","):
            with suppress(ValueError):
                if address in ipaddress.ip_network(each.strip(" []"), strict=False):
                    return True
    return False


def leads_here(url: str) -> bool:
    """Whether the host of `url` is this machine, under any of its names and addresses: no other address can be bound.

    >>> leads_here("http://localhost:8000"), leads_here("http://127.1:8000"), leads_here("http://192.0.2.1:8000")
    (True, True, False)
    """
    host = urlsplit(url).hostname or ""
    if _is_this_machine(host):
        return True
    with suppress(OSError, UnicodeError):
        for family, kind, protocol, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM):
            with suppress(OSError), socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
                return True
    return False


# --- redirects ------------------------------------------------------------------------------------------------------


MAX_VISITS = 2
"""A redirect leads to the same URL at most so often, except "see other": some servers set a cookie in this way."""
MAX_SHOWN = 60


class Redirects:
    """The redirects of one request to `base_url`. `source` names the variable of the base URL."""

    def __init__(self, base_url: str, *, source: str) -> None:
        self._base, self._source = base_url, source
        self._visits: Counter[str] = Counter()
        self._count = 0

    def follow(self, url: str, status: int, location: str, *, method: str) -> str:
        """The URL to which a response from `url` redirects. The request may be sent there again, with its keys.

        Raises `FatalServerError` for a redirect that leads nowhere, or in a circle, or from a question to another page,
        such as a login. See also `redirect_target`.
        """
        host = urlsplit(self._base).netloc
        if not location.strip() or status == 300:
            where = (
                f" to {_shown_target(self._base, url, location)}" if location.strip() else " without saying where to"
            )
            raise FatalServerError(f"{host} redirects{where} ({status})", hint=f"Check {self._source}.")
        target = redirect_target(self._base, url, location, source=self._source)
        shown = _shown_target(self._base, url, location)
        self._count += 1
        self._visits[target] += status != 303  # Modal redirects to the same URL again and again while it starts
        if self._count > MAX_REDIRECTS:
            message = f"{host} redirected more than {MAX_REDIRECTS} times, at last to {shown}"
            raise FatalServerError(message, hint=f"Check {self._source}.")
        if self._visits[target] > MAX_VISITS:
            raise FatalServerError(f"{host} redirects to {shown} again and again", hint=f"Check {self._source}.")
        if method == "POST" and status in (301, 302) and same_origin(url, target) and _page(url) != _page(target):
            hint = f"It may be a login page or an address that has moved. Check {self._source}."
            raise FatalServerError(f"{host} redirects to {shown} ({status})", hint=hint)
        return target


def _page(url: str) -> str:
    return urlsplit(url).path.rstrip("/").rpartition("/")[2]


def _shown_target(base_url: str, url: str, location: str) -> str:
    """The target of a redirect for people: a path if it is on the same server, else only the server."""
    with suppress(ValueError):  # a port above 65535
        target = urljoin(url, location.strip())
        parts = urlsplit(target)
        if same_origin(base_url, target) and "@" not in parts.netloc:
            return printable(parts.path)[:MAX_SHOWN] or "/"
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    return "an invalid URL"


def redirect_target(base_url: str, url: str, location: str, *, source: str) -> str:
    """The absolute URL of the target of a redirect from `url`.

    Raises `FatalServerError` for another host, port or scheme, because no other server may get the keys. Only an
    upgrade from http to https on the same host is allowed. A target with a user name is refused, because the HTTP
    client would send that name instead of the key. `source` names the variable of the base URL.
    """
    own = urlsplit(base_url)
    with suppress(ValueError):  # a port above 65535
        target = urljoin(url, location)
        parts = urlsplit(target)
        upgraded = (own.scheme, parts.scheme, parts.hostname) == ("http", "https", own.hostname)
        allowed = same_origin(base_url, target) or upgraded
        if allowed and "@" not in parts.netloc and target.isprintable() and "\\" not in target:
            return target
    hint = f"Nothing was sent there. If it is the right server, set {source} to its URL."
    raise FatalServerError(f"{own.netloc} redirects to {_shown_target(base_url, url, location)}", hint=hint)


# --- why a connection failed ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConnectionFault:
    """Why there is no answer. `permanent`: waiting cannot help. `connected`: a connection was made and then lost.
    `timed_out`: there was no reply in time, and `sent` is False if the request was not even sent.
    `refused`: no program listens at the port, of the server or of the proxy. `garbled`: the answer cannot be unpacked.
    """

    reason: str
    hint: str = ""
    permanent: bool = False
    connected: bool = False
    timed_out: bool = False
    sent: bool = True
    refused: bool = False
    garbled: bool = False


def explain(error: BaseException, url: str, proxy: Proxy | None, *, source: str) -> ConnectionFault:
    """Why a request to `url` or to its redirect failed. `source` names the variable or flag of `url`."""
    chain = [each for each in causes(error) if not isinstance(each, TransportError)]
    fault = _fault(chain, url, proxy, source)
    if not (target := _redirected_to(chain, url)):
        return fault
    untrusted = any(isinstance(each, ssl.SSLCertVerificationError) for each in chain)
    return replace(
        fault,
        reason=f"it redirects to {target}: {fault.reason}",
        hint=fault.hint if untrusted else f"Set {source} to the right URL.",
        permanent=fault.permanent
        or fault.refused
        or not fault.sent,  # the server itself runs, so nothing is still starting
        refused=False,
    )


def _redirected_to(chain: list[BaseException], url: str) -> str:
    """The origin of the request that failed; "" if it is that of `url`."""
    for each in chain:
        with suppress(RuntimeError):  # the error of another library, or one without its request
            target = str(getattr(getattr(each, "request", None), "url", url))
            if not same_origin(target, url):
                parts = urlsplit(target)
                return f"{parts.scheme}://{parts.netloc}"
    return ""


def _fault(chain: list[BaseException], url: str, proxy: Proxy | None, source: str) -> ConnectionFault:
    if faults := [each for each in chain if isinstance(each, ssl.SSLError)]:
        return _tls_fault(faults[-1], proxy)  # aiohttp's own errors are SSL errors too, but without a code
    if proxy is not None and (status := _refused_by_proxy(chain, proxy, url)) is not None:
        return _proxy_refusal(proxy, status, url)
    if any(isinstance(each, TimeoutError) for each in chain):
        if any(type(each).__name__ == "ConnectTimeout" for each in chain):
            return ConnectionFault("no connection in time", timed_out=True, sent=False)
        return ConnectionFault("no reply", timed_out=True)
    if any(type(each).__name__ == "DecodingError" for each in chain):
        hint = "Turn compression off at the server, or at the proxy before it."
        return ConnectionFault("the answer is not compressed as its header says", hint, connected=True, garbled=True)
    if _was_connected(chain):
        return _closed(proxy)
    if any(isinstance(each, ConnectionResetError) for each in chain):  # during the TLS handshake
        return replace(_closed(proxy), connected=False)
    reason, unknown_host = _os_reason(chain)
    refused = reason == REFUSED
    if proxy is not None:
        reason = f"the proxy {proxy.host} cannot be reached ({reason})"
        hint = f"Check {proxy.variable}."
        return ConnectionFault(reason, hint, permanent=unknown_host, refused=refused)
    hint = f"Check {source}." if unknown_host else ""
    return ConnectionFault(reason, hint, permanent=unknown_host, refused=refused)


def speaks_tls(url: str) -> bool:
    """Whether the server at an http URL expects https: a TLS handshake with it succeeds. Nothing is sent to it."""
    parts = urlsplit(url)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 80), timeout=PROBE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname),
        ):
            return True
    except (OSError, ValueError):
        return False


def expects_https(source: str) -> ConnectionFault:
    """The fault of a server that expects https at an http URL."""
    return ConnectionFault("it expects https", f"Write https:// instead of http:// in {source}.", permanent=True)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, and the errors that caused it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _tls_fault(error: ssl.SSLError, proxy: Proxy | None) -> ConnectionFault:
    words = str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        code = getattr(error, "verify_code", 0)
        if code in CERTIFICATE_FAULTS:
            reason, hint = CERTIFICATE_FAULTS[code]
            return ConnectionFault(reason, hint, permanent=True)
        if code not in SELF_SIGNED + UNKNOWN_AUTHORITY:
            why = getattr(error, "verify_message", "") or "it is not accepted"
            hint = "Whoever runs the server must renew its certificate."
            return ConnectionFault(f"its certificate is not valid: {why}", hint, permanent=True)
        why = "it is self-signed" if code in SELF_SIGNED else "its authority is unknown"
        return ConnectionFault(f"its certificate is not trusted: {why}", TRUST_HINT, permanent=True)
    if any(mark in words.upper() for mark in NOT_TLS):
        if proxy is not None and proxy.url.startswith("https:"):
            hint = f"Write http:// instead of https:// in {proxy.variable}."
            return ConnectionFault(f"the proxy {proxy.host} does not speak https", hint, permanent=True)
        hint = "Write http:// instead of https:// if the server has no certificate."
        return ConnectionFault("it does not speak https", hint, permanent=True)
    if any(mark in words for mark in CUT_OFF):
        return _closed(proxy)
    said = re.sub(r"\[[^\]]*\]|\(\s*_?ssl\.c:\d+\)", "", getattr(error, "reason", "") or words)
    reason = " ".join(said.replace("_", " ").lower().split()).strip(" :")
    return ConnectionFault(f"the TLS handshake failed: {reason}", "Check that server and URL belong together.", True)


def _closed(proxy: Proxy | None) -> ConnectionFault:
    """The fault of a connection that was made and then closed by the other side."""
    if proxy is None:
        return ConnectionFault("the connection closed", connected=True)
    hint = f"Check {proxy.variable}, or ask whoever runs the proxy."
    return ConnectionFault(f"the connection through the proxy {proxy.host} closed", hint, connected=True)


def _refused_by_proxy(chain: list[BaseException], proxy: Proxy, url: str) -> int | None:
    """The status with which the proxy refused to connect; None if it did not."""
    if known := [status for each in chain if (status := _proxy_status(each)) is not None]:
        return known[0]
    unreadable = any(
        getattr(getattr(each, "request_info", None), "method", "") == "CONNECT" or type(each).__name__ == UNREADABLE
        for each in chain
    )
    return proxy.answer_to_connect(url) if unreadable else None


def _proxy_status(error: BaseException) -> int | None:
    """The status with which a proxy refused to connect. aiohttp has it in a field, httpx2 in the message."""
    if type(error).__name__ == "ClientHttpProxyError":
        return getattr(error, "status", None)
    found = re.match(r"(\d{3})\b", str(error)) if type(error).__name__ == "ProxyError" else None
    return int(found[1]) if found else None


def _proxy_refusal(proxy: Proxy, status: int, url: str) -> ConnectionFault:
    if status == 407:
        what = "rejects the name or the password" if proxy.user else "asks for a name and a password"
        hint = f"Check {proxy.variable}: http://user:password@host:port; special characters are written like %40."
        return ConnectionFault(f"the proxy {proxy.host} {what} (407)", hint, permanent=True)
    host = urlsplit(url).hostname
    hint = f"Ask whoever runs the proxy, or put {host} into NO_PROXY."
    return ConnectionFault(f"the proxy {proxy.host} does not connect to it ({status})", hint, permanent=status < 500)


def _was_connected(chain: list[BaseException]) -> bool:
    """Whether the connection was made. The classes are compared by name, because they belong to two HTTP clients."""
    names = {kind.__name__ for each in chain for kind in type(each).__mro__}
    return names.isdisjoint(NOT_CONNECTED)


def _os_reason(chain: list[BaseException]) -> tuple[str, bool]:
    """What the operating system says, and whether the host does not exist."""
    for each in chain:
        if isinstance(each, socket.gaierror):
            return (each.strerror or "the host name is unknown").lower(), each.errno == socket.EAI_NONAME
    if any(isinstance(each, ConnectionRefusedError) for each in chain) or "Connect call failed" in str(chain[-1]):
        return REFUSED, False
    numbered = [each for each in chain if isinstance(each, OSError) and each.errno in errno.errorcode]
    words = next((each.strerror for each in reversed(numbered) if each.strerror), "") or str(chain[0])
    return words[:1].lower() + words[1:], type(chain[0]).__name__ == "InvalidURL"
