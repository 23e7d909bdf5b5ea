"""The presets for each kind of machine, and the plan of a run: all final settings of the training."""

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
    rate: float
    rows_a_step: int
    length: int
    steps: int
    held: int


PRESETS = {
    "CPU": Preset("smollm2", four_bit=False, rank=32, rate=2e-3, rows_a_step=4, length=256, steps=170, held=48),
    "T4": Preset("qwen3-4b", four_bit=True, rank=16, rate=2e-4, rows_a_step=16, length=512, steps=0, held=200),
    "L4": Preset("qwen3-4b", four_bit=False, rank=32, rate=2e-4, rows_a_step=16, length=512, steps=0, held=200),
    "A100-H200": Preset("qwen3-4b", four_bit=False, rank=32, rate=2e-4, rows_a_step=32, length=1024, steps=0, held=400),
}
"""Kind of machine -> its defaults."""


@dataclass(frozen=True)
class Plan:
    """All final settings of the training. `length` is in tokens, `batch` in rows, `warmup` a share of the steps."""

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

    @property
    def name(self) -> str:
        """The name of the base model; for a local folder, only the folder's name."""
        return Path(self.base).name if Path(self.base).is_dir() else self.base

    @property
    def rows_a_step(self) -> int:
        """The number of rows per optimiser step."""
        return self.batch * self.accumulation
