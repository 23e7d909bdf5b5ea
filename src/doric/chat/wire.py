"""A line to one server: a request that waits for a cold start, redirects, and what refusals mean.

Standard library only: importing an HTTP SDK takes longer than the prompt may take to appear. Knows nothing of models,
terminals and transcripts.
"""

import json
import re
import socket
import time
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import Any, Self
from urllib.parse import SplitResult, urljoin, urlsplit

from doric.chat.address import Address, shown, web_address
from doric.chat.errors import ChatError, NoServer, Refused, TooLong

REDIRECTS = 20  # Modal sends one every 150 s while a container starts
STARTING = (502, 503, 504)
TLS_FAULTS = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted (SSL_CERT_FILE names the ones that are)",
    "WRONG_VERSION_NUMBER": "it does not speak https",
}


class Exchange:
    """One request on its own connection, its response open; leaving the context closes both, answered or not."""

    def __init__(self, url: str, method: str, data: bytes | None, headers: Mapping[str, str], timeout: float) -> None:
        parts = urlsplit(url)
        self.connection = _connection(parts, timeout)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            self.connection.request(method, target, data, headers)
            self.response: HTTPResponse = self.connection.getresponse()
        except BaseException:
            self.connection.close()
            raise

    def wait_for_bytes(self, seconds: float) -> None:
        """From now on allow this long for each next byte."""
        if self.connection.sock:
            self.connection.sock.settimeout(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self.connection.close()


class Wire:
    """One address, called with patience: `wait` seconds for a server that is still starting."""

    def __init__(self, address: Address, *, wait: float) -> None:
        self.address = address
        self.wait = wait
        self.obstacle = ""  # why the last try got no answer, for whoever shows that we wait

    def open(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Exchange:
        """The open 200 response. Tries again while nobody listens or the server says that it is starting."""
        deadline = time.monotonic() + self.wait
        pause = 0.25
        while True:
            try:
                exchange = self._follow(method, path, body, deadline)
            except (OSError, HTTPException) as error:
                if _hopeless(error):
                    said = f"{self.address.host} cannot be reached: {reason(error)}"
                    raise Refused(said, "check VLLM_URL") from error
                self.obstacle = reason(error)
            else:
                if exchange.response.status == 200:
                    self.obstacle = ""
                    return exchange
                with exchange:
                    if exchange.response.status not in STARTING:
                        raise _refusal(exchange.response, self.address)
                self.obstacle = f"HTTP {exchange.response.status}"
            left = deadline - time.monotonic()
            if left <= 0:
                hint = "a first start can take minutes: --wait SECONDS waits longer"
                raise NoServer(f"no answer from {self.address.host} in {self.wait:.0f} s ({self.obstacle})", hint)
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 2.0)

    def _follow(self, method: str, path: str, body: Mapping[str, Any] | None, deadline: float) -> Exchange:
        """One request and the redirects it leads to. They must stay on this host: keys are not handed to another."""
        url = self.address.url + path
        data = None if body is None else json.dumps(body).encode()
        for _ in range(REDIRECTS + 1):
            exchange = Exchange(url, method, data, self.address.headers(), max(deadline - time.monotonic(), 0.1))
            place = exchange.response.headers.get("Location", "")
            if exchange.response.status not in (301, 302, 303, 307, 308) or not place:
                return exchange
            with exchange:
                url = _next(url, place)
                if not _same_host(self.address.url, url):
                    elsewhere = shown(url) if url else "an address that is none"
                    raise Refused(f"{self.address.host} sends us on to {elsewhere}", "is VLLM_URL right?")
                if exchange.response.status == 303:
                    method, data = "GET", None
        raise Refused(f"{self.address.host} redirected more than {REDIRECTS} times", "check VLLM_URL")


def _connection(parts: SplitResult, timeout: float) -> HTTPConnection:
    """A connection to the host; for https through the proxy that the environment names, if any."""
    host = parts.hostname or ""
    if parts.scheme == "http":
        return HTTPConnection(host, parts.port, timeout=timeout)
    from urllib.request import getproxies, proxy_bypass  # a local server needs neither

    proxy = urlsplit("" if proxy_bypass(host) else getproxies().get("https", ""))
    if not proxy.hostname:
        return HTTPSConnection(host, parts.port, timeout=timeout)
    connection = HTTPSConnection(proxy.hostname, proxy.port, timeout=timeout)
    login = b64encode(f"{proxy.username}:{proxy.password}".encode()).decode() if proxy.username else ""
    connection.set_tunnel(host, parts.port, {"Proxy-Authorization": f"Basic {login}"} if login else {})
    return connection


def _next(url: str, place: str) -> str:
    """Where a redirect leads; "" when what it says is no address."""
    try:
        url = urljoin(url, place)
    except ValueError:
        return ""
    return url if web_address(url, query=True) else ""


def _same_host(before: str, after: str) -> bool:
    """Whether a redirect leads to the server already trusted: the same origin, or its https twin."""
    old, new = urlsplit(before), urlsplit(after)
    upgraded = old.scheme == "http" and new.scheme == "https" and old.hostname == new.hostname
    return upgraded or (old.scheme, old.netloc) == (new.scheme, new.netloc)


def _refusal(response: HTTPResponse, address: Address) -> ChatError:
    """What a status means to somebody who set the variables."""
    body = response.read(4096).decode(errors="replace")
    try:
        words = said(json.loads(body))
    except (ValueError, AttributeError):
        words = " ".join(body.split())[:200]
    at_modals_edge = "modal-http" in body
    if response.status in (401, 403) and at_modals_edge:
        if not (address.modal_key and address.modal_secret):
            state = "are not both set"
        elif not address.at_modal:
            state = "go only to https://*.modal.run and to the host named in MODAL_DOMAIN"
        else:
            state = "were refused"
        return Refused(f"Modal's door is shut: MODAL_KEY and MODAL_SECRET {state}", "they are a proxy token, see .env")
    if response.status in (401, 403):
        state = "was refused" if address.api_key else "is not set"
        return Refused(f"{address.host} wants a key: VLLM_API_KEY {state}", "it is in the server's Secret, see .env")
    if response.status == 404 and at_modals_edge:
        return Refused(f"nothing is deployed at {address.url}", "check VLLM_URL, or deploy: modal/README.md")
    if response.status == 400 and re.search(r"context.{0,20}(length|size|window)", words, re.IGNORECASE):
        return TooLong(words)
    return Refused(f"{address.host} answered {response.status}: {words}", status=response.status)


def said(event: Mapping[str, Any]) -> str:
    """The sentence in an error object, in either of the shapes in use."""
    error = event.get("error", event)
    return str(error.get("message", error) if isinstance(error, dict) else error)


def _hopeless(error: Exception) -> bool:
    """Whether waiting cannot mend it."""
    unknown = isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME
    return unknown or any(mark in str(error) for mark in TLS_FAULTS)


def reason(error: Exception) -> str:
    """A failed connection in a few words."""
    if isinstance(error, TimeoutError):
        return "no reply"
    if isinstance(error, IncompleteRead):
        return "the connection closed"
    for mark, words in TLS_FAULTS.items():
        if mark in str(error):
            return words
    words = (error.strerror if isinstance(error, OSError) else None) or str(error) or "the connection closed"
    return words[0].lower() + words[1:]
