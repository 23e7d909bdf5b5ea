"""What a base model's folder has beside weights, and what saving it again with Transformers would lose or break."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from doric.core.errors import InputError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Generator

    from transformers import GenerationConfig

TOKENIZER_FILES = ("tokenizer.model",)
"""SentencePiece's own file with the score of each token: Transformers 5 no longer writes it, llama.cpp needs it."""
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
"""How images, sound and video are read: vLLM does not start a multimodal model without them."""
TEMPLATE_FILE = "chat_template.jinja"
OLD_TEMPLATE_FILES = ("chat_template.json",)
"""The template of a processor: a server prefers it to the tokenizer's, so it must not differ from the trained one."""
TOWERS = ("vision", "visual", "image", "audio", "video", "speech", "multi_modal", "multimodal", "mm_", "embed_vision")
TOWER = rf".*(^|\.)({'|'.join(TOWERS)})\w*\..*"
"""Modules that read images or sound, as a regular expression for PEFT's `exclude_modules`. Text never trains them."""
SAMPLING = {
    "temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": None, "typical_p": 1.0, "top_h": None,
    "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
}  # fmt: skip
"""Settings that need `do_sample`, with the value that turns each off."""
BEAMS = ("early_stopping", "length_penalty")
"""Settings that need more than one beam."""


@contextlib.contextmanager
def readable(base: str, part: str) -> Generator[None]:
    """In the block, an error while a part of a base model, such as "tokenizer", is read is a `SettingsError`."""
    try:
        yield
    except Exception as error:  # missing, cut off or damaged: each library has classes of its own
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SettingsError(
            f"The {part} of {base} cannot be used: {reason[:300]}",
            hint="Check BASE_MODEL and the connection: all files of the model must be there and complete.",
        ) from error


def in_tower(module: str) -> bool:
    """Whether a module reads images or sound.

    >>> in_tower("model.vision_tower.encoder.layers.0.self_attn.q_proj"), in_tower("model.layers.0.self_attn.q_proj")
    (True, False)
    """
    return re.fullmatch(TOWER, module) is not None


def base_file(base: str, name: str) -> Path | None:
    """A file of a base model: from its folder, from the Hub's cache or from the Hub.

    None if it has no such file, or if the Hub cannot be reached and the file is not in the cache.
    """
    if Path(base).is_dir():
        return Path(base) / name if (Path(base) / name).is_file() else None
    from transformers.utils import cached_file

    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    found = cached_file(base, name, **quiet)
    return Path(found) if found else None


def carry(base: str, folder: Path) -> list[str]:
    """Copy into `folder` the files of the base model that Transformers does not write; their names.

    A file that was already written there is kept, and so is the chat template: a template of the base model's
    processor is replaced with the one in `folder`. Raises `InputError` if a model that reads images has no processor.
    """
    carried = []
    for name in (*TOKENIZER_FILES, *PROCESSOR_FILES):
        source = None if (folder / name).exists() else base_file(base, name)
        if source:
            shutil.copyfile(source, folder / name)
            carried.append(name)
    if _is_multimodal(folder) and not any((folder / name).exists() for name in PROCESSOR_FILES):
        hint = "Load the base model with a connection to the Hub: vLLM does not start without these files."
        raise InputError(f"{base} has no processor files, or they could not be read.", hint=hint)
    for name in OLD_TEMPLATE_FILES:
        (folder / name).unlink(missing_ok=True)
    if (folder / "processor_config.json").is_file():
        _without_template(folder / "processor_config.json")
    return carried


def _is_multimodal(folder: Path) -> bool:
    file = folder / "config.json"
    settings = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return any(settings.get(name) for name in ("vision_config", "audio_config"))


def _without_template(file: Path) -> None:
    settings = json.loads(file.read_text("utf-8"))
    if settings.pop("chat_template", None):
        file.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def make_valid(config: GenerationConfig) -> list[str]:
    """Make generation settings such that Transformers can save them; the names of the settings that were changed.

    A published model may have a temperature without `do_sample`. Servers sample with it all the same, so sampling is
    turned on instead of removing it. A temperature of 0 means the likeliest token, which is a `top_k` of 1. Settings
    for beams are removed if there is only one.
    """
    before = config.to_dict()
    if config.temperature == 0:
        config.temperature, config.top_k = 1.0, 1
    if not config.do_sample and any(_differs(config, name, off) for name, off in SAMPLING.items()):
        config.do_sample = True
    if config.num_beams in (None, 1):
        for name in BEAMS:
            setattr(config, name, None)
    config.validate(strict=True)
    return [name for name, value in config.to_dict().items() if before.get(name) != value]


def _differs(config: GenerationConfig, name: str, off: float | None) -> bool:
    return getattr(config, name, None) not in (None, off)
