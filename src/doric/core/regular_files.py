"""Opening the files that a run reads again. A pipe in the place of one would wait for its other end, and a run that
waits for a file cannot be stopped with Ctrl-C."""

import contextlib
import errno
import os
import re
import stat
from pathlib import Path
from typing import IO

from doric.core.errors import InputError

STDOUT = Path("/dev/stdout")
STDOUT_NAMES = re.compile("-|/dev/stdout|/dev/fd/1|/proc/(?:self|thread-self)/fd/1")
NOT_REGULAR = "not a regular file"
A_FOLDER = "a folder"


def model_source(name: str) -> str:
    """The folder of a model, or its name on the Hugging Face Hub, which has at most one slash.

    Raises `InputError` if it can only be a folder and there is none, or if it is a file.

    >>> model_source("Qwen/Qwen3-8B")
    'Qwen/Qwen3-8B'
    """
    if not name.strip():
        raise InputError("the name of the model is empty", hint="Give a folder with config.json and weights.")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if folder.exists():
        raise InputError("not a folder", file=name, hint="Give a folder with config.json and weights.")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError("there is no such folder", file=name, hint="Give a folder with config.json and weights.")
    return name


def is_stdout(path: Path | str) -> bool:
    """Whether a name means stdout.

    >>> [is_stdout(name) for name in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/fd/2", "./-")]
    [True, True, True, True, False, False]
    """
    return STDOUT_NAMES.fullmatch(str(path).replace(f"/proc/{os.getpid()}/", "/proc/self/")) is not None


def named_output(path: Path | str) -> Path:
    """The output file that a name means. If it means stdout, and this is a file, the file's own name is used.

    So other files of the run go beside that file, and a later run can go on with it.
    """
    if not is_stdout(path):
        return Path(path)
    with contextlib.suppress(OSError):
        real = os.path.realpath("/dev/fd/1")
        if stat.S_ISREG(os.stat(real).st_mode) and os.path.samestat(os.stat(real), os.fstat(1)):
            return Path(min(os.path.relpath(real), real, key=len))
    return STDOUT


def is_open_stdout(handle: int) -> bool:
    """Whether an open file is the file that stdout leads to. It belongs to the shell, and is never removed."""
    try:
        return os.path.samestat(os.fstat(handle), os.fstat(1))
    except OSError:
        return False


def other_kind(path: Path | str) -> str:
    """What is at `path` if it is neither a regular file nor missing, in words; else "".

    >>> other_kind("/dev"), other_kind("/dev/null"), other_kind("/nosuchfile")
    ('a folder', 'not a regular file', '')
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    return A_FOLDER if stat.S_ISDIR(mode) else "" if stat.S_ISREG(mode) else NOT_REGULAR


def open_at_once(path: str | Path, flags: int) -> int:
    """An `opener=` that does not wait for the other end of a pipe: without a reader, opening it to write fails."""
    at_once = getattr(os, "O_NONBLOCK", 0)  # Windows has no such pipes
    handle = os.open(path, flags | at_once, 0o666)
    if at_once:
        os.set_blocking(handle, True)
    return handle


def open_regular(path: Path | str) -> IO[bytes]:
    """A regular file, open to be read. Raises `InputError` if it is a pipe, a socket or a device, else OSError."""
    try:
        file = open(path, "rb", opener=open_at_once)  # noqa: SIM115 - the caller closes it
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise _not_regular(path) from error
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _not_regular(path)
    return file


def read_regular(path: Path | str) -> bytes:
    """The content of a regular file. Raises the same errors as `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def refuse_read_once(path: Path | str) -> None:
    """Raise `InputError` if `path` is stdin or a pipe: a command that reads a file twice would then find nothing."""
    if str(path) == "-" or other_kind(path) == NOT_REGULAR:
        hint = "It is read twice: write it to a file first, and give that."
        raise InputError(f"cannot be read: {NOT_REGULAR}", file=path, hint=hint)


def _not_regular(path: Path | str) -> InputError:
    return InputError(f"cannot be read: {NOT_REGULAR}", file=path, hint="Remove it, or give another file.")
