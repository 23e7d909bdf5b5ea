"""The authored sentences of the embedded voice, as they lie in `data/phrases/` and `data/multilingual/`.

A theme holds sentences that fit any of its topics; a topic holds its rendering in Doric and answers of its own.
Knows how to find the theme for somebody's own topic, not how an answer is put together.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from doric import data
from doric.core.text import fold, words

MOVES = ("starts", "whys", "steps", "checks")


@dataclass(frozen=True, slots=True)
class Theme:
    """Sentences for a handful of neighbouring topics: what to know first, why, what to do, what to watch for."""

    name: str
    group: str
    number: int
    keywords: frozenset[str]
    starts: tuple[str, ...]
    whys: tuple[str, ...]
    steps: tuple[str, ...]
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """A topic that has answers of its own: its place in its theme, its Doric, its titles in other languages."""

    theme: Theme
    place: int
    doric: str
    answers: tuple[str, ...]
    titles: dict[str, str]


@functools.cache
def known() -> dict[str, Known]:
    """Folded topic -> what is authored for it."""
    titles = _titles()
    return {
        fold(raw["topic"]): Known(theme, place, raw["doric"], tuple(raw["answers"]), titles.get(fold(raw["topic"]), {}))
        for theme, topics in _themes()
        for place, raw in enumerate(topics)
    }


@functools.cache
def general() -> dict[str, tuple[str, ...]]:
    """The sentences for topics that no theme knows; those of `answers` carry `{topic}`."""
    spec = data.read_toml("general.toml")
    return {key: tuple(lines) for key, lines in spec.items()}


@functools.lru_cache(maxsize=1 << 12)
def theme_of(topic: str) -> Theme | None:
    """The theme that shares most keywords with a topic, the longer ones where as many; None when none shares any."""
    given = {stem for word in words(topic) for stem in (word, word.removesuffix("s"), word.removesuffix("es"))}
    best, most = None, (0, 0)
    for theme, _ in _themes():
        shared = theme.keywords & given
        score = (len(shared), max(map(len, shared), default=0))
        if score > most:
            best, most = theme, score
    return best


@functools.cache
def _themes() -> tuple[tuple[Theme, tuple[dict, ...]], ...]:
    return tuple(_read_themes())


def _read_themes() -> Iterator[tuple[Theme, tuple[dict, ...]]]:
    number = 0
    for name in data.names("phrases", ".toml"):
        spec = data.read_toml(name)
        for raw in spec["themes"]:
            moves = (tuple(raw[move]) for move in MOVES)
            yield Theme(raw["name"], spec["group"], number, frozenset(raw["keywords"]), *moves), tuple(raw["topics"])
            number += 1


@functools.cache
def _titles() -> dict[str, dict[str, str]]:
    found = {}
    for name in data.names("multilingual", ".tsv"):
        for row in data.read_table(name):
            found[fold(row.pop("topic"))] = row
    return found
