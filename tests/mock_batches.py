"""A server with the pages /v1/files and /v1/batches over real HTTP, for tests. It counts what would be paid for.

    with serving() as server:
        ...  # server.url

`answer(body)` is the text of an answer. `ends` are the states in which batches end, in the order of their creation
(default: completed); `edit(lines)` changes the lines of an output before they are sent.
"""

import contextlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mock_server import Call, DoricAnswers

type Json = dict[str, Any]
CREATED = 1_790_000_000
ENGLISH = "The plain English answer is that you should do it."


def completion(body: Json, text: str, finish: str = "stop") -> Json:
    """The body of a response."""
    usage = {"prompt_tokens": 300, "completion_tokens": 60, "total_tokens": 360}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [choice],
        "usage": usage,
    }


def line(id: str, body: Json, status: int = 200) -> Json:
    """A line of an output."""
    return {
        "id": f"r-{id}",
        "custom_id": id,
        "response": {"status_code": status, "request_id": "q", "body": body},
        "error": None,
    }


@dataclass
class BatchServer:
    """What the server has and counts. `paid` counts the requests in all batches, by id and messages."""

    answer: Callable[[Json], str]
    ends: tuple[str, ...] = ()
    edit: Callable[[list[Json]], list[Json]] = lambda lines: lines
    refuses: Callable[[str, str], tuple[int, str] | None] = lambda method, page: None
    url: str = ""
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    batches: dict[str, Json] = field(default_factory=dict)
    paid: Counter[str] = field(default_factory=Counter)
    bodies: list[Json] = field(default_factory=list)
    probes: list[Json] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def page(self, method: str, path: str, content: bytes) -> tuple[int, bytes]:
        """Status and body of a response."""
        parts = urlsplit(path)
        page, query = parts.path.removeprefix("/v1/"), parse_qs(parts.query)
        with self.lock:
            if refusal := self.refuses(method, page):
                return refusal[0], json.dumps({"error": {"message": refusal[1]}}).encode()
            match method, page.split("/"):
                case "GET", ["models"]:
                    found: Json = {"data": [{"id": "mock-doric"}]}
                case "POST", ["chat", "completions"]:
                    self.probes.append(body := json.loads(content))
                    found = completion(body, "Foo")
                case "POST", ["files"]:
                    found = self.upload(content)
                case "GET", ["files"]:
                    found = self.listed([self.file(id) for id in self.files], query)
                case "GET", ["files", id, "content"]:
                    return 200, self.files[id][1]
                case "POST", ["batches"]:
                    found = self.create(json.loads(content))
                case "GET", ["batches"]:
                    found = self.listed(list(reversed(self.batches.values())), query)
                case "GET", ["batches", id]:
                    found = self.batches[id]
                case _:
                    return 404, b'{"error": {"message": "Not Found"}}'
        return 200, json.dumps(found).encode()

    def listed(self, items: list[Json], query: Mapping[str, list[str]]) -> Json:
        """One page of a list, of two items."""
        after = query.get("after", [""])[0]
        at = next((place + 1 for place, item in enumerate(items) if item["id"] == after), 0)
        return {"object": "list", "data": items[at : at + 2], "has_more": len(items) > at + 2}

    def file(self, id: str) -> Json:
        """A file, as it is described."""
        name, content = self.files[id]
        return {
            "id": id,
            "object": "file",
            "bytes": len(content),
            "created_at": 0,
            "filename": name,
            "purpose": "batch",
            "status": "processed",
        }

    def add(self, name: str, content: bytes) -> str:
        """A new file; its id."""
        id = f"file-{len(self.files) + 1}"
        self.files[id] = (name, content)
        return id

    def upload(self, content: bytes) -> Json:
        """The file in a multipart form."""
        boundary = content[: content.index(b"\r\n")]
        part = next(part for part in content.split(boundary) if b"filename=" in part)
        head, _, rest = part.partition(b"\r\n\r\n")
        name = re.search(rb'filename="([^"]+)"', head)
        assert name is not None
        return self.file(self.add(name[1].decode(), rest.removesuffix(b"\r\n")))

    def create(self, asked: Json) -> Json:
        """A new batch, which has ended."""
        number = len(self.batches) + 1
        status = self.ends[number - 1] if number <= len(self.ends) else "completed"
        requests = [json.loads(text) for text in self.files[asked["input_file_id"]][1].splitlines()]
        half = len(requests) // 2
        done = {"completed": len(requests), "failed": 0, "in_progress": 0, "stuck": 0}.get(status, half)
        for request in requests[:done]:
            self.paid[json.dumps(request, sort_keys=True)] += 1
            self.bodies.append(request["body"])
        lines = self.edit(
            [line(one["custom_id"], completion(one["body"], self.answer(one["body"]))) for one in requests[:done]]
        )
        output = b"".join(json.dumps(each).encode() + b"\n" for each in lines)
        error = {"code": "batch_expired", "message": "This request could not be executed in time."}
        lost = [{"id": "e", "custom_id": one["custom_id"], "response": None, "error": error} for one in requests[done:]]
        errors = (
            b"".join(json.dumps(each).encode() + b"\n" for each in lost) if status in ("expired", "cancelled") else b""
        )
        failed = {"data": [{"code": "invalid", "message": "line 1 is bad"}]} if status == "failed" else None
        batch = {
            "id": f"batch_{number}", "object": "batch", "endpoint": asked["endpoint"], "status": status,
            "errors": failed, "input_file_id": asked["input_file_id"], "completion_window": "24h",
            "created_at": CREATED, "expires_at": CREATED + 86400, "metadata": asked["metadata"],
            "output_file_id": self.add("out", output) if output else None,
            "error_file_id": self.add("err", errors) if errors else None,
            "request_counts": {"total": len(requests), "completed": done, "failed": 0},
        }  # fmt: skip
        self.batches[batch["id"]] = batch
        return batch

    @property
    def paid_twice(self) -> int:
        """Requests that were answered more than once."""
        return sum(count - 1 for count in self.paid.values())


@contextlib.contextmanager
def serving(answer: Callable[[Json], str] | None = None, **behaviour: Any) -> Generator[BatchServer]:
    """Run a `BatchServer` on threads of its own."""
    state = BatchServer(answer or by_question(), **behaviour)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length) if length else self.chunks()
            status, body = state.page(self.command, self.path, content)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = handle_any

        def chunks(self) -> bytes:
            content = b""
            while "chunked" in self.headers.get("Transfer-Encoding", ""):
                size = int(self.rfile.readline(), 16)
                content += self.rfile.read(size)
                self.rfile.readline()
                if not size:
                    break
            return content

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        state.url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield state
        finally:
            server.shutdown()


def by_question(first: int = 0, refused: int = 0) -> Callable[[Json], str]:
    """Answers that depend on the messages only, so that each request has the same one whenever it is asked.

    The first `refused` questions get an English answer, and a good one when they are asked again with the reason.
    """
    answers, known = DoricAnswers(first=first), dict[str, str]()

    def answer(body: Json) -> str:
        key = json.dumps(body["messages"])
        if key not in known:
            bad = len(known) < refused and ENGLISH not in key
            good = answers(Call(len(known), json.dumps(body).encode(), {}))
            known[key] = ENGLISH if bad else good
        return known[key]

    return answer
