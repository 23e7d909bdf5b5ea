"""A mock server as a process of its own, which does not share the CPU time of a measured client.

Benchmarks load this file by its path (`runpy.run_path`), because only pytest has tests/ on its path.
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def mock_process(script: Path, *flags: object) -> Iterator[str]:
    """Run the script of a mock server until the end of the block. Yields its base URL, which is its first line."""
    with subprocess.Popen([sys.executable, script, *map(str, flags)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.stdout.read()


def stats(url: str) -> dict[str, Any]:
    """The statistics that the server at this base URL has counted."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as answer:
        return json.load(answer)
