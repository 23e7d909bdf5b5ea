"""Small base models with the awkward files of real ones are merged so that a server asks what was trained."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

import tiny_models
from doric.finetune.chat_template import end_ids, load_tokenizer, set_padding
from doric.finetune.export import TOKENS, save_adapter
from doric.finetune.loading import add_adapter, load_base
from doric.finetune.models import model_shape
from doric.finetune.plan import TARGET_LAYERS
from doric.finetune.saved_models import merge
from doric.finetune.saved_tokens import TrainedTokens, check_folder

pytestmark = pytest.mark.usefixtures("finetune_group")


def exported(base: Path, folder: Path, plan):
    """Train nothing, but save an adapter of the base model and merge it; the trained tokens and the layers of LoRA."""
    import torch

    plan = replace(plan, base=str(base), targets=TARGET_LAYERS["all"], rank=8, dtype="bfloat16")
    tokenizer = load_tokenizer(plan.base, date(2026, 11, 26))
    set_padding(tokenizer, "auto")
    model = add_adapter(load_base(plan), plan)
    layers = [
        name for name, weights in model.named_parameters() if "lora_B" in name and torch.nn.init.ones_(weights).any()
    ]
    save_adapter(model, tokenizer, plan, folder / "adapter")
    merge(plan.base, str(folder / "adapter"), str(folder / "merged"), end_ids(tokenizer, plan.base), 1.1)
    return TrainedTokens.read(folder / TOKENS), list(layers)


@pytest.mark.parametrize("name", ["sentencepiece", "thinking", "dated", "sampling", "gemma3"])
def test_merged_model_writes_the_trained_prompts(plan, tmp_path, name):
    """Whatever the base model's template and settings are, all 283 prompts and the end tokens are as in training."""
    trained, _ = exported(getattr(tiny_models, f"{name}_base")(tmp_path / "base"), tmp_path, plan)
    found = check_folder(tmp_path / "merged", trained)
    assert found == {"eos": True, "template": True, "prompts": "283 of 283"}


def test_model_that_reads_images_keeps_its_processor_and_its_vision_tower(plan, tmp_path):
    """LoRA trains only the language model, and the files for images, without a template of their own, are there."""
    base = tiny_models.gemma3_base(tmp_path / "base")
    shape = model_shape(str(base))
    assert set(TARGET_LAYERS["all"]) <= set(shape.linear)
    assert shape.linear["q_proj"] == 2 * (64 + 64)
    _, layers = exported(base, tmp_path, plan)
    assert len(layers) == 2 * len(TARGET_LAYERS["all"])
    assert not [name for name in layers if "vision" in name]
    assert {"processor_config.json", "tokenizer.model"} <= {file.name for file in (tmp_path / "merged").iterdir()}
    assert not (tmp_path / "merged/chat_template.json").exists()
