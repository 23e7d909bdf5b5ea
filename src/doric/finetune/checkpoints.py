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


def fingerprint(plan: Plan, coded: Mapping[str, Sequence[Encoded]]) -> dict[str, Any]:
    """The settings and the hash of the rows; they must be equal for a run to resume."""
    digest = stable_id(*(f"{row.ids} {row.labels}" for part in coded.values() for row in part))
    return {**asdict(plan), "targets": list(plan.targets), "rows": digest}


def as_before(plan: Plan, settings: Settings, folder: Path) -> Plan:
    """The plan for resuming: values that depend on the moment (free memory, timing) stay as at the start."""
    old = read_note(folder / "run.json") if settings.resume else {}
    if not (folder / "checkpoints").is_dir() or old.get("device") != plan.device or old.get("base") != plan.base:
        return plan
    kept = {"dtype"} if plan.device == "cpu" else set()
    kept |= {"batch", "accumulation"} if not settings.batch and not settings.accumulation else set()
    return replace(plan, **{name: old[name] for name in kept if name in old})


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is complete: a killed session or a full disk leaves an incomplete one."""
    from safetensors import SafetensorError, safe_open

    try:
        json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
        with safe_open(checkpoint / "adapter_model.safetensors", "pt") as weights:  # raises if the file is truncated
            list(weights.keys())
    except (OSError, ValueError, SafetensorError):
        return False
    return zipfile.is_zipfile(checkpoint / "optimizer.pt") and (checkpoint / "scheduler.pt").is_file()


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
    note = checkpoints.parent / "run.json"
    last = last_whole(checkpoints) if resume else None
    if last:
        old = read_note(note)
        if other := [name for name in mark if old.get(name) != mark[name]]:
            raise PlanError(
                f"{checkpoints.parent} holds a run with other settings: {', '.join(other)}.",
                hint="Choose another RUN_NAME, or set RESUME to False to delete its checkpoints and start again.",
            )
        return last
    shutil.rmtree(checkpoints, ignore_errors=True)
    atomic_write(note, json.dumps(mark, indent=1).encode())
    return None
