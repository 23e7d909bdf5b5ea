"""A server that misbehaves with whole responses: bodies without an end, compressed bombs, one byte at a time.

    uv run python tests/hostile_server.py endless_body --port 8123

Each case writes raw bytes, on one thread per connection. Calls to /v1/models get a normal list, except in the cases for
that page. `calls` counts the chat calls. With `first_good`, the first calls get a normal answer.
"""

import argparse
import functools
import gzip
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Self

GOOD = {"choices": [{"message": {"role": "assistant", "content": "Haud the windae open."}, "finish_reason": "stop"}]}
MODELS = {"data": [{"id": "doric", "max_model_len": 4096}]}
BLOCK = 1 << 16
GIGABYTE = 1 << 30

type Parts = Iterator[bytes]


def head(content_type: str = "application/json", more: str = "", status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\n{more}Connection: close\r\n\r\n".encode()


def forever(part: bytes, pause: float = 0.0) -> Parts:
    while True:
        yield part
        time.sleep(pause)


def event(delta: dict, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def after(first: bytes, rest: Parts) -> Parts:
    yield first
    yield from rest


def compressed(window: int, size: int = GIGABYTE) -> Parts:
    """A JSON body of `size` blanks, compressed to a thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, window)
    blanks = b" " * (1 << 20)
    for _ in range(size >> 20):
        if part := packer.compress(blanks):
            yield part
    yield packer.flush()


@functools.cache
def twice_compressed() -> bytes:
    """The compressed body, compressed again."""
    return gzip.compress(b"".join(compressed(31)))


def bomb(encoding: str, window: int) -> Parts:
    return after(head(more=f"Content-Encoding: {encoding}\r\n"), compressed(window))


def wrong_chunks(pause: float) -> Parts:
    """An event stream in chunks that are two bytes longer than they say."""
    yield CHUNKED
    while True:
        part = event({"content": "aye "})
        yield f"{len(part) - 2:x}\r\n".encode() + part + b"\r\n"
        time.sleep(pause)


def text_of(content: str) -> Parts:
    body = json.dumps({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}).encode()
    yield head(more=f"Content-Length: {len(body)}\r\n") + body


STREAM = head("text/event-stream")
CHUNKED = head("text/event-stream", "Transfer-Encoding: chunked\r\n")
SLOW = 0.2
CASES: dict[str, Callable[[], Parts]] = {
    "endless_body": lambda: after(head() + b'{"choices":[{"message":{"content":"', forever(b"a" * BLOCK)),
    "endless_blanks": lambda: after(head(), forever(b" " * BLOCK)),
    "endless_list": lambda: after(head() + b'{"choices":[', forever(b"null," * 10_000)),
    "endless_length": lambda: after(head(more="Content-Length: 99999999999\r\n"), forever(b"a" * BLOCK)),
    "gzip_bomb": lambda: bomb("gzip", 31),
    "x_gzip_bomb": lambda: bomb("x-gzip", 31),
    "deflate_bomb": lambda: bomb("deflate", 15),
    "raw_deflate_bomb": lambda: bomb("deflate", -15),
    "twice_gzip_bomb": lambda: after(head(more="Content-Encoding: gzip, gzip\r\n"), iter([twice_compressed()])),
    "gzip_stream_bomb": lambda: after(head("text/event-stream", "Content-Encoding: gzip\r\n"), compressed(31)),
    "unknown_encoding": lambda: iter([head(more="Content-Encoding: br\r\n") + b"\x8b\x02\x80aye\x03"]),
    "endless_error": lambda: after(head(status=500) + b'{"error":{"message":"engine ', forever(b"x" * BLOCK)),
    "endless_refusal": lambda: after(head(status=400) + b'{"error":{"message":"engine ', forever(b"x" * BLOCK)),
    "slow_error": lambda: after(head(status=400) + b'{"error":{"message":"engine', forever(b"e", SLOW)),
    "slow_401": lambda: after(head(status=401) + b'{"error":{"message":"engine', forever(b"e", SLOW)),
    "endless_header": lambda: after(b"HTTP/1.1 200 OK\r\nX-A: ", forever(b"a" * BLOCK)),
    "endless_headers": lambda: after(b"HTTP/1.1 200 OK\r\n", forever(b"X-A: aaaa\r\n" * 1000)),
    "endless_continue": lambda: forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "endless_line": lambda: after(STREAM + b"data: ", forever(b"a" * BLOCK)),
    "endless_event": lambda: after(STREAM, forever(b"data: {\n" * 1000)),
    "endless_comments": lambda: after(STREAM, forever(b": keep-alive\n\n" * 1000)),
    "endless_empty_data": lambda: after(STREAM, forever(b"data:\n\n" * 1000)),
    "endless_empty_chunks": lambda: after(STREAM, forever(event({}) * 100)),
    "endless_chunks": lambda: after(STREAM, forever(event({"content": "aye "}) * 100)),
    "endless_reasoning": lambda: after(STREAM, forever(event({"reasoning_content": "hm "}) * 100)),
    "endless_after_done": lambda: after(
        STREAM + event({"content": "Aye. "}) + event({"content": "Fine."}, "stop") + b"data: [DONE]\n\n",
        forever(b"data: x\n\n" * 1000),
    ),
    "open_after_finish": lambda: after(STREAM + event({"content": "Aye. "}) + event({}, "stop"), forever(b"", 1.0)),
    "open_after_done": lambda: after(STREAM + event({"content": "Aye. "}) + b"data:  [DONE] \n\n", forever(b"", 1.0)),
    "byte_by_byte": lambda: after(head() + b'{"choices":[{"message":{"content":"', forever(b"a", SLOW)),
    "stream_byte_by_byte": lambda: after(STREAM + b'data: {"choices":[{"delta":{"content":"', forever(b"a", SLOW)),
    "header_byte_by_byte": lambda: after(b"HTTP/1.1 200 OK\r\nX-A: ", forever(b"a", SLOW)),
    "wrong_chunk_size": lambda: wrong_chunks(0.0),
    "slow_comments": lambda: after(STREAM + event({"content": "Aye, "}), forever(b": wait\n\n", SLOW)),
    "long_answer": lambda: text_of("Haud the windae open a wee bittie, quine. " * 1200),
    "long_thoughts": lambda: text_of(f"<think>{'They want Doric. <think> ' * 8500}</think>Haud the windae open."),
    "open_thoughts": lambda: text_of("<think>" * 30_000),
    "deep_json": lambda: iter([head() + b'{"choices":' + b"[" * 500_000]),
}
MODEL_CASES: dict[str, Callable[[], Parts]] = {
    "models_endless": lambda: after(head() + b'{"data":[', forever(b'{"id":"doric"},' * 5000)),
    "models_bomb": lambda: bomb("gzip", 31),
    "models_byte_by_byte": lambda: after(head() + b'{"data":[{"id":"', forever(b"a", SLOW)),
    "models_error": lambda: after(head(status=500) + b'{"error":"', forever(b"x" * BLOCK)),
}


class HostileServer:
    """The server on threads of its own. Every call gets the response of `case`, except the first `first_good` ones."""

    def __init__(self, case: str, *, first_good: int = 0, port: int = 0) -> None:
        self.case, self.first_good = case, first_good
        self.calls = 0
        self._socket = socket.create_server(("127.0.0.1", port), backlog=200)
        self._lock = threading.Lock()

    @property
    def root(self) -> str:
        """The URL without /v1."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            for part in self._response(_read_request(connection)):
                connection.sendall(part)
                connection.settimeout(30)
        except OSError:
            pass
        finally:
            connection.close()

    def _response(self, start: bytes) -> Parts:
        if b"/models" in start:
            return MODEL_CASES[self.case]() if self.case in MODEL_CASES else _json(MODELS)
        with self._lock:
            self.calls += 1
            good = self.calls <= self.first_good
        return _json(GOOD) if good or self.case not in CASES else CASES[self.case]()


def _json(value: object) -> Parts:
    body = json.dumps(value).encode()
    yield head(more=f"Content-Length: {len(body)}\r\n") + body


def _read_request(connection: socket.socket) -> bytes:
    """Read one request; returns its first line."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (block := connection.recv(BLOCK)):
            raise OSError("closed")
        data += block
    header, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in header.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    missing = (int(lengths[0].split(b":")[1]) if lengths else 0) - len(body)
    while missing > 0:
        missing -= len(connection.recv(BLOCK))
    return header.split(b"\r\n")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=[*CASES, *MODEL_CASES])
    parser.add_argument("--port", type=int, default=8123)
    args = parser.parse_args()
    with HostileServer(args.case, port=args.port) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
