"""The folders of a run, and the note in them that says with which settings the run began."""

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any

from doric.core.errors import DoricError, os_error
from doric.core.files import lock_open_file
from doric.finetune.hosted import mount_drive

LOCK = "run.lock"
"""The file in a run's folder that is locked while the run uses the folder. It stays, and is empty."""
WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
"""The errors with which a system says that a file cannot be written."""
SPARE = 64 * 2**20
"""With fewer bytes free, torch has probably filled the disk if it could not write a file."""


def cache_folder() -> Path:
    """The project's cache: downloaded converters and the small model of `smollm2_checkpoint.py`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "doric"


_claimed: dict[Path, IO[bytes]] = {}
"""The folders of the runs of this process, each with its open lock file."""


def run_folder(project: Path, wanted: str, name: str, *, drive: bool) -> Path:
    """The folder for the files of this run, created if missing; on Google Drive the files outlive the session.

    Until this process ends, no other process of this machine gets the same folder. Raises `InputError` if it cannot be
    written, and `DoricError` if another process has it.
    """
    home = mount_drive() / "doric" if drive else project / "finetune_notebook"
    folder = (Path(wanted).expanduser().resolve() if wanted else home / "runs") / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        claim(folder)
    except OSError as error:
        raise os_error(error, folder, "written") from error
    return folder


def claim(folder: Path) -> None:
    """Lock a run's folder for this process. The system removes the lock when the process ends, also when it is killed.

    Raises `DoricError` if another process has it, and `OSError` if the folder cannot be written. On file systems
    without locks, such as those of some networks, nothing is locked.
    """
    folder = folder.resolve()
    if folder in _claimed:
        return
    handle = (folder / LOCK).open("ab")
    try:
        lock_open_file(handle, folder)
    except DoricError as error:
        handle.close()
        hint = "Wait until it ends (a notebook: until its kernel is stopped), or choose another RUN_NAME."
        raise DoricError(f"{folder}: another run is using this folder", hint=hint) from error
    except OSError as error:
        if error.errno != errno.ENOLCK:
            handle.close()
            raise
    _claimed[folder] = handle


@contextlib.contextmanager
def disk_errors(folder: Path) -> Generator[None]:
    """In the block, a full disk and other errors of writing to `folder` are an `InputError`.

    The libraries that write weights raise errors of their own when a disk is full, so the free space is looked at, too.
    """
    try:
        yield
    except DoricError:
        raise
    except OSError as error:
        if error.errno not in WRITING:
            raise
        raise os_error(error, folder, "written") from error
    except Exception as error:
        number = _error_number(error, folder)
        if number not in WRITING:
            raise
        raise os_error(OSError(number, os.strerror(number)), folder, "written") from error


def _error_number(error: Exception, folder: Path) -> int:
    """The number of the system's error behind an error of a library, or 0.

    tokenizers and safetensors write it at the end of the message. torch does not: its error counts if no space is left.
    """
    if found := re.search(r"\(os error (\d+)\)", str(error)):
        return int(found[1])
    return errno.ENOSPC if isinstance(error, RuntimeError) and shutil.disk_usage(folder).free < SPARE else 0


def export_folder(project: Path, folder: Path, name: str, *, drive: bool) -> Path:
    """The folder for the large files: in the run's folder, but never on Google Drive, which they would fill."""
    home = project / "finetune_notebook" / "runs" / name if drive else folder
    if drive:
        print(f"The adapter is on Drive. The large files are on this machine only; download them: {home / 'export'}")
    (home / "export").mkdir(parents=True, exist_ok=True)
    return home / "export"


def read_note(path: Path) -> dict[str, Any]:
    """The settings that a run saved when it started; {} if the file is missing or incomplete."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
