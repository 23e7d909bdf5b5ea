"""A data file in the form in which it is checked: its lines, its parsed content, and where each entry is."""

import functools
import itertools
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from doric import data

TOML_STRING = re.compile(r"""'''|\"""|"(?:[^"\\]|\\.)*"|'[^']*'""")
SHOWN = 60
"""Maximum characters of a line that a finding shows."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem on one line of a data file (`line` 0: the file as a whole). It is an error or a warning.

    `file` is relative to the data folder, `reason` says what is wrong and what to write instead.
    """

    file: str
    line: int
    text: str
    reason: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table or of a JSON Lines file: its line number and its values by column or key."""

    line: int
    cells: dict[str, Any]


class Source:
    """A data file that could be read. `toml` has the tables of a TOML file, `rows` the rows of the other files."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.lines = text.replace("\r\n", "\n").split("\n")
        self.toml: dict[str, Any] = data.parse_toml("\n".join(self.lines)) if name.endswith(".toml") else {}

    @functools.cached_property
    def rows(self) -> list[Row]:
        """The rows of a table or of a JSON Lines file."""
        if self.name.endswith(".jsonl"):
            return [Row(at, json.loads(line)) for at, line in enumerate(self.lines, 1) if line.strip()]
        return [Row(at, cells) for at, cells in data.table_rows(self.lines)]

    @functools.cached_property
    def words(self) -> list[tuple[int, str]]:
        """(line number, word) for each word of a word list."""
        lines = [(at, line) for at, line in enumerate(self.lines, 1) if not line.startswith("#")]
        return [(at, word) for at, line in lines for word in line.split()]

    @functools.cached_property
    def _places(self) -> dict[str, list[int]]:
        """String of a TOML file -> the lines on which it is."""
        found: dict[str, list[int]] = {}
        for at, text in self.strings:
            found.setdefault(text, []).append(at)
        return found

    @functools.cached_property
    def strings(self) -> list[tuple[int, str]]:
        """(line number, text) for each string of a TOML file."""
        return [(at, unquoted(quoted)) for at, line in enumerate(self.lines, 1) for quoted in TOML_STRING.findall(line)]

    def line_of(self, value: object, occurrence: int = 0, *, after: int = 0) -> int:
        """The line of a string, or of the first string in a list or table; 0 if it is not found.

        `occurrence` is the number of the string among the equal strings below line `after`, from 0.
        """
        text = next(_strings(value), "")
        if places := [place for place in self._places.get(text, ()) if place > after]:
            return places[min(occurrence, len(places) - 1)]
        return self.line_with(text) if text else 0

    def line_with(self, text: str, after: int = 0) -> int:
        """The first line below line `after` that contains the first line of `text`, or 0."""
        first = text.strip().partition("\n")[0]
        return next((at for at, line in enumerate(self.lines, 1) if at > after and first in line), 0)

    def key_line(self, key: str, after: int = 0) -> int:
        """The line on which `key` is set or begins a table, below line `after`; 0 if there is none."""
        sets = re.compile(rf"""\s*(?:["']?{re.escape(key)}["']?\s*=|\[.*\b{re.escape(key)}["']?\]+)""")
        return next((at for at, line in enumerate(self.lines, 1) if at > after and sets.match(line)), 0)

    def error(self, line: int, text: str, reason: str) -> Finding:
        """An error on a line of this file."""
        return Finding(self.name, line, text, reason, True)

    def warning(self, line: int, text: str, reason: str) -> Finding:
        """A warning about a line of this file."""
        return Finding(self.name, line, text, reason, False)


def _strings(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            yield from itertools.chain.from_iterable(map(_strings, value))
        case dict():
            yield from itertools.chain.from_iterable(map(_strings, value.values()))


def unquoted(quoted: str) -> str:
    """The text of a TOML string, which is given with its quotation marks."""
    if "\\" not in quoted or quoted[0] == "'":
        return quoted[1:-1]
    try:
        return tomllib.loads(f"text = {quoted}")["text"]
    except tomllib.TOMLDecodeError:
        return quoted[1:-1]


def shown(line: str) -> str:
    """A line as a finding shows it: without white space around it, and not longer than `SHOWN` characters."""
    line = line.strip()
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
