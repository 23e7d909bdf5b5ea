"""A chat in progress: the conversation, the sampling options, the limit of the model's window, and token counts.

A question from a pipe and a conversation at a terminal use the same code.
"""

import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Protocol

from doric.chat import store
from doric.chat.conversation import Chat, Message, as_sent
from doric.chat.signals import Signals
from doric.chat.terminal import Screen, WaitTimer, WrappedOutput, echo_off
from doric.core.cli import bounded
from doric.core.errors import DoricError, FatalServerError, RetryableError, ServerError, SettingsError
from doric.core.markers import ReasoningFilter, cut_end_marks
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
    missed: ServerError | None

    @property
    def looking(self) -> bool: ...
    @property
    def unlisted(self) -> str: ...
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
NOT_WHOLE = {
    "length": CUT,
    "content_filter": Ending(1, "not whole: the server's content filter stopped the answer"),
    "abort": Ending(1, "not whole: the server stopped the answer"),
    "error": Ending(1, "not whole: the server reports an error"),
}
"""The endings of answers that the server did not finish, by finish reason."""


class Shown:
    """An answer on the screen, without reasoning and without anything that could control the terminal."""

    def __init__(self, writer: WrappedOutput) -> None:
        self._writer = writer
        self._reasoning, self._terminal = ReasoningFilter(), TerminalFilter()

    def read(self, piece: str) -> str:
        """The part of the next piece that is to be shown."""
        return self._terminal.feed(self._reasoning.feed(piece))

    def write(self, text: str) -> None:
        """Show text that `read` has returned."""
        self._writer.write(text)

    def end(self) -> None:
        """Write what was held back, and end the line."""
        self._writer.write(self._terminal.feed(self._reasoning.rest()) + self._terminal.rest())
        self._writer.end_line()

    @property
    def text(self) -> str:
        """The answer so far, for the file; "" if there is only white space."""
        return printable(cut_end_marks(self._reasoning.answer))

    @property
    def reasoning(self) -> str:
        """The reasoning so far that came in the text of the answer."""
        return self._reasoning.reasoning


