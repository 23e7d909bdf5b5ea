"""The language data that a speaker can correct (tables, sentences, word lists), and the functions that read it.

Names are relative to this folder: "lexicon.tsv", "phrases/health.toml". Nothing is cached here. Callers cache the
values that they build from a file.
"""

import csv
import tomllib
from importlib import resources
from typing import Any

FOLDER = resources.files(__name__)


def read_text(name: str) -> str:
    """The whole file as text."""
    return (FOLDER / name).read_text("utf-8")


def read_toml(name: str) -> dict[str, Any]:
    """The tables of a TOML file."""
    return tomllib.loads(read_text(name))


def read_table(name: str) -> list[dict[str, str]]:
    """The rows of a tab-separated file, keyed by its header line; quotation marks are plain characters."""
    return list(csv.DictReader(read_text(name).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def read_words(name: str) -> frozenset[str]:
    """The words of a list, separated by white space; lines that begin with # are comments."""
    lines = read_text(name).splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def names(folder: str, suffix: str) -> list[str]:
    """The names of the files in a folder ("" for this one) that end in `suffix`, sorted, relative to this folder."""
    there = (FOLDER / folder if folder else FOLDER).iterdir()
    return sorted(f"{folder}/{file.name}".lstrip("/") for file in there if file.name.endswith(suffix))
