"""How servers are reached: proxies, certificates and redirects, by the data scripts and by the chat."""

import asyncio
import base64
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from doric.chat.server import Address, NoServer, Server
from doric.core.errors import DoricError, FatalServerError, RetryableError, SettingsError
from doric.core.settings import Settings
from doric.llm.client import ChatRequest, Client
from doric.llm.connection import Proxy, explain, proxy_for, redirect_target

KEY = "sk-test-5f0c2b7e91d34a68"
PASSWORD = "p@ss:w/rd€"
ENCODED = "p%40ss%3Aw%2Frd%E2%82%AC"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
TLS_HANDSHAKE = b"\x16"
CRLF = b"\r\n"
REMOTE = "https://doric.example:8443/v1"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def by_the_data_scripts(url: str) -> None:
    async def ask() -> None:
        async with Client(Settings("openai", url, "m", "OPENAI_API_KEY", KEY), timeout=5) as client:
            await client.complete(ChatRequest([{"role": "user", "content": "Fit like?"}], 50))

    asyncio.run(ask())


def by_the_chat(url: str) -> None:
    Server(Address(url.removesuffix("/v1"), KEY), wait=0).find()


BOTH = pytest.mark.parametrize("ask", [by_the_data_scripts, by_the_chat])


def refused(ask: Callable[[str], None], url: str) -> DoricError:
    """The error of a request that can never succeed."""
    with pytest.raises(DoricError) as caught:
        ask(url)
    assert isinstance(caught.value, FatalServerError | SettingsError)
    assert "\n" not in caught.value.message + caught.value.hint
    assert KEY not in caught.value.message + caught.value.hint
    return caught.value


class Peer(threading.Thread):
    """A server on this machine that sends `reply` after the head of each request. `heads` has the heads."""

    def __init__(self, reply: bytes, context: ssl.SSLContext | None = None) -> None:
        super().__init__(daemon=True)
        self.reply, self.context = reply, context
        self.heads: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(5)
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head and (block := connection.recv(4096)):
                head += block
                if head.startswith(TLS_HANDSHAKE):
                    break  # a server of http answers at once that this is no request
            self.heads.append(head.decode("latin-1"))
            connection.sendall(self.reply)
        except OSError:
            pass
        finally:
            connection.close()


def reply(status: int, body: object = "", headers: str = "") -> bytes:
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n{headers}"
    head += "Connection: close\r\n\r\n"
    return head.encode() + content


