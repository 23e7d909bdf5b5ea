"""Output on a terminal: answers wrapped while they stream, notes, errors, and a timer while the chat waits."""

import os
import select
import signal
import sys
import textwrap
import threading
import time
import unicodedata
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, Self, TextIO

from doric.core.text import ESCAPE_SEQUENCE, printable

try:
    import termios
except ImportError:  # Windows
    termios = None

QUIET_SECONDS = 0.05
"""If no key arrives for so long, a pasted text is complete."""
MOST_SECONDS = 2.0
"""Seconds after which reading keys ends, for example if a key is held down."""
END_OF_INPUT, ERASING, ERASE_LINE = "\x04", "\x7f\b", "\x15"
"""Ctrl-D, Backspace (two codes) and Ctrl-U."""


class Screen:
    """Standard output for answers, standard error for everything else."""

    def __init__(self, env: Mapping[str, str]) -> None:
        dumb = env.get("TERM", "dumb") == "dumb"
        self.wraps = sys.stdout.isatty() and not dumb
        self.live = sys.stderr.isatty() and not dumb
        self.dims = self.live and not env.get("NO_COLOR")
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")  # the encoding of the locale may lack some characters of an answer

    def note(self, text: str) -> None:
        """Print a message of the program itself, dimmed so that it does not look like an answer."""
        text = self._folded(text)
        print(f"\x1b[2m{text}\x1b[22m" if self.dims else text, file=sys.stderr, flush=True)

    def error(self, text: str, hint: str = "") -> None:
        """Print an error and its hint."""
        print(self._folded(f"error: {text}" + (f"\nhint: {hint}" if hint else "")), file=sys.stderr, flush=True)

    @property
    def columns(self) -> int:
        """The width of the terminal in characters; 80 if there is no terminal."""
        for stream in (sys.stdout, sys.stderr):
            try:
                return os.get_terminal_size(stream.fileno()).columns or 80
            except OSError:
                continue
        return 80

    def writer(self) -> "WrappedOutput":
        """The output for one answer."""
        return WrappedOutput(sys.stdout, lambda: self.columns - 1 if self.wraps else None)

    def _folded(self, text: str) -> str:
        if not self.live:
            return printable(text)
        wrap = textwrap.TextWrapper(self.columns - 1, subsequent_indent="  ", break_on_hyphens=False)
        return "\n".join(line for each in printable(text).split("\n") for line in wrap.wrap(each) or [""])


@contextmanager
def echo_off() -> Generator[None]:
    """In the block, typed keys do not appear in the answer. `typed_ahead` reads them afterwards."""
    if termios is None or sys.stdin is None or not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    # ICANON off: the terminal would cut a long line. NOFLSH on: Ctrl-C would discard the waiting keys. ICRNL off: the
    # line ends of Windows would become two
    quiet = before[3] & ~(termios.ECHO | termios.ICANON) | termios.NOFLSH
    changed = [before[0] & ~termios.ICRNL, *before[1:3], quiet, *before[4:]]
    _set_modes(changed)
    # after Ctrl-Z and `fg`, the shell has set its own modes
    resumed = signal.signal(signal.SIGCONT, lambda *_: _set_modes(changed))
    try:
        yield
    finally:
        signal.signal(signal.SIGCONT, resumed)
        _set_modes(before)


def _set_modes(modes: list[Any]) -> None:
    if termios is not None:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(sys.stdin, termios.TCSANOW, modes)


def typed_ahead() -> str:
    """The keys that were pressed since the last prompt, as text. Raises EOFError for Ctrl-D alone.

    Waits until no more keys arrive, because a pasted text arrives in several blocks.
    """
    if termios is None or sys.stdin is None or not sys.stdin.isatty():
        return ""
    keys, end = b"", time.monotonic() + MOST_SECONDS
    with echo_off():
        while time.monotonic() < end and select.select([sys.stdin], [], [], QUIET_SECONDS if keys else 0)[0]:
            block = os.read(sys.stdin.fileno(), 65536)
            if not block:
                break
            keys += block
    text = edited(keys.decode(sys.stdin.encoding or "utf-8", "replace"))
    if END_OF_INPUT in text and not text.strip(f"{END_OF_INPUT}\n"):
        raise EOFError
    return printable(text)


