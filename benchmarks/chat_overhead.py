"""The overhead of the chat compared with curl: time to the prompt and to the first token, delay per token, CPU time.

    uv run python benchmarks/chat_overhead.py

A server in a separate process streams tokens at a fixed rate. The text of each token is the time in nanoseconds at
which the server sent it, so the reader can compute the delay. Three clients read the same stream, one after the other:
curl, the chat with a single question in a pipe, and the chat in a pseudo-terminal of 80 columns. The benchmark needs
curl and a POSIX system.
"""

import argparse
import asyncio
import fcntl
import json
import os
import pty
import re
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from doric.core import cli

CLI = Path(__file__).parents[1] / "modal" / "chat_cli.py"
TOKEN = re.compile(rb"(?<!\d)(\d{12,}) ")
SHOWN = re.compile(rb"(?<!\d)(\d{12,})(?=[ \r])")  # in a terminal, wrapping may replace the space with a line end
PROMPT = b"\x1b[?2004h"  # the chat switches bracketed paste on each time it opens a prompt
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
MODELS = {"data": [{"id": "doric", "max_model_len": 10_000_000}]}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    """One event, about as long as the events of vLLM."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None}
    whole = {"id": f"chatcmpl-{'0' * 32}", "object": "chat.completion.chunk", "created": 0, "model": "doric"}
    return chunk(b"data: " + json.dumps({**whole, "choices": [choice]}).encode() + b"\n\n")


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pace: float) -> None:
    """Answer one request with the list of models, or with the requested number of tokens."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
    body = json.loads(await reader.readexactly(int(length[1])) if length else b"{}")
    if head.startswith("GET"):
        writer.write(HEAD % b"application/json" + chunk(json.dumps(MODELS).encode()) + chunk(b""))
    else:
        writer.write(HEAD % b"text/event-stream")
        due = time.perf_counter()
        for _ in range(body["max_tokens"]):
            await asyncio.sleep(due - time.perf_counter())
            writer.write(event({"content": f"{time.monotonic_ns()} "}))
            due += pace
        writer.write(event({}, "stop") + chunk(b"data: [DONE]\n\n") + chunk(b""))
    await writer.drain()
    writer.close()


async def serve(pace: float) -> None:
    server = await asyncio.start_server(lambda r, w: answer(r, w, pace), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@dataclass
class Reading:
    """The delay of each token in seconds, and the CPU time of the reader in seconds."""

    late: list[float]
    cpu: float

    @classmethod
    def of(cls, process: subprocess.Popen[bytes]) -> "Reading":
        """Read the standard output of a process to its end."""
        assert process.stdout
        late, rest = [], b""
        while data := os.read(process.stdout.fileno(), 65536):
            now = time.monotonic_ns()
            late += [(now - int(stamp)) / 1e9 for stamp in TOKEN.findall(rest + data)]
            rest = (rest + data)[(rest + data).rfind(b" ") + 1 :]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return cls(late, usage.ru_utime + usage.ru_stime)


def curl(url: str, tokens: int) -> tuple[Reading, float]:
    """The reading of curl, and the time to the first byte that curl itself reports."""
    body = json.dumps({"model": "doric", "messages": [{"role": "user", "content": "hi"}], "max_tokens": tokens})
    argv = ["curl", "-sN", f"{url}/v1/chat/completions", "-H", "Content-Type: application/json", "-d", body]
    with tempfile.TemporaryFile() as note:
        timing = ["-w", "%{stderr}%{time_starttransfer}"]
        reading = Reading.of(subprocess.Popen([*argv, *timing], stdout=subprocess.PIPE, stderr=note))
        note.seek(0)
        return reading, float(note.read())


class Conversation:
    """The chat in a pseudo-terminal. The times are measured outside the chat."""

    def __init__(self, env: dict[str, str]) -> None:
        self.fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, CLI], stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
        )
        os.close(theirs)
        self.shown = b""

    def read_until(self, true: Callable[[], object]) -> float:
        """Read until a condition holds. Returns the time at which it held."""
        while not true():
            assert select.select([self.fd], [], [], 20)[0], self.shown[-500:]
            self.shown += os.read(self.fd, 65536)
        return time.monotonic()

    def ready(self) -> float:
        """Press a key. Returns the seconds from the start of the process until the key is visible at the prompt."""
        self.read_until(lambda: b">>>" in self.shown)
        os.write(self.fd, b"#")
        return self.read_until(lambda: b"#" in self.shown) - self.began

    def say(self, line: bytes, until: re.Pattern[bytes]) -> float:
        """Type a line. Returns the seconds from Enter until a pattern is shown, and waits until the next prompt is
        open.
        """
        prompts, start = self.shown.count(PROMPT), len(self.shown)
        os.write(self.fd, line)
        self.read_until(lambda: line in self.shown[start:])
        pressed = time.monotonic()
        os.write(self.fd, b"\r")
        seen = self.read_until(lambda: until.search(self.shown, start))
        self.read_until(lambda: self.shown.count(PROMPT) > prompts)
        return seen - pressed

    def answer(self, tokens: int) -> list[float]:
        """Ask a question. Returns the delay of each token on the screen, and waits until the next prompt is open."""
        prompts, late, rest = self.shown.count(PROMPT), [], b""
        os.write(self.fd, b"hello\r")
        while len(late) < tokens:
            assert select.select([self.fd], [], [], 20)[0], rest
            rest += os.read(self.fd, 65536)
            now, end = time.monotonic_ns(), 0
            for stamp in SHOWN.finditer(rest):
                late.append((now - int(stamp[1])) / 1e9)
                end = stamp.end()
            rest = rest[end:]
        self.shown += rest
        self.read_until(lambda: self.shown.count(PROMPT) > prompts)
        return late

    def close(self) -> float:
        """Leave with Ctrl-D. Returns the CPU time of the whole conversation in seconds."""
        os.write(self.fd, b"\x7f\x04")
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        os.close(self.fd)
        return usage.ru_utime + usage.ru_stime


