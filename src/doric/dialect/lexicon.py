"""The word lists in `data/`, and the class of a single word.

Classes: `ne` (North-East), `scots` (all of Scotland), `shared` (Scots that the North-East also uses), `na` (negatives
in -na), `central` and `central_weak` (Central Scots, Lallans and Burns), `leak` (English that a Scots writer would
replace), `context` (the class depends on the neighbouring words, see `contexts`).
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
"""A listed word with one of these endings keeps its class."""
GUESSED_ENDINGS = ("in", "it", "ie")
"""A word that is in no list counts as Scots if it has one of these endings."""
SHORTEST_STEM = 4
"""A stem before -s has at least so many letters; before other endings, one more. Short stems often match by chance."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of `lexicon.tsv`. The house form, `doric`, is the spelling that the dataset uses.

    `variants` are other spellings with the same class. `wider` are spellings used all over Scotland, class `scots`.
    `synonyms` are other words with the same meaning, also class `scots`; they are not replaced by the house form.
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
        """All spellings in lower case, the house form first."""
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
    """Central Scots form -> the house form to write instead. Also: English function word -> the Doric word for it."""
    return {row["central"]: row["house"] for row in data.read_table("central.tsv")} | {
        row["english"]: row["house"] for row in data.read_table("leakage.tsv")
    }


@functools.cache
def variants() -> dict[str, str]:
    """Accepted spelling -> house form, for every entry of the lexicon."""
    return {variant: entry.doric for entry in entries() for variant in entry.spellings[1:]}


@functools.cache
def wider_spellings() -> frozenset[str]:
    """Spellings that are used all over Scotland, of words that have a North-East spelling."""
    return frozenset(form for entry in entries() for form in entry.wider)


@functools.cache
def glosses() -> dict[str, str]:
    """Doric word, in every spelling -> its English."""
    return {form: entry.english for entry in entries() for form in (*entry.spellings, *entry.synonyms)}


@functools.cache
def leak_weights() -> dict[str, float]:
    """English function word -> weight from 0 to 1: how certain it is that a Scots writer would replace it."""
    return {row["english"]: float(row["weight"]) for row in data.read_table("leakage.tsv")}


@functools.cache
def function_words() -> frozenset[str]:
    """Scots spellings of English function words: writers who know little Scots replace these words first."""
    return data.read_words("function_words.txt")


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
def _english_endings() -> frozenset[str]:
    return data.read_words("english_endings.txt")


@functools.cache
def _ing_nouns() -> frozenset[str]:
    return data.read_words("ing_nouns.txt")


@functools.lru_cache(maxsize=1 << 16)
def word_class(word: str) -> str:
    """The class of one lower-cased word, or "" if it has none.

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
        found = classes.get(stem) or _class_by_ending(stem)
        return found if found != "leak" or stem in ("you", "what", "who", "where", "how") else NEUTRAL
    return _class_by_ending(word)


@functools.lru_cache(maxsize=1 << 14)
def is_guess(word: str) -> bool:
    """Whether `word` counts as Scots only because of its ending, which names and medicines may have too.

    >>> is_guess("plantin"), is_guess("warfarin"), is_guess("keepit"), is_guess("table")
    (True, True, False, False)
    """
    stem = CLITIC.sub("", word)
    known = _classes().keys() & {word, stem}
    return not known and word_class(word) == "scots" and stem.endswith(GUESSED_ENDINGS) and not _class_of_stem(stem)


def _class_by_ending(word: str) -> str:
    if len(word) <= SHORTEST_STEM or not word.isalpha() or word in _english_endings():
        return NEUTRAL
    if word.endswith("ing"):
        return NEUTRAL if word in _ing_nouns() else "leak"
    if word.endswith("nae"):
        return "central"
    if found := _class_of_stem(word):
        return found
    return "scots" if word.endswith(GUESSED_ENDINGS) else NEUTRAL


def _class_of_stem(word: str) -> str:
    """The class of the listed word that `word` is an inflected form of, or ""."""
    return _classes().get(listed_stem(word), NEUTRAL)


def listed_stem(word: str) -> str:
    """The listed word that `word` is taken for an inflected form of, or "".

    >>> listed_stem("cweelest"), listed_stem("table")
    ('cweel', '')
    """
    classes = _classes()
    for ending in ENDINGS:
        if word.endswith(ending):
            stem, least = word.removesuffix(ending), SHORTEST_STEM + (ending != "s")
            stems = (stem + "e", stem) if ending[0] in "ei" else (stem,)
            found = next((stem for stem in stems if stem in classes and len(stem) >= least), "")
            if classes.get(found, NEUTRAL) not in (NEUTRAL, "leak", "context", "na"):
                return found
    return ""
