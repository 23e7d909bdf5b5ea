"""Where the model is: addresses as people write them, and who gets to see a key."""

import re
from collections.abc import Iterator

import pytest

from chat_address import Address
from chat_mock import ChatMock
from chat_terminal import ask


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
        ("http://ho st", "cannot be sent"),
    ],
)
def test_a_wrong_address_fails_at_once(tmp_path, url, said):
    """An address that can never work is a mistake to mend, not a server to wait for."""
    done = ask(tmp_path, url, "hello", "--wait", "20")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "hint: " in done.stderr


@pytest.mark.parametrize("form", ["{}", "{}/", "{}/v1", "{}/v1/", " {}/v1/ "])
def test_the_address_may_end_as_it_likes(server, tmp_path, form):
    """VLLM_URL works with or without /v1 and a trailing slash."""
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
