"""Proofreading the language data: each line that is wrong, or looks so, with its file, its line and the reason.

Knows the lexicon's opinion of a sentence, which a speaker may overrule: a doubt is no fault.
"""

import itertools
from collections.abc import Iterable, Iterator

from doric import data
from doric.core import text as texts
from doric.dialect.lexicon import house_forms
from doric.dialect.lint import TABLES, Note, lines, parsed, slips
from doric.dialect.scores import profile

MEASURES = {*TABLES, "collisions.toml"}
"""The files that a sentence is measured by, beside the lists of words."""
THIN = 0.15
"""A single sentence with fewer Scots words than this is worth a second look."""


def notes() -> Iterator[Note]:
    """Everything there is to say about the data; sentences only once the words they are read by are whole."""
    found = list(slips())
    yield from found
    if not any(note.file in MEASURES or note.file.endswith(".txt") for note in found):
        yield from _sentences(["general.toml", "holds.toml", "refusals.toml", *data.names("phrases", ".toml")])


def _sentences(files: Iterable[str]) -> Iterator[Note]:
    seen: dict[str, str] = {}
    for name in files:
        spec, written = parsed(name), lines(name)
        if isinstance(spec, Note) or isinstance(written, Note):
            continue
        numbers = {line.strip().rstrip(",").strip('"'): number for number, line in enumerate(written, 1)}
        for sentence in _strings(spec):
            number = numbers.get(sentence.replace('"', '\\"'), 0)
            place = f"{name}, line {number}"
            if (first := seen.setdefault(texts.fold(sentence), place)) != place:
                yield Note(name, number, sentence, f"it stands in {first} already", True)
            yield from _opinions(name, number, sentence)


def _strings(value: object) -> Iterator[str]:
    """The authored sentences in a file: whatever ends as one."""
    match value:
        case str() if texts.finished(value) and " " in value:
            yield value
        case list():
            yield from itertools.chain.from_iterable(map(_strings, value))
        case dict():
            yield from itertools.chain.from_iterable(map(_strings, value.values()))


def _opinions(name: str, number: int, sentence: str) -> Iterator[Note]:
    measured = profile(sentence.replace("{topic}", ""))
    if central := measured.tokens_of("central", "central_weak"):
        yield Note(name, number, sentence, f"not of the North-East: {_instead(central)}", True)
    if leaks := measured.tokens_of("leak"):
        yield Note(name, number, sentence, f"English left in it: {_instead(leaks)}", False)
    elif measured.substrate < THIN:
        yield Note(name, number, sentence, f"only {measured.substrate:.0%} of its words are Scots", False)


def _instead(words: Iterable[str]) -> str:
    houses = house_forms()
    return ", ".join(f"{word} (the house writes {houses[word]})" if word in houses else word for word in words)
