"""--help of each script: it must be fast and show how to run the script."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "dataset_generation").glob("*.py"))
FOLDERS = ("dataset_generation", "validation", "finetune_notebook", "modal", "benchmarks")
BUDGET = 0.25
"""The CPU time in seconds that --help may take."""


def has_own_flags(script):
    """Whether a script reads the command line when Python runs it, and not only when Modal does."""
    text = script.read_text("utf-8")
    return "Parser(" in text and "__main__" in text and script.name != "run_notebook.py"  # that needs no package


def cpu(script):
    """The CPU time in seconds (user and system) of a child process that prints --help."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, script, "--help"], check=True, capture_output=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_is_fast(script):
    """The fastest of three runs needs less than a quarter of a second of CPU time, even on a busy machine."""
    assert min(cpu(script) for _ in range(3)) < BUDGET


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_shows_the_line_that_runs_it(script):
    """--help has exactly one `uv run` line with the script's name, and a narrow terminal does not break the line."""
    done = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, cwd=ROOT, env=os.environ | {"COLUMNS": "60"}
    )
    assert done.returncode == 0
    assert done.stderr == ""
    command = re.compile(rf"uv run (--with \S+ )?python dataset_generation/{re.escape(script.name)}( |$)")
    assert sum(command.match(line.strip()) is not None for line in done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    "script",
    [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py")) if has_own_flags(path)],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_version_is_shown(script):
    """--version prints the versions of the project and of Python, and nothing else is done."""
    done = subprocess.run([sys.executable, script, "--version"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert re.fullmatch(r"doric \d+\.\d+\.\d+, Python 3\.\d+\.\S+, \w+\n", done.stdout)


def test_the_three_scripts_are_there():
    """Topics, dataset and conversion each have exactly one script."""
    assert {"generate_topics_via_llm", "generate_doric_dataset", "transform_to_sharegpt"} <= {
        one.stem for one in SCRIPTS
    }
