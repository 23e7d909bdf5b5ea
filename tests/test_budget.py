"""Budgets and prices: what a run has used, and when it must stop."""

import asyncio

import pytest

from doric.llm.budget import Budget
from doric.llm.prices import Price


def test_calls_are_added_up():
    """Tokens in and out, calls and cost are summed over all calls."""
    budget = Budget(Price(1.0, 10.0, "a flag"))
    budget.add(1000, 100)
    budget.add(500, 50)
    assert (budget.tokens_in, budget.tokens_out, budget.tokens, budget.calls) == (1500, 150, 1650, 2)
    assert budget.cost == pytest.approx(0.003)
    assert str(budget) == "1,500 tokens in, 150 out, $0.0030"


def test_without_a_price_there_is_no_cost():
    """Without a price, tokens are counted, and no cost is shown."""
    budget = Budget(max_cost=1.0)
    budget.add(10**9, 0)
    assert budget.cost is None
    assert budget.exhausted() is None
    assert "$" not in str(budget)


def test_a_token_budget():
    """A budget is exhausted when the usage reaches it, not before, and the reason names the flag."""
    budget = Budget(max_total_tokens=100)
    budget.add(60, 39)
    assert budget.exhausted() is None
    budget.add(1, 0)
    assert budget.exhausted() == "100 tokens used of --max-total-tokens 100"


def test_a_cost_budget():
    """A cost budget works in the same way as a token budget."""
    budget = Budget(Price(10.0, 10.0, "a flag"), max_cost=0.01)
    budget.add(999, 0)
    assert budget.exhausted() is None
    budget.add(0, 1)
    assert budget.exhausted() == "$0.0100 spent of --max-cost $0.01"


def test_calls_in_flight_count_towards_a_budget():
    """A call waits while the calls in flight may use up the budget, and starts if they use less than reserved."""

    async def main() -> list[str | None]:
        budget = Budget(max_total_tokens=100, tokens_per_call=(30.0, 20.0))
        first = [await budget.reserve(), await budget.reserve()]
        third = asyncio.create_task(budget.reserve())
        await asyncio.sleep(0)
        assert budget.nearly_exhausted
        assert not third.done()
        budget.add(5, 5)
        budget.release()
        return [*first, await third]

    assert asyncio.run(main()) == [None] * 3


def test_a_waiting_call_is_told_that_the_budget_is_exhausted():
    """If the calls in flight use up the budget, the waiting call gets the reason instead of starting."""

    async def main() -> str | None:
        budget = Budget(Price(1.0, 1.0, "a flag"), max_cost=0.0001, tokens_per_call=(60.0, 40.0))
        await budget.reserve()
        second = asyncio.create_task(budget.reserve())
        await asyncio.sleep(0)
        budget.add(100, 20)
        budget.release()
        return await second

    assert asyncio.run(main()) == "$0.0001 spent of --max-cost $0.0001"


def test_a_budget_of_zero():
    """A budget of zero is exhausted before the first call."""
    assert Budget(max_total_tokens=0).exhausted()
    assert Budget(Price(1.0, 1.0, "a flag"), max_cost=0.0).exhausted()
