"""Tokens, what they cost, and budgets that stop a run in time. Knows no model but by its price."""

import asyncio
import re
from dataclasses import dataclass, field

from doric import data
from doric.core.errors import SettingsError

MILLION = 1_000_000
VERSION = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens in and out, and where the figure is from."""

    per_million_in: float
    per_million_out: float
    source: str

    def of(self, tokens_in: float, tokens_out: float) -> float:
        """The cost in US dollars.

        >>> Price(1.0, 2.0, "a flag").of(500_000, 250_000)
        1.0
        """
        return (tokens_in * self.per_million_in + tokens_out * self.per_million_out) / MILLION


def known_price(model: str) -> Price | None:
    """The list price of `model` in `data/prices.toml`, dated versions included; None when it is not there."""
    spec = data.read_toml("prices.toml")
    name = model.rsplit("/", 1)[-1].lower()
    found = VERSION.sub("", name)  # gpt-5-pro and gpt-5.1 are not gpt-5
    if found not in spec["models"]:
        return None
    into, out = spec["models"][found]
    return Price(into, out, f"list price of {found} on {spec['date']}")


def chosen_price(into: float | None, out: float | None, model: str) -> Price | None:
    """The prices given, else the list price of `model`. Raises `SettingsError` for one price without the other."""
    if into is not None and out is not None:
        return Price(into, out, "as given")
    if into is not None or out is not None:
        raise SettingsError("one price without the other", hint="Give both --price-in and --price-out.")
    return known_price(model) if model else None


@dataclass(slots=True)
class Budget:
    """What a run has used so far, and the most it may use. `max_cost` is in US dollars.

    Each call is set aside before it is made, so that many at once do not go past a budget together: `guess` is the
    tokens in and out that one is taken to need until the first have told.
    """

    price: Price | None = None
    max_cost: float | None = None
    max_total_tokens: int | None = None
    guess: tuple[float, float] = (0.0, 0.0)
    tokens_in: int = 0
    tokens_out: int = 0
    calls: int = 0
    telling: int = 0
    guessed: bool = False
    in_flight: int = 0
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def set_aside(self) -> str | None:
        """Set aside what one more call may need, once there is room for it; or say which budget is used up.

        While the calls in flight may use up the rest, it waits for them to tell. Each call set aside is to be settled.
        """
        while self.full and self.in_flight and self.exhausted() is None:
            self._settled.clear()
            await self._settled.wait()
        if (spent := self.exhausted()) is None:
            self.in_flight += 1
        return spent

    def settle(self) -> None:
        """A call that was set aside is over, whatever came of it."""
        self.in_flight -= 1
        self._settled.set()

    @property
    def full(self) -> bool:
        """Whether the calls in flight are likely to use up a budget."""
        into, out = (each * self.in_flight for each in self._each)
        if self.max_total_tokens is not None and self.tokens + into + out >= self.max_total_tokens:
            return True
        if self.max_cost is None or self.price is None:
            return False
        return self.price.of(self.tokens_in + into, self.tokens_out + out) >= self.max_cost

    @property
    def _each(self) -> tuple[float, float]:
        """Tokens in and out that one call needs; one that a filter withheld tells nothing of that."""
        return (self.tokens_in / self.telling, self.tokens_out / self.telling) if self.telling else self.guess

    def add(self, tokens_in: int, tokens_out: int, *, counted: bool = True) -> None:
        """Count one call that was served; `counted` is False where the server did not tell: a guess."""
        self.calls += 1
        self.telling += tokens_in + tokens_out > 0
        self.guessed |= not counted
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out

    @property
    def tokens(self) -> int:
        """Tokens in and out together."""
        return self.tokens_in + self.tokens_out

    @property
    def cost(self) -> float | None:
        """US dollars so far, None when the price is not known."""
        return self.price.of(self.tokens_in, self.tokens_out) if self.price else None

    def exhausted(self) -> str | None:
        """Which budget is used up, as a sentence, or None."""
        if self.max_total_tokens is not None and self.tokens >= self.max_total_tokens:
            return f"{self.tokens:,} tokens used of --max-total-tokens {self.max_total_tokens:,}"
        if self.max_cost is not None and self.cost is not None and self.cost >= self.max_cost:
            return f"${self.cost:.4f} spent of --max-cost ${self.max_cost:g}"
        return None

    def __str__(self) -> str:
        money = "" if self.cost is None else f", ${self.cost:.4f}"
        return f"{'about ' if self.guessed else ''}{self.tokens_in:,} tokens in, {self.tokens_out:,} out{money}"
