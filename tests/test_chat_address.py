"""Where the model is: addresses as people write them, and who gets to see a key."""

import re
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from chat_mock import ChatMock
from chat_terminal import ask
from doric.chat import wire as chat_wire
from doric.chat.address import Address
from doric.chat.errors import Refused
from doric.chat.wire import Wire


@pytest.fixture
def server() -> Iterator[ChatMock]:
    with ChatMock() as mock:
        yield mock


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "VLLM_URL is not set"),
        ("localhost:8000", "no web address"),
        ("http://host:port", "no web address"),
        ("http://me:secret@host", "a name or a password"),
        ("http://sk-secret@host/v1", "a name or a password"),
        ("http://ho st", "cannot be sent"),
        ("http://me:secret@ho st", "cannot be sent"),
        ("http://host:99999", "no web address"),
        ("http://host:0", "no web address"),
        ("http://me:secret@host:99999", "no web address"),
        ("http://[::1", "no web address"),
        ("http://a..b", "no web address"),
        (f"http://{'a' * 64}.org", "no web address"),
        ("http://host?key=secret", "no web address"),
        ("https://", "no web address"),
        ("ftp://host", "no web address"),
    ],
)
def test_a_wrong_address_fails_at_once(tmp_path, url, said):
    """An address that can never work is a mistake to mend, not a server to wait for."""
    done = ask(tmp_path, url, "hello", "--wait", "20")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "hint: " in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    "form", ["{}", "{}/", "{}/v1", "{}/v1/", " {}/v1/ ", "{}/v1/chat/completions", "{}/v1/chat/completions/"]
)
def test_the_address_may_end_as_it_likes(server, tmp_path, form):
    """VLLM_URL works with or without /v1, the rest of the path that people copy, and a trailing slash."""
    assert ask(tmp_path, form.format(server.url), "hello").returncode == 0
    assert server.paths == ["/v1/models", "/v1/chat/completions"]


def test_an_address_does_not_show_its_keys():
    """Neither the repr nor the host of an address carries a key."""
    env = {"VLLM_URL": "https://a.modal.run/v1", "VLLM_API_KEY": "sk-1", "MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1"}
    address = Address.from_env(env)
    assert not re.search("sk-1|wk-1|ws-1", repr(address) + address.host)
    assert address.headers() == {
        "Content-Type": "application/json",
        "Authorization": "Bearer sk-1",
        "Modal-Key": "wk-1",
        "Modal-Secret": "ws-1",
    }


KEYS = {"VLLM_API_KEY": "sk-1", "MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1"}


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
    """Modal's proxy token is sent over https to *.modal.run, and to the one host that MODAL_DOMAIN names."""
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
def test_a_key_in_the_open_is_warned_of(url, key, warns):
    """A key that would cross a network unencrypted is said so, without the key; this machine itself is no network."""
    warning = Address.from_env({"VLLM_URL": url, "VLLM_API_KEY": key}).warning
    assert bool(warning) == warns
    assert "sk-1" not in warning


def test_the_warning_is_on_standard_error(tmp_path):
    """The warning comes before anything is sent, and not among the answer."""
    done = ask(tmp_path, "http://0.0.0.0:9", "hello", "--wait", "0", VLLM_API_KEY="sk-1")
    assert done.stderr.startswith("warning: VLLM_API_KEY goes to 0.0.0.0:9 unencrypted")
    assert (done.returncode, done.stdout, "sk-1" in done.stderr) == (1, "", False)


def test_a_refused_proxy_token_is_told_from_one_that_was_not_sent(server, monkeypatch):
    """Where Modal turns us away at its edge, it is said whether the token was refused, is missing or was kept back."""
    server.manners.key, server.manners.edge = "sk-right", True
    monkeypatch.setattr(chat_wire, "_connection", lambda *_: HTTPConnection("127.0.0.1", server.server_port))
    for url, said in (("https://a.modal.run", "were refused"), ("https://a.example", "go only to https")):
        with pytest.raises(Refused, match=said) as caught:
            Wire(Address.from_env({**KEYS, "VLLM_URL": url}), wait=5).open("GET", "/v1/models")
        assert not re.search("sk-1|wk-1|ws-1", f"{caught.value}{caught.value.hint}")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("https://me:secret@else.example/x?token=secret", "sends us on to https://else.example"),
        ("http://[::1", "an address that is none"),
        ("http://host:99999/", "an address that is none"),
    ],
)
def test_a_redirect_elsewhere_is_shown_without_what_is_secret(server, tmp_path, place, said):
    """Where a server wants to send us is named by its host alone, and an address that is none is no traceback."""
    server.manners.first = [(307, place)]
    done = ask(tmp_path, server.url, "hello")
    assert (done.returncode, said in done.stderr, "secret" in done.stderr) == (2, True, False)
