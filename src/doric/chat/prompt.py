"""The line that a conversation is typed into: its keys, what it remembers of earlier sessions, what stands below.

Importing this takes a tenth of a second; a single question does without.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output
from prompt_toolkit.styles import Style

from doric.chat.cleaner import clean
from doric.chat.session import Session
from doric.chat.terminal import columns


class Remembered(FileHistory):
    """What was typed, across sessions; where its file cannot be used, `fault` says so and memory has to do."""

    fault = ""

    def load_history_strings(self) -> Iterable[str]:
        try:
            return list(super().load_history_strings())
        except OSError as error:
            self._note(error)
            return []

    def store_string(self, string: str) -> None:
        try:
            super().store_string(string)
        except OSError as error:
            self._note(error)

    def _note(self, error: OSError) -> None:
        self.fault = f"cannot use {self.filename!s}: {error.strerror}"


def make_prompt(session: Session, history: Path | None) -> Callable[[], str]:
    """A function that reads one message: Enter sends, Alt-Enter and pasted line ends stay in the text.

    While it waits, the server is looked for; it raises Refused as soon as the server does.
    """
    began = time.monotonic()

    def status() -> str:
        waiting = f"{session.waiting_for()} … {time.monotonic() - began:.0f} s"
        return clean(session.status() or waiting)[: columns() - 1]

    async def look_out() -> None:
        while session.finder.looking:
            await asyncio.sleep(0.2)
            get_app().invalidate()
        if session.finder.refused and not get_app().is_done:
            get_app().exit(exception=session.finder.refused)

    def watch() -> None:
        session.finder.start()
        if session.finder.model is None:
            get_app().create_background_task(look_out())

    memory = Remembered(str(history)) if history else InMemoryHistory()
    reader = PromptSession(
        "\n>>> ",
        multiline=True,
        prompt_continuation="... ",
        history=memory,
        key_bindings=bindings(),
        bottom_toolbar=status,
        style=Style.from_dict({"bottom-toolbar": "noreverse ansibrightblack"}),
        output=create_output(always_prefer_tty=True),
    )
    told: set[str] = set()

    def read() -> str:
        text = reader.prompt(pre_run=watch)
        if isinstance(memory, Remembered) and memory.fault not in ("", *told):
            told.add(memory.fault)
            session.screen.note(f"[{memory.fault}: the up arrow reaches into this session only]")
        return text

    return read


def bindings() -> KeyBindings:
    """Enter sends, Alt-Enter starts a line: the other way round from what the library does with more than one line."""
    keys = KeyBindings()

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
