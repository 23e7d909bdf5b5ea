"""Reading JSON Lines files."""

import io
import sys

import pytest

from doric.core import files
from doric.core.errors import InputError
from doric.core.jsonl import read_jsonl

ROWS = [{"n": 1, "text": "caul"}, {"n": 2, "text": "dreich é 😀"}, {"n": 3, "text": 'a "quote"\n'}]
LINES = b"".join(files.encode_json(row) + b"\n" for row in ROWS)


@pytest.mark.usefixtures("either_codec")
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"a":1}\n{"a"\n', r"rows\.jsonl:2: not JSON: '\{\"a\"'"),
        (b'{"a":1}\n\n[1]\n', r"rows\.jsonl:3: not a JSON object: '\[1\]'"),
        (b'{"a":"\xff"}\n', r"rows\.jsonl:1: not UTF-8"),
        ('{"a":1}'.encode("utf-16"), r"rows\.jsonl: it is UTF-16, not UTF-8 text"),
        (b"", r"rows\.jsonl: the file is empty"),
        (b"\xef\xbb\xbf\n \n", r"rows\.jsonl: the file is empty"),
    ],
)
def test_unreadable_input_is_refused_by_file_and_line(tmp_path, content, complaint):
    """Each error names the file and the line, and quotes the line."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        list(read_jsonl(path))


def test_missing_file_is_refused(tmp_path):
    """The error for a missing file names the file."""
    with pytest.raises(InputError, match=r"none\.jsonl: cannot be read: there is no such file"):
        next(read_jsonl(tmp_path / "none.jsonl"))


@pytest.mark.usefixtures("either_codec")
def test_mark_and_blank_lines_are_accepted(tmp_path):
    """A file may have a byte-order mark, blank lines, CRLF line ends, and no line end after the last line."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a":1}\r\n\n  \n{"a":2}')
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (4, {"a": 2})]


def test_stdin_is_a_dash(monkeypatch):
    """`-` reads stdin row by row, and errors name it stdin."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b'{"a":1}\nx\n'))))
    rows = read_jsonl("-")
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(InputError, match="stdin:2: not JSON: 'x'"):
        next(rows)


def test_reading_is_a_stream(tmp_path):
    """The first rows are returned before an error in a later row is raised."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES + b"hallo\n")
    rows = read_jsonl(path)
    assert [next(rows)[1] for _ in ROWS] == ROWS
