"""The client against a mock server with every kind of fault. Each fault becomes one error without the API key."""

import asyncio
import json
import logging
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from doric.core.errors import FatalServerError, NotOffered, RetryableError, ServerError
from doric.core.settings import Settings
from doric.llm.client import ChatRequest, Client
from doric.llm.response import Completion
from mock_server import Action, Behaviour, Call, MockServer

KEY = "sk-test-5f0c2b7e91d34a68"
TEXT = "Haud the windae open a wee bittie."
REQUEST = ChatRequest([{"role": "user", "content": "How do I dry washing?"}], max_tokens=50, seed=7)


def settings(url: str, *, key: str = KEY, model: str = "mock-doric") -> Settings:
    return Settings("openai", url, model, "OPENAI_API_KEY", key)


async def completions(
    server: MockServer, *requests: ChatRequest, key: str = KEY, model: str = "mock-doric", seconds: float = 5.0
) -> list[Completion]:
    async with server, Client(settings(server.url, key=key, model=model), timeout=seconds) as client:
        return [await client.complete(request) for request in requests]


def one_completion(server: MockServer, **options) -> Completion:
    return asyncio.run(completions(server, REQUEST, **options))[0]


def always(action: Action) -> MockServer:
    return MockServer(answer=lambda call: TEXT, decide=lambda call: action)


def failure(server: MockServer, **options) -> ServerError:
    with pytest.raises(ServerError) as caught:
        one_completion(server, **options)
    return caught.value


@dataclass(frozen=True)
class Expected:
    """The error that a fault becomes: its class, its name in the fault counts, and a part of its message."""

    error: type[ServerError]
    fault: str = ""
    says: str = ""


