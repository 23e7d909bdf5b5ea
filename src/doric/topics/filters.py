"""Whether a suggested topic is one we want, and whether we have it already. Figures and words: `data/topic_rules.toml`.

Two topics of half a dozen words are compared by their content stems (Dice coefficient), not by their letters: "how to"
and "for the first time" make unlike topics look alike, and a reworded topic shares words rather than runs of letters.
Knows nothing of models.
"""

import functools
import itertools
import re
from dataclasses import dataclass, field
from typing import Any

from doric import data
from doric.core.text import fold, words
from doric.quality.decontamination import find_match
from doric.quality.gates import Rejection
from doric.quality.near_duplicates import most_similar

BLANKS = re.compile(r"[^\S\r\n]+")
ENDINGS = ("ings", "ing", "ies", "ed", "es", "s", "ly")
CLAUSE = re.compile(r"(?:how|why|what|when|where|who|which|whether|the|a|an|\w+ing)\b", re.IGNORECASE)


@functools.cache
def spec() -> dict[str, Any]:
    """The rules as they lie in the file."""
    return data.read_toml("topic_rules.toml")


def tidy(text: str) -> str:
    """`text` as topics are written: single blanks, and a capital that only begins a sentence made small.

    >>> tidy("How to mend a kettle"), tidy("Baking scones"), tidy("Christmas dinner for two")
    ('how to mend a kettle', 'baking scones', 'Christmas dinner for two')
    """
    text = BLANKS.sub(" ", text)
    return text[:1].lower() + text[1:] if CLAUSE.match(text) else text


def unfit(text: str) -> Rejection | None:
    """Why `text` can be no topic, or None; asks nothing of other topics."""
    if "\n" in text or "\r" in text:
        return Rejection("lines", "it has more than one line")
    if not text.isprintable():
        return Rejection("unprintable", "it has a character that cannot be seen")
    limits, count = spec()["limits"], len(text.split())
    if not limits["min_words"] <= count <= limits["max_words"]:
        return Rejection("length", f"it has {count} words, not {limits['min_words']} to {limits['max_words']}", count)
    if not text[-1].isalnum() and text[-1] not in ")'’%":
        return Rejection("ending", f"it ends with '{text[-1]}'")
    low = text.lower()
    if opener := next((one for one in spec()["openers"]["banned"] if _opens(low, one)), None):
        return Rejection("opener", f"it opens with '{opener.strip()}'")
    for name, pattern in _patterns().items():
        if found := pattern.search(low):
            return Rejection(name, f"it has '{found.group().strip()}' in it")
    if _like_a_headline(text):
        return Rejection("capitals", "it is written like a headline")
    if wrong := _dangling(low) or _repeated(low) or _letters(low):
        return wrong
    if len(stems(text)) < limits["min_content_words"]:
        return Rejection("vague", "it says too little")
    if held := find_match(text):
        return Rejection("held_out", f"it is too near the held-out prompt {held.id}")
    return None


@functools.lru_cache(maxsize=1 << 16)
def stems(text: str) -> frozenset[str]:
    """The stems of the words that say what `text` is about.

    >>> stems("drying clothes in winter") == stems("how to dry your clothes in the winter")
    True
    """
    return frozenset(_stem(word) for word in words(text) if word not in _small())


@dataclass(slots=True)
class Known:
    """The topics there are, found again by their stems. `add` in any order; `rival` looks one up."""

    _exact: dict[str, str] = field(default_factory=dict)
    _by_stem: dict[str, list[str]] = field(default_factory=dict)

    def add(self, text: str) -> None:
        """Remember a topic."""
        self._exact[fold(text)] = text
        for stem in stems(text):
            self._by_stem.setdefault(stem, []).append(text)

    def rival(self, text: str) -> Rejection | None:
        """Why `text` is nothing new, or None."""
        if (same := self._exact.get(fold(text))) is not None:
            return Rejection("duplicate", f"it is there already: '{same}'", 1.0)
        mine, limits = stems(text), spec()["limits"]
        others = list(dict.fromkeys(other for stem in sorted(mine) for other in self._by_stem.get(stem, ())))
        shares = [(_dice(mine, stems(other)), other) for other in others]
        share, other = max(shares, default=(0.0, ""), key=lambda one: one[0])
        if share >= limits["similarity"]:
            return Rejection("near_duplicate", f"it is nearly '{other}'", share)
        if alike := most_similar(fold(text), [fold(other) for other in others], limits["likeness"]):
            return Rejection("near_duplicate", f"it is nearly '{others[alike[0]]}'", alike[1])
        return None


def _opens(low: str, opener: str) -> bool:
    behind = low[len(opener) : len(opener) + 2]
    # "sure-footed" is not "sure"
    return low.startswith(opener) and not behind[:1].isalpha() and not (behind[:1] == "-" and behind[1:].isalpha())


def _like_a_headline(text: str) -> bool:
    """Whether most words have a capital, or all that say something have one and not all of those are names."""
    given = text.split()
    if sum(word[:1].isupper() for word in given) > len(given) / 2:
        return True
    telling = [word for word in given[1:] if word.isalpha() and word.lower() not in _small()]
    capitals = [word for word in telling if word[:1].isupper()]
    return len(capitals) == len(telling) > 1 and any(word.lower() in _everyday() for word in capitals)


def _dangling(low: str) -> Rejection | None:
    """A last word after which something is missing; a preposition may end a clause with a word like "what"."""
    last, rules = low.split()[-1], spec()["words"]
    if last in rules["unfinished"].split() or (
        last in rules["prepositions"].split() and not set(low.split()) & set(rules["clauses"].split())
    ):
        return Rejection("dangling", f"it breaks off after '{last}'")
    return None


def _repeated(low: str) -> Rejection | None:
    """A word twice running, or one that says something three times."""
    given = words(low)
    twice = next((one for one, other in itertools.pairwise(given) if one == other), None)
    often = next((word for word in given if given.count(word) > 2 and word not in _small()), None)
    again = twice or often
    return Rejection("repeats", f"it says '{again}' again and again") if again else None


def _letters(low: str) -> Rejection | None:
    """More than one word of a single letter, but for the article."""
    single = [word for word in low.split() if len(word) == 1 and word.isalpha() and word != "a"]
    return Rejection("letters", f"it has single letters in it: {', '.join(single)}") if len(single) > 1 else None


@functools.cache
def _patterns() -> dict[str, re.Pattern[str]]:
    return {name: re.compile(pattern) for name, pattern in spec()["patterns"].items()}


@functools.cache
def _small() -> frozenset[str]:
    return frozenset(spec()["words"]["small"].split())


@functools.cache
def _everyday() -> frozenset[str]:
    """Words that are no names where they have a capital."""
    found = data.read_words("common_words.txt") | {row["english"] for row in data.read_table("renderings.tsv")}
    return frozenset(found - set(spec()["words"]["in_names"].split()))


def _stem(word: str) -> str:
    # enough for comparing topics: "drying" and "dry", "losing" and "lose", "babies" and "baby" meet
    bare = word.removesuffix("'s")
    ending = next((end for end in ENDINGS if bare.endswith(end) and len(bare) - len(end) >= 3), "")
    stem = bare.removesuffix(ending).rstrip("eyi") or bare
    return stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem


def _dice(one: frozenset[str], other: frozenset[str]) -> float:
    return 2 * len(one & other) / (len(one) + len(other))
