"""Requests are adapted to what a server refuses, and have the user's extra fields, in every command."""

import asyncio
import json
import logging
from pathlib import Path

import pytest

import generate_doric_dataset as generator
import generate_topics_via_llm as expander
import mock_server
from chat_mock import ChatMock
from chat_terminal import ask
from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.core.files import encode_json
from doric.core.other_model import find_model
from doric.core.settings import Settings, load_settings
from doric.llm.client import ChatRequest, Client
from doric.llm.request import without_system_role
from mock_server import ROOT, Action, Call, MockServer, serving
from scripts import load_script

TEXT = "Haud the windae open a wee bittie."
RULES = {"role": "system", "content": "Answer in Doric."}
QUESTION = {"role": "user", "content": "How do I dry washing?"}
REQUEST = ChatRequest([RULES, QUESTION], 50)
THINKING = '{"enable_thinking": false, "chat_template_kwargs": {"enable_thinking": false}}'


def _validator():
    return load_script(ROOT / "validation" / "validate_model.py")


validator = _validator()


def answers(server: MockServer, *requests: ChatRequest, extra: dict | None = None) -> list[str]:
    async def ask_all() -> list[str]:
        async with server, Client(Settings("openai", server.url, "m", "K", "", extra or {}), timeout=5) as client:
            return [(await client.complete(request)).text for request in requests]

    return asyncio.run(ask_all())


def refusing(monkeypatch, refuses, status: int, message: str) -> MockServer:
    """A server that answers `status` with `message` to each request for which `refuses` is true."""
    error = mock_server._error(status, message)
    monkeypatch.setitem(mock_server.ANSWERS, "refusing", lambda call, text: error)
    return MockServer(answer=lambda call: TEXT, decide=lambda call: Action("refusing") if refuses(call) else None)


def has_system(call: Call) -> bool:
    return any(message["role"] == "system" for message in call.body["messages"])


# -- what a server refuses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "System role not supported"),
        (400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        (422, "Only user and assistant roles are supported!"),
        (400, "Developer instruction is not enabled for models/gemma-3-1b-it"),
        (500, "Jinja Exception: System role not supported"),
    ],
)
def test_without_a_system_role_the_rules_are_in_the_first_question(monkeypatch, status, message):
    """If a model refuses the system role, its text is put into the first question, and one call is lost in all."""
    server = refusing(monkeypatch, has_system, status, message)
    assert answers(server, REQUEST, REQUEST) == [TEXT] * 2
    assert [call.body["messages"] for call in server.calls[1:]] == [
        [{"role": "user", "content": "Answer in Doric.\n\nHow do I dry washing?"}]
    ] * 2


def test_an_error_about_roles_without_a_system_prompt_is_an_error(monkeypatch):
    """A request without a system prompt is not repeated after such an error."""
    server = refusing(monkeypatch, lambda call: True, 400, "Conversation roles must alternate user/assistant")
    with pytest.raises(FatalServerError, match="roles must alternate"):
        answers(server, ChatRequest([QUESTION], 50))
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "messages",
    [[QUESTION], [RULES], [RULES, {"role": "assistant", "content": "Aye."}, QUESTION], [RULES, QUESTION, RULES]],
)
def test_where_the_rules_go(messages):
    """Whatever the messages are, no text is lost and no system role is left."""
    folded = without_system_role(messages)
    assert all(message["role"] != "system" for message in folded)
    text = " ".join(message["content"] for message in folded)
    assert all(message["content"] in text for message in messages)


def test_a_server_that_only_streams(monkeypatch):
    """If the server answers only as a stream, the answers are streamed from then on, and one call is lost in all."""
    message = "This model only support stream mode, please enable the stream parameter to access the model."
    server = refusing(monkeypatch, lambda call: not call.body["stream"], 400, message)
    assert answers(server, REQUEST, REQUEST) == [TEXT] * 2
    assert [call.body["stream"] for call in server.calls] == [False, True, True]


def test_a_stream_that_was_not_asked_for_is_read(monkeypatch):
    """An answer that is streamed although the request says not to is read like any other."""
    monkeypatch.setitem(mock_server.ANSWERS, "streamed", mock_server._stream)
    server = MockServer(answer=lambda call: TEXT, decide=lambda call: Action("streamed"))
    assert answers(server, REQUEST) == [TEXT]
    assert server.calls[0].body["stream"] is False


def test_several_refusals_one_after_the_other(monkeypatch):
    """A server may refuse the system role, whole answers and the temperature; each costs one call."""
    replies = iter(["System role not supported", "Streaming is required", "temperature is not supported", "", ""])
    errors = {"say": ""}

    def decide(call: Call) -> Action | None:
        errors["say"] = next(replies)
        return Action("refusing") if errors["say"] else None

    monkeypatch.setitem(
        mock_server.ANSWERS, "refusing", lambda call, text: mock_server._error(400, errors["say"])
    )  # fmt: skip
    server = MockServer(answer=lambda call: TEXT, decide=decide)
    assert answers(server, REQUEST, REQUEST) == [TEXT] * 2
    assert len(server.calls) == 5


