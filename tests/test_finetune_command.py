"""finetune.py: settings from preset, file and flags; a whole small run that is killed and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from doric.finetune.config import Settings
from finetune_rows import sharegpt
from scripts import load_script

SCRIPT = Path(__file__).parents[1] / "finetune_notebook" / "finetune.py"


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    return load_script(SCRIPT)


def test_help_answers_without_the_packages_for_training():
    """--help shows the line that runs the script and every setting, and imports none of the large packages."""
    code = (
        "import runpy, sys; sys.argv = ['finetune.py', '--help']\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit: print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "uv run --group finetune python finetune_notebook/finetune.py --preset try" in done.stdout
    assert all(f"--{name.replace('_', '-')}" in done.stdout for name in Settings.__dataclass_fields__)
    assert done.stdout.endswith("[]\n")


def test_a_flag_wins_over_the_file_and_the_file_over_the_preset(script, tmp_path):
    """Settings come from the preset, then from the TOML file, then from the flags."""
    (tmp_path / "run.toml").write_text('max_steps = 30\nRUN_NAME = "mine"\n')
    given = ["--preset", "try", "--config", str(tmp_path / "run.toml"), "--max-steps", "40", "--no-resume"]
    settings = script.chosen_settings(script.parse_args(given))
    assert (settings.max_steps, settings.run_name, settings.resume) == (40, "mine", False)
    assert settings.max_new_tokens == script.TRY["max_new_tokens"]
    assert script.chosen_settings(script.parse_args([])) == Settings()


@pytest.mark.parametrize(
    ("content", "said"),
    [("max_step = 3", "There is no setting max_step."), ("max_steps = ", "not TOML"), ("resume = 1", "type bool")],
    ids=["unknown", "malformed", "wrong type"],
)
def test_wrong_file_of_settings_is_one_error_with_a_hint(script, tmp_path, capsys, content, said):
    """A setting that cannot be used stops the run with the name of the file, a hint and exit status 2."""
    (tmp_path / "run.toml").write_text(content)
    assert script.main(["--config", str(tmp_path / "run.toml")]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {tmp_path / 'run.toml'}:")
    assert said in error
    assert hint.startswith("hint: ")


def test_file_of_somebody_else_is_not_overwritten_by_the_report(script, tmp_path, capsys):
    """--report refuses a file that is no page of this project, before anything is trained."""
    (tmp_path / "notes.html").write_text("<p>my notes")
    assert script.main(["--report", str(tmp_path / "notes.html")]) == 2
    assert (tmp_path / "notes.html").read_text() == "<p>my notes"
    assert "notes.html" in capsys.readouterr().err


def test_ctrl_c_says_how_to_resume(script, monkeypatch, capsys):
    """Ctrl-C ends the run with exit status 130, and the last line says how to go on."""
    from doric.finetune import run

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run", interrupted)
    assert script.main([]) == 130
    assert "Run the same command again to resume" in capsys.readouterr().err


def test_missing_packages_give_the_right_command(script, monkeypatch, capsys):
    """Without the group finetune, the error is one line, and the hint is the command with the group."""
    monkeypatch.setitem(sys.modules, "torch", None)
    assert script.main([]) == 2
    assert "uv run --group finetune" in capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def small(tiny, tokenizer, tmp_path):
    """A folder with a very small model and a file of 24 topics with three rows each; the flags that use them."""
    tiny.generation_config.eos_token_id = tokenizer.eos_token_id
    tiny.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    rows = [
        sharegpt(("human", f"Fit aboot thing {at}, {turn}?"), ("gpt", f"Aye, thing {at} is braw."), topic=f"thing {at}")
        for at in range(24)
        for turn in range(3)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = ["--preset", "try", "--base-model", str(tmp_path / "tiny"), "--data-path", str(tmp_path / "rows.jsonl")]
    return [
        *given,
        "--runs-folder",
        str(tmp_path),
        "--run-name",
        "small run",
        "--learning-rate",
        "0.02",
        "--lora-rank",
        "8",
        "--max-new-tokens",
        "8",
        "--samples",
        "1",
    ]


def test_killed_run_is_resumed_and_reported(small, tmp_path):
    """A run that is killed with SIGKILL resumes from its checkpoint, and leaves metrics, a page and the adapter."""
    more = ["--max-steps", "12", "--check-every", "4", "--report", str(tmp_path / "page.html")]
    command = [sys.executable, "-W", "ignore", str(SCRIPT), *small, *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # see the fixture one_thread
    first = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    folder = tmp_path / "small run"
    while first.poll() is None and not (folder / "checkpoints/checkpoint-4/trainer_state.json").is_file():
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Resuming from step " in done.stdout
    assert "step 12 of 12, loss " in done.stderr
    assert "tokens/s" in done.stderr
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["steps"] == 12
    assert [one["step"] for one in metrics["history"] if "loss" in one] == list(range(1, 13))
    assert metrics["held_out_loss"]["after"] < metrics["held_out_loss"]["before"]
    assert (folder / "export/adapter/adapter_model.safetensors").is_file()
    page = (tmp_path / "page.html").read_text()
    assert "held-out loss" in page
    assert 'role="img"' in page
    assert "Loss (lower is better)" in page
