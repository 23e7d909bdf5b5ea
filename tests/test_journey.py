"""journey.sh: which stages a run repeats, resumes or starts again after an earlier run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FAKE_UV = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in *"$FAIL_AT"*) exit 1 ;; *) echo model ;; esac
"""


@pytest.fixture(params=["sh", "bash"])
def journey(request, tmp_path):
    """Runs a copy of journey.sh until the script `fails_at`, with a uv that only notes its calls, which it returns."""
    if not shutil.which(request.param):
        pytest.skip(f"there is no {request.param}")
    repository, tools = tmp_path / "a copy", tmp_path / "bin"
    repository.mkdir()
    tools.mkdir()
    shutil.copy(ROOT / "journey.sh", repository)
    shutil.copy(ROOT / "topics.json", repository)
    (tools / "uv").write_text(FAKE_UV, "utf-8")
    (tools / "uv").chmod(0o755)
    calls = tmp_path / "calls"
    env = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "CALLS": str(calls), "FOLDER": 'it\'s "mine"'}

    def run(fails_at: str, **settings: str) -> list[str]:
        calls.unlink(missing_ok=True)
        command = [request.param, str(repository / "journey.sh")]
        done = subprocess.run(command, env={**env, "FAIL_AT": fails_at, **settings}, cwd=tmp_path, capture_output=True)
        assert done.returncode == 1, done.stderr
        return calls.read_text("utf-8").splitlines()

    return run


def test_a_stopped_stage_is_resumed(journey):
    """With the same settings, finished stages are not repeated, and the stopped one goes on."""
    assert len(journey("finetune.py")) == 4
    (finetune,) = journey("finetune.py")
    assert "--resume" in finetune


def test_a_stage_that_was_stopped_at_its_start_takes_other_settings(journey):
    """The rows of other settings are overwritten, also if the stage has never succeeded."""
    (stopped,) = journey("generate_doric", ROWS_PER_TOPIC="3")
    (other,) = journey("generate_doric", ROWS_PER_TOPIC="1")
    assert "--overwrite" not in stopped
    assert other.endswith(" --overwrite")


def test_a_stage_that_was_started_again_and_stopped_is_not_done(journey):
    """Back at the first settings, nothing that other settings have overwritten counts as done."""
    journey("validate_model.py", STEPS="340")
    journey("finetune.py", STEPS="2")
    finetune, _ = journey("validate_model.py", STEPS="340")
    assert "finetune.py" in finetune
    assert "--no-resume" in finetune


def test_the_folder_does_not_depend_on_cdpath(journey, tmp_path):
    """With CDPATH, cd would go to another folder of the same name and print it."""
    (tmp_path / "other" / 'it\'s "mine"').mkdir(parents=True)
    calls = journey("generate_doric", CDPATH=str(tmp_path / "other"))
    assert f'--out {tmp_path}/a copy/it\'s "mine"/rows.jsonl' in calls[0]
