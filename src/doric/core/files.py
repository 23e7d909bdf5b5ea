"""Files that are read and written as a whole: atomic replacement, locks, and JSON."""

import contextlib
import errno
import itertools
import json
import os
import secrets
import shutil
import stat
import sys
import warnings
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from doric.core.errors import DoricError, InputError, SettingsError, missing_package, os_error
from doric.core.exact_json import ONE_ARRAY, ONE_OBJECT, excerpt, load_line
from doric.core.formats import HEAD as FORMAT_HEAD
from doric.core.formats import refuse_foreign_format
from doric.core.regular_files import NOT_REGULAR, open_regular, other_kind, read_regular

try:
    import fcntl
except ImportError:  # Windows has no flock: journals work there, but a second writer is not detected
    fcntl = None
try:
    import orjson
except ImportError:
    orjson = None

type Json = dict[str, Any] | list[Any] | str | int | float | bool | None

HEAD = 4096
"""Bytes at the start of a file in which its mark must be."""
BEFORE_JSON = b"\xef\xbb\xbf \t\r\n"
"""What may be before a JSON object: a byte-order mark and blanks."""
HELD = "Wait until it ends, or choose another output file."
"""The hint for a file that another run is writing."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""How flock fails on network file systems without locks."""
LOCK_SECONDS = 0.5
"""Seconds to wait for a lock. The chat holds it only for a moment, and a run that ends removes the lock file."""


# --- JSON -----------------------------------------------------------------------------------------------------------


def encode_json(value: Json) -> bytes:
    """Compact UTF-8 JSON on one line, without a newline. Raises `InputError` if JSON or UTF-8 cannot express it."""
    try:
        return orjson.dumps(value) if orjson else _encode_plain(value)
    except (TypeError, ValueError, RecursionError) as error:  # a lone surrogate is a ValueError too
        if orjson and "64-bit" in str(error):  # only the standard library can write such an integer
            return _encode_plain(value)
        raise InputError(f"this cannot be written as JSON: {error}") from error


def parse_json(content: bytes) -> Json:
    """The JSON value of `content`. Raises ValueError when it is not UTF-8 or not JSON.

    orjson makes floats of integers beyond 64 bits, and keeps only the last of two equal keys. `parse_object` does not.
    """
    return orjson.loads(content) if orjson else _parse_plain(content)


