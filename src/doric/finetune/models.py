"""The base models, and the size of a model, read from its configuration without loading it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from doric.core.errors import SettingsError
from doric.core.regular_files import model_source
from doric.finetune.base_files import in_tower, readable
from doric.finetune.folders import cache_folder

if TYPE_CHECKING:
    from transformers import PretrainedConfig

MODELS = {
    "qwen3-4b": ("Qwen/Qwen3-4B-Instruct-2507", "apache-2.0"),
    "qwen3-14b": ("Qwen/Qwen3-14B", "apache-2.0"),
    "gemma4-e4b": ("unsloth/gemma-4-E4B-it", "apache-2.0"),
    "smollm3-3b": ("HuggingFaceTB/SmolLM3-3B", "apache-2.0"),
    "olmo3-7b": ("allenai/Olmo-3-7B-Instruct", "apache-2.0"),
    "gemma3-4b": ("unsloth/gemma-3-4b-it", "gemma"),
    "gemma3-12b": ("unsloth/gemma-3-12b-it", "gemma"),
    "llama-3b": ("unsloth/Llama-3.2-3B-Instruct", "llama3.2"),
    "mistral-7b": ("unsloth/mistral-7b-instruct-v0.3", "apache-2.0"),
    "mixtral": ("mistralai/Mixtral-8x7B-Instruct-v0.1", "apache-2.0"),
    "smollm2": ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"),
}
"""Name in the menu -> (name on the Hub, licence).

The originals of Gemma 3 and Llama 3.2 are gated (an account must accept the licence first), so Unsloth's copies are
used; the licence is the same. Mistral 7B v0.3 and Mixtral are from 2024 and stay for runs that began with them.
"""


@dataclass(frozen=True)
class Shape:
    """A model's size in numbers of parameters, layers and features.

    `linear`: for each layer name of the language model, the sum of input and output features. `quantisable`: the number
    of parameters that 4-bit weights make smaller: all linear layers except the output layer. Embeddings, norms and
    fused experts stay in 16 bits.
    """

    parameters: int
    embedding: int
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    linear: dict[str, int]
    quantisable: int


def base_model(menu: str, free: str) -> str:
    """The model's name or folder: from the text field if it is filled, else from the menu."""
    cached = cache_folder() / "smollm2"
    if not free and menu == "smollm2" and (cached / "config.json").is_file():
        return str(cached)
    return sixteen_bits(str(Path(free).expanduser()) if free.startswith("~") else free) or MODELS[menu][0]


def sixteen_bits(name: str) -> str:
    """The 16-bit original of a model whose name ends in -bnb-4bit: adapters are merged into 16-bit weights.

    >>> sixteen_bits("me/model")
    'me/model'
    """
    plain = name.removesuffix("-bnb-4bit").removesuffix("-unsloth")
    if name.endswith("-bnb-4bit") and not Path(name).is_dir():
        print(f"{name} is the 4-bit version of {plain}: {plain} is used, and FOUR_BIT decides about 4 bits.")
        return plain
    return name


def licence_of(base: str) -> str:
    """The licence of a base model of the menu; "other" if it is not in the menu."""
    small = Path(base).is_dir() and Path(base).name == "smollm2"
    return "apache-2.0" if small else dict(MODELS.values()).get(base, "other")


def model_shape(base: str) -> Shape:
    """The size of a model, from its configuration alone: PyTorch's meta device stores no weights.

    Raises `InputError` if its folder does not exist, and `SettingsError` if it cannot be read, is of a kind that cannot
    be trained or is already quantised.
    """
    config = _read_config(model_source(base))
    with readable(base, "configuration"):
        return _shape(config)


def _shape(config: PretrainedConfig) -> Shape:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text, linear, quantisable = config.get_text_config(), Counter(), 0
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear):
            quantisable += layer.weight.numel() if layer is not model.get_output_embeddings() else 0
        if isinstance(layer, torch.nn.Linear) and not in_tower(name):
            linear[name.rpartition(".")[2]] += layer.in_features + layer.out_features
    return Shape(
        parameters=sum(each.numel() for each in model.parameters()),
        embedding=model.get_input_embeddings().weight.numel(),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        vocabulary=text.vocab_size,
        linear=dict(linear),
        quantisable=quantisable,
    )


def _read_config(base: str) -> PretrainedConfig:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"The model {base} could not be read: {str(error).splitlines()[0]}",
            hint="Check its name and your connection; a gated model needs a token in HF_TOKEN. Without a connection, "
            "`python finetune_notebook/smollm2_checkpoint.py` creates a small model; set BASE_MODEL to its folder.",
        ) from error
    if getattr(config, "quantization_config", None):
        raise SettingsError(
            f"The weights of {base} are already quantised, so an adapter cannot be merged into them.",
            hint="Set BASE_MODEL to its 16-bit original. FOUR_BIT = yes loads it in 4 bits.",
        )
    return config
