"""The form of the files: encoding, characters, TOML and JSON, the columns of the tables.

What an editor changes without being asked is understood and not reported: a byte-order mark, Windows line ends, spaces
around a cell, removed tabs at the end of a line, blank lines.
"""

import functools
import json
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Sequence

from doric import data
from doric.core.text import JOINERS
from doric.lint.source import Finding, Source, shown

TITLE_LANGUAGES = ("es", "fr", "de", "it", "pt", "nl", "sv", "da", "pl", "el", "tr", "ar", "hi", "zh")
"""The columns of the tables in multilingual/, after the English topic."""
COLUMNS = {
    "lexicon.tsv": ("doric", "english", "class", "pos", "variants", "wider", "synonyms"),
    "central.tsv": ("central", "house", "strength"),
    "leakage.tsv": ("english", "house", "weight"),
    "renderings.tsv": ("english", "house"),
    "asks/lines.tsv": ("doric", "english"),
    "asks/numbers.tsv": ("number", "doric"),
    "minimal_pairs/pairs.tsv": ("phenomenon", "right", "wrong", "source", "note"),
}
"""Table -> its columns."""
OPTIONAL_CELLS = {
    "lexicon.tsv": {"variants", "wider", "synonyms"},
    "central.tsv": {"house"},
    "minimal_pairs/pairs.tsv": {"note"},
}
"""Table -> the columns whose cells may be empty."""
STRAIGHT = {"‘": "'", "’": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"'}
"""Curly quotation mark -> what to write instead."""
PATTERN_FILES = (
    "characters.toml", "finish_reasons.toml", "gates.toml", "judge.toml", "markers.toml", "sense.toml",
    "server_errors.toml", "topic_rules.toml",
)  # fmt: skip
"""Files with patterns of wrong characters."""
OTHER_FILES = (
    *PATTERN_FILES, "collisions.toml", "exemplars.toml", "followups.toml", "general.toml", "holds.toml",
    "instructions.toml", "prices.toml", "prompts.toml", "refusals.toml", "spelling.toml", "common_words.txt",
    "english_endings.txt", "function_words.txt", "ing_nouns.txt", "insults.txt", "little_words.txt",
    "heldout.jsonl",
)  # fmt: skip
"""The files that must exist besides the tables."""
ANY_LETTERS = (
    *PATTERN_FILES,
    "exemplars.toml",
    "multilingual/",
    "prompts.toml",
    "followups.toml",
    "heldout.jsonl",
    "common_words.txt",
)
"""Files in which patterns or other languages need curly quotation marks and other alphabets; `prompts` checks the
English frames."""
WRONG_DECODING = re.compile("â€|Ã[\x80-\xbf]|Â[\xa0-\xbf]")
"""What UTF-8 text looks like after it was read in another encoding."""
SPREADSHEET = re.compile(r'""|"[^"].*"|#[A-Z/0]+[!?]?|TRUE|FALSE|\d{1,2}-[A-Z][a-z]{2}')
"""Cells as spreadsheets write them: quoted cells, errors, truth values, dates."""
UNUSUAL = re.compile(r"[^\t -~]")
"""A character that is not of printable ASCII, nor a tab."""
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
"""A string of TOML on one line."""
WORD_AFTER = re.compile(r"\s*(\w[\w' ]*)")
MERGE_MARKS = ("<<<<<<<", "=======", ">>>>>>>")
MERGED = "a merge left both versions here: keep one of them"


def file_names() -> list[str]:
    """All files that are checked: the required files, and everything else of their kinds."""
    folders = (("", ".toml"), ("", ".txt"), ("phrases", ".toml"), ("multilingual", ".tsv"), ("asks", ".toml"))
    folders += (("review", ".toml"), ("preferences", ".toml"), ("sources", ".toml"), ("sources", ".txt"))
    found = [name for folder, suffix in folders for name in data.names(folder, suffix)]
    return list(dict.fromkeys([*COLUMNS, *OTHER_FILES, *found]))


def load(name: str) -> Source | Finding:
    """The file, or why it cannot be read."""
    try:
        raw = (data.FOLDER / name).read_bytes()
        text = raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        return Finding(name, 0, "", f"cannot read the file: {(error.strerror or str(error)).lower()}", True)
    except UnicodeDecodeError as error:
        return Finding(name, raw[: error.start].count(b"\n") + 1, "", _encoding(raw), True)
    if not text.strip():
        return Finding(name, 0, "", "the file is empty: undo the last change (git checkout), or write it again", True)
    try:
        return Source(name, text)
    except tomllib.TOMLDecodeError as error:
        return _toml_error(name, text.split("\n"), error.args[0])


def _encoding(raw: bytes) -> str:
    found = "UTF-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "another encoding"
    return f"not UTF-8 text but {found}: save the file as UTF-8"


def _toml_error(name: str, lines: list[str], message: str) -> Finding:
    # an error without a line number is at the end of the file
    what, _, place = message.partition(" (at ")
    number = place.removeprefix("line ").partition(",")[0]
    line = int(number) if number.isdigit() else _last_line(lines)
    near = "\n".join(lines[max(0, line - 2) : line])
    reason = f"cannot read the file: {what}. {_toml_hint(what, near)}"
    return Finding(name, line, shown(lines[line - 1]), reason, True)


def _last_line(lines: list[str]) -> int:
    return max((at for at, line in enumerate(lines, 1) if line.strip()), default=1)


def _toml_hint(what: str, near: str) -> str:
    if any(mark in near for mark in MERGE_MARKS):
        return "A merge left both versions here: keep one of them"
    if "overwrite" in what or "twice" in what:
        return "The same key is there twice: remove or rename one of them"
    if curly := next((char for char in near if char in STRAIGHT), ""):
        return f"There is a curly quotation mark ({curly}): write the straight one ({STRAIGHT[curly]})"
    if problem := next(filter(None, (_invisible(char) for char in near if not char.isascii())), ""):
        return f"There is {problem}"
    after = [WORD_AFTER.match(line, string.end()) for line in near.split("\n") for string in QUOTED.finditer(line)]
    if word := next(filter(None, after), None):  # "Say "aye" tae it."
        return f'For a quotation mark inside a sentence, write \\" before and after it (here: {word[1].strip()})'
    if QUOTED.sub("", near.split("\n")[-1]).count('"') == 1:
        return "There is a quotation mark too few: put one at the start and one at the end of the sentence"
    return "Look for a missing comma, quotation mark or bracket here or just above"


def check_form(source: Source) -> Iterator[Finding]:
    """Wrong characters, and malformed rows of a table or of heldout.jsonl."""
    yield from _characters(source)
    yield from _merge_marks(source)
    if source.name in COLUMNS:
        yield from _table(source, COLUMNS[source.name], OPTIONAL_CELLS.get(source.name, set()))
    elif source.name.endswith(".tsv"):
        yield from _table(source, ("topic", *TITLE_LANGUAGES), set())
    elif source.name.endswith(".jsonl"):
        yield from _json_lines(source)


# ---- characters


def _characters(source: Source) -> Iterator[Finding]:
    """One finding for each kind of wrong character, on its first line."""
    found: dict[str, list[int]] = {}
    for at, line in enumerate(source.lines, 1):
        if not line.isascii() or not line.replace("\t", "").isprintable():
            for problem in dict.fromkeys(_wrong_characters(line, source.name)):
                found.setdefault(problem, []).append(at)
    for problem, places in found.items():
        more = f" ({len(places)} lines)" if len(places) > 1 else ""
        yield source.error(places[0], shown(source.lines[places[0] - 1]), problem + more)


def _merge_marks(source: Source) -> Iterator[Finding]:
    marked = (at for at, line in enumerate(source.lines, 1) if line.startswith(MERGE_MARKS))
    if first := next(marked, 0):
        yield source.error(first, shown(source.lines[first - 1]), MERGED)


def _wrong_characters(line: str, name: str) -> Iterator[str]:
    if WRONG_DECODING.search(line) and name not in PATTERN_FILES:
        yield "letters were damaged by a wrong encoding (such as â€™ or Ã©): write them again, and save as UTF-8"
    for char in dict.fromkeys(UNUSUAL.findall(line)):
        if char in STRAIGHT and not name.startswith(ANY_LETTERS):
            yield f"curly quotation mark {char}: write the straight one {STRAIGHT[char]}"
        elif problem := _invisible(char) or ("" if name.startswith(ANY_LETTERS) else foreign_letter(char)):
            yield problem


@functools.cache
def _invisible(char: str) -> str:
    category, code = unicodedata.category(char), f"U+{ord(char):04X}"
    if category == "Zs":
        return f"a special space ({code}): write an ordinary space"
    if category in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and char not in JOINERS:
        return f"an invisible or private character ({code}): delete it"
    return "the replacement character U+FFFD: write the letter that was lost" if char == "\ufffd" else ""


@functools.cache
def foreign_letter(char: str) -> str:
    """What is wrong with a letter that looks like one of the Latin alphabet but is another character, or ""."""
    if unicodedata.category(char)[0] == "M":
        return "an accent that is a character of its own: write a letter that has the accent"
    if char.isalnum() and not unicodedata.name(char, "").startswith("LATIN "):
        return "a letter of another alphabet, which may look like a Latin letter: write it again"
    return ""


# ---- tables


def _table(source: Source, columns: tuple[str, ...], optional: set[str]) -> Iterator[Finding]:
    header = [cell.strip() for cell in source.lines[0].split("\t")]
    while header and not header[-1]:
        header.pop()
    if tuple(header) != columns:
        reason = f"the first line must name the columns, with one tab between them: {', '.join(columns)}"
        yield source.error(1, shown(source.lines[0]), reason)
        return
    for row in source.rows:
        line = source.lines[row.line - 1]
        cells = [cell.strip() for cell in line.split("\t")]
        if line.startswith(MERGE_MARKS):
            continue
        if missing := [column for column in columns if not row.cells[column] and column not in optional]:
            yield source.error(row.line, shown(line), _missing_cells(cells, columns, missing))
        elif any(cells[len(columns) :]):
            yield source.error(row.line, shown(line), _count(cells, columns))
        elif changed := next(filter(SPREADSHEET.fullmatch, cells), ""):
            reason = f"a spreadsheet has changed a cell to {changed}: write the words again, without quotation marks"
            yield source.error(row.line, shown(line), reason)


def _missing_cells(cells: list[str], columns: tuple[str, ...], missing: Sequence[str]) -> str:
    if len(cells) < len(columns) and columns.index(missing[0]) >= len(cells):
        return _count(cells, columns)
    return f"no cell may be empty in the column {', '.join(missing)}"


def _count(cells: list[str], columns: tuple[str, ...]) -> str:
    found = f"{len(cells)} {'column' if len(cells) == 1 else 'columns'}"
    return f"{found} instead of {len(columns)}: put one tab (no spaces) between two cells ({', '.join(columns)})"


# ---- JSON Lines


def _json_lines(source: Source) -> Iterator[Finding]:
    for at, line in enumerate(source.lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_unique)
        except json.JSONDecodeError as error:
            yield source.error(at, shown(line), f"not valid JSON: {error.msg} (column {error.colno})")
        except ValueError as error:
            yield source.error(at, shown(line), str(error))
        else:
            if not isinstance(value, dict):
                yield source.error(at, shown(line), "not an object: begin with { and end with }")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    if twice := next((key for key in keys if keys.count(key) > 1), ""):
        raise ValueError(f"the key '{twice}' is there twice: remove or rename one of them")
    return dict(pairs)
