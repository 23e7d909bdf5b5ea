"""A small chat server over real HTTP, for manual use and for tests. It streams word by word, and it can fail.

    uv run python tests/chat_mock.py --port 8123 --pause 0.05

The question decides the answer: `die` breaks off in the middle, `escape` contains escape sequences, `long` has 400
words, `repeat TEXT` is answered with TEXT, `fail` sends an error event, and `empty` sends nothing. `think` and `only
think` begin with reasoning, and `abort` and `content_filter` end with that finish reason. For any other
question, the answer contains the number of messages and the system prompt. One letter counts as one token.
"""

import argparse
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

WINDOW = 4000
BASE = {"id": "doric-base", "max_model_len": WINDOW, "parent": None}
ADAPTERS = [{"id": "other", "max_model_len": None, "parent": "doric-base"}, {"id": "doric", "parent": "doric-base"}]
ESCAPES = "\x1b]0;owned\x07\x1b[31mred\x1b[0m \x1b[2Jcleared\x9b5mblink \x1b]52;c;aGk=\x1b\\\rover \x08\x00done"


@dataclass
class Manners:
    """Settings of the server. They can be changed while it runs."""

    key: str = ""
    pause: float = 0.0
    models: list[dict[str, Any]] = field(default_factory=lambda: [BASE, *ADAPTERS])
    first: list[tuple[int, str]] = field(default_factory=list)  # (status, Location) of the next replies, each used once
    message: str = "starting"  # the message in those replies
    edge: bool = False  # whether a wrong key gets the same 401 that Modal sends


class ChatMock(ThreadingHTTPServer):
    """The server on a thread. `asked` holds every question, `aborted` counts the streams that the client closed."""

    daemon_threads = True

    def __init__(self, manners: Manners | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.manners = manners or Manners()
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[Message] = []
        self.aborted = 0

    def use_tls(self, certificate: Path) -> None:
        """Use https from now on. `certificate` is a file with the certificate and its key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def server_close(self) -> None:
        self.shutdown()
        super().server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatMock  # ty: ignore[incompatible-mutable-override]

    def log_message(self, format: str, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.turned_away():
            return
        match self.path.partition("?")[0]:
            case "/v1/models":
                self.reply(200, {"data": self.server.manners.models})
            case "/health" | "/ping":
                self.reply(200, {"ok": True})
            case _:
                self.reply(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.turned_away():
            return
        if self.path != "/v1/chat/completions":
            self.reply(404, {"detail": "Not Found"})
            return
        names = [model["id"] for model in self.server.manners.models]
        if names and body["model"] not in names:
            self.reply(404, {"error": {"message": f"The model `{body['model']}` does not exist."}})
            return
        self.server.asked.append(body)
        tokens = sum(len(message["content"]) for message in body["messages"])
        if tokens > WINDOW:
            self.reply(
                400, {"error": {"message": f"This model's maximum context length is 4000 tokens, not {tokens}."}}
            )
            return
        try:
            self.stream(body, tokens)
        except OSError:
            self.server.aborted += 1
            self.close_connection = True

    def turned_away(self) -> bool:
        """Whether the request has already been answered with a redirect, an error or a 401."""
        manners = self.server.manners
        self.server.paths.append(self.path)
        self.server.headers.append(self.headers)
        if manners.first:
            status, place = manners.first.pop(0)
            self.reply(status, {"error": {"message": manners.message}}, place)
        elif manners.key and self.path != "/health" and self.headers.get("Authorization") != f"Bearer {manners.key}":
            at_edge = {"error": "modal-http: missing credentials for proxy authorization"}
            self.reply(401, at_edge if manners.edge else {"error": {"message": "Unauthorized"}})
        else:
            return False
        return True

    def reply(self, status: int, body: dict[str, Any], place: str = "") -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if place:
            self.send_header("Location", place)
        self.end_headers()
        self.wfile.write(data)

    def stream(self, body: dict[str, Any], tokens: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        question, written = body["messages"][-1]["content"], 0
        for piece in pieces(body):
            self.event({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
            written += len(piece)
            time.sleep(self.server.manners.pause)
        if question == "die":
            self.close_connection = True
            return
        if question == "fail":
            self.event({"error": {"message": "the engine is dead"}})
        finish = "length" if written >= body.get("max_tokens", 10**6) else "stop"
        finish = question if question in ("abort", "content_filter") else finish
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        self.event({"choices": [], "usage": {"prompt_tokens": tokens, "completion_tokens": written}})
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, event: dict[str, Any]) -> None:
        self.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def pieces(body: dict[str, Any]) -> Iterator[str]:
    """The answer to a request, in pieces."""
    messages = body["messages"]
    question = messages[-1]["content"]
    if question == "empty":
        return
    if question in ("think", "only think"):
        yield from ("<thi", "nk>They want", " Doric.", "</think>")
        yield from ["Aye, ", "fairly."] if question == "think" else []
    elif question in ("die", "fail"):
        yield from ("Aye", " weel", ", I")
    elif question == "escape":
        yield from ESCAPES  # one letter at a time, so that the client receives every escape sequence in pieces
    elif question == "long":
        yield from (f"wird{number} " for number in range(400))
    elif question.startswith("repeat "):
        yield from (f"{word} " for word in question.removeprefix("repeat ").split(" "))
    else:
        system = messages[0]["content"] if messages[0]["role"] == "system" else "none"
        yield from f"{body['model']} saw {len(messages)} messages, system {system}.".split(" ", 1)[0]
        yield f" saw {len(messages)} messages, system {system}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between words")
    parser.add_argument("--key", default="")
    args = parser.parse_args()
    with ChatMock(Manners(key=args.key, pause=args.pause), args.port) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