# -- proxies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({"HTTPS_PROXY": "http://p:1"}, REMOTE, "p:1"),
        ({"https_proxy": "http://p:1"}, REMOTE, "p:1"),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, REMOTE, "low:1"),
        ({"ALL_PROXY": "http://p:1"}, REMOTE, "p:1"),
        ({"all_proxy": "http://all:1", "HTTPS_PROXY": "http://p:1"}, REMOTE, "p:1"),
        ({"ALL_PROXY": "socks5://all:1", "HTTPS_PROXY": "http://p:1"}, REMOTE, "p:1"),
        ({"HTTP_PROXY": "http://p:1"}, REMOTE, ""),
        ({"HTTP_PROXY": "http://p:1"}, "http://doric.example/v1", "p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://doric.example/v1", ""),
        ({"HTTPS_PROXY": "p:3128"}, REMOTE, "p:3128"),
        ({"HTTPS_PROXY": "http://p"}, REMOTE, "p:80"),
        ({"HTTPS_PROXY": "http://[fe80::1]:3128"}, REMOTE, "[fe80::1]:3128"),
        ({"HTTPS_PROXY": ""}, REMOTE, ""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "doric.example"}, REMOTE, ""),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "other, .example"}, REMOTE, ""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "doric.example:8443"}, REMOTE, ""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "doric.example:443"}, REMOTE, "p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "oric.example"}, REMOTE, "p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, REMOTE, ""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "https://10.1.2.3/v1", ""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "https://11.1.2.3/v1", "p:1"),
        ({"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://p:1"}, "https://localhost:8000/v1", ""),
        ({"HTTP_PROXY": "http://p:1"}, "http://127.0.0.1:8000/v1", ""),
        ({"HTTP_PROXY": "http://p:1"}, "http://[::1]:8000/v1", ""),
        ({"HTTP_PROXY": "http://p:1"}, "http://0.0.0.0:8000/v1", ""),
        ({"HTTP_PROXY": "http://p:1"}, "http://doric.localhost:8000/v1", ""),
    ],
)
def test_which_proxy_is_used(monkeypatch, variables, url, proxy):
    """The variables for proxies are read as curl reads them, and none is used for this machine."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(url)
    assert (found.host if found else "") == proxy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("socks5://me:secret@p:1", "names a socks5 proxy"),
        ("http://me:secret@", "is not a valid URL"),
        ("http://me:secret@p:port", "is not a valid URL"),
        ("http://me:sec/secret@p:1", "is not a valid URL"),
        ("http://[::1", "is not a valid URL"),
        ("http://me:p@secret#x@p:1", "is not a valid URL"),
        ("http://me:p#secret@p:1", "is not a valid URL"),
        ("http://me:p?secret@p:1", "is not a valid URL"),
        ("me:1/secret@p:1", "is not a valid URL"),
        ("http://<proxy>:3128", "is an example with a placeholder"),
        ("http://YOUR_PROXY:3128", "is an example with a placeholder"),
        ("http://me:secret@HOST:3128", "is an example with a placeholder"),
        ("http://$PROXY:3128", "is an example with a placeholder"),
    ],
)
@BOTH
def test_a_proxy_that_cannot_be_used(monkeypatch, ask, text, said):
    """A proxy of another kind, or one that is no URL, is an error of one line that names the variable only."""
    monkeypatch.setenv("HTTPS_PROXY", text)
    error = refused(ask, REMOTE)
    assert error.message.startswith("HTTPS_PROXY names" if "socks" in said else "the proxy in HTTPS_PROXY")
    assert said in error.message
    assert "secret" not in error.message + error.hint


def test_a_password_is_decoded_and_not_shown():
    """A percent-encoded login is decoded, and neither repr nor host has it."""
    proxy = Proxy.read(f"http://m%C3%A9:{ENCODED}@p:1", "HTTPS_PROXY")
    assert (proxy.user, proxy.password) == ("mé", PASSWORD)
    assert "ss" not in repr(proxy) + proxy.host + proxy.url


@pytest.mark.parametrize("scheme", ["https", "http"])
@BOTH
def test_a_proxy_gets_the_login_as_utf8(monkeypatch, ask, scheme):
    """Both clients send the decoded login to the proxy, and no key of the server in a CONNECT."""
    import base64

    proxy = Peer(reply(503, {"error": "busy"}))
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://me:{ENCODED}@{proxy.host}")
    with pytest.raises(DoricError) as caught:
        ask(f"{scheme}://doric.example:8443/v1")
    login = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert f"basic {login}".lower() in proxy.heads[0].lower()
    assert scheme == "http" or KEY not in "".join(proxy.heads)
    assert "ss:w" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("status", "login", "said"),
    [
        (407, "", "asks for a name and a password (407)"),
        (407, "me:secret@", "rejects the name or the password (407)"),
        (403, "", "does not connect to it (403)"),
        (405, "", "does not connect to it (405)"),
    ],
)
@BOTH
def test_a_proxy_that_refuses_is_named(monkeypatch, ask, status, login, said):
    """The refusal of a proxy to connect ends the run at once, with the proxy's host and without its password."""
    proxy = Peer(reply(status, headers="Proxy-Authenticate: Basic\r\n"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://{login}{proxy.host}")
    error = refused(ask, REMOTE)
    assert f"the proxy {proxy.host} {said}" in error.message
    assert "HTTPS_PROXY" in error.hint or "NO_PROXY" in error.hint
    assert "secret" not in error.message + error.hint
    assert len(proxy.heads) == 1


@BOTH
def test_a_407_for_plain_http_is_final(monkeypatch, ask):
    """A proxy for http answers 407 as if it were the server; it is not asked again."""
    proxy = Peer(reply(407, {"error": "who are you"}))
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.host}")
    error = refused(ask, "http://doric.example/v1")
    assert "the proxy asks for a name and a password (407): who are you" in error.message
    assert len(proxy.heads) == 1


@BOTH
@pytest.mark.parametrize("password", ["s3c", "secret-word"])
def test_a_proxy_that_quotes_the_password_does_not_show_it(monkeypatch, ask, password):
    """What a proxy for http says is shown without the password, also if the password is short or encoded."""
    login = base64.b64encode(f"me:{password}".encode()).decode()
    proxy = Peer(reply(407, {"error": f"me:{password} is wrong (Basic {login})"}))
    monkeypatch.setenv("HTTP_PROXY", f"http://me:{password}@{proxy.host}")
    error = refused(ask, "http://doric.example/v1")
    assert "407" in error.message
    assert password not in error.message + error.hint
    assert login not in error.message + error.hint


@BOTH
@pytest.mark.parametrize("extra", [b"more than its Content-Length says", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_407_with_a_mistake_is_a_407(monkeypatch, ask, extra):
    """A refusal of a proxy is known although its body is longer than it says, and is not retried."""
    proxy = Peer(reply(407, {"error": "no"}) + extra)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{proxy.host}")
    assert f"the proxy {proxy.host} rejects the name or the password (407)" in refused(ask, REMOTE).message


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><title>Please log in</title></html>",
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
    ],
    ids=["a web page", "no tunnel", "another protocol", "nothing"],
)
@BOTH
def test_a_proxy_that_makes_no_connection_is_named(monkeypatch, ask, sent):
    """If the proxy closes the connection instead of passing it on, the error names the proxy."""
    proxy = Peer(sent)
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
    with pytest.raises(DoricError) as caught:
        ask(REMOTE)
    assert f"the connection through the proxy {proxy.host} closed" in caught.value.message
    assert "ssl:default" not in caught.value.message


@BOTH
def test_a_403_with_a_web_page_is_no_rejected_key(monkeypatch, ask):
    """A 403 with a web page comes from a proxy or a firewall, and the key is not blamed for it."""
    page = b"<!doctype html><html><head><title>Blocked by policy</title></head></html>"
    head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: {len(page)}\r\n\r\n"
    proxy = Peer(head.encode() + page)
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.host}")
    error = refused(ask, "http://doric.example/v1")
    assert "is not accessible (403): a web page (Blocked by policy)" in error.message
    assert "proxy" in error.hint


