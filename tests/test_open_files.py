"""The limit of open files, which many calls at once could exceed."""

import subprocess
import sys

import pytest

from doric.core.errors import SettingsError
from doric.llm import open_files
from mock_server import ROOT, Behaviour, DoricAnswers, serving

resource = pytest.importorskip("resource", reason="Windows has no such limit")
GENERATOR = ROOT / "dataset_generation" / "generate_doric_dataset.py"


@pytest.fixture
def limits(monkeypatch):
    """A pretended limit: [soft, hard], and the highest that the system accepts."""
    values = [256, 4096, 10**6]

    def change(_kind: int, pair: tuple[int, int]) -> None:
        if pair[0] > values[2] or (values[1] != resource.RLIM_INFINITY and pair[0] > values[1]):
            raise ValueError("current limit exceeds maximum limit")
        values[0] = pair[0]

    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (values[0], values[1]))
    monkeypatch.setattr(resource, "setrlimit", change)
    return values


@pytest.mark.parametrize(
    ("soft", "hard", "most", "calls", "after"),
    [
        (1024, 4096, 10**6, 50, 1024),  # enough: unchanged
        (256, 4096, 10**6, 256, 612),  # four containers on macOS, with room for a judge
        (1024, 1500, 10**6, 1024, 1500),  # room for the calls, and as much of the judge's as there is
        (1024, resource.RLIM_INFINITY, 10**6, 1024, 2148),
        (1024, resource.RLIM_INFINITY, 1200, 1024, 1124),  # macOS: no hard limit, but another one
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 10**6, 10**5, resource.RLIM_INFINITY),
        (1150, 1200, 1150, 1024, 1150),  # a limit that cannot be raised, but is enough
    ],
)
def test_the_limit_is_raised_only_as_far_as_the_calls_need(limits, soft, hard, most, calls, after):
    """The limit has room for all calls, twice if it can, and is never lowered."""
    limits[:] = [soft, hard, most]
    open_files.allow_connections(calls)
    assert limits[0] == after


@pytest.mark.parametrize(("soft", "hard", "most"), [(256, 1000, 10**6), (1000, 1000, 10**6), (256, -1, 512)])
def test_a_hard_limit_that_is_too_low_is_one_clear_error(limits, soft, hard, most):
    """If the system does not allow so many connections, the message says how many files it allows."""
    limits[:] = [soft, hard, most]
    with pytest.raises(SettingsError, match=r"1,024 calls at once need 1,124 open files, and this machine allows"):
        open_files.allow_connections(1024)


def generate(tmp_path, url: str, limit: str) -> "subprocess.CompletedProcess[str]":
    """Run the generator for 140 rows with 70 calls at once, after lowering the limit of open files."""
    topics = [f"keeping {number} hens" for number in range(70)]
    (tmp_path / "topics.txt").write_text("\n".join(topics), "utf-8")
    start = f"import os, resource as r, sys; r.setrlimit(r.RLIMIT_NOFILE, {limit}); os.execv(sys.argv[1], sys.argv[1:])"
    flags = ["--topics", "topics.txt", "--out", "out.jsonl", "--n-per-topic", "1", "--ask-mix", "none"]
    flags += ["--base-url", url, "--model", "mock-doric", "--max-concurrency", "70", "--no-progress"]
    command = [sys.executable, "-c", start, sys.executable, str(GENERATOR), *flags]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)


def test_the_generator_makes_more_calls_at_once_than_the_usual_limit_allows(tmp_path):
    """With a limit of 64 open files, a run with 70 calls at once gets every row."""
    with serving(Behaviour(latency=1.0), answer=DoricAnswers(prepared=70)) as server:
        done = generate(tmp_path, server.url, "(64, r.getrlimit(r.RLIMIT_NOFILE)[1])")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.jsonl").read_bytes().count(b"\n") == 70


def test_a_hard_limit_stops_the_generator_before_the_first_call(tmp_path):
    """With a hard limit of 64 open files, 70 calls at once are refused in two lines, and nothing is paid."""
    with serving() as server:
        done = generate(tmp_path, server.url, "(64, 64)")
    assert done.returncode == 2, done.stderr
    assert "70 calls at once need 170 open files, and this machine allows 64" in done.stderr
    assert "Traceback" not in done.stderr
    assert server.stats.requests == 0
