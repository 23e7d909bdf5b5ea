"""An OpenAI-compatible server over real HTTP, for tests and benchmarks. It can fail in many ways and counts its calls.

    uv run python tests/mock_server.py --port 8123 --latency 0.2 --jitter 0.5 --rate-limit-share 0.05 --retry-after 1

A test can use `async with MockServer(Behaviour(latency=0.2)) as server` on its own event loop. If the client is another
process, the test uses `with serving(...) as server`, which runs the server on a separate thread. GET /stats returns the
statistics. The command prints the same statistics when it is stopped. The server uses raw asyncio, so that a benchmark
measures the client and not the server.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from doric.core.files import encode_json, parse_json

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Action:
    """How to answer one call: a kind of answer or fault. `text` and `seconds` (latency) override the server's
    settings.
    """

    kind: str = "ok"
    text: str | None = None
    seconds: float | None = None
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the server behaves: its latency in seconds, and the share of calls that get each kind of fault.

    With `jitter` 0.5, latencies vary between 50% and 150%. Calls whose numbers are in `stragglers` take
    `straggler_seconds`. A parameter in `refuses` is answered with 400. If `key` is set, a call with another key gets
    401. `models` is the list at /v1/models. If `models` is None, the server does not have that page.
    `shutdown` is the day on which a listed model ends.
    """

    latency: float = 0.0
    jitter: float = 0.0
    retry_after: str | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    stragglers: tuple[int, ...] = ()
    straggler_seconds: float = 30.0
    refuses: tuple[str, ...] = ()
    key: str | None = None
    models: tuple[str, ...] | None = ("mock-doric",)
    shutdown: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class Call:
    """One call to /v1/chat/completions. `number` starts at 1."""

    number: int
    raw: bytes
    headers: Mapping[str, str]

    @cached_property
    def body(self) -> dict[str, Any]:
        """The request as JSON."""
        return parse_json(self.raw)  # ty: ignore[invalid-explicit-return]

    @property
    def key(self) -> str:
        """The API key of the call."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def prompt(self) -> str:
        """The last user message."""
        return next(message["content"] for message in reversed(self.body["messages"]) if message["role"] == "user")


@dataclass(slots=True)
class Stats:
    """The number of calls of each kind (`ok` is a complete answer), and the server's own delay in seconds."""

    requests: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    connections: int = 0
    first_call_at: float = 0.0
    late_sum: float = 0.0
    late_max: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    bodies: Counter[int] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """The figures as JSON. `duplicates` counts calls whose body equals the body of an earlier call."""
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "connections": self.connections,
            "first_call_at": self.first_call_at,
            "late_mean_ms": round(1000 * self.late_sum / max(1, self.requests), 3),
            "late_max_ms": round(1000 * self.late_max, 1),
            "duplicates": sum(self.bodies.values()) - len(self.bodies),
            "kinds": dict(sorted(self.kinds.items())),
        }


ANSWERS_APART = 200
"""Two servers of a test give answers that are so many numbers apart: a repeated answer is a near-duplicate."""
servers = itertools.count()
"""The numbers of the servers of a test. Each test begins with 0 (conftest.py)."""


