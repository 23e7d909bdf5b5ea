"""Makes `data/prices.toml` from the price list that LiteLLM publishes with each release."""

import datetime
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from doric.core.errors import SettingsError
from doric.core.files import parse_json, read_text
from doric.llm.prices import MILLION, VERSION_SUFFIX

PROVIDERS = ("openai", "anthropic", "gemini", "mistral", "deepseek", "xai")
"""The providers whose own prices are listed. Their models have other prices at resellers."""
NO_CHAT_WRITER = re.compile(
    r"audio|realtime|search|image|vision|tts|live|robotics|lyria|omni|voxtral|code|build|vibe|cyber|law|rosalind"
    r"|beta|experimental|exp-|gv2|customtools|gemma|^ft:|[:@]"
)
"""Names of models for other tasks, of trials, and of what a provider only passes on."""
SOURCE = "model_prices_and_context_window_backup.json"
MARK = b"# US dollars per million"
HEAD = """\
# US dollars per million tokens, made from the price list of {source} by this command:
#     uv run --with litellm python dataset_generation/update_prices.py
# Check a price before you rely on it; --price-in and --price-out have priority over this table. A name also covers the
# dated versions of the model. `cached` is the price of input tokens that the provider has cached. `flex` and `batch`
# are [input, output] of slower service at a lower price. `reasoning`: the model may write thoughts before its answer,
# and they are billed as output. `shutdown`: the provider ends the service on this day.
"""


def litellm_prices() -> tuple[dict[str, Any], str]:
    """The price list in the installed package litellm, which is not imported, and its name and version.

    Raises `SettingsError` if the package is not installed or has no such list.
    """
    try:
        package = metadata.distribution("litellm")
    except metadata.PackageNotFoundError as error:
        hint = "Run: uv run --with litellm python dataset_generation/update_prices.py"
        raise SettingsError("the package litellm is not installed", hint=hint) from error
    found = [file for file in package.files or () if file.name == SOURCE]
    if not found:
        raise SettingsError(f"litellm {package.version} has no file {SOURCE}", hint="Give the list with --source FILE.")
    return read_price_list(Path(str(found[0].locate()))), f"litellm {package.version}"


def read_price_list(path: Path) -> dict[str, Any]:
    """The price list in a JSON file: name of a model -> its prices. Raises `SettingsError` if it is none."""
    try:
        prices = parse_json(read_text(path).encode())
    except ValueError as error:
        raise SettingsError(f"{path}: not JSON: {error}", hint="Give LiteLLM's list of prices.") from error
    if not isinstance(prices, dict) or not any(_is_row(row) for row in prices.values()):
        raise SettingsError(f"{path}: not a list of prices", hint="Give LiteLLM's list of prices.")
    return prices


def price_table(prices: Mapping[str, Any], source: str, day: datetime.date) -> str:
    """The text of `data/prices.toml`: one row per chat model that `PROVIDERS` still serve on this `day`."""
    rows = dict(sorted(_rows(prices, day)))
    lines = [f'"{name}" = {{ {_inline(row)} }}' for name, row in rows.items()]
    return "\n".join([HEAD.format(source=source), "[models]", *lines, ""])


def _rows(prices: Mapping[str, Any], day: datetime.date) -> Iterator[tuple[str, dict[str, Any]]]:
    for full_name, card in prices.items():
        name = full_name.rsplit("/", 1)[-1].lower()
        if not _is_row(card) or VERSION_SUFFIX.search(name) or NO_CHAT_WRITER.search(name):
            continue
        if card.get("litellm_provider") not in PROVIDERS or card.get("mode") != "chat":
            continue
        shutdown = _date(card.get("deprecation_date"))
        if shutdown is None or shutdown >= day:
            yield name, _row(card, day, shutdown)


def _is_row(card: Any) -> bool:  # noqa: ANN401 - any value of JSON
    names = ("input_cost_per_token", "output_cost_per_token")
    return isinstance(card, dict) and all(isinstance(card.get(name), int | float) and card[name] > 0 for name in names)


def _row(card: Mapping[str, Any], day: datetime.date, shutdown: datetime.date | None) -> dict[str, Any]:
    def price(name: str) -> float | None:
        value = card.get(name)
        return round(value * MILLION, 6) if isinstance(value, int | float) else None

    def pair(suffix: str) -> list[float] | None:
        into, out = price(f"input_cost_per_token_{suffix}"), price(f"output_cost_per_token_{suffix}")
        return None if into is None or out is None else [into, out]

    row = {
        "input": price("input_cost_per_token"),
        "cached": price("cache_read_input_token_cost"),
        "output": price("output_cost_per_token"),
        "flex": pair("flex"),
        "batch": pair("batches"),
        "reasoning": True if card.get("supports_reasoning") else None,
        "shutdown": shutdown,
        "date": day,
    }
    return {name: value for name, value in row.items() if value is not None}


def _date(text: Any) -> datetime.date | None:  # noqa: ANN401 - any value of JSON
    try:
        return datetime.date.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def _inline(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {_toml(value)}" for name, value in row.items())


def _toml(value: float | bool | list[float] | datetime.date) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f"{value:g}" if isinstance(value, int | float) else value.isoformat()
