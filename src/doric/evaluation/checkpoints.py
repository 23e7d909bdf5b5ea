"""A model and its tokenizer from a folder or from the Hugging Face Hub. Needs the finetune packages."""

import contextlib
import hashlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

from doric.core.errors import InputError, SettingsError, os_error
from doric.core.signals import interrupted_at_once

WEIGHTS = ("*.safetensors", "*.bin", "*config.json", "tokenizer*", "vocab*", "*.model", "*tokens*.json", "*.jinja")
"""The files of a checkpoint that its answers depend on."""
CONFIGS = ("config.json", "adapter_config.json")
HINT = "Give a folder with config.json and weights, such as export/merged of a run of the notebook."


def load_checkpoint(name: str, *, exact: bool) -> tuple[Any, Any]:
    """The model, ready to answer, and the tokenizer of a folder, or of a name on the Hugging Face Hub.

    `exact`: on a CPU in float32, so that rounding is no part of a score; otherwise in the number format of its files.
    Raises `SettingsError` if the packages are missing, and `InputError` if the checkpoint cannot be loaded or lacks
    weights, in whose place there would be random numbers. Ctrl-C stops it at once.
    """
    if Path(name).is_dir() and not any(Path(name, config).is_file() for config in CONFIGS):
        raise InputError("cannot be loaded: there is no config.json in it", file=name, hint=HINT)
    with _loading(name), interrupted_at_once():
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        on_gpu = torch.cuda.is_available()
        kind = torch.float32 if exact and not on_gpu else "auto"
        tokenizer = AutoTokenizer.from_pretrained(name)
        loaded: Any = AutoModelForCausalLM.from_pretrained(name, dtype=kind, output_loading_info=True)
        model, found = loaded
        if missing := sorted(found["missing_keys"]):
            raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]}")
        return model.to("cuda" if on_gpu else "cpu").eval(), tokenizer


def weights_fingerprint(name: str) -> str:
    """A hash of the files of a folder; for a name on the Hub, the commit. Each model has its own.

    Raises `InputError` if a file or the Hub cannot be read, and `SettingsError` if the packages are missing.
    """
    folder = Path(name)
    if not folder.is_dir():
        with _loading(name):
            from transformers import AutoConfig

            return str(getattr(AutoConfig.from_pretrained(name), "_commit_hash", None) or "")
    found = hashlib.sha256()
    for path in sorted({path for pattern in WEIGHTS for path in folder.glob(pattern) if path.is_file()}):
        try:
            with path.open("rb") as file, interrupted_at_once():
                found.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        except OSError as error:
            raise os_error(error, path, "read") from error
    return found.hexdigest()[:16]


@contextlib.contextmanager
def _loading(name: str) -> Generator[None]:
    """Raise `SettingsError` for a package that is missing in the block, and `InputError` for any other error.

    Damaged files, configurations of other programs and a full GPU end in errors of many packages and types.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        hint = "uv run --group finetune python … installs what a local checkpoint needs; --base-url needs nothing."
        raise SettingsError(f"the package {error.name} is not installed", hint=hint) from error
    except Exception as error:
        raise InputError(f"cannot be loaded: {first_line(error)}", file=name, hint=HINT) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, and the name of its type if there is none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
