"""Where a word or a sentence stands in the language data, and how often a dataset has it."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from doric import data
from doric.core import text as texts
from doric.core.conversations import as_messages
from doric.core.jsonl import read_jsonl
from doric.lint import asks, minimal_pairs
from doric.lint.source import Source
from doric.lint.spelling import PROMPTS, doric_lines
from doric.lint.words import Sources, entry_forms, spellings

SLOT = re.compile(r"\\\{\w+\\\}")
ENDS = re.compile(r"[\s.!?…]+$")
SLOTS = re.compile(r"\{\w+\}")
SHORTEST_MODEL = 15
"""A line with fewer characters outside its slots would be the model of any sentence."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file that has the word or the sentence. `drawn` counts the rows of a dataset that have this line.

    It is None for the lines of tables and lists, and if no dataset was given.
    """

    file: str
    line: int
    text: str
    drawn: int | None = None


def where(sources: Sources, wanted: str, rows: Path | str | None = None) -> list[Place]:
    """All places of a word in tables, lists and texts, or of a sentence, or a part of it, in texts.

    Texts are the authored Doric, and the questions and prompts in any language.
    A sentence from a dataset is found too if it was made from a line with {topic}. Raises `InputError` if the dataset
    `rows` cannot be read.
    """
    turns = list(_rows(rows)) if rows is not None else None
    found = list(_in_tables(sources, wanted)) if len(texts.words(wanted)) == 1 else []
    test = _test(wanted)
    for source, number, text in _texts(sources):
        if test(text):
            found.append(Place(source.name, number, text, _drawn(text, turns)))
    if source := sources.get(minimal_pairs.FILE):
        listed = {place.line for place in found if place.file == source.name}
        rights = ((row.line, row.cells["right"]) for row in source.rows if row.line not in listed)
        found += [Place(source.name, line, right) for line, right in rights if test(right)]
    return found


def _texts(sources: Sources) -> Iterator[tuple[Source, int, str]]:
    for line in doric_lines(sources):
        if not line.source.name.startswith(PROMPTS) or line.source.name.endswith(".tsv"):
            yield line.source, line.line, line.text
    for name, source in sources.items():
        if name.startswith(PROMPTS) and name.endswith(".toml"):
            yield from ((source, number, text) for number, text in source.strings)
    if source := sources.get(asks.LINES):
        yield from ((source, row.line, row.cells["english"]) for row in source.rows)


def report(sources: Sources, wanted: str, rows: Path | str | None = None) -> tuple[list[str], bool]:
    """The places as lines for people, and whether there is any. Raises `InputError` as `where` does."""
    found = where(sources, wanted, rows)
    lines = [f"{data.shown(place.file)}:{place.line}: {place.text}{_times(place.drawn)}" for place in found]
    if not found:
        lines.append("No line of the data has this. --say explains how a sentence is read.")
    elif rows is not None and any(place.drawn == 0 for place in found):
        lines.append("A line that was not drawn needs more rows per topic (--n-per-topic 24), or another --seed.")
        lines.append("If its topic is not in topics.json, generate with --topics topics.txt.")
    return lines, bool(found)


def _times(drawn: int | None) -> str:
    return "" if drawn is None else f" ({drawn:,} {'row' if drawn == 1 else 'rows'})"


def _rows(rows: Path | str) -> Iterator[str]:
    """What user and assistant say in each row, folded."""
    for _, row in read_jsonl(rows, convert=as_messages):
        yield texts.fold(" ".join(turn["content"] for turn in row["messages"]))


def _drawn(text: str, turns: Sequence[str] | None) -> int | None:
    if turns is None:
        return None
    if "{" not in text:  # much faster than a pattern
        whole = ENDS.sub("", texts.fold(text))
        return sum(whole in said for said in turns)
    pattern = re.compile(_pattern(text))
    return sum(pattern.search(said) is not None for said in turns)


def _test(wanted: str) -> Callable[[str], bool]:
    """Whether a line has the wanted words, or was the model of the wanted sentence."""
    pattern, folded = _whole(wanted), texts.fold(wanted)

    def matches(line: str) -> bool:
        if pattern.search(texts.fold(line)):
            return True
        says_something = "{" in line and len(SLOTS.sub("", line)) >= SHORTEST_MODEL
        return says_something and re.search(_pattern(line), folded) is not None

    return matches


def _whole(wanted: str) -> re.Pattern[str]:
    """A pattern for the wanted words as whole words; a full stop at the end may be missing."""
    words = ENDS.sub("", texts.fold(wanted))
    return re.compile(rf"(?<!\w){re.escape(words)}(?!\w)")


def _pattern(line: str) -> str:
    """The regular expression of an authored line, folded, with anything in its slots."""
    words = re.escape(ENDS.sub("", texts.fold(line)))
    return rf"(?<!\w){SLOT.sub('.{1,200}?', words)}(?!\w)"


# ---- tables and lists


def _in_tables(sources: Sources, wanted: str) -> Iterator[Place]:
    word = wanted.strip().lower()
    for name, source in sources.items():
        if name.endswith(".tsv") and not name.startswith("multilingual/"):
            yield from _in_table(source, word)
        elif name in ("collisions.toml", "spelling.toml", "instructions.toml"):
            yield from _in_lines(source, word)
        elif name.endswith(".txt"):
            lines = {number: source.lines[number - 1] for number, listed in source.words if listed == word}
            yield from (Place(name, number, line) for number, line in lines.items())


def _in_table(source: Source, word: str) -> Iterator[Place]:
    for row in source.rows:
        cells = list(row.cells.values())
        forms = {*cells[:2], *texts.words(" ".join(cells[:2]))}
        if source.name == "lexicon.tsv":
            forms = {*entry_forms(row), *spellings(row, "synonyms"), *texts.words(" ".join(cells[:2]))}
        if word in forms:
            yield Place(source.name, row.line, " | ".join(filter(None, cells)))


def _in_lines(source: Source, word: str) -> Iterator[Place]:
    for number, line in enumerate(source.lines, 1):
        if word in texts.words(line):
            yield Place(source.name, number, line.strip())
