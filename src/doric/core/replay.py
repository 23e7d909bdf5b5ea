"""The rows of a journal that exists: each is passed on, and a last line that a crash has left incomplete is found."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from doric.core.errors import InputError, os_error
from doric.core.files import parse_object
from doric.core.jsonl import BOM, located
from doric.core.regular_files import open_regular
from doric.core.torn import is_torn

type Replay = Callable[[dict[str, Any]], object]


def check_journal(path: Path, replay: Replay) -> None:
    """Pass each row of an existing journal to `replay`, as a `Journal` does, but change nothing and take no lock.

    Raises `InputError` where opening the journal would.
    """
    try:
        with open_regular(path) as existing:
            deque(replayed(existing, path, replay), maxlen=0)
    except OSError as error:
        raise os_error(error, path, "opened") from error


def replayed(existing: IO[bytes], path: Path, replay: Replay) -> Iterator[tuple[bytes, bool]]:
    """Pass each row of an open journal to `replay`. Yields (line, False) for each line, (line, True) for a torn one.

    Blocks that were never written are not in the line. A torn line is the last one. Raises `InputError`.
    """
    size, read = os.fstat(existing.fileno()).st_size, 0
    for number, line in enumerate(existing, 1):
        read += len(line)
        last = read >= size  # without a lock, a run may add lines meanwhile
        torn_block = last and line[:1] in (b"{", b"\0")
        written = line.rstrip(b"\0") if torn_block else line
        row = _row_of(written, path, number, last=last)
        if row is None:
            yield line, True
            return
        if written.strip():
            try:
                replay(row)
            except InputError as error:
                raise located(error, path, number) from error
        yield written, False


def _row_of(line: bytes, path: Path, number: int, *, last: bool) -> dict[str, Any] | None:
    """The row on `line`, empty for a blank line, None for a half-written last line."""
    try:
        return parse_object(line.removeprefix(BOM), file=path, number=number) if line.strip() else {}
    except InputError:
        # any other line shows that somebody has edited the file, or that it is no journal of this program
        if last and is_torn(line):
            return None
        raise
