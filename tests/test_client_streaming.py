"""Hearing an answer piece by piece: times, broken streams, and servers that do not stream."""

import asyncio

import pytest

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.core.settings import Settings
from doric.llm.client import ChatRequest, Client
from doric.llm.response import TimedCompletion
from mock_server import Action, Behaviour, MockServer

TEXT = "Haud the windae open a wee bittie."
ASK = ChatRequest([{"role": "user", "content": "How do I dry washing?"}], max_tokens=50, seed=7)


async def hear(server: MockServer, seconds: float = 5.0, key: str = "") -> TimedCompletion:
    async with (
        server,
        Client(Settings("openai", server.url, "m", "OPENAI_API_KEY", key), timeout=seconds) as client,
    ):
        return await client.complete_timed(ASK)


def heard(action: Action | None = None, **manners) -> TimedCompletion:
    return asyncio.run(hear(MockServer(Behaviour(**manners), answer=lambda call: TEXT, decide=lambda call: action)))


def test_an_answer_is_put_together_from_its_pieces():
    """Text, finish reason and times come out of the stream; tokens that the server does not count are not known."""
    found = heard(latency=0.05)
    assert found.completion.text == TEXT
    assert found.completion.finish == "stop"
    assert (found.completion.tokens_out, found.completion.counted) == (0, False)
    assert found.first_token is not None
    assert 0.04 < found.first_token <= found.seconds


def test_a_stream_that_quotes_the_key_comes_without_it():
    """The user's key is cut out of an answer that comes in pieces, too."""
    server = MockServer(answer=lambda call: f"Yer key is {call.key} min.")
    assert asyncio.run(hear(server, key="sk-test-5f0c2b7e91d34a68")).completion.text == "Yer key is … min."


def test_a_server_without_token_counts_is_asked_without():
    """A server that refuses `stream_options` is asked again at once without it."""
    server = MockServer(Behaviour(refuses=("stream_options",)), answer=lambda call: TEXT)
    assert asyncio.run(hear(server)).completion.text == TEXT
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
def test_faults_have_the_names_that_plain_replies_give_them(kind, error):
    """Each fault of a server becomes the same error as without streaming."""
    server = MockServer(answer=lambda call: TEXT, decide=lambda call: Action(kind))
    with pytest.raises(error):
        asyncio.run(hear(server, seconds=0.5))


def test_a_filtered_answer_is_an_empty_one():
    """A content filter is an answer without words, not a fault."""
    found = heard(Action("filtered_400"))
    assert (found.completion.text, found.completion.finish) == ("", "content_filter")


@pytest.mark.parametrize(
    ("events", "says"),
    [
        (["{"], "not a chunk"),
        (['["x"]'], "not a chunk"),
        (['{"choices":[{"delta":{"content":"Haud"}}]}'], "ended before"),
        ([], "ended before"),
    ],
)
def test_a_stream_that_is_torn_or_garbled_is_tried_again(events, says):
    """Half a stream is no answer, however it ends."""
    with pytest.raises(RetryableError, match=says):
        asyncio.run(spoken(events))


def test_thoughts_are_left_out_and_an_empty_start_is_no_first_piece():
    """A reasoning model's thoughts, inside or beside the answer, are not part of it."""
    found = asyncio.run(
        spoken(
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


def test_an_answer_in_one_piece_has_no_first_piece_to_time():
    """A server that sends its whole answer as one event does not stream."""
    whole = (
        '{"choices":[{"delta":{"content":"Haud it ticht."},"finish_reason":"stop"}],"usage":{"completion_tokens":5}}'
    )
    found = asyncio.run(spoken([whole]))
    assert (found.completion.text, found.completion.tokens_out, found.first_token) == ("Haud it ticht.", 5, None)


async def spoken(events: list[str]) -> TimedCompletion:
    """What is heard of a server that streams `events` and nothing else."""
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
            return await client.complete_timed(ASK)
