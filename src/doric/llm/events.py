"""Server-sent events: the bytes of a stream, in blocks of any size, become decoded events.

The format is that of the HTML standard (https://html.spec.whatwg.org/multipage/server-sent-events.html). Servers that
leave out the blank line between two events are read as well.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from doric.core.files import parse_json

MAX_EVENT = 1 << 20
"""Bytes of one event. Servers send an event for each token or two; a whole answer in one event has some 10 KB."""
STREAM_END = "[DONE]"
LINE_END = re.compile(rb"\r\n|\r|\n")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Oversized(Exception):
    """The response has more bytes than any answer; the message says what is too large, and how much is allowed."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `data` is its decoded JSON, or its text if that is not JSON. `name` is that of the event field."""

    data: Any
    name: str = ""


class EventSplitter:
    """Splits a stream into its events. `done` is True after the final [DONE]; then there are no further events."""

    def __init__(self) -> None:
        self.done = False
        self._held: list[bytes] = []  # the start of a line
        self._size = 0  # bytes of this event, so far
        self._data: list[bytes] = []  # the data lines of an event that is not complete
        self._name = ""
        self._after_return = False
        self._first_line = True

    def feed(self, block: bytes) -> Iterator[Event]:
        """The events that this block completes. Raises `Oversized` if an event has more than `MAX_EVENT` bytes."""
        if self.done:
            return
        if self._after_return and block.startswith(b"\n"):  # a line end that is split over two blocks
            block = block[1:]
        self._after_return = block.endswith(b"\r")
        first, *others = LINE_END.split(block)
        self._hold(first)
        for part in others:
            line, self._held = b"".join(self._held), []
            yield from self._read(line)
            if self.done:
                return
            self._hold(part)

    def end(self) -> Iterator[Event]:
        """The events that are complete at the end of the stream, although the last line has no line end."""
        if not self.done:
            line, self._held = b"".join(self._held), []
            yield from self._read(line)
            yield from self._dispatch()

    def _hold(self, part: bytes) -> None:
        self._held.append(part)
        self._size += len(part)
        if self._size > MAX_EVENT:
            raise Oversized(f"one event of the stream has more than {MAX_EVENT >> 20} MiB")

    def _read(self, line: bytes) -> Iterator[Event]:
        """Process one line, which may complete an event."""
        if self._first_line:
            line, self._first_line = line.removeprefix(BYTE_ORDER_MARK), False
        if not line:
            yield from self._dispatch()
        elif line.startswith(b"data:"):
            yield from self._add(line[5:].strip())
        elif line.startswith(b"event:"):
            self._name = line[6:].strip().decode("utf-8", "replace")
        elif line.startswith((b"{", b"error:")):  # an error of a proxy, or of llama.cpp, between the events
            yield Event(decode(line.removeprefix(b"error:").strip()), "error" if line.startswith(b"error:") else "")
        if not self._data:
            self._size = 0

    def _add(self, data: bytes) -> Iterator[Event]:
        if data.strip(b'"').upper() == STREAM_END.encode():
            yield from self._dispatch()
            self.done = True
        elif data and not self._data and isinstance(value := decode(data), dict):
            yield Event(value, self._name)  # whole JSON: some servers send no blank line after it
        elif data:
            self._data.append(data)

    def _dispatch(self) -> Iterator[Event]:
        data, name = b"\n".join(self._data), self._name
        self._data, self._name, self._size = [], "", 0
        if data:
            yield Event(decode(data), name)


def decode(data: bytes) -> Any:  # noqa: ANN401 - any JSON
    """The JSON value of `data`, or `data` as text if it is not JSON.

    Half of a character at the end of a string stays in it as a surrogate: the next event may have the other half.
    """
    try:
        return parse_json(data)
    except ValueError:
        text = data.decode("utf-8", "surrogateescape")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
