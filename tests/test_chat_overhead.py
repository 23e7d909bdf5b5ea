"""The benchmark of the chat: it measures the conversation itself, beside curl, in one run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "chat_overhead.py"


@pytest.mark.skipif(not shutil.which("curl"), reason="compares with curl")
def test_every_figure_is_measured():
    """A short run ends well and prints a figure for each promise: prompt, first token, each token, CPU."""
    done = subprocess.run(
        [sys.executable, BENCHMARK, "--tokens", "40", "--runs", "1"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    for figure in (
        r"prompt ready +\d",
        r"first token +\d.*curl \d",
        r"each token is late +-?\d.*curl",
        r"CPU, 40 .*curl \d",
    ):
        assert re.search(figure, done.stdout), done.stdout
