"""A chat in progress: the conversation, the sampling options, the limit of the model's window, and token counts.

A question from a pipe and a conversation at a terminal use the same code.
"""

import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Protocol

from doric.chat import store
from doric.chat.store import Chat, Message
from doric.chat.terminal import Screen, WaitTimer, echo_off
from doric.core.cli import bounded
from doric.core.errors import DoricError, FatalServerError, RetryableError, ServerError, SettingsError
from doric.core.text import TerminalFilter, printable
from doric.llm.response import StreamedCompletion, estimate_tokens
from doric.llm.served_models import ServedModel as Model

TEMPLATE_TOKENS = 6
"""Tokens that a chat template adds to each message, approximately."""
UNLIMITED = 10**9
OPTIONS: dict[str, Callable[[str], float]] = {
    "temperature": bounded(float, 0, 2),
    "top_p": bounded(float, 0.01, 1),
    "max_tokens": bounded(int, 1, 1_000_000),
    "repetition_penalty": bounded(float, 0.1, 10),
    "seed": bounded(int, 0, 2**31),
}
"""Sampling options of /set and --set, with the function that reads a value."""


# --- the server, as a session sees it -------------------------------------------------------------------------------


class TooLong(ServerError):
    """The request has more tokens than the model can read."""


@dataclass(slots=True)
class Answer(StreamedCompletion):
    """An answer so far, with the seconds from the question to the first token and to the last token."""

    first_token: float = 0.0
    seconds: float = 0.0

    def tokens(self, kind: str) -> int:
        """The server's count of "prompt" or "completion" tokens, 0 if it sent no count."""
        return self.counts[kind == "completion"]


class ModelServer(Protocol):
    """The members of `doric.chat.server.Server` that a session uses; they are explained there."""

    model: Model | None
    models: list[Model]
    refused: FatalServerError | None

    @property
    def looking(self) -> bool: ...
    def waiting_for(self) -> str: ...
    def start(self) -> None: ...
    def find(self) -> Model: ...
    def select(self, name: str) -> None: ...
    def stream(
        self, messages: Sequence[Mapping[str, str]], options: Mapping[str, float], answer: StreamedCompletion
    ) -> Generator[str]: ...


# --- sampling options and the window --------------------------------------------------------------------------------


def check_option(name: str) -> None:
    """Raise `SettingsError` if there is no option with this name."""
    if name not in OPTIONS:
        raise SettingsError(f"there is no option {name!r}: {', '.join(OPTIONS)}")


def parse_option(name: str, text: str) -> float:
    """The value of an option. Raises `SettingsError`."""
    check_option(name)
    try:
        return OPTIONS[name](text)
    except ArgumentTypeError as error:
        raise SettingsError(f"{name}: {error}") from error


def check_room(max_tokens: float, window: int | None) -> None:
    """Raise `SettingsError` if an answer of this length would leave no room for a question."""
    if window is not None and max_tokens >= window:
        raise SettingsError(
            f"max_tokens {max_tokens:,.0f} leaves no room for a question: question and answer share {window:,} tokens"
        )


def fit(messages: list[Message], budget: int, tokens_per_char: float) -> list[Message]:
    """The system prompt, the last message, and as many messages before it as fit into `budget` tokens.

    A question and its answer are dropped together, the oldest first. So the rest still starts with a question.

    >>> chat = [{"role": r, "content": "x" * 100} for r in ("user", "assistant", "user", "assistant", "user")]
    >>> [len(fit(chat, budget, 0.25)) for budget in (1000, 100, 10)]
    [5, 3, 1]
    """
    head = messages[:1] if messages and messages[0]["role"] == "system" else []
    tail = messages[len(head) :]
    while len(tail) > 1 and count_tokens(head + tail, tokens_per_char) > budget:
        tail = tail[1:]
        while len(tail) > 1 and tail[0]["role"] != "user":
            tail = tail[1:]
    return head + tail


def count_tokens(messages: list[Message], tokens_per_char: float) -> int:
    """The estimated tokens of the messages, including the tokens of the chat template."""
    return int(sum(len(message["content"]) * tokens_per_char + TEMPLATE_TOKENS for message in messages))


# --- the session ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ending:
    """How an answer ended: the exit code (for a single question) and a note for the user."""

    code: int
    note: str = ""


COMPLETE = Ending(0)
CUT = Ending(0, "cut: no tokens left for more")
EMPTY = Ending(1, "the answer was empty")
STOPPED = Ending(130, "stopped")