class DoricAnswers:
    """Different answers of the heuristic backend that pass the gates.

    A harmful prompt gets a refusal, and a need for English a quotation. The answers begin with number `first`, so that
    two servers with other numbers do not give the same ones.
    """

    def __init__(self, prepared: int = 0, seed: int = 0, first: int = 0) -> None:
        self._answers = {kind: self._generate(kind, seed, first) for kind in ("core", "safety")}
        self._prepared: dict[str, deque[str]] = {"core": deque(), "safety": deque()}
        if prepared:
            self._prepare(prepared)

    def _prepare(self, count: int) -> None:
        """Generate `count` answers and one refusal per ten answers in advance, without near-duplicates."""
        from doric.quality.near_duplicates import NearDuplicateIndex

        index = NearDuplicateIndex()
        for kind, wanted in (("core", count), ("safety", count // 10)):
            while len(self._prepared[kind]) < wanted:
                text = next(self._answers[kind])
                if index.nearest(text) is None:
                    index.add(str(len(index)), text)
                    self._prepared[kind].append(text)

    def save(self, path: Path) -> None:
        """Write the prepared answers to a file."""
        path.write_text(json.dumps({kind: list(texts) for kind, texts in self._prepared.items()}), "utf-8")

    def load(self, path: Path) -> None:
        """Take the prepared answers of a file. Give a `first` beyond them, or the later answers repeat them."""
        for kind, texts in json.loads(path.read_text("utf-8")).items():
            self._prepared[kind].extend(texts)

    def __call__(self, call: Call) -> str:
        """The next answer. Prepared answers come first, because generating an answer takes a millisecond."""
        kind = "safety" if b"something harmful" in call.raw else "core"
        text = self._prepared[kind].popleft() if self._prepared[kind] else next(self._answers[kind])
        return f'{text} "This is the plain English of it."' if b"needs English for a good reason" in call.raw else text

    @staticmethod
    def _generate(kind: str, seed: int, first: int = 0) -> Iterator[str]:
        from doric.dataset import heuristic, prompts
        from doric.quality import gates
        from doric.topics.lists import read_topics

        topics = [topic.text for topic in read_topics(ROOT / "topics.json")]
        for number in itertools.count(first):
            turn, place = divmod(number, len(topics))
            asked = prompts.safety_prompt(number)
            category, case = (asked.category, asked.case) if kind == "safety" else ("", "")
            length = ("medium", "long", "short")[number % 3]
            text = heuristic.answer(heuristic.Question(topics[place], kind, length, category, turn, seed, case))
            if gates.check_language(text) is None:
                yield text


class MockServer:
    """The server on the running event loop. `decide` may choose an `Action` for a call. `answer` writes the texts."""

    def __init__(
        self,
        behaviour: Behaviour = Behaviour(),
        *,
        answer: Callable[[Call], str] | None = None,
        decide: Callable[[Call], Action | None] = lambda call: None,
        port: int = 0,
    ) -> None:
        self.behaviour = behaviour
        self.stats = Stats()
        self.calls: list[Call] = []
        self._answer = answer or DoricAnswers(first=ANSWERS_APART * next(servers))
        self._decide = decide
        self._draw = random.Random(behaviour.seed)
        self._port = port
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()

    @property
    def url(self) -> str:
        """The base URL, for OPENAI_BASE_URL."""
        assert self._server is not None, "not started"
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.connection, "127.0.0.1", self._port, backlog=4096)
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self._open):
            connection.transport.abort()

    def connection(self) -> "_Connection":
        """A new connection."""
        return _Connection(self)

    def report(self) -> dict[str, Any]:
        """The statistics as JSON."""
        return self.stats.as_json()

    def action_for(self, call: Call) -> Action:
        """The action for `call`. `decide` is asked first, then the behaviour. Otherwise the shares decide at random."""
        if (chosen := self._decide(call)) is not None:
            return chosen
        if self.behaviour.key is not None and call.key != self.behaviour.key:
            return Action("unauthorized")
        if (refused := next((name for name in self.behaviour.refuses if name in call.body), None)) is not None:
            return Action(f"refuses_{refused}")
        if call.number in self.behaviour.stragglers:
            return Action(seconds=self.behaviour.straggler_seconds)
        point = self._draw.random()
        for kind, share in self.behaviour.shares.items():
            point -= share
            if point < 0:
                return Action(kind, retry_after=self.behaviour.retry_after)
        return Action()

    def latency(self) -> float:
        """Latency of the next answer in seconds."""
        jitter = self.behaviour.jitter
        return self.behaviour.latency * (self._draw.uniform(1 - jitter, 1 + jitter) if jitter else 1.0)

    def text(self, call: Call, action: Action) -> str:
        """The model's answer to `call`."""
        return self._answer(call) if action.text is None else action.text


