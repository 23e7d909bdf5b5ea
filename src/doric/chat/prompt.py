"""The input line of a conversation: its keys, its history across sessions, and the status line below it.

This is a separate module because importing prompt_toolkit takes a tenth of a second, and a single question does not
need it.
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

from doric.chat.session import Session

START_DELAY = 0.2
"""Seconds between the first prompt and the search for the model. Its imports would delay the first keys."""


class SharedHistory(FileHistory):
    """The typed messages of all sessions. If the file cannot be used, `problem` says why, and they stay in memory."""

    problem = ""

    def load_history_strings(self) -> Iterable[str]:
        try:
            return list(super().load_history_strings())
        except OSError as error:
            self._report(error)
            return []

    def store_string(self, string: str) -> None:
        try:
            super().store_string(string)
        except OSError as error:
            self._report(error)

    def _report(self, error: OSError) -> None:
        self.problem = f"cannot use {self.filename!s}: {error.strerror}"


def make_prompt(session: Session, history: Path | None) -> Callable[[], str]:
    """A function that reads one message. Enter sends it; Alt-Enter and pasted line ends give a new line.

    The search for the model starts after the prompt is shown. If the server refuses it, reading raises that error.
    """
    server, began = session.server, time.monotonic()

    def status() -> str:
        waiting = f"{server.waiting_for()} … {time.monotonic() - began:.0f} s"
        return (session.status() or waiting)[: session.screen.columns - 1]

    async def watch() -> None:
        await asyncio.sleep(START_DELAY)
        server.start()
        while server.looking:
            await asyncio.sleep(0.2)
            get_app().invalidate()
        if server.refused and not get_app().is_done:
            get_app().exit(exception=server.refused)

    def start_watching() -> None:
        if server.model is None:
            get_app().create_background_task(watch())

    memory = SharedHistory(str(history)) if history else InMemoryHistory()
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
    reported: set[str] = set()

    def read() -> str:
        text = reader.prompt(pre_run=start_watching)
        if isinstance(memory, SharedHistory) and memory.problem not in ("", *reported):
            reported.add(memory.problem)
            session.screen.note(f"[{memory.problem}: the up arrow reaches only into this session]")
        return text

    return read


def bindings() -> KeyBindings:
    """Enter sends, and Alt-Enter starts a new line. The default of prompt_toolkit for several lines is the reverse."""
    keys = KeyBindings()

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
