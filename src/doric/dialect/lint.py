"""Checks of the language data: unreadable files, malformed lines, duplicates, and sentences that are not Doric.

Each result is a `Finding` with file and line. Errors must be fixed. Warnings are based on the word lists, and a speaker
may ignore them. The files are read again, without the rest of the library. So a broken file is reported and does not
stop the check.
"""

import itertools
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from doric import data
from doric.core import text as texts
from doric.dialect.lexicon import house_forms
from doric.dialect.scores import score

CLASSES = ("context", "na", "ne", "phrase", "scots", "shared")
STRENGTHS = ("strong", "weak")
TABLES = {"lexicon.tsv": 7, "central.tsv": 3, "leakage.tsv": 3, "renderings.tsv": 2}
"""Table -> its number of columns."""
TITLE_COLUMNS = 15
"""Columns of the tables in multilingual/."""
HELD_OUT_KEYS = ("id", "bucket", "lang", "group", "prompt")
"""The strings that every line of heldout.jsonl must have."""
PATTERN_TABLES = ("markup", "meta", "refusal")
"""The tables of gates.toml whose lists are regular expressions."""
SCORING_FILES = {*TABLES, "collisions.toml"}
"""The files that `score` reads, in addition to the word lists (*.txt)."""
FEW_SCOTS = 0.15
"""A sentence with a smaller share of Scots words gets a warning."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem on one line of a data file (`line` 0: unknown). It is an error or a warning."""

    file: str
    line: int
    text: str
    reason: str
    is_error: bool


def lint() -> Iterator[Finding]:
    """All findings: `lint_files`, and then `lint_sentences` if the files that scoring needs have no errors."""
    found = list(lint_files())
    yield from found
    if not any(finding.file in SCORING_FILES or finding.file.endswith(".txt") for finding in found):
        yield from lint_sentences(["general.toml", "holds.toml", "refusals.toml", *data.names("phrases", ".toml")])


# ---- the form of the files


def lint_files() -> Iterator[Finding]:
    """Data files that cannot be read, and malformed or duplicate entries. All of them are errors."""
    for name, columns in TABLES.items():
        yield from _table(name, columns)
    for name in data.names("multilingual", ".tsv"):
        yield from _columns(name, TITLE_COLUMNS)
    for name in [*data.names("", ".toml"), *data.names("phrases", ".toml")]:
        if isinstance(found := _parsed(name), Finding):
            yield found
        elif name == "gates.toml":
            yield from _patterns(name, found)
    for name in data.names("", ".txt"):
        if isinstance(found := _lines(name), Finding):
            yield found
    yield from _held_out("heldout.jsonl")


def _lines(name: str) -> list[str] | Finding:
    """The lines of a file, or why it cannot be read."""
    try:
        raw = (data.FOLDER / name).read_bytes()
        text = raw.decode()
    except OSError as error:
        return Finding(name, 0, "", f"cannot read the file: {(error.strerror or str(error)).lower()}", True)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        return Finding(name, line, "", "not UTF-8 text: save the file as UTF-8", True)
    if text.startswith("\ufeff"):
        return Finding(name, 1, "", "the file begins with a byte-order mark: save it as UTF-8 without one", True)
    return text.splitlines()


def _parsed(name: str) -> dict[str, Any] | Finding:
    """The content of a TOML file, or why it cannot be read."""
    if isinstance(found := _lines(name), Finding):
        return found
    try:
        return tomllib.loads("\n".join(found))
    except tomllib.TOMLDecodeError as error:
        # An error without a line number is at the end of the file.
        number = error.args[0].rpartition("(at line ")[2].partition(",")[0]
        line = int(number) if number.isdigit() else len(found)
        shown = found[line - 1].strip()[:60] if 0 < line <= len(found) else ""
        hint = "Look for a missing comma, quotation mark or bracket here or just above"
        return Finding(name, line, shown, f"cannot read the file: {error}. {hint}", True)


def _columns(name: str, columns: int) -> Iterator[Finding]:
    found = _lines(name)
    if isinstance(found, Finding):
        yield found
        return
    for number, line in enumerate(found, 1):
        if (count := line.count("\t") + 1) != columns:
            reason = (
                f"{count} {'column' if count == 1 else 'columns'} instead of {columns}: put one tab between two cells"
            )
            yield Finding(name, number, line[:60], reason, True)