def _encode_plain(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _parse_plain(content: bytes) -> Json:
    try:
        value = json.loads(content.decode(), parse_constant=_not_json)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if b"\\ud" in content or b"\\uD" in content:
        _encode_plain(value)  # a JSON escape can give a lone surrogate; orjson refuses these too
    return value


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse_object(line: bytes, *, file: Path | str | None = None, number: int | None = None) -> dict[str, Any]:
    """The JSON object on one line, exactly: integers of any size are kept.

    Raises `InputError`, with `file` and line `number` if given, for anything else, and for everything that would be
    lost when the object is written again: duplicate keys, NaN, numbers that are too large, half characters.
    """
    try:
        value = parse_json(line)
        exact = encode_json(value) == line.strip()  # most rows were written by this program, and this is fast
    except (ValueError, InputError):
        exact = False
    if not exact:
        value = load_line(line, file, number)
    if not isinstance(value, dict):
        hint = ONE_ARRAY if isinstance(value, list) and number in (None, 1) else ONE_OBJECT
        raise InputError(f"not a JSON object: {excerpt(line)}", file=file, line=number, hint=hint)
    return value


# --- reading --------------------------------------------------------------------------------------------------------


def read_text(path: Path | str, *, regular: bool = False) -> str:
    """The text of a UTF-8 file, without a byte-order mark. With `regular`, a pipe is refused.

    Raises `InputError` with the line if it is not UTF-8, and with a hint if it is compressed or has another format.
    """
    try:
        content = read_regular(path) if regular else Path(path).read_bytes()
    except OSError as error:
        raise os_error(error, path, "read") from error
    refuse_foreign_format(content[:FORMAT_HEAD], path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError("not UTF-8 text", file=path, line=line, hint="Save the file as UTF-8.") from error


# --- before writing -------------------------------------------------------------------------------------------------


def refuse_foreign_file(path: Path, mark: bytes, what: str) -> None:
    """Raise `InputError` if `path` cannot be written or is no earlier `what`.

    Such a file has `mark` near its start, or is a JSON object with the field `kind` and this value anywhere: some
    programs sort the fields.
    """
    if other_kind(path) == NOT_REGULAR:
        return  # a device or a pipe has nothing that could be lost
    try:
        with open_regular(path) as existing:
            head = existing.read(HEAD)
    except (FileNotFoundError, NotADirectoryError):
        check_folder(path)
        return
    except OSError as error:
        raise os_error(error, path, "written") from error
    if head and mark not in head and not (head.lstrip(BEFORE_JSON).startswith(b"{") and _has_kind(path, mark)):
        raise InputError(f"the file exists and is not a {what}", file=path, hint="Choose another name.")


def _has_kind(path: Path, kind: bytes) -> bool:
    """Whether a file is a JSON object with the field `kind` and this value."""
    try:
        value = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("kind") == kind.decode()


def refuse_overwrite(path: Path, *, source: str, overwrite: bool) -> None:
    """Raise `DoricError` when `path` is the file `source` ("-" for stdin), or exists and `overwrite` is False."""
    if not path.is_file():
        return
    if source != "-" and os.path.exists(source) and path.samefile(source):
        raise SettingsError(f"{path} is the input itself", hint="Choose another output file.")
    if not overwrite:
        raise InputError(
            "the file exists", file=path, hint="Give --overwrite to replace it, or choose another output file."
        )
    try:
        with open_regular(path) as existing:
            lock_open_file(existing, path)  # a rename would not notice that a run has it open
    except OSError as error:
        raise os_error(error, path, "read") from error


def check_writable(path: Path) -> None:
    """Raise `InputError` when `path` is not a regular file or the system says that it cannot be written.

    A rename could replace a file that its owner has made read-only, so that is refused here too. Parent folders may be
    missing; then the folder in which they would be created is checked.
    """
    if not path.exists():
        check_folder(path)
    if path.is_dir():
        raise os_error(IsADirectoryError(errno.EISDIR, "is a directory"), path, "written")
    if path.exists() and not path.is_file():
        raise InputError("cannot be written: not a regular file", file=path, hint="Choose another name.")
    if path.exists() and not os.access(path, os.W_OK):
        raise os_error(PermissionError(errno.EACCES, "permission denied"), path, "written")


def check_folder(path: Path) -> None:
    """Raise `InputError` when the system says that no file can be created where `path` is or would be."""
    folder = _existing_folder(path)
    if not folder.is_dir():
        raise os_error(NotADirectoryError(errno.ENOTDIR, "not a folder"), path, "written")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise os_error(PermissionError(errno.EACCES, "permission denied"), path, "written")


def check_space(path: Path, size: int) -> None:
    """Raise `InputError` when the disk of `path` has less free space than so many bytes."""
    if other_kind(path) == NOT_REGULAR:
        return  # a device or a pipe
    with contextlib.suppress(OSError):  # some file systems do not say
        disk = shutil.disk_usage(_existing_folder(Path(os.path.realpath(path))))
        if disk.total and disk.free < size:
            raise os_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), path, "written")


def _existing_folder(path: Path) -> Path:
    """The folder of `path`, or the folder in which its folders would be created."""
    return next(folder for folder in Path(os.path.abspath(path)).parents if folder.exists())