# -- the server's own words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "busy right now", "code": 503}},
        {"error": "busy right now"},
        {"detail": "busy right now"},
        {"object": "error", "message": "busy right now", "code": 503},
        {"message": "busy right now"},
        {"errors": [{"message": "busy right now"}]},
        [{"error": {"message": "busy right now"}}],
        {"choices": [], "error": {"message": "busy right now"}},
    ],
)
def test_an_error_inside_a_200_has_its_words(monkeypatch, body):
    """An error in a response with status 200 is an error with the server's words, in any shape."""
    monkeypatch.setitem(mock_server.ANSWERS, "odd", lambda call, text: mock_server._http(200, encode_json(body)))
    server = MockServer(decide=lambda call: Action("odd"))
    with pytest.raises(RetryableError, match="busy right now"):
        answers(server, REQUEST)


def test_a_web_page_with_status_200_is_named():
    """If a page answers instead of the server, the error has its title."""
    with pytest.raises(RetryableError, match=r"a web page \(Sign in\)"):
        answers(MockServer(decide=lambda call: Action("html")), REQUEST)


def test_the_words_are_logged_once(monkeypatch, caplog):
    """What a server says is logged when it is first seen, and not again for another number in it."""
    caplog.set_level(logging.INFO)

    def decide(call: Call) -> Action:
        error = mock_server._error(500, f"request req-{call.number}f failed: GPU {call.number} is out of memory")
        mock_server.ANSWERS["numbered"] = lambda call, text: error
        return Action("numbered")

    async def ask_often(server: MockServer) -> None:
        async with server, Client(Settings("openai", server.url, "m", "K", ""), timeout=5) as client:
            for _ in range(10):
                with pytest.raises(ServerError):
                    await client.complete(REQUEST)

    monkeypatch.setitem(mock_server.ANSWERS, "numbered", None)
    asyncio.run(ask_often(MockServer(decide=decide)))
    assert caplog.text.count("is out of memory; trying again") == 1


# -- extra fields ------------------------------------------------------------------------------------------------------


