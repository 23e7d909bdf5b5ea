"""Whole files: reading and writing JSON, replacing a file in one step, and locks."""

import errno
import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doric.core import exact_json, files
from doric.core.errors import DoricError, InputError
from doric.core.files import locked

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
KEYS = st.text(st.characters(exclude_categories=["Cs"]))
SHARES = st.integers(0, 20_000).map(lambda parts: round(parts / 10_000, 4)).filter(lambda share: not 0 < share < 1e-3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | SHARES | KEYS,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
)


@UNTIMED
@given(VALUES)
def test_bytes_are_the_same_with_and_without_orjson(value):
    """Rows of the project (texts, integers, shares with four digits) give the same bytes with and without orjson."""
    orjson = pytest.importorskip("orjson")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "orjson", None)
        line = files.encode_json(value)
        assert line == orjson.dumps(value)
        assert repr(files.parse_json(line)) == repr(orjson.loads(line))


FOREIGN = ["-0", "NaN", "Infinity", "[1,]", '"\t"', r'"\ud83d\ude00"', r'"\\ud800"', '{"a":1,"a":2}', " [1] "]
FOREIGN += [r'"\ud800"', r'"\uDC00x"', "", "1 2", '"\x7f"', "01", "\ufeff{}", "[" * 100_000]


@pytest.mark.parametrize("text", FOREIGN, ids=lambda text: text[:12])
def test_what_others_write_is_read_or_refused_alike(text, monkeypatch):
    """NaN, duplicate keys, malformed JSON and too deep nesting are handled the same way with and without orjson."""
    pytest.importorskip("orjson")

    def fate():
        try:
            return repr(files.parse_json(text.encode()))
        except ValueError:
            return "refused"

    with_orjson = fate()
    monkeypatch.setattr(files, "orjson", None)
    assert fate() == with_orjson


@pytest.mark.usefixtures("either_codec")
@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, set()], ids=repr)
def test_what_json_cannot_hold_is_refused(value):
    """Lone surrogates and values of unsupported types raise InputError."""
    with pytest.raises(InputError, match="cannot be written as JSON"):
        files.encode_json(value)


def test_a_document_is_written_again_as_it_was_read():
    """If load_document accepts a document, dump_document keeps its key order, its large integers and every letter."""
    text = '{\n  "groups": {\n    "z": [],\n    "a": ["neeps é 日", 12345678901234567890123, 0.1]\n  }\n}\n'
    value = exact_json.load_document(text, "t.json", hint="")
    assert value == {"groups": {"z": [], "a": ["neeps é 日", 12345678901234567890123, 0.1]}}
    assert exact_json.load_document(exact_json.dump_document(value, "t.json").decode(), "t.json", hint="") == value


LOSSY = {
    '{"a": 1, "a": 2}': r"t\.json: duplicate key 'a'",
    "[1e999]": r"t\.json:1: the number 1e999 is too large \(column 2\)",
    "[" + "1" * 5000 + "]": r"t\.json: a number of 5,000 digits",
    "[NaN]": r"t\.json:1: not JSON: NaN \(column 2\)",
    '{"a":\n x}': r"t\.json:2: not JSON: Expecting value \(column 2\)",
    "[" * 100_000: r"t\.json: nested too deeply",
}


@pytest.mark.parametrize("text", LOSSY, ids=lambda text: text[:12])
def test_a_document_that_would_lose_something_is_refused(text):
    """The error for duplicate keys, numbers too large for a float and invalid JSON has the file and the line."""
    with pytest.raises(InputError, match=LOSSY[text]):
        exact_json.load_document(text, "t.json", hint="")


def test_atomic_writer_replaces_in_one_step(tmp_path):
    """The old content stays until the block ends, and afterwards the folder contains no other file."""
    path = tmp_path / "out.txt"
    path.write_text("old")
    with files.atomic_writer(path) as out:
        out.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.txt"]


def test_atomic_writer_keeps_who_may_read(tmp_path):
    """If only the owner may read a file, this stays so when it is replaced, and a copy can get the same permissions."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"before")
    path.chmod(0o600)
    files.atomic_write(path, b"after")
    files.atomic_write(tmp_path / "copy", b"after", like=path)
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path, tmp_path / "copy")] == [0o600, 0o600]


def test_atomic_writer_leaves_no_trace_of_failure(tmp_path):
    """If the block fails, the old content stays and the temporary file is deleted."""
    path = tmp_path / "out.txt"
    path.write_text("old")

    def fail_with(error):
        with files.atomic_writer(path) as out:
            out.write(b"new")
            raise error

    with pytest.raises(KeyError):
        fail_with(KeyError())
    with pytest.raises(InputError, match="the disk is full"):
        fail_with(OSError(errno.ENOSPC, "No space left on device"))
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.txt"]


def test_a_file_uri_is_no_path(tmp_path, monkeypatch):
    """A file:// address as a path makes no folder of that name, and the hint asks for the path itself."""
    monkeypatch.chdir(tmp_path)
    path = Path(f"file://{tmp_path}/x.jsonl")
    for use in (lambda: files.atomic_write(path, b"x"), lambda: files.read_text(path)):
        with pytest.raises(InputError, match="there is no such file") as caught:
            use()
        assert caught.value.hint == "Give the path itself, without file://."
    assert not list(tmp_path.iterdir())


