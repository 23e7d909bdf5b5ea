"""Colab and Kaggle: files and tokens that only these machines have."""

import contextlib
import os
from pathlib import Path

from doric.core.errors import SettingsError

ON_COLAB = "COLAB_RELEASE_TAG" in os.environ
KAGGLE_INPUT = Path("/kaggle/input")
"""Kaggle's read-only folder of added files."""


def mount_drive() -> Path:
    """The folder of Google Drive, mounted if necessary. Raises `SettingsError` outside Colab or without permission."""
    if not ON_COLAB:
        hint = "Set DATA_SOURCE and KEEP_ON_DRIVE back to their defaults."
        raise SettingsError("Google Drive works on Colab only.", hint=hint)
    from google.colab import drive

    try:
        drive.mount("/content/drive")
    except Exception as error:  # Colab raises errors of several kinds, without a common class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        hint = "Allow the access in the window that opens, or untick KEEP_ON_DRIVE and choose another DATA_SOURCE."
        raise SettingsError(f"Google Drive was not connected: {reason}.", hint=hint) from error
    return Path("/content/drive/MyDrive")


def upload_file(folder: Path) -> Path:
    """Ask a Colab user to upload a file; its path. Raises `SettingsError` outside Colab or if none is chosen."""
    if not ON_COLAB:
        hint = "Set DATA_PATH to a file on this machine, and DATA_SOURCE back."
        raise SettingsError("Uploading works on Colab only.", hint=hint)
    from google.colab import files

    chosen = files.upload()
    if not chosen:
        raise SettingsError("No file was uploaded.", hint="Run this cell again and choose a file.")
    name, content = next(iter(chosen.items()))
    (folder / name).write_bytes(content)
    return folder / name


def added_file(name: str) -> Path | None:
    """A file with this name among Kaggle's added files, or None."""
    return next(iter(sorted(KAGGLE_INPUT.glob(f"**/{name}"))), None)


def colab_secret(name: str) -> str:
    """The value of a secret of Colab; "" if there is none or it may not be read."""
    if not ON_COLAB:
        return ""
    from google.colab import userdata

    with contextlib.suppress(userdata.SecretNotFoundError, userdata.NotebookAccessError):
        return userdata.get(name)
    return ""
