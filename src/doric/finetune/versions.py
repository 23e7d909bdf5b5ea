"""The installed packages, and the library that trains."""

import importlib
import importlib.metadata
import importlib.util
import logging
import os
import time
import warnings

from doric.core.errors import SettingsError

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "huggingface_hub", "gguf", "unsloth", "doric")
STARTS = ("transformers", "datasets", "peft", "trl", "trl.trainer.sft_trainer", "gguf", "doric.core.conversations")
NAMES = {"unsloth": "Unsloth", "trl": "TRL + PEFT"}
"""Training library -> its name for people."""
HOW_TO_INSTALL = (
    "On your own machine, run `uv sync --group finetune` in the project's folder; on Colab, restart the session."
)


def version(name: str) -> str:
    """The installed version of a package, or "missing"."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def installed_versions() -> dict[str, str]:
    """Package -> version. Raises `SettingsError` if one is missing.

    Unsloth may be missing, and so may doric: on a rented machine its files are there without being installed.
    """
    found = {name: version(name) for name in PACKAGES}
    if missing := [name for name, each in found.items() if each == "missing" and name not in ("unsloth", "doric")]:
        raise SettingsError(f"Not installed: {', '.join(missing)}.", hint=HOW_TO_INSTALL)
    return found


def has_gpu() -> bool:
    """Whether there is a CUDA GPU. Also sets variables that torch reads when it is imported first."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # on a busy CPU, threads that wait actively are 10 times slower
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    return torch.cuda.is_available()


def choose_backend(wanted: str, *, gpu: bool) -> str:
    """The library that trains: "unsloth" or "trl". Raises `SettingsError` if Unsloth is wanted without a GPU."""
    if wanted == "unsloth" and not gpu:
        raise SettingsError("Unsloth needs a CUDA GPU and this machine has none.", hint="Set BACKEND to auto.")
    found = gpu and importlib.util.find_spec("unsloth") is not None
    return "unsloth" if wanted != "trl" and found else "trl"


def start_packages(backend: str) -> float:
    """Import every package once, Unsloth first because it patches the others; the time in seconds.

    Raises `SettingsError` for a package that cannot be imported.
    """
    began = time.monotonic()
    for name in ("torch", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for module in (["unsloth"] if backend == "unsloth" else []) + list(STARTS):
        _start(module)
    _quieten()
    return time.monotonic() - began


def _start(module: str) -> None:
    try:
        with warnings.catch_warnings(action="ignore"):
            importlib.import_module(module)
    except (ImportError, AttributeError, RuntimeError, NotImplementedError, OSError) as error:
        last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise SettingsError(f"The package {module} cannot be imported: {last[0]}", hint=HOW_TO_INSTALL) from error


def _quieten() -> None:
    """Turn off progress bars and warnings of the libraries; errors are still shown."""
    import datasets
    from transformers.utils import logging as transformers_logging

    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    for name in ("trl", "peft", "accelerate", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module="torch|peft|trl|transformers")
