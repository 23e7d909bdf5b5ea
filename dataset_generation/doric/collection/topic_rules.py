"""Whether a suggested topic is one we want, and whether we have it already. Figures and words: `data/topic_rules.toml`.

Two topics of half a dozen words are compared by their content stems (Dice coefficient), not by their letters: "how to"
and "for the first time" make unlike topics look alike, and a reworded topic shares words rather than runs of letters.
Knows nothing of models.
"""

import functools
import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

from doric import heldout
from doric.gates import Rejection
from doric.language.vocabulary import DATA
from doric.neardup import most_alike
from doric.text import fold, words

BLANKS = re.compile(r"[^\S\r\n]+")
ENDINGS = ("ings", "ing", "ies", "ed", "es", "s", "ly")
CLAUSE = re.compile(r"(?:how|why|what|when|where|who|which|whether|the|a|an|\w+ing)\b", re.IGNORECASE)


@functools.cache
def spec() -> dict[str, Any]:
    """The rules as they lie in the file."""
    return tomllib.loads((DATA / "topic_rules.toml").read_text("utf-8"))


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
    if sum(word[:1].isupper() for word in text.split()) > count / 2:
        return Rejection("capitals", "it is written like a headline")
    if len(stems(text)) < limits["min_content_words"]:
        return Rejection("vague", "it says too little")
    if held := heldout.match(text):
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
        if alike := most_alike(fold(text), [fold(other) for other in others], limits["likeness"]):
            return Rejection("near_duplicate", f"it is nearly '{others[alike[0]]}'", alike[1])
        return None


def _opens(low: str, opener: str) -> bool:
    return low.startswith(opener) and not low[len(opener) : len(opener) + 1].isalpha()


@functools.cache
def _patterns() -> dict[str, re.Pattern[str]]:
    return {name: re.compile(pattern) for name, pattern in spec()["patterns"].items()}


@functools.cache
def _small() -> frozenset[str]:
    return frozenset(spec()["words"]["small"].split())


def _stem(word: str) -> str:
    # enough for comparing topics: "drying" and "dry", "losing" and "lose", "babies" and "baby" meet
    bare = word.removesuffix("'s")
    ending = next((end for end in ENDINGS if bare.endswith(end) and len(bare) - len(end) >= 3), "")
    stem = bare.removesuffix(ending).rstrip("eyi") or bare
    return stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem


def _dice(one: frozenset[str], other: frozenset[str]) -> float:
    return 2 * len(one & other) / (len(one) + len(other))
