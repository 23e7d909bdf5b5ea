"""The OpenAI-compatible client against a server that misbehaves: one named error for each fault, and never the key."""

import asyncio
import json
import logging
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.core.settings import Settings
from doric.llm.client import ChatRequest, Client
from doric.llm.response import Completion
from mock_server import Action, Behaviour, Call, MockServer

KEY = "sk-test-5f0c2b7e91d34a68"
TEXT = "Haud the windae open a wee bittie."
ASK = ChatRequest([{"role": "user", "content": "How do I dry washing?"}], max_tokens=50, seed=7)


def settings(url: str, *, key: str = KEY, model: str = "mock-doric") -> Settings:
    return Settings("openai", url, model, "OPENAI_API_KEY", key)


async def completions(
    server: MockServer, *requests: ChatRequest, key: str = KEY, model: str = "mock-doric", seconds: float = 5.0
) -> list[Completion]:
    async with server, Client(settings(server.url, key=key, model=model), timeout=seconds) as client:
        return [await client.complete(request) for request in requests]


def one_completion(server: MockServer, **options) -> Completion:
    return asyncio.run(completions(server, ASK, **options))[0]


def always(action: Action) -> MockServer:
    return MockServer(answer=lambda call: TEXT, decide=lambda call: action)


def failure(server: MockServer, **options) -> ServerError:
    with pytest.raises(ServerError) as caught:
        one_completion(server, **options)
    return caught.value


@dataclass(frozen=True)
class Fate:
    """What a fault becomes: the class, its word in the tally, and what the user is told."""

    error: type[ServerError]
    fault: str = ""
    says: str = ""


FATES = {
    "vanish": Fate(RetryableError, "connection", "was lost"),
    "disconnect": Fate(RetryableError, "connection", "was lost"),
    "hang": Fate(RetryableError, "timeout", "no answer within"),
    "not_http": Fate(RetryableError, "connection", "was lost"),
    "drip": Fate(RetryableError, "timeout", "no answer within"),
    "rate_limit": Fate(RetryableError, "rate_limit", "429"),
    "error_500": Fate(RetryableError, "http_500", "500"),
    "error_502": Fate(RetryableError, "http_502", "502"),
    "error_503": Fate(RetryableError, "http_503", "503"),
    "echo_500": Fate(RetryableError, "http_500", "500"),
    "malformed": Fate(RetryableError, "malformed", "could not be read"),
    "no_choices": Fate(RetryableError, "malformed", "no choices"),
    "null_choices": Fate(RetryableError, "http_502", "502"),
    "html": Fate(RetryableError, "malformed", "text/html"),
    "not_json": Fate(RetryableError, "malformed", "text/plain"),
    "unauthorized": Fate(FatalServerError, says="rejected the key (401)"),
    "forbidden": Fate(FatalServerError, says="rejected the key (403)"),
    "payment": Fate(FatalServerError, says="the quota is used up (402)"),
    "quota": Fate(FatalServerError, says="the quota is used up (429)"),
    "no_model": Fate(FatalServerError, says="no model 'mock-doric'"),
    "no_model_400": Fate(FatalServerError, says="no model 'mock-doric'"),
    "bad_request": Fate(FatalServerError, says="400"),
    "unprocessable": Fate(FatalServerError, says="422"),
    "context_400": Fate(ServerError, says="too long"),
}


@pytest.mark.parametrize("kind", FATES)
def test_each_fault_has_its_error_and_keeps_the_key(kind, caplog, capfd):
    """Whatever the server does, one error says so in one line; the key is not in it, its trace or a log."""
    caplog.set_level(logging.DEBUG)
    fate = FATES[kind]
    error = failure(always(Action(kind)), seconds=0.3 if kind in ("hang", "drip") else 5.0)
    assert type(error) is fate.error
    assert fate.says in error.message
    assert "\n" not in error.message + error.hint
    if isinstance(error, RetryableError):
        assert error.fault == fate.fault
        assert error.throttled == (kind == "rate_limit")
    else:
        assert error.hint
    seen = [str(error), repr(error), error.hint, *traceback.format_exception(error), caplog.text, *capfd.readouterr()]
    assert KEY not in "".join(seen)


def test_an_answer_that_quotes_the_key_comes_without_it():
    """The user's key is cut out of an answer: rows and topics are given away."""
    found = one_completion(MockServer(answer=lambda call: f"Yer key is {call.key}, min."))
    assert found.text == "Yer key is …, min."


@pytest.mark.parametrize("key", ["doric", "windae", "a", "not-needed"])
def test_a_word_in_place_of_a_key_spoils_no_answer(key):
    """What local servers take for a key is a word, and stays in an answer."""
    text = f"Haud the {key} open."
    assert one_completion(MockServer(answer=lambda call: text), key=key).text == text


