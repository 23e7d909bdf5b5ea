"""All commands when their streams, their environment or the terminal are unusual: one line, no traceback."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from doric import data

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "check_doric": ["dataset_generation/check_doric.py", "--say", "Fit like the day, ma quine?"],
    "generate_doric_dataset": ["dataset_generation/generate_doric_dataset.py", "--dry-run", "--topics", "topics.txt"],
    "generate_topics_via_llm": [
        "dataset_generation/generate_topics_via_llm.py", "--input", "topics.json", "--output", "x.json", "--dry-run",
        "--base-url", "http://localhost:1/v1", "--model", "m",
    ],
    "report_dataset": ["dataset_generation/report_dataset.py", "--input", "{rows}", "--out", "{folder}/page.html"],
    "transform_to_sharegpt": ["dataset_generation/transform_to_sharegpt.py", "--input", "{rows}", "--output", "-"],
    "validate_model": ["validation/validate_model.py", "--help"],
    "chat_cli": ["modal/chat_cli.py", "--help"],
}  # fmt: skip
"""Command -> the flags of a short run that needs no server. All but report_dataset write to stdout."""
ROW = '{"messages":[{"role":"user","content":"Fit like?"},{"role":"assistant","content":"Nae bad the day."}]}\n'
WRITES = [name for name in COMMANDS if name != "report_dataset"]


@pytest.fixture
def door(tmp_path):
    """A function that runs a command in a shell with a redirection; the finished process."""
    (tmp_path / "rows.jsonl").write_text(ROW)

    def run(name, shell="", argv=None, **environ):
        flags = [part.format(rows=tmp_path / "rows.jsonl", folder=tmp_path) for part in argv or COMMANDS[name]]
        line = f'exec "$0" "$@" {shell}'
        clean = {key: value for key, value in os.environ.items() if key not in ("TERM", "PYTHONIOENCODING")}
        env = {key: value for key, value in (clean | environ).items() if value is not None}
        return subprocess.run(
            ["sh", "-c", line, sys.executable, *flags], cwd=ROOT, env=env, capture_output=True, timeout=120
        )

    return run


def one_error(done) -> str:
    """The only error line of a command that ended with exit status 2."""
    assert done.returncode == 2, done
    told = [line for line in done.stderr.decode().splitlines() if not line.startswith("No key and no base URL")]
    assert [line.partition(":")[0] for line in told] in (["error"], ["error", "hint"]), told
    return told[0]


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize(
    ("shell", "reason"), [("> /dev/full", "the disk is full"), (">&-", "it is closed")], ids=["full", "closed"]
)
def test_output_that_cannot_be_written_is_an_error(door, name, shell, reason):
    """If stdout is full or closed, the command ends with one error line and exit status 2."""
    assert one_error(door(name, shell)) == f"error: stdout: cannot be written: {reason}"


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("shell", ["> /dev/full", ">&-"])
def test_help_that_cannot_be_written_is_an_error(door, name, shell):
    """--help ends with one error line and exit status 2 if stdout cannot be written."""
    one_error(door(name, shell, [COMMANDS[name][0], "--help"]))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reader_of_help_may_leave(door, name):
    """`--help | head -1` prints one line and no message."""
    done = door(name, "| head -1", [COMMANDS[name][0], "--help"])
    assert done.returncode == 0
    assert done.stdout.startswith(b"usage: ")
    assert done.stderr == b""


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_is_an_error(door, name):
    """An unknown flag gives one error line and a hint."""
    done = door(name, "", [COMMANDS[name][0], "--zz", *COMMANDS[name][1:]])
    if "--help" not in COMMANDS[name]:
        assert "--zz" in one_error(done)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("shell", "environ"),
    [
        ("<&-", {}),
        ("", {"HOME": None}),
        ("", {"PYTHONIOENCODING": "latin-1"}),
        ("", {"PYTHONIOENCODING": "ascii"}),
        ("", {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        ("", {"TERM": "dumb", "COLUMNS": "20"}),
    ],
    ids=["no stdin", "no HOME", "latin-1", "ascii", "C", "dumb"],
)
def test_an_unusual_environment_changes_nothing(door, name, shell, environ):
    """Without stdin, HOME, UTF-8 or a terminal, a command does the same."""
    done = door(name, shell, **environ)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


ODD_NAMES = [b"two words", b"line\nbreak", b"not utf-8 \xff", "Łódź “x”".encode(), b"\x1b[31mred"]


@pytest.mark.parametrize("odd", ODD_NAMES, ids=repr)
def test_an_odd_file_name_is_read_and_named(tmp_path, odd):
    """A file name with spaces, line breaks, control characters or bytes that are not UTF-8 can be used."""
    rows = os.fsencode(tmp_path) + b"/" + odd + b".jsonl"
    Path(os.fsdecode(rows)).write_text(ROW)
    page, converted = rows + b".html", rows + b".out"
    for argv in (
        [b"dataset_generation/report_dataset.py", b"--input", rows, b"--out", page, b"--card", rows + b".md"],
        [b"dataset_generation/transform_to_sharegpt.py", b"--input", rows, b"--output", converted],
    ):
        done = subprocess.run([os.fsencode(sys.executable), *argv], cwd=ROOT, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert b"\x1b" not in done.stderr
    for script, flag in (("report_dataset", b"--out"), ("transform_to_sharegpt", b"--output")):
        argv = [f"dataset_generation/{script}.py".encode(), b"--input", rows + b".missing", flag, rows + b".x"]
        done = subprocess.run([os.fsencode(sys.executable), *argv], cwd=ROOT, capture_output=True, timeout=60)
        assert done.returncode == 2
        assert b"no such file" in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["report_dataset", "transform_to_sharegpt"])
def test_a_folder_that_cannot_be_written_is_an_error(door, tmp_path, name):
    """If the output's folder is a file, there is one error line that names the output."""
    (tmp_path / "file").touch()
    flag = "--out" if name == "report_dataset" else "--output"
    argv = [COMMANDS[name][0], "--input", "{rows}", flag, f"{tmp_path}/file/out.x"]
    assert f"{tmp_path}/file/out.x" in one_error(door(name, "", argv))