@dataclass
class Session:
    """The state that is kept from one question to the next. The chat is saved to `file`, if it is set."""

    server: ModelServer
    screen: Screen
    file: Path | None = None
    signals: Signals = field(default_factory=Signals)
    chat: Chat = field(default_factory=Chat)
    options: dict[str, float] = field(default_factory=dict)
    last: Answer = field(default_factory=Answer)
    answers: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_per_char: float = estimate_tokens(1)  # replaced by the model's own ratio after each answer
    limit: int = UNLIMITED  # tokens of messages that the server accepts; lowered when it refuses a request
    left_out: int = 0  # messages that did not fit into the last request
    stopped: bool = False  # whether the last answer was stopped with Ctrl-C
    save_failed: bool = False  # so that a failure is reported only once
    warned: set[str] = field(default_factory=set)  # warnings that were shown

    def __post_init__(self) -> None:
        self.timer: AbstractContextManager[object] = WaitTimer(self.screen, self.waiting_for)

    def waiting_for(self) -> str:
        """What the user waits for."""
        return "the model is reasoning" if self.last.pieces else self.server.waiting_for()

    def connect(self) -> Model:
        """The model that answers. If it is not known yet, the server is asked, with a timer. Raises `ServerError`."""
        model = self.server.model
        if model is None:
            with self.timer:
                model = self.server.find()
        self.warn_once()
        return model

    def warn_once(self) -> None:
        """Say if the model in use is none of the server's list, once for each model."""
        if (unlisted := self.server.unlisted) and unlisted not in self.warned:
            self.warned.add(unlisted)
            self.screen.note(f"warning: {unlisted}")

    def switch(self, chat: Chat) -> None:
        """Continue with another chat. From now on, that chat is saved under its own id."""
        self.save_again()
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
        shown = Shown(self.screen.writer())
        try:
            ending = self._show(shown)
        except BaseException:  # also when the terminal or the reader of the output is gone
            with self.signals.held():
                self._add(shown.text, complete=False)
            raise
        self.stopped = ending is STOPPED
        with self.signals.held():
            if ending is COMPLETE:
                ending = self.ended(shown)
            self._add(shown.text, complete=ending is COMPLETE)
        if ending.note:
            kept = "; the part received is kept" if shown.text else ""
            self.screen.note(f"[{ending.note.removesuffix('.')}{f'{kept}; /retry asks again' if self.file else ''}]")
        return ending

    def _add(self, text: str, *, complete: bool) -> None:
        """Add an answer to the chat, and save it, if there is any text."""
        self.answers += 1
        self.tokens_in += self.last.tokens("prompt")
        self.tokens_out += self.last.tokens("completion")
        if text:
            self.chat.answer(text, complete=complete)
            self.chat.backend = self.server.model.name if self.server.model else self.chat.backend
            self.save()

    def ended(self, shown: "Shown") -> Ending:
        """How an answer ended whose stream was complete."""
        return NOT_WHOLE.get(self.last.finish, COMPLETE) if shown.text else self._empty(shown)

    def _empty(self, shown: "Shown") -> Ending:
        """The ending of an answer without text: what the server sent instead."""
        if shown.reasoning or self.last.reasoning:
            cut = ", and no tokens were left for the answer" if self.last.finish == "length" else ""
            return Ending(1, f"the model only reasoned and gave no answer{cut}")
        if self.last.finish in NOT_WHOLE:
            return Ending(1, f"the answer was empty, {NOT_WHOLE[self.last.finish].note}")
        return (
            Ending(1, f"{EMPTY.note}: the model filled {instead} instead")
            if (instead := self.last.elsewhere)
            else EMPTY
        )

    def save(self) -> None:
        """Write the chat to its file, if it has one. A failure is reported once, and the chat continues."""
        if not self.file:
            return
        try:
            with self.signals.held():
                self._keep(self.file)
            self.save_failed = False
        except DoricError as error:
            if not self.save_failed:
                self.screen.note(f"[{error}: this chat is in memory only]")
            self.save_failed = True

    def save_again(self) -> None:
        """Before this chat is left: if it could not be saved, try it once more, and say if it is lost."""
        if self.save_failed:
            self.save_failed = False
            self.save()

    def _keep(self, file: Path) -> None:
        """Write the chat to its file, or to a new file if that has another version of the chat."""
        try:
            store.keep(file, self.chat)
        except store.Diverged:
            self.chat.id, self.chat.kept = store.next_id(file.parent, self.chat.id), []
            self.file = file.with_name(f"{self.chat.id}.jsonl")
            self.screen.note(f"[{file.name} has another version of this chat: this one is kept in {self.file}]")
            self._keep(self.file)

    def status(self) -> str:
        """One line with the model and the used part of its window; "" before the model is known."""
        if not (model := self.server.model):
            return ""
        used = count_tokens(self.chat.messages, self.tokens_per_char)
        part = f"about {used:,} of " if used else ""
        return printable(model.name) + (f", {part}{model.window:,} tokens" if model.window else "")

    def _show(self, shown: "Shown") -> Ending:
        """Write the answer while it streams."""
        ending = COMPLETE
        self.last = Answer()
        try:
            with self.signals.armed(), echo_off(), closing(self.pieces()) as pieces:
                text = shown.read(next(pieces, ""))
                if not text:
                    with self.timer:  # again, because the model may reason for a long time
                        text = next((text for piece in pieces if (text := shown.read(piece))), "")
                shown.write(text)
                for piece in pieces:
                    shown.write(shown.read(piece))
        except RetryableError as error:
            ending = Ending(1, f"error: {error}" + (f". {error.hint}" if error.hint else ""))
        except KeyboardInterrupt:
            ending = STOPPED
        shown.end()
        return ending

    def pieces(self) -> Generator[str]:
        """The pieces of the answer. If the server refuses a request as too long, the oldest messages are left out."""
        budget = self._budget()
        asked = as_sent(self.chat.messages)
        while True:
            messages = fit(asked, budget, self.tokens_per_char)
            began = time.monotonic()
            with closing(self.server.stream(messages, self.options, self.last)) as pieces:
                try:
                    with self.timer:
                        first = next(pieces, "")
                except TooLong as error:
                    if len(fit(asked, 0, 1)) == len(messages):
                        raise TooLong("this message is too long for the model", hint=error.message) from error
                    budget = self.limit = min(budget, count_tokens(messages, self.tokens_per_char)) * 3 // 4
                    continue
                self.last.first_token = time.monotonic() - began
                self._report_left_out(len(asked) - len(messages))
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
