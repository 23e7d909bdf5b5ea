"""Journals: JSON Lines files that only this process appends to.

A crash loses no full row. If another program removes, replaces or changes a journal during the run, its rows are saved
to a new file.
"""

import contextlib
import itertools
import logging
import os
import stat
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Self

from doric.core.backups import numbered
from doric.core.errors import InputError, RescuedError, os_error
from doric.core.files import (
    atomic_write,
    encode_json,
    lock_open_file,
    make_parents,
    parse_object,
    remove_empty,
)
from doric.core.jsonl import BOM
from doric.core.regular_files import is_open_stdout, open_at_once, other_kind
from doric.core.replay import Replay, replayed
from doric.core.signals import uninterrupted
from doric.core.torn import NULS

log = logging.getLogger("doric")

FSYNC_SECONDS = 1.0
VERIFY_SECONDS, VERIFY_SHARE = 10.0, 0.01
"""The content is verified at most so often, and in at most this share of the time. On close it is always verified."""
RECENT = 1 << 22
"""Bytes of the last rows that are also kept in memory: another program may shorten the file."""
CHUNK = 1 << 20


class Journal:
    """A JSON Lines file that only this process can append to.

    Opening passes each row of the file to `replay`, one at a time. It also repairs the end of the file after a crash: a
    half-written last line is moved to PATH.torn, or completed if only its newline is missing. A file that is not a
    journal is refused and not changed. With `fresh=True` the file is emptied instead; before that, `keep` is called
    (for backups). Each row is one write. Rows are synced to disk at most once a second and on close. An empty journal
    is removed on close. Raises `DoricError` when another run has the file open or a row cannot be written.

    If another program has removed, replaced or changed the file, all rows are copied to a new file (`path`), where
    later rows go too, and `RescuedError` is raised by `write` or `close`. The row of that `write` is on disk.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        replay: Replay | None = None,
        fresh: bool = False,
        keep: Callable[[], object] = lambda: None,
    ) -> None:
        self.path = Path(path)
        self.rows = 0
        self._end = self._sum = self._recent_size = self._lost = 0
        self._how = ""
        self._before: Path | None = None
        self._recent: deque[bytes] = deque()
        self._synced = time.monotonic()
        self._verify_at = self._synced + VERIFY_SECONDS
        self._folders: list[Path] = []
        self._file = self._open()
        self._regular = False
        try:
            self._regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
            if fresh and self._regular:
                keep()
                self._file.truncate(0)
            elif self._regular:
                self._replay(replay or (lambda row: None))
        except OSError as error:
            self._abandon()
            raise os_error(error, self.path, "opened") from error
        except BaseException:
            self._abandon()
            raise

    def write(self, row: dict[str, Any]) -> None:
        """Append one row. If this raises `DoricError`, the file still ends with its last complete line.

        Raises `RescuedError` if the row and all others are on disk, but in another file.
        """
        line = encode_json(row) + b"\n"
        try:
            self._append(line)
            self._remember(line)
            if time.monotonic() - self._synced >= FSYNC_SECONDS:
                self.sync()
        except OSError as error:
            raise os_error(error, self.path, "written") from error

    def sync(self) -> None:
        """Force every row written so far to disk. Raises `RescuedError` if they had to be copied to another file."""
        self._synced = time.monotonic()
        if self._regular:
            os.fsync(self._file.fileno())
            if how := self._changed():
                self._rescue(how)

    def close(self) -> None:
        """Sync, release the lock and close; closing twice is harmless."""
        if self._file.closed:
            return
        with uninterrupted():
            try:
                if self.rows:
                    self._verify_at = 0.0
                    self.sync()
            except OSError as error:
                raise os_error(error, self.path, "written") from error
            finally:
                self._abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- opening

    def _open(self) -> IO[bytes]:
        existed = os.path.lexists(self.path)
        try:
            self._folders = make_parents(self.path)
            while (file := self._open_locked()) is None:
                pass
        except OSError as error:
            if not existed:
                with contextlib.suppress(OSError):
                    self.path.unlink()  # it is new and has no rows
            remove_empty(self._folders)
            raise os_error(error, self.path, "written") from error
        return file

    def _open_locked(self) -> IO[bytes] | None:
        """The file, locked. None if the run that had it open has just removed it, because it was empty."""
        # a device or a pipe cannot be opened for reading too: it would wait for itself
        readable = self.path.is_file() or not self.path.exists()
        with contextlib.ExitStack() as stack:
            # unbuffered: one row is one os.write
            mode = "a+b" if readable else "ab"
            file = stack.enter_context(open(self.path, mode, buffering=0, opener=open_at_once))
            # flock on the journal itself, not `files.locked`: earlier versions of this program lock the journal itself,
            # and two versions must not write at the same time
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # a device has no rows that another run could mix up
                lock_open_file(file, self.path)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(self.path)):
                    stack.pop_all()
                    return file
        return None

    def _abandon(self) -> None:
        """Close the file. An empty file is removed, with the folders that were created for it."""
        with contextlib.suppress(OSError):
            empty = self._regular and not os.fstat(self._file.fileno()).st_size
            if empty and not is_open_stdout(self._file.fileno()) and not self._changed():
                Path(os.path.realpath(self.path)).unlink()  # behind a symbolic link, which belongs to the user
        self._file.close()
        remove_empty(self._folders)

    def _replay(self, replay: Replay) -> None:
        size, last, torn = os.fstat(self._file.fileno()).st_size, b"\n", b""
        with open(self._file.fileno(), "rb", closefd=False) as existing:
            existing.seek(0)
            for written, is_torn_line in replayed(existing, self.path, replay):
                if is_torn_line:
                    torn = written
                    break
                if written.strip():
                    self._remember(written)
                self._count(written)
                last = written or last
        self._repair(size, last, torn)

    def _repair(self, size: int, last: bytes, torn: bytes) -> None:
        """Cut the file after its `last` complete row, end that row with a newline, and keep what is `torn`."""
        if torn.strip(NULS):
            path = next(path for path in numbered(Path(f"{self.path}.torn")) if not os.path.lexists(path))
            atomic_write(path, torn, like=self.path)
            log.warning("The last line of %s is incomplete and was moved to %s.", self.path, path)
        if self._end < size:
            self._file.truncate(self._end)
        if not last.endswith(b"\n"):
            self._append(b"\n")

    # --- writing

    def _append(self, line: bytes) -> None:
        _write_all(self._file, line)
        self._count(line)

    def _count(self, written: bytes) -> None:
        """Note what is in the file after what was there before."""
        self._end += len(written)
        self._sum = zlib.crc32(written, self._sum)

    def _remember(self, line: bytes) -> None:
        self.rows += 1
        self._recent.append(line if line.endswith(b"\n") else line + b"\n")
        self._recent_size += len(line)
        while self._recent_size > RECENT and len(self._recent) > 1:
            self._recent_size -= len(self._recent.popleft())

    # --- another program

    def _changed(self) -> str:
        """What another program did to the file, in a word; "" if it did nothing."""
        ours = os.fstat(self._file.fileno())
        try:
            if not os.path.samestat(ours, os.stat(self.path)):
                return "replaced"
        except (FileNotFoundError, NotADirectoryError):
            return "renamed" if ours.st_nlink else "removed"
        if ours.st_size != self._end:
            return "changed"
        if (began := time.monotonic()) < self._verify_at:
            return ""
        intact = self._is_intact()
        ended = time.monotonic()
        self._verify_at = ended + max(VERIFY_SECONDS, (ended - began) / VERIFY_SHARE)
        return "" if intact else "changed"

    def _is_intact(self) -> bool:
        """Whether the file has exactly what was written to it. A change of one character may leave its size."""
        sum_, size = 0, 0
        for chunk in self._content():
            sum_, size = zlib.crc32(chunk, sum_), size + len(chunk)
        return (sum_, size) == (self._sum, self._end)

    def _rescue(self, how: str) -> None:
        """Copy all rows to a new file, and use that file from now on. Raises `RescuedError`, or `InputError`."""
        content = self._content
        if not self._is_intact():
            content = self._older_and_recent
            if not self._has_older():
                content, lost = lambda: iter(self._recent), self.rows - len(self._recent)
                self.rows, self._lost = len(self._recent), self._lost + lost
        self._how, self._before = self._how or how, self._before or self.path
        with uninterrupted():
            self._move(f"another program has {how} {self.path} during the run", content)
        assert self.rescued is not None
        raise self.rescued

    @property
    def rescued(self) -> RescuedError | None:
        """What another program did to the file, and where its rows are now; None if nothing has happened."""
        if self._before is None:
            return None
        rows = f"its {self.rows:,} rows are" if not self._lost else f"the last {self.rows:,} of its rows are"
        what = f"another program has {self._how} {self._before} during the run; {rows} in {self.path}"
        steps = [f"rename {self.path} to {self._before}"]
        if kind := other_kind(self._before):  # a folder would get the file inside it
            steps.insert(0, f"move {self._before} away ({kind})")
        elif self._lost:
            left = f"what is left of the first {self._lost:,} rows from {self._before} to the start of {self.path}"
            steps.insert(0, f"copy {left}")
        return RescuedError(what, steps=steps)

    def _move(self, what: str, content: Callable[[], Iterable[bytes]]) -> None:
        problems = []
        for folder in (self.path.parent, Path(tempfile.gettempdir())):
            try:
                self._move_to(folder / f"{self.path.name}.rescued", content())
                return
            except OSError as error:
                problems.append(os_error(error, folder, "written").message)
        rows, self.rows = self.rows, 0
        raise InputError(f"{what}, and its {rows:,} rows cannot be saved: {'; '.join(problems)}")

    def _move_to(self, wanted: Path, content: Iterable[bytes]) -> None:
        make_parents(wanted)  # the folder may have been removed too
        path, file = _create(wanted, stat.S_IMODE(os.fstat(self._file.fileno()).st_mode))
        try:
            for chunk in content:
                _write_all(file, chunk)
            os.fsync(file.fileno())
            with contextlib.suppress(OSError):  # this folder may have no locks
                lock_open_file(file, path)
        except BaseException:
            file.close()
            path.unlink()
            raise
        self._file.close()
        self.path, self._file, self._end, self._sum = path, file, 0, 0
        for chunk in self._content():
            self._count(chunk)

    def _has_older(self) -> bool:
        """Whether the file still has all rows that came before those in memory."""
        try:
            older = sum(1 for line in self._older() if line.strip() and parse_object(line.removeprefix(BOM)))
        except InputError:
            return False
        return older == self.rows - len(self._recent)

    def _older(self) -> Iterator[bytes]:
        """The lines of the file before the rows that are in memory, whose first may not be in the file any more."""
        recent, left = frozenset(self._recent), self.rows - len(self._recent)
        with open(self._file.fileno(), "rb", closefd=False) as lines:
            lines.seek(0)
            for line in lines:
                if line in recent or not left:
                    return
                left -= bool(line.strip())
                yield line

    def _older_and_recent(self) -> Iterator[bytes]:
        return itertools.chain(self._older(), self._recent)

    def _content(self) -> Iterator[bytes]:
        at = 0
        while True:
            self._file.seek(at)
            if not (chunk := self._file.read(CHUNK)):
                return
            at += len(chunk)
            yield chunk


def _write_all(file: IO[bytes], content: bytes) -> int:
    """Write all of `content` to an unbuffered file. If that fails, the file ends as before."""
    written = 0
    try:
        while written < len(content):  # a full disk first accepts a part, and reports the error at the next write
            written += file.write(content[written:]) or 0
    except OSError:
        if written and file.seekable():
            with contextlib.suppress(OSError):
                file.truncate(file.tell() - written)
        raise
    return written


def _create(wanted: Path, mode: int) -> tuple[Path, IO[bytes]]:
    """A new file to append to, under the first free name of `wanted`, `wanted.2` and so on. Raises OSError."""
    for path in numbered(wanted):
        with contextlib.suppress(FileExistsError):
            exclusive = os.O_EXCL | os.O_CREAT | os.O_RDWR | os.O_APPEND
            return path, open(os.open(path, exclusive, mode), "a+b", buffering=0)
    raise AssertionError("the names never end")
