"""A copy of the language data that tests may change."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from doric import data


def forget() -> None:
    """Empty the caches of everything that was read from the data."""
    for module in [module for name, module in sys.modules.items() if name.startswith("doric")]:
        for value in vars(module).values():
            if callable(clear := getattr(value, "cache_clear", None)):
                clear()


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """Make `folder` a copy of the data, from which all data is read."""
    shutil.copytree(str(data.FOLDER), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "FOLDER", folder)
        forget()
        yield folder
    forget()