def _table(name: str, columns: int) -> Iterator[Finding]:
    yield from _columns(name, columns)
    found = _lines(name)
    seen: dict[str, int] = {}
    for number, line in enumerate([] if isinstance(found, Finding) else found, 1):
        cells = line.split("\t")
        if (first := seen.setdefault(cells[0].lower(), number)) != number:
            yield Finding(name, number, cells[0], f"duplicate of line {first}", True)
        if number > 1 and len(cells) == columns and (reason := _bad_cell(name, cells)):
            yield Finding(name, number, cells[0], reason, True)


def _bad_cell(name: str, cells: list[str]) -> str:
    """What is wrong with a cell that allows only certain values, or ""."""
    match name:
        case "lexicon.tsv" if cells[2] not in CLASSES:
            return f"unknown class '{cells[2]}': write one of {', '.join(CLASSES)}"
        case "central.tsv" if cells[2] not in STRENGTHS:
            return f"unknown strength '{cells[2]}': write one of {', '.join(STRENGTHS)}"
        case "leakage.tsv" if not _is_share(cells[2]):
            return f"the weight is '{cells[2]}': write a number from 0 to 1"
    return ""


def _is_share(cell: str) -> bool:
    try:
        return 0 <= float(cell) <= 1
    except ValueError:
        return False


def _patterns(name: str, spec: dict[str, Any]) -> Iterator[Finding]:
    lines = _lines(name)
    for pattern in itertools.chain.from_iterable(
        itertools.chain(*(spec.get(table, {}).values() for table in PATTERN_TABLES))
    ):
        try:
            re.compile(pattern, re.MULTILINE)
        except re.error as error:
            spellings = (pattern, pattern.replace("\\", "\\\\").replace('"', '\\"'))
            rows = [] if isinstance(lines, Finding) else lines
            number = next((at for at, line in enumerate(rows, 1) if any(one in line for one in spellings)), 0)
            yield Finding(name, number, pattern[:60], f"not a valid regular expression: {error}", True)


def _held_out(name: str) -> Iterator[Finding]:
    found = _lines(name)
    if isinstance(found, Finding):
        yield found
        return
    seen: dict[str, int] = {}
    for number, line in enumerate(found, 1):
        if not line:
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            yield Finding(name, number, line[:60], f"not valid JSON: {error.msg} (column {error.colno})", True)
            continue
        missing = [key for key in HELD_OUT_KEYS if not (isinstance(row, dict) and isinstance(row.get(key), str))]
        if missing:
            yield Finding(name, number, line[:60], f"missing or not a string: {', '.join(missing)}", True)
        elif (first := seen.setdefault(row["id"], number)) != number:
            yield Finding(name, number, row["id"], f"duplicate id, first used on line {first}", True)


# ---- the sentences


def lint_sentences(files: Iterable[str]) -> Iterator[Finding]:
    """Duplicate sentences and Central Scots forms (errors); English words and too few Scots words (warnings)."""
    seen: dict[str, str] = {}
    for name in files:
        spec, lines = _parsed(name), _lines(name)
        if isinstance(spec, Finding) or isinstance(lines, Finding):
            continue
        numbers = {line.strip().rstrip(",").strip('"'): number for number, line in enumerate(lines, 1)}
        for sentence in _sentences(spec):
            number = numbers.get(sentence.replace('"', '\\"'), 0)
            place = f"{name}, line {number}"
            if (first := seen.setdefault(texts.fold(sentence), place)) != place:
                yield Finding(name, number, sentence, f"duplicate of {first}", True)
            yield from _not_doric(name, number, sentence)


def _sentences(value: object) -> Iterator[str]:
    """The strings of a TOML value that end like a sentence."""
    match value:
        case str() if texts.ends_sentence(value) and " " in value:
            yield value
        case list():
            yield from itertools.chain.from_iterable(map(_sentences, value))
        case dict():
            yield from itertools.chain.from_iterable(map(_sentences, value.values()))


def _not_doric(name: str, number: int, sentence: str) -> Iterator[Finding]:
    scores = score(sentence.replace("{topic}", ""))
    if central := scores.tokens_of("central", "central_weak"):
        yield Finding(name, number, sentence, f"Central Scots: {_with_house_forms(central)}", True)
    if leaks := scores.tokens_of("leak"):
        yield Finding(name, number, sentence, f"English words: {_with_house_forms(leaks)}", False)
    elif scores.substrate < FEW_SCOTS:
        yield Finding(name, number, sentence, f"only {scores.substrate:.0%} of the words are Scots", False)


def _with_house_forms(words: Iterable[str]) -> str:
    houses = house_forms()
    return ", ".join(f"{word} (write {houses[word]})" if word in houses else word for word in words)
