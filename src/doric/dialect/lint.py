"""What keeps a file of the language data from being read: lost tabs and quotation marks, by file and line.

Reads the files anew and as they lie, with no other room's help, so that a slip in one of them stops nobody from telling
of it. Knows what a file must look like, nothing of what it says.
"""

import itertools
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from doric import data

CLASSES = ("context", "na", "ne", "phrase", "scots", "shared")
STRENGTHS = ("strong", "weak")
TABLES = {"lexicon.tsv": 7, "central.tsv": 3, "leakage.tsv": 3, "renderings.tsv": 2}
"""Table -> how many columns it has."""
TITLE_COLUMNS = 15
HELD = ("id", "bucket", "lang", "group", "prompt")
"""What every line of heldout.jsonl says, in words."""
PATTERNS = ("markup", "meta", "refusal")
"""The parts of gates.toml whose lists are patterns."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something about one line of a file; `fault` when it must be mended, else a speaker decides."""

    file: str
    line: int
    text: str
    why: str
    fault: bool


def slips() -> Iterator[Note]:
    """Every slip in every file of the data."""
    for name, columns in TABLES.items():
        yield from _table(name, columns)
    for name in data.names("multilingual", ".tsv"):
        yield from _columns(name, TITLE_COLUMNS)
    for name in [*data.names("", ".toml"), *data.names("phrases", ".toml")]:
        if isinstance(found := parsed(name), Note):
            yield found
        elif name == "gates.toml":
            yield from _patterns(name, found)
    for name in data.names("", ".txt"):
        if isinstance(found := lines(name), Note):
            yield found
    yield from _held("heldout.jsonl")


def lines(name: str) -> list[str] | Note:
    """The lines of a file, or what keeps it from being read."""
    try:
        raw = (data.FOLDER / name).read_bytes()
        text = raw.decode()
    except OSError as error:
        return Note(name, 0, "", f"it cannot be read: {(error.strerror or str(error)).lower()}", True)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        return Note(name, line, "", "it is not UTF-8 text: save it as UTF-8", True)
    if text.startswith("\ufeff"):
        return Note(name, 1, "", "it begins with a byte-order mark: save it as UTF-8 without one", True)
    return text.splitlines()


def parsed(name: str) -> dict[str, Any] | Note:
    """What a TOML file holds, or what keeps it from being read."""
    if isinstance(found := lines(name), Note):
        return found
    try:
        return tomllib.loads("\n".join(found))
    except tomllib.TOMLDecodeError as error:
        # an error that names no line is at the end of the file
        number = error.args[0].rpartition("(at line ")[2].partition(",")[0]
        line = int(number) if number.isdigit() else len(found)
        shown = found[line - 1].strip()[:60] if 0 < line <= len(found) else ""
        why = f"it cannot be read: {error}. A comma, a quotation mark or a bracket is missing there or just above"
        return Note(name, line, shown, why, True)


def _columns(name: str, columns: int) -> Iterator[Note]:
    found = lines(name)
    if isinstance(found, Note):
        yield found
        return
    for number, line in enumerate(found, 1):
        if (count := line.count("\t") + 1) != columns:
            why = f"it has {count} columns, not {columns}: put one tab between two cells"
            yield Note(name, number, line[:60], why, True)


def _table(name: str, columns: int) -> Iterator[Note]:
    yield from _columns(name, columns)
    found = lines(name)
    seen: dict[str, int] = {}
    for number, line in enumerate([] if isinstance(found, Note) else found, 1):
        cells = line.split("\t")
        if (first := seen.setdefault(cells[0].lower(), number)) != number:
            yield Note(name, number, cells[0], f"it stands on line {first} already", True)
        if number > 1 and len(cells) == columns and (why := _odd(name, cells)):
            yield Note(name, number, cells[0], why, True)


def _odd(name: str, cells: list[str]) -> str:
    """What is wrong with the cell of a row that may hold certain words only, "" for nothing."""
    match name:
        case "lexicon.tsv" if cells[2] not in CLASSES:
            return f"its class is '{cells[2]}', not one of {', '.join(CLASSES)}"
        case "central.tsv" if cells[2] not in STRENGTHS:
            return f"its strength is '{cells[2]}', not one of {', '.join(STRENGTHS)}"
        case "leakage.tsv" if not _is_share(cells[2]):
            return f"its weight is '{cells[2]}', not a number from 0 to 1"
    return ""


def _is_share(cell: str) -> bool:
    try:
        return 0 <= float(cell) <= 1
    except ValueError:
        return False


def _patterns(name: str, spec: dict[str, Any]) -> Iterator[Note]:
    written = lines(name)
    for one in itertools.chain.from_iterable(itertools.chain(*(spec.get(part, {}).values() for part in PATTERNS))):
        try:
            re.compile(one, re.MULTILINE)
        except re.error as error:
            ways = (one, one.replace("\\", "\\\\").replace('"', '\\"'))
            rows = [] if isinstance(written, Note) else written
            number = next((at for at, line in enumerate(rows, 1) if any(way in line for way in ways)), 0)
            yield Note(name, number, one[:60], f"it is no pattern: {error}", True)


def _held(name: str) -> Iterator[Note]:
    found = lines(name)
    if isinstance(found, Note):
        yield found
        return
    seen: dict[str, int] = {}
    for number, line in enumerate(found, 1):
        if not line:
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            yield Note(name, number, line[:60], f"it is not JSON: {error.msg} (column {error.colno})", True)
            continue
        lacking = [key for key in HELD if not (isinstance(row, dict) and isinstance(row.get(key), str))]
        if lacking:
            yield Note(name, number, line[:60], f"it lacks {', '.join(lacking)}", True)
        elif (first := seen.setdefault(row["id"], number)) != number:
            yield Note(name, number, row["id"], f"its id stands on line {first} already", True)