EXPECTED = {
    "vanish": Expected(RetryableError, "connection", "was lost"),
    "disconnect": Expected(RetryableError, "connection", "was lost"),
    "hang": Expected(RetryableError, "timeout", "no answer within"),
    "not_http": Expected(RetryableError, "connection", "was lost"),
    "drip": Expected(RetryableError, "timeout", "no answer within"),
    "rate_limit": Expected(RetryableError, "rate_limit", "429"),
    "error_500": Expected(RetryableError, "http_500", "500"),
    "error_502": Expected(RetryableError, "http_502", "502"),
    "error_503": Expected(RetryableError, "http_503", "503"),
    "echo_500": Expected(RetryableError, "http_500", "500"),
    "malformed": Expected(RetryableError, "malformed", "could not be read"),
    "no_choices": Expected(RetryableError, "malformed", "no choices"),
    "null_choices": Expected(RetryableError, "http_502", "502"),
    "html": Expected(RetryableError, "malformed", "a web page (Sign in)"),
    "not_json": Expected(RetryableError, "malformed", "text/plain"),
    "unauthorized": Expected(FatalServerError, says="rejected the key (401)"),
    "forbidden": Expected(FatalServerError, says="gives no access (403)"),
    "payment": Expected(FatalServerError, says="the quota is used up (402)"),
    "quota": Expected(FatalServerError, says="the quota is used up (429)"),
    "no_model": Expected(FatalServerError, says="no model 'mock-doric'"),
    "no_model_400": Expected(FatalServerError, says="no model 'mock-doric'"),
    "bad_request": Expected(NotOffered, says="400"),
    "unprocessable": Expected(NotOffered, says="422"),
    "context_400": Expected(ServerError, says="too long"),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_each_fault_becomes_one_error_without_the_key(kind, caplog, capfd):
    """Each fault becomes one error with a one-line message, and message, traceback and log do not contain the key."""
    caplog.set_level(logging.DEBUG)
    expected = EXPECTED[kind]
    error = failure(always(Action(kind)), seconds=0.3 if kind in ("hang", "drip") else 5.0)
    assert type(error) is expected.error
    assert expected.says in error.message
    assert "\n" not in error.message + error.hint
    if isinstance(error, RetryableError):
        assert error.fault == expected.fault
        assert error.throttled == (kind == "rate_limit")
    else:
        assert error.hint
    seen = [str(error), repr(error), error.hint, *traceback.format_exception(error), caplog.text, *capfd.readouterr()]
    assert KEY not in "".join(seen)


def test_the_key_is_redacted_in_an_answer():
    """The user's key is redacted in answers, because datasets and topic lists are published."""
    found = one_completion(MockServer(answer=lambda call: f"Yer key is {call.key}, min."))
    assert found.text == "Yer key is …, min."


@pytest.mark.parametrize("key", ["doric", "windae", "a", "not-needed"])
def test_a_placeholder_key_is_not_redacted_in_an_answer(key):
    """A key that is a plain word, as for local servers, is not removed from answers."""
    text = f"Haud the {key} open."
    assert one_completion(MockServer(answer=lambda call: text), key=key).text == text


@pytest.mark.parametrize(
    ("sent", "after"),
    [("1", 1.0), ("0.25", 0.25), ("0", 0.0), (None, None), ("soon", None), ("-3", None), ("nan", None), ("inf", None)],
)
def test_retry_after_in_seconds(sent, after):
    """Retry-After is returned in seconds, and an invalid value counts as absent."""
    error = failure(always(Action("rate_limit", retry_after=sent)))
    assert isinstance(error, RetryableError)
    assert error.after == after


def test_retry_after_as_a_date():
    """Retry-After may be a date, and a date in the past means no wait."""
    for seconds, most in ((30, 30), (-30, 0)):
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
        error = failure(always(Action("error_503", retry_after=date)))
        assert isinstance(error, RetryableError)
        assert error.after == pytest.approx(most, abs=3)


def test_a_complete_answer():
    """Text, finish reason and token counts come from the server, and the request has only the given fields."""
    server = always(Action())
    completion = one_completion(server)
    assert (completion.text, completion.finish) == (TEXT, "stop")
    assert completion.tokens_in > 0
    assert completion.tokens_out == len(TEXT) // 3
    sent = server.calls[0].body
    assert sent == {
        "model": "mock-doric", "messages": REQUEST.messages, "max_tokens": 50, "temperature": 0.8, "seed": 7,
        "stream": False,
    }  # fmt: skip
    assert server.calls[0].key == KEY


def test_a_cut_off_answer_has_the_finish_reason_length():
    """An answer that reached the token limit has the finish reason "length"."""
    completion = one_completion(always(Action("truncated")))
    assert completion.finish == "length"
    assert TEXT.startswith(completion.text)


@pytest.mark.parametrize("kind", ["filtered", "filtered_400"])
def test_a_content_filter_gives_an_empty_completion(kind):
    """An answer that a content filter blocks is an empty completion in each format that servers use."""
    assert one_completion(always(Action(kind))).finish == "content_filter"


def test_an_empty_answer_is_a_completion():
    """The client returns an empty answer, because the gates reject it later."""
    assert one_completion(always(Action("empty"))).text == ""


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (f"<think>The user wants Doric.</think>\n\n{TEXT}", TEXT),
        (f"<Thinking>\nHm.\n</Thinking>{TEXT}", TEXT),
        (f"the opening tag was in the prompt</think>{TEXT}", TEXT),
        ("<think>cut off before it said anyth", ""),
        (f"{TEXT}<think>an afterthought</think>", TEXT),
        ("I think <b> is a tag", "I think <b> is a tag"),
    ],
)
def test_reasoning_is_removed(said, text):
    """A reasoning model's reasoning is not part of its answer."""
    assert one_completion(always(Action(text=said))).text == text


@pytest.mark.parametrize("name", ["temperature", "seed", "max_tokens", "response_format"])
def test_a_refused_parameter_is_not_sent_again(name):
    """If the model refuses a parameter, one extra call is made, and the token limit is sent under its other name."""
    server = MockServer(Behaviour(refuses=(name,)), answer=lambda call: TEXT)
    request = ChatRequest(REQUEST.messages, 50, seed=7, schema={"type": "object"})
    assert [completion.text for completion in asyncio.run(completions(server, request, request, request))] == [TEXT] * 3
    assert server.stats.kinds == {f"refuses_{name}": 1, "ok": 3}
    assert name not in server.calls[-1].body
    assert ("max_completion_tokens" in server.calls[-1].body) == (name == "max_tokens")


def test_several_parameters_refused_by_concurrent_calls():
    """Fifty concurrent calls succeed with a model that accepts neither temperature nor seed nor max_tokens."""

    async def many() -> list[Completion]:
        async with server, Client(settings(server.url), timeout=5) as client:
            return await asyncio.gather(*(client.complete(REQUEST) for _ in range(50)))

    server = MockServer(Behaviour(refuses=("temperature", "seed", "max_tokens")), answer=lambda call: TEXT)
    assert {completion.text for completion in asyncio.run(many())} == {TEXT}
    assert set(server.calls[-1].body) == {"model", "messages", "max_completion_tokens", "stream"}


