"""A lock on a file that is replaced while it is held: on another one beside it, for the file itself comes and goes.

Knows nothing of what is in the file. Where the system has no such locks, a second run goes unnoticed.
"""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import IO

from doric.core.errors import DoricError
from doric.core.files import explain

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def held(path: Path) -> Generator[None]:
    """Within the block no other run holds `path`. Raises `DoricError` when one does already."""
    if fcntl is None:
        yield
        return
    beside = path.with_name(f".{path.name}.lock")
    with _locked(path, beside):
        try:
            yield
        finally:
            beside.unlink(missing_ok=True)


def _locked(path: Path, beside: Path) -> IO[bytes]:
    assert fcntl is not None
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = beside.open("ab")
        except OSError as error:
            raise explain(error, path, "written") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            hint = "Wait until it ends, or choose another output file."
            raise DoricError(f"{path}: another run is writing this file", hint=hint) from error
        if _is_still_there(file, beside):
            return file
        file.close()  # whoever held it took it away meanwhile


def _is_still_there(file: IO[bytes], beside: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), beside.stat())
    except FileNotFoundError:
        return False
