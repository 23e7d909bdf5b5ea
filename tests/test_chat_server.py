"""The chat and its server: URLs, keys and the hosts that receive them, proxies, TLS, and the choice of a model."""

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chat_mock import ChatMock
from chat_terminal import ask
from doric.chat.server import Address, Server, choose
from doric.chat.session import Answer, Model
from doric.core.errors import FatalServerError, RetryableError, ServerError

KEYS = {"VLLM_API_KEY": "sk-1", "MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1"}


@pytest.fixture
def server() -> Iterator[ChatMock]:
    with ChatMock() as mock:
        yield mock


# -- addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "VLLM_URL is not set"),
        ("localhost:8000", "not valid"),
        ("http://host:port", "not valid"),
        ("http://me:secret@host", "contains a user name"),
        ("http://sk-secret@host/v1", "contains a user name"),
        ("http://ho st", "contains a space"),
        ("http://me:secret@ho st", "contains a space"),
        ("http://host:99999", "not valid"),
        ("http://host:0", "not valid"),
        ("http://me:secret@host:99999", "not valid"),
        ("http://[::1", "not valid"),
        ("http://a..b", "not valid"),
        (f"http://{'a' * 64}.org", "not valid"),
        ("http://host?key=secret", "contains a user name, a key or a query"),
        ("https://", "not valid"),
        ("ftp://host", "not valid"),
    ],
)
def test_a_wrong_url_fails_at_once(tmp_path, url, said):
    """A URL that can never work is an error at once, and its secrets are not shown."""
    done = ask(tmp_path, url, "hello", "--wait", "20")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "hint: " in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    "form", ["{}", "{}/", "{}/v1", "{}/v1/", " {}/v1/ ", "{}/v1/chat/completions", "{}/v1/chat/completions/"]
)
def test_the_url_may_end_in_any_usual_way(server, tmp_path, form):
    """VLLM_URL may end with /v1, with a longer API path that a user copied, or with a slash."""
    assert ask(tmp_path, form.format(server.url), "hello").returncode == 0
    assert server.paths == ["/v1/models", "/v1/chat/completions"]


def test_an_address_does_not_show_its_keys():
    """Neither the repr of an address nor its host contains a key."""
    address = Address.from_env({"VLLM_URL": "https://a.modal.run/v1", **KEYS})
    assert not re.search("sk-1|wk-1|ws-1", repr(address) + address.host)
    assert address.headers() == {
        "Content-Type": "application/json",
        "Authorization": "Bearer sk-1",
        "Modal-Key": "wk-1",
        "Modal-Secret": "ws-1",
    }


# -- which host receives which key -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "domain", "sent"),
    [
        ("https://acme--doric-vllm-serve.modal.run", "", True),
        ("https://ACME.MODAL.RUN/v1", "", True),
        ("https://doric.example.org", "doric.example.org", True),
        ("https://doric.example.org", "Doric.Example.org", True),
        ("https://doric.example.org:8443", "https://doric.example.org/", True),
        ("https://doric.example.org", "", False),
        ("https://doric.example.org", "example.org", False),
        ("http://acme.modal.run", "", False),
        ("https://acme.modal.run.example.org", "", False),
        ("https://modal.run.example.org", "", False),
        ("https://notmodal.run", "", False),
        ("http://localhost:8000", "", False),
    ],
)
def test_modals_keys_go_to_modal_only(url, domain, sent):
    """Modal's proxy token is sent only over https, to *.modal.run and to the host in MODAL_DOMAIN."""
    headers = Address.from_env({**KEYS, "VLLM_URL": url, "MODAL_DOMAIN": domain}).headers()
    assert ("Modal-Key" in headers, "Modal-Secret" in headers) == (sent, sent)
    assert headers["Authorization"] == "Bearer sk-1"


