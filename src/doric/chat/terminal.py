"""What a terminal gets to see: answers wrapped as they stream, notes, and a clock while we wait.

Knows no server and no conversation.
"""

import os
import sys
import textwrap
import threading
import time
import unicodedata
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Self, TextIO

from doric.chat.cleaner import clean

try:
    import termios
except ImportError:  # Windows
    termios = None


class Screen:
    """Standard output for answers, standard error for everything said about them."""

    def __init__(self, env: Mapping[str, str]) -> None:
        dumb = env.get("TERM", "dumb") == "dumb"
        self.wraps = sys.stdout.isatty() and not dumb
        self.counts = sys.stderr.isatty() and not dumb
        self.dims = self.counts and not env.get("NO_COLOR")
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")  # a locale without Doric's letters must not end the chat

    def note(self, text: str) -> None:
        """A remark of the program's own, told apart from answers."""
        text = self._folded(text)
        print(f"\x1b[2m{text}\x1b[22m" if self.dims else text, file=sys.stderr, flush=True)

    def error(self, text: str, hint: str = "") -> None:
        """What went wrong, and what to do about it."""
        print(self._folded(f"error: {text}" + (f"\nhint: {hint}" if hint else "")), file=sys.stderr, flush=True)

    def _folded(self, text: str) -> str:
        """Made harmless, and on a terminal folded to its width between words."""
        if not self.counts:
            return clean(text)
        wrap = textwrap.TextWrapper(columns() - 1, subsequent_indent="  ", break_on_hyphens=False)
        return "\n".join(line for each in clean(text).split("\n") for line in wrap.wrap(each) or [""])

    def writer(self) -> "Writer":
        return Writer(sys.stdout, columns() - 1 if self.wraps else None)


@contextmanager
def hushed() -> Generator[None]:
    """While an answer streams, keys typed ahead wait for the next prompt instead of appearing in its midst.

    Ctrl-C, which stops the answer, would throw them away but for NOFLSH.
    """
    if termios is None or sys.stdin is None or not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    quiet = before[3] & ~termios.ECHO | termios.NOFLSH
    termios.tcsetattr(sys.stdin, termios.TCSANOW, [*before[:3], quiet, *before[4:]])
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


def columns() -> int:
    """The width of the terminal in characters."""
    for stream in (sys.stdout, sys.stderr):
        try:
            return os.get_terminal_size(stream.fileno()).columns or 80
        except OSError:
            continue
    return 80


class Writer:
    """Writes a streamed answer; with a width, a word that would run over the edge moves to the next line."""

    def __init__(self, out: TextIO, width: int | None) -> None:
        self._out = out
        self._width = width
        self._column = 0
        self._word = ""  # what the line ends with since the last space

    def write(self, text: str) -> None:
        if self._width:
            text = "".join(self._placed(char, self._width) for char in text)
        elif text:
            self._column = int(not text.endswith("\n"))
        self._out.write(text)
        self._out.flush()

    def end_line(self) -> None:
        """Go to the start of a line, unless there already."""
        if self._column:
            self.write("\n")

    def _placed(self, char: str, width: int) -> str:
        """The character, and before it what moves an overlong line's last word down."""
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


class Clock:
    """While its context lasts, says on standard error what we wait for and how long it has been.

    On a terminal one line counts the seconds; elsewhere a line appears every ten. Nothing appears for short waits.
    Its thread is made once: making and joining one per answer would delay the first word.
    """

    def __init__(self, screen: Screen, what: Callable[[], str], *, after: float = 1.5) -> None:
        self._live = screen.counts
        self._what = what
        self._after = after
        self._began = 0.0  # 0 while nobody waits
        self._due = 0.0
        self._line = False  # whether the counting line is on the screen
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
            if self._line:
                self._say("\r\x1b[K")
            self._line = False

    def _run(self) -> None:
        while self._waiting.wait():
            time.sleep(0.25)
            with self._lock:
                now = time.monotonic()
                if self._began and now >= self._due:
                    self._tick(now - self._began)
                    self._due += 1.0 if self._live else 10.0

    def _tick(self, seconds: float) -> None:
        line = clean(f"{self._what()} … {seconds:.0f} s")
        self._say(f"\r{line[: columns() - 1]}\x1b[K" if self._live else f"{line}\n")
        self._line = self._live

    def _say(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
