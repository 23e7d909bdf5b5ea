"""The conversion script: its output, the input that it refuses, and that it leaves no partial files."""

import gzip
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import transform_to_sharegpt
from doric.core import files, jsonl
from doric.quality.decontamination import held_out_prompts
from transform_to_sharegpt import main

SCRIPT = Path(transform_to_sharegpt.__file__)
ROWS = [
    {"messages": [{"role": "user", "content": "é?"}, {"role": "assistant", "content": "Aye."}], "meta": {"id": "a"}},
    {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": "a"},
        ],
        "meta": {"id": "b"},
    },
]
CONVERTED = [
    {"conversations": [{"from": "human", "value": "é?"}, {"from": "gpt", "value": "Aye."}], "meta": {"id": "a"}},
    {
        "conversations": [
            {"from": "system", "value": "s"},
            {"from": "human", "value": "u"},
            {"from": "gpt", "value": "a"},
        ],
        "meta": {"id": "b"},
    },
]


def lines(rows):
    """The rows as bytes of a file."""
    return b"".join(files.encode_json(row) + b"\n" for row in rows)


@pytest.fixture
def paths(tmp_path):
    """An input file with two rows, and the path of an output that does not exist yet."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(lines(ROWS))
    return source, tmp_path / "out.jsonl"


def convert(source, target, *flags):
    """Run the script in this process."""
    return main(["--input", str(source), "--output", str(target), *flags])


def in_shell(*flags, **pipes):
    """Run the script as a user does, in a separate process."""
    return subprocess.run([sys.executable, SCRIPT, *flags], capture_output="stdout" not in pipes, timeout=60, **pipes)


def test_rows_are_converted_in_order(paths, capsys):
    """Each row becomes a conversation with its meta, and the count is printed."""
    source, target = paths
    assert convert(*paths) == 0
    assert target.read_bytes() == lines(CONVERTED)
    assert capsys.readouterr().err == f"2 rows of {source} converted to {target}\n"


def test_many_batches_come_out_whole(paths):
    """No row is lost or duplicated where one batch ends and the next batch begins."""
    source, target = paths
    source.write_bytes(lines({**ROWS[0], "meta": {"id": n}} for n in range(5000)))
    assert convert(source, target) == 0
    assert [row["meta"]["id"] for _, row in jsonl.read_jsonl(target)] == list(range(5000))


def test_meta_can_be_dropped(paths):
    """With --drop-meta, only the conversations stay."""
    assert convert(*paths, "--drop-meta") == 0
    assert [list(row) for _, row in jsonl.read_jsonl(paths[1])] == [["conversations"]] * 2


def test_bytes_are_the_same_without_orjson(paths, monkeypatch, tmp_path):
    """Without orjson, the standard library writes the same file."""
    source, target = paths
    source.write_bytes(lines([{**ROWS[0], "meta": {"share": 0.1, "text": "ö\u2028\\"}}, *ROWS]))
    assert convert(*paths) == 0
    monkeypatch.setattr(files, "orjson", None)
    assert convert(source, tmp_path / "plain.jsonl") == 0
    assert (tmp_path / "plain.jsonl").read_bytes() == target.read_bytes()


def said(text):
    """A question and its answer, as two turns."""
    return [{"role": "user", "content": text}, {"role": "assistant", "content": "Nae bad."}]


PARTIAL = {**ROWS[0], "meta": {"id": "c", "group": "chat", "partial": [1]}}
WHOLE = [{**ROWS[0], "meta": {"id": "d", "partial": []}}, {"messages": said('"partial"')}]


def test_a_chat_with_an_incomplete_answer_is_dropped(paths, capsys):
    """A row with answers in meta.partial is dropped and counted, but an empty list, or the word elsewhere, is not."""
    source, target = paths
    source.write_bytes(lines([ROWS[0], PARTIAL, ROWS[1], PARTIAL, *WHOLE]))
    assert convert(*paths) == 0
    assert [row.get("meta", {}).get("id") for _, row in jsonl.read_jsonl(target)] == ["a", "b", "d", None]
    assert capsys.readouterr().err == (
        f"4 rows of {source} converted to {target}; 2 dropped because an answer is incomplete (meta.partial)\n"
    )


def test_a_file_of_such_chats_only_is_refused(paths, capsys):
    """If every row is dropped, the run ends with an error that names the reason."""
    paths[0].write_bytes(lines([PARTIAL]))
    assert convert(*paths) == 2
    assert "in.jsonl: every chat in it has an incomplete answer" in capsys.readouterr().err
    assert not paths[1].exists()


def test_a_malformed_row_among_them_is_still_found(paths, capsys):
    """A malformed row still gives an error, or is skipped with --skip-bad."""
    paths[0].write_bytes(lines([PARTIAL, ROWS[0]]) + b'{"messages": [], "meta": {}}\n')
    assert convert(*paths) == 2
    assert f"{paths[0]}:3: messages must be a list" in capsys.readouterr().err
    assert convert(*paths, "--skip-bad") == 0
    assert "1 dropped" in capsys.readouterr().err


def test_mark_blank_lines_and_missing_newline_are_accepted(paths):
    """The input may have a byte-order mark, blank lines, CRLF line ends, and no line end after the last line."""
    first, second = lines(ROWS).splitlines()
    paths[0].write_bytes(b"\xef\xbb\xbf" + first + b"\r\n\n   \n" + second)
    assert convert(*paths) == 0
    assert paths[1].read_bytes() == lines(CONVERTED)


def test_dash_is_stdin_and_stdout(paths):
    """`-` reads stdin and writes stdout, and the count is printed on stderr."""
    done = in_shell("--input", "-", "--output", "-", input=lines(ROWS))
    assert (done.returncode, done.stdout) == (0, lines(CONVERTED))
    assert done.stderr == b"2 rows of stdin converted to stdout\n"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"hallo", "not JSON: 'hallo'"),
        (b"[1]", "not a JSON object: '[1]'"),
        (b'{"text": "x"}', 'the row has no key "messages"'),
        (b'{"messages": [{"role": "user"}]}', 'messages[0] has no key "content"'),
        (b'{"messages": [{"role": "bard", "content": "x"}]}', "messages[0].role must be one of"),
        (b'{"messages": [{"role": "user", "content": 3}]}', "messages[0].content must be a string, not 3"),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', "not UTF-8 text"),
        (b'{"messages": [{"role": "user", "content": "x"}], "meta": []}', "meta must be an object"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "the last turn is the user's"),
        (b'{"conversations": [{"from": "human", "value": null}]}', "conversations[0].value must be a string, not null"),
        (b'{"messages": [], "meta": {"score": NaN}}', "not JSON: NaN (column 36)"),
        (lines(ROWS[:1]).strip() + b",", "not JSON: "),
    ],
)
def test_malformed_row_stops_the_run(paths, capsys, line, complaint):
    """The error for a malformed row has file, line and hint, and nothing is written."""
    source, target = paths
    source.write_bytes(lines(ROWS * 50) + b"\n" + line + b"\n" + lines(ROWS))
    assert convert(*paths) == 2
    message, hint = capsys.readouterr().err.splitlines()
    assert message.startswith(f"error: {source}:102: {complaint}")
    assert hint.startswith("hint: ")
    assert os.listdir(target.parent) == ["in.jsonl"]


def test_a_sharegpt_file_is_checked_and_stays_as_it_is(paths):
    """Converting a file twice gives the same file, and rows of both formats may be mixed."""
    source, target = paths
    source.write_bytes(lines([CONVERTED[0], ROWS[1]]))
    assert convert(*paths) == 0
    assert target.read_bytes() == lines(CONVERTED)
    assert convert(target, target.with_name("again.jsonl")) == 0
    assert target.with_name("again.jsonl").read_bytes() == target.read_bytes()


def test_reasoning_is_left_out_and_counted(paths, capsys):
    """An answer is written without its reasoning, and the summary says how many answers had some."""
    source, target = paths
    thought = {"role": "assistant", "content": "<think>They greet me.</think>\nAye."}
    source.write_bytes(lines([{**ROWS[0], "messages": [ROWS[0]["messages"][0], thought]}, ROWS[1]]))
    assert convert(*paths) == 0
    assert target.read_bytes() == lines(CONVERTED)
    assert "; answers with reasoning, which was left out: 1\n" in capsys.readouterr().err


def test_large_integers_are_kept_exactly(paths):
    """An integer beyond 64 bits is written with all its digits."""
    source, target = paths
    source.write_bytes(lines([{**ROWS[0], "meta": {"id": 2**128 - 1, "low": -(2**70)}}]))
    assert convert(*paths) == 0
    assert b'"meta":{"id":340282366920938463463374607431768211455,"low":-1180591620717411303424}' in target.read_bytes()


def test_a_json_array_is_named(paths, capsys):
    """For a JSON array or an object over several lines, the hint says how to make JSON Lines, also with --skip-bad."""
    for content in (json.dumps(ROWS), json.dumps(ROWS, indent=2)):
        paths[0].write_text(content)
        assert convert(*paths) == 2
        assert "This is one JSON array, not JSON Lines" in capsys.readouterr().err
    paths[0].write_text(json.dumps(ROWS[0], indent=2))
    assert convert(*paths) == 2
    assert "jq -c . FILE" in capsys.readouterr().err
    assert convert(*paths, "--skip-bad") == 2
    assert "rows can be converted (line 1: not JSON: '{' (column 2))" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--skip-bad"]])
def test_a_compressed_file_is_named(paths, capsys, flags):
    """A gzip file is not a malformed row: the run stops and says how to unpack it, also on stdin."""
    paths[0].write_bytes(gzip.compress(lines(ROWS)))
    assert convert(*paths, *flags) == 2
    assert f"hint: Unpack it first, for instance with: gunzip {paths[0]}" in capsys.readouterr().err
    done = in_shell("--input", "-", "--output", "-", *flags, input=gzip.compress(lines(ROWS)))
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"error: stdin: it is gzip-compressed, not UTF-8 text" in done.stderr


def test_rejected_answers_of_the_generator_are_not_touched(paths):
    """Malformed rows never replace or delete OUTPUT.rejected.jsonl, which may hold answers that were paid for."""
    source, target = paths
    paid = target.with_name(f"{target.name}.rejected.jsonl")
    paid.write_text('{"gate":"thin"}\n')
    source.write_bytes(b"hallo\n" + lines(ROWS))
    for flags in (["--skip-bad"], ["--skip-bad", "--overwrite"]):
        assert convert(*paths, *flags) == 0
        source.write_bytes(lines(ROWS))
        assert paid.read_text() == '{"gate":"thin"}\n'


def test_another_file_in_the_place_of_the_malformed_rows_is_kept(paths, capsys):
    """--overwrite replaces malformed rows of an earlier run, but no other file, and never the input."""
    target = paths[1]
    other = target.with_name(f"{target.name}.malformed.jsonl")
    other.write_bytes(lines(ROWS))
    assert convert(*paths, "--skip-bad", "--overwrite") == 2
    assert "is not a file of malformed rows" in capsys.readouterr().err
    assert convert(other, target, "--skip-bad", "--overwrite") == 2
    assert "is the input itself" in capsys.readouterr().err
    assert other.read_bytes() == lines(ROWS)


def test_bad_rows_can_be_skipped(paths, capsys):
    """--skip-bad converts the valid rows and writes the others, with line number and error, to a separate file."""
    source, target = paths
    source.write_bytes(b"hallo\n" + lines(ROWS) + b'{"messages": []}\n\xff\n')
    assert convert(*paths, "--skip-bad") == 0
    assert target.read_bytes() == lines(CONVERTED)
    rejected = [row for _, row in jsonl.read_jsonl(f"{target}.malformed.jsonl")]
    assert [row["line"] for row in rejected] == [1, 4, 5]
    assert rejected[0] == {"line": 1, "reason": "not JSON: 'hallo' (column 1)", "text": "hallo"}
    assert "messages must be a list" in rejected[1]["reason"]
    assert capsys.readouterr().err.endswith(f"; 3 malformed rows in {target}.malformed.jsonl\n")


def test_no_rejected_file_without_bad_rows(paths):
    """If no row is invalid, --skip-bad writes one file and deletes the malformed rows of an earlier run."""
    target = paths[1]
    assert convert(*paths, "--skip-bad") == 0
    assert sorted(os.listdir(target.parent)) == ["in.jsonl", "out.jsonl"]
    Path(f"{target}.malformed.jsonl").write_text('{"line":1}\n')
    assert convert(*paths, "--skip-bad", "--overwrite") == 0
    kept = ["out.jsonl.bak", "out.jsonl.malformed.jsonl.bak"]
    assert sorted(os.listdir(target.parent)) == ["in.jsonl", "out.jsonl", *kept]


def test_what_is_replaced_is_kept(paths, capsys):
    """--overwrite copies the old output first, and never over an earlier copy; an error makes no copy."""
    target = paths[1]
    for text in ("corrected by hand\n", "corrected again\n"):
        target.write_text(text)
        assert convert(*paths, "--overwrite") == 0
    assert Path(f"{target}.bak").read_text() == "corrected by hand\n"
    assert Path(f"{target}.bak.2").read_text() == "corrected again\n"
    assert f"the old file is kept in {target}.bak.2" in capsys.readouterr().err
    paths[0].write_bytes(b"hallo\n")
    assert convert(*paths, "--overwrite") == 2
    assert sorted(os.listdir(target.parent)) == ["in.jsonl", "out.jsonl", "out.jsonl.bak", "out.jsonl.bak.2"]


def test_file_of_bad_rows_only_is_refused(paths, capsys):
    """With --skip-bad, a file without a valid row is an error, and neither a file nor a folder is left."""
    paths[0].write_bytes(b"hallo\nfit like\n")
    assert convert(*paths, "--skip-bad") == 2
    assert "in.jsonl: none of 2 rows can be converted (line 1: not JSON: 'hallo' (column 1))" in capsys.readouterr().err
    assert convert(paths[0], paths[1].parent / "new" / "deeper" / "out.jsonl", "--skip-bad") == 2
    assert os.listdir(paths[1].parent) == ["in.jsonl"]


def test_existing_output_is_kept_unless_told(paths, capsys):
    """An existing file is replaced with --overwrite, and is not changed without it."""
    target = paths[1]
    target.write_text("mine")
    assert convert(*paths) == 2
    assert "hint: Give --overwrite" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert convert(*paths, "--overwrite") == 0
    assert target.read_bytes() == lines(CONVERTED)
    Path(f"{target}.malformed.jsonl").write_text('{"line":1}\n')
    target.unlink()
    assert convert(*paths, "--skip-bad") == 2


def test_failed_overwrite_keeps_the_old_output(paths):
    """If the run fails before its end, the old output does not change, and no temporary file is left."""
    source, target = paths
    target.write_text("mine")
    source.write_bytes(lines(ROWS) + b"hallo\n")
    assert convert(*paths, "--overwrite") == 2
    assert target.read_text() == "mine"
    assert sorted(os.listdir(target.parent)) == ["in.jsonl", "out.jsonl"]


@pytest.mark.parametrize("flags", [[], ["--overwrite"], ["--overwrite", "--skip-bad"]])
def test_input_is_never_the_output(paths, capsys, flags):
    """If input and output are the same file under two names, the run is refused with any flags."""
    source, target = paths
    target.symlink_to(source)
    assert convert(source, target, *flags) == 2
    assert "is the input itself" in capsys.readouterr().err
    assert source.read_bytes() == lines(ROWS)


@pytest.mark.parametrize(
    ("source", "target", "complaint"),
    [
        ("none.jsonl", "out.jsonl", "none.jsonl: cannot be read: there is no such file"),
        (".", "out.jsonl", ".: cannot be read: it is a directory"),
        ("empty.jsonl", "out.jsonl", "empty.jsonl: the file is empty"),
        ("blank.jsonl", "out.jsonl", "blank.jsonl: the file is empty"),
        ("in.jsonl", ".", ".: cannot be written: it is a directory"),
        ("in.jsonl", "in.jsonl/out.jsonl", "cannot be written: a part of its path is a file"),
        ("in.jsonl", "/proc/out.jsonl", "/proc/out.jsonl: cannot be written: "),
        ("in.jsonl", "/dev/full", "/dev/full: cannot be written: the disk is full"),
    ],
)
def test_bad_paths_are_one_line_each(paths, capsys, monkeypatch, source, target, complaint):
    """A wrong path gives one line with a hint and exit status 2, and no file is left."""
    folder = paths[0].parent
    monkeypatch.chdir(folder)
    Path("empty.jsonl").touch()
    Path("blank.jsonl").write_text("\n \n")
    before = sorted(os.listdir())
    assert convert(source, target) == 2
    message, hint = capsys.readouterr().err.splitlines()
    assert complaint in message
    assert hint.startswith("hint: ")
    assert sorted(os.listdir()) == before


def test_disk_that_fills_up_leaves_nothing(paths, capsys):
    """If the disk is full, the output is deleted."""
    source, target = paths
    source.write_bytes(lines(ROWS) * 2000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        assert convert(*paths) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert f"{target}: cannot be written: the file would exceed the size limit" in capsys.readouterr().err
    assert os.listdir(target.parent) == ["in.jsonl"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_full_stdout_is_one_line(paths):
    """If stdout goes to a full disk, the run ends with one line and a hint, without a traceback."""
    with open("/dev/full", "wb") as full:
        done = in_shell("--input", paths[0], "--output", "-", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[0] == "error: stdout: cannot be written: the disk is full"


def test_reader_that_goes_away_is_one_line(paths):
    """`| head` ends the run without a traceback."""
    paths[0].write_bytes(lines(ROWS) * 20_000)
    with subprocess.Popen(
        [sys.executable, SCRIPT, "--input", paths[0], "--output", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        run.stdout.readline()
        run.stdout.close()
        told = run.stderr.read().decode()
    assert run.returncode == 2
    assert told == "error: stdout: cannot be written: the program that reads it has ended\n"


def test_interrupt_leaves_nothing(paths):
    """Ctrl-C gives exit status 130 and deletes the temporary file."""
    source, target = paths
    os.mkfifo(source.with_name("pipe"))
    flags = ["--input", source.with_name("pipe"), "--output", target]
    with subprocess.Popen([sys.executable, SCRIPT, *flags], stderr=subprocess.PIPE) as run:
        with open(source.with_name("pipe"), "wb") as pipe:
            pipe.write(lines(ROWS) * 1000)
            pipe.flush()
            while not list(target.parent.glob(".out.jsonl.*")):
                pass
            run.send_signal(signal.SIGINT)
            try:
                while run.poll() is None:
                    pipe.write(lines(ROWS) * 1000)
            except BrokenPipeError:
                pass
        told = run.stderr.read()
    assert (run.returncode, told) == (130, b"")
    assert sorted(os.listdir(target.parent)) == ["in.jsonl", "pipe"]


def test_a_million_characters_in_a_row(paths):
    """A very long row is converted like any other row."""
    source, target = paths
    row = {"messages": said("x" * 10**6)}
    source.write_text(json.dumps(row))
    assert convert(*paths) == 0
    assert len(target.read_bytes()) > 10**6


def test_row_nested_too_deep_is_refused_by_its_line(paths, capsys):
    """A row that can be read but cannot be written is malformed."""
    pytest.importorskip("orjson")
    levels = 1_010  # orjson reads up to 1,024 nested levels and writes up to 254
    deep = lines(ROWS[:1]).strip()[:-2] + b',"deep":' + b"[" * levels + b"]" * levels + b"}}\n"
    paths[0].write_bytes(lines(ROWS) + deep)
    assert convert(*paths) == 2
    assert f"{paths[0]}:3: this cannot be written as JSON" in capsys.readouterr().err


def test_held_out_prompts_are_dropped_and_listed(paths, capsys):
    """If any turn of a chat matches an evaluation prompt, only that chat is dropped, counted and listed."""
    source, target = paths
    first, second = [held for held in held_out_prompts() if held.bucket == "core"][:2]
    talks = [["Fit like?"], [first.prompt], ["Fit like?", second.prompt.upper()]]
    rows = [{"messages": [turn for text in talk for turn in said(text)]} for talk in talks]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["--input", str(source), "--output", str(target)]) == 0
    assert len(target.read_text().splitlines()) == 1
    assert f"2 dropped because they match an evaluation prompt ({first.id}, {second.id})" in capsys.readouterr().err
    assert main(["--input", str(source), "--output", str(target), "--overwrite", "--no-guard"]) == 0
    assert len(target.read_text().splitlines()) == 3
