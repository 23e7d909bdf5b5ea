"""The input line of a conversation: its keys, its history across sessions, and the status line below it.

This is a separate module because importing prompt_toolkit takes a tenth of a second, and a single question does not
need it.
"""

import asyncio
import errno
import os
import select
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app, run_in_terminal
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import create_output
from prompt_toolkit.styles import Style

from doric.chat.conversation import readable
from doric.chat.keys import keyboard
from doric.chat.session import Session
from doric.chat.signals import QUIT, Ended
from doric.chat.terminal import typed_ahead

FLUSH = "_Flush"
"""prompt_toolkit's mark for a pause between keys."""
BLOCK = 250
"""prompt_toolkit reads 1024 bytes at a time, which are at least so many characters."""
START_DELAY = 0.2
"""Seconds between the first prompt and the search for the model. Its imports would delay the first keys."""


class SharedHistory(FileHistory):
    """The typed messages of all sessions. If the file cannot be used, `problem` says why, and they stay in memory."""

    problem = ""

    def load_history_strings(self) -> Iterable[str]:
        try:
            with suppress(FileNotFoundError):
                self._make_private()
            return list(super().load_history_strings())
        except OSError as error:
            self._report(error)
            return []

    def store_string(self, string: str) -> None:
        try:
            with suppress(FileNotFoundError):
                self._make_private()
            os.close(os.open(self.filename, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600))  # creates a private file
            super().store_string(string)
        except OSError as error:
            self._report(error)

    def _make_private(self) -> None:
        """Earlier versions created a file that others could read. Raises OSError if it is not a regular file."""
        mode = os.stat(self.filename).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if mode & 0o077:
            os.chmod(self.filename, 0o600)

    def _report(self, error: OSError) -> None:
        self.problem = f"cannot use {self.filename!s}: {error.strerror}"


def make_prompt(session: Session, history: Path | None) -> Callable[[], str]:
    """A function that reads one message. Enter sends it; Alt-Enter and pasted line ends give a new line.

    The search for the model starts after the prompt is shown. If the server refuses it, reading raises that error.
    """
    server, began = session.server, time.monotonic()
    reported: set[str] = set()

    def status() -> str:
        waiting = f"{server.waiting_for()} … {time.monotonic() - began:.0f} s"
        return (session.status() or (server.missed.message if server.missed else waiting))[: session.screen.columns - 1]

    async def watch() -> None:
        await asyncio.sleep(START_DELAY)
        server.start()
        while server.looking:
            await asyncio.sleep(0.2)
            get_app().invalidate()
        if server.refused and not get_app().is_done:
            get_app().exit(exception=server.refused)
        elif (missed := server.missed) and missed.message not in reported:
            reported.add(missed.message)
            await run_in_terminal(lambda: session.screen.error(missed.message, missed.hint))
        elif server.unlisted:
            await run_in_terminal(session.warn_once)

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
        input=keyboard(),
        output=create_output(always_prefer_tty=True),
        enable_suspend=True,
    )

    def leave(ended: Ended) -> bool:
        app = reader.app
        if app.loop is None or not app.is_running or app.is_done:
            return False
        app.loop.call_soon_threadsafe(lambda: app.is_done or app.exit(exception=ended))
        return True

    def read() -> str:
        typed = typed_ahead()
        send = typed.count("\n") == 1 and typed.endswith("\n") and not session.stopped
        with session.signals.passed_to(leave):
            text = reader.prompt(pre_run=start_watching, default=typed.rstrip("\n"), accept_default=send)
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
        following = event.app.key_processor.input_queue
        if following and following[0].key == Keys.ControlJ:
            return  # the line end of Windows: its second half does the same
        if more_follows(event):
            event.current_buffer.insert_text("\n")
        else:
            event.current_buffer.validate_and_handle()

    @keys.add("c-@")
    def ignore(_: KeyPressEvent) -> None:
        """A NUL in a pasted text would begin a selection, and the text after it would be lost."""

    @keys.add("escape", "enter")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add(Keys.BracketedPaste)
    def paste(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text(readable(event.data))

    @keys.add("c-\\")
    def leave(event: KeyPressEvent) -> None:
        event.app.exit(exception=Ended(128 + QUIT))

    return keys


def more_follows(event: KeyPressEvent) -> bool:
    """Whether more keys have arrived together with this one: then it is part of a text that was pasted.

    Terminals without bracketed paste send a pasted text as if it were typed. It is read in blocks, so for a long text
    the keys that were not read yet count too.
    """
    waiting = event.app.key_processor.input_queue
    if any(key.key != Keys.CPRResponse and key.data != FLUSH for key in waiting):
        return True
    return len(event.current_buffer.text) > BLOCK and bool(select.select([event.app.input.fileno()], [], [], 0)[0])
