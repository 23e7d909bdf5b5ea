"""JSON lines on disk: one object a line, read as a stream, appended so that a crash costs no whole row.

Knows bytes, lines and JSON, and nothing of what a row means.
"""

import contextlib
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from doric.core.codec import encode, parse
from doric.core.errors import DoricError, InputError
from doric.core.files import atomic_write, explain

try:
    import fcntl
except ImportError:  # Windows has no flock: there the journal works, and a second writer goes unnoticed
    fcntl = None

BOM = b"\xef\xbb\xbf"
FSYNC_SECONDS = 1.0
BUFFER = 1 << 16
"""Bytes read at a time: an eighth faster than the usual 8 KB."""
_ONE_OBJECT = "Each line must hold one JSON object."


def decode(line: bytes, *, file: Path | str | None = None, number: int | None = None) -> dict[str, Any]:
    """The object on one line. Raises `InputError`, with `file` and line `number` if given, when there is none."""
    try:
        value = parse(line)
    except ValueError as error:
        if not _is_text(line):
            raise InputError("not UTF-8 text", file=file, line=number, hint="Save the file as UTF-8.") from error
        raise InputError(f"not JSON: {_excerpt(line)}", file=file, line=number, hint=_ONE_OBJECT) from error
    if not isinstance(value, dict):
        raise InputError(f"not a JSON object: {_excerpt(line)}", file=file, line=number, hint=_ONE_OBJECT)
    return value


@contextlib.contextmanager
def open_lines(path: Path | str) -> Generator[IO[bytes]]:
    """A binary file to iterate over by lines, past its byte-order mark if it has one; `-` is stdin.

    Raises `InputError` when the file cannot be opened or read.
    """
    stdin = str(path) == "-"
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if stdin else open(path, "rb", buffering=BUFFER) as handle:
            if handle.peek(len(BOM)).startswith(BOM):  # ty: ignore[missing-union-attribute]  # stdin's buffer peeks too
                handle.read(len(BOM))
            yield handle
    except OSError as error:
        raise explain(error, name_of(path), "read") from error


