"""Genuine text of speakers for the blind sample, cut into passages."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from doric.core import text as texts
from doric.core.errors import InputError
from doric.core.text import counted
from doric.dataset.text_files import WORD, read_any_text, read_docx, text_files

TABLE = (".csv",)
COLUMN = "text"
PASSAGE = 400
"""Passages have about so many characters."""
LEAST_WORDS = 6
"""A shorter passage is a heading or a name: nobody can tell how it sounds."""
SENTENCES = 0.8
"""If so many lines of a file without empty lines end like sentences, each line is a text of its own."""
CLOSED = re.compile(r"[.!?…][\"'”’)]*$")
PARAGRAPH_END = re.compile(r"\n\s*\n")
READABLE = "Give a .txt, .md, .docx or .csv file, or a folder of them."


@dataclass(frozen=True, slots=True)
class Genuine:
    """The passages of speakers as (file, passage), and notes about what was left out."""

    passages: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


def read_genuine(path: Path) -> Genuine:
    """The passages of a file, or of the files in a folder. Raises `InputError`.

    A .txt, .md or .docx file has paragraphs, or one text on each line. A .csv file has a column "text".
    """
    found, others = text_files(path)
    tables = [each for each in others if each.suffix.lower() in TABLE]
    notes = [f"left out, because it is not .txt, .md, .docx or .csv: {each}" for each in others if each not in tables]
    passages: list[tuple[str, str]] = []
    for file in sorted([*found, *tables]):
        cut = [passage for text in _texts(file) for passage in _passages(text)]
        kept = [passage for passage in cut if len(passage.split()) >= LEAST_WORDS]
        if short := len(cut) - len(kept):
            notes.append(f"{file}: {counted(short, 'passage')} of fewer than {LEAST_WORDS} words left out")
        passages += [(file.name, passage) for passage in kept]
    if not passages:
        hint = f"Each needs {LEAST_WORDS} words or more. {READABLE}" if found or tables else READABLE
        raise InputError("it has no passages to read", file=path, hint=hint)
    if twice := sum(times - 1 for times in Counter(text for _, text in passages).values()):
        notes.append(f"{counted(twice, 'passage')} left out that another one repeats")
    return Genuine(tuple({text: (file, text) for file, text in passages[::-1]}.values())[::-1], tuple(notes))


def _texts(path: Path) -> list[str]:
    """The texts of a file: its rows, paragraphs or lines."""
    if path.suffix.lower() in WORD:
        return [one.text for one in read_docx(path) if not one.is_heading]
    text, _ = read_any_text(path)
    if path.suffix.lower() in TABLE:
        return list(_rows(text, path))
    lines = [line.strip() for line in text.strip().split("\n")]
    ends = sum(bool(CLOSED.search(line)) for line in lines)
    return lines if all(lines) and ends >= SENTENCES * len(lines) else PARAGRAPH_END.split(text)


def _rows(text: str, path: Path) -> Iterator[str]:
    """The cells of the column "text", or of the only column. Raises `InputError`."""
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        head = next(rows, [])
        names = [name.strip().lower() for name in head]
        if COLUMN not in names and len(names) != 1:
            hint = f'Call the column with the texts "{COLUMN}", in the first line.'
            raise InputError(f'it has no column "{COLUMN}"', file=path, line=1, hint=hint)
        at = names.index(COLUMN) if COLUMN in names else 0
        if COLUMN not in names:
            yield head[0]
        for row in rows:
            if row and len(row) != len(names):
                reason = f"this row has {counted(len(row), 'cell')} instead of {len(names)}"
                hint = "Put texts with commas in quotation marks; a spreadsheet does that when it saves .csv."
                raise InputError(reason, file=path, line=rows.line_num, hint=hint)
            yield row[at] if row else ""
    except csv.Error as error:
        hint = "Open it in a spreadsheet and save it again as .csv."
        raise InputError(f"this is not CSV: {error}", file=path, line=rows.line_num, hint=hint) from error


def _passages(text: str) -> Iterator[str]:
    """The text, cut at ends of sentences into passages of about `PASSAGE` characters."""
    passage = ""
    for sentence in texts.sentences(" ".join(text.split())):
        passage = f"{passage} {sentence}".strip()
        if len(passage) >= PASSAGE:
            yield passage
            passage = ""
    if passage:
        yield passage
