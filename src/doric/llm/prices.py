"""Prices of models per million tokens: list prices from `data/prices.toml`, or as given by flags.

`dataset_generation/update_prices.py` makes that file.
"""

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from doric import data
from doric.core.errors import SettingsError
from doric.core.settings import is_private

MILLION = 1_000_000
FLEX, BATCH, GIVEN = "flex", "batch", "as given"
CACHE_ON_REQUEST = ("claude",)
"""The beginnings of models whose provider caches only the parts of a prompt that a request marks."""
VERSION_SUFFIX = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million input and output tokens, and where the figures are from.

    `cached` is the price of input tokens that the provider had in its cache, None if they have no price of their own.
    `tiers` has the prices of input and output at other service tiers than the standard one. `caches_unasked` is False
    for a provider that caches only what a request marks.
    """

    per_million_in: float
    per_million_out: float
    source: str
    cached: float | None = None
    tiers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    caches_unasked: bool = True

    def cost(self, tokens_in: float, tokens_out: float, *, cached: float = 0, tier: str = "") -> float:
        """The cost in US dollars. `cached` of the tokens in were in the cache; a tier lowers their price too.

        >>> Price(1.0, 2.0, "a flag").cost(500_000, 250_000)
        1.0
        >>> Price(1.0, 2.0, "a list", 0.1, {"flex": (0.5, 1.0)}).cost(500_000, 250_000, cached=500_000, tier="flex")
        0.275
        """
        into, out = self.tiers.get(tier, (self.per_million_in, self.per_million_out))
        share = 1.0 if self.cached is None else self.cached / self.per_million_in
        return ((tokens_in - cached * (1 - share)) * into + tokens_out * out) / MILLION

    def forecast(self, tokens_in: float, tokens_out: float, cached: float = 0, tier: str = "") -> str:
        """What so many tokens are expected to cost, for people. `cached` of those in may come from a cache.

        >>> Price(1.0, 2.0, "list price", 0.1, {"flex": (0.5, 1.0)}).forecast(500_000, 250_000, 400_000, "flex")
        "about $0.32 (list price; flex tier, 80% of the tokens in from the provider's cache); $0.50 if it caches none"
        """
        known = f"{tier} tier" if tier in self.tiers else f"no price of the {tier} tier is known"
        notes = [known] if tier in (FLEX, BATCH) and self.source != GIVEN else []
        full, best = self.cost(tokens_in, tokens_out, tier=tier), ""
        if self.cached is not None and self.caches_unasked and cached:
            notes.append(f"{cached / tokens_in:.0%} of the tokens in from the provider's cache")
            full, best = self.cost(tokens_in, tokens_out, cached=cached, tier=tier), f"; ${full:,.2f} if it caches none"
        return f"about ${full:,.2f} ({'; '.join(filter(None, (self.source, ', '.join(notes))))}){best}"


def known_price(model: str) -> Price | None:
    """The list price of `model` (or of its dated version) from `data/prices.toml`; None if it is not listed."""
    name, row = _listed(model)
    if not row:
        return None
    tiers = {tier: (row[tier][0], row[tier][1]) for tier in (FLEX, BATCH) if tier in row}
    source, caches = f"list price of {name} on {row['date']}", not name.startswith(CACHE_ON_REQUEST)
    return Price(row["input"], row["output"], source, row.get("cached"), tiers, caches)


def shutdown_date(model: str, address: str = "") -> datetime.date | None:
    """The day on which the provider of `model` ends its service, as in `data/prices.toml`; None if none is listed.

    As with prices, a server at an `address` in a private network may use the name of a provider's model.
    """
    return None if _is_private(address) else _listed(model)[1].get("shutdown")


def _listed(model: str) -> tuple[str, dict[str, Any]]:
    """The name of `model` in the table and its row, which is empty if the model is not listed.

    Only exact names count: gpt-5.6 and gpt-5.6-pro have different prices.
    """
    name = VERSION_SUFFIX.sub("", model.rsplit("/", 1)[-1].lower())
    return name, data.read_toml("prices.toml")["models"].get(name, {})


def chosen_price(
    price_in: float | None, price_out: float | None, model: str, address: str = "", *, flag: str = "--price"
) -> Price | None:
    """The prices given by flags, else the list price of `model`. Raises `SettingsError` if only one is given.

    A server at an `address` in a private network has no list price: it may use the name of a provider's model. `flag`
    is what the names of the two flags begin with.
    """
    if price_in is not None and price_out is not None:
        return Price(price_in, price_out, GIVEN)
    if price_in is not None or price_out is not None:
        raise SettingsError(f"only one of {flag}-in and {flag}-out is given", hint="Give both.")
    return known_price(model) if model and not _is_private(address) else None


def check_max_cost(max_cost: float | None, price: Price | None, address: str, *, flag: str = "--price") -> None:
    """Raise `SettingsError` if there is a limit for the cost and no price."""
    if max_cost is None or price is not None:
        return
    give = f"Give {flag}-in and {flag}-out, in US dollars per million tokens,"
    if _is_private(address):
        hint = f"{give} if it passes the calls on to a provider, or use --max-total-tokens."
        raise SettingsError(f"--max-cost needs a known price, and {address} is a local server without one", hint=hint)
    whose = "" if flag == "--price" else f" of the model at {address}"
    raise SettingsError(f"--max-cost needs a known price{whose}", hint=f"{give} from the provider's price list.")


def without_price(address: str, *, flag: str = "--price") -> str:
    """Why a forecast shows no cost, for people."""
    reason = "a local server has no list price" if _is_private(address) else "price not known"
    return f"{reason}: give {flag}-in and {flag}-out (US dollars per million tokens) to see the cost"


def _is_private(address: str) -> bool:
    return is_private(urlsplit(address).hostname or "")
