"""The benchmark of the chat, which compares a conversation with curl."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "chat_overhead.py"


@pytest.mark.skipif(not shutil.which("curl"), reason="compares with curl")
def test_every_figure_is_measured():
    """A short run succeeds and prints figures for the prompt, the first token, each token and CPU time."""
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