def test_a_request_that_is_too_long_is_not_a_refused_parameter():
    """If a 400 mentions max_tokens because the request is too long, it is an error and the limit is still sent."""
    said = "'max_tokens' is too large: 4000. This model's maximum context length is 2048 tokens."
    server = always(Action("context_400", text=said))
    assert "too long" in failure(server).message
    assert len(server.calls) == 1


def test_reasoning_tokens_are_halved_if_the_request_is_too_long():
    """If the extra tokens of a reasoning model make the request too long, the next request asks for fewer tokens."""

    def decide(call: Call) -> Action | None:
        return Action("context_400") if call.body["max_tokens"] > 2000 else None

    server = MockServer(answer=lambda call: f"<think>Hm.</think>{TEXT}", decide=decide)
    assert [completion.text for completion in asyncio.run(completions(server, *[REQUEST] * 4))] == [TEXT] * 4
    limits = [call.body["max_tokens"] for call in server.calls]
    assert REQUEST.max_tokens < limits[-1] <= 2000
    assert sum(limit > 2000 for limit in limits) == 2


def test_a_short_placeholder_key_is_not_redacted_in_an_error():
    """A key of one letter, as for local servers, is not redacted in the server's messages."""
    server = MockServer(Behaviour(refuses=("max_tokens",)), answer=lambda call: TEXT)
    assert one_completion(server, key="x").text == TEXT


def test_without_a_key_a_placeholder_is_sent():
    """A local server gets a placeholder instead of the user's key."""
    server = always(Action())
    assert one_completion(server, key="").text == TEXT
    assert server.calls[0].key == "no-key"


def test_a_missing_key_is_named():
    """If a server requires a key and none is set, the hint names the variable to set."""
    error = failure(MockServer(Behaviour(key=KEY), answer=lambda call: TEXT), key="")
    assert "none is set (401)" in error.message
    assert error.hint == "Set OPENAI_API_KEY in the environment or in .env."


def test_the_only_listed_model_is_used():
    """If no model name is given and the server lists only one model, that model is used."""
    server = always(Action())
    assert one_completion(server, model="").text == TEXT
    assert server.calls[0].body["model"] == "mock-doric"


def test_a_placeholder_key_is_not_redacted_in_the_name_of_a_listed_model():
    """A key such as "openai" is no secret, so a listed model with this word in its name is asked by its whole name."""
    server = MockServer(Behaviour(models=("openai/gpt-oss-20b",)), answer=lambda call: TEXT)
    assert one_completion(server, key="openai", model="").text == TEXT
    assert server.calls[0].body["model"] == "openai/gpt-oss-20b"


@pytest.mark.parametrize(
    ("models", "says"),
    [((), "does not list its models"), (("a", "b"), "lists 2 models"), (None, "does not list its models")],
    ids=["none", "two", "no list"],
)
def test_without_a_single_listed_model_the_user_must_choose(models, says):
    """If the server lists no model or several models, the error asks for a name, and the hint lists the choices."""
    error = failure(MockServer(Behaviour(models=models), answer=lambda call: TEXT), model="")
    assert isinstance(error, FatalServerError)
    assert says in error.message
    assert "--model" in error.hint
    assert ("a, b" in error.hint) == (models == ("a", "b"))


def test_a_wrong_key_at_the_list_of_models():
    """If the server rejects the key at the list of models, the error names the key and not a missing model."""
    error = failure(MockServer(Behaviour(key="another"), answer=lambda call: TEXT), model="")
    assert "rejected the key (401)" in error.message
    assert KEY not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("model", ["", "some-model"])
def test_no_server_at_the_address(model):
    """If the server cannot be reached, the run ends before its first call, and the message has the address."""

    async def ask() -> None:
        async with Client(settings("http://127.0.0.1:9/v1", model=model), timeout=5):
            pytest.fail("it opened")

    with pytest.raises(FatalServerError, match=r"no connection to http://127.0.0.1:9/v1") as caught:
        asyncio.run(ask())
    assert "OPENAI_BASE_URL" in caught.value.hint


