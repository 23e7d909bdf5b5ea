"""A chat template as plain text around the messages: what Ollama's own template language can say too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    type Messages = Sequence[Mapping[str, str]]

MARKS = ("qz0x", "qz1x", "qz2x", "qz3x")
"""Messages to find in a rendered chat: no template changes or repeats them."""


class Render(Protocol):
    """Writes a chat as text; with `ask`, up to where the answer starts. Raises ValueError for a chat it rejects."""

    def __call__(self, messages: Messages, *, ask: bool) -> str: ...


@dataclass(frozen=True)
class PlainTurns:
    """The texts before and after each message, `head` at the start and `ask` before the model's answer.

    `system` is None if the template accepts no system message. `default` is the system message that the template
    writes if the chat has none; "" if it writes none.
    """

    head: str
    system: tuple[str, str] | None
    user: tuple[str, str]
    assistant: tuple[str, str]
    ask: str
    default: str = ""

    def write(self, messages: Messages) -> str:
        """The prompt for these messages, up to where the answer starts."""
        own = messages[0]["content"] if messages[0]["role"] == "system" else self.default
        parts = [self.head, own.join(self.system) if own and self.system else ""]
        for turn in messages:
            if turn["role"] in ("user", "assistant"):
                parts.append(turn["content"].join(self.user if turn["role"] == "user" else self.assistant))
        return "".join(parts) + self.ask


def plain_turns(render: Render) -> PlainTurns | None:
    """The plain form of a chat template, found by rendering marked messages; None if it has other rules than that."""
    chat = [{"role": role, "content": MARKS[at]} for at, role in enumerate(("user", "assistant", "user"), 1)]
    try:
        start, between, _, end = _pieces(render(chat, ask=True), MARKS[1:])
        after_user = _pieces(render(chat, ask=False), MARKS[1:])[-1]
        after_assistant = _pieces(render(chat[:2], ask=False), MARKS[1:3])[-1]
        user = _pieces(render(chat, ask=True), MARKS[1:])[2].removeprefix(after_assistant), after_user
        assistant = between.removeprefix(after_user), after_assistant
        head, system, default = _opening(render, chat, start.removesuffix(user[0]), user[0])
    except ValueError:
        return None
    found = PlainTurns(head, system, user, assistant, end.removeprefix(after_user), default)
    return found if found.write(chat) == render(chat, ask=True) else None


def _opening(render: Render, chat: Messages, start: str, before_user: str) -> tuple[str, tuple[str, str] | None, str]:
    """The head, the texts around a system message and the default system message.

    `start` is what comes before the first user message if there is no system message. Raises ValueError if the template
    moves a system message elsewhere.
    """
    try:
        told = render([{"role": "system", "content": MARKS[0]}, *chat], ask=True)
    except ValueError:
        return start, None, ""
    before, after = _pieces(told, MARKS)[:2]
    if not after.endswith(before_user):
        raise ValueError("the system message is not a turn of its own")
    after = after.removesuffix(before_user)
    if before.startswith(start):
        return start, (before.removeprefix(start), after), ""
    default = start.removeprefix(before).removesuffix(after)
    if before + default + after != start:
        raise ValueError("another opening without a system message")
    return "", (before, after), default


def _pieces(text: str, marks: Sequence[str]) -> list[str]:
    """The text around the marks. Raises ValueError unless each mark is there once, in this order."""
    either = "|".join(marks)
    if re.findall(either, text) != list(marks):
        raise ValueError("a message is missing, changed or repeated")
    return re.split(either, text)
