"""The authored sentences of the embedded voice, read from `data/phrases/` and `data/multilingual/`.

An authored topic has its own Doric name and its own sentences. A theme has sentences that fit most of its topics; each
topic lists those that do not fit it. For other topics, `theme_of` finds a theme. `heuristic` combines the sentences
into answers.
"""

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from doric import data
from doric.core.text import fold, words

PARTS = ("starts", "whys", "steps", "checks")
"""The kinds of sentence that a theme has: what to know first, why, what to do, what to watch for."""


type Parts = tuple[tuple[str, ...], ...]
"""Sentences by part, in the order of `PARTS`."""
FITS_MOST = 0.6
"""A sentence that fits at least this share of the topics of its theme is used for topics that are not authored, too."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Sentences for a group of related topics. `common` holds only those that fit most of the topics."""

    name: str
    group: str
    number: int
    keywords: frozenset[str]
    parts: Parts
    common: Parts


@dataclass(frozen=True, slots=True)
class AuthoredTopic:
    """A topic with its own sentences.

    `place` is its index in its theme, `doric` its Doric name, and `titles` its names by language code. Each of the
    `answers` answers the topic by itself; the sentences in `more` add to an answer. `fitting` are the sentences of the
    theme that can stand beside them. `mistakes` are those of its own sentences that say what people get wrong. Those
    in `order` stand in this order in an answer, such as the steps of a recipe; the others stand anywhere.
    """

    theme: Theme
    place: int
    doric: str
    answers: tuple[str, ...]
    more: tuple[str, ...]
    mistakes: tuple[str, ...]
    order: tuple[str, ...]
    fitting: Parts
    titles: dict[str, str]


@functools.cache
def authored_topics() -> dict[str, AuthoredTopic]:
    """Folded topic -> its authored data."""
    titles = _titles()
    return {
        (key := fold(raw["topic"])): AuthoredTopic(
            theme=theme,
            place=place,
            doric=raw["doric"],
            answers=tuple(raw["answers"]),
            more=tuple(raw.get("more", ())),
            mistakes=_mistakes(raw),
            order=_order(raw),
            fitting=_fitting(theme.parts, raw),
            titles=titles.get(key, {}),
        )
        for theme, topics in _themes()
        for place, raw in enumerate(topics)
    }


def _fitting(parts: Parts, topic: dict) -> Parts:
    unfit = tuple(topic.get("unfit", ()))
    return tuple(tuple(line for line in lines if not line.startswith(unfit)) for lines in parts)


def _mistakes(topic: dict) -> tuple[str, ...]:
    beginnings = tuple(topic.get("mistakes", ()))
    return tuple(line for line in _own(topic) if line.startswith(beginnings))


def _order(topic: dict) -> tuple[str, ...]:
    return tuple(line for beginning in topic.get("order", ()) for line in _own(topic) if line.startswith(beginning))


def _own(topic: dict) -> tuple[str, ...]:
    return (*topic["answers"], *topic.get("more", ()))


def authored(topic: str) -> AuthoredTopic | None:
    """The authored data of a topic; case and white space do not matter."""
    return authored_topics().get(fold(topic))


@functools.cache
def general_sentences() -> dict[str, tuple[str, ...]]:
    """The sentences for topics that fit no theme. The sentences in `answers` contain `{topic}`."""
    return {key: tuple(lines) for key, lines in data.read_toml("general.toml").items()}


@functools.lru_cache(maxsize=1 << 12)
def theme_of(topic: str) -> Theme | None:
    """The theme that shares most keywords with a topic, or None if no theme shares any.

    If several themes share as many keywords, the theme with the longer keywords is used.
    """
    stems = {stem for word in words(topic) for stem in (word, word.removesuffix("s"), word.removesuffix("es"))}
    best, most = None, (0, 0)
    for theme, _ in _themes():
        shared = theme.keywords & stems
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
            parts = tuple(tuple(raw[part]) for part in PARTS)
            common = _common(parts, raw["topics"])
            yield (
                Theme(raw["name"], spec["group"], number, frozenset(raw["keywords"]), parts, common),
                tuple(raw["topics"]),
            )
            number += 1


def _common(parts: Parts, topics: Sequence[dict]) -> Parts:
    fits = Counter(line for topic in topics for lines in _fitting(parts, topic) for line in lines)
    return tuple(tuple(line for line in lines if fits[line] >= FITS_MOST * len(topics)) for lines in parts)


def _titles() -> dict[str, dict[str, str]]:
    found = {}
    for name in data.names("multilingual", ".tsv"):
        for row in data.read_table(name):
            found[fold(row.pop("topic"))] = row
    return found