@BOTH
def test_a_proxy_that_is_down_is_named(monkeypatch, ask):
    """If the proxy cannot be reached, the error names the proxy and its variable, and not the server."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(DoricError) as caught:
        ask(REMOTE)
    assert "the proxy 127.0.0.1:9 cannot be reached (connection refused)" in caught.value.message


def test_the_chat_does_not_wait_for_a_proxy(monkeypatch):
    """A proxy that is down is said at once: it is no server that is still starting."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(NoServer, match=r"the proxy 127\.0\.0\.1:9 cannot be reached"):
        Server(Address("https://doric.example"), wait=None).find()
    assert time.monotonic() - began < 60


@BOTH
def test_a_server_on_this_machine_is_asked_directly(monkeypatch, ask):
    """A server on this machine is asked without the proxy."""
    server = Peer(reply(401, {"error": "the server itself"}))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert "the server itself" in refused(ask, f"http://{server.host}/v1").message


# -- certificates ------------------------------------------------------------------------------------------------------

CA = """[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p
unique_subject=no\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\nsubjectAltName={names}\n"""


def certificate(folder: Path, names: str, start: str = "20200101000000Z", end: str = "20400101000000Z") -> Path:
    """A self-signed certificate with its key, in one PEM file."""
    if not shutil.which("openssl"):
        pytest.skip("makes certificates with openssl")
    folder.mkdir()
    (folder / "ca.cnf").write_text(CA.format(names=names))
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01\n")
    commands = (
        "openssl req -newkey rsa:2048 -nodes -subj /CN=doric -keyout key.pem -out request.pem",
        f"openssl ca -batch -config ca.cnf -selfsign -keyfile key.pem -in request.pem -out certificate.pem -notext "
        f"-startdate {start} -enddate {end}",
    )
    for command in commands:
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    path = folder / "both.pem"
    path.write_text((folder / "key.pem").read_text() + (folder / "certificate.pem").read_text())
    return path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> dict[str, Path]:
    """Certificates of this machine: a valid one, one for another host, an expired one and one of tomorrow."""
    folder = tmp_path_factory.mktemp("tls")
    return {
        "valid": certificate(folder / "valid", "IP:127.0.0.1"),
        "elsewhere": certificate(folder / "elsewhere", "DNS:doric.example"),
        "expired": certificate(folder / "expired", "IP:127.0.0.1", end="20200102000000Z"),
        "tomorrow": certificate(folder / "tomorrow", "IP:127.0.0.1", start="20390101000000Z"),
        "client": certificate(folder / "client", "IP:127.0.0.1\nextendedKeyUsage=clientAuth"),
    }


