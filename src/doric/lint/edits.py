"""Changes of the language data that are shown as a diff first, written in one go, and can be undone.

The old files are kept beside the new ones as FILE.bak, FILE.bak.2 and so on. `UNDO` lists the changes that can be
undone, the last one at its end.
"""

import difflib
import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doric import data
from doric.core.backups import Backups
from doric.core.cli import says_yes
from doric.core.errors import InputError, os_error
from doric.core.files import atomic_write, encode_json, parse_object
from doric.core.regular_files import read_regular
from doric.core.text import printable
from doric.lint.source import TOML_STRING, Source, unquoted

UNDO = ".undo.json"
BY_HAND = "then restore old lines from Git, or from the .bak files beside the data."
LONGEST = 200
"""A longer line is shown in part."""
SWAP_WORDS = len(("--swap", "OLD", "NEW"))
BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Draft:
    """New lines of the data files. `lines` has a list of lines for each file that differs from its source."""

    sources: Mapping[str, Source]
    lines: dict[str, list[str]] = field(default_factory=dict)

    def set_line(self, name: str, number: int, new: str | None) -> None:
        """Replace a line, or with None, mark it for deletion. `number` is its number in the file as it is now."""
        if name not in self.lines:
            self.lines[name] = list(self.sources[name].lines)
        self.lines[name][number - 1] = DELETED if new is None else new

    def line(self, name: str, number: int) -> str:
        """A line of the draft."""
        return self.lines.get(name, self.sources[name].lines)[number - 1]

    def replace_string(self, name: str, number: int, old: str, new: str) -> bool:
        """Replace a string of a TOML file that begins on a line, or a cell of a table. False if it is not there."""
        line = self.line(name, number) if number else ""
        if name.endswith(".tsv"):
            cells = line.split("\t")
            self.set_line(name, number, "\t".join(new if cell.strip() == old else cell for cell in cells))
            return old in map(str.strip, cells)
        for found in TOML_STRING.finditer(line):
            if unquoted(found.group()) == old:
                literal = _literal(found.group(), old, new)
                self.set_line(name, number, line[: found.start()] + literal + line[found.end() :])
                return True
        return False

    def files(self) -> dict[str, str]:
        """Name -> new content of each file that changes."""
        drafted = {name: [line for line in lines if line is not DELETED] for name, lines in self.lines.items()}
        return {name: "\n".join(lines) for name, lines in drafted.items() if lines != self.sources[name].lines}

    def diff(self) -> Iterator[str]:
        """The changes, line by line, for people: `- old` and `+ new` below the place of the change."""
        for name, text in sorted(self.files().items()):
            yield from diff(data.shown(name), self.sources[name].lines, text.split("\n"))


DELETED = "\x00"
"""Stands for a deleted line in a draft."""


def _literal(quoted: str, old: str, new: str) -> str:
    if old in quoted and quoted[0] not in new and "\\" not in new:  # nothing in it is escaped, nor has to be
        return quoted.replace(old, new, 1)
    return json.dumps(new, ensure_ascii=False)


