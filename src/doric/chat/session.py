"""A chat in progress: the conversation, the model that answers it, what it was told about sampling, and its figures.

Knows no commands and no prompt: it is the same for one question from a pipe and for an evening at the terminal.
"""

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from doric.chat.cleaner import Cleaner
from doric.chat.endpoint import Answer, Model, stream
from doric.chat.errors import BrokenOff, Refused, TooLong
from doric.chat.finder import Finder
from doric.chat.options import leave_room
from doric.chat.store import BadFile, forget, write
from doric.chat.terminal import Clock, Screen, hushed
from doric.chat.transcript import TURN, Transcript, estimate, fit


@dataclass(frozen=True)
class Ending:
    """How an answer ended: the exit code of a program that asked for nothing else, and what to tell the user."""

    code: int
    remark: str = ""


WHOLE = Ending(0)
CUT = Ending(0, "cut: no tokens left for more")
EMPTY = Ending(1, "the answer was empty")
STOPPED = Ending(130, "stopped")


@dataclass
class Totals:
    """What a session has cost so far."""

    answers: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0


@dataclass
class Session:
    """Everything that lasts from one question to the next; `file` is where the chat is kept, if anywhere."""

    finder: Finder
    screen: Screen
    file: Path | None = None
    chat: Transcript = field(default_factory=Transcript)
    options: dict[str, float] = field(default_factory=dict)
    last: Answer = field(default_factory=Answer)
    totals: Totals = field(default_factory=Totals)
    tokens_per_char: float = 0.4  # before the first answer says how many there really were
    limit: int = 10**9  # tokens of messages, as far as refusals have taught
    left_out: int = 0  # messages at the front that the last request had no room for
    unkept: bool = False  # whether the file could not be written the last time, which is said once

    def __post_init__(self) -> None:
        self.clock = Clock(self.screen, self.waiting_for)

    def connect(self) -> Model:
        """The model to talk to, found now if it is not yet; a clock shows the wait. Raises ChatError."""
        if self.finder.model:
            return self.finder.model
        with self.clock:
            return self.finder.wait()

    def ask(self, text: str) -> Ending:
        """Ask, show the answer as it comes and keep it. Raises ChatError or BadOption if none came at all."""
        self.chat.ask(text)
        return self.answer()

    def answer(self) -> Ending:
        """The same for the question that is open already."""
        shown: list[str] = []
        ending = self._show(shown)
        text = "".join(shown)
        if ending is WHOLE:
            ending = EMPTY if not text.strip() else CUT if self.last.finish == "length" else WHOLE
        self._count()
        if text.strip():
            self.chat.answer(text, whole=ending is WHOLE)
            self.chat.backend = self.connect().name
            self.save()
        if ending.remark:
            kept = "; what came is kept" if text.strip() else ""
            self.screen.note(f"[{ending.remark}{f'{kept}; /retry asks again' if self.file else ''}]")
        return ending

    def _show(self, shown: list[str]) -> Ending:
        """Write the answer as it comes, and put what was written into `shown`."""
        writer, cleaner, ending = self.screen.writer(), Cleaner(), WHOLE
        self.last = Answer()
        try:
            with hushed(), closing(self._pieces()) as pieces:
                for piece in pieces:
                    shown.append(cleaner.feed(piece))
                    writer.write(shown[-1])
        except BrokenOff as error:
            ending = Ending(1, f"error: {error}")
        except KeyboardInterrupt:
            ending = STOPPED
        shown.append(cleaner.rest())
        writer.write(shown[-1])
        writer.end_line()
        return ending

    def _count(self) -> None:
        self.totals.answers += 1
        self.totals.prompt_tokens += self.last.prompt_tokens
        self.totals.answer_tokens += self.last.answer_tokens

    def save(self) -> None:
        """Keep the chat as it is now, if it is one that is kept; where that fails it goes on, and says so once."""
        if not self.file:
            return
        try:
            if self.chat.answered:
                write(self.file, self.chat.row())
            else:
                forget(self.file, self.chat.id)
            self.unkept = False
        except BadFile as error:
            if not self.unkept:
                self.screen.note(f"[{error}: this chat is in memory only]")
            self.unkept = True

    def _pieces(self) -> Generator[str]:
        """The pieces of the answer; on the way the oldest messages are left out until the rest fits the window."""
        budget = self._budget()
        while True:
            messages = fit(self.chat.messages, budget, self.tokens_per_char)
            pieces = stream(self.finder.wire, self._request(messages), self.last)
            with closing(pieces):
                try:
                    with self.clock:
                        first = next(pieces, "")
                except Refused as error:
                    if error.status == 404:
                        error.hint = (
                            f"served here: {', '.join(model.name for model in self.finder.served) or 'not said'}"
                        )
                    raise
                except TooLong as error:
                    if len(fit(self.chat.messages, 0, 1)) == len(messages):
                        raise TooLong("this message is too long for the model", str(error)) from error
                    budget = self.limit = min(budget, estimate(messages, self.tokens_per_char)) * 3 // 4
                    continue
                self._say_what_is_left_out(len(self.chat.messages) - len(messages))
                yield from chain([first], pieces)
                self._learn(messages)
                return

    def _budget(self) -> int:
        """How many tokens the messages may take: the window less what the answer needs. Raises BadOption."""
        window = self.connect().window
        leave_room(self.options.get("max_tokens", 0), window)
        if window is None:
            return self.limit
        return min(self.limit, window - int(self.options.get("max_tokens", min(1024, window // 4))))

    def _request(self, messages: list[dict[str, str]]) -> Mapping[str, Any]:
        return {"model": self.connect().name, "messages": messages, **self.options}

    def _say_what_is_left_out(self, count: int) -> None:
        if count > self.left_out:
            self.screen.note(f"[the model's window is full: it no longer sees the first {count} messages]")
        self.left_out = count

    def _learn(self, messages: list[dict[str, str]]) -> None:
        """Take this model's own count of tokens, for the next estimate."""
        chars = sum(len(message["content"]) for message in messages)
        counted = self.last.prompt_tokens - TURN * len(messages)
        if chars > 200 and counted > 0:
            self.tokens_per_char = counted / chars

    def status(self) -> str:
        """The model and how full its window is, in one line; "" before it is found."""
        if not (model := self.finder.model):
            return ""
        used = estimate(self.chat.messages, self.tokens_per_char)
        part = f"about {used:,} of " if used else ""
        return model.name + (f", {part}{model.window:,} tokens" if model.window else "")

    def waiting_for(self) -> str:
        """What a clock says while there is nothing to show."""
        wire = self.finder.wire
        return f"waiting for {wire.address.host}" + (f" ({wire.obstacle})" if wire.obstacle else "")
