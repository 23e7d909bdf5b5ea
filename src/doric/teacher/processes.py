"""The end of a child process: with this one by a signal, and after a time that no suspended machine can stretch."""

import signal
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from doric.core.cli import CALL_SECONDS

GRACE_SECONDS = CALL_SECONDS + 20
"""How long the generator may take to end its calls and save its rows."""
STEP_SECONDS = 5.0
"""A waiting process looks at the clock this often."""


class Signalled(BaseException):
    """A signal asks the command to end. The exit status is 128 and its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = 128 + number


class Signals:
    """Ctrl-C, SIGTERM and SIGHUP. The first one raises `Signalled`, unless `quiet`; later ones only set `again`.

    So nothing can interrupt what is done after the first one. A signal that comes before the first process of `ended`
    waits for it. A signal that is ignored (`nohup`) stays ignored.
    """

    def __init__(self) -> None:
        self.received = 0
        """The number of the first signal."""
        self.again = self.quiet = False
        self._held = True
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: object) -> None:
        if self.received or self.quiet:
            self.again = True
            return
        self.received = number
        if not self._held:
            raise Signalled(number)

    @contextmanager
    def ended(self, start: Callable[[], "subprocess.Popen[bytes]"]) -> Generator["subprocess.Popen[bytes]"]:
        """A process that ends with the block: it is asked to end, and killed if it does not or after a second signal.

        A signal that comes while it starts or ends waits until it has ended: else a deployment would go on by itself.
        """
        process = None
        try:
            try:
                self._held = True
                process = None if self.received else start()
                self._held = False
                if process is None or self.received:
                    raise Signalled(self.received)
                yield process
            finally:
                self._held, before = True, self.received
        finally:  # also if a signal came before the line above
            if process is not None and process.poll() is None:
                process.terminate()
                limit = Deadline.after(GRACE_SECONDS)
                while process.poll() is None and limit.left() > 0 and not self.again:
                    time.sleep(0.1)
                process.kill()
                process.wait()
            self._held = False
        if self.received != before:  # an error of the block goes before it
            raise Signalled(self.received)


@dataclass(frozen=True, slots=True)
class Deadline:
    """A time limit, by the time of day and by a clock that nobody can set; the latter stops in a suspended machine."""

    at: float
    monotonic: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The limit in so many seconds."""
        return cls(time.time() + seconds, time.monotonic() + seconds)

    def left(self) -> float:
        """The seconds left, by the clock that is ahead; 0 or less if the time is over."""
        return min(self.at - time.time(), self.monotonic - time.monotonic())

    def before(self, seconds: float) -> "Deadline":
        """The limit so many seconds earlier."""
        return Deadline(self.at - seconds, self.monotonic - seconds)

    def wait(self, process: "subprocess.Popen[bytes]") -> int | None:
        """The exit status of a process; None if it has not ended in time."""
        while (left := self.left()) > 0:
            try:
                return process.wait(min(left, STEP_SECONDS))
            except subprocess.TimeoutExpired:
                continue
        return process.poll()