@pytest.mark.parametrize(
    ("url", "key", "warns"),
    [
        ("http://gpu-box:8000", "sk-1", True),
        ("http://192.168.0.7:8000", "sk-1", True),
        ("http://example.org", "sk-1", True),
        ("http://example.org", "", False),
        ("https://example.org", "sk-1", False),
        ("http://localhost:8000", "sk-1", False),
        ("http://127.0.0.1:8000", "sk-1", False),
        ("http://[::1]:8000", "sk-1", False),
    ],
)
def test_an_unencrypted_key_is_warned_about(url, key, warns):
    """A warning without the key is shown if a key would cross a network unencrypted, but not for a local server."""
    warning = Address.from_env({"VLLM_URL": url, "VLLM_API_KEY": key}).warning
    assert bool(warning) == warns
    assert "sk-1" not in warning


def test_the_warning_is_on_standard_error(tmp_path):
    """The warning is printed before any request, and it is not part of the answer."""
    done = ask(tmp_path, "http://0.0.0.0:9", "hello", "--wait", "0", VLLM_API_KEY="sk-1")
    assert done.stderr.startswith("warning: VLLM_API_KEY goes to 0.0.0.0:9 unencrypted")
    assert (done.returncode, done.stdout, "sk-1" in done.stderr) == (1, "", False)


class Redirecting(BaseHTTPRequestHandler):
    """Redirects every request to another server and records the requests."""

    server: "Recorder"  # ty: ignore[incompatible-mutable-override]

    def log_message(self, format: str, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(self.server.status)
        self.send_header("Location", self.server.target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET


class Recorder(ThreadingHTTPServer):
    """A server on a thread. `seen` has the method and the headers of every request."""

    daemon_threads = True

    def __init__(self, target: str = "", status: int = 307) -> None:
        super().__init__(("127.0.0.1", 0), Redirecting)
        self.target, self.status = target, status
        self.seen: list[tuple[str, dict[str, str]]] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def server_close(self) -> None:
        self.shutdown()
        super().server_close()


class AtModal(Address):
    """A local address that is treated as an address of Modal, so that the proxy token is sent."""

    at_modal = True


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_key_reaches_another_origin(status):
    """A redirect to another port is refused, for the model list and for an answer, before anything is sent there."""
    with Recorder() as stranger, Recorder(f"{stranger.url}/v1/models", status) as recorder:
        server = Server(AtModal(recorder.url, "sk-1", "wk-1", "ws-1"), wait=5)
        with pytest.raises(FatalServerError, match="redirects to http://127"):
            server.select("")
        server.model = Model("doric")
        with pytest.raises(FatalServerError, match="redirects to http://127"):
            list(server.stream([{"role": "user", "content": "a"}], {}, Answer()))
    assert [method for method, _ in recorder.seen] == ["GET", "POST"]
    for _, headers in recorder.seen:
        assert (headers["authorization"], headers["modal-key"], headers["modal-secret"]) == (
            "Bearer sk-1",
            "wk-1",
            "ws-1",
        )
    assert stranger.seen == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_on_the_same_host_keeps_the_request(server, status):
    """A redirect within the same origin is followed, and the question is sent again with its key and its text."""
    server.manners.key = "sk-1"
    server.manners.first = [(status, f"{server.url}/v1/chat/completions")]
    client = Server(Address(server.url, "sk-1"), wait=5)
    client.model = Model("doric")
    assert list(client.stream([{"role": "user", "content": "repeat aye"}], {}, Answer())) == ["aye "]
    assert server.paths == ["/v1/chat/completions"] * 2


@pytest.mark.parametrize(
    "form",
    ["http://localhost:{1}/x", "//localhost:{1}/x", "http://127.0.0.1:{0}@localhost:{1}/x", "http:localhost:{1}"],
)
def test_no_form_of_location_leads_to_another_host(server, form):
    """A redirect to another host is refused in every notation, and nothing is sent there."""
    with Recorder() as stranger:
        server.manners.first = [(307, form.format(server.server_port, stranger.server_port))]
        with pytest.raises(FatalServerError):
            Server(Address(server.url, "sk-1"), wait=5).find()
        assert stranger.seen == []


def test_an_upgrade_to_https_is_followed(server, certificate, tmp_path):
    """A redirect to https on the same host is followed, and the key is sent there."""
    server.use_tls(certificate)
    server.manners.key = "sk-1"
    with Recorder(f"https://127.0.0.1:{server.server_port}/v1/models", 301) as plain:
        done = ask(
            tmp_path, plain.url, "hello", VLLM_API_KEY="sk-1", SSL_CERT_FILE=str(certificate), VLLM_MODEL="doric"
        )
    assert [method for method, _ in plain.seen] == ["GET", "POST"]
    assert server.paths == ["/v1/models"] * 2
    assert "answered 404" in done.stderr  # the recorder redirects the question to the path of the model list


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("https://me:secret@else.example/x?token=secret", "redirects to https://else.example"),
        ("http://[::1", "an invalid URL"),
        ("http://host:99999/", "an invalid URL"),
    ],
)
def test_a_redirect_to_another_host_is_shown_without_secrets(server, tmp_path, place, said):
    """The error for a refused redirect shows only the host of the target, and an invalid target gives no traceback."""
    server.manners.first = [(307, place)]
    done = ask(tmp_path, server.url, "hello")
    assert (done.returncode, said in done.stderr, "secret" in done.stderr) == (2, True, False)


