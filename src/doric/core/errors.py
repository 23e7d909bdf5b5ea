"""Errors that a user can fix: each has a message of one sentence and a hint.

DoricError
├── InputError             a file that the user gave cannot be used; names the file and the line
├── SettingsError          a flag or variable is missing, malformed or contradicts another
├── PlanError              the output file belongs to another plan
├── CheckError             a check of fine-tuning found something that would damage the model
├── RescuedError           another program changed an output file during the run; its rows are in a new file
└── ServerError            a model server did not answer a request
    ├── RetryableError     the same request may succeed later: busy, disconnected, unreadable answer
    └── FatalServerError   no later request will succeed either: key, model, quota
        └── NotOffered     the server does not accept requests of this kind
"""

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

REASONS = {
    errno.ENOENT: ("there is no such file or folder", "Check the path."),
    errno.EISDIR: ("it is a directory", "Give a file inside it."),
    errno.ENOTDIR: ("a part of its path is a file, not a folder", "Check the path."),
    errno.EEXIST: ("a part of its path is a file, not a folder", "Check the path."),
    errno.EACCES: ("permission denied", "Choose a folder you own, or change its permissions."),
    errno.EPERM: ("the system does not permit it", "Choose a folder you own, or change its permissions."),
    errno.EROFS: ("the file system is read-only", "Choose another folder."),
    errno.ENOSPC: ("the disk is full", "Free some space, then run the same command again."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, then run the same command again."),
    errno.EPIPE: ("the program that reads it has ended", ""),
    errno.EBADF: ("it is closed", ""),
    errno.ENXIO: ("no program reads from it", "Start the reader first."),
    errno.ENOLCK: ("its file system has no locks", "Choose a folder on another file system."),
    errno.EIO: ("the device reports an error", "Check the disk or the terminal."),
    errno.EMFILE: ("too many files are open", "Make fewer calls at once, or raise the limit (ulimit -n)."),
    errno.EFBIG: ("the file would exceed the size limit", "Raise the limit (ulimit -f) or write elsewhere."),
}


PLAIN_PATH = "Give the path itself, without file://."


class DoricError(Exception):
    """An error that the user can fix. Scripts print `message` and `hint`, and exit with `exit_status`."""

    exit_status: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback."""
        return [f"Stopped: {self.message}", *([f"What to do: {self.hint}"] if self.hint else [])]


class InputError(DoricError):
    """A file is missing, unreadable or malformed. The message starts with `file` and `line`, if given."""

    def __init__(
        self, message: str, *, file: str | Path | None = None, line: int | None = None, hint: str = ""
    ) -> None:
        where = "" if file is None else f"{file}:" if line is None else f"{file}:{line}:"
        super().__init__(f"{where} {message}".strip(), hint=hint)


class SettingsError(DoricError):
    """A flag or a variable is missing, malformed or contradicts another."""


class PlanError(DoricError):
    """The output file belongs to another plan, or the plan cannot be carried out."""


class CheckError(DoricError):
    """A check of fine-tuning found something that would damage the model."""


class RescuedError(DoricError):
    """Another program removed, replaced or changed an output file during the run. Its rows are in a new file.

    `steps` are what to do before the run can be resumed. They make the hint, if there is no other.
    """

    def __init__(self, message: str, *, hint: str = "", steps: Sequence[str] = ()) -> None:
        self.steps = tuple(steps)
        resume = f"To resume, {', then '.join(steps)}, and run the same command again." if steps else ""
        super().__init__(message, hint=hint or resume)


class ServerError(DoricError):
    """A request to a model server failed and is not retried.

    `fault` is one word for the kind of error; the summary counts errors by it. `tokens_in` and `tokens_out` are the
    tokens of an answer that was paid for but could not be used. `counted` is True if the server counted these tokens,
    and False if they are estimated.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        fault: str = "refused",
        tokens_in: int = 0,
        tokens_out: int = 0,
        counted: bool = True,
    ) -> None:
        super().__init__(message, hint=hint)
        self.fault = fault
        self.tokens_in = tokens_in
        self.tokens_out = tokens_out
        self.counted = counted


class FatalServerError(ServerError):
    """No later request can succeed either: wrong key, unknown model, exhausted quota."""


class NotOffered(FatalServerError):
    """The server has refused its first request of this kind: it lacks the page, or a field of the request."""


class RetryableError(ServerError):
    """The same request may succeed later.

    `after` is the wait in seconds that the server asked for, or None. `throttled` marks a 429.
    """

    def __init__(
        self,
        message: str,
        *,
        fault: str,
        after: float | None = None,
        throttled: bool = False,
        tokens_in: int = 0,
        tokens_out: int = 0,
        counted: bool = True,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint, fault=fault, tokens_in=tokens_in, tokens_out=tokens_out, counted=counted)
        self.after = after
        self.throttled = throttled


def missing_package(error: ImportError) -> SettingsError:
    """The error for a package that is needed but not installed."""
    hint = "Run the command with uv, which installs the packages: uv run python …"
    return SettingsError(f"the package {error.name} is not installed", hint=hint)


def os_error(error: OSError, path: Path | str, verb: str) -> InputError:
    """The `InputError` for a failed operation on `path`, with a hint; `verb` is "read" or "written"."""
    reason, hint = REASONS.get(error.errno or 0, ((error.strerror or str(error)).lower(), "Check the path."))
    hint = PLAIN_PATH if "file:" in Path(path).parts else hint
    return InputError(f"cannot be {verb}: {reason}", file=path, hint=hint)
