"""What a command line of the topic widener asks for, checked: numbers, where the list goes, which groups.

Knows no model; writes nothing.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from doric.core.errors import InputError, SettingsError
from doric.topics.lists import JSON_LINES


def check_numbers(args: argparse.Namespace) -> None:
    """Raise `SettingsError` for a number that no run can have."""
    for flag in ("per_group", "max_concurrency", "timeout", "max_cost", "max_total_tokens"):
        if (value := vars(args)[flag]) is not None and not value > 0:
            raise SettingsError(f"--{flag.replace('_', '-')} is {value}", hint="Give a number above 0.")
    if any(price is not None and not price >= 0 for price in (args.price_in, args.price_out)):
        raise SettingsError("a price below 0", hint="Give US dollars for a million tokens.")


def output(args: argparse.Namespace) -> Path:
    """Where the widened list goes. Raises `SettingsError` when that is not said, or no list of topics can go there."""
    if not args.in_place and args.output is None and not args.dry_run:
        raise SettingsError("there is neither --output nor --in-place", hint="Say where the widened list goes.")
    path = args.output or args.input
    if str(path) == "-":
        raise SettingsError("a topic list grows call by call, and cannot go to '-'", hint="Name a file.")
    if path.suffix.lower() in JSON_LINES:
        raise SettingsError(f"{path}: a file of JSON lines is no topic list", hint="Name it *.json, or *.txt.")
    return path


def chosen(names: str | None, groups: Mapping[str, object], file: Path) -> list[str]:
    """The groups to widen, in the order of the file."""
    if names is None:
        return list(groups)
    parts, known = names.split(","), {_spaced(name): name for name in groups}
    wanted: list[str] = []
    at = 0
    while at < len(parts):
        # the longest first: a name may have commas in it
        ends = [end for end in range(len(parts), at, -1) if _spaced(",".join(parts[at:end])) in known]
        end = ends[0] if ends else at + 1
        name = " ".join(",".join(parts[at:end]).split())
        if not ends and name:
            hint = f"The groups there are: {', '.join(groups)}."
            raise InputError(f"there is no group '{name}'", file=file, hint=hint)
        wanted += [known[_spaced(name)]] if ends else []
        at = end
    if not wanted:
        raise SettingsError("--groups names no group", hint="Give names with commas between them.")
    return [name for name in groups if name in wanted]


def _spaced(name: str) -> str:
    """A group's name, however it is spaced out about its commas."""
    return ", ".join(" ".join(part.split()) for part in name.split(","))
