"""Tokens and money: what a run has cost, and when it has cost enough."""

import asyncio

import pytest

from doric.llm.budget import Budget, Price, known_price


@pytest.mark.parametrize(
    ("model", "listed"),
    [
        ("gpt-5-mini", "gpt-5-mini"),
        ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("openai/gpt-5-mini", "gpt-5-mini"),
        ("GPT-4o-mini", "gpt-4o-mini"),
        ("gpt-4.1-latest", "gpt-4.1"),
        ("gpt-5", "gpt-5"),
    ],
)
def test_a_known_model_has_a_price(model, listed):
    """A model, its dated versions, and it under a router's name have the listed price, and the source says of when."""
    price = known_price(model)
    assert price is not None
    assert price.source.startswith(f"list price of {listed} on 20")
    assert 0 < price.per_million_in < price.per_million_out


@pytest.mark.parametrize(
    "model", ["", "gpt-5-pro", "gpt-5.1", "gpt-4o-audio-preview", "gpt-50", "SmolLM2-135M", "my/gpt"]
)
def test_another_model_has_none(model):
    """A model that only begins like a listed one is another model, at another price."""
    assert known_price(model) is None


def test_calls_are_added_up():
    """Tokens in and out, calls and cost, over all calls."""
    spend = Budget(Price(1.0, 10.0, "a flag"))
    spend.add(1000, 100)
    spend.add(500, 50)
    assert (spend.tokens_in, spend.tokens_out, spend.tokens, spend.calls) == (1500, 150, 1650, 2)
    assert spend.cost == pytest.approx(0.003)
    assert str(spend) == "1,500 tokens in, 150 out, $0.0030"


def test_without_a_price_there_is_no_cost():
    """Tokens are counted without a price; nothing is said of money."""
    spend = Budget(max_cost=1.0)
    spend.add(10**9, 0)
    assert spend.cost is None
    assert spend.exhausted() is None
    assert "$" not in str(spend)


def test_a_budget_of_tokens():
    """A budget is used up when it is reached, not before, and the sentence names the flag."""
    spend = Budget(max_total_tokens=100)
    spend.add(60, 39)
    assert spend.exhausted() is None
    spend.add(1, 0)
    assert spend.exhausted() == "100 tokens used of --max-total-tokens 100"


def test_a_budget_of_money():
    """The same with dollars."""
    spend = Budget(Price(10.0, 10.0, "a flag"), max_cost=0.01)
    spend.add(999, 0)
    assert spend.exhausted() is None
    spend.add(0, 1)
    assert spend.exhausted() == "$0.0100 spent of --max-cost $0.01"


def test_calls_in_flight_count_towards_a_budget():
    """A call waits while those in flight are likely to use up the rest, and goes when they took less."""

    async def main() -> list[str | None]:
        spend = Budget(max_total_tokens=100, guess=(30.0, 20.0))
        first = [await spend.set_aside(), await spend.set_aside()]
        third = asyncio.create_task(spend.set_aside())
        await asyncio.sleep(0)
        assert spend.full
        assert not third.done()
        spend.add(5, 5)
        spend.settle()
        return [*first, await third]

    assert asyncio.run(main()) == [None] * 3


def test_who_waits_for_a_budget_hears_that_it_is_used_up():
    """When the calls in flight take the rest, the one that waited is told so."""

    async def main() -> str | None:
        spend = Budget(Price(1.0, 1.0, "a flag"), max_cost=0.0001, guess=(60.0, 40.0))
        await spend.set_aside()
        second = asyncio.create_task(spend.set_aside())
        await asyncio.sleep(0)
        spend.add(100, 20)
        spend.settle()
        return await second

    assert asyncio.run(main()) == "$0.0001 spent of --max-cost $0.0001"


def test_a_budget_of_nothing():
    """A budget of zero is used up at once: no call is made."""
    assert Budget(max_total_tokens=0).exhausted()
    assert Budget(Price(1.0, 1.0, "a flag"), max_cost=0.0).exhausted()
