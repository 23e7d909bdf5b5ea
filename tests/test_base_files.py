"""Files of the base model that are carried to a saved model, and its generation settings."""

import json

import pytest

from doric.core.errors import InputError
from doric.finetune.base_files import base_file, carry, in_tower, make_valid


def test_files_that_transformers_does_not_write_are_carried(tmp_path):
    """SentencePiece's model and the processor's files are copied, and the processor's own template is left out."""
    base, saved = tmp_path / "base", tmp_path / "saved"
    for folder in (base, saved):
        folder.mkdir()
    (base / "tokenizer.model").write_bytes(b"scores")
    (base / "preprocessor_config.json").write_text("{}")
    (base / "processor_config.json").write_text('{"chat_template": "another", "image_seq_length": 4}')
    (saved / "chat_template.jinja").write_text("trained")
    (saved / "chat_template.json").write_text('{"chat_template": "another"}')
    assert carry(str(base), saved) == ["tokenizer.model", "preprocessor_config.json", "processor_config.json"]
    assert (saved / "tokenizer.model").read_bytes() == b"scores"
    assert json.loads((saved / "processor_config.json").read_text()) == {"image_seq_length": 4}
    assert (saved / "chat_template.jinja").read_text() == "trained"
    assert not (saved / "chat_template.json").exists()
    assert carry(str(base), saved) == []


def test_model_that_reads_images_needs_its_processor(tmp_path):
    """A multimodal model without processor files is an error when it is merged, not when vLLM starts."""
    base, saved = tmp_path / "base", tmp_path / "saved"
    for folder in (base, saved):
        folder.mkdir()
    (saved / "config.json").write_text('{"vision_config": {"hidden_size": 64}}')
    with pytest.raises(InputError, match="no processor files") as caught:
        carry(str(base), saved)
    assert "vLLM" in caught.value.hint
    (base / "preprocessor_config.json").write_text("{}")
    assert carry(str(base), saved) == ["preprocessor_config.json"]


def test_base_model_of_the_hub_without_a_connection_is_merged(tmp_path, monkeypatch):
    """Without a connection, a text model whose weights are in the cache is merged without the Hub."""
    pytest.importorskip("transformers", reason="needs `uv sync --group finetune`")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert base_file("nowhere/at-all", "tokenizer.model") is None


@pytest.mark.parametrize(
    "module",
    [
        "model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj",
        "base_model.model.model.visual.blocks.3.attn.qkv",
        "model.multi_modal_projector.linear_1",
        "model.audio_tower.layers.1.k_proj",
    ],
)
def test_layers_that_read_images_or_sound_are_left_alone(module):
    """Layers of a vision or audio tower get no adapter."""
    assert in_tower(module)


@pytest.mark.parametrize("module", ["model.language_model.layers.0.self_attn.q_proj", "model.layers.9.mlp.up_proj"])
def test_layers_of_the_language_model_are_trained(module):
    """Layers of the language model are in no tower, also if it is a part of a multimodal model."""
    assert not in_tower(module)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"temperature": 0.6, "top_p": 0.95, "top_k": 20}, {"temperature": 0.6, "do_sample": True}),
        ({"temperature": 0.6, "do_sample": False}, {"temperature": 0.6, "do_sample": True}),
        ({"temperature": 0.0}, {"top_k": 1, "do_sample": True}),
        ({"length_penalty": 0.5}, {"length_penalty": None}),
        ({}, {"do_sample": None}),
    ],
    ids=["no do_sample", "do_sample off", "greedy", "beams", "plain"],
)
def test_generation_settings_are_made_valid(tmp_path, settings, kept):
    """Settings that Transformers refuses to save are changed so that a server still samples as it did."""
    transformers = pytest.importorskip("transformers", reason="needs `uv sync --group finetune`")
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    config = transformers.GenerationConfig.from_pretrained(tmp_path)
    make_valid(config)
    config.save_pretrained(tmp_path)
    again = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert {name: getattr(again, name) for name in kept} == kept