def edited(keys: str) -> str:
    """The text that a terminal makes of these keys: Backspace and Ctrl-U delete, Enter ends a line.

    >>> edited("Fit lik\\x7fke?\\rna\\x15aye")
    'Fit like?\\naye'
    """
    text = ""
    for key in ESCAPE_SEQUENCE.split(keys.replace("\r\n", "\n").replace("\r", "\n")):
        for char in key:
            if char in ERASING:
                text = text[:-1] if text[-1:] != "\n" else text
            elif char == ERASE_LINE:
                text = text[: text.rfind("\n") + 1]
            else:
                text += char
    return text


class WrappedOutput:
    """Writes a streamed answer. With a width, a word that would cross the edge moves to the next line.

    `width` returns the width, or None, and may change while the answer is written.
    """

    def __init__(self, out: TextIO, width: Callable[[], int | None]) -> None:
        self._out = out
        self._width = width
        self._column = 0
        self._word = ""  # the end of the line since its last space

    def write(self, text: str) -> None:
        """Write and flush."""
        if width := self._width():
            text = "".join(self._place(char, width) for char in text)
        elif text:
            self._column = int(not text.endswith("\n"))
        self._out.write(text)
        self._out.flush()

    def end_line(self) -> None:
        """Start a new line, unless the last one is empty."""
        if self._column:
            self.write("\n")

    def _place(self, char: str, width: int) -> str:
        """The output for one character. If the line is full, it first moves the last word to the next line."""
        cells = 8 - self._column % 8 if char == "\t" else _cells(char)
        if char == "\n" or (char in " \t" and self._column + cells > width):
            self._column, self._word = 0, ""
            return "\n"
        if self._column + cells <= width:
            self._column += cells
            self._word = "" if char in " \t" else self._word + char
            return char
        taken = sum(map(_cells, self._word))
        moves = 0 < taken < self._column and taken + cells <= width
        back = f"\x1b[{taken}D\x1b[K" if moves else ""
        self._word = self._word + char if moves else char
        self._column = sum(map(_cells, self._word))
        return f"{back}\n{self._word}"


def _cells(char: str) -> int:
    """How many columns a character takes."""
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


class WaitTimer:
    """A context manager that shows what the chat waits for and for how long. For short waits nothing appears.

    On a terminal, one line counts the seconds; elsewhere a line is printed every ten seconds. The thread is started
    once, because starting and joining a thread for each answer would delay the first token.
    """

    def __init__(self, screen: Screen, what: Callable[[], str], *, after: float = 1.5) -> None:
        self._screen = screen
        self._what = what
        self._after = after
        self._began = 0.0  # 0 if the chat does not wait
        self._due = 0.0
        self._shown = False  # whether the counting line is on the screen
        self._lock = threading.Lock()
        self._waiting = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        with self._lock:
            self._began = time.monotonic()
            self._due = self._began + self._after
        self._waiting.set()
        if not self._thread.is_alive():
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.clear()
        with self._lock:
            self._began = 0.0
            if self._shown:
                self._print("\r\x1b[K")
            self._shown = False

    def _run(self) -> None:
        while self._waiting.wait():
            time.sleep(0.25)
            with self._lock:
                now = time.monotonic()
                if self._began and now >= self._due:
                    self._show(now - self._began)
                    self._due += 1.0 if self._screen.live else 10.0

    def _show(self, seconds: float) -> None:
        what, time_waited = printable(self._what()), f" … {seconds:.0f} s"
        line = what[: self._screen.columns - 1 - len(time_waited)] + time_waited
        self._print(f"\r{line}\x1b[K" if self._screen.live else f"{what}{time_waited}\n")
        self._shown = self._screen.live

    def _print(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