def test_extra_fields_are_merged(monkeypatch):
    """Extra fields are added to each request; objects are merged, and other values replace those of the program."""
    extra = {"temperature": 0.1, "response_format": {"strict": False}, "top_k": 20, "seed": None}
    server = MockServer(answer=lambda call: TEXT)
    request = ChatRequest([QUESTION], 50, seed=7, schema={"type": "object"})
    answers(server, request, extra=extra)
    sent = server.calls[0].body
    assert (sent["temperature"], sent["top_k"], sent["seed"]) == (0.1, 20, None)
    assert sent["response_format"]["strict"] is False
    assert sent["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize("extra", [{"temperature": 0.1}, {"enable_thinking": False}])
def test_a_refused_extra_field_is_named(monkeypatch, extra):
    """If the server refuses an extra field, the user is told; it is neither dropped nor sent again and again."""
    name = next(iter(extra))
    server = refusing(monkeypatch, lambda call: name in call.body, 400, f"Unrecognized request argument: {name}")
    with pytest.raises(FatalServerError) as caught:
        answers(server, REQUEST, extra=extra)
    assert f"'{name}' comes from --extra-body" in caught.value.hint
    assert len(server.calls) == 1


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with three topics, and no settings."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "MODEL", "MODEL_PROVIDER", "EXTRA_BODY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("topics.txt").write_text("drying peats in a wet summer\nmending a creel with cord\nkeeping hens out of kale\n")
    return tmp_path


GENERATE = ("--topics", "topics.txt", "--out", "out.jsonl", "--n-per-topic", "2", "--no-progress")
EXPAND = ("--input", "topics.txt", "--output", "more.txt", "--per-group", "1")
VALIDATE = ("--limit", "2", "--out", "result.json", "--max-retries", "0")


@pytest.mark.parametrize("given", ["flag", "variable"])
@pytest.mark.parametrize(
    ("script", "flags"),
    [(generator, GENERATE), (expander, EXPAND), (validator, (*VALIDATE, "--baseline", "b", "--judge-model", "j"))],
    ids=["generator", "expander", "validator"],
)
def test_every_command_sends_the_extra_fields(here, monkeypatch, script, flags, given):
    """--extra-body, or EXTRA_BODY, is in every request of every command, also of a baseline and a judge."""
    if given == "variable":
        monkeypatch.setenv("EXTRA_BODY", THINKING)
    with serving() as server:
        more = ("--extra-body", THINKING) if given == "flag" else ()
        script.main([*flags, "--base-url", server.url, "--model", "m", *more])
    assert server.calls
    for call in server.calls:
        assert json.loads(THINKING).items() <= call.body.items()


def test_the_chat_sends_the_extra_fields(tmp_path):
    """The chat reads VLLM_EXTRA_BODY, and --extra-body takes precedence."""
    with ChatMock() as server:
        assert ask(tmp_path, server.url, "hello", VLLM_EXTRA_BODY=THINKING).returncode == 0
        assert ask(tmp_path, server.url, "hello", "--extra-body", '{"top_k": 1}', VLLM_EXTRA_BODY="x").returncode == 2
        assert ask(tmp_path, server.url, "hello", "--extra-body", "{}", VLLM_EXTRA_BODY=THINKING).returncode == 0
    assert ["enable_thinking" in body for body in server.asked] == [True, False]


@pytest.mark.parametrize(
    "text", ["{enable_thinking: false}", "[]", '{"messages": []}', '{"stream": true}', '{"a": NaN}']
)
@pytest.mark.parametrize(
    ("script", "flags"), [(generator, GENERATE), (expander, EXPAND), (validator, VALIDATE)], ids=["gen", "exp", "val"]
)
def test_wrong_extra_fields_stop_every_command(here, capsys, script, flags, text):
    """A wrong --extra-body is one line and a hint before anything is asked or written, with exit status 2."""
    before = sorted(here.iterdir())
    with serving() as server:
        assert script.main([*flags, "--base-url", server.url, "--model", "m", "--extra-body", text]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == ["error", "hint"]
    assert said[0].startswith("error: --extra-body ")
    assert server.calls == []
    assert sorted(here.iterdir()) == before


def test_the_extra_fields_of_the_baseline_and_the_judge():
    """A model on the same server gets the model's fields; a model elsewhere, or with a flag of its own, does not."""
    model = load_settings(base_url="http://h/v1", extra_body='{"a": 1}', environ={})
    assert find_model("other", model, "JUDGE_API_KEY").extra_body == {"a": 1}
    assert find_model("other@http://h/v1", model, "JUDGE_API_KEY").extra_body == {"a": 1}
    assert find_model("other@http://elsewhere/v1", model, "JUDGE_API_KEY").extra_body == {}
    assert find_model("other@http://elsewhere/v1", model, "JUDGE_API_KEY", '{"b": 2}').extra_body == {"b": 2}
    assert find_model("other", model, "JUDGE_API_KEY", "{}").extra_body == {}


def test_other_extra_fields_are_reported_and_the_run_goes_on(here, caplog):
    """A run that is resumed with other extra fields says so and goes on; without a change it says nothing."""
    words = "were asked for with the extra body"
    with serving() as server:
        flags = [*GENERATE, "--base-url", server.url, "--model", "m"]
        assert generator.main([*flags, "--max-total-tokens", "1"]) == 1
        assert generator.main([*flags, "--extra-body", '{"top_k": 1}']) == 0
        assert caplog.text.count(words) == 1
        assert 'the extra body {}, the next ones with {"top_k": 1}' in caplog.text
        assert generator.main([*flags, "--extra-body", '{"top_k": 1}']) == 0
        assert caplog.text.count(words) == 1
    assert json.loads(Path("out.jsonl.plan.json").read_text())["extra_body"] == {"top_k": 1}


def test_other_extra_fields_are_another_evaluation(here, capsys):
    """Answers to an evaluation with other extra fields are not mixed; a result without any can be resumed as before."""
    with serving() as server:
        flags = [*VALIDATE, "--base-url", server.url, "--model", "m"]
        assert validator.main(flags) == 0
        assert "extra_body" not in json.loads(Path("result.json.answers.jsonl.plan.json").read_text())
        assert validator.main([*flags, "--extra-body", '{"top_k": 1}']) == 2
    assert "extra_body None then, {'top_k': 1} now" in capsys.readouterr().err


def test_a_model_without_a_server_is_mentioned(here, caplog):
    """--model without a key and a base URL does not silently write with the embedded voice."""
    assert generator.main([*GENERATE, "--model", "gpt-x"]) == 0
    assert "--model gpt-x is not asked: without a key or a base URL there is no server." in caplog.text


@pytest.mark.parametrize("kind", ["error_500", "rate_limit"])
def test_a_server_that_answers_is_not_called_down(here, capsys, kind):
    """If a server answers each request with an error, the hint does not ask whether the server is running."""
    with serving(decide=lambda call: Action(kind, retry_after="0")) as server:
        flags = [*GENERATE, "--base-url", server.url, "--model", "m", "--max-retries", "1"]
        assert generator.main(flags) == 2
    said = capsys.readouterr().err
    assert "Is the server running" not in said
    assert "hint: The server is running, but does not answer this request. Nothing is lost" in said
    assert mock_server.ERRORS[kind][1] in said
