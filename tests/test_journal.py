"""Journals and resumed runs: complete rows after any failure, and no row lost to another program."""

import errno
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from doric.core import files
from doric.core import journal as journal_module
from doric.core.errors import DoricError, InputError, PlanError, RescuedError
from doric.core.journal import Journal
from doric.core.jsonl import read_jsonl
from doric.core.regular_files import read_regular
from doric.core.resume import ResumableRun, behind_link

ROWS = [{"n": 1, "text": "caul"}, {"n": 2, "text": "dreich é 😀"}, {"n": 3, "text": 'a "quote"\n'}]
LINES = b"".join(files.encode_json(row) + b"\n" for row in ROWS)


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


@pytest.mark.parametrize(
    "tail", [b"\0" * 50, b"\0" * 50 + b"\n", b'{"n":"\xe2\x80', b'{"n":4,"te\0\0', b"\0" * 9 + b"4}"]
)
def test_unreadable_last_line_is_dropped(tmp_path, tail):
    """Blocks of zero bytes, alone or around half a row, and half characters are also dropped."""
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
    monkeypatch.setattr(journal_module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(journal_module.os, "fsync", synced.append)
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


def test_a_pipe_that_nobody_reads_is_refused_at_once(tmp_path):
    """A pipe without a reader is an error, because waiting for a reader could not be interrupted."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no program reads from it"):
        Journal(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with Journal(tmp_path / "pipe") as rows:
        rows.write({"n": 1})
    assert os.read(reader, 99) == b'{"n":1}\n'
    os.close(reader)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number):
    """If the file system has no locks, the journal is refused, and neither a file nor a folder is left."""

    def flock(handle, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with pytest.raises(InputError, match=r"out\.jsonl: cannot be written: its file system has no locks"):
        Journal(tmp_path / "new" / "out.jsonl")
    assert not list(tmp_path.iterdir())


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
from doric.core.journal import Journal
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


def test_overwriting_keeps_a_copy_of_rows_and_plan(tmp_path):
    """With overwrite the journals are emptied, after rows and plan are copied to .bak."""
    before = started(tmp_path)
    run = resumable(tmp_path, overwrite=True)
    with run.open(pytest.fail, pytest.fail) as (rows, _):
        run.store({})
        rows.write({"n": 2})
    assert before.journals[0].read_bytes() == b'{"n":2}\n'
    copies = {path.name: path.read_bytes() for path in tmp_path.glob("*.bak")}
    stored = b'{"seed":1,"langs":["es","fr"],"ratio":0.1}\n'
    assert copies == {"out.jsonl.bak": b'{"n":1}\n', "out.jsonl.plan.json.bak": stored}


def test_no_copy_is_ever_overwritten(tmp_path):
    """Each further overwrite makes copies with the next number, the same for all files of the run."""
    started(tmp_path)
    for n in range(2, 5):
        run = resumable(tmp_path, overwrite=True)
        with run.open(pytest.fail, pytest.fail) as (rows, rejections):
            run.store({"seed": n})
            rows.write({"n": n})
            if n == 3:
                rejections.write({"r": n})
    copies = {path.name.removeprefix("out.jsonl"): path.read_bytes() for path in tmp_path.glob("*.bak*")}
    assert {name: copies[name] for name in (".bak", ".bak.2", ".bak.3")} == {
        ".bak": b'{"n":1}\n',
        ".bak.2": b'{"n":2}\n',
        ".bak.3": b'{"n":3}\n',
    }
    assert {name for name in copies if "rejected" in name} == {".rejected.jsonl.bak.3"}
    assert copies[".plan.json.bak.3"] == b'{"seed":3}\n'


def test_rows_that_were_copied_before_are_not_copied_again(tmp_path):
    """If an overwrite fails before its first row, or writes the same bytes again, no second copy is made."""
    started(tmp_path)
    for _ in range(3):
        run = resumable(tmp_path, overwrite=True)
        with run.open(pytest.fail, pytest.fail) as (rows, _):
            run.store(PLAN)
            rows.write({"n": 1})
    assert sorted(path.name for path in tmp_path.glob("*.bak*")) == ["out.jsonl.bak", "out.jsonl.plan.json.bak"]


def refuse(run):
    """Store the plan, then fail."""
    run.store(PLAN)
    raise PlanError("no")


def test_a_run_without_rows_leaves_nothing(tmp_path):
    """If no row is written, neither journals nor plan nor folders are left, also after an error and with overwrite."""
    for folder in ("new/deeper", "new"):
        run = resumable(tmp_path / folder)
        with pytest.raises(PlanError), run.open(print, print):
            refuse(run)
        assert not list(tmp_path.iterdir())
    started(tmp_path)
    with resumable(tmp_path, overwrite=True).open(print, print):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl.bak", "out.jsonl.plan.json.bak"]


def test_unreadable_plan_is_refused_by_name(tmp_path):
    """A plan file with invalid content is an error and does not count as an empty plan."""
    run = started(tmp_path)
    run.plan_file.write_text("{")
    with pytest.raises(InputError, match=r"out\.jsonl\.plan\.json: not JSON") as caught:
        run.check(PLAN)
    assert "--overwrite" in caught.value.hint


# ---- edited by hand


@pytest.mark.usefixtures("either_codec")
@pytest.mark.parametrize(
    "line",
    [
        b'{"n":4,"te\n',
        b'{"n":4,}\n',
        b'{"n":NaN}\n',
        b'{"n":NaN}',
        b'{"n":Infinity}',
        b'{"n":4,}',
        b'{"n":4 "m":5}',
        b'{"n":4}}',
        b'{"n":4} {"n":5}',
        b'{"n":"\xff"}\n',
        b'{"n":"\xff"}',
        b'{"n":"\\q"}',
        b'{"n":"\\ud800"}',
        b'\0\0{"n":4}\n',
        b"half a row",
    ],
)
def test_a_line_that_somebody_edited_is_refused(tmp_path, line):
    """A last line with a newline, or one that is no beginning of a row, gives an error, and no byte changes."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES + line)
    with pytest.raises(InputError, match=r"rows\.jsonl:4: "):
        Journal(path)
    assert path.read_bytes() == LINES + line
    assert [one.name for one in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\0\0\0", b" "])
def test_a_complete_last_row_is_kept(tmp_path, end):
    """A last row without a newline is kept, also with blocks after it that were never written."""
    path, seen = tmp_path / "rows.jsonl", []
    path.write_bytes(LINES.removesuffix(b"\n") + end)
    with Journal(path, replay=seen.append) as rows:
        rows.write({"n": 4})
    assert seen == ROWS
    assert [row for _, row in read_jsonl(path)] == [*ROWS, {"n": 4}]


ROW = '{"text":"a \\"wird\\" \\u00e9\\n😀","n":-1.5e-7,"ok":true,"no":false,"nil":null,"list":[1,{"a":[]}]}'.encode()


@pytest.mark.parametrize("cut", range(1, len(ROW)))
def test_a_torn_line_is_set_aside(tmp_path, cut):
    """A row that is cut at any byte is moved to PATH.torn, so that nothing is lost if it was no crash."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINES + ROW[:cut])
    Journal(path).close()
    assert path.read_bytes() == LINES
    assert (tmp_path / "rows.jsonl.torn").read_bytes() == ROW[:cut]


# ---- changed by another program during the run


def removed(path):
    path.unlink()


def renamed(path):
    path.rename(path.with_name("elsewhere"))


def saved_by_an_editor(path):
    path.with_name("new").write_bytes(path.read_bytes())
    path.with_name("new").rename(path)


def emptied(path):
    path.write_bytes(b"")


def cut_in_two(path):
    os.truncate(path, path.stat().st_size // 2)


def overwritten(path):
    path.write_bytes(b'{"other":1}\n' * 99)


def appended_to(path):
    with path.open("ab") as file:
        file.write(b'{"other":1}\n')


def last_bytes_cut(path):
    os.truncate(path, path.stat().st_size - 3)


def made_a_folder(path):
    path.unlink()
    path.mkdir()


def folder_removed(path):
    shutil.rmtree(path.parent)


def folder_renamed(path):
    path.parent.rename(path.parent.with_name("elsewhere"))


def linked_elsewhere(path):
    path.unlink()
    path.symlink_to("/dev/null")


def one_character_replaced(path):
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.write(content.replace(b'{"', b"{'", 1))


def last_row_blanked(path):
    last = path.read_bytes().splitlines(keepends=True)[-1]
    with path.open("r+b") as file:
        file.seek(-len(last), os.SEEK_END)
        file.write(b" " * (len(last) - 1))


def filled_with_zeros(path):
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(bytes(size))


def changed_as_if_untouched(path):
    before = path.stat()
    one_character_replaced(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = [
    removed, renamed, saved_by_an_editor, emptied, cut_in_two, overwritten, appended_to, made_a_folder, folder_removed,
    folder_renamed, linked_elsewhere, one_character_replaced, last_row_blanked, filled_with_zeros,
    changed_as_if_untouched,
]  # fmt: skip


def write_and_close(rows):
    rows.write({"n": 5})
    rows.close()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("when", ["write", "close"])
def test_rows_survive_another_program(tmp_path, monkeypatch, change, when):
    """All rows, replayed and new, are in a new file, which the error names, whatever happens to the journal."""
    for name in ("FSYNC_SECONDS", "VERIFY_SECONDS"):
        monkeypatch.setattr(journal_module, name, 0 if when == "write" else 99)
    monkeypatch.setattr(journal_module, "VERIFY_SHARE", 1e9)
    path = tmp_path / "folder" / "out.jsonl"
    path.parent.mkdir()
    path.write_bytes(LINES)
    rows = Journal(path)
    rows.write({"n": 4})
    change(path)
    with pytest.raises(RescuedError, match=r"during the run; its 5 rows are in .*out\.jsonl\.rescued") as caught:
        write_and_close(rows)
    assert "rename" in caught.value.hint
    rows.write({"n": 6}) if when == "write" else None
    rows.close()
    kept = [row for _, row in read_jsonl(rows.path)]
    assert kept == [*ROWS, {"n": 4}, {"n": 5}, *([{"n": 6}] if when == "write" else [])]
    assert rows.rows == len(kept)
    assert rows.path.name == "out.jsonl.rescued"


@pytest.mark.parametrize("change", [lambda path: path.chmod(0o600), os.utime])
def test_a_file_with_new_times_only_is_no_change(tmp_path, change):
    """`touch` and `chmod` change the times of a journal, and the run goes on."""
    path = tmp_path / "out.jsonl"
    with Journal(path) as rows:
        for n in range(3):
            rows.write({"n": n})
            change(path)
            rows.sync()
    assert len(list(read_jsonl(path))) == 3


def test_a_long_file_whose_newest_rows_are_damaged_is_saved_whole(tmp_path, monkeypatch):
    """If a row that is still in memory is damaged in place, all rows are saved, also the older ones."""
    monkeypatch.setattr(journal_module, "RECENT", 40)
    path = tmp_path / "out.jsonl"
    rows = Journal(path)
    for n in range(100):
        rows.write({"n": n})
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.write(content[:-40] + content[-40:].replace(b'"', b"'"))
    with pytest.raises(RescuedError, match="its 100 rows are in"):
        rows.close()
    assert [row["n"] for _, row in read_jsonl(rows.path)] == list(range(100))


def pipe_at(path):
    os.mkfifo(path)


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))  # the length of its name is limited


def device_at(path):
    path.symlink_to("/dev/zero")


def folder_at(path):
    path.mkdir()
    (path / "file").write_text("x")


OTHER_KINDS = [pipe_at, socket_at, device_at, folder_at]


@pytest.mark.parametrize("make", [pipe_at, folder_at])
def test_what_is_in_the_place_of_a_journal_is_removed_before_its_rows_return(tmp_path, make):
    """If a folder or a pipe is in the place of a journal, the hint removes it first: a file would go into it."""
    path = tmp_path / "out.jsonl"
    rows = Journal(path)
    rows.write({"n": 1})
    path.unlink()
    make(path)
    with pytest.raises(RescuedError) as caught:
        rows.close()
    assert f"move {path} away (" in caught.value.hint
    assert caught.value.hint.index("move ") < caught.value.hint.index(f"rename {path}.rescued to {path}")


@pytest.mark.parametrize("make", OTHER_KINDS)
def test_a_plan_that_is_no_regular_file_is_refused_at_once(tmp_path, make):
    """A pipe, a socket, a device or a folder in the place of the plan is an error, and nothing waits for it."""
    run = started(tmp_path)
    run.plan_file.unlink()
    make(run.plan_file)
    for use in (run.stored, lambda: run.check(PLAN), lambda: run.store(PLAN)):
        with pytest.raises(InputError, match=r"out\.jsonl\.plan\.json: the plan of the run goes there, but it is"):
            use()


def rows_and_another_kind(run, make):
    with run.open(print, print) as (rows, _):
        run.store(PLAN)
        rows.write({"n": 1})
        run.plan_file.unlink()
        make(run.plan_file)


@pytest.mark.parametrize("make", OTHER_KINDS)
def test_a_plan_that_another_kind_of_file_replaced_is_kept_beside_it(tmp_path, make):
    """If the plan is replaced by a pipe, a socket, a device or a folder during the run, the hint says what to do."""
    run = resumable(tmp_path)
    with pytest.raises(RescuedError, match=r"the plan is kept in .*out\.jsonl\.plan\.json\.rescued") as caught:
        rows_and_another_kind(run, make)
    assert f"move {run.plan_file} away (" in caught.value.hint
    with pytest.raises(InputError) as refused:
        run.check(PLAN)
    assert f"rename {run.plan_file}.rescued to {run.plan_file}" in refused.value.hint
    shutil.rmtree(run.plan_file) if run.plan_file.is_dir() else run.plan_file.unlink()
    (tmp_path / "out.jsonl.plan.json.rescued").rename(run.plan_file)
    resumable(tmp_path).check(PLAN)


@pytest.mark.parametrize("make", [pipe_at, socket_at, device_at])
def test_a_file_that_a_command_reads_again_is_a_regular_file(tmp_path, make):
    """A pipe, a socket or a device is not opened as an earlier result, and is no obstacle for a lock."""
    path = tmp_path / "file"
    make(path)
    with pytest.raises(InputError, match="not a regular file"):
        read_regular(path)
    with files.locked(path):
        pass


def test_a_link_to_a_file_of_a_run_has_its_plan(tmp_path):
    """A link beside the file of a run stands for this file, unless it has a plan of its own."""
    started(tmp_path)
    link = tmp_path / "link.jsonl"
    link.symlink_to("out.jsonl")
    assert behind_link(link, ".plan.json") == tmp_path / "out.jsonl"
    (tmp_path / "link.jsonl.plan.json").write_text("{}")
    assert behind_link(link, ".plan.json") == link
    assert behind_link(tmp_path / "new.jsonl", ".plan.json") == tmp_path / "new.jsonl"


def test_a_file_in_use_by_another_name_is_in_use(tmp_path):
    """While a run writes a file by the name of a link, another run by its own name is told so."""
    link = tmp_path / "link.jsonl"
    link.symlink_to("out.jsonl")
    with ResumableRun((link,)).open(print) as (rows,):
        rows.write({"n": 1})
        with pytest.raises(DoricError, match="another run is writing this file"):
            ResumableRun((tmp_path / "out.jsonl",)).check(PLAN)


def test_only_the_last_rows_are_left_of_a_long_file(tmp_path, monkeypatch):
    """If a file is emptied, the last rows are saved, and the error says how many are not."""
    monkeypatch.setattr(journal_module, "RECENT", 100)
    path = tmp_path / "out.jsonl"
    rows = Journal(path)
    for n in range(100):
        rows.write({"n": n})
    emptied(path)
    with pytest.raises(RescuedError, match=r"the last \d+ of its rows are in") as caught:
        rows.close()
    kept = [row["n"] for _, row in read_jsonl(rows.path)]
    assert 5 < len(kept) < 20
    assert kept == list(range(100 - len(kept), 100))
    assert rows.rows == len(kept)
    assert f"the first {100 - len(kept)} rows" in caught.value.hint


@pytest.mark.parametrize("change", [appended_to, last_bytes_cut])
@pytest.mark.parametrize("blank", [b"", b"\n"])
def test_all_rows_of_a_long_file_are_saved_if_its_beginning_is_left(tmp_path, monkeypatch, change, blank):
    """If only the end of a long file is changed, all rows are saved, also those that are not in memory."""
    monkeypatch.setattr(journal_module, "RECENT", 100)
    path = tmp_path / "out.jsonl"
    path.write_bytes(blank + LINES + blank)
    rows = Journal(path)
    for n in range(100):
        rows.write({"n": n})
    change(path)
    rows.write({"n": 100})
    with pytest.raises(RescuedError, match=r"its 104 rows are in"):
        rows.close()
    assert [row for _, row in read_jsonl(rows.path)] == [*ROWS, *({"n": n} for n in range(101))]


def test_no_rescue_replaces_an_earlier_one(tmp_path):
    """Each rescue gets its own file, with the permissions of the journal."""
    path = tmp_path / "out.jsonl"
    for n in range(3):
        rows = Journal(path)
        path.chmod(0o600)
        rows.write({"n": n})
        path.unlink()
        with pytest.raises(RescuedError):
            rows.close()
    kept = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    assert kept == {f"out.jsonl.rescued{end}": b'{"n":%d}\n' % n for n, end in enumerate(("", ".2", ".3"))}
    assert {one.stat().st_mode & 0o777 for one in tmp_path.iterdir()} == {0o600}


def test_rows_that_cannot_be_rescued_are_not_reported(tmp_path, monkeypatch):
    """If no folder takes the rows, the error says so, and the journal has no rows."""
    path = tmp_path / "out.jsonl"
    monkeypatch.setattr(journal_module.tempfile, "gettempdir", lambda: str(tmp_path / "file" / "x"))
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    rows = Journal(tmp_path / "folder" / "out.jsonl")
    rows.write({"n": 1})
    shutil.rmtree(tmp_path / "folder")
    (tmp_path / "folder").write_text("now a file")
    with pytest.raises(InputError, match=r"its 1 rows cannot be saved: .* a part of its path is a file"):
        rows.close()
    assert rows.rows == 0
    assert not path.exists()


def test_a_run_whose_rows_cannot_be_rescued_names_no_file_for_them(tmp_path, monkeypatch, caplog):
    """If no folder takes the rows, nothing says that they are saved, and the plan stays for a file that was renamed."""
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(journal_module.tempfile, "gettempdir", lambda: str(tmp_path / "file" / "x"))
    files_of_run = ResumableRun((tmp_path / "folder" / "out.jsonl",))

    def run() -> None:
        with files_of_run.open(lambda row: None) as (rows,):
            files_of_run.store({"seed": 1})
            rows.write({"n": 1})
            (tmp_path / "folder").rename(tmp_path / "elsewhere")
            (tmp_path / "folder").write_text("now a file")
            rows.sync()

    with pytest.raises(InputError, match="cannot be saved"):
        run()
    assert "rows are in" not in caplog.text
    assert (tmp_path / "elsewhere" / "out.jsonl.plan.json").exists()


def test_a_moved_file_behind_the_same_name_is_no_change(tmp_path):
    """If the name still leads to the same file, by a link or another folder, the run goes on."""
    path = tmp_path / "out.jsonl"
    with Journal(path) as rows:
        rows.write({"n": 1})
        path.rename(tmp_path / "real.jsonl")
        path.symlink_to("real.jsonl")
        rows.sync()
        rows.write({"n": 2})
    assert len(list(read_jsonl(tmp_path / "real.jsonl"))) == 2


def write_and_remove(run, folder):
    with run.open(print, print) as (rows, rejections):
        run.store(PLAN)
        rows.write({"n": 1})
        rejections.write({"n": 2})
        shutil.rmtree(folder)


def test_all_journals_and_the_plan_are_rescued_together(tmp_path):
    """If the whole folder is removed, one error names the rows and the rejections, and the plan is written again."""
    folder = tmp_path / "folder"
    folder.mkdir()
    run = resumable(folder)
    with pytest.raises(RescuedError, match=r"out\.jsonl\.rescued; .*rejected\.jsonl\.rescued") as caught:
        write_and_remove(run, folder)
    assert caught.value.hint.count("rename") == 2
    assert f"rejected.jsonl.rescued to {folder}/out.jsonl.rejected.jsonl" in caught.value.hint
    (folder / "out.jsonl.rescued").rename(folder / "out.jsonl")
    (folder / "out.jsonl.rejected.jsonl.rescued").rename(folder / "out.jsonl.rejected.jsonl")
    again, seen = resumable(folder), []
    again.check(PLAN)
    with again.open(seen.append, seen.append):
        pass
    assert seen == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_in_the_place_of_the_plan_is_refused_before_anything_changes(tmp_path, overwrite):
    """If there is a folder under the name of the plan, the error names it, and no row is touched."""
    run = resumable(tmp_path, overwrite=overwrite)
    run.plan_file.mkdir()
    (tmp_path / "out.jsonl").write_bytes(b'{"n":1}\n')
    with pytest.raises(InputError, match=r"out\.jsonl\.plan\.json: .* it is a folder") as caught:
        run.check(PLAN)
    assert "another --out" in caught.value.hint
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["out.jsonl", "out.jsonl.plan.json"]


def test_a_device_gets_no_plan(tmp_path):
    """Rows that go to a device or a pipe cannot be resumed, so no plan is written beside it."""
    link = tmp_path / "out.jsonl"
    link.symlink_to("/dev/null")
    run = ResumableRun((link,))
    run.check(PLAN)
    with run.open(print) as (rows,):
        run.store(PLAN)
        rows.write({"n": 1})
    assert list(tmp_path.iterdir()) == [link]


@pytest.mark.parametrize("change", ["removed", "other plan", "no JSON"])
def test_a_plan_that_another_program_changed_is_written_again(tmp_path, caplog, change):
    """If only the plan is removed or changed during a run, the run restores it, keeps the other one, and resumes."""
    run, other = resumable(tmp_path), {"other plan": b'{"seed":2}\n', "no JSON": b"x"}.get(change)
    with run.open(print, print) as (rows, _):
        run.store(PLAN)
        rows.write({"n": 1})
        run.plan_file.unlink() if other is None else run.plan_file.write_bytes(other)
    assert "out.jsonl.plan.json; it is written again" in caplog.text
    resumable(tmp_path).check(PLAN)
    copy = tmp_path / "out.jsonl.plan.json.bak"
    assert (copy.read_bytes() if copy.exists() else None) == other


def write_and_fail(rows):
    rows.write({"n": 1})
    rows.path.unlink()
    raise KeyError


def test_an_error_of_the_run_is_not_hidden_by_a_rescue(tmp_path, caplog):
    """If the run has failed for another reason, that error is raised, and the rescue is logged."""
    run = resumable(tmp_path)
    with pytest.raises(KeyError), run.open(print, print) as (rows, _):
        write_and_fail(rows)
    assert "its 1 rows are in" in caplog.text


def test_a_journal_in_use_is_not_replaced(tmp_path):
    """While a run appends to a file, no other command of this project can lock or overwrite it."""
    path = tmp_path / "out.jsonl"
    with Journal(path) as rows:
        rows.write({"n": 1})
        with pytest.raises(DoricError, match="another run is writing this file"), files.locked(path):
            pytest.fail("it was locked")
        with pytest.raises(DoricError, match="another run is writing this file"):
            files.refuse_overwrite(path, source="-", overwrite=True)
    with files.locked(path):
        pass


def test_ctrl_c_while_closing_loses_no_row(tmp_path):
    """Ctrl-C during a rescue takes effect after it."""
    path = tmp_path / "out.jsonl"
    code = f"""
import os, signal
from doric.core import journal
rows = journal.Journal({str(path)!r})
for n in range(1000):
    rows.write({{"n": n}})
os.unlink(rows.path)
fsync = os.fsync
def interrupted(number):
    for _ in range(3):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    fsync(number)
os.fsync = interrupted
rows.close()
"""
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, timeout=60, check=False)
    assert done.returncode != 0
    assert len(list(read_jsonl(f"{path}.rescued"))) == 1000