def file_size(path: Path) -> int:
    """Bytes in an output file, 0 when it does not exist yet. Raises `InputError` when `path` cannot be written."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise os_error(error, path, "written") from error
    if stat.S_ISDIR(found.st_mode):
        raise os_error(IsADirectoryError(errno.EISDIR, "is a directory"), path, "written")
    return found.st_size


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """In the block, no other run can write `path`. The block may replace the file.

    The lock is on a separate file beside it, which is removed at the end. Raises `DoricError` when another run holds
    the lock.
    """
    try:
        from filelock import FileLock, Timeout  # not needed by most commands
    except ImportError as error:
        raise missing_package(error) from error
    real = Path(os.path.realpath(path))  # one lock for all symbolic links to the file
    lock = FileLock(real.with_name(f".{real.name}.lock"), timeout=LOCK_SECONDS)
    with parent_folders(path):
        try:
            with warnings.catch_warnings(action="ignore"):  # where flock does not exist, the file itself is the lock
                lock.acquire()
        except Timeout as error:
            raise DoricError(f"{path}: another run is writing this file", hint=HELD) from error
        except OSError as error:
            if error.errno in NO_LOCKS:
                Path(lock.lock_file).unlink(missing_ok=True)
            raise os_error(_no_locks(error), path, "written") from error
        try:
            refuse_in_use(path)
            yield
        finally:
            # remove the file before the lock is released: another process that has opened it meanwhile then finds that
            # it was removed, and filelock creates a new one
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


def refuse_in_use(path: Path) -> None:
    """Raise `DoricError` if a run appends to `path`, so that its journal is not replaced under it."""
    # it may not exist, or not be readable; the caller finds out
    with contextlib.suppress(OSError, InputError), open_regular(path) as existing:
        lock_open_file(existing, path)


def lock_open_file(handle: IO[bytes], path: Path) -> None:
    """Lock a regular file until `handle` is closed. Raises `DoricError` when another process holds the lock.

    Raises OSError with ENOLCK when the file system has no locks.
    """
    if fcntl is None or not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DoricError(f"{path}: another run is writing this file", hint=HELD) from error
    except OSError as error:
        raise _no_locks(error) from error


def _no_locks(error: OSError) -> OSError:
    """One error for all those with which file systems say that they have no locks; any other error unchanged."""
    return OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)) if error.errno in NO_LOCKS else error


# --- writing --------------------------------------------------------------------------------------------------------


def make_parents(path: Path) -> list[Path]:
    """Create the missing parent folders of `path`. Returns those that were created, deepest first. Raises OSError."""
    made = list(itertools.takewhile(lambda folder: not os.path.lexists(folder), path.absolute().parents))
    if any(folder.name == "file:" for folder in made):  # the path is a URI
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    path.parent.mkdir(parents=True, exist_ok=True)
    return made


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of `folders` that are empty; give the deepest first."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def parent_folders(path: Path) -> Generator[None]:
    """Create the missing parent folders of `path`. Those that are still empty after the block are removed again.

    Raises `InputError` when they cannot be created.
    """
    try:
        made = make_parents(path)
    except OSError as error:
        raise os_error(error, path, "written") from error
    try:
        yield
    finally:
        remove_empty(made)


def atomic_write(path: Path | str, content: bytes, *, like: Path | None = None, private: bool = False) -> None:
    """Replace `path` by `content` in one step. Raises `InputError` when that fails. See also `atomic_writer`."""
    with atomic_writer(path, like=like, private=private) as out:
        out.write(content)


@contextlib.contextmanager
def atomic_writer(path: Path | str, *, like: Path | None = None, private: bool = False) -> Generator[IO[bytes]]:
    """A temporary binary file. It replaces `path` when the block succeeds, and is deleted when the block fails.

    The new file has the permissions of the old one, or of the file `like`. With `private`, only the owner can read a
    file that did not exist. Missing parent folders are created. `-` is stdout. A device or a pipe is written directly,
    because a rename would replace it. Raises `InputError` when writing fails.
    """
    target = Path(os.path.realpath(path))  # a rename would replace a symbolic link, not the file it points to
    if str(path) == "-":
        yield from _write_to_stdout()
    elif os.path.exists(path) and not os.path.isfile(path):
        yield from _write_directly(Path(path))  # not `target`: /dev/stdout leads to a pipe that has no path
    else:
        yield from _write_aside(target, path, like or target, 0o600 if private else 0o666)


def sync_folder(folder: Path) -> None:
    """Force the names of new files in `folder` to disk, where the system supports this."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def discard_stdout() -> None:
    """After a broken pipe, drop what is still buffered; otherwise Python fails to write it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_to_stdout() -> Iterator[IO[bytes]]:
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except OSError as error:
        discard_stdout()
        raise os_error(error, "stdout", "written") from error


def _write_directly(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("wb") as out:
            yield out
    except OSError as error:
        raise os_error(error, path, "written") from error


def _write_aside(target: Path, shown: Path | str, like: Path, mode: int) -> Iterator[IO[bytes]]:
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    with parent_folders(target):
        try:
            with open(aside, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as out:
                if like.exists():
                    with contextlib.suppress(PermissionError):  # some file systems have no permissions
                        aside.chmod(stat.S_IMODE(like.stat().st_mode))  # before anything is written
                yield out
                out.flush()
                os.fsync(out.fileno())
            aside.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            raise os_error(error, shown, "written") from error
        finally:
            # the file is gone after the rename, and never existed if the folder is not writable
            with contextlib.suppress(OSError):
                aside.unlink()
