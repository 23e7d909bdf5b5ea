"""Everything that can go wrong for a user, as a sentence and a hint.

DoricError
├── InputError         a file the user gave is not what it should be; names file and line
├── SettingsError      a flag, a variable or a combination of them
├── PlanError          this run and the file it would write do not belong together
└── ServerError       a model server did not give an answer
    ├── RetryableError       but may give one to the same call later: busy, broken off, garbled
    └── FatalServerError   and will not give one to the next call either: key, model, quota
"""

from pathlib import Path


class DoricError(Exception):
    """A fault that the user can mend: scripts print `message`, then `hint`, and exit with 2."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(DoricError):
    """A file is missing, unreadable or of the wrong shape."""

    def __init__(
        self, message: str, *, file: str | Path | None = None, line: int | None = None, hint: str = ""
    ) -> None:
        where = "" if file is None else f"{file}:" if line is None else f"{file}:{line}:"
        super().__init__(f"{where} {message}".strip(), hint=hint)


class SettingsError(DoricError):
    """A flag or a variable is missing, malformed or contradicts another."""


def missing_package(error: ImportError) -> SettingsError:
    """The complaint about a package that a room needs and that is not there."""
    hint = "Give the command with uv, which brings the packages: uv run python …"
    return SettingsError(f"the package {error.name} is not installed", hint=hint)


class PlanError(DoricError):
    """The output file belongs to another plan, or the plan could not be met."""


class ServerError(DoricError):
    """One request to a model server failed for good."""


class FatalServerError(ServerError):
    """No later request can succeed either: authentication, an unknown model, an exhausted quota."""


class RetryableError(ServerError):
    """The same request may succeed later. `fault` is one word for the tally of faults.

    `after` is the wait in seconds that the server asked for, None when it named none; `throttled` marks a 429. The
    tokens are those of an answer that was paid for and could not be read, `counted` by the server or guessed.
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
    ) -> None:
        super().__init__(message)
        self.tokens_in = tokens_in
        self.tokens_out = tokens_out
        self.counted = counted
        self.fault = fault
        self.after = after
        self.throttled = throttled
