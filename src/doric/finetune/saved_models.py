"""Loading saved models where they fit into memory, and merging an adapter into its base model."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from doric.core.errors import DoricError
from doric.finetune.base_files import carry, make_valid
from doric.finetune.hardware import free_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from doric.finetune.foreign_types import Model, Tokenizer

SPARE = 0.8e9
"""Bytes of the GPU that stay free."""


class NotEnoughMemory(DoricError):
    """A saved model does not fit into the free memory of any device."""


def weight_bytes(where: Mapping[str, str], dtype: str) -> dict[str, float]:
    """The memory in bytes for loading a saved model, by device; computed from its configuration."""
    width = 4 if dtype == "float32" else 2
    if "gguf" in where:  # Transformers converts a GGUF file to float32 in main memory first
        from gguf import GGUFReader

        count = sum(int(tensor.n_elements) for tensor in GGUFReader(Path(where["base"]) / where["gguf"]).tensors)
        return {"cuda": count * width, "cpu": count * (width + 4), "cpu first": count * 4}
    count = _parameters(where["base"])
    return {"cuda": count * width, "cpu": count * width, "cpu first": 0}


def _parameters(base: str) -> int:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    return sum(each.numel() for each in model.parameters())


def room_for(where: Mapping[str, str], dtype: str) -> str:
    """The device with enough memory for a saved model, the GPU if possible. Raises `NotEnoughMemory`."""
    wanted, free = weight_bytes(where, dtype), free_bytes()
    if 1.1 * wanted["cuda"] + SPARE < free["cuda"] and wanted["cpu first"] < free["cpu"]:
        return "cuda"
    if 1.1 * wanted["cpu"] < free["cpu"]:
        return "cpu"
    raise NotEnoughMemory(
        f"loading it takes {wanted['cpu'] / 1e9:.1f} GB, but only {max(free.values()) / 1e9:.1f} GB are free",
        hint="Check it on a machine with more memory.",
    )


def load_saved(where: Mapping[str, str], dtype: str) -> Model:
    """Load a saved model: `base` alone, `base` with `adapter`, or the file `gguf` in the folder `base`.

    After full fine-tuning, the folder `adapter` has the whole model, and `base` is not needed.

    Raises `NotEnoughMemory` before anything is loaded.
    """
    if "adapter" in where and is_whole_model(where["adapter"]):
        where = {"base": where["adapter"]}
    device = {"": room_for(where, dtype)}
    import torch
    from transformers import AutoModelForCausalLM

    more = {"gguf_file": where["gguf"]} if "gguf" in where else {}
    model = AutoModelForCausalLM.from_pretrained(where["base"], dtype=getattr(torch, dtype), device_map=device, **more)
    if "adapter" in where:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, where["adapter"])
    return model.eval()


def is_whole_model(folder: Path | str) -> bool:
    """Whether the folder has a whole model, not an adapter."""
    return (Path(folder) / "config.json").is_file()


def stored_dtype(base: str) -> str:
    """The number format of a model's published weights: float16 if they are float16, else bfloat16."""
    from transformers import AutoConfig

    found = str(AutoConfig.from_pretrained(base).get_text_config().dtype or "bfloat16").removeprefix("torch.")
    return "float16" if found == "float16" else "bfloat16"


def judge_dtype(where: Mapping[str, str], dtype: str) -> str:
    """float32 if the model fits into memory in it, else `dtype`: in float32 only the rounding of the files matters."""
    with contextlib.suppress(NotEnoughMemory):
        room_for(where, "float32")
        return "float32"
    return dtype


def merge(base: str, adapter: str, out: str, ends: Sequence[int], repetition: float) -> None:
    """Merge the adapter into the base model and write it in the base model's own 16-bit format.

    The repetition penalty with which the answers were made is saved too: a server that applies the generation settings
    then answers like the notebook. Needs memory for one 16-bit copy: each matrix is merged on its own in float32 and
    rounded once. Files that the base model has beside them are copied. The folder `out` appears complete or not at all.
    """
    from transformers import AutoTokenizer

    merged = load_saved({"base": base, "adapter": adapter}, stored_dtype(base))
    if not is_whole_model(adapter):
        merged = merged.merge_and_unload(safe_merge=True)
    tokenizer: Tokenizer = AutoTokenizer.from_pretrained(adapter)
    merged.generation_config.pad_token_id = merged.config.pad_token_id = tokenizer.pad_token_id
    merged.generation_config.eos_token_id = list(ends)
    merged.generation_config.repetition_penalty = repetition
    make_valid(merged.generation_config)
    unfinished = Path(f"{out}-unfinished")
    merged.save_pretrained(unfinished, max_shard_size="2GB")
    tokenizer.save_pretrained(unfinished)
    carry(base, unfinished)
    unfinished.replace(out)