def test_a_lost_server_is_a_retryable_error():
    """A server that disappears during the run is a retryable error."""

    async def ask() -> None:
        async with Client(settings(server.url), timeout=5) as client:
            await server.__aexit__()
            await client.complete(REQUEST)

    async def start_and_ask() -> None:
        await server.__aenter__()
        await ask()

    server = always(Action())
    with pytest.raises(RetryableError, match="connection") as caught:
        asyncio.run(start_and_ask())
    assert caught.value.fault == "connection"


def test_an_error_at_the_list_of_models_loses_no_call():
    """If the server answers 500 at its list of models and drops that connection, the call still succeeds."""

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/models" in head:
            writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nOops")
            await reader.read(1)
        else:
            await reader.readuntil(b"}]")
            body = json.dumps({"choices": [{"message": {"content": TEXT}}]}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
        writer.close()

    async def asked():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            async with Client(settings(url), timeout=5.0) as client:
                return await client.complete(REQUEST)

    assert asyncio.run(asked()).text == TEXT


def test_a_key_that_may_not_list_models():
    """A given model is used even if the server has no list of models."""
    server = MockServer(Behaviour(models=None), answer=lambda call: TEXT)
    assert one_completion(server).text == TEXT


@pytest.mark.parametrize(
    "behaviour", [Behaviour(), Behaviour(refuses=("max_tokens",))], ids=["reasoning in the answer", "refused parameter"]
)
def test_reasoning_models_get_more_tokens(behaviour):
    """Reasoning counts towards the token limit, so a model that reasons gets a higher limit."""
    server = MockServer(behaviour, answer=lambda call: f"<think>Hm.</think>{TEXT}")
    asyncio.run(completions(server, REQUEST, REQUEST))
    limits = [call.body.get("max_tokens", 0) + call.body.get("max_completion_tokens", 0) for call in server.calls]
    assert limits[0] == 50
    assert limits[-1] > 1000


def test_cancelling_a_call_closes_its_connection():
    """A cancelled call ends at once, and the server sees its connection close."""

    async def cancel() -> None:
        async with server, Client(settings(server.url), timeout=60) as client:
            call = asyncio.create_task(client.complete(REQUEST))
            await asyncio.wait_for(arrived.wait(), 5)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.sleep(0.05)
            assert server.stats.kinds == {"aborted": 1}

    def hang(call: Call) -> Action:
        arrived.set()
        return Action("hang")

    arrived = asyncio.Event()
    server = MockServer(answer=lambda call: TEXT, decide=hang)
    asyncio.run(cancel())


def test_calls_share_connections():
    """Two hundred calls, ten at a time, use at most ten connections and one more for the list of models."""

    async def many() -> None:
        async with server, Client(settings(server.url), timeout=5, concurrency=10) as client:
            await asyncio.gather(*(client.complete(REQUEST) for _ in range(200)))

    server = MockServer(Behaviour(latency=0.005), answer=lambda call: TEXT)
    asyncio.run(many())
    assert server.stats.requests == 200
    assert server.stats.connections <= 10 + 1


def test_the_mock_server_is_compatible_with_the_sdk():
    """The openai SDK can read the mock server's answers with and without streaming."""

    async def ask() -> tuple[str, str]:
        import openai

        async with server, openai.AsyncOpenAI(api_key=KEY, base_url=server.url) as client:
            whole = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])
            stream = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "?"}], stream=True
            )
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return str(whole.choices[0].message.content), "".join(parts).strip()

    server = always(Action())
    assert asyncio.run(ask()) == (TEXT, TEXT)


def test_the_mock_server_counts_calls():
    """The mock server counts calls, kinds of answer, and repeated request bodies."""

    async def ask() -> dict:
        async with server, Client(settings(server.url), timeout=5) as client:
            await client.complete(REQUEST)
            await client.complete(REQUEST)
            with pytest.raises(RetryableError):
                await client.complete(ChatRequest(REQUEST.messages, 99))
            reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))
            writer.write(b"GET /stats HTTP/1.1\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
            writer.close()
            return json.loads(head and await reader.readexactly(length))

    def third_fails(call: Call) -> Action | None:
        return Action("error_500") if call.number == 3 else None

    server = MockServer(answer=lambda call: TEXT, decide=third_fails)
    stats = asyncio.run(ask())
    assert stats["requests"] == 3
    assert stats["duplicates"] == 1
    assert stats["peak_in_flight"] == 1
    assert stats["kinds"] == {"ok": 2, "error_500": 1}
