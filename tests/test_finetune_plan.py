"""From settings to a plan: training library, base model, layers, batch."""

import ast
import json
import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from doric.core.errors import DoricError
from doric.finetune.config import Settings
from doric.finetune.loading import add_adapter, load_base, speaking
from doric.finetune.memory import enough_memory, propose_batch
from doric.finetune.models import base_model, model_shape
from doric.finetune.settle import with_batch, with_targets
from doric.finetune.train import reporters
from doric.finetune.versions import choose_backend

pytestmark = pytest.mark.usefixtures("finetune_group")


def test_unsloth_is_chosen_only_with_a_gpu():
    """Without a GPU, TRL is used, and BACKEND = unsloth stops the run."""
    assert choose_backend("auto", gpu=False) == "trl"
    assert choose_backend("trl", gpu=True) == "trl"
    with pytest.raises(DoricError, match="CUDA"):
        choose_backend("unsloth", gpu=False)


def test_unsloth_is_called_with_arguments_that_exist(plan, monkeypatch):
    """The source of the installed Unsloth has every argument that the notebook uses, which works without a GPU."""
    from importlib.metadata import distribution

    calls = {}

    class Recorder:
        from_pretrained = staticmethod(lambda *args, **more: (calls.update(from_pretrained=more), (None, None))[1])
        get_peft_model = staticmethod(lambda *args, **more: calls.update(get_peft_model=more))
        for_inference = staticmethod(lambda *args, **more: calls.update(for_inference=more))
        for_training = staticmethod(lambda *args, **more: calls.update(for_training=more))

    monkeypatch.setitem(sys.modules, "unsloth", SimpleNamespace(FastLanguageModel=Recorder))
    gpu = replace(plan, backend="unsloth", device="cuda", four_bit=True)
    load_base(gpu)
    add_adapter(None, gpu)
    with speaking(SimpleNamespace(training=True, eval=lambda: None, train=lambda on: None), "unsloth"):
        pass
    assert set(calls) == {"from_pretrained", "get_peft_model", "for_inference", "for_training"}
    for name, file in (("from_pretrained", "loader"), ("get_peft_model", "llama")):
        source = next(one for one in distribution("unsloth").files if str(one) == f"unsloth/models/{file}.py")
        tree = ast.walk(ast.parse(source.locate().read_text("utf-8")))
        known = [
            {arg.arg for arg in one.args.args} for one in tree if isinstance(one, ast.FunctionDef) and one.name == name
        ]
        assert any(set(calls[name]) <= arguments for arguments in known), name


def test_model_is_sized_without_being_loaded(smollm2):
    """The size of the model is computed only from its configuration, and tied weights are counted once."""
    shape = model_shape(str(smollm2))
    assert (shape.parameters, shape.layers, shape.vocabulary) == (134_515_008, 30, 49_152)
    assert shape.linear["q_proj"] == 30 * (576 + 576)


def test_model_that_cannot_be_read_gives_a_clear_error(monkeypatch):
    """If a model cannot be read, the error has a hint that works without a connection."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DoricError, match="nowhere/at-all could not be read") as caught:
        model_shape("nowhere/at-all")
    assert "smollm2_checkpoint.py" in caught.value.hint
    with pytest.raises(DoricError, match="runs/first/export/merged: there is no such folder"):
        model_shape("runs/first/export/merged")


def test_quantised_base_is_refused_or_mapped(tmp_path, capsys):
    """A 4-bit name on the Hub is replaced with its 16-bit original, and a folder with quantised weights is refused."""
    assert base_model("qwen3-4b", "unsloth/Qwen3-4B-unsloth-bnb-4bit") == "unsloth/Qwen3-4B"
    assert "FOUR_BIT decides" in capsys.readouterr().out
    settings = {"model_type": "llama", "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(DoricError, match="already quantised") as caught:
        model_shape(str(tmp_path))
    assert "16-bit original" in caught.value.hint


def test_fused_experts_are_neither_trained_nor_quantised(plan, tmp_path, capsys):
    """Only the attention of a Mixtral is trained, with a note, and the estimate counts the experts in 16 bits."""
    from transformers import MixtralConfig

    MixtralConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    ).save_pretrained(tmp_path)
    shape = model_shape(str(tmp_path))
    assert shape.quantisable == 2 * (64 * 64 * 2 + 64 * 32 * 2)
    settled = with_targets(plan, shape)
    assert settled.targets == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert "fused experts" in capsys.readouterr().out
    with pytest.raises(DoricError, match="none of the layers c_attn"):
        with_targets(replace(plan, targets=("c_attn",)), shape)


def test_batch_shrinks_with_the_budget(plan, smollm2):
    """With less memory the suggested batch is smaller, and gradient accumulation compensates for this."""
    shape = model_shape(str(smollm2))
    batches = [propose_batch(shape, plan, 16, budget) for budget in (64.0, 6.0, 3.0, 0.5)]
    assert batches == sorted(batches, reverse=True)
    assert batches[0] == 16
    assert batches[-1] == 1
    small = with_batch(plan, Settings(), shape, 16, 3.0)
    assert small.batch * small.accumulation >= 16


def test_reporting_is_off_without_a_key(monkeypatch):
    """Weights & Biases and trackio are not used if their keys are missing."""
    for name in ("WANDB_API_KEY", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    assert reporters() == ["none"]
    assert os.environ.get("WANDB_API_KEY") is None


def test_out_of_memory_names_the_settings_that_need_less():
    """Running out of memory in training gives a hint, and other errors of torch stay as they are."""
    import torch

    with pytest.raises(DoricError, match="memory was not enough") as caught, enough_memory():
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert "BATCH" in caught.value.hint
    with pytest.raises(RuntimeError, match="shapes"), enough_memory():
        raise RuntimeError("shapes do not match")
