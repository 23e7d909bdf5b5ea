"""A model and its tokenizer from a folder or from the Hugging Face Hub. Needs the finetune packages."""

import hashlib
from pathlib import Path
from typing import Any

from doric.core.errors import InputError, SettingsError

WEIGHTS = ("*.safetensors", "*.bin", "*config.json", "tokenizer*", "*.jinja")
"""The files of a checkpoint that its answers depend on."""


def load_checkpoint(name: str, *, exact: bool) -> tuple[Any, Any]:
    """The model, ready to answer, and the tokenizer of a folder, or of a name on the Hugging Face Hub.

    `exact`: on a CPU in float32, so that rounding is no part of a score; otherwise in the number format of its files.
    Raises `SettingsError` if the packages are missing, and `InputError` if the checkpoint cannot be loaded.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        hint = "uv run --group finetune python … installs what a local checkpoint needs; --base-url needs nothing."
        raise SettingsError(f"the package {error.name} is not installed", hint=hint) from error
    logging.disable_progress_bar()
    on_gpu = torch.cuda.is_available()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model: Any = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32 if exact and not on_gpu else "auto")
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        hint = "Give a folder with config.json and weights, such as export/merged of a run of the notebook."
        raise InputError(f"cannot be loaded: {reason}", file=name, hint=hint) from error
    return model.to("cuda" if on_gpu else "cpu").eval(), tokenizer


def weights_fingerprint(name: str) -> str:
    """A hash of the files of a folder; for a name on the Hub, the commit. Each model has its own."""
    folder = Path(name)
    if not folder.is_dir():
        from transformers import AutoConfig

        return str(getattr(AutoConfig.from_pretrained(name), "_commit_hash", None) or "")
    found = hashlib.sha256()
    for path in sorted({path for pattern in WEIGHTS for path in folder.glob(pattern) if path.is_file()}):
        with path.open("rb") as file:
            found.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()[:16]
