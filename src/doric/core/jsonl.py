"""JSON Lines files: one object per line. They are read as a stream, and appended so that a crash loses no full row."""

import contextlib
import logging
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from doric.core.errors import DoricError, InputError, PlanError, os_error
from doric.core.exact_json import ONE_OBJECT
from doric.core.files import HELD, atomic_write, encode_json, file_size, parse_object
from doric.core.formats import HEAD, refuse_foreign_format

try:
    import fcntl
except ImportError:  # Windows has no flock: journals work there, but a second writer is not detected
    fcntl = None

log = logging.getLogger("doric")

type Plan = dict[str, Any]
type Replay = Callable[[dict[str, Any]], object]

BOM = b"\xef\xbb\xbf"
FSYNC_SECONDS = 1.0
BUFFER = 1 << 16
"""Bytes read at a time. This is 12% faster than the default of 8 KB."""


# --- reading --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def open_lines(path: Path | str) -> Generator[IO[bytes]]:
    """A binary file to iterate over by lines. A byte-order mark is skipped. `-` is stdin.

    Raises `InputError` when the file cannot be opened or read, or is compressed or in another format than text.
    """
    stdin = str(path) == "-"
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if stdin else open(path, "rb", buffering=BUFFER) as handle:
            head = handle.peek(HEAD)  # ty: ignore[missing-union-attribute]  # stdin's buffer peeks too
            refuse_foreign_format(head[:HEAD], name_of(path))
            if head.startswith(BOM):
                handle.read(len(BOM))
            yield handle
    except OSError as error:
        raise os_error(error, name_of(path), "read") from error


def read_jsonl(
    path: Path | str, *, convert: Callable[[dict[str, Any]], dict[str, Any]] = lambda row: row
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number, converted object) for each line that is not blank. `-` is stdin.

    Raises `InputError` with file and line. It is also raised when `convert` raises one, when the file cannot be read,
    and when all lines are blank.
    """
    blank = True
    with open_lines(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                blank = False
                row = parse_object(line, file=name_of(path), number=number)
                try:
                    row = convert(row)
                except InputError as error:
                    raise _located(error, name_of(path), number) from error
                yield number, row
    if blank:
        raise InputError("the file is empty", file=name_of(path), hint=ONE_OBJECT)


def name_of(path: Path | str) -> str:
    """The name of the path in messages."""
    return "stdin" if str(path) == "-" else str(path)


# --- appending ------------------------------------------------------------------------------------------------------


def backup_path(path: Path) -> Path:
    """The path of the copy that is made before a file is emptied."""
    return path.with_name(f"{path.name}.bak")


class Journal:
    """A JSON Lines file that only this process can append to.

    Opening passes each row of the file to `replay`, one at a time. It also repairs the end of the file after a crash: a
    half-written last line is dropped, or completed if only its newline is missing. A file that is not a journal is
    refused and not changed. With `fresh=True` the file is emptied instead, after a copy to PATH.bak unless `backup` is
    False. Each row is one write. Rows are synced to disk at most once a second and on close. Raises `DoricError` when
    another run has the file open or a row cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        replay: Replay | None = None,
        fresh: bool = False,
        backup: bool = True,
    ) -> None:
        self.path = Path(path)
        self._end = 0
        self._synced = time.monotonic()
        self._file = self._open()
        try:
            self._regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
            self._lock()
            if fresh and self._regular:
                if backup and os.fstat(self._file.fileno()).st_size:
                    shutil.copyfile(self.path, backup_path(self.path))
                self._file.truncate(0)
            elif self._regular:
                self._replay(replay or (lambda row: None))
        except OSError as error:
            self._file.close()
            raise os_error(error, self.path, "opened") from error
        except BaseException:
            self._file.close()
            raise

    def write(self, row: dict[str, Any]) -> None:
        """Append one row. If this raises `DoricError`, the file still ends with its last complete line."""
        line = encode_json(row) + b"\n"
        try:
            self._append(line)
            if time.monotonic() - self._synced >= FSYNC_SECONDS:
                self.sync()
        except OSError as error:
            raise os_error(error, self.path, "written") from error

    def sync(self) -> None:
        """Force every row written so far to disk."""
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
            raise os_error(error, self.path, "written") from error
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
            raise os_error(error, self.path, "written") from error

    def _lock(self) -> None:
        # flock on the journal itself, not `files.locked`: earlier versions of this program lock the journal itself, and
        # two versions must not write at the same time
        if fcntl is None or not self._regular:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DoricError(f"{self.path}: another run is writing this file", hint=HELD) from error

    def _replay(self, replay: Replay) -> None:
        last, torn = b"\n", False
        with self.path.open("rb") as existing:
            for number, line in enumerate(existing, 1):
                row = self._row_of(line, number, existing)
                if row is None:
                    torn = True
                    break
                if row:
                    self._pass_on(row, number, replay)
                self._end += len(line)
                last = line
        if torn:
            self._file.truncate(self._end)
        elif not last.endswith(b"\n"):
            self._append(b"\n")

    def _pass_on(self, row: dict[str, Any], number: int, replay: Replay) -> None:
        try:
            replay(row)
        except InputError as error:
            raise _located(error, self.path, number) from error

    def _row_of(self, line: bytes, number: int, rest: IO[bytes]) -> dict[str, Any] | None:
        """The row on `line`, empty for a blank line, None for a half-written last line."""
        try:
            return parse_object(line.removeprefix(BOM), file=self.path, number=number) if line.strip() else {}
        except InputError:
            # a half-written line starts like a row, or like a disk block that was never written; any other
            # line shows that the file is not a journal of this program, so nothing of it may be cut off
            if line[:1] in (b"{", b"\0") and not rest.read(1):
                return None
            raise

    def _append(self, line: bytes) -> None:
        written = 0
        try:
            while written < len(line):  # a full disk first accepts a part, and reports the error at the next write
                written += self._file.write(line[written:]) or 0
        except OSError:
            if self._regular:
                with contextlib.suppress(OSError):
                    self._file.truncate(self._end)
            raise
        self._end += len(line)


