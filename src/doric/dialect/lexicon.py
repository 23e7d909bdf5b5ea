"""The word lists as they lie in `data/`, read once: what class a single word has.

Classes: `ne` (North-East), `scots` (any Scots), `na` (-na negatives), `central` and `central_weak` (forms of Central
Scots, Lallans and Burns), `leak` (English that a Scots writer renders), `context` (needs its neighbours: see
`contexts`). Knows nothing of sentences.
"""

import functools
import re
from dataclasses import dataclass

from doric import data

CLITIC = re.compile(r"'(?:s|ll|re|ve|d|m|t)$")
NEUTRAL = ""
SCOTS = frozenset({"ne", "shared", "scots", "na"})
"""The classes of Scots words."""
ENDINGS = ("s", "er", "est", "ed", "in", "it", "fu", "fus", "ly", "t")
"""What may follow a listed word and leave it in its class."""
GUESSED = ("in", "it", "ie")
"""Endings that make a word Scots which stands in no list."""
SHORTEST_STEM = 4
"""Letters a stem must have before -s, and one more before the rest: shorter ones make other words too often."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of `lexicon.tsv`: a house form, what it means, its class, and the other spellings accepted for it.

    `variants` are of the same class; `wider` are spellings of Scots at large, no sign of the North-East; `synonyms` are
    other words of the same meaning, Scots as well, and none of them is to be respelled as the house form.
    """

    doric: str
    english: str
    kind: str
    part_of_speech: str
    variants: tuple[str, ...]
    wider: tuple[str, ...]
    synonyms: tuple[str, ...]

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every spelling, the house form first, lower-cased."""
        return (self.doric.lower(), *self.variants, *self.wider)


@functools.cache
def entries() -> tuple[Entry, ...]:
    """All of `lexicon.tsv`, in file order."""
    return tuple(
        Entry(
            row["doric"],
            row["english"],
            row["class"],
            row["pos"],
            _split(row["variants"]),
            _split(row["wider"]),
            _split(row["synonyms"]),
        )
        for row in data.read_table("lexicon.tsv")
    )


def _split(cell: str) -> tuple[str, ...]:
    return tuple(filter(None, cell.split(";")))


@functools.cache
def house_forms() -> dict[str, str]:
    """Central form -> the house form to write instead; English function word -> its rendering."""
    return {row["central"]: row["house"] for row in data.read_table("central.tsv")} | {
        row["english"]: row["house"] for row in data.read_table("leakage.tsv")
    }


@functools.cache
def variants() -> dict[str, str]:
    """Accepted spelling -> house spelling, for every family in the lexicon."""
    return {variant: entry.doric for entry in entries() for variant in entry.spellings[1:]}


@functools.cache
def leak_weights() -> dict[str, float]:
    """English function word -> how surely it is a leak, 0 to 1."""
    return {row["english"]: float(row["weight"]) for row in data.read_table("leakage.tsv")}


@functools.cache
def _classes() -> dict[str, str]:
    classes = dict.fromkeys(leak_weights(), "leak")
    for entry in entries():
        if entry.kind != "phrase":
            classes.update(dict.fromkeys(entry.synonyms, "context" if entry.kind == "context" else "scots"))
            classes.update(dict.fromkeys(entry.wider, "scots"))
            classes.update(dict.fromkeys((entry.doric.lower(), *entry.variants), entry.kind))
    for row in data.read_table("central.tsv"):
        classes[row["central"]] = "central" if row["strength"] == "strong" else "central_weak"
    return classes


@functools.cache
def function_words() -> frozenset[str]:
    """Scots spellings of English function words: those that somebody swaps in who knows no other Scots."""
    return data.read_words("function_words.txt")


@functools.cache
def _english_endings() -> frozenset[str]:
    return data.read_words("english_endings.txt")


@functools.cache
def _ing_nouns() -> frozenset[str]:
    return data.read_words("ing_nouns.txt")


@functools.lru_cache(maxsize=1 << 16)
def word_class(word: str) -> str:
    """The class of one lower-cased word, or "" where it says nothing.

    >>> word_class("gweed"), word_class("whit"), word_class("keepit"), word_class("table")
    ('ne', 'central', 'scots', '')
    >>> word_class("skweels"), word_class("cweelest"), word_class("for't"), word_class("ain't")
    ('ne', 'ne', 'scots', '')
    """
    classes = _classes()
    if found := classes.get(word):
        return found
    if word.endswith("'t"):
        return NEUTRAL if word.endswith("n't") else "scots"
    stem = CLITIC.sub("", word)
    if stem != word:
        found = classes.get(stem) or _by_ending(stem)
        return found if found != "leak" or stem in ("you", "what", "who", "where", "how") else NEUTRAL
    return _by_ending(word)


@functools.lru_cache(maxsize=1 << 14)
def is_guess(word: str) -> bool:
    """Whether nothing but its ending makes `word` Scots: a name or a drug may end like that as well.

    >>> is_guess("plantin"), is_guess("warfarin"), is_guess("keepit"), is_guess("table")
    (True, True, False, False)
    """
    stem = CLITIC.sub("", word)
    known = _classes().keys() & {word, stem}
    return not known and word_class(word) == "scots" and stem.endswith(GUESSED) and not _inflected(stem)


def _by_ending(word: str) -> str:
    if len(word) <= SHORTEST_STEM or not word.isalpha() or word in _english_endings():
        return NEUTRAL
    if word.endswith("ing"):
        return NEUTRAL if word in _ing_nouns() else "leak"
    if word.endswith("nae"):
        return "central"
    if found := _inflected(word):
        return found
    return "scots" if word.endswith(GUESSED) else NEUTRAL


def _inflected(word: str) -> str:
    """The class of the listed word that `word` is a form of, if it is of one."""
    classes = _classes()
    for ending in ENDINGS:
        if word.endswith(ending):
            stem, least = word.removesuffix(ending), SHORTEST_STEM + (ending != "s")
            stems = (stem + "e", stem) if ending[0] in "ei" else (stem,)
            found = next((classes[one] for one in stems if one in classes and len(one) >= least), NEUTRAL)
            if found not in (NEUTRAL, "leak", "context", "na"):
                return found
    return NEUTRAL