class _Connection(asyncio.Protocol):
    """One keep-alive connection. Each request is answered after its latency."""

    transport: asyncio.Transport

    def __init__(self, server: MockServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._waiting: set[asyncio.TimerHandle] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # ty: ignore[invalid-assignment]
        self._server._open.add(self)
        self._server.stats.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._server._open.discard(self)
        for timer in self._waiting:
            timer.cancel()
            self._server.stats.in_flight -= 1
            self._server.stats.kinds["aborted"] += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            start, headers = _head(self._buffer[:end])
            whole = end + 4 + int(headers.get("content-length", "0"))
            if len(self._buffer) < whole:
                return
            raw, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            self._route(start, headers, raw)

    def _route(self, start: str, headers: dict[str, str], raw: bytes) -> None:
        match start.split()[:2]:
            case ["POST", "/v1/chat/completions"]:
                self._complete(headers, raw)
            case ["GET", "/v1/models"]:
                self.transport.write(_models(self._server.behaviour, headers))
            case ["GET", "/stats"]:
                self.transport.write(_http(200, encode_json(self._server.report())))
            case _:
                self.transport.write(_error(404, "Not Found"))

    def _complete(self, headers: dict[str, str], raw: bytes) -> None:
        server, stats = self._server, self._server.stats
        stats.requests += 1
        stats.first_call_at = stats.first_call_at or time.time()
        stats.in_flight += 1
        stats.peak_in_flight = max(stats.peak_in_flight, stats.in_flight)
        stats.bodies[hash(raw)] += 1
        call = Call(stats.requests, raw, headers)
        if len(server.calls) < 10_000:  # enough for any test; in a benchmark all calls would fill the memory
            server.calls.append(call)
        self._schedule(call, server.action_for(call))

    def _schedule(self, call: Call, action: Action) -> None:
        """Answer the call after its latency."""
        server = self._server
        seconds = server.latency() if action.seconds is None else action.seconds
        if action.kind == "hang":
            seconds = 86_400.0
        due = self._loop.time() + seconds
        timer: asyncio.TimerHandle | None = None

        def finish() -> None:
            if timer is not None:
                self._waiting.discard(timer)
            self._end(call, action, due)

        if seconds <= 0:
            finish()
        else:
            timer = self._loop.call_at(due, finish)
            self._waiting.add(timer)

    def _end(self, call: Call, action: Action, due: float) -> None:
        """Count the end of a call that should have ended at `due`, and answer it."""
        stats = self._server.stats
        late = self._loop.time() - due
        stats.late_sum += late
        stats.late_max = max(stats.late_max, late)
        stats.in_flight -= 1
        self._finish(call, action)

    def _finish(self, call: Call, action: Action) -> None:
        self._server.stats.kinds[action.kind] += 1
        if self.transport.is_closing():
            return
        if action.kind == "vanish":
            self.transport.abort()
        elif action.kind == "not_http":
            self.transport.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        elif action.kind == "drip":
            self.transport.write(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 999999\r\n\r\n")
            self._drip()
        elif action.kind == "disconnect":
            whole = _completion(call, self._server.text(call, action))
            self.transport.write(_http(200, whole)[: -len(whole) // 2])
            self.transport.close()
        elif action.kind == "ok" and b'"stream"' in call.raw and call.body["stream"]:
            self.transport.write(_stream(call, self._server.text(call, action)))
        elif action.kind.startswith("refuses_"):
            self.transport.write(_refused(action.kind.removeprefix("refuses_")))
        elif action.kind in ERRORS:
            status, message, code = ERRORS[action.kind]
            self.transport.write(_error(status, message.replace("{key}", call.key), code, action.retry_after))
        else:
            self.transport.write(ANSWERS[action.kind](call, self._server.text(call, action)))

    def _drip(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b" ")
            self._loop.call_later(0.05, self._drip)


FILTERED = "The response was filtered due to the prompt triggering our content management policy."
CONTEXT = "This model's maximum context length is 2048 tokens. However, you requested 2300 tokens."
NO_CHOICES = {"id": "x", "object": "chat.completion", "choices": [], "usage": None}
ERRORS: dict[str, tuple[int, str, str | None]] = {
    "rate_limit": (429, "Rate limit reached for requests", "rate_limit_exceeded"),
    "quota": (429, "You exceeded your current quota, please check your plan.", "insufficient_quota"),
    "payment": (402, "Insufficient credits. Add more credits and retry.", None),
    "error_500": (500, "The server had an error while processing your request", None),
    "error_502": (502, "Bad gateway", None),
    "error_503": (503, "The engine is currently overloaded, please try again later", None),
    "unauthorized": (401, "Incorrect API key provided: {key}. See your account.", "invalid_api_key"),
    "forbidden": (403, "The key {key} has no access to this model", None),
    "no_model": (404, "The model `nope` does not exist or you do not have access to it.", "model_not_found"),
    "no_model_400": (400, "nope is not a valid model ID: model not found", None),
    "filtered_400": (400, FILTERED, "content_filter"),
    "context_400": (400, CONTEXT, "context_length_exceeded"),
    "bad_request": (400, "Something in this request is wrong, key {key}", None),
    "echo_500": (500, "Internal error while handling key {key}", None),
    "unprocessable": (422, "body.messages: field required", None),
}
"""Kind of fault -> status, message and code. `{key}` is replaced with the caller's key, because some servers quote
it.
"""

ANSWERS: dict[str, Callable[[Call, str], bytes]] = {
    "ok": lambda call, text: _http(200, _completion(call, text)),
    "truncated": lambda call, text: _http(200, _completion(call, _cut(text), "length")),
    "filtered": lambda call, text: _http(200, _completion(call, "", "content_filter")),
    "empty": lambda call, text: _http(200, _completion(call, "")),
    "thinking": lambda call, text: _http(200, _completion(call, f"<think>The user wants Doric.</think>\n\n{text}")),
    "cut_thinking": lambda call, text: _http(200, _completion(call, "<think>The user wants Doric, so I", "length")),
    "malformed": lambda call, text: _http(200, _completion(call, text)[:-20]),
    "no_choices": lambda call, text: _http(200, encode_json(NO_CHOICES)),
    "null_choices": lambda call, text: _http(200, b'{"choices":null,"error":{"message":"upstream failed","code":502}}'),
    "html": lambda call, text: _http(200, b"<!doctype html><title>Sign in</title>", "text/html"),
    "not_json": lambda call, text: _http(200, b"ok", "text/plain"),
}
"""Kind of answer -> the response with status 200."""

FAULTS = ("vanish", "disconnect", "hang", "drip", "not_http", *ERRORS, *(kind for kind in ANSWERS if kind != "ok"))


def _head(head: bytes) -> tuple[str, dict[str, str]]:
    start, *lines = head.decode("latin-1").split("\r\n")
    return start, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _http(status: int, body: bytes, content_type: str = "application/json", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def _error(
    status: int, message: str, code: str | None = None, retry_after: str | None = None, param: str | None = None
) -> bytes:
    body = {"error": {"message": message, "type": code or "invalid_request_error", "param": param, "code": code}}
    extra = "" if retry_after is None else f"Retry-After: {retry_after}\r\n"
    return _http(status, encode_json(body), extra=extra)


def _cut(text: str) -> str:
    return text[: len(text) * 2 // 3].rsplit(" ", 1)[0]


def _refused(name: str) -> bytes:
    instead = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
    message = f"Unsupported parameter: '{name}' is not supported with this model.{instead}"
    return _error(400, message, "unsupported_parameter", param=name)


def _completion(call: Call, text: str, finish: str = "stop") -> bytes:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": len(call.raw) // 4, "completion_tokens": len(text) // 3}
    usage["total_tokens"] = sum(usage.values())
    return encode_json(
        {
            "id": f"chatcmpl-{call.number}",
            "object": "chat.completion",
            "created": 0,
            "model": "mock-doric",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
            "usage": usage,
        }
    )


def _stream(call: Call, text: str) -> bytes:
    deltas = [{"role": "assistant", "content": ""}, *({"content": f"{word} "} for word in text.split()), {}]
    lines = [
        encode_json(
            {
                "id": f"chatcmpl-{call.number}",
                "object": "chat.completion.chunk",
                "created": 0,
                "model": "mock-doric",
                "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}],
            }
        )
        for delta in deltas
    ]
    body = b"".join(b"data: " + line + b"\n\n" for line in [*lines, b"[DONE]"])
    head = b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"


def _models(behaviour: Behaviour, headers: Mapping[str, str]) -> bytes:
    given = headers.get("authorization", "").removeprefix("Bearer ")
    if behaviour.key is not None and given != behaviour.key:
        return _error(401, f"Incorrect API key provided: {given}.", "invalid_api_key")
    if behaviour.models is None:
        return _error(404, "Not Found")
    cards = [
        {"id": name, "object": "model"} | ({"shutdown_date": day} if (day := behaviour.shutdown.get(name)) else {})
        for name in behaviour.models
    ]
    return _http(200, encode_json({"object": "list", "data": cards}))


@contextlib.contextmanager
def serving(
    behaviour: Behaviour = Behaviour(),
    *,
    answer: Callable[[Call], str] | None = None,
    decide: Callable[[Call], Action | None] = lambda call: None,
) -> Generator[MockServer]:
    """Run a `MockServer` on a separate thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = MockServer(behaviour, answer=answer, decide=decide)
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line. Each kind of fault has a flag for its share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--jitter", type=float, default=0.0, help="0.5: latencies vary between 50%% and 150%%")
    parser.add_argument("--retry-after", help="Retry-After header of 429, 500, 502 and 503")
    parser.add_argument("--straggler-at", type=int, action="append", default=[], help="number of a slow call")
    parser.add_argument("--straggler-seconds", type=float, default=30.0)
    parser.add_argument(
        "--refuses", action="append", default=[], metavar="PARAMETER", help="parameter to answer with 400"
    )
    parser.add_argument("--key", help="the only key to accept")
    parser.add_argument("--model", action="append", help="model to list at /v1/models")
    parser.add_argument("--answers", type=int, default=0, help="number of answers to generate before serving")
    parser.add_argument("--seed", type=int, default=0)
    for kind in FAULTS:
        parser.add_argument(f"--{kind.replace('_', '-')}-share", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.epilog = "Faults: " + " ".join(f"--{kind.replace('_', '-')}-share" for kind in FAULTS)
    return parser.parse_args(argv)


async def run(args: argparse.Namespace) -> None:
    """Serve until a signal arrives, then print the statistics as one line of JSON."""
    shares = {kind: share for kind in FAULTS if (share := vars(args)[f"{kind}_share"])}
    behaviour = Behaviour(
        latency=args.latency,
        jitter=args.jitter,
        retry_after=args.retry_after,
        shares=shares,
        stragglers=tuple(args.straggler_at),
        straggler_seconds=args.straggler_seconds,
        refuses=tuple(args.refuses),
        key=args.key,
        models=tuple(args.model or ["mock-doric"]),
        seed=args.seed,
    )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with MockServer(behaviour, answer=DoricAnswers(args.answers, args.seed), port=args.port) as server:
        print(server.url, flush=True)
        await stop.wait()
        print(json.dumps(server.report()), flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the server."""
    asyncio.run(run(parse_args(argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
