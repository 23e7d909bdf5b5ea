"""A chat as messages, as a row of the dataset, and as a line of a JSON Lines file."""

import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from doric.core.errors import InputError, os_error
from doric.core.files import atomic_write, locked
from doric.core.text import replace_surrogates

type Message = dict[str, str]
"""A role ("system", "user" or "assistant") and its content."""


@dataclass
class Chat:
    """The messages of one chat, the system prompt first if there is one.

    `partial` has the indices in `messages` of incomplete answers: stopped, broken off or cut at the token limit.
    `backend` is the model that answered last.
    """

    messages: list[Message] = field(default_factory=list)
    partial: set[int] = field(default_factory=set)
    backend: str = ""
    id: str = field(default_factory=lambda: f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}")

    @property
    def system(self) -> str:
        """The system prompt, "" if there is none."""
        first = self.messages[0] if self.messages else {}
        return first["content"] if first.get("role") == "system" else ""

    @system.setter
    def system(self, text: str) -> None:
        had = int(bool(self.system))
        self.messages[:had] = [{"role": "system", "content": replace_surrogates(text)}] if text else []
        self.partial = {index + int(bool(text)) - had for index in self.partial}

    @property
    def turns(self) -> list[Message]:
        """The messages without the system prompt."""
        return self.messages[1:] if self.system else self.messages

    @property
    def unanswered(self) -> bool:
        """Whether the last message is a question."""
        return bool(self.turns) and self.turns[-1]["role"] == "user"

    @property
    def answered(self) -> bool:
        """Whether there is an answer, so that the chat can be saved."""
        return any(turn["role"] == "assistant" for turn in self.turns)

    def copy(self) -> Self:
        """An independent copy of this chat."""
        return replace(self, messages=[*self.messages], partial={*self.partial})

    def ask(self, text: str) -> None:
        """Add a question. It replaces a question that was never answered, because models need turns that alternate."""
        if self.unanswered:
            self.messages.pop()
        self.messages.append({"role": "user", "content": replace_surrogates(text)})

    def answer(self, text: str, *, complete: bool) -> None:
        """Add an answer to the last question."""
        if not complete:
            self.partial.add(len(self.messages))
        self.messages.append({"role": "assistant", "content": text})

    def drop_answer(self) -> None:
        """Remove the last answer, if there is one, so that its question can be asked again."""
        if self.turns and not self.unanswered:
            self.messages.pop()
            self.partial.discard(len(self.messages))

    def drop_exchange(self) -> str:
        """Remove the last question and its answer. Returns the question, "" if there is none."""
        self.drop_answer()
        return self.messages.pop()["content"] if self.turns else ""

    def row(self) -> dict[str, Any]:
        """The answered part as a row of the dataset. Each chat has its own topic, so a split by topic never cuts it."""
        meta: dict[str, Any] = {"topic": f"chat {self.id}", "group": "chat", "kind": "core", "id": self.id}
        meta["backend"] = self.backend
        if self.partial:
            meta["partial"] = sorted(self.partial)
        return {"messages": self.messages[:-1] if self.unanswered else self.messages, "meta": meta}

    @classmethod
    def from_row(cls, row: object) -> Self:
        """The chat in a row of the dataset. Raises ValueError saying what is wrong with the row."""
        match row:
            case {"messages": [_, *_] as messages}:
                chat = cls([_message(message) for message in messages])
            case _:
                raise ValueError('it has no "messages"')
        match row.get("meta"):
            case {"backend": str(backend)}:
                chat.backend = backend
        match row.get("meta"):
            case {"group": "chat", "id": str(name)} as meta if re.fullmatch(r"[\w-]+", name):
                chat.id = name  # other rows get a new id: saving the chat must not replace them
                match meta:
                    case {"partial": [*indices]}:
                        chat.partial = {i for i in indices if isinstance(i, int) and 0 <= i < len(messages)}
        return chat


def _message(message: object) -> Message:
    match message:
        case {"role": str(role), "content": str(content)} if role in ("system", "user", "assistant"):
            return {"role": role, "content": replace_surrogates(content)}
    raise ValueError('a message is not {"role": system, user or assistant, "content": text}')


# --- files ----------------------------------------------------------------------------------------------------------


def state_folder(env: Mapping[str, str]) -> Path:
    """The folder for chats and input history, `$XDG_STATE_HOME/doric`. Created if missing. Raises `InputError`."""
    try:
        folder = Path(env.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "doric"
    except RuntimeError as error:
        raise InputError("there is no home folder", hint="Set XDG_STATE_HOME to a folder for chats.") from error
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "chats").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        failed = os_error(error, folder, "created")
        raise InputError(failed.message, hint="Set XDG_STATE_HOME to another folder.") from error
    return folder


def user_path(text: str) -> Path:
    """The path that a user typed, with ~ expanded. Raises `InputError`."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(f"there is no file {text}: {error}") from error


def read(path: Path) -> Chat:
    """The chat in the last line of a JSON Lines file. Raises `InputError`."""
    try:
        return Chat.from_row(json.loads(_lines(path)[-1]))
    except OSError as error:
        raise os_error(error, path, "read") from error
    except IndexError:
        raise InputError("the file is empty", file=path) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"the last line is not a chat: {error}", file=path) from error


def read_latest(folder: Path) -> Chat:
    """The chat that was saved last; empty if /undo removed everything. Raises `InputError` if there is none."""
    try:
        path = max(folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime, default=None)
    except OSError as error:
        raise os_error(error, folder, "read") from error
    if path is None:
        raise InputError(f"there is no chat in {folder} yet")
    return read(path) if path.stat().st_size else Chat(id=path.stem)


def write(path: Path, chat: Chat) -> None:
    """Add a chat to a JSON Lines file, or replace the row with its id. Raises `DoricError`, also for a locked file."""
    _replace_row(path, chat.id, [json.dumps(chat.row(), ensure_ascii=False)])


def remove(path: Path, chat: Chat) -> None:
    """Remove the row of a chat from a file; nothing happens if either is missing. Raises `DoricError` as `write`."""
    _replace_row(path, chat.id, [])


def _replace_row(path: Path, chat_id: str, rows: list[str]) -> None:
    try:
        path = path.resolve()
        if not path.exists():
            if not rows:
                return
            path.touch(mode=0o600)  # only the owner may read a chat. Fails if the folder is missing: it may be a typo
        with locked(path):
            kept = [line for line in _lines(path) if _id(line) != chat_id]
            atomic_write(path, "".join(f"{line}\n" for line in [*kept, *rows]).encode())
    except OSError as error:
        raise os_error(error, path, "written") from error
    except ValueError as error:  # the file is not UTF-8, or its name contains a NUL
        raise InputError(f"cannot be written: {error}", file=path) from error


def _lines(path: Path) -> list[str]:
    """The lines that are not blank. Only a newline ends a line: JSON may contain U+2028 and similar characters."""
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def _id(line: str) -> object:
    """The id of the row in a line; None if the line is no row with an id. Such lines are kept unchanged."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    meta = row.get("meta") if isinstance(row, dict) else None
    return meta.get("id") if isinstance(meta, dict) else None