def _located(error: InputError, file: Path | str, number: int) -> InputError:
    """The error of a row, with the file and line of the row."""
    return InputError(error.message, file=file, line=number, hint=error.hint)


# --- resuming -------------------------------------------------------------------------------------------------------


def then_and_now(key: str, then: Any, now: Any) -> str:  # noqa: ANN401 - any JSON
    """One difference between two plans, in words."""
    return f"{key} {then} then, {now} now"


@dataclass(frozen=True, slots=True)
class ResumableRun:
    """The files of a run that can be stopped and resumed: its journals and its plan.

    The plan is a JSON object of everything that the rows depend on. It is stored beside the first journal. `open` may
    empty the journals, so do everything that may fail (a wrong key, a server that is down) before `open`:

        files = ResumableRun((out, rejected), overwrite=args.overwrite)
        files.check(plan)
        with files.open(replay_row, replay_rejected) as (rows, rejections):
            files.store(plan)
            rows.write(...)
    """

    journals: tuple[Path, ...]
    overwrite: bool = False

    @property
    def plan_file(self) -> Path:
        """Where the plan is stored: `<first journal>.plan.json`."""
        return Path(f"{self.journals[0]}.plan.json")

    @property
    def resumes(self) -> bool:
        """Whether the journals have rows, so that this run adds to them. Raises `InputError` if it cannot write."""
        return not self.overwrite and any(map(file_size, self.journals))

    def count(self) -> int:
        """The number of lines of the first journal, 0 with `overwrite`. Raises `InputError` when it cannot be read."""
        if self.overwrite or not file_size(self.journals[0]):
            return 0
        with open_lines(self.journals[0]) as lines:
            return sum(1 for _ in lines)

    def stored(self) -> Plan | None:
        """The stored plan, None when there is none. Raises `InputError` when it cannot be read."""
        try:
            return parse_object(self.plan_file.read_bytes(), file=self.plan_file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise os_error(error, self.plan_file, "read") from error

    def store(self, plan: Plan) -> None:
        """Write the plan in one step. Raises `InputError` when that fails."""
        atomic_write(self.plan_file, encode_json(plan) + b"\n")

    def check(
        self, plan: Plan, *, ignore: Collection[str] = (), describe: Callable[[str, Any, Any], str] = then_and_now
    ) -> None:
        """Raise `PlanError` when there are rows to resume and their plan is missing or differs from `plan`.

        Keys in `ignore` may differ. `describe(key, stored, wanted)` puts one difference into words.
        """
        if not self.resumes:
            return
        started = next(path for path in self.journals if file_size(path))
        hint = "Give --overwrite to start again, or another --out to keep both."
        if (stored := self.stored()) is None:
            raise PlanError(f"{self.plan_file.name} is missing, so {started} cannot be resumed", hint=hint)
        if differing := _differences(stored, plan, ignore):
            changed = ", ".join(describe(key, then, now) for key, (then, now) in differing.items())
            raise PlanError(f"{started} was started with another plan ({changed})", hint=hint)

    @contextlib.contextmanager
    def open(self, *replays: Replay, backup: bool = True) -> Generator[tuple[Journal, ...]]:
        """The journals, opened so that only this process can write to them. With `overwrite` they are emptied.

        Each row of a journal is passed to its replay function. Before journals are emptied, they and the plan are
        copied to `<file>.bak`, unless `backup` is False. Raises `DoricError` as `Journal` does.
        """
        fresh = self.overwrite  # not if a file was only empty: another run may have written to it meanwhile
        backup = backup and fresh and any(map(file_size, self.journals))
        with contextlib.ExitStack() as stack:
            opened = [
                stack.enter_context(Journal(path, replay=replay, fresh=fresh, backup=backup))
                for path, replay in zip(self.journals, replays, strict=True)
            ]
            if backup:
                self._back_up_plan()
            yield tuple(opened)

    def _back_up_plan(self) -> None:
        try:
            if self.plan_file.exists():
                shutil.copyfile(self.plan_file, backup_path(self.plan_file))
            log.info("The old rows are kept in %s, their plan beside it.", backup_path(self.journals[0]))
        except OSError as error:
            raise os_error(error, self.plan_file, "copied") from error


def _differences(stored: Plan, wanted: Plan, ignore: Collection[str]) -> dict[str, tuple[Any, Any]]:
    """Each key whose value differs, as key -> (stored, wanted). None means that the key is missing."""
    wanted = parse_object(encode_json(wanted))  # in the form that the file has: tuples as lists
    keys = sorted((stored.keys() | wanted.keys()) - set(ignore))
    return {key: (stored.get(key), wanted.get(key)) for key in keys if stored.get(key) != wanted.get(key)}
