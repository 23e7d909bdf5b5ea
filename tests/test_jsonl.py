"""JSON Lines files: reading, appending and resuming, with complete rows after any failure."""

import io
import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from doric.core import files, jsonl
from doric.core.errors import DoricError, InputError, PlanError
from doric.core.jsonl import Journal, ResumableRun, read_jsonl

ROWS = [{"n": 1, "text": "caul"}, {"n": 2, "text": "dreich é 😀"}, {"n": 3, "text": 'a "quote"\n'}]
LINES = b"".join(files.encode_json(row) + b"\n" for row in ROWS)


@pytest.fixture(params=["orjson", "plain"])
def either_codec(request, monkeypatch):
    """Runs each test that uses it twice: with orjson and without it."""
    if request.param == "plain":
        monkeypatch.setattr(files, "orjson", None)
    else:
        pytest.importorskip("orjson")


@pytest.mark.usefixtures("either_codec")
def test_rows_come_back_as_written(tmp_path):
    """A journal holds one compact line per row, and reading it gives the rows with their line numbers."""
    path = tmp_path / "new" / "rows.jsonl"
    with Journal(path) as journal:
        for row in ROWS:
            journal.write(row)
    assert path.read_bytes() == LINES
    assert list(read_jsonl(path)) == list(enumerate(ROWS, 1))


@pytest.mark.usefixtures("either_codec")
def test_reopening_replays_every_row_and_appends(tmp_path):
    """The rows on disk are passed to the callback in order, and new rows are written after them."""
    path, seen = tmp_path / "rows.jsonl", []
    path.write_bytes(LINES)
    with Journal(path, replay=seen.append) as journal:
        journal.write({"n": 4})
    assert seen == ROWS
    assert path.read_bytes() == LINES + b'{"n":4}\n'


@pytest.mark.parametrize("cut", range(1, 40))
def test_half_written_last_line_is_dropped(tmp_path, cut):
    """If a crash cuts the last row at any byte, reopening keeps all complete rows and drops only that row."""
    path, seen = tmp_path / "rows.jsonl", []
    path.write_bytes(LINES[:-cut])
    Journal(path, replay=seen.append).close()
    whole = [row for row in ROWS if files.encode_json(row) in LINES[:-cut]]
    assert seen == whole
    assert path.read_bytes() == b"".join(files.encode_json(row) + b"\n" for row in whole)


