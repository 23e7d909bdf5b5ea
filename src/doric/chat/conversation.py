"""A chat as messages and as a row of the dataset."""

import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self

from doric.core.characters import without_idle_selectors
from doric.core.errors import InputError
from doric.core.markers import find_turn_mark, split_reasoning, without_turn_marks
from doric.core.text import SURROGATE, has_text, printable, replace_surrogates

LINE_ENDS = re.compile("\n\r(?!\n)|\r{1,2}\n|\r|[\v\f\x85\u2028\u2029]")
INVISIBLE_LETTERS = re.compile("(?P<flag>\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)|[\U000e0020-\U000e007f]")
"""Letters that only a flag such as Scotland's consists of. Elsewhere only a model would see them."""

type Message = dict[str, str]
"""A role ("system", "user" or "assistant") and its content."""


def refuse_template_marks(text: str) -> None:
    """Raise `InputError` if `text` contains a mark of a chat template, which a model reads as the end of the turn."""
    if mark := find_turn_mark(text):
        hint = "Leave it out, or write a space into it."
        raise InputError(f"{mark} is a mark of chat templates, which ends or starts a turn", hint=hint)


def readable(text: str) -> str:
    """`text` as a model gets it: without characters that nobody sees, and each kind of line end as a newline.

    Removes escape sequences, control characters (Ctrl-Z, NUL), format characters (a byte-order mark), variation
    selectors that change nothing and, except in a flag, invisible letters. The halves of an emoji are joined, and a
    half alone becomes U+FFFD.

    >>> readable("\\ufeffFit\\x1a like?\\r\\nAye\\u2028")
    'Fit like?\\nAye\\n'
    """
    if SURROGATE.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = INVISIBLE_LETTERS.sub(lambda found: found["flag"] or "", printable(LINE_ENDS.sub("\n", text)))
    return without_idle_selectors(text)


def as_sent(messages: Iterable[Message]) -> list[Message]:
    """The messages as a model gets them, also if they are from a file of another program.

    They are `readable` and have neither reasoning nor marks of chat templates. Answers without any other text are left
    out, and messages of one role in a row become one, because the templates of many models refuse them.
    """
    sent: list[Message] = []
    for message in messages:
        role, text = message["role"], readable(message["content"])
        text = without_turn_marks(split_reasoning(text).answer if role == "assistant" else text)
        if role == "assistant" and not has_text(text):
            continue
        if sent and sent[-1]["role"] == role:
            sent[-1]["content"] += f"\n\n{text}"
        else:
            sent.append({"role": role, "content": text})
    return sent


@dataclass
class Chat:
    """The messages of one chat, the system prompt first if there is one.

    `partial` has the indices in `messages` of incomplete answers: stopped, broken off or cut at the token limit.
    `backend` is the model that answered last. `kept` are the messages in the chat's own file, as far as this session
    knows; other messages there are from another session.
    """

    messages: list[Message] = field(default_factory=list)
    partial: set[int] = field(default_factory=set)
    backend: str = ""
    id: str = field(default_factory=lambda: f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}")
    kept: list[Message] = field(default_factory=list, repr=False)

    @property
    def system(self) -> str:
        """The system prompt, "" if there is none."""
        first = self.messages[0] if self.messages else {}
        return first["content"] if first.get("role") == "system" else ""

    @system.setter
    def system(self, text: str) -> None:
        had = int(bool(self.system))
        self.messages[:had] = [{"role": "system", "content": readable(text)}] if text else []
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

    @property
    def answered_messages(self) -> list[Message]:
        """The messages without a last question that has no answer."""
        return self.messages[:-1] if self.unanswered else self.messages

    def copy(self) -> Self:
        """An independent copy of this chat."""
        return replace(self, messages=[*self.messages], partial={*self.partial})

    def ask(self, text: str) -> None:
        """Add a question. It replaces a question that was never answered, because models need turns that alternate."""
        if self.unanswered:
            self.messages.pop()
        self.messages.append({"role": "user", "content": readable(text)})

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
        return {"messages": self.answered_messages, "meta": meta}

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
                chat.kept = [*chat.messages]
                match meta:
                    case {"partial": [*indices]}:
                        chat.partial = {i for i in indices if isinstance(i, int) and 0 <= i < len(messages)}
        return chat


def _message(message: object) -> Message:
    match message:
        case {"role": str(role), "content": str(content)} if role in ("system", "user", "assistant"):
            return {"role": role, "content": replace_surrogates(content)}
    raise ValueError('a message is not {"role": system, user or assistant, "content": text}')
