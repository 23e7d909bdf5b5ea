"""A connection that fails in any way is one error, which is retried, whatever the HTTP client raises."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx2
import openai
import pytest

from doric.core.errors import RetryableError
from doric.core.settings import Settings
from doric.llm.client import ChatRequest, Client
from doric.llm.transport import TransportError, each_block
from hostile_server import HostileServer

REQUEST = ChatRequest([{"role": "user", "content": "How do I dry washing?"}], max_tokens=50)
ERRORS = (RuntimeError("Connection closed."), ValueError("bad chunk"), httpx2.ReadError("reset"), EOFError())


class Broken(httpx2.AsyncByteStream):
    """A body that fails after its first bytes."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'data: {"choices": [{"delta": {"content": "Aye '
        raise self.error


def client_of(monkeypatch: pytest.MonkeyPatch, answer) -> Client:
    """A client whose requests are answered by a function."""
    transport = httpx2.MockTransport(answer)
    monkeypatch.setattr(openai, "DefaultAioHttpClient", lambda **_: httpx2.AsyncClient(transport=transport))
    return Client(Settings("openai", "http://doric.example/v1", "m", "OPENAI_API_KEY", ""))


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("timed", [False, True])
def test_a_body_that_breaks_off_is_a_lost_connection(monkeypatch, error, timed):
    """Whatever the HTTP client raises in a body is a lost connection, and the begun answer counts as paid."""
    client = client_of(monkeypatch, lambda request: httpx2.Response(200, stream=Broken(error)))
    with pytest.raises(RetryableError, match="was lost") as caught:
        asyncio.run(client.complete_timed(REQUEST) if timed else client.complete(REQUEST))
    assert caught.value.fault == "connection"
    assert caught.value.tokens_out > 0


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_request_that_fails_is_a_lost_connection(monkeypatch, error):
    """Whatever the HTTP client raises before the response is retried, and nothing counts as paid."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        raise error

    with pytest.raises(RetryableError) as caught:
        asyncio.run(client_of(monkeypatch, answer).complete(REQUEST))
    assert caught.value.tokens_out == 0


def test_blocks_that_fail_are_a_transport_error():
    """The chat reads the blocks before the error, and then gets the same error as the other commands."""

    def blocks() -> Iterator[bytes]:
        yield b"data: "
        raise RuntimeError("Connection closed.")

    found = each_block(blocks())
    assert next(found) == b"data: "
    with pytest.raises(TransportError, match="Connection closed"):
        next(found)


def test_a_wrong_chunk_size_is_a_lost_connection():
    """A stream whose chunks are longer than they say is a lost connection in every call."""

    async def ask(url: str) -> list[object]:
        async with Client(Settings("openai", url, "m", "OPENAI_API_KEY", ""), timeout=10) as client:
            return await asyncio.gather(*(client.complete(REQUEST) for _ in range(20)), return_exceptions=True)

    with HostileServer("wrong_chunk_size") as server:
        found = asyncio.run(ask(server.url))
    assert {type(error) for error in found} == {RetryableError}