@pytest.mark.parametrize("tail", [b"\0" * 50, b"\0" * 50 + b"\n", b'{"n": 4, "te\n', b'{"n":"\xe2\x80'])
def test_unreadable_last_line_is_dropped(tmp_path, tail):
    """Blocks of zero bytes and half rows with a line end are also dropped."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES + tail)
    Journal(path).close()
    assert path.read_bytes() == LINES


@pytest.mark.parametrize(
    "content", [b"hallo", b"hallo\n", b"{\n", b'{"a":1}\nhallo', b'{"a"\n{"a":1}\n', b"[1]\n", b'{"a":1}\n"text"\n']
)
def test_a_file_that_is_not_a_journal_is_unchanged(tmp_path, content):
    """The error for a file of another kind has the line number, and no byte of the file changes."""
    if content == b"{\n":
        content = json.dumps({"groups": {}}, indent=1).encode() + b"\n[]"
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"notes\.txt:\d: not "):
        Journal(path)
    assert path.read_bytes() == content


def test_callback_that_refuses_a_row_leaves_the_file_alone(tmp_path):
    """An error in the caller's callback is raised before anything is repaired, and the lock is released."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES + b'{"torn')

    def refuse(row):
        raise KeyError(row["n"])

    with pytest.raises(KeyError):
        Journal(path, replay=refuse)
    assert path.read_bytes() == LINES + b'{"torn'
    Journal(path).close()


def test_fresh_journal_starts_empty(tmp_path):
    """fresh=True empties the file, whatever its content is."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"hallo\n")
    with Journal(path, fresh=True) as journal:
        journal.write({"n": 1})
    assert path.read_bytes() == b'{"n":1}\n'


@pytest.mark.parametrize("backup", [True, False])
def test_old_rows_are_copied_before_they_are_deleted(tmp_path, backup):
    """fresh=True copies the old rows to .bak unless backup is False, and an empty file replaces no earlier copy."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES)
    for _ in range(2):
        Journal(path, fresh=True, backup=backup).close()
    aside = tmp_path / "rows.jsonl.bak"
    assert path.read_bytes() == b""
    assert (aside.read_bytes() if aside.exists() else b"") == (LINES if backup else b"")


def test_second_writer_is_refused(tmp_path):
    """Opening a journal that is already open is an error, with or without fresh, and its rows do not change."""
    path = tmp_path / "rows.jsonl"
    with Journal(path) as journal:
        journal.write({"n": 1})
        for fresh in (False, True):
            with pytest.raises(DoricError, match="another run is writing"):
                Journal(path, fresh=fresh)
    assert path.read_bytes() == b'{"n":1}\n'


def test_each_row_is_one_write_and_syncs_are_a_second_apart(tmp_path, monkeypatch):
    """Rows are written to the file at once, fsync runs at most once per second, and closing also runs fsync."""
    clock, synced = [100.0], []
    monkeypatch.setattr(jsonl.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(jsonl.os, "fsync", synced.append)
    path = tmp_path / "rows.jsonl"
    with Journal(path) as journal:
        for step in (0.0, 0.5, 0.4, 0.2, 0.9, 0.2):
            clock[0] += step
            journal.write({"n": 1})
            assert path.read_bytes().endswith(b"\n")
        assert len(synced) == 2
    assert len(synced) == 3


def test_row_that_does_not_fit_leaves_no_half_line(tmp_path):
    """If the disk takes only a part of a row, that part is removed, and the error has the reason."""
    path = tmp_path / "rows.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        journal = Journal(path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        journal.write({"text": "x" * 60})
        with pytest.raises(InputError, match="cannot be written: the file would exceed the size limit"):
            journal.write({"text": "y" * 60})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == files.encode_json({"text": "x" * 60}) + b"\n"
    journal.write({"n": 2})
    journal.close()
    assert len(list(read_jsonl(path))) == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_full_disk_is_one_sentence():
    """A full disk (ENOSPC) gives an error with a hint."""
    with Journal("/dev/full") as journal, pytest.raises(InputError, match="the disk is full") as caught:
        journal.write({"n": 1})
    assert caught.value.hint


@pytest.mark.parametrize("parent", ["file", "file/deeper"])
def test_folder_that_cannot_be_made_is_one_sentence(tmp_path, parent):
    """If a part of the path is a file, the journal and the atomic writer both give an error of one sentence."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="a part of its path is a file"):
        Journal(tmp_path / parent / "rows.jsonl")
    with pytest.raises(InputError, match="a part of its path is a file"):
        files.atomic_write(tmp_path / parent / "rows.jsonl", b"x")


def test_directory_is_no_journal(tmp_path):
    """A folder cannot be read or written as a journal."""
    with pytest.raises(InputError, match="cannot be written: it is a directory"):
        Journal(tmp_path)
    with pytest.raises(InputError, match="cannot be read: it is a directory"):
        list(read_jsonl(tmp_path))
    with pytest.raises(InputError, match="cannot be written: it is a directory"):
        files.atomic_write(tmp_path, b"x")


def test_journal_survives_sigkill(tmp_path):
    """After SIGKILL a second run reads the existing rows and continues."""
    path = tmp_path / "rows.jsonl"
    code = f"""
from doric.core.jsonl import Journal
with Journal({str(path)!r}) as journal:
    for n in range(10**9):
        journal.write({{"n": n}})
        if n == 1000:
            print("on its way", flush=True)
"""
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=paths) as writer:
        writer.stdout.readline()
        writer.kill()
    seen = []
    with Journal(path, replay=lambda row: seen.append(row["n"])) as journal:
        journal.write({"n": len(seen)})
    assert seen == list(range(len(seen)))
    assert [row["n"] for _, row in read_jsonl(path)] == list(range(len(seen) + 1))


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


PLAN = {"seed": 1, "langs": ("es", "fr"), "ratio": 0.1}


def resumable(folder, **flags):
    """A run with two journals, like a run of the generator."""
    return ResumableRun((folder / "out.jsonl", folder / "out.jsonl.rejected.jsonl"), **flags)


def started(folder):
    """A run that has written one row under `PLAN`."""
    run = resumable(folder)
    with run.open(print, print) as (rows, _):
        run.store(PLAN)
        rows.write({"n": 1})
    return run


def test_a_run_resumes_under_the_plan_it_was_started_with(tmp_path):
    """A run resumes with the same plan, even if tuples became lists, and each row is replayed to its function."""
    seen = []
    run = started(tmp_path)
    assert run.plan_file.name == "out.jsonl.plan.json"
    assert run.stored() == {"seed": 1, "langs": ["es", "fr"], "ratio": 0.1}
    run.check(PLAN)
    with run.open(seen.append, pytest.fail) as (rows, rejections):
        rows.write({"n": 2})
        rejections.write({"n": 3})
    assert seen == [{"n": 1}]
    assert [row for _, row in read_jsonl(run.journals[0])] == [{"n": 1}, {"n": 2}]


def test_a_run_under_another_plan_is_refused_key_by_key(tmp_path):
    """The error names each key that differs with both values, ignored keys excepted, and overwrite checks no key."""
    run = started(tmp_path)
    with pytest.raises(PlanError, match=r"another plan \(ratio 0\.1 then, None now, seed 1 then, 2 now\)"):
        run.check({"seed": 2, "langs": ("es", "fr")})
    with pytest.raises(PlanError, match=r"another plan \(other seed\)"):
        run.check(PLAN | {"seed": 2}, describe=lambda key, then, now: f"other {key}")
    run.check(PLAN | {"seed": 2}, ignore=["seed"])
    resumable(tmp_path, overwrite=True).check({})


def test_rows_without_a_plan_are_refused(tmp_path):
    """Rows without a plan file cannot be resumed, and a run without rows needs no plan file."""
    run = started(tmp_path)
    run.plan_file.unlink()
    with pytest.raises(PlanError, match=r"out\.jsonl\.plan\.json is missing, so .*out\.jsonl cannot be resumed"):
        run.check(PLAN)
    run.journals[0].write_bytes(b"")
    run.check(PLAN)


@pytest.mark.parametrize("backup", [True, False])
def test_overwriting_keeps_a_copy_of_rows_and_plan(tmp_path, backup):
    """With overwrite the journals are emptied, and rows and plan are copied to .bak unless backup is False."""
    before = started(tmp_path)
    run = resumable(tmp_path, overwrite=True)
    with run.open(pytest.fail, pytest.fail, backup=backup):
        run.store({})
    assert before.journals[0].read_bytes() == b""
    copies = {path.name: path.read_bytes() for path in tmp_path.glob("*.bak")}
    stored = b'{"seed":1,"langs":["es","fr"],"ratio":0.1}\n'
    assert copies == ({"out.jsonl.bak": b'{"n":1}\n', "out.jsonl.plan.json.bak": stored} if backup else {})


def test_unreadable_plan_is_refused_by_name(tmp_path):
    """A plan file with invalid content is an error and does not count as an empty plan."""
    run = started(tmp_path)
    run.plan_file.write_text("{")
    with pytest.raises(InputError, match=r"out\.jsonl\.plan\.json: not JSON"):
        run.check(PLAN)
