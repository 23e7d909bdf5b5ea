"""A conversation: its turns, what of it fits a model's window, and its shape as a row of the dataset.

Knows no server, no terminal and no file.
"""

import re
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import Any, Self

from doric.chat.cleaner import mended

type Message = dict[str, str]
TURN = 6  # tokens that a chat template puts around one message, about


@dataclass
class Transcript:
    """The turns of one chat, the system prompt first if there is one.

    `partial` holds the places in `messages` of answers that are not whole: stopped, broken off or cut at the limit;
    `backend` is the model that answered last.
    """

    messages: list[Message] = field(default_factory=list)
    partial: set[int] = field(default_factory=set)
    backend: str = ""
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

    @property
    def answered(self) -> bool:
        """Whether there is anything to keep."""
        return any(turn["role"] == "assistant" for turn in self.turns)

    def copy(self) -> Self:
        return replace(self, messages=[*self.messages], partial={*self.partial})

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

    def row(self) -> dict[str, Any]:
        """The answered part as a row for a dataset; its topic is its own, so that a split by topic keeps it whole."""
        meta: dict[str, Any] = {"topic": f"chat {self.id}", "group": "chat", "kind": "core", "id": self.id}
        meta["backend"] = self.backend
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
        case {"backend": str(backend)}:
            chat.backend = backend
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
            return {"role": role, "content": mended(content)}
    raise ValueError('a message is not {"role": system, user or assistant, "content": text}')


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
