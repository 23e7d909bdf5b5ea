"""A mock server that takes as long for its answers as N servers with continuous batching (vLLM) behind one address.

    uv run python tests/mock_gpus.py --servers 4 --slots 64 --first 9 1.15 --each 4.5 0.029 --answers answers.json

A server generates one token for each of its running requests in a step, and a step takes longer with more of them. A
request keeps its slot from its start to its last token, also if the client is gone. One that finds no free slot waits.
`Server` and `Fleet` do not sleep and read no clock: the caller says what time it is, in seconds. GET /stats returns the
statistics, and the command prints them when it is stopped.
"""

import argparse
import asyncio
import heapq
import itertools
import json
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from doric.llm.open_files import allow_connections
from mock_server import Action, Call, DoricAnswers, MockServer, _Connection

BEYOND = 50_000
"""The number of the first answer that is not prepared."""

type Line = tuple[float, float]
"""Seconds with no request running, and the seconds that each running request adds."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds until the first token of an answer and for each token after it."""

    first: Line
    each: Line

    def step(self, running: int) -> float:
        """Seconds of one step with so many requests running."""
        return self.each[0] + self.each[1] * running

    def steps(self, tokens: int, running: int) -> float:
        """The steps that an answer takes, if its prompt is read while so many requests run, itself included."""
        return tokens - 1 + (self.first[0] + self.first[1] * running) / self.step(running)


class Server[Job]:
    """One server. Its requests advance at the same speed, so each ends after a number of steps known at its start."""

    def __init__(self, speed: Speed) -> None:
        self._speed = speed
        self._now = self._steps = self.busy = 0.0
        self._ends: list[tuple[float, int, Job]] = []
        self._order = itertools.count()

    @property
    def running(self) -> int:
        """The number of running requests."""
        return len(self._ends)

    @property
    def due(self) -> float:
        """When the next request ends if no other starts before, or infinity."""
        if not self._ends:
            return float("inf")
        return self._now + (self._ends[0][0] - self._steps) * self._speed.step(self.running)

    def start(self, job: Job, tokens: int, now: float) -> None:
        """Start a request whose answer has so many tokens."""
        self._advance(now)
        end = self._steps + self._speed.steps(max(1, tokens), self.running + 1)
        heapq.heappush(self._ends, (end, next(self._order), job))

    def end(self, now: float) -> Job:
        """Take the next request, which has ended by `now`. The time of `now` is counted up to its end only."""
        self._advance(min(now, self.due))
        self._steps = self._ends[0][0]  # exactly, whatever the sums above have rounded
        return heapq.heappop(self._ends)[2]

    def settle(self, now: float) -> None:
        """Count the time until `now` in `busy`, the sum of all running times. No request may end before `now`."""
        self._advance(now)

    def _advance(self, now: float) -> None:
        seconds = max(0.0, now - self._now)
        if self._ends:
            self._steps += seconds / self._speed.step(self.running)
            self.busy += seconds * self.running
        self._now = max(self._now, now)


class Fleet[Job]:
    """Servers with the same number of slots behind one address. A request goes to the one with the fewest running."""

    def __init__(self, servers: int, slots: int, speed: Speed) -> None:
        self.slots = slots
        self.servers = [Server[Job](speed) for _ in range(servers)]
        self._waiting: deque[tuple[Job, int]] = deque()
        self.most_waiting = 0

    @property
    def due(self) -> float:
        """When the next request ends, or infinity."""
        return min(server.due for server in self.servers)

    def add(self, job: Job, tokens: int, now: float) -> None:
        """Start a request, or let it wait for a slot. Requests that have ended by `now` must have been taken."""
        server = min(self.servers, key=lambda server: server.running)
        if server.running < self.slots:
            server.start(job, tokens, now)
        else:
            self._waiting.append((job, tokens))
            self.most_waiting = max(self.most_waiting, len(self._waiting))

    def ended(self, now: float) -> list[tuple[Job, float]]:
        """The requests that have ended by `now`, each with the time of its end. Waiting ones take their slots."""
        found = []
        while (server := min(self.servers, key=lambda server: server.due)).due <= now:
            end = server.due
            found.append((server.end(end), end))
            if self._waiting:
                server.start(*self._waiting.popleft(), end)
        return found

    def busy(self, now: float) -> float:
        """The seconds that slots were in use, added up over all slots. Requests ended by `now` must have been taken."""
        for server in self.servers:
            server.settle(now)
        return sum(server.busy for server in self.servers)


