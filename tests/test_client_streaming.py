"""The client with streaming: times, broken streams, and servers that do not support streaming."""

import asyncio

import pytest

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.core.settings import Settings
from doric.llm.client import ChatRequest, Client
from doric.llm.response import TimedCompletion
from mock_server import Action, Behaviour, MockServer

TEXT = "Haud the windae open a wee bittie."
REQUEST = ChatRequest([{"role": "user", "content": "How do I dry washing?"}], max_tokens=50, seed=7)


async def stream(server: MockServer, seconds: float = 5.0, key: str = "") -> TimedCompletion:
    async with (
        server,
        Client(Settings("openai", server.url, "m", "OPENAI_API_KEY", key), timeout=seconds) as client,
    ):
        return await client.complete_timed(REQUEST)


def streamed(action: Action | None = None, **manners) -> TimedCompletion:
    return asyncio.run(stream(MockServer(Behaviour(**manners), answer=lambda call: TEXT, decide=lambda call: action)))


def test_the_answer_is_joined_from_its_chunks():
    """Text, finish reason and times come from the stream, and tokens that the server does not count are unknown."""
    found = streamed(latency=0.05)
    assert found.completion.text == TEXT
    assert found.completion.finish == "stop"
    assert (found.completion.tokens_out, found.completion.counted) == (0, False)
    assert found.first_token is not None
    assert 0.04 < found.first_token <= found.seconds


def test_the_key_is_redacted_in_a_streamed_answer():
    """The user's key is also redacted in a streamed answer."""
    server = MockServer(answer=lambda call: f"Yer key is {call.key} min.")
    assert asyncio.run(stream(server, key="sk-test-5f0c2b7e91d34a68")).completion.text == "Yer key is … min."


def test_refused_stream_options_are_not_sent_again():
    """If the server refuses `stream_options`, the client calls it again at once without that parameter."""
    server = MockServer(Behaviour(refuses=("stream_options",)), answer=lambda call: TEXT)
    assert asyncio.run(stream(server)).completion.text == TEXT
    assert ["stream_options" in call.body for call in server.calls] == [True, False]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("vanish", RetryableError), ("disconnect", RetryableError), ("hang", RetryableError), ("drip", RetryableError),
        ("html", RetryableError), ("not_json", RetryableError), ("no_choices", RetryableError),
        ("error_500", RetryableError), ("rate_limit", RetryableError), ("context_400", ServerError),
        ("unauthorized", FatalServerError),
        ("no_model", FatalServerError),
    ],
)  # fmt: skip
def test_faults_are_the_same_errors_as_without_streaming(kind, error):
    """Each fault of a server becomes the same kind of error as without streaming."""
    server = MockServer(answer=lambda call: TEXT, decide=lambda call: Action(kind))
    with pytest.raises(error):
        asyncio.run(stream(server, seconds=0.5))


def test_a_content_filter_gives_an_empty_completion():
    """An answer that a content filter blocks is an empty completion, not an error."""
    found = streamed(Action("filtered_400"))
    assert (found.completion.text, found.completion.finish) == ("", "content_filter")


@pytest.mark.parametrize(
    ("events", "says"),
    [
        (["{"], "not a chunk"),
        (['["x"]'], "not a chunk"),
        (['{"choices":[{"delta":{"role":"assistant","content":""}}]}'], "ended before"),
        ([], "ended before"),
    ],
)
def test_an_incomplete_or_malformed_stream_is_retryable(events, says):
    """A stream that is invalid or ends too early is a retryable error."""
    with pytest.raises(RetryableError, match=says):
        asyncio.run(stream_of(events))


def test_reasoning_is_removed_and_counts_as_the_first_token():
    """Reasoning is removed from the text and from its own field, and an empty first chunk is not the first token."""
    found = asyncio.run(
        stream_of(
            [
                '{"choices":[{"delta":{"role":"assistant","content":""}}]}',
                '{"choices":[{"delta":{"reasoning_content":"Washing, ken."}}]}',
                '{"choices":[{"delta":{"content":"<think>hm</think>Haud it"}}]}',
                '{"choices":[{"delta":{},"finish_reason":"length"}]}',
                '{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":9}}',
            ]
        )
    )
    assert (found.completion.text, found.completion.finish, found.completion.tokens_out) == ("Haud it", "length", 9)
    assert found.completion.counted
    assert found.first_token is not None


def test_an_answer_in_one_chunk_has_no_first_token_time():
    """If the server sends its whole answer in one chunk, no streaming times are measured."""
    whole = (
        '{"choices":[{"delta":{"content":"Haud it ticht."},"finish_reason":"stop"}],"usage":{"completion_tokens":5}}'
    )
    found = asyncio.run(stream_of([whole]))
    assert (found.completion.text, found.completion.tokens_out, found.first_token) == ("Haud it ticht.", 5, None)


async def stream_of(events: list[str]) -> TimedCompletion:
    """The completion from a server that streams `events`."""
    body = "".join(f"data: {event}\n\n" for event in events) + "data: [DONE]\n\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if head.startswith(b"get"):
            answer = b"HTTP/1.1 404 X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
        else:
            answer = f"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n{body}".encode()
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with Client(Settings("openai", url, "m", "OPENAI_API_KEY", ""), timeout=3.0) as client:
            return await client.complete_timed(REQUEST)
