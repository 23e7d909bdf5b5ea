"""What the client does with the responses of each provider in docs/providers.md; they are in provider_dialects.toml."""

import asyncio
import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import mock_server
from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.core.settings import PROVIDERS, Settings, load_settings, normalize_url
from doric.llm.client import ChatRequest, Client
from doric.llm.response import Completion
from mock_server import Action, MockServer

ROOT = Path(__file__).parents[1]
RESPONSES = tomllib.loads((ROOT / "tests/data/provider_dialects.toml").read_text(encoding="utf-8"))["response"]
PAGE = (ROOT / "docs/providers.md").read_text(encoding="utf-8")
TEXT = "Haud the windae open a wee bittie."
REQUEST = ChatRequest([{"role": "user", "content": "How do I dry washing?"}], 50, seed=1)
KEYS = {variable: f"key-{number}-of-a-test" for number, (_, variable) in enumerate(PROVIDERS.values())}
NO_FILE = ROOT / "tests/no-such.env"
NAMED = re.compile(r"`(\w+)`: `(\w+)`")
PREFERRED = {"service_tier": "flex", "reasoning_effort": "low"}


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the client made of a response: an answer or an error, and the bodies that it sent."""

    result: Completion | ServerError
    bodies: list[dict[str, Any]]


def http(response: dict[str, Any]) -> bytes:
    """The response as the bytes of HTTP."""
    body = response["body"].encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **response.get("headers", {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {response['status']} X\r\n{head}\r\n".encode() + body


def after(monkeypatch, response: dict[str, Any]) -> Seen:
    """What the client makes of `response` in the middle of a run; other calls are answered."""
    monkeypatch.setitem(mock_server.ANSWERS, "recorded", lambda call, text: http(response))
    server = MockServer(answer=lambda call: TEXT, decide=lambda call: Action("recorded") if call.number == 1 else None)

    async def run() -> Completion | ServerError:
        async with server, Client(Settings("openai", server.url, "m", "K", "sk-4f7a91c2d88e", {}, PREFERRED)) as client:
            client.answered = True
            try:
                result: Completion | ServerError = await client.complete(REQUEST)
            except ServerError as error:
                return error
            if response["status"] != 200:
                await client.complete(REQUEST)
            return result

    return Seen(asyncio.run(run()), [call.body for call in server.calls])


@pytest.mark.parametrize(
    "response", RESPONSES, ids=[f"{row['provider']} {row['about']} {number}" for number, row in enumerate(RESPONSES)]
)
def test_each_response_has_the_outcome_of_its_row(monkeypatch, response):
    """Thoughts are no part of an answer, refused parameters are left out, and limits are waited for."""
    seen = after(monkeypatch, response)
    first, *later = seen.bodies
    changed = {name for body in later for name in {*first, *body} if first.get(name) != body.get(name)}
    match response["outcome"]:
        case "answer":
            assert isinstance(seen.result, Completion)
            found = seen.result.text, seen.result.reasoned, seen.result.cached
            assert found == (response["text"], response["reasoned"], response["cached"])
        case "filtered":
            assert isinstance(seen.result, Completion)
            assert seen.result.finish == "content_filter"
            assert changed == set()
        case "without":
            assert changed == {response["name"]}
            assert [response["name"] in body for body in later] == [False, False]
        case "renamed":
            assert "max_tokens" not in later[0]
            assert [body["max_completion_tokens"] >= first["max_tokens"] for body in later] == [True, True]
        case "lowered":
            assert [body["max_tokens"] for body in later] == [response["limit"]] * 2
        case "standard":
            assert [body.get("service_tier") for body in seen.bodies] == ["flex", None, "flex"]
        case "retry":
            assert isinstance(seen.result, RetryableError)
            assert seen.result.after == pytest.approx(response.get("after"), abs=0.01)
        case "row":
            assert type(seen.result) is ServerError
        case "stop":
            assert isinstance(seen.result, FatalServerError)
    if isinstance(seen.result, ServerError):
        assert response["outcome"] in ("retry", "row", "stop")
        assert response.get("says", "") in seen.result.message


def table() -> dict[str, list[str]]:
    """The cells of the table of providers, by the provider's name."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")][2:]
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {name: rest for name, *rest in cells}


def test_the_page_names_what_is_checked_and_nothing_else():
    """Each row of the table names the kinds of responses in the data file, and each provider there has a row."""
    checked: dict[str, set[str]] = {}
    for response in RESPONSES:
        checked.setdefault(response["provider"], set()).add(response["about"])
    assert {name: set(cells[3].split(", ")) for name, cells in table().items()} == checked


@pytest.mark.parametrize("name", table())
def test_the_addresses_of_the_page_can_be_used(name):
    """The settings accept each base URL of the table, and read its key from the variable that the table names."""
    address, variable, *_ = (cell.strip("`") for cell in table()[name])
    url = address.replace("RESOURCE", "north-sea")
    assert normalize_url(url, source="--base-url") == url
    assert load_settings(base_url=url, environ=KEYS, dotenv=NO_FILE).key_variable == "OPENAI_API_KEY"
    assert variable == ("none" if "localhost" in url else "OPENAI_API_KEY")
    assert load_settings(base_url=url, environ={}, dotenv=NO_FILE).given


def test_the_names_of_the_page_have_the_url_and_the_key_that_it_says():
    """Each name in the table stands for the URL of its row, and its key is read from the variable beside the name."""
    named = {
        found[1]: (found[2], cells[0].strip("`")) for cells in table().values() if (found := NAMED.match(cells[2]))
    }
    assert named.keys() == PROVIDERS.keys()
    for name, (variable, url) in named.items():
        found = load_settings(environ=KEYS | {"MODEL_PROVIDER": name}, dotenv=NO_FILE)
        assert (found.key_variable, found.address, found.key) == (variable, url, KEYS[variable])