def diff(name: str, old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """The lines that differ, each group below its place: `file:line`, `- old`, `+ new`.

    >>> list(diff("holds.toml", ["a", "b"], ["a", "c"]))
    ['holds.toml:2', '  - b', '  + c']
    """
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    for kind, first, last, start, end in matcher.get_opcodes():
        if kind != "equal":
            yield f"{name}:{first + 1}"
            pairs = list(itertools.zip_longest(old[first:last], new[start:end]))
            yield from (f"  - {_excerpt(line, other)}" for line, other in pairs if line is not None)
            yield from (f"  + {_excerpt(line, other)}" for other, line in pairs if line is not None)


def _excerpt(line: str, other: str | None) -> str:
    """A line as a diff shows it: of a very long one, what is around its first difference from the `other`."""
    if len(line) <= LONGEST or other is None:
        return line.strip()
    at = next((at for at, (one, two) in enumerate(zip(line, other, strict=False)) if one != two), len(line))
    return f"… {line[max(0, at - LONGEST // 2) : at + LONGEST // 2].strip()} …"


def agreed(command: str, diff: Iterable[str], *, yes: bool, notes: Iterable[str] = ()) -> bool:
    """Show a change, and whether it may be written: with --yes, or if a person at the terminal says so."""
    for line in (*diff, *notes):
        print(printable(line))
    if yes:
        return True
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(f"Nothing is written. Give --yes to write {command}.")
        return False
    return says_yes(f"Write {command}?")


def files_diff(files: Mapping[str, str]) -> Iterator[str]:
    """What `write` would change in `files`."""
    for name, text in sorted(files.items()):
        yield from diff(data.shown(name), _lines(_folder() / name), text.split("\n"))


def write(files: Mapping[str, str], command: str) -> None:
    """Write all `files`, name -> content, after their old versions were copied. Raises `InputError`.

    A name is relative to the data folder, or an absolute path; such a file may be new. If one of them cannot be
    written, the others get their old content again.
    """
    paths = {name: _folder() / name for name in sorted(files)}
    old = {path: path.read_bytes() for path in paths.values() if path.is_file()}
    contents = {path: _encoded(files[name], old.get(path, b"")) for name, path in paths.items()}
    kept = Backups(*contents).keep(*old)
    copies = dict(zip([path for path, content in old.items() if content], kept, strict=True))
    before, done = _changes(), list[Path]()
    try:
        _store([*before, _change(command, contents, copies)])  # first: undo also restores what a killed program left
        for path, content in contents.items():
            done.append(path)
            atomic_write(path, content)
    except (InputError, OSError) as error:
        for path in done:
            _restore(path, copies.get(path))
        if done:
            _store(before)
        if isinstance(error, InputError):
            raise
        raise os_error(error, data.shown(""), "written") from error


def _encoded(text: str, old: bytes) -> bytes:
    """`text` with the line ends and the byte-order mark of the old file."""
    text = text.replace("\n", "\r\n") if b"\r\n" in old else text
    return (BOM if old.startswith(BOM) else b"") + text.encode()


def _restore(path: Path, copy: Path | None) -> None:
    """Give a file its old content; a file that was not there, or was empty, is removed."""
    if copy:
        atomic_write(path, copy.read_bytes())
    elif path.is_file():
        path.unlink()


def _change(command: str, contents: Mapping[Path, bytes], copies: Mapping[Path, Path]) -> dict:
    files = {
        _name(path): {"copy": _name(copies[path]) if path in copies else "", "written": _hash(content)}
        for path, content in contents.items()
    }
    return {"command": command, "files": files}


def undo(may_write: Callable[[str, Iterator[str]], bool]) -> bool:
    """Give the files of the last change their old content, if `may_write(command, diff)` agrees.

    Returns False if it does not. Raises `InputError` if there is nothing to undo, or if a file has changed since.
    """
    if not (changes := _changes()):
        hint = "Only --swap, --house-spelling and an applied review can be undone."
        raise InputError("there is no change to undo", hint=hint)
    last = changes[-1]
    restored = {
        _folder() / name: _folder() / file["copy"] if file["copy"] else None for name, file in last["files"].items()
    }
    _check_copies(restored)
    _check_unchanged(last, restored)
    if not may_write(last["command"], _undo_diff(restored)):
        return False
    for path, copy in restored.items():
        _restore(path, copy)
    _store(changes[:-1])
    for copy in filter(None, restored.values()):
        copy.unlink(missing_ok=True)
    return True


def _check_copies(restored: Mapping[Path, Path | None]) -> None:
    if missing := next((copy for copy in restored.values() if copy and not copy.is_file()), None):
        reason = "the copy of the old file is missing, so the change cannot be undone"
        raise InputError(reason, file=_shown(missing), hint=f"Delete {data.shown(UNDO)}; {BY_HAND}")


def _check_unchanged(change: Mapping, restored: Mapping[Path, Path | None]) -> None:
    """Raise `InputError` if files have been changed after the command, with all of them and what to do."""
    changed = [
        path for path, (name, file) in zip(restored, change["files"].items(), strict=True)
        if _is_changed(path, restored[path], file["written"])
    ]  # fmt: skip
    if not changed:
        return
    first, copy = changed[0], restored[changed[0]]
    names = ", ".join(map(_shown, changed[1:]))
    reason = "it has been changed since, and undoing would lose that" + (f" (and so have {names})" if names else "")
    old = f"copy {_shown(copy)} over it" if copy else "delete it, for there was no such file before"
    hint = f"To lose your later correction, {old}, and give --undo again. To keep it, {_other_way(change['command'])}."
    raise InputError(reason, file=_shown(first), hint=hint)


def _is_changed(path: Path, copy: Path | None, written: str) -> bool:
    now, old = (one.read_bytes() if one and one.is_file() else b"" for one in (path, copy))
    return now != old and _hash(now) != written  # a program that was killed has left old files


def _other_way(command: str) -> str:
    """What to do instead of undoing a command."""
    words = command.split()
    if words[:1] == ["--swap"] and len(words) == SWAP_WORDS:
        return f"swap the words back: --swap {words[2]} {words[1]}"
    return "change the lines back by hand that you do not want; the copy has the old ones"


def _undo_diff(restored: Mapping[Path, Path | None]) -> Iterator[str]:
    for path, copy in restored.items():
        yield from diff(_shown(path), _lines(path), _lines(copy) if copy else [])


def _lines(path: Path) -> list[str]:
    """The lines of a file; none if there is no such file."""
    return path.read_text("utf-8-sig").split("\n") if path.is_file() else []


def _changes() -> list[dict]:
    """The changes that can be undone. Raises `InputError` if the list is not what `_store` writes."""
    try:
        found = parse_object(read_regular(_folder() / UNDO), file=data.shown(UNDO)).get("changes")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable() from error
    if not isinstance(found, list) or not all(map(_is_change, found)):
        raise _unreadable()
    return found


def _is_change(value: object) -> bool:
    match value:
        case {"command": str(), "files": dict() as files}:
            return all(isinstance(file, dict) and _texts(file, "copy", "written") for file in files.values())
    return False


def _texts(file: Mapping[str, Any], *names: str) -> bool:
    return all(isinstance(file.get(name), str) for name in names)


def _unreadable() -> InputError:
    hint = f"Delete it; {BY_HAND}"
    return InputError("the list of changes cannot be read", file=data.shown(UNDO), hint=hint)


def _store(changes: Sequence[dict]) -> None:
    if changes:
        atomic_write(_folder() / UNDO, encode_json({"changes": list(changes)}) + b"\n")
    else:
        (_folder() / UNDO).unlink(missing_ok=True)


def _folder() -> Path:
    return Path(str(data.FOLDER))


def _shown(path: Path) -> str:
    return data.shown(_name(path))


def _name(path: Path) -> str:
    """The name of a file in the data folder, relative to it; the whole path of another file."""
    return path.relative_to(_folder()).as_posix() if path.is_relative_to(_folder()) else str(path)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