def tls_peer(path: Path) -> Peer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return Peer(reply(401, {"error": "it was reached"}), context)


@pytest.mark.parametrize(
    ("kind", "trusted", "said", "hint"),
    [
        ("valid", False, "its certificate is not trusted: it is self-signed", "SSL_CERT_FILE"),
        ("expired", True, "its certificate has expired", "clock"),
        ("tomorrow", True, "its certificate is not valid yet", "clock"),
        ("elsewhere", True, "its certificate is for another host", "host name"),
        ("client", True, "its certificate is not valid: unsuitable certificate purpose", "renew"),
    ],
)
@BOTH
def test_what_is_wrong_with_a_certificate_is_said(monkeypatch, certificates, ask, kind, trusted, said, hint):
    """A certificate that is not accepted ends the run at once, and the error says what is wrong with it."""
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates[kind]))
    error = refused(ask, f"https://{tls_peer(certificates[kind]).host}/v1")
    assert said in error.message
    assert hint in error.hint


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@BOTH
def test_certificates_of_ones_own_are_trusted(monkeypatch, certificates, ask, variable, tmp_path):
    """A certificate that SSL_CERT_FILE or SSL_CERT_DIR names is trusted."""
    path = certificates["valid"].with_name("certificate.pem")
    if variable == "SSL_CERT_DIR":
        command = ["openssl", "x509", "-hash", "-noout", "-in", path]
        name = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
        shutil.copy(path, tmp_path / f"{name}.0")
        path = tmp_path
    monkeypatch.setenv(variable, str(path))
    assert "it was reached" in refused(ask, f"https://{tls_peer(certificates['valid']).host}/v1").message


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@BOTH
def test_certificates_that_cannot_be_read(monkeypatch, ask, variable, tmp_path):
    """If one of the variables names no certificates, the error names the variable."""
    (tmp_path / "empty.pem").write_text("no certificate\n")
    for path in (tmp_path / "none", tmp_path / "empty.pem"):
        monkeypatch.setenv(variable, str(path))
        assert refused(ask, "https://127.0.0.1:9/v1").message.startswith(f"{variable} is {path}")


@BOTH
def test_https_for_a_server_of_http_and_the_reverse(certificates, ask):
    """If the scheme of a URL is the wrong one, the error says which one the server expects."""
    plain = Peer(reply(401))
    assert "it does not speak https" in refused(ask, f"https://{plain.host}/v1").message
    error = refused(ask, f"http://{tls_peer(certificates['valid']).host}/v1")
    assert "it expects https" in error.message
    assert "https:// instead of http://" in error.hint


