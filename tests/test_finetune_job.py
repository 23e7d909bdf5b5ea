"""A job on a rented machine: it is stopped, started again, and publishes its model. A small trainer stands for the real
one, and a copied folder for a Volume, of which only committed files are there for the next machine."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from doric.core.errors import CheckError, SettingsError
from doric.finetune.job import MARK, Job, Storage, deploy_command, job_settings, run_job

MACHINE = """
import json, os, shutil, signal, sys, time
from pathlib import Path
from doric.finetune.job import Job, Storage, run_job

home, how = Path(sys.argv[1]), sys.argv[2]
runs, kept = home / "runs", home / "committed"
shutil.rmtree(runs, ignore_errors=True)
shutil.copytree(kept, runs) if kept.exists() else runs.mkdir()

def commit():
    shutil.rmtree(home / "new", ignore_errors=True)
    shutil.copytree(runs, home / "new")
    shutil.rmtree(kept, ignore_errors=True)
    (home / "new").rename(kept)

def train(settings, project, hooks):
    folder = Path(settings.runs_folder) / settings.run_name
    folder.mkdir(exist_ok=True)
    state = folder / "state.json"
    curve = json.loads(state.read_text()) if settings.resume and state.exists() else []
    while len(curve) < 6:
        curve.append(1 / (2 + len(curve)))
        state.write_text(json.dumps(curve))
        hooks.on_checkpoint(folder)
        if how == "kill" and len(curve) == 3:
            state.write_text("[9, 9, 9, 9]")  # not committed
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "preempt" and len(curve) == 3:
            from modal.exception import simulate_preemption
            simulate_preemption(1)
            time.sleep(20)
    (folder / "merged").mkdir(exist_ok=True)
    (folder / "merged" / "config.json").write_text("{}")
    loss = {"before": 0.5, "after": curve[-1]}
    return {"steps": 6, "held_out_loss": loss, "saved": {"merged": str(folder / "merged")}, "curve": curve}

storage = Storage(runs=runs, data=home / "data", models=home / "models", commit=commit)
settings = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
job = Job(id="job", settings={"run_name": "first", **settings}, data="rows.jsonl", attempts=3)
print(json.dumps(run_job(job, storage, train)))
"""


def start(home: Path, how: str = "", **settings: object) -> subprocess.CompletedProcess[str]:
    """Start a machine with the files that were committed."""
    (home / "data").mkdir(exist_ok=True)
    (home / "data" / "rows.jsonl").write_text("{}\n")
    (home / "models").mkdir(exist_ok=True)
    command = [sys.executable, "-c", MACHINE, str(home), how, json.dumps(settings)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": ""})


def curve(home: Path) -> list[float]:
    """The losses of the run so far, in the files that outlive the machine."""
    return json.loads((home / "committed" / "first" / "state.json").read_text())


@pytest.mark.parametrize(("how", "code"), [("kill", -9), ("preempt", -2)])
def test_a_stopped_job_goes_on_with_the_same_curve(tmp_path, how, code):
    """A job that was killed, or stopped by Modal's simulated preemption, resumes from the last commit."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert start(tmp_path / "a").returncode == 0
    stopped = start(tmp_path / "b", how)
    assert stopped.returncode == code, stopped.stderr
    assert len(curve(tmp_path / "b")) == 3
    done = start(tmp_path / "b")
    assert done.returncode == 0, done.stderr
    assert curve(tmp_path / "b") == curve(tmp_path / "a")
    assert (tmp_path / "b" / "models" / "first" / "config.json").is_file()


def test_resume_false_starts_again_only_once(tmp_path):
    """`resume = false` deletes the earlier run at the first attempt, not the progress of the job's own attempts."""
    assert start(tmp_path, "kill", resume=False).returncode == -9
    assert start(tmp_path, "", resume=False).returncode == 0
    assert len(curve(tmp_path)) == 6


