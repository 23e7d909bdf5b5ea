"""Whether a suggested topic is suitable, and whether it is new. Limits and words are in `data/topic_rules.toml`.

Two topics are compared by the stems of their content words (Dice coefficient), not by their letters. With letters,
"how to" and "for the first time" would make different topics look alike. A reworded topic has the same words, but often
in another order.
"""

import functools
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

from doric import data
from doric.core.characters import find_flaw, tidy
from doric.core.text import counted, fold, words
from doric.quality.decontamination import find_match
from doric.quality.gates import Rejection
from doric.quality.near_duplicates import most_similar

MOST_CHARACTERS = 400
"""Only so many characters of a suggested topic are read; a topic of more is too long in any case."""
BLANKS = re.compile(r"[^\S\r\n]+")
ENDINGS = ("ings", "ing", "ies", "ed", "es", "s", "ly")
CLAUSE = re.compile(r"(?:how|why|what|when|where|who|which|whether|the|a|an|\w+ing)\b", re.IGNORECASE)


@functools.cache
def rules() -> dict[str, Any]:
    """The content of `data/topic_rules.toml`."""
    return data.read_toml("topic_rules.toml")


def normalise(text: str) -> str:
    """`text` in the form of a topic: single blanks, and a lower-case first letter unless a name begins there.

    >>> normalise("How to mend a kettle"), normalise("Baking scones"), normalise("Christmas dinner for two")
    ('how to mend a kettle', 'baking scones', 'Christmas dinner for two')
    """
    text = BLANKS.sub(" ", tidy(text[:MOST_CHARACTERS])).strip()
    return text[:1].lower() + text[1:] if CLAUSE.match(text) else text


def check_topic(text: str) -> Rejection | None:
    """Why `text` is not suitable as a topic, or None. It is not compared with other topics; `KnownTopics` does that."""
    if "\n" in text or "\r" in text:
        return Rejection("lines", "it has more than one line")
    if not text.isprintable():
        return Rejection("unprintable", "it has a character that cannot be seen")
    if flaw := find_flaw(text):
        return Rejection("garbled", flaw)
    limits, count = rules()["limits"], len(text.split())
    if len(text) >= MOST_CHARACTERS:
        return Rejection("length", f"it has more than {MOST_CHARACTERS - 1} characters", count)
    if not limits["min_words"] <= count <= limits["max_words"]:
        return Rejection(
            "length", f"it has {counted(count, 'word')}, not {limits['min_words']} to {limits['max_words']}", count
        )
    if not text[-1].isalnum() and text[-1] not in ")'’%":
        return Rejection("ending", f"it ends with '{text[-1]}'")
    lower = text.lower()
    if opener := next((opener for opener in rules()["openers"]["banned"] if _opens(lower, opener)), None):
        return Rejection("opener", f"it opens with '{opener.strip()}'")
    for name, pattern in _patterns().items():
        if found := pattern.search(lower):
            return Rejection(name, f"it has '{found.group().strip()}' in it")
    if _is_headline(text):
        return Rejection("capitals", "it is written like a headline")
    if rejection := _dangling(lower) or _repeated(lower) or _single_letters(lower):
        return rejection
    if len(stems(text)) < limits["min_content_words"]:
        return Rejection("vague", "it says too little")
    if held := find_match(text):
        return Rejection("held_out", f"it is too near the held-out prompt {held.id}")
    return None


