"""What a run decides once and keeps when it is resumed on another day: its date, and the commit of its dataset."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING

from doric.core.files import atomic_write
from doric.finetune.checkpoints import other_run
from doric.finetune.folders import read_note
from doric.finetune.hub import dataset_revision

if TYPE_CHECKING:
    from pathlib import Path

    from doric.finetune.config import Settings

FILE = "begun.json"


@dataclass(frozen=True)
class Record:
    """`day` is the date that chat templates write, in ISO format. `revision` is the commit of the Hub dataset."""

    day: str
    dataset: str = ""
    revision: str = ""

    @property
    def today(self) -> date:
        """The day as a date."""
        return date.fromisoformat(self.day)


def begin(folder: Path, settings: Settings) -> Record:
    """The record of this run: the stored one if the run is resumed with the same dataset, else a new one.

    A Hub dataset is read at the commit that it has now, also if the run is resumed after somebody changed it. Raises
    `SettingsError` if the Hub refuses to name the commit, and `PlanError` if the checkpoints are of another dataset.
    """
    dataset = settings.hub_dataset if settings.data_source == "Hub" else ""
    old = read_note(folder / FILE)
    resumes = settings.resume and (folder / "checkpoints").is_dir() and old.get("day")
    if resumes and old.get("dataset", "") != dataset and any((folder / "checkpoints").glob("checkpoint-*")):
        raise other_run(folder, ["dataset"])  # else the date and the commit of the earlier run would be lost
    if resumes and old.get("dataset", "") == dataset:
        return Record(**{name: str(old.get(name, "")) for name in ("day", "dataset", "revision")})
    new = Record(date.today().isoformat(), dataset, dataset_revision(dataset) if dataset else "")
    atomic_write(folder / FILE, json.dumps(asdict(new), indent=1).encode())
    return new