def test_the_number_of_starts_is_limited(tmp_path):
    """A machine that is taken away again and again stops to cost money after the last attempt."""
    for _ in range(3):
        start(tmp_path, "kill", resume=False)
        (tmp_path / "committed" / "first" / "state.json").write_text("[]")
    results = json.loads(start(tmp_path).stdout)
    assert "started 3 times" in results["error"]
    assert "--attempts" in results["hint"]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Empty runs and models, and one dataset."""
    for name in ("runs", "data", "models"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "rows.jsonl").write_text("{}\n")
    return Storage(runs=tmp_path / "runs", data=tmp_path / "data", models=tmp_path / "models")


def job(**settings: object) -> Job:
    return Job(id="1", settings=settings, data="rows.jsonl")


def saving(form: str):
    """A trainer that saves one format."""

    def train(settings, project, hooks):
        folder = Path(settings.runs_folder) / settings.run_name / form
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights").write_text(settings.run_name)
        return {"plan": {"base": "Qwen/Base 4B"}, "saved": {form: str(folder)}}

    return train


def test_a_merged_model_is_published_with_the_command_that_serves_it(storage):
    """The merged model gets the run's name in lower case, and the command names it as the container sees it."""
    results = run_job(job(run_name="My run"), storage, saving("merged"))
    assert (storage.models / "my-run" / "weights").read_text() == "My run"
    assert results["deploy"] == f"DORIC_MODEL={storage.models}/my-run uv run modal deploy modal/vllm_doric.py"


def test_an_adapter_is_published_with_its_base(storage):
    """If no merged model was wanted, the command serves the adapter on its base model, quoted for a shell."""
    results = run_job(job(run_name="a", export_merged=False), storage, saving("-lora"))
    assert results["deploy"].startswith(f"DORIC_MODEL={storage.models}/a DORIC_BASE_MODEL='Qwen/Base 4B' uv run")


def test_a_model_of_the_same_run_is_replaced(storage):
    """The model of an earlier attempt is replaced, without leftovers beside it."""
    for number in "12":
        again = Job(id=number, settings={"run_name": "a"}, data="rows.jsonl")
        assert "error" not in run_job(again, storage, saving("merged"))
    assert [place.name for place in storage.models.iterdir()] == ["a"]
    assert json.loads((storage.models / "a" / MARK).read_text()) == {"run": "a"}


def test_a_model_of_another_origin_is_never_replaced(storage):
    """A model that this run did not make stops the job before the training."""
    (storage.models / "doric").mkdir()
    results = run_job(job(), storage, lambda *_: pytest.fail("trained"))
    assert "did not make" in results["error"]
    assert "RUN_NAME" in results["hint"]


def test_an_error_to_fix_is_returned_and_not_raised(storage):
    """Modal would start a raised error again, for money; the files are committed in any case."""
    committed = []

    def fails(*_):
        raise CheckError("The loss is nan.", hint="Lower LEARNING_RATE.")

    kept = Storage(runs=storage.runs, data=storage.data, models=storage.models, commit=lambda: committed.append(1))
    assert run_job(job(), kept, fails) == {"error": "The loss is nan.", "hint": "Lower LEARNING_RATE."}
    assert len(committed) == 2


def test_a_missing_dataset_is_an_error(storage):
    """The job never generates a dataset of its own in place of a missing one."""
    shutil.rmtree(storage.data)
    assert "no dataset" in run_job(job(), storage, lambda *_: pytest.fail("trained"))["error"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"DATA_PATH": "x"}, "set by the job"),
        ({"RUNS_FOLDER": "x"}, "set by the job"),
        ({"RUN_NAME": "../x"}, "folder name"),
        ({"RUN_NAME": ""}, "folder name"),
        ({"RUN_NAME": ".hidden"}, "folder name"),
        ({"MAXSTEPS": 3}, "no setting MAXSTEPS"),
    ],
)
def test_settings_that_a_job_cannot_have(values, message):
    """A setting that is wrong, or that the job decides itself, is refused before anything is built."""
    with pytest.raises(SettingsError, match=message):
        job_settings(values)


def test_a_gguf_file_is_made_only_if_asked_for():
    """GGUF files are for laptops: on a rented GPU they cost time."""
    assert not job_settings({}).export_gguf
    assert job_settings({"EXPORT_GGUF": True}).export_gguf


def test_the_deploy_command_is_quoted():
    """A name with a space or a quotation mark does not break the shell command."""
    assert deploy_command({"DORIC_MODEL": "/models/it's"}).startswith("""DORIC_MODEL='/models/it'"'"'s' uv run""")
