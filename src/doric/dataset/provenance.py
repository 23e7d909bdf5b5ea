"""Where texts come from: source, licence and permission. They are asked for, and kept in the meta of every row."""

import argparse
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from doric.core.errors import SettingsError
from doric.core.text import has_text, printable

FIELDS = ("source", "licence", "permission")
ASKED = {
    "source": "Who wrote these texts, and where are they from",
    "licence": "Under which licence may the rows be passed on (for instance CC-BY-4.0, or 'private')",
    "permission": "Who allowed their use for training a model, and when",
}
REFUSED = frozenset(("no", "none", "n", "na", "nae", "unknown", "-", "?"))
"""Values of --permission that give none."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who wrote texts and where they are from, the licence of the rows, and who allowed their use."""

    source: str
    licence: str
    permission: str

    @classmethod
    def of(cls, args: argparse.Namespace, stored: Mapping[str, Any]) -> Self:
        """As the flags say, else as the plan of the run that is resumed, else asked for on a terminal.

        A forecast asks for nothing. Raises `SettingsError` if something is missing or no permission is given.
        """
        given = {name: _line(getattr(args, name) or "") or _line(str(stored.get(name) or "")) for name in FIELDS}
        missing = [name for name in FIELDS if not given[name]]
        if missing and not args.dry_run:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                flags = ", ".join(f"--{name}" for name in missing)
                raise SettingsError(f"--from-texts needs {flags}", hint=f"{ASKED[missing[0]]}? Say it with the flag.")
            given |= {name: _ask(name) for name in missing}
        if given["permission"].lower().rstrip(".!") in REFUSED:
            hint = "Use only texts whose author allows it, and say who allowed it and when."
            raise SettingsError(f"--permission is '{given['permission']}', so the texts are not used", hint=hint)
        return cls(**given)

    def fields(self) -> dict[str, str]:
        """The three values by name."""
        return asdict(self)


def optional(args: argparse.Namespace) -> dict[str, str]:
    """Those of the three values that the flags give, by name."""
    return {name: value for name in FIELDS if (value := _line(getattr(args, name) or ""))}


def _ask(name: str) -> str:
    print(f"{ASKED[name]}? ", end="", file=sys.stderr, flush=True)
    # the event loop's handler would wait until the line is read
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        value = _line(sys.stdin.readline())
    finally:
        signal.signal(signal.SIGINT, handler)
    if not value:
        raise SettingsError(f"no {name} was given", hint=f"Say it with --{name}.")
    return value


def _line(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if has_text(line) else ""
