"""The language data that a speaker can correct (tables, sentences, word lists), and the functions that read it.

Names are relative to this folder: "lexicon.tsv", "phrases/health.toml". No file is cached here, only the parsing of a
TOML text, because commands read most files twice: to check them, and to use them. Callers cache the values that they
build from a file.
"""

import functools
import hashlib
import os
import tomllib
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

FOLDER = resources.files(__name__)


class DataError(ValueError):
    """A file of the language data cannot be used. The message has the file and, if known, the line."""


class Table(dict[str, Any]):
    """A table of a TOML file. A missing key is a `DataError` that names the file and the key."""

    def __init__(self, name: str, content: dict[str, Any]) -> None:
        super().__init__({key: _with_name(name, value) for key, value in content.items()})
        self._name = name

    def __missing__(self, key: str) -> Any:  # noqa: ANN401 - never returns
        raise DataError(f"{shown(self._name)}: the key '{key}' is missing")


def _with_name(name: str, value: Any) -> Any:  # noqa: ANN401 - any value of TOML
    if isinstance(value, dict):
        return Table(name, value)
    return [_with_name(name, each) for each in value] if isinstance(value, list) else value


def read_text(name: str) -> str:
    """The whole file as text, without the byte-order mark that some editors write. Raises `DataError`."""
    try:
        return (FOLDER / name).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise DataError(f"{shown(name)}: the file cannot be read: {reason}") from error


@functools.lru_cache(maxsize=128)
def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text, which callers must not change. Raises `TOMLDecodeError`."""
    return tomllib.loads(text)


def read_toml(name: str) -> Table:
    """The tables of a TOML file. Raises `DataError`, also later, for a key that is missing."""
    try:
        return Table(name, parse_toml(read_text(name)))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{shown(name)}: {error}") from error


def read_table(name: str) -> list[dict[str, str]]:
    """The rows of a tab-separated file, keyed by its header line; quotation marks are plain characters."""
    return [row for _, row in table_rows(read_text(name).split("\n"))]


def table_rows(lines: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells by column) for each line below the header line; blank lines are left out.

    Spaces around a cell do not count. Missing cells at the end of a line are empty, because some editors remove tabs
    at the end of a line.
    """
    header = [cell.strip() for cell in lines[0].split("\t")]
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            cells = [cell.strip() for cell in line.split("\t")]
            yield number, dict(zip(header, cells + [""] * len(header), strict=False))


def read_words(name: str) -> frozenset[str]:
    """The words of a list, separated by white space; lines that begin with # are comments."""
    lines = read_text(name).splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def names(folder: str, suffix: str) -> list[str]:
    """The names of the files in a folder ("" for this one) that end in `suffix`, sorted, relative to this folder.

    Hidden files are left out: some editors keep their backups in them.
    """
    there = (FOLDER / folder if folder else FOLDER).iterdir()
    found = (file.name for file in there if file.name.endswith(suffix) and not file.name.startswith("."))
    return sorted(f"{folder}/{name}".lstrip("/") for name in found)


def shown(name: str) -> str:
    """The path of a file for messages, relative to the current folder if it is inside."""
    path = os.path.join(str(FOLDER), name)
    return path.removeprefix(os.path.join(os.getcwd(), ""))


def hashes() -> dict[str, str]:
    """File -> a hash of its content, for all files that decide on prompts and answers. The page templates do not."""
    listed = [*names("", ".toml"), *names("", ".tsv"), *names("", ".txt"), *names("", ".jsonl")]
    listed += [*names("phrases", ".toml"), *names("multilingual", ""), *names("asks", ".toml"), *names("asks", ".tsv")]
    return {name: hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()[:8] for name in sorted(listed)}
