"""A copy of the language data that tests may change."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from doric import data
from doric.lint.check import RULES
from doric.lint.files import read_files
from doric.lint.source import Finding


def forget() -> None:
    """Empty the caches of everything that was read from the data, except that of texts that have been parsed."""
    for module in [module for name, module in sys.modules.items() if name.startswith("doric")]:
        for value in vars(module).values():
            if callable(clear := getattr(value, "cache_clear", None)) and value is not data.parse_toml:
                clear()


def errors_in(name: str) -> list[Finding]:
    """The errors in one file that the rules which name it find: those of `check` without most of its time."""
    forget()
    sources, found = read_files()
    for rule in RULES if not found else ():
        found += rule.check(sources) if name in rule.needs else ()
    return [finding for finding in found if finding.is_error and finding.file == name]


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """Make `folder` a copy of the data, from which all data is read."""
    shutil.copytree(str(data.FOLDER), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "FOLDER", folder)
        forget()
        yield folder
    forget()