def measure(url: str, tokens: int, runs: int, home: str) -> dict[str, float]:
    """All measured figures, in seconds."""
    keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    keep |= {"VLLM_URL": url, "VLLM_API_KEY": "", "VLLM_MODEL": "", "XDG_STATE_HOME": home, "TERM": "xterm"}
    keep |= {"PROMPT_TOOLKIT_NO_CPR": "1"}
    prompts, idle, firsts, plain_firsts = [], [], [], []
    for _ in range(runs):
        chat = Conversation(keep)
        prompts.append(chat.ready())
        idle.append(chat.close())
    chat = Conversation(keep)
    chat.ready()
    os.write(chat.fd, b"\x7f")
    chat.say(b"/set max_tokens 3", re.compile(rb"max_tokens +3"))
    for _ in range(runs):
        firsts.append(chat.say(b"hello", TOKEN))
        plain_firsts.append(curl(url, 3)[1])
    chat.close()
    chat = Conversation(keep)
    chat.ready()
    os.write(chat.fd, b"\x7f")
    chat.say(f"/set max_tokens {tokens}".encode(), re.compile(rb"max_tokens +\d"))
    talked = chat.answer(tokens)
    busy = chat.close()
    raw, _ = curl(url, tokens)
    argv = [sys.executable, CLI, "hello", "--set", f"max_tokens={tokens}"]
    ours = Reading.of(subprocess.Popen(argv, stdout=subprocess.PIPE, env=keep))
    assert len(raw.late) == len(ours.late) == len(talked) == tokens
    return {
        "prompt_median": statistics.median(prompts),
        "prompt_worst": max(prompts),
        "first_token_chat": statistics.median(firsts),
        "first_token_curl": statistics.median(plain_firsts),
        "late_chat": statistics.mean(talked),
        "late_pipe": statistics.mean(ours.late),
        "late_curl": statistics.mean(raw.late),
        "cpu": busy - statistics.median(idle),
        "cpu_pipe": ours.cpu,
        "cpu_curl": raw.cpu,
    }


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--pace", type=float, default=0.004, help="seconds between tokens (%(default)s)")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve(args.pace))
        return
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", "--pace", str(args.pace)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout
    try:
        with tempfile.TemporaryDirectory() as home:
            got = measure(f"http://127.0.0.1:{int(server.stdout.readline())}", args.tokens, args.runs, home)
    finally:
        server.kill()
        server.wait()
    late, first = got["late_chat"] - got["late_curl"], got["first_token_chat"] - got["first_token_curl"]
    print(f"load average        {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"prompt ready        {got['prompt_median']:.3f} s, worst {got['prompt_worst']:.3f} s    (at most 0.4 s)")
    print(f"first token         {1000 * got['first_token_chat']:.1f} ms, curl {1000 * got['first_token_curl']:.1f} ms")
    print(f"  so the chat adds  {1000 * first:.1f} ms    (at most 5 ms)")
    print(f"each token is late  {1000 * got['late_chat']:.2f} ms, curl's {1000 * got['late_curl']:.2f} ms")
    print(f"  so the chat adds  {1000 * late:.2f} ms    (at most 1 ms)")
    print(f"  through a pipe    {1000 * got['late_pipe']:.2f} ms")
    print(f"CPU, {args.tokens} tokens   {got['cpu']:.2f} s, curl {got['cpu_curl']:.2f} s    (under 1 s)")
    print(f"  one question      {got['cpu_pipe']:.2f} s, its start included")


if __name__ == "__main__":
    main()
