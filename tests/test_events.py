"""Server-sent events: line ends, packet borders, keep-alives, and the end of a stream."""

import collections
import itertools
import json

import pytest

from doric.llm.events import MAX_EVENT, Event, EventSplitter, Oversized

ROWS = [{"a": "\u2028 wee"}, {}, {"b": 1}]


def split(content: bytes, size: int = 1 << 20) -> list[Event]:
    splitter = EventSplitter()
    found = [event for at in range(0, len(content), size) for event in splitter.feed(content[at : at + size])]
    return [*found, *splitter.end()]


def values(content: bytes, size: int = 1 << 20) -> list[object]:
    return [event.data for event in split(content, size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r", "\n", "\r\n", "\r"])
def test_events_are_read_from_blocks_of_any_size(size, end):
    """Events are found wherever the stream is split, and comments, other fields and [DONE] are ignored."""
    rows = [json.dumps(row, ensure_ascii=False) for row in ROWS]
    others = [": ping", "event: x", "id: 7", "retry: 3000", "data:", "data"]
    lines = [f"data:{' ' * at}{row}" for at, row in enumerate(rows)]
    assert values(end.join([*others, *lines, "data: [DONE]"]).encode(), size) == ROWS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_the_data_of_one_event_may_have_several_lines(end, size):
    """The lines of one event are joined, also where one of them is JSON by itself."""
    lines = [b'data: {"choices": [', b'data: {"delta": 1}', b"data: ]}", b"", b'data: {"a": 1}', b"", b""]
    assert values(end.encode().join(lines), size) == [{"choices": [{"delta": 1}]}, {"a": 1}]


def test_a_byte_order_mark_is_ignored():
    """A byte order mark at the beginning of the stream is no part of the first field."""
    assert values(b'\xef\xbb\xbfdata: {"a": 1}\n\n', 1) == [{"a": 1}]


@pytest.mark.parametrize(
    "end",
    [
        b"data: [DONE]\n\n",
        b"data:[DONE]\n",
        b"data:  [DONE] \r\n\r\n",
        b'data: "[DONE]"\n\n',
        b"data: [done]\n",
        b"[DONE]\n",
        b"data: DONE\n\n",
        b"event: done\ndata: {}\n\n",
        b"event: end\ndata:\n\n",
        b"Data: [DONE]\n\n",
    ],
)
def test_nothing_is_read_after_the_end_of_the_stream(end):
    """After [DONE] there are no events, whatever follows."""
    splitter = EventSplitter()
    found = list(splitter.feed(b'data: {"a": 1}\n\n' + end + b'data: {"b": 1}\n\n'))
    assert ([event.data for event in found if event.data], splitter.done) == ([{"a": 1}], True)
    assert [*splitter.feed(b'data: {"c": 1}\n\n'), *splitter.end()] == []


@pytest.mark.parametrize(
    ("content", "event"),
    [
        (b'event: error\ndata: "upstream gone"\n\n', Event("upstream gone", "error")),
        (b"event: error\ndata: upstream gone\n\n", Event("upstream gone", "error")),
        (b'error: {"message": "slot unavailable"}\n\n', Event({"message": "slot unavailable"}, "error")),
        (b'{"error": {"message": "gone"}}\n', Event({"error": {"message": "gone"}})),
    ],
    ids=["JSON text", "plain text", "field of llama.cpp", "bare JSON"],
)
def test_errors_between_the_events(content, event):
    """An error reaches the reader in each form in which servers write it into a stream."""
    assert split(content) == [event]


@pytest.mark.parametrize("line", [b"data: " + b"a" * 1000, b"data: {\n" * 100, b": ping" * 200])
def test_an_event_without_an_end_is_refused(line):
    """An endless line, or an endless event of many lines, is refused when it is larger than any event."""
    splitter = EventSplitter()
    lines = itertools.repeat(line, MAX_EVENT // len(line) + 100_000)
    with pytest.raises(Oversized, match="1 MiB"):
        collections.deque((event for each in lines for event in splitter.feed(each)), maxlen=0)


def test_endless_keep_alives_need_no_memory():
    """Comments and empty data are dropped; the limit is for one event, not for the stream."""
    splitter = EventSplitter()
    for _ in range(3000):
        assert list(splitter.feed(b": keep-alive\n\ndata:\n\n" * 100)) == []


@pytest.mark.parametrize("start", [b" data: ", b"Data:", b"DATA: ", b"\tdata:"])
def test_a_field_is_read_however_it_is_written(start):
    """Blanks before a field and capital letters lose no part of an answer."""
    assert values(start + b'{"a": 1}\n\n' + start + b'{"b": 1}\n\n') == [{"a": 1}, {"b": 1}]
