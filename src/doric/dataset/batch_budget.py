"""What the batches of an output have cost, what a round may cost, and what the budgets leave for live verdicts."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from doric.core.errors import ServerError, SettingsError
from doric.dataset.batch_state import LiveCalls, Part, State
from doric.llm.budget import Budget
from doric.llm.prices import BATCH, Price
from doric.llm.response import Completion


@dataclass(frozen=True, slots=True)
class Limits:
    """--max-cost and --max-total-tokens, which count all rounds of an output."""

    cost: float | None = None
    tokens: int | None = None

    def exceeded_by(self, budget: Budget) -> bool:
        """Whether a budget is over one of the limits."""
        too_many = self.tokens is not None and budget.tokens > self.tokens
        return too_many or (self.cost is not None and (budget.cost or 0.0) > self.cost)


class PaidBudget(Budget):
    """A budget whose own calls are counted from the start: only those of its `second` model are added."""

    def book(self, call: Completion | ServerError) -> int:
        """0: reading an answer uses no more tokens, for rate limits too."""
        return 0


def spent(state: State, price: Price | None, verdicts: Budget | None = None) -> Budget:
    """The tokens and the cost of all answers so far, at batch prices, of the probes, and of the verdicts."""
    budget = Budget(price, second=verdicts)
    _add_answers(budget, state)
    return budget


def for_verdicts(state: State, price: Price | None, verdicts: Budget, limits: Limits) -> Budget:
    """What stops live verdicts. The answers in batches are paid for, so they cost nothing more when they are read."""
    budget = PaidBudget(price, limits.cost, limits.tokens, second=verdicts)
    _add_answers(budget, state)
    budget.calls_with_tokens = 0  # so that no further tokens are expected of an answer
    return budget


def _add_answers(budget: Budget, state: State) -> None:
    for part in state.parts:
        if part.tokens_in + part.tokens_out:
            budget.add(part.tokens_in, part.tokens_out, cached=part.cached, tier=BATCH, counted=not part.estimated)
            budget.tiers[BATCH] += part.requests - 1
    if (probes := state.probes).calls:
        budget.add(probes.tokens_in, probes.tokens_out, counted=not probes.estimated)
        budget.calls += probes.calls - 1


def add_open(budget: Budget, state: State) -> None:
    """Add the most that the requests in open batches may use: they are not answered yet."""
    for part in state.open:
        if not part.found:
            budget.add(part.limit_in, part.limit_out, tier=BATCH)


def round_line(parts: Iterable[Part], budget: Budget, before: Budget) -> str:
    """What a round is expected to use and to cost, for people. `budget` is that of all rounds, `before` without it."""
    into, most = budget.tokens_in - before.tokens_in, budget.tokens_out - before.tokens_out
    price = budget.price
    cost = f", {price.forecast(into, most / 2, 0, BATCH)}; at most ${budget.spent - before.spent:,.2f}" if price else ""
    requests = sum(part.requests for part in parts)
    return f"Round of {requests:,} requests: about {into:,} tokens in and {most // 2:,} out{cost}."


def recall(verdicts: Budget, earlier: LiveCalls, limits: Limits, *, judged: bool) -> None:
    """Add the verdicts of earlier commands to those of this one, which has a judge if it is `judged`.

    Raises `SettingsError` if there is a limit for the cost and the price of an earlier verdict is not known.
    """
    unpriced = earlier.unpriced_in + earlier.unpriced_out
    if unpriced and verdicts.price is None and limits.cost is not None:
        message = f"--max-cost needs the price of {unpriced:,} tokens that a judge has used in earlier rounds"
        raise SettingsError(message, hint="Give --judge-price-in and --judge-price-out.")
    if not unpriced and not judged:  # so no price is missing
        verdicts.price = verdicts.price or Price(0.0, 0.0, "no judge in this command")
    verdicts.calls += earlier.calls
    verdicts.calls_with_tokens += earlier.calls
    verdicts.tokens_in += earlier.tokens_in
    verdicts.tokens_out += earlier.tokens_out
    verdicts.cached += earlier.cached
    verdicts.estimated |= earlier.estimated
    verdicts.spent += earlier.spent
    if verdicts.price:
        verdicts.spent += verdicts.price.cost(earlier.unpriced_in, earlier.unpriced_out)


def note_verdicts(state: State, out: Path, verdicts: Budget, least: int) -> None:
    """Write `verdicts`, which are all so far, to the state if at least so many are new. Raises `InputError`."""
    before = state.verdicts
    if verdicts.calls - before.calls < least:
        return
    known = verdicts.price is not None
    state.verdicts = LiveCalls(
        calls=verdicts.calls, tokens_in=verdicts.tokens_in, tokens_out=verdicts.tokens_out, cached=verdicts.cached,
        estimated=verdicts.estimated, spent=verdicts.spent,
        unpriced_in=0 if known else before.unpriced_in + verdicts.tokens_in - before.tokens_in,
        unpriced_out=0 if known else before.unpriced_out + verdicts.tokens_out - before.tokens_out,
    )  # fmt: skip
    state.save(out)