def held_out_topics(topics: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(topic, id of the evaluation prompt) for each topic that matches one."""
    return ((topic, held.id) for topic in topics if (held := find_match(topic)))


@functools.lru_cache(maxsize=1 << 16)
def stems(text: str) -> frozenset[str]:
    """The stems of the content words of `text`.

    >>> stems("drying clothes in winter") == stems("how to dry your clothes in the winter")
    True
    """
    return frozenset(_stem(word) for word in words(text) if word not in _small_words())


class KnownTopics:
    """An index of topics by their stems. Topics are added in any order; `find_duplicate` looks for an equal topic."""

    def __init__(self) -> None:
        self._exact: dict[str, str] = {}
        self._by_stem: dict[str, list[str]] = {}

    def add(self, text: str) -> None:
        """Add a topic."""
        self._exact[fold(text)] = text
        for stem in stems(text):
            self._by_stem.setdefault(stem, []).append(text)

    def find_duplicate(self, text: str) -> Rejection | None:
        """Why `text` is not a new topic, or None."""
        if (same := self._exact.get(fold(text))) is not None:
            return Rejection("duplicate", f"it is there already: '{same}'", 1.0)
        own, limits = stems(text), rules()["limits"]
        others = list(dict.fromkeys(other for stem in sorted(own) for other in self._by_stem.get(stem, ())))
        shares = [(_dice(own, stems(other)), other) for other in others]
        share, other = max(shares, default=(0.0, ""), key=lambda pair: pair[0])
        if share >= limits["similarity"]:
            return Rejection("near_duplicate", f"it is nearly '{other}'", share)
        if similar := most_similar(fold(text), [fold(other) for other in others], limits["likeness"]):
            return Rejection("near_duplicate", f"it is nearly '{others[similar[0]]}'", similar[1])
        return None


def _opens(lower: str, opener: str) -> bool:
    after = lower[len(opener) : len(opener) + 2]
    # "sure-footed" is not "sure"
    return lower.startswith(opener) and not after[:1].isalpha() and not (after[:1] == "-" and after[1:].isalpha())


def _is_headline(text: str) -> bool:
    """Whether the text is written like a headline: most words begin with a capital.

    It also counts if all content words after the first begin with a capital, unless all of them are names.
    """
    written = text.split()
    if sum(word[:1].isupper() for word in written) > len(written) / 2:
        return True
    content = [word for word in written[1:] if word.isalpha() and word.lower() not in _small_words()]
    capitals = [word for word in content if word[:1].isupper()]
    return len(capitals) == len(content) > 1 and any(word.lower() in _common_words() for word in capitals)


def _dangling(lower: str) -> Rejection | None:
    """The last word, if it needs another word after it. A preposition may end a clause with a word such as "what"."""
    last, lists = lower.split()[-1], rules()["words"]
    if last in lists["unfinished"].split() or (
        last in lists["prepositions"].split() and not set(lower.split()) & set(lists["clauses"].split())
    ):
        return Rejection("dangling", f"it breaks off after '{last}'")
    return None


def _repeated(lower: str) -> Rejection | None:
    """A word that occurs twice in a row, or a content word that occurs three times."""
    written = words(lower)
    twice = next((word for word, following in itertools.pairwise(written) if word == following), None)
    often = next((word for word in written if written.count(word) > 2 and word not in _small_words()), None)
    repeated = twice or often
    return Rejection("repeats", f"it says '{repeated}' again and again") if repeated else None


def _single_letters(lower: str) -> Rejection | None:
    """Whether more than one word is a single letter; the article "a" does not count."""
    single = [word for word in lower.split() if len(word) == 1 and word.isalpha() and word != "a"]
    return Rejection("letters", f"it has single letters in it: {', '.join(single)}") if len(single) > 1 else None


@functools.cache
def _patterns() -> dict[str, re.Pattern[str]]:
    return {name: re.compile(pattern) for name, pattern in rules()["patterns"].items()}


@functools.cache
def _small_words() -> frozenset[str]:
    return frozenset(rules()["words"]["small"].split())


@functools.cache
def _common_words() -> frozenset[str]:
    """Words that are not names even with a capital."""
    found = data.read_words("common_words.txt") | {row["english"] for row in data.read_table("renderings.tsv")}
    return frozenset(found - set(rules()["words"]["in_names"].split()))


def _stem(word: str) -> str:
    # good enough to compare topics: "drying" and "dry", "losing" and "lose", "babies" and "baby" get the same stem
    bare = word.removesuffix("'s")
    ending = next((end for end in ENDINGS if bare.endswith(end) and len(bare) - len(end) >= 3), "")
    stem = bare.removesuffix(ending).rstrip("eyi") or bare
    return stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem


def _dice(own: frozenset[str], other: frozenset[str]) -> float:
    return 2 * len(own & other) / (len(own) + len(other))