BROKEN = {
    "no quotation mark": ("phrases/health.toml", "", 'first = "no end\n', 1, "cannot read the file"),
    "no quotation mark in the gates": ("gates.toml", "", 'first = "no end\n', 1, "cannot read the file"),
    "a renamed key": ("prompts.toml", "tails = [", "tales = [", 0, "'tails' is missing"),
    "a renamed key of a list of tables": ("prompts.toml", "shapes = [", "shape = [", 38, "'shapes' is missing"),
    "a value of a wrong type": ("judge.toml", '["naturalness"', "[1", 3, "criteria"),
    "a word too many in a table": ("lexicon.tsv", "\nablow\t", "\nzz zz ne n\nablow\t", 0, "1 column instead of 7"),
    "an unknown class": ("lexicon.tsv", "\nablow\t", "\nzz\tzz\tdoric\tn\nablow\t", 0, "unknown class 'doric'"),
    "a weight in words": ("leakage.tsv", "\nabove\t", "\nzz\tzz\tmuch\nabove\t", 0, "the weight is 'much'"),
    "a number in words": ("asks/numbers.tsv", "\n2\t", "\ntwa\t", 3, "the number is 'twa'"),
    "half a line": ("heldout.jsonl", ', "prompt": "Someone', "", 2, "not valid JSON"),
    "a slot missing for the judge": ("judge.toml", "{first}\n", "\n", 0, "{first} is missing"),
    "a renamed column": ("central.tsv", "strength", "strenght", 1, "the first line must name the columns"),
}


