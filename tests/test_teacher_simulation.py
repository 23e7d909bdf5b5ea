"""The benchmark that simulates N GPU servers behind one address."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import load_script

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "teacher_simulation.py"


def test_a_short_simulation_counts_each_answer_once():
    """Every answer becomes a row or a rejection, with one and with two clients, on a plan of a million rows."""
    done = subprocess.run([sys.executable, BENCHMARK, "--quick", "--json"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [run["clients"] for run in result["runs"]] == [1, 2]
    for run in result["runs"]:
        assert run["planned"] >= 1_000_000
        assert run["rows"] > 0
        assert run["rows"] + run["rejected"] == run["answered"]
        assert 0 < run["slots_in_use"] <= 1
        assert 0 < run["most_in_flight"] <= 32
        assert run["client_cpu_ms"] > 0
        assert run["client_mb"] > 0
    limit = result["limit"]
    assert limit["servers"] * limit["full_rate"] == pytest.approx(limit["calls_per_second"])


@pytest.mark.parametrize("name", ["h100-8b", "b200x2-30b", "l4-0.5b"])
def test_a_full_server_answers_faster_with_more_slots_but_each_answer_takes_longer(name):
    """The published speeds are those of continuous batching: twice the slots give more calls, but not twice as many."""
    speed = load_script(BENCHMARK).SPEEDS[name]
    few, many = speed.full_rate(16, 95), speed.full_rate(32, 95)
    assert few < many < 2 * few