@pytest.mark.parametrize(
    "words",
    [
        "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
        "Client sent an HTTP request to an HTTPS server.\n",
        "Bad Request\nThis combination of host and port requires TLS.\n",
        "<!DOCTYPE HTML><html><p>Reason: You're speaking plain HTTP to an SSL-enabled server port.</p></html>",
    ],
)
@BOTH
def test_a_server_that_says_that_it_expects_https(ask, words):
    """Servers that answer an http request at their https port get the same advice as those that close it."""
    error = refused(ask, f"http://{Peer(b'HTTP/1.0 400 Bad Request' + CRLF * 2 + words.encode()).host}/v1")
    assert "expects https (400)" in error.message
    assert "https:// instead of http://" in error.hint


# -- redirects ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def stranger() -> Iterator[Peer]:
    """A server that must never be asked."""
    peer = Peer(reply(401, {"error": "the stranger was asked"}))
    yield peer
    assert peer.heads == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@BOTH
def test_a_redirect_to_another_server_is_refused(stranger, ask, status):
    """A redirect to another port is refused by every client, and the error names both servers."""
    server = Peer(reply(status, headers=f"Location: http://{stranger.host}/v1/x?token=abc\r\n"))
    error = refused(ask, f"http://{server.host}/v1")
    assert error.message == f"{server.host} redirects to http://{stranger.host}"
    assert len(server.heads) == 1


