"""Topic lists that are tables: CSV and TSV, as spreadsheets write them."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from doric.core.errors import InputError

DELIMITERS = ",;\t|"
TOPIC = ("topic", "topics")
OTHER_NAMES = ("text", "title", "titles", "name", "subject", "question", "prompt", "id", "value", "content")
"""Names of columns that are no topics. As the only column of a table they are probably its header."""
GROUP = ("group", "groups", "category")
SEPARATOR_LINE = re.compile(r"\Asep=(.)\r?\n", re.IGNORECASE)
"""Excel writes the separator in the first line."""
HEADER_HINT = "Begin the file with a header: topic, or group,topic. Other columns are ignored."


def has_columns(text: str) -> bool:
    """Whether a line has a separator of columns. Otherwise the file is a plain list, with or without a header."""
    has_name = not {*TOPIC, *OTHER_NAMES}.isdisjoint(_names(_header(text), ","))
    return has_name or any(char in text for char in DELIMITERS)


def is_header(line: str) -> bool:
    """Whether a line is a header that names the column of the topics."""
    return any(_has_topic(line, char) for char in DELIMITERS)


def read_table(text: str, path: Path | str) -> Iterator[tuple[int, str, str]]:
    """Yields (line, group, topic) for each row that is not blank; the group is "" if there is none.

    Raises `InputError` with file and line.
    """
    first = 1
    given = SEPARATOR_LINE.match(text)
    if given:
        text, first = text[given.end() :], 2
    header = _header(text)
    delimiter = given[1] if given else max(DELIMITERS, key=lambda char: (_has_topic(header, char), header.count(char)))
    names = _names(header, delimiter)
    if twice := next((name for name in (*TOPIC, *GROUP) if names.count(name) > 1), None):
        raise InputError(f"there are two columns {twice}", file=path, line=first, hint="Remove or rename one of them.")
    topic, group = (next((names.index(name) for name in known if name in names), None) for known in (TOPIC, GROUP))
    if topic is None:
        raise InputError("the first line does not name a column topic", file=path, line=first, hint=HEADER_HINT)
    rows = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    before = first
    try:
        for at, row in enumerate(rows):
            if at and any(map(str.strip, row)):
                if len(row) != len(names):
                    what = f"{len(row)} columns, but the header has {len(names)}"
                    hint = "Put a topic with the separator in quotation marks."
                    raise InputError(what, file=path, line=before, hint=hint)
                yield before, row[group] if group is not None else "", row[topic]
            before = first + rows.line_num
    except csv.Error as error:
        hint = "Is a quotation mark missing?"
        raise InputError(f"not a row of a table: {error}", file=path, line=before, hint=hint) from None


def _header(text: str) -> str:
    return (text.splitlines() or [""])[0]


def _has_topic(header: str, delimiter: str) -> bool:
    return bool(set(TOPIC) & set(_names(header, delimiter)))


def _names(header: str, delimiter: str) -> list[str]:
    return [name.strip().strip("\"'").strip().lower() for name in header.split(delimiter)]
