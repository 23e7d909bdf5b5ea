"""The notebook, run from start to end without a browser."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import load_script

SCRIPT = Path(__file__).parents[1] / "finetune_notebook" / "run_notebook.py"
QUICK = {"MAX_STEPS": 3, "MAX_ROWS": 600, "HELD_OUT_ROWS": 8, "PROMPTS_PER_BUCKET": 1, "MAX_NEW_TOKENS": 24}
QUICK |= {
    "METHOD": "lora",
    "LEARNING_RATE": 0.005,
    "WARMUP": 0,
}  # with fewer steps, the change would not exceed rounding errors


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    return load_script(SCRIPT)


def run(folder, settings):
    """Run the notebook in `folder` with these settings. Returns the finished process."""
    pytest.importorskip("trl", reason="the notebook needs `uv sync --group finetune`")
    given = [f"--set={name}={value}" for name, value in {"RUNS_FOLDER": folder, "RUN_NAME": "test", **settings}.items()]
    command = [sys.executable, str(SCRIPT), *given, "--out", str(folder / "done.ipynb")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # see the fixture one_thread
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(
    ("text", "value"),
    [("X=3", 3), ("X=0.5", 0.5), ("X=false", False), ("X=True", True), ("X=a/b", "a/b"), ("X='3'", "3"), ("X=", "")],
)
def test_setting_is_parsed_by_its_form(script, text, value):
    """Numbers, booleans and quoted strings are parsed, and everything else is text."""
    assert script.setting(text) == ("X", value)


def test_help_needs_no_other_package():
    """--help needs only the standard library."""
    done = subprocess.run([sys.executable, "-S", str(SCRIPT), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "run_notebook.py --set MAX_STEPS=170" in done.stdout


def test_three_steps_run_every_cell(shallow_smollm2, tmp_path):
    """A run with three steps passes every check, saves every model format and writes the page."""
    done = run(tmp_path, {**QUICK, "BASE_MODEL": shallow_smollm2, "DATA_PATH": tmp_path / "doric_sharegpt.jsonl"})
    assert done.returncode == 0, done.stderr[-3000:]
    cells = json.loads((tmp_path / "done.ipynb").read_text("utf-8"))["cells"]
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    shown = json.dumps([cell.get("outputs", []) for cell in cells])
    assert "prompts shared by train and test" in shown
    assert "FAIL" not in shown
    assert shown.count('"name": "stderr"') == 0
    saved = tmp_path / "test" / "export"
    assert (saved / "adapter" / "adapter_model.safetensors").is_file()
    assert (saved / "merged" / "model.safetensors").is_file()
    assert "license: " in (saved / "merged" / "README.md").read_text("utf-8")
    assert (saved / "doric-q8_0.gguf").is_file() or "There is no GGUF file" in shown
    page = (tmp_path / "done.html").read_text("utf-8")
    assert page.count("<h1") == 1
    assert "prefers-color-scheme: dark" in page
    assert page.count('role="img"') >= 8
    assert "https://colab" not in page


def test_failed_check_prints_an_error_and_a_hint(shallow_smollm2, tmp_path):
    """A wrong role in the data stops the run with exit status 2, an error with the cell's title, and a hint."""
    row = {"conversations": [{"from": "human", "value": "Fit like?"}, {"from": "bot", "value": "Nae bad."}]}
    (tmp_path / "bad.jsonl").write_text(json.dumps(row), "utf-8")
    done = run(tmp_path, {**QUICK, "BASE_MODEL": shallow_smollm2, "DATA_PATH": tmp_path / "bad.jsonl"})
    assert done.returncode == 2
    error, hint = done.stderr.strip().splitlines()[-2:]
    assert error.startswith("error: Read the rows and show the first one. bad.jsonl:1:")
    assert "'bot'" in error
    assert hint.startswith("hint: ")
    assert "What to do:" in (tmp_path / "done.html").read_text("utf-8")


def test_unknown_setting_is_refused(tmp_path):
    """A misspelt setting is refused at the start, and the hint has the correct name."""
    done = run(tmp_path, {"MAX_STEP": 3, "BASE_MODEL": tmp_path})
    assert done.returncode == 2
    assert "There is no setting MAX_STEP." in done.stderr
    assert "MAX_STEPS" in done.stderr.strip().splitlines()[-1]


def test_the_page_loads_no_badge(script):
    """On the page, a plain link replaces a linked image, and the notebook itself keeps the image."""
    nbformat = pytest.importorskip("nbformat")
    badge = "[![Open in Colab](https://example.org/badge.svg)](https://example.org/open)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(badge)])
    assert script.without_badges(notebook).cells[0].source == "[Open in Colab](https://example.org/open)"
    assert notebook.cells[0].source == badge


def test_missing_packages_give_a_hint(script, monkeypatch, capsys):
    """Without the finetune group, the script prints an error and the right command, without a traceback."""
    monkeypatch.setitem(sys.modules, "nbformat", None)
    assert script.main(["--set", "MAX_STEPS=1"]) == 2
    assert "hint: start it with: uv run --group finetune" in capsys.readouterr().err