def read_jsonl(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream (line number, object) of each line that is not blank; `-` is stdin.

    Raises `InputError` with file and line, also when the file cannot be read or holds no such line.
    """
    blank = True
    with open_lines(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                blank = False
                yield number, decode(line, file=name_of(path), number=number)
    if blank:
        raise empty(path)


def empty(path: Path | str) -> InputError:
    """The complaint about a file without a single row."""
    return InputError("the file is empty", file=name_of(path), hint=_ONE_OBJECT)


def name_of(path: Path | str) -> str:
    """The path as messages name it."""
    return "stdin" if str(path) == "-" else str(path)


def kept(path: Path) -> Path:
    """Where a file is kept that is about to be emptied."""
    return path.with_name(f"{path.name}.bak")


class Journal:
    """A file of JSON lines open for appending by this process alone.

    Opening reads every row that is already there into `replay`, one at a time, and mends what a crash left: a torn
    last line is dropped (or, if only its newline is missing, completed). A file that is not a journal is refused and
    left as it is. `fresh=True` empties the file instead, after a copy to PATH.bak unless `keep` is False. Each row is
    one write; the disk is told to keep them at most once a second and on close. Raises `DoricError` when another run
    holds the file or the disk refuses a row.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        replay: Callable[[dict[str, Any]], object] | None = None,
        fresh: bool = False,
        keep: bool = True,
    ) -> None:
        self.path = Path(path)
        self.rows = 0
        self._end = 0
        self._synced = time.monotonic()
        self._file = self._open()
        try:
            self._regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
            self._lock()
            if fresh and self._regular:
                if keep and os.fstat(self._file.fileno()).st_size:
                    shutil.copyfile(self.path, kept(self.path))
                self._file.truncate(0)
            elif self._regular:
                self._replay(replay or (lambda row: None))
        except OSError as error:
            self._file.close()
            raise explain(error, self.path, "opened") from error
        except BaseException:
            self._file.close()
            raise

    def write(self, row: dict[str, Any]) -> None:
        """Append one row. After a `DoricError` the file still ends with its last whole line."""
        line = encode(row) + b"\n"
        try:
            self._append(line)
            if time.monotonic() - self._synced >= FSYNC_SECONDS:
                self.sync()
        except OSError as error:
            raise explain(error, self.path, "written") from error

    def sync(self) -> None:
        """Have the disk keep every row written so far."""
        if self._regular:
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Sync, release the lock and close; closing twice is harmless."""
        if self._file.closed:
            return
        try:
            self.sync()
        except OSError as error:
            raise explain(error, self.path, "written") from error
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self) -> IO[bytes]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return open(self.path, "ab", buffering=0)  # unbuffered: one row is one os.write
        except OSError as error:
            raise explain(error, self.path, "written") from error

    def _lock(self) -> None:
        if fcntl is None or not self._regular:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = "Wait until it ends, or choose another output file."
            raise DoricError(f"{self.path}: another run is writing this file", hint=hint) from error

    def _replay(self, replay: Callable[[dict[str, Any]], object]) -> None:
        last, torn = b"\n", False
        with self.path.open("rb") as existing:
            for number, line in enumerate(existing, 1):
                row = self._row_of(line, number, existing)
                if row is None:
                    torn = True
                    break
                if row:
                    self._hand_over(row, number, replay)
                    self.rows += 1
                self._end += len(line)
                last = line
        if torn:
            self._file.truncate(self._end)
        elif not last.endswith(b"\n"):
            self._append(b"\n")

    def _hand_over(self, row: dict[str, Any], number: int, replay: Callable[[dict[str, Any]], object]) -> None:
        try:
            replay(row)
        except InputError as error:  # it says what is wrong with the row, not where the row is
            raise InputError(error.message, file=self.path, line=number, hint=error.hint) from error

    def _row_of(self, line: bytes, number: int, rest: IO[bytes]) -> dict[str, Any] | None:
        """The row on `line`, empty for a blank line, None for a torn last one."""
        try:
            return decode(line.removeprefix(BOM), file=self.path, number=number) if line.strip() else {}
        except InputError:
            # What is torn begins as a row, or as a block that was never written; anything else is not ours to cut.
            if line[:1] in (b"{", b"\0") and not rest.read(1):
                return None
            raise

    def _append(self, line: bytes) -> None:
        written = 0
        try:
            while written < len(line):  # a full disk first takes a part, and says so at the next write
                written += self._file.write(line[written:]) or 0
        except OSError:
            if self._regular:
                with contextlib.suppress(OSError):
                    self._file.truncate(self._end)
            raise
        self._end += len(line)


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _excerpt(line: bytes) -> str:
    text = line.decode(errors="replace").strip()
    return repr(text if len(text) <= 60 else text[:57] + "...")


@dataclass(frozen=True)
class Sidecar:
    """The plan that a journal was started with, kept beside it as `<out>.plan.json`."""

    path: Path

    @classmethod
    def beside(cls, out: Path | str) -> Self:
        """The sidecar of the journal `out`, whether or not it is there yet."""
        return cls(Path(f"{out}.plan.json"))

    def load(self) -> dict[str, Any] | None:
        """The stored plan, None when there is no file. Raises `InputError` when it cannot be read."""
        try:
            return decode(self.path.read_bytes(), file=self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise explain(error, self.path, "read") from error

    def store(self, plan: dict[str, Any]) -> None:
        """Write `plan` in one step. Raises `InputError` when that cannot be done."""
        atomic_write(self.path, encode(plan) + b"\n")

    def keep(self) -> None:
        """Copy it to PATH.bak, where there is one. Raises `InputError` when that cannot be done."""
        try:
            if self.path.exists():
                shutil.copyfile(self.path, kept(self.path))
        except OSError as error:
            raise explain(error, self.path, "kept") from error

    def differences(self, plan: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Each key whose value differs, as key -> (stored, wanted); None stands for a key that is not there."""
        stored = self.load() or {}
        wanted = decode(encode(plan))  # as it would come back from the file: tuples as lists
        keys = sorted(stored.keys() | wanted.keys())
        return {key: (stored.get(key), wanted.get(key)) for key in keys if stored.get(key) != wanted.get(key)}
