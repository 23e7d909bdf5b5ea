"""The files of chats: where they are kept, read, written and taken away. Knows no server and no terminal."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doric.chat.transcript import Transcript, from_row


class BadFile(Exception):
    """A file that holds no conversation, or cannot be read or written; says which and why."""


def state_folder(env: Mapping[str, str]) -> Path:
    """Where chats and the input history live: $XDG_STATE_HOME/doric, private, made if missing. Raises BadFile."""
    try:
        folder = Path(env.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "doric"
    except RuntimeError as error:
        raise BadFile("there is no home folder; XDG_STATE_HOME names a place for chats") from error
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "chats").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise BadFile(f"cannot make {folder}: {error.strerror}; XDG_STATE_HOME names another place") from error
    return folder


def named(text: str) -> Path:
    """The file that somebody typed, ~ and all. Raises BadFile."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # nobody of that name has a home here
        raise BadFile(f"there is no file {text}: {error}") from error


def read(path: Path) -> Transcript:
    """The chat in the last line of a JSON Lines file. Raises BadFile."""
    try:
        return from_row(json.loads(_lines(path)[-1]))
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}") from error
    except IndexError:
        raise BadFile(f"{path} is empty") from None
    except ValueError as error:
        raise BadFile(f"the last line of {path} is no chat: {error}") from error


def resume(folder: Path) -> Transcript:
    """The chat written last, without a turn if all of it was taken back. Raises BadFile when there is none."""
    try:
        path = max(folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime, default=None)
    except OSError as error:
        raise BadFile(f"cannot read {folder}: {error.strerror}") from error
    if path is None:
        raise BadFile(f"there is no chat in {folder} yet")
    return read(path) if path.stat().st_size else Transcript(id=path.stem)


def write(path: Path, row: Mapping[str, Any]) -> None:
    """Put a row into a JSON Lines file, in the place of a row with the same id if there is one. Raises BadFile."""
    _rewrite(path, row["meta"]["id"], [json.dumps(row, ensure_ascii=False)])


def forget(path: Path, name: str) -> None:
    """Take the row with this id out of a file, if both are there. Raises BadFile."""
    _rewrite(path, name, [])


def _rewrite(path: Path, name: str, rows: list[str]) -> None:
    """Put these rows in the place of the one with an id; in one step, so that a crash leaves the old file or a new."""
    try:
        path = path.resolve()  # what a link points to is replaced, not the link
        if not rows and not path.exists():
            return
        old = _lines(path) if path.exists() else []
        mode = path.stat().st_mode if path.exists() else 0o600
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in [*(line for line in old if _id(line) != name), *rows])
        os.replace(beside, path)
    except OSError as error:
        raise BadFile(f"cannot write {path}: {error.strerror}") from error
    except ValueError as error:  # what is there is not UTF-8
        raise BadFile(f"cannot write {path}: {error}") from error


def _lines(path: Path) -> list[str]:
    """The lines that are not blank; only a line feed ends one, for U+2028 and the like may stand within a row."""
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def _id(line: str) -> object:
    """The id of the row in a line; None for a line that is not a row with an id, which is kept as it is."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    meta = row.get("meta") if isinstance(row, dict) else None
    return meta.get("id") if isinstance(meta, dict) else None
