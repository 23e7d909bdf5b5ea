"""Checkpoints of a run: which are complete, and whether they belong to the run that is to be resumed."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from doric.core.conversations import stable_id
from doric.core.errors import PlanError
from doric.core.files import atomic_write
from doric.finetune.folders import read_note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from doric.finetune.config import Settings
    from doric.finetune.masking import Encoded
    from doric.finetune.plan import Plan


NOTE = "run.json"
"""The file in a run's folder with its `fingerprint`."""
OLDER = {"method": "lora", "weights": ""}
"""The values of a run that was started before these settings existed."""
OPEN = {
    "method": ("method", "auto"),
    "rate": ("learning_rate", 0.0),
    "steps": ("max_steps", 0),
    "weights": ("bucket_weights", "auto"),
}
"""Part of the plan -> the setting that fixes it, and the value with which the setting leaves it open."""
FREE = ("patience",)
"""Parts of the plan that may change when a run resumes."""


def fingerprint(plan: Plan, coded: Mapping[str, Sequence[Encoded]]) -> dict[str, Any]:
    """The settings and the hash of the rows; they must be equal for a run to resume."""
    digest = stable_id(*(f"{row.ids} {row.labels}" for part in coded.values() for row in part))
    fixed = {name: value for name, value in asdict(plan).items() if name not in FREE}
    return {**fixed, "targets": list(plan.targets), "rows": digest}


def as_before(plan: Plan, settings: Settings, folder: Path) -> Plan:
    """The plan for resuming: what the settings leave open stays as at the start.

    That is what depends on the moment (free memory, timing), and what another version would choose.
    """
    old = OLDER | read_note(folder / NOTE) if settings.resume else {}
    if not (folder / "checkpoints").is_dir() or old.get("device") != plan.device or old.get("base") != plan.base:
        return plan
    kept = {"dtype"} if plan.device == "cpu" else set()
    kept |= {"batch", "accumulation"} if not settings.batch and not settings.accumulation else set()
    kept |= {name for name, (setting, left_open) in OPEN.items() if getattr(settings, setting) == left_open}
    resumed = replace(plan, **{name: old[name] for name in kept if name in old})
    changed = resumed.method != plan.method and "targets" in old
    return replace(resumed, targets=tuple(old["targets"])) if changed else resumed


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is complete: a killed session or a full disk leaves an incomplete one."""
    from safetensors import SafetensorError, safe_open

    try:
        json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
        for file in weight_files(checkpoint):
            with safe_open(file, "pt") as weights:  # raises if the file is missing or truncated
                list(weights.keys())
    except (OSError, ValueError, SafetensorError):
        return False
    return zipfile.is_zipfile(checkpoint / "optimizer.pt") and (checkpoint / "scheduler.pt").is_file()


def weight_files(checkpoint: Path) -> list[Path]:
    """The files with the weights of a checkpoint: of the adapter, or all parts of the whole model.

    Raises `OSError` if the list of the parts cannot be read, and `ValueError` if it is damaged.
    """
    index = checkpoint / "model.safetensors.index.json"
    if index.is_file():
        return [checkpoint / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]
    whole = checkpoint / "model.safetensors"
    return [whole if whole.is_file() else checkpoint / "adapter_model.safetensors"]


def best_of(checkpoint: Path) -> Path:
    """The checkpoint of the same run with the lowest held-out loss so far; itself if that one is not complete."""
    state = json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
    best = checkpoint.with_name(f"checkpoint-{state.get('best_global_step')}")
    return best if is_whole(best) else checkpoint


def checks_without_gain(history: Sequence[Mapping[str, Any]]) -> int:
    """The number of evaluations since the one with the lowest held-out loss; the one before training does not count.

    A run that resumes evaluates its checkpoint again, which does not count twice.

    >>> checks_without_gain([{"step": 5, "eval_loss": 3.0}, {"step": 9, "eval_loss": 3.2}])
    1
    """
    losses = list({one["step"]: one["eval_loss"] for one in history if "eval_loss" in one and one["step"]}.values())
    return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def step_of(checkpoint: Path | str) -> int:
    """The step after which a checkpoint was saved; -1 if the folder's name has no number."""
    number = str(checkpoint).rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def last_whole(checkpoints: Path) -> str | None:
    """The last complete checkpoint, or None; prints a note for each later, incomplete one."""
    for place in sorted(checkpoints.glob("checkpoint-*"), key=step_of, reverse=True):
        if step_of(place) >= 0 and is_whole(place):
            return str(place)
        print(f"{place.name} is incomplete and is skipped.")
    return None


def start_from(checkpoints: Path, mark: Mapping[str, Any], resume: bool) -> str | None:
    """The checkpoint to resume from, or None to start again; then older checkpoints are deleted.

    `mark` is the `fingerprint`. Raises `PlanError` if the checkpoints belong to a run with other settings.
    """
    last = last_whole(checkpoints) if resume else None
    if last:
        refuse_other_run(checkpoints, mark, resume)
        return last
    shutil.rmtree(checkpoints, ignore_errors=True)
    atomic_write(checkpoints.parent / NOTE, json.dumps(mark, indent=1).encode())
    return None


def refuse_other_run(checkpoints: Path, mark: Mapping[str, Any], resume: bool) -> None:
    """Raise `PlanError`, before anything is written, if a run that resumes has checkpoints of other settings.

    `mark` is the `fingerprint`. Without a complete checkpoint there is nothing to lose, and nothing is raised.
    """
    old = read_note(checkpoints.parent / NOTE)
    whole = (step_of(place) >= 0 and is_whole(place) for place in checkpoints.glob("checkpoint-*"))
    other = [name for name in mark if old.get(name, OLDER.get(name)) != mark[name]]
    if resume and other and any(whole):
        raise other_run(checkpoints.parent, other)


def other_run(folder: Path, names: Sequence[str]) -> PlanError:
    """The error for a folder with checkpoints of a run that differs in these settings."""
    return PlanError(
        f"{folder} holds a run with other settings: {', '.join(names)}.",
        hint="Choose another RUN_NAME, or set RESUME to False to delete its checkpoints and start again.",
    )
