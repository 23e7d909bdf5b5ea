"""The generator's --check: what would stop a run is found before anything is paid, and whether a row is left."""

import fcntl
import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

import generate_doric_dataset as script
from doric.core import cli
from mock_server import Behaviour, serving

FLAGS = ("--topics", "topics.txt", "--out", "out.jsonl", "--n-per-topic", "2", "--no-progress")
OFFLINE = (*FLAGS, "--backend", "heuristic")
SERVER = ("--base-url", "https://teacher.example/v1", "--model", "acme/teacher")
OUT, REJECTED, PLAN = Path("out.jsonl"), Path("out.jsonl.rejected.jsonl"), Path("out.jsonl.plan.json")


@pytest.fixture(autouse=True)
def here(ten_topics):
    """A folder with ten topics, without a key, a URL or a `.env`."""
    return ten_topics


def files() -> dict[str, bytes]:
    """The files of the folder with their content."""
    return {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}


def begun(*more: str, left: int = 5) -> None:
    """A run of the embedded voice that was stopped: the last rows are missing."""
    assert script.main([*OFFLINE, *more]) == 0
    OUT.write_bytes(b"".join(OUT.read_bytes().splitlines(keepends=True)[:-left]))


def change(path: Path, line: int, text: str) -> None:
    """Another line in a file."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else [""]
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n", "utf-8")


def test_a_dataset_with_all_its_rows_is_told_by_the_exit_status():
    """Without a row to write, --check ends with status 3, whatever it prints; with rows to write, with 0."""
    assert script.main([*OFFLINE, "--check"]) == 0
    assert script.main(OFFLINE) == 0
    assert script.main([*OFFLINE, "--check"]) == cli.NOTHING_LEFT == 3
    assert script.main([*OFFLINE, "--dry-run"]) == 0


@pytest.mark.parametrize("end", [b"\n\n", b'{"messages":[{"ro'])
def test_a_line_that_is_no_row_is_not_counted(end, capsys):
    """A blank line, and a last line that a crash has cut, do not make a dataset complete."""
    begun(left=1)
    OUT.write_bytes(OUT.read_bytes() + end)
    before = files()
    assert script.main([*OFFLINE, "--check"]) == 0
    assert files() == before
    assert script.main(OFFLINE) == 0
    assert script.main([*OFFLINE, "--check"]) == cli.NOTHING_LEFT


def test_a_check_asks_for_no_prices(capsys):
    """--dry-run says how to give a price that is not known; --check is also for servers that are paid per hour."""
    assert script.main([*FLAGS, *SERVER, "--dry-run"]) == 0
    assert "--price-in" in capsys.readouterr().out
    assert script.main([*FLAGS, *SERVER, "--check"]) == 0
    assert "--price-in" not in capsys.readouterr().out


NAMES = ("id", "kind", "group", "topic", "prompt", "answer", "gate", "reason")
"""The fields of a rejection that are texts."""
REFUSALS = {
    "a row of another program": (lambda: change(OUT, 3, '{"messages": []}'), "out.jsonl:3: the generator did not"),
    "half a row": (lambda: change(OUT, 3, OUT.read_text("utf-8").splitlines()[2][:40]), "out.jsonl:3: "),
    "a row twice": (
        lambda: change(OUT, 3, OUT.read_text("utf-8").splitlines()[1]),
        "out.jsonl:3: an earlier line has the same id",
    ),
    "a row of no job": (
        lambda: change(OUT, 3, OUT.read_text("utf-8").splitlines()[2].replace('"topic":"', '"topic":"x')),
        "out.jsonl:3: the plan of this run has no row with the id",
    ),
    "no JSON at all": (lambda: change(OUT, 1, "id,text"), "out.jsonl:1: "),
    "a rejection of another program": (lambda: change(REJECTED, 1, "{}"), "out.jsonl.rejected.jsonl:1: the generator"),
    "a rejection with a list as its try": (
        lambda: change(REJECTED, 1, json.dumps(dict.fromkeys(NAMES, "x") | {"try": [1]})),
        "out.jsonl.rejected.jsonl:1: the generator",
    ),
    "a folder of rejections": (lambda: (REJECTED.unlink(missing_ok=True), REJECTED.mkdir()), "it is a directory"),
    "another plan": (lambda: change(Path("topics.txt"), 1, "haein a blether"), "was started with another plan ("),
    "no plan": (PLAN.unlink, "out.jsonl.plan.json is missing"),
    "a damaged plan": (lambda: PLAN.write_text("[]"), "out.jsonl.plan.json: not a JSON object"),
    "a folder as plan": (lambda: (PLAN.unlink(), PLAN.mkdir()), "the plan of the run goes there, but it is a folder"),
    "no topics": (Path("topics.txt").unlink, "topics.txt"),
}
"""What is wrong -> how it comes about, and what the error says."""


@pytest.mark.parametrize("what", REFUSALS)
def test_what_a_run_refuses_at_its_start_is_found_and_nothing_is_changed(what, capsys):
    """The error of --check is that of the run, with exit status 2, and no file is changed."""
    spoil, said = REFUSALS[what]
    begun()
    spoil()
    before = files()
    capsys.readouterr()
    assert script.main([*OFFLINE, "--check"]) == 2
    checked = capsys.readouterr()
    assert said in checked.err
    assert checked.out == ""
    assert script.main(OFFLINE) == 2
    assert capsys.readouterr().err == checked.err
    assert files() == before


def test_a_file_of_another_run_and_a_full_disk_are_found(monkeypatch, capsys):
    """A lock on the rows or on the rejections, and a disk without space for the missing rows or the copies."""
    begun()
    REJECTED.touch()
    for path in (OUT, REJECTED):
        with path.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert script.main([*OFFLINE, "--check"]) == 2
            assert f"{path}: another run is writing this file" in capsys.readouterr().err
    disk = namedtuple("disk", "total used free")
    for free, flags, status in ((2499, (), 2), (2500, (), 0), (5000, ("--overwrite",), 2)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: disk(10**9, 0, free))
        assert script.main([*OFFLINE, *flags, "--check"]) == status
        assert ("the disk is full" in capsys.readouterr().err) == (status == 2)


def test_rows_without_a_try_left_are_found(capsys):
    """If each missing row has used up its tries, a run would ask nothing, so --check is an error with a remedy."""
    begun("--max-tries", "60", left=1)
    row = json.loads(OUT.read_bytes().splitlines()[0])
    OUT.write_bytes(b"".join(OUT.read_bytes().splitlines(keepends=True)[1:]))
    entry = {"id": row["meta"]["id"], "answer": "no", "gate": "few_words", "reason": "x", "prompt": "", "try": 1}
    entry |= {key: row["meta"][key] for key in ("kind", "group", "topic")}
    entry["prompt"] = row["messages"][0]["content"]
    assert script.main([*OFFLINE, "--max-tries", "1"]) == 0  # the last row again
    rows = [line for line in OUT.read_bytes().splitlines(keepends=True) if row["meta"]["id"].encode() not in line]
    OUT.write_bytes(b"".join(rows))
    REJECTED.write_text(json.dumps(entry) + "\n", "utf-8")
    capsys.readouterr()
    assert script.main([*OFFLINE, "--max-tries", "1", "--check"]) == 2
    assert "out.jsonl: the missing row has no try left of --max-tries 1\nhint: Give a higher" in capsys.readouterr().err
    assert script.main([*OFFLINE, "--max-tries", "2", "--check"]) == 0


def test_what_the_client_needs_is_found(monkeypatch, capsys):
    """Certificates that cannot be read stop a run before its first call, so --check finds them without a call."""
    monkeypatch.setenv("SSL_CERT_FILE", "nowhere.pem")
    assert script.main([*FLAGS, *SERVER, "--check"]) == 2
    assert "nowhere.pem" in capsys.readouterr().err


def test_a_judge_that_cannot_be_reached_is_found(capsys):
    """The server of a judge is asked for its models, if it is another one than the writer's, which may not run yet."""
    with serving(Behaviour()) as server:
        judge = ("--judge-model", "mock-judge", "--judge-base-url", server.url)
        assert script.main([*FLAGS, *SERVER, *judge, "--check"]) == 0
        assert server.stats.requests == 0
    assert script.main([*FLAGS, *SERVER, *judge, "--check"]) == 2
    assert "the judge: " in capsys.readouterr().err
    assert script.main([*FLAGS, *SERVER, "--judge-model", "acme/teacher", "--check"]) == 0
