"""Budgets and prices: what a run has used, and when it must stop."""

import asyncio

import pytest

from doric.core.errors import SettingsError
from doric.llm.budget import Budget, Price, check_max_cost, chosen_price, known_price


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
def test_a_listed_model_has_a_price(model, listed):
    """A listed model has a price, also under a dated name or a router's name, and the price's source has a date."""
    price = known_price(model)
    assert price is not None
    assert price.source.startswith(f"list price of {listed} on 20")
    assert 0 < price.per_million_in < price.per_million_out


@pytest.mark.parametrize(
    "model", ["", "gpt-5-pro", "gpt-5.1", "gpt-4o-audio-preview", "gpt-50", "SmolLM2-135M", "my/gpt"]
)
def test_an_unlisted_model_has_no_price(model):
    """A model has no known price if its name only starts with the name of a listed model."""
    assert known_price(model) is None


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


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:11434/v1", "http://127.0.0.1:8000/v1", "http://[::1]:8000/v1", "http://192.168.1.7:8000/v1",
        "http://10.1.2.3/v1", "http://172.16.0.9/v1", "http://100.64.0.9/v1", "http://[fd00::7]:8000/v1", "http://gpu-box/v1",
        "http://ollama:11434/v1", "http://host.docker.internal:11434/v1", "http://nas.local/v1", "http://0.0.0.0:8000/v1",
        "http://LOCALHOST.:8000/v1", "http://[::ffff:192.168.1.7]/v1",
    ],
)  # fmt: skip
def test_a_local_server_is_not_billed_at_a_list_price(address):
    """A local server may use a provider's model name, but only prices given by flags apply to it."""
    assert chosen_price(None, None, "gpt-5-mini", address) is None
    assert chosen_price(1.0, 2.0, "gpt-5-mini", address) == Price(1.0, 2.0, "as given")
    with pytest.raises(SettingsError, match="is a local server without one") as refused:
        check_max_cost(1.0, None, address)
    assert "--price-in and --price-out" in refused.value.hint
    assert "--max-total-tokens" in refused.value.hint


@pytest.mark.parametrize(
    "address", ["", "https://api.openai.com/v1", "https://openrouter.ai/api/v1", "http://8.8.8.8/v1"]
)
def test_a_provider_is_billed_at_the_list_price(address):
    """Any other server has the list price of the model."""
    assert chosen_price(None, None, "gpt-5-mini", address) == known_price("gpt-5-mini")