def test_a_redirect_with_a_user_name_is_refused(server):
    """A redirect with a password to the same origin is not followed, because the password would replace the key."""
    server.manners.first = [(307, server.url.replace("http://", "http://me:secret@") + "/v1/models")]
    with pytest.raises(FatalServerError, match="redirects to") as caught:
        Server(Address(server.url, "sk-1"), wait=5).find()
    assert "secret" not in caught.value.message
    assert len(server.paths) == 1


def test_a_redirect_without_a_target_is_an_error(server):
    """A redirect without a target is named as such."""
    server.manners.first = [(302, "")]
    with pytest.raises(FatalServerError, match=r"redirects without saying where to \(302\)"):
        Server(Address(server.url), wait=5).find()


# -- TLS and proxies ---------------------------------------------------------------------------------------------------


class Tunnel(threading.Thread):
    """An HTTP proxy that connects every CONNECT to one local port. `asked` has the heads of its requests."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.asked: list[str] = []
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        while True:
            client, _ = self.listener.accept()
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            self.asked.append(head.decode())
            there = socket.create_connection(("127.0.0.1", self.port))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            for source, sink in ((client, there), (there, client)):
                threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate for three hosts, made for this test. The file also has the key."""
    if not shutil.which("openssl"):
        pytest.skip("makes a certificate with openssl")
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    names = "subjectAltName=DNS:a.modal.run,DNS:a.example,IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a.modal.run"]
    subprocess.run(
        [*command, "-addext", names, "-keyout", path, "-out", path.with_suffix(".crt")], check=True, capture_output=True
    )
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


@pytest.fixture
def tunnel(server, certificate) -> Tunnel:
    """A proxy that leads to the mock server. The server uses TLS."""
    server.use_tls(certificate)
    return Tunnel(server.server_port)


def settings(tunnel: Tunnel, certificate: Path, **more: str) -> dict[str, str]:
    return {**KEYS, "HTTPS_PROXY": f"http://me:pass@{tunnel.address}", "SSL_CERT_FILE": str(certificate), **more}


def test_a_proxy_and_a_certificate_of_ones_own_are_used(server, tunnel, certificate, tmp_path):
    """The request uses HTTPS_PROXY with the proxy's login, trusts SSL_CERT_FILE, and brings its keys to Modal."""
    server.manners.key = "sk-1"
    done = ask(tmp_path, "https://a.modal.run", "hello", **settings(tunnel, certificate))
    assert (done.returncode, done.stdout, done.stderr) == (0, "doric saw 1 messages, system none.\n", "")
    assert len(tunnel.asked) == 2
    for head in tunnel.asked:
        assert head.startswith("CONNECT a.modal.run:443 ")
        assert "Basic bWU6cGFzcw==" in head
        assert not re.search("sk-1|wk-1|ws-1", head)
    assert server.headers[-1]["Modal-Key"] == "wk-1"


