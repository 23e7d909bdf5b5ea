"""The presets by kind of machine, the recipes by size of the model, and the plan with all settings of the training."""

import math
from dataclasses import dataclass
from pathlib import Path

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
TARGET_LAYERS = {"all": (*ATTENTION, "gate_proj", "up_proj", "down_proj"), "attention": ATTENTION}


@dataclass(frozen=True)
class Preset:
    """The defaults for one kind of machine. `length` is in tokens. `steps` 0: the number of epochs decides."""

    model: str
    four_bit: bool
    rank: int
    rows_a_step: int
    length: int
    steps: int
    held: int


PRESETS = {
    "CPU": Preset("smollm2", four_bit=False, rank=32, rows_a_step=4, length=256, steps=140, held=48),
    "T4": Preset("qwen3-4b", four_bit=True, rank=16, rows_a_step=16, length=512, steps=0, held=200),
    "L4": Preset("qwen3-4b", four_bit=False, rank=32, rows_a_step=16, length=512, steps=0, held=200),
    "A100-H200": Preset("qwen3-4b", four_bit=False, rank=32, rows_a_step=32, length=1024, steps=0, held=400),
}
"""Kind of machine -> its defaults."""


@dataclass(frozen=True)
class Recipe:
    """The hyper-parameters for models with at most `parameters` parameters.

    `full` and `lora` are the highest learning rates of both methods. `weights` are the shares of the trained rows by
    bucket, as in the setting BUCKET_WEIGHTS; "" keeps the shares of the data.
    """

    parameters: float
    full: float
    lora: float
    weights: str = ""

    def rate(self, method: str) -> float:
        """The highest learning rate of a method."""
        return self.full if method == "full" else self.lora


SMALL = 400e6
"""Models with at most so many parameters are fully fine-tuned on a CPU.

A row takes about as long there as with LoRA, and the loss falls further.
"""
RECIPES = (
    Recipe(SMALL, full=5e-4, lora=2e-3),
    Recipe(2e9, full=5e-5, lora=5e-4),
    Recipe(12e9, full=2e-5, lora=2e-4),
    Recipe(math.inf, full=1e-5, lora=1e-4),
)
"""By size. The first is measured (finetune_notebook/README.md). The others follow common practice: 2e-4 is the rate of
Unsloth's LoRA notebooks and 2e-5 that of full fine-tuning in the alignment handbook; larger models take lower rates."""


def recipe_for(parameters: float) -> Recipe:
    """The recipe for a model with so many parameters."""
    return next(each for each in RECIPES if parameters <= each.parameters)


@dataclass(frozen=True)
class Plan:
    """All final settings of the training. `length` is in tokens, `batch` in rows, `warmup` a share of the steps.

    `method` is "lora" or "full". After `patience` evaluations without a lower held-out loss the training stops (0: it
    does not). `weights` are the shares of the trained rows by bucket; "" keeps those of the data.
    """

    base: str
    backend: str
    device: str
    dtype: str
    four_bit: bool
    rank: int
    alpha: int
    dropout: float
    targets: tuple[str, ...]
    rate: float
    schedule: str
    warmup: float
    epochs: float
    steps: int
    batch: int
    accumulation: int
    length: int
    packing: bool
    seed: int
    held: int
    method: str = "lora"
    patience: int = 0
    weights: str = ""

    @property
    def name(self) -> str:
        """The name of the base model; for a local folder, only the folder's name."""
        return Path(self.base).name if Path(self.base).is_dir() else self.base

    @property
    def rows_a_step(self) -> int:
        """The number of rows per optimiser step."""
        return self.batch * self.accumulation
