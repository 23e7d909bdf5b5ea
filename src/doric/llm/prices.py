"""Prices of models per million tokens: list prices from `data/prices.toml`, or as given by flags.

`dataset_generation/update_prices.py` makes that file.
"""

import datetime
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from doric import data
from doric.core.errors import SettingsError
from doric.core.settings import is_private

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
    name, row = _listed(model)
    return Price(row["input"], row["output"], f"list price of {name} on {row['date']}") if row else None


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