def test_a_rejected_proxy_token_differs_from_one_that_was_not_sent(server, tunnel, certificate, tmp_path):
    """If Modal rejects a request, the error says whether the token was refused, is missing or was not sent."""
    server.manners.key, server.manners.edge = "sk-right", True
    for url, said in (("https://a.modal.run", "were refused"), ("https://a.example", "go only to https")):
        done = ask(tmp_path, url, "hello", **settings(tunnel, certificate))
        assert (done.returncode, "Modal rejected the proxy token" in done.stderr) == (2, True)
        assert said in done.stderr
        assert not re.search("sk-1|wk-1|ws-1", done.stderr)


def test_a_missing_deployment_is_named(server, tunnel, certificate, tmp_path):
    """The error for Modal's own 404 says that nothing is deployed at that URL."""
    server.manners.first = [(404, "")]
    server.manners.message = "modal-http: app for invoked web endpoint is stopped"
    done = ask(tmp_path, "https://a.modal.run", "hello", **settings(tunnel, certificate))
    assert (done.returncode, "nothing is deployed at https://a.modal.run" in done.stderr) == (2, True)


def test_a_server_without_a_list_needs_the_name_of_the_model(server, tmp_path):
    """If the list of models fails, the hint names the variable with which the model can be asked all the same."""
    server.manners.first = [(500, "")]
    done = ask(tmp_path, server.url, "hello")
    assert (done.returncode, "answered 500" in done.stderr) == (2, True)
    assert "set VLLM_MODEL to the name of one" in done.stderr
    server.manners.first = [(500, "")]
    assert ask(tmp_path, server.url, "hello", VLLM_MODEL="doric").returncode == 0


def test_a_tls_fault_is_not_waited_out(server, tunnel, certificate, tmp_path):
    """An untrusted certificate is an error at once, and so is a server that does not use https."""
    done = ask(tmp_path, "https://a.modal.run", "hello", **{**settings(tunnel, certificate), "SSL_CERT_FILE": ""})
    assert (done.returncode, "its certificate is not trusted" in done.stderr) == (2, True)
    with ChatMock() as plain:
        done = ask(tmp_path, plain.url.replace("http:", "https:"), "hello")
    assert (done.returncode, "it does not speak https" in done.stderr) == (2, True)


def test_plain_http_uses_no_proxy(server, tmp_path):
    """A request to an http URL does not use the proxies in the environment."""
    nobody = "http://127.0.0.1:9"
    proxies = {"HTTP_PROXY": nobody, "http_proxy": nobody, "ALL_PROXY": "socks5://127.0.0.1:9", "HTTPS_PROXY": nobody}
    assert ask(tmp_path, server.url, "hello", **proxies).returncode == 0


# -- servers that break the protocol -----------------------------------------------------------------------------------


