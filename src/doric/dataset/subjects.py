"""What asks with slots are about: words of the lexicon, sums, and lines with their English.

All of it is true by construction: a word has the one meaning that `lexicon.tsv` gives it, a sum is computed, and a line
has the English that stands beside it in `data/asks/lines.tsv`.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from doric import data
from doric.dialect.lexicon import Entry, entries, leak_weights

SLOTS = {
    "": (),
    "lexicon": ("doric", "english"),
    "sums": ("sum", "result", "check"),
    "lines": ("line", "answer", "doric", "english"),
}
"""Source of subjects -> the slots that they fill; "" for asks without subjects. A capital begins a sentence."""
CLASSES = ("ne", "shared", "scots")
CONTENT_WORDS = ("n", "v", "adj", "adv")
INFLECTIONS = ("s", "es", "ies", "d", "ed", "ing", "er", "est")
VERB_ENDINGS = (("ing", "in"), ("s", "s"))
"""The endings of a verb that is inflected, in English and in Doric."""
SAME_STEM = 2
"""Two words with so many equal first letters, one of which is inflected in English, count as forms of one word."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What one ask is about: the name that its row has, the values of its slots, and a word's part of speech."""

    name: str
    values: dict[str, str]
    part_of_speech: str = ""


@functools.cache
def subjects(source: str) -> tuple[Subject, ...]:
    """All subjects of a source ("lexicon", "sums" or "lines"), each once."""
    made = {"lexicon": _words, "sums": _sums, "lines": _lines}[source]()
    return tuple(Subject(name, _with_capitals(values), part) for name, values, part in made)


def _with_capitals(values: dict[str, str]) -> dict[str, str]:
    return values | {slot.capitalize(): value[:1].upper() + value[1:] for slot, value in values.items()}


type Made = Iterator[tuple[str, dict[str, str], str]]


# ---- words


def _words() -> Made:
    meanings = Counter(entry.english for entry in entries())
    rude = data.read_words("insults.txt")
    for entry in entries():
        if _is_clear(entry, meanings) and not rude & {*entry.spellings, *entry.synonyms} and not _is_inflected(entry):
            yield entry.doric, {"doric": entry.doric, "english": entry.english}, entry.part_of_speech


def _is_clear(entry: Entry, meanings: Counter[str]) -> bool:
    """Whether a word is one content word with one meaning, which no other word has."""
    doric, english = entry.doric, entry.english
    plain = doric.isalpha() and doric.islower() and english.isalpha() and english.islower() and doric != english
    known = entry.kind in CLASSES and entry.part_of_speech in CONTENT_WORDS
    return plain and known and meanings[english] == 1 and english not in leak_weights()


@functools.cache
def _by_meaning() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in entries():
        for gloss in entry.english.split("; "):
            found.setdefault(gloss, []).append(entry.doric)
    return found


def _is_inflected(entry: Entry) -> bool:
    """Whether a word is a plural, a participle or the like: its ending says so, or the lexicon has it without one."""
    if entry.part_of_speech == "v" and any(_ends_in(entry, *endings) for endings in VERB_ENDINGS):
        return True
    return any(
        word != entry.doric and word[:SAME_STEM] == entry.doric[:SAME_STEM]
        for base in _bases(entry.english) for word in _by_meaning().get(base, ())
    )  # fmt: skip


def _ends_in(entry: Entry, english: str, doric: str) -> bool:
    return entry.english.endswith(english) and entry.doric.endswith(doric)


def _bases(english: str) -> Iterator[str]:
    for ending in INFLECTIONS:
        if english.endswith(ending) and len(stem := english.removesuffix(ending)) > SAME_STEM:
            yield from (stem, stem + "e", stem + "y")
            if stem[-1] == stem[-2]:
                yield stem[:-1]


# ---- sums


def _sums() -> Made:
    for text, result, check in itertools.chain(_added(), _subtracted(), _multiplied(), _divided(), _shares()):
        yield text, {"sum": text, "result": in_words(result), "check": check}, ""


type Sum = tuple[str, int, str]
"""A sum, its result, and a sentence without its end that shows how to check it."""


def _added() -> Iterator[Sum]:
    return ((f"{a} + {b}", a + b, _less(a + b, b, a)) for a in range(17, 99, 3) for b in range(14, 97, 7))


def _subtracted() -> Iterator[Sum]:
    return ((f"{a + b} - {a}", b, _more(a, b)) for a in range(13, 90, 4) for b in range(16, 90, 6))


def _multiplied() -> Iterator[Sum]:
    return ((f"{a} x {b}", a * b, _parted(a * b, b, a)) for a in range(3, 13) for b in range(a, 25))


def _divided() -> Iterator[Sum]:
    return ((f"{a * b} / {a}", b, _times(a, b)) for a in range(3, 13) for b in range(a + 1, 25))


def _shares() -> Iterator[Sum]:
    parts = ((part, of) for part in (5, 10, 15, 20, 25, 50, 75) for of in range(20, 401, 20))
    return ((f"{part}% of {of}", part * of // 100, _share(part)) for part, of in parts if part * of % 100 == 0)


def _less(whole: int, part: int, left: int) -> str:
    return f"{in_words(whole)} less {in_words(part)} is {in_words(left)}"


def _more(a: int, b: int) -> str:
    return f"{in_words(a)} an {in_words(b)} maks {in_words(a + b)}"


def _parted(whole: int, parts: int, size: int) -> str:
    return f"{in_words(whole)} in {in_words(parts)} pairts is {in_words(size)} tae ilka een"


def _times(a: int, b: int) -> str:
    return f"{in_words(a)} times {in_words(b)} maks {in_words(a * b)}"


def _share(part: int) -> str:
    return f"it means {in_words(part)} oot o ilka hunner"


@functools.cache
def _numbers() -> dict[int, str]:
    return {int(row["number"]): row["doric"] for row in data.read_table("asks/numbers.tsv")}


def in_words(number: int) -> str:
    """A number from 1 to 999,999 in Doric.

    >>> in_words(144), in_words(21), in_words(1206)
    ('a hunner an forty-fower', 'twinty-een', 'a thoosan twa hunner an sax')
    """
    words = _numbers()
    for unit in (1000, 100):
        if number >= unit:
            many, rest = divmod(number, unit)
            head = f"{'a' if many == 1 else in_words(many)} {words[unit]}"
            joined = " " if rest >= 100 else " an "
            return head + (joined + in_words(rest) if rest else "")
    if number in words:
        return words[number]
    return f"{words[number // 10 * 10]}-{words[number % 10]}"


# ---- lines


def _lines() -> Made:
    for row in data.read_table("asks/lines.tsv"):
        doric, english = row["doric"], row["english"]
        yield "", {"line": english, "answer": doric, "doric": doric, "english": english}, ""
