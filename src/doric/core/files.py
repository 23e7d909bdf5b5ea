"""Whole files: replaced in one step or not at all, and what the operating system says as a sentence.

Knows nothing of what is in a file. Open to every room, as `errors` is.
"""

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO

from doric.core.errors import InputError

REASONS = {
    errno.ENOENT: ("there is no such file or folder", "Check the path."),
    errno.EISDIR: ("it is a directory", "Name a file inside it."),
    errno.ENOTDIR: ("a part of its path is a file, not a folder", "Check the path."),
    errno.EEXIST: ("a part of its path is a file, not a folder", "Check the path."),
    errno.EACCES: ("permission denied", "Choose a folder you own, or mend its permissions."),
    errno.EPERM: ("the system does not permit it", "Choose a folder you own, or mend its permissions."),
    errno.EROFS: ("the file system is read-only", "Choose another folder."),
    errno.ENOSPC: ("the disk is full", "Free some space, then run the same command again."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, then run the same command again."),
    errno.EPIPE: ("nobody reads it any more", ""),
    errno.EFBIG: ("the file would pass the size limit", "Raise the limit (ulimit -f) or write elsewhere."),
}
HEAD = 4096
"""Bytes by which a file of ours is known."""


def explain(error: OSError, path: Path | str, verb: str) -> InputError:
    """The `InputError` that says why `path` cannot be `verb` ("read", "written") and what to do about it."""
    reason, hint = REASONS.get(error.errno or 0, ((error.strerror or str(error)).lower(), "Check the path."))
    return InputError(f"cannot be {verb}: {reason}", file=path, hint=hint)


def refuse_foreign_file(path: Path, mark: bytes, what: str) -> None:
    """Raise `InputError` where `path` holds anything but an earlier `what`, which is known by `mark` near its head."""
    try:
        with path.open("rb") as there:
            head = there.read(HEAD)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise explain(error, path, "written") from error
    if head and mark not in head:
        raise InputError(f"it is there already, and is no {what}", file=path, hint="Give another name.")


def check_writable(path: Path) -> None:
    """Raise `InputError` where the system says that `path` cannot be written, or where no plain file can stand there.

    It may let a file be replaced whose owner has made it read-only: that is refused too.
    """
    if path.is_dir():
        raise explain(IsADirectoryError(errno.EISDIR, "is a directory"), path, "written")
    if path.exists() and not path.is_file():
        raise InputError("cannot be written: it is no plain file", file=path, hint="Give another name.")
    if path.exists() and not os.access(path, os.W_OK):
        raise explain(PermissionError(errno.EACCES, "permission denied"), path, "written")


def discard_stdout() -> None:
    """After a broken pipe: let nothing that is still buffered be tried once more at exit, and complained of."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def atomic_writer(path: Path | str, *, like: Path | None = None) -> Generator[IO[bytes]]:
    """Yield a binary file that becomes `path` when the block ends well and vanishes when it does not.

    Who may read and write it is as it was; where it is `like` another file, as it is there.
    Missing parent folders are made. `-` is stdout; a device or a pipe is written directly, for neither can be
    renamed over. A failed write raises `InputError`.
    """
    target = Path(os.path.realpath(path))  # a rename would otherwise replace a symlink by a file
    if str(path) == "-":
        yield from _written_to_stdout()
    elif target.exists() and not target.is_file():
        yield from _written_directly(target, path)
    else:
        yield from _written_aside(target, path, like or target)


def atomic_write(path: Path | str, content: bytes, *, like: Path | None = None) -> None:
    """Replace `path` by `content` in one step. Raises `InputError` when that cannot be done."""
    with atomic_writer(path, like=like) as out:
        out.write(content)


def _written_to_stdout() -> Iterator[IO[bytes]]:
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except OSError as error:
        discard_stdout()
        raise explain(error, "stdout", "written") from error


def _written_directly(target: Path, named: Path | str) -> Iterator[IO[bytes]]:
    try:
        with target.open("wb") as out:
            yield out
    except OSError as error:
        raise explain(error, named, "written") from error


def _written_aside(target: Path, named: Path | str, like: Path) -> Iterator[IO[bytes]]:
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("xb") as out:
            if like.exists():
                with contextlib.suppress(PermissionError):  # file systems that know no such rights say so
                    aside.chmod(stat.S_IMODE(like.stat().st_mode))  # before there is anything in it to be read
            yield out
            out.flush()
            os.fsync(out.fileno())
        aside.replace(target)
    except OSError as error:
        raise explain(error, named, "written") from error
    finally:
        # Gone already after the rename; never there when the folder refused it.
        with contextlib.suppress(OSError):
            aside.unlink()