def test_an_unknown_host_is_not_waited_for(monkeypatch):
    """A host name that does not exist is an error at once."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(FatalServerError, match=r"nohost\.invalid cannot be reached: name or service not known"):
        Server(Address("http://nohost.invalid"), wait=60).find()


class Fixed(BaseHTTPRequestHandler):
    """Answers every request with the same body."""

    content_type, body, status = "text/html", b"<html>Welcome</html>", 200

    def log_message(self, format: str, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Type", self.content_type)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_GET


def fixed(content_type: str, body: bytes, status: int = 200) -> ThreadingHTTPServer:
    kind = type("Answering", (Fixed,), {"content_type": content_type, "body": body, "status": status})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


def test_a_web_page_is_not_a_model_server(tmp_path):
    """If the server answers with a web page, the error says that it sent no model list or no stream."""
    with fixed("text/html", b"<html>Welcome</html>") as page:
        url = f"http://127.0.0.1:{page.server_port}"
        done = ask(tmp_path, url, "hello")
        assert (done.returncode, "list of models" in done.stderr, "OpenAI-compatible" in done.stderr) == (2, True, True)
        server = Server(Address(url), wait=5)
        server.model = Model("doric")
        with pytest.raises(FatalServerError, match="did not stream"):
            list(server.stream([], {}, Answer()))
        page.shutdown()


def test_without_a_wait_a_slow_server_is_not_cut_off(monkeypatch):
    """`wait` 0 is no wait for a server that starts; one that runs may take a moment to begin its answer."""
    answer = Fixed.do_GET
    monkeypatch.setattr(Fixed, "do_GET", lambda self: (time.sleep(0.3), answer(self)))
    with fixed("application/json", b'{"data": [{"id": "doric"}]}') as page:
        assert Server(Address(f"http://127.0.0.1:{page.server_port}"), wait=0).find().name == "doric"
        page.shutdown()


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b""])
@pytest.mark.parametrize("prefix", [b"data: ", b"data:"])
def test_events_are_read_in_every_usual_form(end, prefix):
    """The stream may have comments, CRLF line ends, no space after the colon, and no line end at its end."""
    event = {"choices": [{"delta": {"content": "aye\u2028"}, "finish_reason": "stop"}]}
    body = b": ping\r\n\r\nevent: x\n" + prefix + json.dumps(event, ensure_ascii=False).encode() + end
    with fixed("text/event-stream", body) as page:
        server = Server(Address(f"http://127.0.0.1:{page.server_port}"), wait=5)
        server.model = Model("doric")
        assert list(server.stream([], {}, Answer())) == ["aye\u2028"]
        page.shutdown()


@pytest.mark.parametrize("words", ["model requires more system memory (9 GiB)", "No available memory for the cache"])
@pytest.mark.parametrize("begun", [True, False])
def test_a_server_without_memory_gets_a_hint(tmp_path, words, begun):
    """An error about memory in a stream says what to change, before and after the first word."""
    start = b'data: {"choices": [{"delta": {"content": "Aye"}}]}\n\n' if begun else b""
    error = b"data: " + json.dumps({"error": {"message": words}}).encode() + b"\n\n"
    with fixed("text/event-stream", start + error) as page:
        done = ask(tmp_path, f"http://127.0.0.1:{page.server_port}", "hello", VLLM_MODEL="doric")
        assert (done.returncode, words[:20] in done.stderr, "Choose a smaller model" in done.stderr) == (1, True, True)
        assert ".;" not in done.stderr
        page.shutdown()


def test_a_refusal_for_want_of_memory_gets_a_hint(server, tmp_path):
    """The hint is the same for an error status."""
    server.manners.first, server.manners.message = [(500, "")], "CUDA out of memory"
    done = ask(tmp_path, server.url, "hello")
    assert (done.returncode, "hint: Choose a smaller model" in done.stderr) == (2, True)


REFUSALS = [
    (401, {"error": {"message": "no"}}, "VLLM_API_KEY was refused", "Put the key into .env"),
    (498, {"message": "Invalid token"}, "VLLM_API_KEY was refused", "Put the key into .env"),
    (400, {"error": {"message": "API key not valid. Please pass a valid API key."}}, "was refused", "Put the key into"),
    (403, {"error": {"message": "Missing scopes: model.request"}}, "VLLM_API_KEY was refused", "Put the key into .env"),
    (
        403,
        {"error": {"message": "Country, region, or territory not supported"}},
        "gives no access (403)",
        "not at fault",
    ),
    (403, {"error": {"message": "Project does not have access to model m"}}, "gives no access (403)", "not at fault"),
    (400, {"error": {"message": "User location is not supported"}}, "gives no access (400)", "not at fault"),
    (402, {"error": {"message": "Insufficient credits"}}, "is used up (402): Insufficient credits", "Top up"),
    (429, {"error": {"message": "No quota", "code": "insufficient_quota"}}, "is used up (429): No quota", "Top up"),
    (200, {"error": {"message": "Invalid API key", "code": 401}}, "VLLM_API_KEY was refused", "Put the key into .env"),
    (200, {"error": {"message": "the database is down"}}, "answered with an error: the database is down", ""),
]


@pytest.mark.parametrize(("status", "body", "said", "hint"), REFUSALS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("given", ["", "doric"])
def test_a_refusal_says_whether_the_key_is_at_fault(status, body, said, hint, given):
    """A wrong key is named by any status and also in a list of models; a region or a model without access is no key."""
    error = error_from("application/json", json.dumps(body).encode(), status, given)
    assert said in error.message
    assert hint in error.hint
    assert ("VLLM_API_KEY" in error.message) == ("refused" in said)


def error_from(content_type: str, body: bytes, status: int, model: str) -> ServerError:
    """The error of a question to a server that answers everything with this body."""
    with fixed(content_type, body, status) as page:
        server = Server(Address(f"http://127.0.0.1:{page.server_port}", "sk-wrong-1"), wait=0, wanted=model)
        with pytest.raises(ServerError) as caught:
            list(server.stream([{"role": "user", "content": "Fit like?"}], {}, Answer()))
        page.shutdown()
    return caught.value


def test_a_key_that_is_refused_in_a_stream_gets_its_hint():
    """A 401 that comes as an event is the same error as the status 401."""
    event = b'data: {"error": {"message": "token expired", "code": 401}}\n\n'
    error = error_from("text/event-stream", event, 200, "doric")
    assert "VLLM_API_KEY was refused (token expired)" in error.message
    assert "Put the key into .env" in error.hint


LIMIT = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


def test_the_chat_adapts_its_requests_like_every_command(server):
    """A refused name of the token limit, the system role and token counts are not sent again."""
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Fit like?"}]
    one = Server(Address(server.url), wait=0, wanted="doric")
    for message in (LIMIT, "unknown field stream_options", "System role not supported"):
        server.manners.first, server.manners.message = [(400, "")], message
        one.model = Model("doric")
        list(one.stream(chat, {"max_tokens": 50, "temperature": 0.5}, Answer()))
    sent = {key: value for key, value in server.asked[-1].items() if key not in ("model", "stream")}
    question = {"role": "user", "content": "Be brief.\n\nFit like?"}
    assert sent == {"messages": [question], "max_completion_tokens": 50, "temperature": 0.5}


def test_what_one_model_refuses_is_sent_to_another(server):
    """After /model, the other model gets the system role again."""
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Fit like?"}]
    one = Server(Address(server.url), wait=0, wanted="doric")
    one.find()
    server.manners.first, server.manners.message = [(400, "")], "System role not supported"
    list(one.stream(chat, {}, Answer()))
    one.select("other")
    list(one.stream(chat, {}, Answer()))
    assert [len(asked["messages"]) for asked in server.asked] == [1, 2]


def test_an_option_that_the_user_has_set_is_not_dropped(server):
    """If a model refuses the temperature that the user has set, this is an error, as nobody may lose it unnoticed."""
    server.manners.first, server.manners.message = [(400, "")], "Unsupported value: 'temperature' must be 1"
    one = Server(Address(server.url), wait=0)
    one.model = Model("doric")
    with pytest.raises(ServerError, match="'temperature' must be 1"):
        list(one.stream([{"role": "user", "content": "Fit like?"}], {"temperature": 0.5}, Answer()))


def test_a_garbled_event_breaks_the_answer_off():
    """An event that is not JSON is handled like a lost connection."""
    with fixed("text/event-stream", b"data: {nonsense\n\n") as page:
        server = Server(Address(f"http://127.0.0.1:{page.server_port}"), wait=5)
        server.model = Model("doric")
        with pytest.raises(RetryableError, match="could not be read"):
            list(server.stream([], {}, Answer()))
        page.shutdown()


# -- models ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        ([Model("b"), Model("x", parent="b")], "", "x"),
        ([Model("b"), Model("x", parent="b"), Model("doric", parent="b")], "", "doric"),
        ([Model("only"), Model("doric")], "", "only"),
        ([Model("b"), Model("x", parent="b")], "b", "b"),
        ([Model("b"), Model("x", parent="b")], "unlisted", "unlisted"),
    ],
)
def test_choosing_a_model(names, wanted, chosen):
    """The requested model is used, otherwise an adapter (doric first), otherwise the first model in the list."""
    assert choose(names, wanted).name == chosen


def test_choosing_among_none():
    """If the server lists no model, the error says so."""
    with pytest.raises(FatalServerError, match="lists no model"):
        choose([], "")