def test_atomic_writer_writes_through_links_and_to_devices(tmp_path):
    """A symbolic link still points to its file, and a device is written and not replaced."""
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.atomic_write(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"x"
    files.atomic_write(os.devnull, b"x")
    assert not os.path.isfile(os.devnull)


def test_a_pipe_without_a_path_is_written():
    """An open pipe is written by its name in /dev/fd, which leads to no other path. /dev/stdout can be such a name."""
    reader, writer = os.pipe()
    files.atomic_write(f"/dev/fd/{writer}", b"x")
    assert os.read(reader, 9) == b"x"
    os.close(reader)
    os.close(writer)


def test_new_files_obey_the_umask(tmp_path):
    """A file that is written aside has the permissions of any other new file."""
    (tmp_path / "ordinary").write_text("x")
    files.atomic_write(tmp_path / "aside", b"x")
    assert (tmp_path / "aside").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_one_at_a_time_and_nothing_is_left(tmp_path):
    """A second run is refused while the first run holds the lock, and no lock file is left after the runs."""
    path = tmp_path / "new" / "topics.json"
    with locked(path):
        with pytest.raises(DoricError, match="another run is writing this file"), locked(path):
            pytest.fail("two held it")
        path.write_text("replaced")
    with locked(path):
        pass
    assert [one.name for one in path.parent.iterdir()] == ["topics.json"]


def test_a_link_and_its_file_have_one_lock(tmp_path):
    """A run that names the file by a symbolic link is refused while another run has locked the file."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.json").symlink_to("folder/topics.json")
    busy = pytest.raises(DoricError, match="another run is writing this file")
    with locked(tmp_path / "folder" / "topics.json"), busy, locked(tmp_path / "link.json"):
        pytest.fail("two held it")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number):
    """If the file system has no locks, the error says so and nothing is left."""

    def flock(handle, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.fcntl, "flock", flock)
    path = tmp_path / "topics.json"
    with pytest.raises(InputError, match=r"topics\.json: .*its file system has no locks"), locked(path):
        pytest.fail("it was held")
    assert not list(tmp_path.iterdir())
    path.touch()
    with pytest.raises(InputError, match=r"topics\.json: .*its file system has no locks"):
        files.refuse_overwrite(path, source="-", overwrite=True)


def test_a_lock_left_by_a_killed_run_holds_nothing(tmp_path):
    """A lock file of a run that has ended does not stop a new run."""
    (tmp_path / ".topics.json.lock").touch()
    with locked(tmp_path / "topics.json"):
        pass


def test_a_lock_that_is_released_soon_is_waited_for(tmp_path):
    """If another run holds the lock only for a moment, this run waits and then makes the lock file again."""
    path = tmp_path / "topics.json"
    held, released = threading.Event(), threading.Event()

    def other_run() -> None:
        with locked(path):
            held.set()
            time.sleep(0.1)
            released.set()

    thread = threading.Thread(target=other_run)
    thread.start()
    held.wait()
    with locked(path):
        assert released.is_set()
        assert (tmp_path / ".topics.json.lock").is_file()
    thread.join()


def test_a_folder_that_cannot_be_written(tmp_path):
    """If the lock file cannot be created, the message names the file to be locked."""
    (tmp_path / "file").touch()
    with pytest.raises(DoricError, match=r"file/topics\.json"), locked(tmp_path / "file" / "topics.json"):
        pytest.fail("it was held")


def test_only_an_earlier_file_of_ours_may_be_replaced(tmp_path):
    """A file is refused if it lacks the project's mark near its start, but an empty or missing file is accepted."""
    path = tmp_path / "page.html"
    files.refuse_foreign_file(path, b"<!-- ours -->", "page")
    for content in (b"", b"<html><!-- ours -->"):
        path.write_bytes(content)
        files.refuse_foreign_file(path, b"<!-- ours -->", "page")
    path.write_bytes(b"my notes" + b" " * 5000 + b"<!-- ours -->")
    with pytest.raises(InputError, match=r"page\.html: the file exists and is not a page"):
        files.refuse_foreign_file(path, b"<!-- ours -->", "page")


@pytest.mark.parametrize("indent", [None, 4])
def test_a_result_with_sorted_fields_is_still_ours(tmp_path, indent):
    """A JSON object of the right kind may be replaced however it was written; another one and a list may not."""
    path = tmp_path / "result.json"
    value = {"kind": "doric-scoreboard", "answers": ["a" * 100] * 100}
    path.write_text("\ufeff" + json.dumps(value, sort_keys=True, indent=indent), "utf-8")
    files.refuse_foreign_file(path, b"doric-scoreboard", "validation result")
    for other in (value | {"kind": "other"}, [value], {"answers": value}):
        path.write_text(json.dumps(other, sort_keys=True, indent=indent), "utf-8")
        with pytest.raises(InputError, match="is not a validation result"):
            files.refuse_foreign_file(path, b"doric-scoreboard", "validation result")


def test_the_size_of_an_output_file(tmp_path):
    """A missing file has 0 bytes, even if a part of its path is a file, and a folder is refused."""
    (tmp_path / "rows").write_bytes(b"12345")
    assert [files.file_size(tmp_path / name) for name in ("rows", "none", "rows/none")] == [5, 0, 0]
    with pytest.raises(InputError, match="it is a directory"):
        files.file_size(tmp_path)