@pytest.mark.parametrize(
    ("sent", "after"),
    [("1", 1.0), ("0.25", 0.25), ("0", 0.0), (None, None), ("soon", None), ("-3", None), ("nan", None), ("inf", None)],
)
def test_retry_after_in_seconds(sent, after):
    """The wait that the server asks for is carried along; what is no number of seconds is as if it were not there."""
    error = failure(always(Action("rate_limit", retry_after=sent)))
    assert isinstance(error, RetryableError)
    assert error.after == after


def test_retry_after_as_a_date():
    """A date half a minute away is a wait of half a minute; one in the past is no wait."""
    for seconds, most in ((30, 30), (-30, 0)):
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
        error = failure(always(Action("error_503", retry_after=date)))
        assert isinstance(error, RetryableError)
        assert error.after == pytest.approx(most, abs=3)


def test_a_whole_answer():
    """The text, the finish reason and the tokens come back as the server gave them."""
    server = always(Action())
    reply = one_completion(server)
    assert (reply.text, reply.finish) == (TEXT, "stop")
    assert reply.tokens_in > 0
    assert reply.tokens_out == len(TEXT) // 3
    sent = server.calls[0].body
    assert sent == {
        "model": "mock-doric", "messages": ASK.messages, "max_tokens": 50, "temperature": 0.8, "seed": 7,
    }  # fmt: skip
    assert server.calls[0].key == KEY


def test_a_cut_answer_says_so():
    """A reply that ran out of tokens has the finish reason length."""
    reply = one_completion(always(Action("truncated")))
    assert reply.finish == "length"
    assert TEXT.startswith(reply.text)


@pytest.mark.parametrize("kind", ["filtered", "filtered_400"])
def test_a_content_filter_is_a_reply(kind):
    """A refusal by the server's content filter is an empty reply with that reason, in whichever form it comes."""
    assert one_completion(always(Action(kind))).finish == "content_filter"


def test_an_empty_answer_is_a_reply():
    """A reply without text is for the gates to judge."""
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
def test_thoughts_are_dropped(said, text):
    """What a reasoning model thinks aloud is not part of its answer."""
    assert one_completion(always(Action(text=said))).text == text


@pytest.mark.parametrize("name", ["temperature", "seed", "max_tokens", "response_format"])
def test_a_refused_parameter_is_dropped_and_remembered(name):
    """A parameter that the model refuses costs one call, once; the limit on tokens goes on under its other name."""
    server = MockServer(Behaviour(refuses=(name,)), answer=lambda call: TEXT)
    ask = ChatRequest(ASK.messages, 50, seed=7, schema={"type": "object"})
    assert [reply.text for reply in asyncio.run(completions(server, ask, ask, ask))] == [TEXT] * 3
    assert server.stats.kinds == {f"refuses_{name}": 1, "ok": 3}
    assert name not in server.calls[-1].body
    assert ("max_completion_tokens" in server.calls[-1].body) == (name == "max_tokens")


def test_several_refused_parameters_at_once():
    """A model that takes neither temperature nor seed nor max_tokens is asked without them, by fifty calls at once."""

    async def many() -> list[Completion]:
        async with server, Client(settings(server.url), timeout=5) as client:
            return await asyncio.gather(*(client.complete(ASK) for _ in range(50)))

    server = MockServer(Behaviour(refuses=("temperature", "seed", "max_tokens")), answer=lambda call: TEXT)
    assert {reply.text for reply in asyncio.run(many())} == {TEXT}
    assert set(server.calls[-1].body) == {"model", "messages", "max_completion_tokens"}


def test_a_limit_that_is_too_high_is_not_taken_for_a_refused_parameter():
    """A 400 that names max_tokens because the request is too long is an error, not a reason to drop the limit."""
    said = "'max_tokens' is too large: 4000. This model's maximum context length is 2048 tokens."
    server = always(Action("context_400", text=said))
    assert "too long" in failure(server).message
    assert len(server.calls) == 1


def test_room_for_thoughts_that_does_not_fit_is_made_smaller():
    """Where a small server calls a request too long because of the room for thoughts, it gets less of that room."""

    def decide(call: Call) -> Action | None:
        return Action("context_400") if call.body["max_tokens"] > 2000 else None

    server = MockServer(answer=lambda call: f"<think>Hm.</think>{TEXT}", decide=decide)
    assert [reply.text for reply in asyncio.run(completions(server, *[ASK] * 4))] == [TEXT] * 4
    limits = [call.body["max_tokens"] for call in server.calls]
    assert ASK.max_tokens < limits[-1] <= 2000
    assert sum(limit > 2000 for limit in limits) == 2


def test_a_dummy_key_changes_no_complaint():
    """A key of one letter, as local servers are given, is not cut out of a server's words."""
    server = MockServer(Behaviour(refuses=("max_tokens",)), answer=lambda call: TEXT)
    assert one_completion(server, key="x").text == TEXT


def test_a_server_without_keys_gets_a_placeholder():
    """A local server is asked without a key of the user's."""
    server = always(Action())
    assert one_completion(server, key="").text == TEXT
    assert server.calls[0].key == "no-key"


