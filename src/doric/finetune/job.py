"""A run on a rented machine that may be stopped at any time: it is started again and goes on from its last checkpoint.

Nothing here knows the machine. `modal/finetune_doric.py` calls it with Modal's Volumes, a test with plain folders.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from doric.core.errors import DoricError, InputError, SettingsError
from doric.core.files import atomic_write
from doric.finetune import split
from doric.finetune.config import Settings, with_values
from doric.finetune.data import read_file
from doric.finetune.folders import read_note
from doric.finetune.run import Hooks, run
from doric.finetune.serving import served_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger("doric")
ATTEMPTS = "attempts.json"
"""The file in the run's folder that counts the attempts of the last job."""
MARK = "doric_run.json"
"""The file in a published model's folder that names its run: a folder without it is never replaced."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to train. `id` is new for each command; `data` is a file name; `attempts` is the most starts, at least 1."""

    id: str
    settings: Mapping[str, object]
    data: str
    attempts: int = 1


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The folders that outlive the machine. `commit` makes what was written to them permanent."""

    runs: Path
    data: Path
    models: Path
    commit: Callable[[], object] = lambda: None


def job_settings(values: Mapping[str, object]) -> Settings:
    """The settings of a job. Raises `SettingsError` for one that is unknown, wrong, or decided by the job itself.

    A GGUF file is for a laptop, so it is made only if that is asked for.
    """
    own = [name for name in values if name.lower() in ("data_source", "data_path", "runs_folder", "keep_on_drive")]
    if own:
        raise SettingsError(f"{own[0]} is set by the job itself.", hint="Name the dataset with --data FILE.")
    return with_values(with_values(Settings(), {"export_gguf": False}), values)


def count_chats(file: Path, settings: Settings) -> int:
    """The number of chats of a dataset that the job trains on or tests with.

    Raises `InputError` or `SettingsError` if the job would refuse the dataset, which is known without a machine.
    """
    _, why = split.of_rows(read_file(file), str(file), settings, settings.seed)
    return why["kept"]


def run_job(job: Job, storage: Storage, train: Callable[..., dict[str, Any]] = run) -> dict[str, Any]:
    """Train, or go on with the training, and publish the model; the results, or `error` and `hint`.

    An error that the user must fix is returned, because to raise it would start the machine again, for money. Anything
    else is raised, also `KeyboardInterrupt`, which is how a machine that is taken away stops the job; everything
    written so far is committed first.
    """
    try:
        return _run_job(job, storage, train)
    except DoricError as error:
        return {"error": error.message, "hint": error.hint}
    finally:
        storage.commit()


def _run_job(job: Job, storage: Storage, train: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    settings = job_settings(job.settings)
    data, folder = storage.data / job.data, storage.runs / settings.run_name
    if not data.is_file():
        raise InputError(f"There is no dataset {data}.", hint="Start the job again: the command uploads the dataset.")
    target = storage.models / served_name(settings.run_name)
    refuse_foreign_model(target, settings.run_name)
    attempt = count_attempt(folder, job)
    storage.commit()
    log.info("Attempt %d of %d of the run %s", attempt, job.attempts, settings.run_name)
    placed = {"data_source": "file, else generate", "data_path": str(data), "runs_folder": str(storage.runs)}
    resume = settings.resume or attempt > 1  # `resume = false` means: start again once, not after each interruption
    hooks = Hooks(on_stage=_stage, on_progress=_progress(), on_checkpoint=lambda folder: storage.commit())
    metrics = train(with_values(settings, placed | {"resume": resume}), storage.runs, hooks)
    return _results(metrics, publish(metrics, target, settings.run_name))


def _stage(stage: str) -> None:
    log.info("%s ...", stage)
    sys.stdout.flush()


def _progress() -> Callable[..., object]:
    from doric.finetune.progress import ProgressDisplay

    return ProgressDisplay()


def count_attempt(folder: Path, job: Job) -> int:
    """The number of this attempt, from 1. Raises `SettingsError` if the job has used all of its attempts.

    Machines that were taken away are counted too, so that the cost has a limit.
    """
    old = read_note(folder / ATTEMPTS)
    attempt = 1 + (old.get("attempts", 0) if old.get("job") == job.id else 0)
    if attempt > job.attempts:
        raise SettingsError(
            f"The job was started {job.attempts} times and is not finished.",
            hint="Run the same command again to go on from the last checkpoint, with more --attempts or --timeout.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / ATTEMPTS, json.dumps({"job": job.id, "attempts": attempt}).encode())
    return attempt


def refuse_foreign_model(target: Path, run_name: str) -> None:
    """Raise `SettingsError`, before anything costs money, if another model has this name."""
    if target.exists() and read_note(target / MARK).get("run") != run_name:
        raise SettingsError(
            f"There is already a model {target} that this run did not make.",
            hint="Choose another name: --set RUN_NAME=...",
        )


def publish(metrics: Mapping[str, Any], target: Path, run_name: str) -> dict[str, str]:
    """Copy the merged model, or the adapter if there is none, to `target`; the variables that serve it.

    The folder appears only when it is complete. That of an earlier attempt is replaced.
    """
    saved = metrics["saved"]
    form = "merged" if "merged" in saved else "-lora"
    fresh, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(saved[form], fresh)
    atomic_write(fresh / MARK, json.dumps({"run": run_name}).encode())
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    base = {} if form == "merged" else {"DORIC_BASE_MODEL": str(metrics["plan"]["base"])}
    return {"DORIC_MODEL": str(target), **base}


def deploy_command(variables: Mapping[str, str]) -> str:
    """The command that serves a published model, for the top folder of the project.

    >>> deploy_command({"DORIC_MODEL": "/models/first"})
    'DORIC_MODEL=/models/first uv run modal deploy modal/vllm_doric.py'
    """
    given = " ".join(f"{name}={quote(value)}" for name, value in variables.items())
    return f"{given} uv run modal deploy modal/vllm_doric.py"


def _results(metrics: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    kept = {name: metrics[name] for name in ("steps", "held_out_loss", "scores", "saved") if name in metrics}
    failed = [str(one.get("form", "a file")) for one in metrics.get("exports", ()) if "failed" in one]
    return {**kept, "failed": failed, "model": variables["DORIC_MODEL"], "deploy": deploy_command(variables)}
