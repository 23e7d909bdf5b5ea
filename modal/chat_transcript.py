"""A conversation: its turns, what of it fits a model's window, and its file, which is a row of the dataset's shape.

Knows no server and no terminal.
"""

import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

type Message = dict[str, str]
TURN = 6  # tokens that a chat template puts around one message, about


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


@dataclass
class Transcript:
    """The turns of one chat, the system prompt first if there is one.

    `partial` holds the places in `messages` of answers that are not whole: stopped, broken off or cut at the limit.
    """

    messages: list[Message] = field(default_factory=list)
    partial: set[int] = field(default_factory=set)
    id: str = field(default_factory=lambda: f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}")

    @property
    def system(self) -> str:
        first = self.messages[0] if self.messages else {}
        return first["content"] if first.get("role") == "system" else ""

    @system.setter
    def system(self, text: str) -> None:
        had = int(bool(self.system))
        self.messages[:had] = [{"role": "system", "content": text}] if text else []
        self.partial = {place + int(bool(text)) - had for place in self.partial}

    @property
    def turns(self) -> list[Message]:
        """The messages without the system prompt."""
        return self.messages[1:] if self.system else self.messages

    @property
    def unanswered(self) -> bool:
        return bool(self.turns) and self.turns[-1]["role"] == "user"

    def ask(self, text: str) -> None:
        """Add a question, in the place of one that was never answered: models want the turns to alternate."""
        if self.unanswered:
            self.messages.pop()
        self.messages.append({"role": "user", "content": text})

    def answer(self, text: str, *, whole: bool) -> None:
        if not whole:
            self.partial.add(len(self.messages))
        self.messages.append({"role": "assistant", "content": text})

    def drop_answer(self) -> None:
        """Take the last answer back, so that its question can be asked again; nothing if there is none yet."""
        if self.turns and not self.unanswered:
            self.messages.pop()
            self.partial.discard(len(self.messages))

    def drop_exchange(self) -> str:
        """Take the last question and its answer back; the question, or "" when there is none."""
        self.drop_answer()
        return self.messages.pop()["content"] if self.turns else ""

    def row(self, model: str) -> dict[str, Any]:
        """The answered part as a row for a dataset; its topic is its own, so that a split by topic keeps it whole."""
        meta: dict[str, Any] = {"topic": f"chat {self.id}", "group": "chat", "kind": "core", "id": self.id}
        meta["backend"] = model
        if self.partial:
            meta["partial"] = sorted(self.partial)
        return {"messages": self.messages[:-1] if self.unanswered else self.messages, "meta": meta}


def from_row(row: object) -> Transcript:
    """The chat in a row of the dataset's shape. Raises ValueError saying what is wrong with it."""
    match row:
        case {"messages": [_, *_] as messages}:
            chat = Transcript([_message(message) for message in messages])
        case _:
            raise ValueError('it has no "messages"')
    match row.get("meta"):
        case {"group": "chat", "id": str(name)} as meta if re.fullmatch(r"[\w-]+", name):
            chat.id = name  # a row of another kind gets an id of its own: saving the chat must not replace it
            match meta:
                case {"partial": [*places]}:
                    chat.partial = {p for p in places if isinstance(p, int) and 0 <= p < len(messages)}
    return chat


def _message(message: object) -> Message:
    match message:
        case {"role": str(role), "content": str(content)} if role in ("system", "user", "assistant"):
            return {"role": role, "content": content}
    raise ValueError('a message is not {"role": system, user or assistant, "content": text}')


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


def fit(messages: list[Message], budget: int, tokens_per_char: float) -> list[Message]:
    """The system prompt, the last message, and as many before it as a budget of tokens has room for.

    Whole exchanges go, the oldest first, so that what is left still starts with a question.

    >>> chat = [{"role": r, "content": "x" * 100} for r in ("user", "assistant", "user", "assistant", "user")]
    >>> [len(fit(chat, budget, 0.25)) for budget in (1000, 100, 10)]
    [5, 3, 1]
    """
    head = messages[:1] if messages and messages[0]["role"] == "system" else []
    tail = messages[len(head) :]
    while len(tail) > 1 and estimate(head + tail, tokens_per_char) > budget:
        tail = tail[1:]
        while len(tail) > 1 and tail[0]["role"] != "user":
            tail = tail[1:]
    return head + tail


def estimate(messages: list[Message], tokens_per_char: float) -> int:
    """About how many tokens messages take, those of the template included."""
    return int(sum(len(message["content"]) * tokens_per_char + TURN for message in messages))