@BOTH
def test_a_redirect_to_https_that_fails_names_both_addresses(certificates, ask):
    """If the https address to which a server redirects cannot be reached, the error names it and says why."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = f"127.0.0.1:{unused.getsockname()[1]}"
    for target, why, what in (
        (closed, "connection refused", "the right URL"),
        (tls_peer(certificates["valid"]).host, "its certificate is not trusted: it is self-signed", "SSL_CERT_FILE"),
        (Peer(reply(200)).host, "it does not speak https", "the right URL"),
    ):
        server = Peer(reply(308, headers=f"Location: https://{target}/v1/x\r\n"))
        error = refused(ask, f"http://{server.host}/v1")
        assert server.host in error.message
        assert error.message.endswith(f": it redirects to https://{target}: {why}")
        assert what in error.hint


@pytest.mark.parametrize(
    ("status", "location", "said", "calls"),
    [
        (302, "/login?next=secret", "redirects to /login (302)", 1),
        (301, "../login", "redirects to /v1/login (301)", 1),
        (307, "/v1/chat/completions", "redirects to /v1/chat/completions again and again", 3),
        (308, "x", "redirects to /v1/chat/x again and again", 3),
        (303, "/v1/chat/completions?id=secret", "redirected more than 20 times, at last to /v1/chat/completions", 21),
        (302, "", "redirects without saying where to (302)", 1),
        (307, " ", "redirects without saying where to (307)", 1),
        (300, "https://else.example/x?secret", "redirects to https://else.example (300)", 1),
    ],
)
def test_a_redirect_that_leads_nowhere_is_one_line(status, location, said, calls):
    """A circle, a login page and a redirect without a target are refused with the target, after few calls."""
    peer = Peer(reply(status, headers=f"Location: {location}\r\n"))
    client = Client(Settings("openai", f"http://{peer.host}/v1", "m", "OPENAI_API_KEY", KEY), timeout=5)
    with pytest.raises(FatalServerError) as caught:
        asyncio.run(client.complete(ChatRequest([{"role": "user", "content": "Fit like?"}], 50)))
    assert caught.value.message == f"{peer.host} {said}"
    assert len(peer.heads) == calls


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_redirect_to_a_silent_port_names_the_target(silent):
    """If the target of a redirect does not answer the TLS handshake, the error names it, and nothing counts as paid."""
    peer = Peer(reply(308, headers=f"Location: https://{silent}/v1/x\r\n"))
    client = Client(Settings("openai", f"http://{peer.host}/v1", "m", "OPENAI_API_KEY", KEY), timeout=1)
    with pytest.raises(FatalServerError, match=f"it redirects to https://{silent}: no connection in time") as caught:
        asyncio.run(client.complete(ChatRequest([{"role": "user", "content": "Fit like?"}], 50)))
    assert caught.value.tokens_out == 0


def test_a_silent_port_is_no_answer_that_is_paid_for(silent):
    """A TLS handshake that hangs is a connection that was not made; it is retried, and nothing counts as paid."""
    client = Client(Settings("openai", f"https://{silent}/v1", "m", "OPENAI_API_KEY", KEY), timeout=1)
    with pytest.raises(RetryableError, match="no connection in time") as caught:
        asyncio.run(client.complete(ChatRequest([{"role": "user", "content": "Fit like?"}], 50)))
    assert (caught.value.fault, caught.value.tokens_in, caught.value.tokens_out) == ("connection", 0, 0)


@pytest.mark.parametrize(
    ("base", "location", "target"),
    [
        ("http://h:8000/v1", "/v2/x", "http://h:8000/v2/x"),
        ("http://h:8000/v1", "y?a=1", "http://h:8000/v1/y?a=1"),
        ("http://h:8000/v1", "http://H:8000/v1", "http://H:8000/v1"),
        ("https://h/v1", "https://h:443/v1", "https://h:443/v1"),
        ("http://h/v1", "https://h/v1", "https://h/v1"),
        ("https://h/v1", "http://h/v1", None),
        ("https://h/v1", "https://h:8443/v1", None),
        ("https://h/v1", "https://h.example/v1", None),
        ("https://h/v1", "//other/v1", None),
        ("https://h/v1", "https://me:secret@h/v1", None),
        ("https://h/v1", "https://h\\@other/v1", None),
        ("https://h/v1", "https://h@other/v1", None),
        ("https://h/v1", "ftp://h/v1", None),
        ("https://h/v1", "https://h:99999/v1", None),
        ("https://h/v1", "javascript:alert(1)", None),
        ("https://h/v1", "https://h/\u200b", None),
    ],
)
def test_which_redirects_are_followed(base, location, target):
    """A redirect within the same origin, or to https on the same host, is followed. No other is."""
    url = f"{base}/chat"
    if target:
        assert redirect_target(base, url, location, source="S") == target
        return
    with pytest.raises(FatalServerError, match="redirects to") as caught:
        redirect_target(base, url, location, source="S")
    assert "secret" not in caught.value.message
    assert "set S to its URL" in caught.value.hint


def test_a_redirect_on_the_same_server_keeps_the_request():
    """The data scripts send a request again where the server moved it; after a 303 they fetch the answer."""
    answer = {"choices": [{"message": {"content": "Foo's yer doos?"}, "finish_reason": "stop"}]}

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        seen.append((head.split(b" HTTP")[0].decode(), len(await reader.readexactly(length)) > 0))
        status = {"/v1/chat/completions": 307, "/moved": 303}.get(head.split()[1].decode())
        place = {307: "/moved", 303: "/wait?id=1"}.get(status or 0)
        writer.write(reply(status, headers=f"Location: {place}\r\n") if status else reply(200, answer))
        await writer.drain()
        writer.close()

    async def ask() -> str:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            async with Client(Settings("openai", url, "m", "OPENAI_API_KEY", KEY), timeout=5) as client:
                return (await client.complete(ChatRequest([{"role": "user", "content": "?"}], 50))).text

    seen: list[tuple[str, bool]] = []
    assert asyncio.run(ask()) == "Foo's yer doos?"
    assert seen[1:] == [("POST /v1/chat/completions", True), ("POST /moved", True), ("GET /wait?id=1", False)]


@pytest.mark.parametrize("said", ["[SSL: TLSV1_ALERT] tlsv1 alert (_ssl.c:1000)", "[SSL] tlsv1 alert ( ssl.c:1000)"])
def test_a_tls_alert_is_named_without_the_marks_of_the_library(said):
    """The words of an unknown alert are shown without the place in OpenSSL's code."""
    fault = explain(ssl.SSLError(1, said), REMOTE, None, source="S")
    assert fault.reason == "the TLS handshake failed: tlsv1 alert"
