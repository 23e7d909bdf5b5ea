"""Install this project and its packages for fine-tuning into the Python of a hosted notebook, such as Colab's.

    python finetune_notebook/install_packages.py

The installed versions of PyTorch, NumPy and a few others stay as they are, because a hosted machine breaks without
them. On your own machine, use `uv sync --group finetune` instead.
"""

import contextlib
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
HELD = ("torch", "torchvision", "torchaudio", "triton", "numpy", "pandas")


def pins() -> list[str]:
    """One line for each package whose installed version must not change, without local labels, as uv requires."""
    found = []
    for name in HELD:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name}=={importlib.metadata.version(name).partition('+')[0]}")
    return found


def install() -> int:
    """Install the project and its group `finetune` with these pins; the exit status of uv."""
    if not shutil.which("uv"):
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "uv"], check=True)
    with tempfile.TemporaryDirectory() as scratch:
        held = Path(scratch) / "constraints.txt"
        held.write_text("\n".join(pins()), "utf-8")
        wanted = [str(PROJECT), "--group", f"{PROJECT / 'pyproject.toml'}:finetune"]
        uv = ["uv", "pip", "install", "--python", sys.executable, "--quiet", "--constraint", str(held)]
        return subprocess.run([*uv, *wanted], check=False).returncode


if __name__ == "__main__":
    sys.exit(install())
