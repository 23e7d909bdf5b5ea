"""A cheaper service tier and less thinking: what is sent, what happens if the server refuses it, and what it costs."""

import asyncio
import logging

import pytest

import generate_doric_dataset as generator
import mock_server
from doric.core.files import encode_json
from doric.core.settings import Settings, load_settings
from doric.llm.budget import Budget
from doric.llm.client import ChatRequest, Client
from doric.llm.prices import Price, known_price
from doric.llm.response import Completion, StreamedCompletion, read_completion
from mock_server import Action, Call, MockServer

TEXT = "Haud the windae open a wee bittie."
REQUEST = ChatRequest([{"role": "user", "content": "How do I dry washing?"}], 50)
PREFERRED = {"service_tier": "flex", "reasoning_effort": "low"}
LISTED = Price(1.0, 2.0, "a list", 0.1, {"flex": (0.5, 1.0)})


def sent(monkeypatch, error: bytes, refuses, calls: int = 2) -> list[tuple[str | None, str | None]]:
    """The service tier and the reasoning effort of each call to a server that refuses some of them with `error`."""
    monkeypatch.setitem(mock_server.ANSWERS, "refusing", lambda call, text: error)
    server = MockServer(answer=lambda call: TEXT, decide=lambda call: Action("refusing") if refuses(call) else None)

    async def ask() -> None:
        settings = Settings("openai", server.url, "m", "K", "", {}, PREFERRED)
        async with Client(settings, timeout=5) as client:
            for _ in range(calls):
                assert (await client.complete(REQUEST)).text == TEXT

    async def run() -> None:
        async with server:
            await ask()

    asyncio.run(run())
    return [(call.body.get("service_tier"), call.body.get("reasoning_effort")) for call in server.calls]


def test_both_are_sent(monkeypatch):
    """Each call asks for the service tier and the reasoning effort."""
    assert sent(monkeypatch, b"", lambda call: False) == [("flex", "low")] * 2


@pytest.mark.parametrize("name", PREFERRED)
def test_what_the_server_refuses_is_left_out(monkeypatch, caplog, name):
    """After a refusal the calls go on without the parameter; one call is lost in all, and the log says it once."""
    error = mock_server._refused(name)
    with caplog.at_level(logging.WARNING, "doric"):
        found = sent(monkeypatch, error, lambda call: name in call.body)
    without = tuple(None if one == name else value for one, value in PREFERRED.items())
    assert found == [("flex", "low"), without, without]
    assert [record.getMessage() for record in caplog.records] == [
        f"The server refused {name} {PREFERRED[name]}: the calls go on without it."
    ]


def test_a_tier_without_room(monkeypatch, caplog):
    """A call for which the tier has no room is repeated at the standard tier; the next call asks for the tier again."""
    error = mock_server._error(429, "Resource Unavailable", "resource_unavailable")
    asked: list[Call] = []

    def refuses(call: Call) -> bool:
        asked.append(call)
        return "service_tier" in call.body and len(asked) < 4

    with caplog.at_level(logging.WARNING, "doric"):
        found = sent(monkeypatch, error, refuses, calls=3)
    assert [tier for tier, _ in found] == ["flex", None, "flex", None, "flex"]
    assert len(caplog.records) == 1
    assert "go to the standard tier, at its price" in caplog.text


def test_a_rate_limit_is_not_taken_for_a_full_tier(monkeypatch):
    """Other errors 429 are retried by the caller, at the same tier."""
    error = mock_server._error(429, "Rate limit reached for requests per minute")
    with pytest.raises(Exception, match="Rate limit"):
        sent(monkeypatch, error, lambda call: True)


def test_a_field_of_the_extra_body_has_priority():
    """A service tier in --extra-body is sent as it is, and never left out."""
    found = load_settings(
        base_url="http://h/v1", extra_body='{"service_tier": "priority"}', service_tier="flex", environ={}
    )
    assert (found.preferred, found.extra_body) == ({}, {"service_tier": "priority"})


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens_details": {"cached_tokens": 1024}},
        {"prompt_tokens_details": None, "prompt_cache_hit_tokens": 1024},
        {"cached_tokens": 1024},
        {"cache_read_input_tokens": 1024},
    ],
)
def test_cached_tokens_are_read(usage):
    """The cached tokens come from any known field, whole or streamed, and are never more than the tokens in."""
    usage = {"prompt_tokens": 1500, "completion_tokens": 9, **usage}
    choice = {"message": {"content": TEXT}, "finish_reason": "stop"}
    whole = encode_json({"choices": [choice], "usage": usage, "service_tier": "flex"})
    stream = StreamedCompletion()
    stream.add({"choices": [{"delta": {"content": TEXT}, "finish_reason": "stop"}], "service_tier": "flex"})
    stream.add({"choices": [], "usage": usage})
    for content in (whole, stream.body()):
        completion = read_completion(content, "application/json")
        assert (completion.tokens_in, completion.cached, completion.tier) == (1500, 1024, "flex")
    usage["prompt_tokens"] = 1000
    less = read_completion(encode_json({"choices": [choice], "usage": usage}), "application/json")
    assert (less.cached, less.tier) == (1000, "")


def test_the_cost_is_that_of_the_tier_that_the_server_reports():
    """Calls at flex cost its price, others the standard price, and cached tokens their own."""
    budget = Budget(LISTED)
    budget.book(Completion("", tokens_in=1_000_000, tokens_out=1_000_000, tier="flex"))
    assert budget.cost == pytest.approx(1.5)
    budget.book(Completion("", tokens_in=1_000_000, tokens_out=0, cached=500_000, tier="default"))
    assert budget.cost == pytest.approx(1.5 + 0.5 + 0.05)
    assert str(budget) == "2,000,000 tokens in (500,000 cached), 1,000,000 out, $2.0500, 1 calls at flex"


def test_cheaper_calls_leave_room_in_a_cost_budget():
    """The calls in flight are expected to cost what the calls before them did."""
    budget = Budget(LISTED, max_cost=1.0, tokens_per_call=(400_000, 0))
    budget.in_flight = 2
    assert not budget.nearly_exhausted
    budget.in_flight = 3
    assert budget.nearly_exhausted
    budget.book(Completion("", tokens_in=400_000, tokens_out=0, cached=400_000, tier="flex"))
    assert not budget.nearly_exhausted


def test_a_model_without_a_price_of_the_tier():
    """The forecast says that the price of the tier is not known, and gives the standard one."""
    price = known_price("gpt-4.1")
    assert price is not None
    assert "no price of the flex tier is known" in price.forecast(1_000_000, 0, tier="flex")
    assert price.forecast(1_000_000, 0, tier="flex").startswith("about $2.00 ")


def test_the_forecast_of_a_run(capsys, monkeypatch, tmp_path):
    """--dry-run counts the tier and the part of the prompts that the provider has in its cache."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-1234567890")
    flags = ["--dry-run", "--model", "gpt-5.4-mini", "--out", str(tmp_path / "rows.jsonl")]
    costs = []
    for more in ([], ["--service-tier", "flex"]):
        assert generator.main([*flags, *more]) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("about $"))
        assert "of the tokens in from the provider's cache" in line
        costs.append(float(line.split("$")[1].split()[0]))
        assert costs[-1] < float(line.split("; $")[1].split()[0])
    assert costs[1] == pytest.approx(costs[0] / 2, abs=0.01)
