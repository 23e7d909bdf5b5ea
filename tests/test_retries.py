"""What a simulated weak model makes of the reasons of rejections."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "retries.py"


def test_answers_that_are_told_all_faults_need_fewer_tries():
    """Told all faults by name, each authored weak answer is accepted by the second try; told the first, 5 never."""
    done = subprocess.run([sys.executable, SCRIPT, "--json"], capture_output=True, text=True, check=True)
    counts = json.loads(done.stdout)
    assert set(counts["all faults"]) == {"1", "2"}
    assert counts["first fault"]["0"] == 5