def test_a_missing_key_is_named():
    """When a server wants a key and none is set, the message names the variable to set."""
    error = failure(MockServer(Behaviour(key=KEY), answer=lambda call: TEXT), key="")
    assert "OPENAI_API_KEY" in error.hint
    assert "not set" in error.hint


def test_the_only_model_is_found_out():
    """Without a model's name, the one that the server lists is used."""
    server = always(Action())
    assert one_completion(server, model="").text == TEXT
    assert server.calls[0].body["model"] == "mock-doric"


@pytest.mark.parametrize(
    ("models", "says"),
    [((), "exactly one"), (("a", "b"), "exactly one"), (None, "exactly one")],
    ids=["none", "two", "no list"],
)
def test_no_model_can_be_found_out(models, says):
    """With no list of models, or more than one on it, the user is asked to name one, and told which there are."""
    error = failure(MockServer(Behaviour(models=models), answer=lambda call: TEXT), model="")
    assert isinstance(error, FatalServerError)
    assert says in error.message
    assert "--model" in error.hint
    assert ("a, b" in error.hint) == (models == ("a", "b"))


def test_a_wrong_key_at_the_list_of_models():
    """A key that the list of models refuses is called a refused key, not a missing model."""
    error = failure(MockServer(Behaviour(key="another"), answer=lambda call: TEXT), model="")
    assert "rejected the key (401)" in error.message
    assert KEY not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("model", ["", "some-model"])
def test_nobody_is_listening(model):
    """A server that is not there ends the run before it begins, with the address."""

    async def ask() -> None:
        async with Client(settings("http://127.0.0.1:9/v1", model=model), timeout=5):
            pytest.fail("it opened")

    with pytest.raises(FatalServerError, match=r"no connection to http://127.0.0.1:9/v1") as caught:
        asyncio.run(ask())
    assert "OPENAI_BASE_URL" in caught.value.hint


def test_a_server_that_goes_away_may_come_back():
    """A server that was there and is no longer is asked again later."""

    async def ask() -> None:
        async with Client(settings(server.url), timeout=5) as client:
            await server.__aexit__()
            await client.complete(ASK)

    async def start_and_ask() -> None:
        await server.__aenter__()
        await ask()

    server = always(Action())
    with pytest.raises(RetryableError, match="connection") as caught:
        asyncio.run(start_and_ask())
    assert caught.value.fault == "connection"


def test_a_server_that_trips_over_its_list_of_models():
    """One that answers 500 there, and drops that connection when more comes on it, loses no call by it."""

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/models" in head:
            writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nOops")
            await reader.read(1)
        else:
            await reader.readuntil(b"}]")
            reply = json.dumps({"choices": [{"message": {"content": TEXT}}]}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(reply), reply))
            await writer.drain()
        writer.close()

    async def asked():
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            async with Client(settings(url), timeout=5.0) as client:
                return await client.complete(ASK)

    assert asyncio.run(asked()).text == TEXT


def test_a_key_that_may_not_list_models():
    """A named model is asked even when the key may not see the list of models."""
    server = MockServer(Behaviour(models=None), answer=lambda call: TEXT)
    assert one_completion(server).text == TEXT


@pytest.mark.parametrize(
    "behaviour", [Behaviour(), Behaviour(refuses=("max_tokens",))], ids=["it shows thoughts", "its parameters"]
)
def test_a_model_that_thinks_gets_room_to(behaviour):
    """Thoughts count towards the limit on tokens, so a model that is seen to think is given more."""
    server = MockServer(behaviour, answer=lambda call: f"<think>Hm.</think>{TEXT}")
    asyncio.run(completions(server, ASK, ASK))
    limits = [call.body.get("max_tokens", 0) + call.body.get("max_completion_tokens", 0) for call in server.calls]
    assert limits[0] == 50
    assert limits[-1] > 1000


def test_cancelling_a_call_closes_it():
    """A call that is cancelled ends at once, and the server sees its connection go."""

    async def cancel() -> None:
        async with server, Client(settings(server.url), timeout=60) as client:
            call = asyncio.create_task(client.complete(ASK))
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


def test_calls_share_their_connections():
    """Two hundred calls, ten at a time, take ten connections at most, beside that which asked for the models."""

    async def many() -> None:
        async with server, Client(settings(server.url), timeout=5, concurrency=10) as client:
            await asyncio.gather(*(client.complete(ASK) for _ in range(200)))

    server = MockServer(Behaviour(latency=0.005), answer=lambda call: TEXT)
    asyncio.run(many())
    assert server.stats.requests == 200
    assert server.stats.connections <= 10 + 1


def test_the_mock_speaks_as_a_server_does():
    """The plain SDK reads the mock's answers, streamed or not."""

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


def test_the_mock_counts():
    """The mock tells requests, kinds of answer, and bodies that it had seen before."""

    async def ask() -> dict:
        async with server, Client(settings(server.url), timeout=5) as client:
            await client.complete(ASK)
            await client.complete(ASK)
            with pytest.raises(RetryableError):
                await client.complete(ChatRequest(ASK.messages, 99))
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
