"""What the batches of an output have cost, what a round may cost, and what the budgets leave for live verdicts."""

from collections.abc import Iterable
from dataclasses import dataclass

from doric.dataset.batch_state import Part, State
from doric.llm.budget import Budget
from doric.llm.prices import BATCH, Price


@dataclass(frozen=True, slots=True)
class Limits:
    """--max-cost and --max-total-tokens, which count all rounds of an output."""

    cost: float | None = None
    tokens: int | None = None

    def exceeded_by(self, budget: Budget) -> bool:
        """Whether a budget is over one of the limits."""
        too_many = self.tokens is not None and budget.tokens > self.tokens
        return too_many or (self.cost is not None and (budget.cost or 0.0) > self.cost)


def spent(state: State, price: Price | None) -> Budget:
    """The tokens and the cost of all answers so far, at batch prices."""
    budget = Budget(price)
    for part in state.parts:
        if part.tokens_in + part.tokens_out:
            budget.add(part.tokens_in, part.tokens_out, cached=part.cached, tier=BATCH)
            budget.tiers[BATCH] += part.requests - 1
    return budget


def for_verdicts(
    state: State, ready: Iterable[Part], limits: Limits, price: Price | None, verdicts: Budget | None
) -> Budget:
    """What the budgets leave for live verdicts. The answers of batches are paid for, so they cost nothing more."""
    before, unread = spent(state, price).cost or 0.0, list(ready)
    others = sum(part.tokens_in + part.tokens_out for part in state.parts if part not in unread)
    return Budget(
        Price(0.0, 0.0, "batches that are paid for"),
        None if limits.cost is None else max(0.0, limits.cost - before),
        None if limits.tokens is None else max(0, limits.tokens - others),
        second=verdicts,
    )


def round_line(parts: Iterable[Part], budget: Budget, before: Budget) -> str:
    """What a round is expected to use and to cost, for people. `budget` is that of all rounds, `before` without it."""
    into, most = budget.tokens_in - before.tokens_in, budget.tokens_out - before.tokens_out
    price = budget.price
    cost = f"{price.forecast(into, most / 2, 0, BATCH)}; at most ${budget.spent - before.spent:,.2f}" if price else ""
    requests = sum(part.requests for part in parts)
    return f"Round of {requests:,} requests: about {into:,} tokens in and {most // 2:,} out{cost}."
