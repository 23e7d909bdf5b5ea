"""Colab and Kaggle: files and tokens that only these machines have."""

import contextlib
import os
from pathlib import Path

from doric.core.errors import SettingsError

ON_COLAB = "COLAB_RELEASE_TAG" in os.environ
KAGGLE_INPUT = Path("/kaggle/input")
"""Kaggle's read-only folder of added files."""


def mount_drive() -> Path:
    """The folder of Google Drive, mounted if necessary. Raises `SettingsError` outside Colab."""
    if not ON_COLAB:
        hint = "Set DATA_SOURCE and KEEP_ON_DRIVE back to their defaults."
        raise SettingsError("Google Drive works on Colab only.", hint=hint)
    from google.colab import drive

    drive.mount("/content/drive")
    return Path("/content/drive/MyDrive")


def upload_file(folder: Path) -> Path:
    """Ask a Colab user to upload a file; its path. Raises `SettingsError` outside Colab."""
    if not ON_COLAB:
        hint = "Set DATA_PATH to a file on this machine, and DATA_SOURCE back."
        raise SettingsError("Uploading works on Colab only.", hint=hint)
    from google.colab import files

    (name, content), *_ = files.upload().items()
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
