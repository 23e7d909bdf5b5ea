"""The files of chats: where they are kept, read, written and taken away. Knows no server and no terminal."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chat_transcript import Transcript, from_row


class BadFile(Exception):
    """A file that holds no conversation, or cannot be read or written; says which and why."""


def state_folder(env: Mapping[str, str]) -> Path:
    """Where chats and the input history live: $XDG_STATE_HOME/doric, private, made if missing. Raises BadFile."""
    folder = Path(env.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "doric"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "chats").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise BadFile(f"cannot make {folder}: {error.strerror}; XDG_STATE_HOME names another place") from error
    return folder


def read(path: Path) -> Transcript:
    """The chat in the last line of a JSON Lines file. Raises BadFile."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return from_row(json.loads(lines[-1]))
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}") from error
    except IndexError:
        raise BadFile(f"{path} is empty") from None
    except ValueError as error:
        raise BadFile(f"the last line of {path} is no chat: {error}") from error


def write(path: Path, row: Mapping[str, Any]) -> None:
    """Put a row into a JSON Lines file, in the place of a row with the same id if there is one. Raises BadFile.

    The file is replaced in one step, so that a crash leaves the old one or the new one.
    """
    try:
        path = path.resolve()  # what a link points to is replaced, not the link
        old = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        mode = path.stat().st_mode if path.exists() else 0o600
        kept = [line for line in old if line.strip() and _id(line) != row["meta"]["id"]]
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
            file.write("\n".join([*kept, json.dumps(row, ensure_ascii=False)]) + "\n")
        os.replace(beside, path)
    except (OSError, UnicodeError) as error:
        raise BadFile(f"cannot write {path}: {error}") from error


def newest(folder: Path) -> Path:
    """The chat written last. Raises BadFile when there is none."""
    files = sorted(folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise BadFile(f"there is no chat in {folder} yet")
    return files[-1]


def _id(line: str) -> object:
    """The id of the row in a line; None for a line that is not a row with an id, which is kept as it is."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    meta = row.get("meta") if isinstance(row, dict) else None
    return meta.get("id") if isinstance(meta, dict) else None
