"""Ctrl-C and the signals that end the program, delivered only where the chat can handle them."""

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

ENDINGS = [number for name in ("SIGTERM", "SIGHUP", "SIGQUIT") if (number := getattr(signal, name, None))]
"""`kill`, a closed terminal window and Ctrl-\\. Windows has only the first."""

QUIT = 3
"""The number of SIGQUIT, which Windows does not have."""


class Ended(SystemExit):
    """A signal ends the program. The exit status is 128 plus its number, as for a program that the signal killed."""


class Signals:
    """Decides when a signal may interrupt the program.

    In an `armed` block the first signal raises `KeyboardInterrupt` (Ctrl-C) or `Ended`. After it, and outside such a
    block, signals wait, so that a second Ctrl-C cannot interrupt the code that saves the chat. The next `armed` block
    raises an `Ended` that waits, and forgets a Ctrl-C that waits.
    """

    def __init__(self) -> None:
        self._armed = False
        self._waiting: Ended | None = None
        self._leave: Callable[[Ended], bool] | None = None

    @contextmanager
    def installed(self) -> Generator[None]:
        """In the block, this object receives the signals. Signals that the parent process ignores stay ignored."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDINGS)}
        received = [number for number, handler in before.items() if handler != signal.SIG_IGN]
        for number in received:
            signal.signal(number, self._receive)
        try:
            yield
        finally:
            for number in received:
                signal.signal(number, before[number] or signal.SIG_DFL)

    @contextmanager
    def armed(self) -> Generator[None]:
        """In the block, the first signal raises."""
        if self._waiting:
            raise self._waiting
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    @contextmanager
    def held(self) -> Generator[None]:
        """In the block, signals wait, also inside an `armed` block."""
        armed, self._armed = self._armed, False
        try:
            yield
        finally:
            self._armed = armed
            if armed and self._waiting:
                raise self._waiting

    @contextmanager
    def passed_to(self, leave: Callable[[Ended], bool]) -> Generator[None]:
        """In the block, an `Ended` is passed to `leave` instead of raised, unless `leave` returns False.

        An event loop needs this: it would report an error that is raised in the middle of one of its callbacks.
        """
        self._leave = leave
        try:
            yield
        finally:
            self._leave = None

    def _receive(self, number: int, _: FrameType | None) -> None:
        ended = None if number == signal.SIGINT else Ended(128 + number)
        if ended and self._leave and self._leave(ended):
            return
        if self._armed:
            self._armed = False
            raise ended or KeyboardInterrupt
        self._waiting = self._waiting or ended
