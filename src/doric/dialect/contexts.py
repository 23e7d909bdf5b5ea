"""Words that are Doric only in the right place: `fit` (what), `far` (where), `een` (one), `nae` (not) and their like.

The places are in `data/collisions.toml`. Knows the neighbours of a word, nothing of scores.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from doric import data
from doric.dialect.lexicon import SCOTS, is_participle

OPENERS = frozenset({"an", "but", "bit", "or", "if", "gin", "so", "syne", "and", "because", "for", "that", ","})
REACH = 3


@dataclass(frozen=True, slots=True)
class Place:
    """One context: every condition that is set must hold."""

    before: frozenset[str] | None
    prev: frozenset[str] | None
    next: frozenset[str] | None
    initial: bool
    scots: int
    sentence: int
    next_consonant: bool
    next_participle: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """The class a form takes where one of its places holds and no neighbour forbids it."""

    kind: str
    places: tuple[Place, ...]
    unless_prev: frozenset[str]
    unless_next: frozenset[str]


@functools.cache
def _spec() -> dict:
    return data.read_toml("collisions.toml")


@functools.cache
def counted_once() -> frozenset[str]:
    """The words that count once in a text however often it says them."""
    return frozenset(_spec()["once"])


@functools.cache
def rules() -> dict[str, tuple[Rule, ...]]:
    """Form -> the rules that may promote it, in file order."""
    spec = _spec()
    sets = {name: frozenset(words) for name, words in spec["sets"].items()}
    found: dict[str, tuple[Rule, ...]] = {}
    for raw in spec["rule"]:
        rule = Rule(
            raw["class"],
            tuple(_place(where, sets) for where in raw["when"]),
            _words(raw.get("unless_prev", []), sets) or frozenset(),
            _words(raw.get("unless_next", []), sets) or frozenset(),
        )
        for form in raw["forms"]:
            found[form] = (*found.get(form, ()), rule)
    return found


def _place(where: dict, sets: dict[str, frozenset[str]]) -> Place:
    following = where.get("next")
    special = following if following in ("consonant", "participle") else None
    return Place(
        before=_words(where.get("before"), sets),
        prev=_words(where.get("prev"), sets),
        next=None if special else _words(following, sets),
        initial=where.get("initial", False),
        scots=where.get("scots", 0),
        sentence=where.get("sentence", 0),
        next_consonant=special == "consonant",
        next_participle=special == "participle",
    )


def _words(value: str | list[str] | None, sets: dict[str, frozenset[str]]) -> frozenset[str] | None:
    return sets[value] if isinstance(value, str) else frozenset(value) if value is not None else None


def promote(tokens: Sequence[str], kinds: Sequence[str], at: int) -> str:
    """The class that `tokens[at]` takes from its neighbours, or "" where no context holds.

    `kinds` are the classes of all tokens taken alone. Clauses are parted by the punctuation among the tokens.
    """
    before = tokens[at - 2] if at > 1 else ","
    prev = tokens[at - 1] if at else ","
    following = tokens[at + 1] if at + 1 < len(tokens) else ","
    for rule in rules()[tokens[at]]:
        if prev in rule.unless_prev or following in rule.unless_next:
            continue
        for place in rule.places:
            if _fits(place, before, prev, following) and _scots_enough(place, kinds, at):
                return rule.kind
    return ""


def _scots_enough(place: Place, kinds: Sequence[str], at: int) -> bool:
    near = kinds[max(0, at - REACH) : at + 1 + REACH]
    return (not place.scots or _count_scots(near) - (kinds[at] in SCOTS) >= place.scots) and (
        not place.sentence or _count_scots(kinds) - (kinds[at] in SCOTS) >= place.sentence
    )


def _count_scots(kinds: Sequence[str]) -> int:
    return sum(map(SCOTS.__contains__, kinds))


def _fits(place: Place, before: str, prev: str, following: str) -> bool:
    return (
        (place.prev is None or prev in place.prev)
        and (place.next is None or following in place.next)
        and (place.before is None or before in place.before)
        and (not place.initial or not prev[0].isalnum() or prev in OPENERS)
        and (not place.next_consonant or (following[0].isalnum() and following[0] not in "aeiouh"))
        and (not place.next_participle or is_participle(following))
    )
