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
STREAM_END = (b"[DONE]", b"DONE", b"[END]")
END_EVENTS = ("done", "end", "complete", "completed", "close")
"""Names of a last event, of servers that send no [DONE]."""
FIELD = re.compile(rb"[ \t]*(data|event|error):", re.IGNORECASE)
"""A field of an event. Some servers write `Data:`, or blanks before it."""
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
        elif found := FIELD.match(line):
            yield from self._read_field(found[1].lower(), line[found.end() :].strip())
        elif _is_end(line):
            self.done = True
        elif line.startswith(b"{"):  # an error of a proxy between the events
            yield Event(decode(line))
        if not self._data:
            self._size = 0

    def _read_field(self, name: bytes, value: bytes) -> Iterator[Event]:
        if name == b"data":
            yield from self._add(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        else:  # an error of llama.cpp between the events
            yield Event(decode(value), "error")

    def _add(self, data: bytes) -> Iterator[Event]:
        if _is_end(data):
            yield from self._dispatch()
            self.done = True
        elif data and not self._data and isinstance(value := decode(data), dict):
            yield Event(value, self._name)  # whole JSON: some servers send no blank line after it
            self.done = self._name.lower() in END_EVENTS
        elif data:
            self._data.append(data)

    def _dispatch(self) -> Iterator[Event]:
        data, name = b"\n".join(self._data), self._name
        self._data, self._name, self._size = [], "", 0
        if data:
            yield Event(decode(data), name)
        self.done |= name.lower() in END_EVENTS


def _is_end(data: bytes) -> bool:
    return data.strip(b'" \t').upper() in STREAM_END


def decode(data: bytes) -> Any:  # noqa: ANN401 - any JSON
    """The JSON value of `data`, or `data` as text if it is not JSON.

    Half of a character at the end of a string stays in it as a surrogate: the next event may have the other half.
    """
    try:
        return parse_json(data)
    except ValueError:
        encoding = json.detect_encoding(data)
        text = data.decode(encoding, "surrogateescape" if encoding.startswith("utf-8") else "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