def tokens_of(text: str) -> int:
    """The tokens of an answer, as `usage` counts them."""
    return max(1, len(text) // 3)


class GpuServer(MockServer):
    """A mock server whose latencies are those of a `Fleet`."""

    def __init__(self, fleet: Fleet[Callable[[float], None]], *, answer: Callable[[Call], str], port: int = 0) -> None:
        super().__init__(answer=answer, port=port)
        self._fleet = fleet
        self._timer: asyncio.TimerHandle | None = None
        self.tokens = 0

    def connection(self) -> "_Connection":
        """A new connection."""
        return _GpuConnection(self)

    def report(self) -> dict[str, Any]:
        """The statistics as JSON, with the CPU seconds of this process and the seconds that slots were in use."""
        now = asyncio.get_running_loop().time()
        self._advance(now)
        own = {"now": now, "busy_seconds": self._fleet.busy(now), "most_waiting": self._fleet.most_waiting}
        return super().report() | own | {"tokens": self.tokens, "cpu_seconds": time.process_time()}

    def run_request(self, tokens: int, done: Callable[[float], None]) -> None:
        """Call `done` with the time of the end when an answer of so many tokens is complete."""
        now = asyncio.get_running_loop().time()
        self._advance(now)
        self._fleet.add(done, tokens, now)
        self._wait()

    def _advance(self, now: float) -> None:
        for done, end in self._fleet.ended(now):
            done(end)

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = self._fleet.due
        self._timer = None if due == float("inf") else asyncio.get_running_loop().call_at(due, self._wake)

    def _wake(self) -> None:
        self._advance(asyncio.get_running_loop().time())
        self._wait()


class _GpuConnection(_Connection):
    """A connection whose calls take the time of the fleet."""

    _server: GpuServer

    def _schedule(self, call: Call, action: Action) -> None:
        text = self._server.text(call, action)  # now, because its length is the latency
        tokens = tokens_of(text)

        def done(end: float) -> None:
            self._server.tokens += tokens
            gone = Action("vanish") if self.transport.is_closing() else replace(action, text=text)
            self._end(call, gone, end)

        self._server.run_request(tokens, done)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose")
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--slots", type=int, default=64, help="requests that a server runs at once")
    words, more = ("MS", "MORE"), "and how many more for each running request"
    parser.add_argument("--first", type=float, nargs=2, metavar=words, help=f"milliseconds to the first token, {more}")
    parser.add_argument("--each", type=float, nargs=2, metavar=words, help=f"milliseconds of a further token, {more}")
    parser.set_defaults(first=(9.0, 1.15), each=(4.5, 0.029))
    parser.add_argument("--answers", type=Path, metavar="FILE", help="prepared answers")
    parser.add_argument("--prepare", type=int, metavar="N", help="only write N answers to FILE")
    return parser.parse_args(argv)


async def run(args: argparse.Namespace) -> None:
    """Serve until a signal arrives, then print the statistics as one line of JSON."""
    answers = DoricAnswers(first=BEYOND)
    if args.answers:
        answers.load(args.answers)
    allow_connections(2 * args.servers * args.slots)
    first, each = ((base / 1000, more / 1000) for base, more in (args.first, args.each))
    fleet = Fleet[Callable[[float], None]](args.servers, args.slots, Speed(first, each))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with GpuServer(fleet, answer=answers, port=args.port) as server:
        print(server.url, flush=True)
        await stop.wait()
        print(json.dumps(server.report()), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server, or prepare answers."""
    args = parse_args(argv)
    if args.prepare:
        DoricAnswers(args.prepare).save(args.answers)
    else:
        asyncio.run(run(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
