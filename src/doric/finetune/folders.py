"""The folders of a run, and the note in them that says with which settings the run began."""

import json
import os
from pathlib import Path
from typing import Any

from doric.finetune.hosted import mount_drive


def cache_folder() -> Path:
    """The project's cache: downloaded converters and the small model of `smollm2_checkpoint.py`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "doric"


def run_folder(project: Path, wanted: str, name: str, *, drive: bool) -> Path:
    """The folder for the files of this run, created if missing; on Google Drive the files outlive the session."""
    home = mount_drive() / "doric" if drive else project / "finetune_notebook"
    folder = (Path(wanted).expanduser().resolve() if wanted else home / "runs") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def export_folder(project: Path, folder: Path, name: str, *, drive: bool) -> Path:
    """The folder for the large files: in the run's folder, but never on Google Drive, which they would fill."""
    home = project / "finetune_notebook" / "runs" / name if drive else folder
    if drive:
        print(f"The adapter is on Drive. The large files are on this machine only; download them: {home / 'export'}")
    (home / "export").mkdir(parents=True, exist_ok=True)
    return home / "export"


def read_note(path: Path) -> dict[str, Any]:
    """The settings that a run saved when it started; {} if the file is missing or incomplete."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
