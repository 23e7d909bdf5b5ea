"""orjson, rapidfuzz and tqdm are optional: without them the scripts write the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "dataset_generation"
OPTIONAL = ("orjson", "rapidfuzz", "tqdm")
# Python runs this code before the script. It hides the packages, as if they were not installed.
BLOCKER = f"""
import sys

class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent)
"""


@pytest.fixture(scope="module")
def lacking(tmp_path_factory):
    """An environment in which Python cannot find the three packages."""
    folder = tmp_path_factory.mktemp("lacking")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return os.environ | {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def topics(tmp_path_factory):
    """A short topic list with known topics, a new topic, and a topic in Japanese."""
    path = tmp_path_factory.mktemp("topics") / "topics.json"
    groups = json.loads((ROOT / "topics.json").read_text("utf-8"))["groups"]
    listed = {group: few[:2] for group, few in groups.items()}
    path.write_text(json.dumps({"groups": listed | {"own": ["the rules of underwater hockey", "日本語の話"]}}), "utf-8")
    return path


def run(script, *flags, environ=None, **settings):
    """Run a script until it ends. Its output is bytes."""
    argv = [sys.executable, str(SCRIPTS / script), *map(str, flags)]
    return subprocess.run(argv, env=environ, capture_output=True, timeout=120, **settings)


def generated(topics, folder, environ, *flags):
    """The exit status, the messages, and the bytes of each file, for a run in `folder`."""
    folder.mkdir()
    flags = ("--backend", "heuristic", "--topics-json", topics, "--n-per-topic", 12, "--out", "out.jsonl", *flags)
    done = run("generate_doric_dataset.py", *flags, environ=environ, cwd=folder)
    output = [line for line in done.stderr.splitlines() if b"rows/s" not in line]
    return done.returncode, output, {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def with_them(topics, tmp_path_factory):
    """What a run with the packages gives."""
    return generated(topics, tmp_path_factory.mktemp("made") / "with", None)


@pytest.mark.parametrize("name", OPTIONAL)
def test_the_packages_are_blocked(name, lacking):
    """With the blocker the package cannot be imported, and without the blocker it can."""
    probe = [sys.executable, "-c", f"import {name}"]
    assert b"ModuleNotFoundError" in subprocess.run(probe, env=lacking, capture_output=True).stderr
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip(f"{name} is not installed here either")


def test_the_generator_writes_the_same_bytes(topics, with_them, lacking, tmp_path):
    """Without the packages, rows, rejected answers (including near-duplicates), plan and summary are the same."""
    assert with_them == generated(topics, tmp_path / "without", lacking)
    status, _, files = with_them
    assert status == 0
    assert set(files) == {"out.jsonl", "out.jsonl.rejected.jsonl", "out.jsonl.plan.json"}


def test_similarities_are_the_same(topics, lacking, tmp_path):
    """Without the packages, similarity values are exactly the same, also for many similar answers per topic."""
    few = tmp_path / "few.json"
    few.write_text(json.dumps(["the rules of underwater hockey"]))
    with_them = generated(few, tmp_path / "with", None, "--n-per-topic", 300)
    assert len(with_them[2]["out.jsonl"].splitlines()) == 300
    assert with_them == generated(few, tmp_path / "without", lacking, "--n-per-topic", 300)


def test_a_run_can_start_with_them_and_resume_without(topics, with_them, lacking, tmp_path):
    """If a run starts with the packages and resumes without them, it writes the same files."""
    *_, whole = with_them
    folder = tmp_path / "halves"
    folder.mkdir()
    for name, content in whole.items():
        (folder / name).write_bytes(content)
    lines = whole["out.jsonl"].splitlines(keepends=True)
    (folder / "out.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))
    flags = ("--backend", "heuristic", "--topics-json", topics, "--n-per-topic", 12, "--out", "out.jsonl")
    assert run("generate_doric_dataset.py", *flags, environ=lacking, cwd=folder).returncode == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_conversion_writes_the_same_bytes(with_them, lacking, tmp_path):
    """Without the packages, the conversion to ShareGPT writes the same bytes, even if some rows are invalid."""
    rows = tmp_path / "rows.jsonl"
    odd = '{"messages": [{"role": "user", "content": "\\u00e9 \\ud83d\\ude00 \\u2028"}], "meta": {"x": [0.25, null]}}'
    bad = '{"messages": [{"role": "nobody", "content": 1}]}\n{"messages": \n"x"\n'
    rows.write_bytes(with_them[2]["out.jsonl"] + f"{odd}\n{bad}".encode())
    flags = ("--input", rows, "--output", "out.jsonl", "--skip-bad")
    results = []
    for name, environ in (("with", None), ("without", lacking)):
        (tmp_path / name).mkdir()
        done = run("transform_to_sharegpt.py", *flags, environ=environ, cwd=tmp_path / name)
        results.append((done.returncode, {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}))
        assert done.returncode in (0, 1), done.stderr
    assert results[0] == results[1]
    assert set(results[0][1]) == {"out.jsonl", "out.jsonl.malformed.jsonl"}


def test_an_invalid_row_gives_the_same_error(lacking, tmp_path):
    """If a row stops the conversion, the error is the same without the packages."""
    rows = tmp_path / "rows.jsonl"
    for text in (b'{"messages": [}\n', b"\xff\n", b'{"messages": []}\n', b"[1]\n"):
        rows.write_bytes(text)
        output = [
            run("transform_to_sharegpt.py", "--input", rows, "--output", tmp_path / "out.jsonl", environ=environ)
            for environ in (None, lacking)
        ]
        assert output[0].returncode == output[1].returncode == 2
        assert output[0].stderr == output[1].stderr


def test_the_request_for_new_topics_is_the_same(topics, lacking):
    """The prompt that asks a model for new topics is the same without the packages."""
    flags = (
        "--input",
        topics,
        "--dry-run",
        "--output",
        "unused.json",
        "--base-url",
        "http://localhost:1/v1",
        "--model",
        "m",
    )
    output = [run("generate_topics_via_llm.py", *flags, environ=environ) for environ in (None, lacking)]
    assert output[0].returncode == output[1].returncode == 0, output[0].stderr
    assert output[0].stdout == output[1].stdout != b""


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_help_is_the_same(script, lacking):
    """--help is the same without the packages."""
    assert run(script, "--help").stdout == run(script, "--help", environ=lacking).stdout


@pytest.mark.parametrize(
    "argv",
    [
        ["dataset_generation/generate_doric_dataset.py"],
        [
            "dataset_generation/generate_topics_via_llm.py",
            "--input",
            "topics.json",
            "--base-url",
            "http://localhost:1/v1",
        ],
        ["validation/validate_model.py", "--base-url", "http://localhost:1/v1"],
        ["modal/chat_cli.py", "Fit like?"],
    ],
    ids=lambda argv: argv[0],
)
def test_without_any_package_a_script_gives_a_hint(argv):
    """If no package is installed, a script ends with exit status 2 and one line that names uv."""
    done = subprocess.run([sys.executable, "-S", *argv], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "error: the package doric is not installed. Run this script with uv: uv run --project " in line
    assert argv[0] in line
