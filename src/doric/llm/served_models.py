"""The models that a server lists, in any of the shapes of /v1/models."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from doric.llm.errors import find_error
from doric.llm.events import decode
from doric.llm.response import ErrorInBody, status_of

MAX_LIST = 8 << 20
"""Decoded bytes of a list of models. The list of a provider with 500 models and their descriptions has 1 MB."""
LISTS = ("data", "models", "model_list", "object_list")
NAMES = ("id", "name", "model", "slug")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model in a server's list: its name, the tokens of its context window (if known), and its base model.

    `shutdown` is the day on which the provider ends it, if the list says so.
    """

    name: str
    window: int | None = None
    parent: str | None = None
    shutdown: datetime.date | None = None


def untagged(name: str) -> str:
    """The name of a model without the tag that Ollama adds if none is given: both names mean the same model.

    >>> untagged("llama3.1:latest"), untagged("llama3.1:8b")
    ('llama3.1', 'llama3.1:8b')
    """
    return name.removesuffix(":latest")


def read_model_list(content: bytes) -> list[ServedModel]:
    """The models in the body of /v1/models.

    Raises `ValueError` if it is no list of models, and `ErrorInBody` if it is an error.

    >>> read_model_list(b'{"data": [{"id": "doric", "max_model_len": 4096}]}')
    [ServedModel(name='doric', window=4096, parent=None, shutdown=None)]
    >>> [model.name for model in read_model_list(b'{"models": [{"name": "doric"}, "other"]}')]
    ['doric', 'other']
    """
    value = decode(content)
    if isinstance(value, dict) and not any(value.get(name) for name in LISTS) and (error := find_error(value)):
        raise ErrorInBody(status_of(error))
    if isinstance(value, dict):
        value = next((value[name] for name in LISTS if name in value), None)
        value = [] if value is None and b'"data"' in content else value  # "data": null
    if isinstance(value, dict):  # name -> description
        value = [{"id": name, **(each if isinstance(each, dict) else {})} for name, each in value.items()]
    if not isinstance(value, list):
        raise ValueError("not a list of models")
    return list(_with_windows(list(_read_cards(value))))


def _read_cards(cards: list[Any]) -> Iterator[ServedModel]:
    for card in cards:
        if isinstance(card, str) and card.strip():
            yield ServedModel(card)
        elif isinstance(card, dict) and (name := _first_text(card, NAMES)):
            window = card.get("max_model_len")
            known = isinstance(window, int) and not isinstance(window, bool) and window > 0
            parent = _first_text(card, ("parent",)) or None
            yield ServedModel(name, window if known else None, parent, _day(card.get("shutdown_date")))


def _day(value: Any) -> datetime.date | None:  # noqa: ANN401 - any value of JSON
    """The day of "2026-12-11", of a full time in ISO 8601, or of seconds since 1970; None for anything else."""
    try:
        if isinstance(value, str):
            return datetime.datetime.fromisoformat(value.strip()).date()
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.datetime.fromtimestamp(value, datetime.UTC).date()
    except (ValueError, OverflowError, OSError):
        pass
    return None


def _first_text(card: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((text for name in names if isinstance(text := card.get(name), str) and text.strip()), "")


def _with_windows(models: list[ServedModel]) -> Iterator[ServedModel]:
    """The models; an adapter without a window has the window of its base model."""
    windows = {model.name: model.window for model in models}
    for model in models:
        yield replace(model, window=model.window or windows.get(model.parent or ""))