@pytest.mark.parametrize(
    ("fault", "script"),
    [
        *((fault, "generate_doric_dataset") for fault in BROKEN),
        ("a renamed key", "generate_topics_via_llm"),
        ("an unknown class", "validate_model"),
        ("half a line", "transform_to_sharegpt"),
        ("half a line", "report_dataset"),
    ],
)
def test_language_data_that_cannot_be_used_is_one_line(tmp_path, fault, script):
    """What check_doric refuses in a file, each command refuses before it starts: one line with file and place."""
    name, old, new, line, reason = BROKEN[fault]
    folder = tmp_path / "data"
    shutil.copytree(str(data.FOLDER), folder)
    broken = folder / name
    assert old in broken.read_text("utf-8")
    broken.write_text(broken.read_text("utf-8").replace(old, new, 1), "utf-8")
    path = str(ROOT / ("validation" if script == "validate_model" else "dataset_generation") / f"{script}.py")
    argv = ["--n-per-topic", "1", "--backend", "heuristic", "--no-progress"]
    if script != "generate_doric_dataset":
        argv = ["--base-url", "http://127.0.0.1:9/v1", *(["--in-place"] if "topics" in script else [])]
    if script in ("transform_to_sharegpt", "report_dataset"):
        argv = ["--input", "rows.jsonl", *(["--output", "out.jsonl"] if "transform" in script else [])]
    code = (
        "import sys; from pathlib import Path; from doric import data; data.FOLDER = Path(sys.argv[1]);"
        f"sys.argv = ['x', *{argv!r}]; import runpy; runpy.run_path({path!r}, run_name='__main__')"
    )
    (tmp_path / "topics.json").write_text('{"a": ["reading the tide tables"]}', "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    error, hint = done.stderr.splitlines()
    assert re.search(rf"{name}{f':{line}' if line else r'(:\d+)?'}: ", error), error
    assert reason in error
    assert "check_doric.py" in hint


STDOUT = ("-", "/proc/self/fd/1")
"""Names of stdout; `is_stdout` knows more."""
GENERATE = [
    "dataset_generation/generate_doric_dataset.py", "--backend", "heuristic", "--n-per-topic", "1", "--no-progress",
    "--topics", "{folder}/topics.txt", "--out",
]  # fmt: skip


@pytest.mark.parametrize("out", STDOUT)
def test_the_generator_writes_to_stdout_under_any_name(door, tmp_path, out):
    """Rows go into a pipe, or into the file behind stdout, whose companions are beside it; no file gets an odd name."""
    (tmp_path / "topics.txt").write_text("sleeping well\n")
    piped = door("", "", [*GENERATE, out])
    assert (piped.returncode, piped.stdout.count(b"\n")) == (0, 1)
    done = door("", f"> {tmp_path}/out.jsonl", [*GENERATE, out])
    assert (done.returncode, (tmp_path / "out.jsonl").read_bytes()) == (0, piped.stdout)
    assert {path.name for path in tmp_path.iterdir()} - {"rows.jsonl", "topics.txt"} == {
        "out.jsonl", "out.jsonl.plan.json",
    }  # fmt: skip
    again = door("", f">> {tmp_path}/out.jsonl", [*GENERATE, out])
    assert (again.returncode, (tmp_path / "out.jsonl").read_bytes()) == (0, piped.stdout)
    assert not (ROOT / "-").exists()


@pytest.mark.parametrize("out", STDOUT)
def test_a_failed_run_keeps_the_file_behind_stdout(door, tmp_path, out):
    """The file that the shell has made for stdout is not removed when no row was written."""
    (tmp_path / "topics.txt").write_text("sleeping well\n")
    server = ["--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--backend", "openai"]
    done = door("", f"> {tmp_path}/out.jsonl", [*GENERATE, out, *server])
    assert done.returncode == 2
    assert (tmp_path / "out.jsonl").read_bytes() == b""


@pytest.mark.parametrize("out", STDOUT)
def test_the_converter_and_the_report_write_to_stdout_under_any_name(door, tmp_path, out):
    """The output is the same in a pipe and in a file, also if the shell has made the file."""
    for name, flag in (("transform_to_sharegpt", "--output"), ("report_dataset", "--out")):
        argv = [COMMANDS[name][0], "--input", "{rows}", flag, out]
        piped = door(name, "", argv)
        assert piped.returncode == 0, piped
        assert piped.stdout
        assert door(name, f"> {tmp_path}/{name}", argv).returncode == 0
        assert (tmp_path / name).read_bytes() == piped.stdout


def test_a_topic_list_does_not_go_to_stdout(door):
    """The widener writes its list again and again, so every name of a pipe on stdout is refused."""
    for out in STDOUT:
        argv = [
            out if part == "x.json" else part for part in COMMANDS["generate_topics_via_llm"] if part != "--dry-run"
        ]
        assert "it cannot go to" in one_error(door("", "", argv))
