"""Runs the chat as a process, with its input from a pipe or from a pseudo-terminal."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from doric.core.text import printable

CLI = Path(__file__).parents[1] / "modal" / "chat_cli.py"


KEYS = ("VLLM_API_KEY", "VLLM_MODEL", "MODAL_KEY", "MODAL_SECRET", "NO_COLOR")


def environment(home: Path, url: str, **more: str) -> dict[str, str]:
    """The environment of the tests, without the developer's settings. Empty variables also override those of a
    `.env`.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ}
    return {**kept, **dict.fromkeys(KEYS, ""), "VLLM_URL": url, "XDG_STATE_HOME": str(home), "HOME": str(home), **more}


def ask(home: Path, url: str, *args: str, piped: bytes = b"", **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script without a terminal. Returns its output as text."""
    done = subprocess.run(
        [sys.executable, CLI, *args], input=piped, capture_output=True, env=environment(home, url, **env), timeout=60
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Terminal:
    """The script in its own pseudo-terminal. A test sends keys and reads the text that a user would see."""

    LAUNCH = "import fcntl,os,sys,termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"

    def __init__(self, home: Path, url: str, *args: str, columns: int = 80, **env: str) -> None:
        self.fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        given = environment(home, url, **{"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **env})
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.LAUNCH, sys.executable, str(CLI), *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=given,
            start_new_session=True,
        )
        os.close(theirs)
        self.raw = b""
        self.seen = 0  # how much of `text` earlier calls of `expect` have already matched

    def __enter__(self) -> Self:
        return self.ready(1)

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)

    @property
    def text(self) -> str:
        """Everything shown so far, without escape sequences."""
        return printable(self.raw.decode(errors="replace"))

    @property
    def prompts(self) -> int:
        """How many prompts were opened. Each prompt switches bracketed paste on."""
        return self.raw.count(b"\x1b[?2004h")

    def read_until(self, true: Callable[[], bool], what: str, seconds: float = 20) -> None:
        """Read until a condition holds."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"no {what} in {self.text[self.seen :]!r}"
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.raw += os.read(self.fd, 65536)
                except OSError:  # the process has closed its end
                    self.process.wait(20)
                    assert true(), f"it ended without {what}: {self.text[self.seen :]!r}"

    def ready(self, prompts: int) -> Self:
        """Read until the given number of prompts were opened."""
        self.read_until(lambda: self.prompts >= prompts, f"prompt number {prompts}")
        return self

    def expect(self, text: str) -> None:
        """Read until this text appears after the text that the last call matched."""
        self.read_until(lambda: text in self.text[self.seen :], repr(text))
        self.seen = self.text.index(text, self.seen) + len(text)

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def say(self, line: str) -> str:
        """Type a line and Enter. Returns the text shown until the next prompt opened."""
        before, start = self.prompts, len(self.text)
        self.type(line + "\r")
        self.ready(before + 1)
        return self.text[start:]

    def end(self, seconds: float = 20) -> int:
        """Read until the process ends. Returns the exit code."""
        self.read_until(lambda: self.process.poll() is not None, "end of the process", seconds)
        return self.process.returncode

    def leave(self) -> int:
        """Press Ctrl-D. Returns the exit code."""
        self.type("\x04")
        return self.process.wait(20)


def rows(home: Path) -> list[dict]:
    """All stored chats, oldest first."""
    files = sorted((home / "doric" / "chats").glob("*.jsonl"), key=lambda file: file.stat().st_mtime)
    return [json.loads(line) for file in files for line in file.read_text().split("\n") if line]


def until(true, seconds: float = 10) -> None:
    """Wait for a condition that another thread makes true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