@dataclass
class Session:
    """The state that is kept from one question to the next. The chat is saved to `file`, if it is set."""

    server: ModelServer
    screen: Screen
    file: Path | None = None
    chat: Chat = field(default_factory=Chat)
    options: dict[str, float] = field(default_factory=dict)
    last: Answer = field(default_factory=Answer)
    answers: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_per_char: float = estimate_tokens(1)  # replaced by the model's own ratio after each answer
    limit: int = UNLIMITED  # tokens of messages that the server accepts; lowered when it refuses a request
    left_out: int = 0  # messages that did not fit into the last request
    save_failed: bool = False  # so that a failure is reported only once

    def __post_init__(self) -> None:
        self.timer = WaitTimer(self.screen, self.server.waiting_for)

    def connect(self) -> Model:
        """The model that answers. If it is not known yet, the server is asked, with a timer. Raises `ServerError`."""
        if self.server.model:
            return self.server.model
        with self.timer:
            return self.server.find()

    def switch(self, chat: Chat) -> None:
        """Continue with another chat. From now on, that chat is saved under its own id."""
        self.chat = chat
        self.left_out = 0
        if self.file:
            self.file = self.file.with_name(f"{chat.id}.jsonl")

    def ask(self, text: str) -> Ending:
        """Ask, show the answer while it streams, and save it. Raises `DoricError` if there is no answer at all."""
        self.chat.ask(text)
        return self.answer()

    def answer(self) -> Ending:
        """Like `ask`, for a question that is already in the chat but has no answer yet."""
        shown: list[str] = []
        ending = self._show(shown)
        text = "".join(shown)
        if ending is COMPLETE:
            ending = EMPTY if not text.strip() else CUT if self.last.finish == "length" else COMPLETE
        self.answers += 1
        self.tokens_in += self.last.tokens("prompt")
        self.tokens_out += self.last.tokens("completion")
        if text.strip():
            self.chat.answer(text, complete=ending is COMPLETE)
            self.chat.backend = self.connect().name
            self.save()
        if ending.note:
            kept = "; the part received is kept" if text.strip() else ""
            self.screen.note(f"[{ending.note}{f'{kept}; /retry asks again' if self.file else ''}]")
        return ending

    def save(self) -> None:
        """Write the chat to its file, if it has one. A failure is reported once, and the chat continues."""
        if not self.file:
            return
        try:
            (store.write if self.chat.answered else store.remove)(self.file, self.chat)
            self.save_failed = False
        except DoricError as error:
            if not self.save_failed:
                self.screen.note(f"[{error}: this chat is in memory only]")
            self.save_failed = True

    def status(self) -> str:
        """One line with the model and the used part of its window; "" before the model is known."""
        if not (model := self.server.model):
            return ""
        used = count_tokens(self.chat.messages, self.tokens_per_char)
        part = f"about {used:,} of " if used else ""
        return printable(model.name) + (f", {part}{model.window:,} tokens" if model.window else "")

    def _show(self, shown: list[str]) -> Ending:
        """Write the answer while it streams, and append the written text to `shown`."""
        writer, terminal_filter, ending = self.screen.writer(), TerminalFilter(), COMPLETE
        self.last = Answer()
        try:
            with echo_off(), closing(self._pieces()) as pieces:
                for piece in pieces:
                    shown.append(terminal_filter.feed(piece))
                    writer.write(shown[-1])
        except RetryableError as error:
            ending = Ending(1, f"error: {error}")
        except KeyboardInterrupt:
            ending = STOPPED
        shown.append(terminal_filter.rest())
        writer.write(shown[-1])
        writer.end_line()
        return ending

    def _pieces(self) -> Generator[str]:
        """The pieces of the answer. If the server refuses a request as too long, the oldest messages are left out."""
        budget = self._budget()
        while True:
            messages = fit(self.chat.messages, budget, self.tokens_per_char)
            began = time.monotonic()
            with closing(self.server.stream(messages, self.options, self.last)) as pieces:
                try:
                    with self.timer:
                        first = next(pieces, "")
                except TooLong as error:
                    if len(fit(self.chat.messages, 0, 1)) == len(messages):
                        raise TooLong("this message is too long for the model", hint=error.message) from error
                    budget = self.limit = min(budget, count_tokens(messages, self.tokens_per_char)) * 3 // 4
                    continue
                self.last.first_token = time.monotonic() - began
                self._report_left_out(len(self.chat.messages) - len(messages))
                for piece in chain([first], pieces):
                    self.last.seconds = time.monotonic() - began
                    yield piece
                self._calibrate(messages)
                return

    def _budget(self) -> int:
        """The most tokens of the messages: the window minus the tokens of the answer. Raises `SettingsError`."""
        window = self.connect().window
        check_room(self.options.get("max_tokens", 0), window)
        if window is None:
            return self.limit
        return min(self.limit, window - int(self.options.get("max_tokens", min(1024, window // 4))))

    def _report_left_out(self, count: int) -> None:
        if count > self.left_out:
            self.screen.note(f"[the model's window is full: it no longer sees the first {count} messages]")
        self.left_out = count

    def _calibrate(self, messages: list[Message]) -> None:
        """Compute the ratio of tokens to characters from the server's own count."""
        chars = sum(len(message["content"]) for message in messages)
        counted = self.last.tokens("prompt") - TEMPLATE_TOKENS * len(messages)
        if chars > 200 and counted > 0:
            self.tokens_per_char = counted / chars
