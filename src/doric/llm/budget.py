"""The tokens and the cost of a run, and budgets that stop it in time."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from doric.core.errors import ServerError
from doric.llm.prices import Price
from doric.llm.response import Completion

STANDARD = ("", "default", "auto", "standard")
"""What servers report as the tier of a call at the usual price."""


@dataclass(slots=True)
class Budget:
    """The tokens and the cost that a run has used, and their limits. `max_cost` is in US dollars.

    Each call is reserved before it is made, so that many concurrent calls do not exceed a budget together. Until the
    first calls have reported their tokens, a call is expected to use `tokens_per_call` (tokens in, tokens out).

    `cached` of the tokens in were in the server's cache. `tiers` counts the calls by the service tier that the server
    reports; a call without a reported tier costs the standard price.

    `second` counts the calls to a second model, one after each call at most. Its tokens and its cost count too.
    """

    price: Price | None = None
    max_cost: float | None = None
    max_total_tokens: int | None = None
    tokens_per_call: tuple[float, float] = (0.0, 0.0)
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    spent: float = 0.0
    tiers: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    calls_with_tokens: int = 0
    estimated: bool = False
    in_flight: int = 0
    second: "Budget | None" = None
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    async def reserve(self) -> str | None:
        """Reserve one call, or return which budget is exhausted. Each reserved call must be released.

        If the calls in flight may use up the rest of a budget, this waits for them.
        """
        while self.nearly_exhausted and self.in_flight and self.exhausted() is None:
            self._released.clear()
            await self._released.wait()
        if (reason := self.exhausted()) is None:
            self.in_flight += 1
        return reason

    def release(self) -> None:
        """End a reserved call, with or without an answer."""
        self.in_flight -= 1
        self._released.set()

    @property
    def nearly_exhausted(self) -> bool:
        """Whether the calls in flight are likely to use up a budget."""
        both = [self, *([self.second] if self.second else [])]
        tokens = sum(self.in_flight * sum(each._expected_per_call) for each in both)
        if self.max_total_tokens is not None and self.tokens + tokens >= self.max_total_tokens:
            return True
        if self.max_cost is None or self.cost is None:
            return False
        return self.cost + sum(self.in_flight * each._expected_cost for each in both) >= self.max_cost

    @property
    def _expected_per_call(self) -> tuple[float, float]:
        """Tokens in and out, as the mean of the calls that used tokens (calls blocked by a filter use none)."""
        if not self.calls_with_tokens:
            return self.tokens_per_call
        return self.tokens_in / self.calls_with_tokens, self.tokens_out / self.calls_with_tokens

    @property
    def _expected_cost(self) -> float:
        """The cost of a call: the mean of the calls that used tokens, or the standard price of `tokens_per_call`."""
        if self.calls_with_tokens:
            return self.spent / self.calls_with_tokens
        return self.price.cost(*self.tokens_per_call) if self.price else 0.0

    def add(self, tokens_in: int, tokens_out: int, *, counted: bool = True, cached: int = 0, tier: str = "") -> None:
        """Add the tokens of one finished call; `counted` is False if they are an estimate."""
        self.calls += 1
        self.calls_with_tokens += tokens_in + tokens_out > 0
        self.estimated |= not counted
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        self.cached += cached
        self.tiers[tier] += 1
        self.spent += self.price.cost(tokens_in, tokens_out, cached=cached, tier=tier) if self.price else 0.0

    def book(self, call: Completion | ServerError) -> int:
        """Add the tokens of an answer, or of a failed call that was paid for; returns them."""
        cached, tier = (call.cached, call.tier) if isinstance(call, Completion) else (0, "")
        self.add(call.tokens_in, call.tokens_out, counted=call.counted, cached=cached, tier=tier)
        return call.tokens_in + call.tokens_out

    @property
    def tokens(self) -> int:
        """Input and output tokens together."""
        return self.tokens_in + self.tokens_out + (self.second.tokens if self.second else 0)

    @property
    def cost(self) -> float | None:
        """The cost so far in US dollars, None if a price is not known."""
        own, other = self._own_cost, self.second.cost if self.second else 0.0
        return None if own is None or other is None else own + other

    @property
    def _own_cost(self) -> float | None:
        return self.spent if self.price else None

    def exhausted(self) -> str | None:
        """Which budget is exhausted, as a sentence, or None."""
        if self.max_total_tokens is not None and self.tokens >= self.max_total_tokens:
            return f"{self.tokens:,} tokens used of --max-total-tokens {self.max_total_tokens:,}"
        if self.max_cost is not None and self.cost is not None and self.cost >= self.max_cost:
            return f"${self.cost:.4f} spent of --max-cost ${self.max_cost:g}"
        return None

    def __str__(self) -> str:
        money = "" if self._own_cost is None else f", ${self._own_cost:.4f}"
        cached = f" ({self.cached:,} cached)" if self.cached else ""
        tiers = "".join(
            f", {count:,} calls at {tier}" for tier, count in sorted(self.tiers.items()) if tier not in STANDARD
        )
        about = "about " if self.estimated else ""
        return f"{about}{self.tokens_in:,} tokens in{cached}, {self.tokens_out:,} out{money}{tiers}"
