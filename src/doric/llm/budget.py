"""Tokens, prices, and budgets that stop a run in time."""

import asyncio
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from doric import data
from doric.core.errors import ServerError, SettingsError
from doric.core.settings import is_private
from doric.llm.response import Completion

MILLION = 1_000_000
VERSION_SUFFIX = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million input and output tokens, and where the figures are from."""

    per_million_in: float
    per_million_out: float
    source: str

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """The cost in US dollars.

        >>> Price(1.0, 2.0, "a flag").cost(500_000, 250_000)
        1.0
        """
        return (tokens_in * self.per_million_in + tokens_out * self.per_million_out) / MILLION


def known_price(model: str) -> Price | None:
    """The list price of `model` (or of its dated version) from `data/prices.toml`; None if it is not listed."""
    table = data.read_toml("prices.toml")
    name = VERSION_SUFFIX.sub("", model.rsplit("/", 1)[-1].lower())
    if name not in table["models"]:  # only exact names: gpt-5-pro and gpt-5.1 have other prices than gpt-5
        return None
    price_in, price_out = table["models"][name]
    return Price(price_in, price_out, f"list price of {name} on {table['date']}")


def chosen_price(
    price_in: float | None, price_out: float | None, model: str, address: str = "", *, flag: str = "--price"
) -> Price | None:
    """The prices given by flags, else the list price of `model`. Raises `SettingsError` if only one is given.

    A server at an `address` in a private network has no list price: it may use the name of a provider's model. `flag`
    is what the names of the two flags begin with.
    """
    if price_in is not None and price_out is not None:
        return Price(price_in, price_out, "as given")
    if price_in is not None or price_out is not None:
        raise SettingsError(f"only one of {flag}-in and {flag}-out is given", hint="Give both.")
    return known_price(model) if model and not _is_private(address) else None


def check_max_cost(max_cost: float | None, price: Price | None, address: str, *, flag: str = "--price") -> None:
    """Raise `SettingsError` if there is a limit for the cost and no price."""
    if max_cost is None or price is not None:
        return
    give = f"Give {flag}-in and {flag}-out"
    if _is_private(address):
        hint = f"{give} if it passes the calls on to a provider, or use --max-total-tokens."
        raise SettingsError(f"--max-cost needs a known price, and {address} is a local server without one", hint=hint)
    whose = "" if flag == "--price" else f" of the model at {address}"
    raise SettingsError(f"--max-cost needs a known price{whose}", hint=f"{give}.")


def without_price(address: str, *, flag: str = "--price") -> str:
    """Why a forecast shows no cost, for people."""
    reason = "a local server has no list price" if _is_private(address) else "price not known"
    return f"{reason}: give {flag}-in and {flag}-out to see the cost"


def _is_private(address: str) -> bool:
    return is_private(urlsplit(address).hostname or "")


@dataclass(slots=True)
class Budget:
    """The tokens and the cost that a run has used, and their limits. `max_cost` is in US dollars.

    Each call is reserved before it is made, so that many concurrent calls do not exceed a budget together. Until the
    first calls have reported their tokens, a call is expected to use `tokens_per_call` (tokens in, tokens out).

    `second` counts the calls to a second model, one after each call at most. Its tokens and its cost count too.
    """

    price: Price | None = None
    max_cost: float | None = None
    max_total_tokens: int | None = None
    tokens_per_call: tuple[float, float] = (0.0, 0.0)
    tokens_in: int = 0
    tokens_out: int = 0
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
        expected = [(each.price, *(self.in_flight * tokens for tokens in each._expected_per_call)) for each in both]
        tokens = sum(tokens_in + tokens_out for _, tokens_in, tokens_out in expected)
        if self.max_total_tokens is not None and self.tokens + tokens >= self.max_total_tokens:
            return True
        if self.max_cost is None or self.cost is None:
            return False
        return self.cost + sum(price.cost(*used) for price, *used in expected if price) >= self.max_cost

    @property
    def _expected_per_call(self) -> tuple[float, float]:
        """Tokens in and out, as the mean of the calls that used tokens (calls blocked by a filter use none)."""
        if not self.calls_with_tokens:
            return self.tokens_per_call
        return self.tokens_in / self.calls_with_tokens, self.tokens_out / self.calls_with_tokens

    def add(self, tokens_in: int, tokens_out: int, *, counted: bool = True) -> None:
        """Add the tokens of one finished call; `counted` is False if they are an estimate."""
        self.calls += 1
        self.calls_with_tokens += tokens_in + tokens_out > 0
        self.estimated |= not counted
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out

    def book(self, call: Completion | ServerError) -> int:
        """Add the tokens of an answer, or of a failed call that was paid for; returns them."""
        self.add(call.tokens_in, call.tokens_out, counted=call.counted)
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
        return self.price.cost(self.tokens_in, self.tokens_out) if self.price else None

    def exhausted(self) -> str | None:
        """Which budget is exhausted, as a sentence, or None."""
        if self.max_total_tokens is not None and self.tokens >= self.max_total_tokens:
            return f"{self.tokens:,} tokens used of --max-total-tokens {self.max_total_tokens:,}"
        if self.max_cost is not None and self.cost is not None and self.cost >= self.max_cost:
            return f"${self.cost:.4f} spent of --max-cost ${self.max_cost:g}"
        return None

    def __str__(self) -> str:
        money = "" if self._own_cost is None else f", ${self._own_cost:.4f}"
        return f"{'about ' if self.estimated else ''}{self.tokens_in:,} tokens in, {self.tokens_out:,} out{money}"
