"""A compressed or binary file is named by its first bytes, whatever its extension is, in every reader."""

import bz2
import gzip
import io
import lzma
import sqlite3
import sys
import tarfile
import zipfile

import pytest

from doric.chat import store
from doric.core.errors import InputError
from doric.core.files import read_text
from doric.core.journal import Journal
from doric.core.jsonl import read_jsonl
from doric.evaluation.aggregate import load_result
from doric.topics.lists import read_topics

LINE = b'{"messages": [{"role": "user", "content": "Fit like?"}]}\n'


def packed(kind):
    """A zip or tar archive with one file."""
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("rows.jsonl", LINE)
    else:
        with tarfile.open(fileobj=out, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("rows.jsonl"))
    return out.getvalue()


FILES = {
    "gzip-compressed": gzip.compress(LINE),
    "bzip2-compressed": bz2.compress(LINE),
    "xz-compressed": lzma.compress(LINE),
    "lzma-compressed": lzma.compress(LINE, lzma.FORMAT_ALONE),
    "zstd-compressed": b"\x28\xb5\x2f\xfd\x04\x58",
    "lz4-compressed": b"\x04\x22\x4d\x18dp",
    "a zip archive": packed("zip"),
    "a tar archive": packed("tar"),
    "a 7-Zip archive": b"7z\xbc\xaf\x27\x1c\0\4",
    "a Parquet file": b"PAR1\x15\0",
    "an Arrow file": b"ARROW1\0\0",
    "an Arrow stream": b"\xff\xff\xff\xff\x10\1\0\0",
    "an SQLite database": b"SQLite format 3\0\x10\0",
    "a PDF document": b"%PDF-1.7\n",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "a web page": b"<!DOCTYPE html>\n<html>",
    "UTF-16": LINE.decode().encode("utf-16"),
    "UTF-32": LINE.decode().encode("utf-32"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_reader_names_the_format(name, tmp_path, monkeypatch):
    """Rows, stdin, topics, journals, chats and results give the same error with a hint, whatever the extension is."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(FILES[name])
    topics = tmp_path / "topics.txt"
    topics.write_bytes(FILES[name])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(FILES[name]))))
    readers = (
        lambda: list(read_jsonl(path)),
        lambda: list(read_jsonl("-")),
        lambda: read_topics(topics),
        lambda: read_text(path),
        lambda: Journal(path),
        lambda: store.read(path),
        lambda: load_result(path),
    )
    for read in readers:
        with pytest.raises(InputError, match=f"it is {name}") as caught:
            read()
        assert caught.value.hint
        assert "\n" not in caught.value.message + caught.value.hint
    assert path.read_bytes() == FILES[name]


def test_the_hint_says_how_to_unpack(tmp_path):
    """The hint has the command with the name of the file."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(FILES["gzip-compressed"])
    with pytest.raises(InputError) as caught:
        list(read_jsonl(path))
    assert caught.value.hint == f"Unpack it first, for instance with: gunzip {path}"


def test_utf_16_without_a_mark_is_recognised(tmp_path):
    """Text in which every second byte is zero is UTF-16."""
    for encoding in ("utf-16-le", "utf-16-be"):
        path = tmp_path / "rows.jsonl"
        path.write_bytes(LINE.decode().encode(encoding))
        with pytest.raises(InputError, match="it is UTF-16"):
            list(read_jsonl(path))


def test_a_real_database_is_recognised(tmp_path):
    """The mark is the one that SQLite writes."""
    with sqlite3.connect(tmp_path / "rows.jsonl") as database:
        database.execute("create table rows (text)")
    database.close()
    with pytest.raises(InputError, match="an SQLite database"):
        list(read_jsonl(tmp_path / "rows.jsonl"))


@pytest.mark.parametrize("topic", ["PARK walks", "GGantijas", "ORCHARDS in spring", "7zip files"])
def test_a_topic_that_begins_like_a_mark_is_text(topic, tmp_path):
    """Words are not mistaken for the mark of a format."""
    path = tmp_path / "topics.txt"
    path.write_text(f"{topic}\n")
    assert [one.text for one in read_topics(path)] == [topic]
