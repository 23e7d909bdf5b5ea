"""Words that are Scots only next to certain other words: `fit` (what), `far` (where), `een` (one), `nae` (not), ...

The contexts are listed in `data/collisions.toml`.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from doric import data

OPENERS = frozenset({"an", "but", "bit", "or", "if", "gin", "so", "syne", "and", "because", "for", "that", ","})
"""After these words a clause begins, so `initial` is true for the next word."""
WINDOW = 3
"""The number of words on each side that count as near, for `scots`."""


@dataclass(frozen=True, slots=True)
class Context:
    """The neighbours that a word must have. All conditions that are set must be true.

    `before`, `prev`, `next`: the second word before, the word before and the word after is in this set; punctuation and
    the ends of the sentence count as ",". `initial`: the word begins a clause. `scots`: at least so many Scots words
    are within `WINDOW` words. `sentence`: at least so many Scots words are in the sentence. `next_consonant`: the next
    word begins with a consonant. `next_participle`: the next word is a participle.
    """

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
    """The class (or the spelling) that a word gets in one of the contexts, unless it has an excluded neighbour."""

    kind: str
    contexts: tuple[Context, ...]
    unless_prev: frozenset[str]
    unless_next: frozenset[str]


@functools.cache
def _spec() -> dict:
    return data.read_toml("collisions.toml")


@functools.cache
def counted_once() -> frozenset[str]:
    """The words that count only once per text, however often they occur."""
    return frozenset(_spec()["once"])


@functools.cache
def rules() -> dict[str, tuple[Rule, ...]]:
    """Word -> its rules, in file order."""
    return read_rules(_spec()["rule"], "class")


def read_rules(raw_rules: Sequence[dict], result: str) -> dict[str, tuple[Rule, ...]]:
    """Word -> its rules, in order. `result` is the key of a rule's result, its `kind`. They may use the sets of words.

    A rule without the key `when` applies everywhere, except next to its excluded neighbours.
    """
    sets = {name: frozenset(words) for name, words in _spec()["sets"].items()}
    found: dict[str, tuple[Rule, ...]] = {}
    for raw in raw_rules:
        rule = Rule(
            raw[result],
            tuple(_context(when, sets) for when in raw.get("when", [{}])),
            _words(raw.get("unless_prev", []), sets) or frozenset(),
            _words(raw.get("unless_next", []), sets) or frozenset(),
        )
        for form in raw["forms"]:
            found[form] = (*found.get(form, ()), rule)
    return found


def _context(when: dict, sets: dict[str, frozenset[str]]) -> Context:
    following = when.get("next")
    special = following if following in ("consonant", "participle") else None
    return Context(
        before=_words(when.get("before"), sets),
        prev=_words(when.get("prev"), sets),
        next=None if special else _words(following, sets),
        initial=when.get("initial", False),
        scots=when.get("scots", 0),
        sentence=when.get("sentence", 0),
        next_consonant=special == "consonant",
        next_participle=special == "participle",
    )


def _words(value: str | list[str] | None, sets: dict[str, frozenset[str]]) -> frozenset[str] | None:
    return sets[value] if isinstance(value, str) else frozenset(value) if value is not None else None


def class_in_context(tokens: Sequence[str], scots: Sequence[bool], at: int) -> str:
    """The class of `tokens[at]` among its neighbours, or "" when no rule applies. The word must be in `rules()`.

    `tokens` are the lower-cased words and punctuation of one sentence. `scots` says which of them are always Scots.
    """
    return result_of(rules()[tokens[at]], tokens, scots, at)


def result_of(rules: Sequence[Rule], tokens: Sequence[str], scots: Sequence[bool], at: int) -> str:
    """The result of the first of `rules` that applies to `tokens[at]`, or ""."""
    before = tokens[at - 2] if at > 1 else ","
    prev = tokens[at - 1] if at else ","
    following = tokens[at + 1] if at + 1 < len(tokens) else ","
    for rule in rules:
        if prev in rule.unless_prev or following in rule.unless_next:
            continue
        for context in rule.contexts:
            if _fits(context, before, prev, following) and _enough_scots(context, scots, at):
                return rule.kind
    return ""


def obstacle(tokens: Sequence[str], scots: Sequence[bool], at: int) -> str:
    """Why no rule of `tokens[at]` applies, for speakers. The arguments are those of `class_in_context`."""
    before, prev = tokens[at - 2] if at > 1 else ",", tokens[at - 1] if at else ","
    following = tokens[at + 1] if at + 1 < len(tokens) else ","
    for rule in rules()[tokens[at]]:
        if prev in rule.unless_prev or following in rule.unless_next:
            word, side, end = (prev, "after", "beginning") if prev in rule.unless_prev else (following, "before", "end")
            return (
                f"{side} '{word}' it is usually English"
                if word != ","
                else f"it is usually English at the {end} of a clause"
            )
        for context in rule.contexts:
            if _fits(context, before, prev, following):
                return "there are too few Scots words around it"
    return "it is Doric only next to certain words, and none of them is here"


def _enough_scots(context: Context, scots: Sequence[bool], at: int) -> bool:
    near = scots[max(0, at - WINDOW) : at + 1 + WINDOW]
    return (not context.scots or sum(near) - scots[at] >= context.scots) and (
        not context.sentence or sum(scots) - scots[at] >= context.sentence
    )


def _fits(context: Context, before: str, prev: str, following: str) -> bool:
    return (
        (context.prev is None or prev in context.prev)
        and (context.next is None or following in context.next)
        and (context.before is None or before in context.before)
        and (not context.initial or not prev[0].isalnum() or prev in OPENERS)
        and (not context.next_consonant or (following[0].isalnum() and following[0] not in "aeiouh"))
        and (not context.next_participle or is_participle(following))
    )


@functools.cache
def _english_endings() -> frozenset[str]:
    return data.read_words("english_endings.txt")


@functools.lru_cache(maxsize=1 << 14)
def is_participle(word: str) -> bool:
    """Whether `word` looks like a participle: Scots in -in or -it, or English in -ed, -en or -ing."""
    return len(word) > 3 and word.endswith(("in", "it", "ed", "ing", "en")) and word not in _english_endings()
