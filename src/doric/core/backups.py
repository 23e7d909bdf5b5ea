"""Copies of files that a command is going to replace. No copy is ever overwritten."""

import filecmp
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from doric.core.errors import InputError, os_error
from doric.core.files import atomic_writer, file_size


def numbered(path: Path) -> Iterator[Path]:
    """`path`, `path.2`, `path.3` and so on."""
    yield path
    yield from (path.with_name(f"{path.name}.{number}") for number in itertools.count(2))


class Backups:
    """Copies of files that a command is going to replace: FILE.bak, or FILE.bak.2, FILE.bak.3 and so on.

    No copy is ever overwritten. All copies of one command have the same number: the first that is free for every file
    of the `family`. If the last copies have the same content as the files, no further copies are made.
    """

    def __init__(self, *family: Path) -> None:
        self._family = family
        self._number = 0

    def keep(self, *paths: Path) -> list[Path]:
        """Copy those of `paths` that exist and are not empty. Returns the copies. Raises `InputError`."""
        paths = tuple(path for path in paths if path.is_file() and path.stat().st_size)
        if paths and not self._number:
            self._number = self._choose()
        return [self._copy(path) for path in paths]

    def _choose(self) -> int:
        last = next(number for number in itertools.count() if not any(map(os.path.lexists, self._copies(number + 1))))
        return last if last and self._up_to_date(last) else last + 1

    def _copies(self, number: int) -> list[Path]:
        return [_backup(path, number) for path in self._family]

    def _up_to_date(self, number: int) -> bool:
        pairs = zip(self._family, self._copies(number), strict=True)
        return all(_same_content(path, copy) for path, copy in pairs if file_size(path))

    def _copy(self, path: Path) -> Path:
        copy = _backup(path, self._number)
        try:
            if not _same_content(path, copy):
                if os.path.lexists(copy):
                    raise InputError("another program has just created it", file=copy, hint="Run the command again.")
                with path.open("rb") as old, atomic_writer(copy, like=path) as out:
                    shutil.copyfileobj(old, out)
        except OSError as error:
            raise os_error(error, path, "copied") from error
        return copy


def _backup(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.bak{f'.{number}' if number > 1 else ''}")


def _same_content(path: Path, copy: Path) -> bool:
    return copy.is_file() and filecmp.cmp(path, copy, shallow=False)
