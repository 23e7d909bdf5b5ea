"""The memory that training needs: an estimate by use, the batch that fits, and the measured peak."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from doric.core.errors import SettingsError
from doric.finetune.hardware import GB

if TYPE_CHECKING:
    from collections.abc import Generator

    from doric.finetune.models import Shape
    from doric.finetune.plan import Plan

BATCHES = (64, 32, 16, 8, 4, 2)


def memory_parts(shape: Shape, plan: Plan) -> dict[str, float]:
    """The estimated memory for training, in GB, by use."""
    import psutil

    full = plan.method == "full"
    adapter = 0 if full else plan.rank * sum(shape.linear.get(name, 0) for name in plan.targets)
    trained = shape.parameters if full else adapter
    parts = {
        "model weights": weight_bytes(shape, plan),
        "LoRA": adapter * 4,
        "optimiser": trained * (4 + (2 if plan.device == "cuda" else 8)),
        "activations": activation_bytes(shape, plan),
        "libraries": 0.7 * GB if plan.device == "cuda" else psutil.Process().memory_info().rss,
    }
    return {name: size / GB for name, size in parts.items()}


def weight_bytes(shape: Shape, plan: Plan) -> float:
    """The bytes of the base model's weights. In 4 bits, each weight takes 0.52 bytes with its share of a scale."""
    small = shape.quantisable if plan.four_bit else 0
    wide = plan.dtype == "float32" or plan.method == "full"  # all weights are trained in float32
    return (shape.parameters - small) * (4 if wide else 2) + small * 0.52


def activation_bytes(shape: Shape, plan: Plan) -> float:
    """The bytes of the activations of one batch and of the loss.

    With gradient checkpointing (GPU) one vector per layer is kept; without it (CPU) all activations are kept.
    """
    width, tokens = 4 if plan.dtype == "float32" else 2, plan.batch * plan.length
    one_layer = tokens * (20 * shape.hidden + 10 * shape.intermediate) * width
    kept = tokens * shape.hidden * shape.layers * width + one_layer
    loss = min(tokens, 256) * shape.vocabulary * 4 * 3
    return (kept if plan.device == "cuda" else one_layer * shape.layers) + loss


def propose_batch(shape: Shape, plan: Plan, rows_a_step: int, budget: float) -> int:
    """The largest batch, at most `rows_a_step` rows, that needs at most 90% of the budget (in GB)."""
    for batch in BATCHES:
        if batch <= rows_a_step and sum(memory_parts(shape, replace(plan, batch=batch)).values()) <= 0.9 * budget:
            return batch
    return 1


@contextlib.contextmanager
def enough_memory() -> Generator[None]:
    """In the block, running out of memory is a `SettingsError` that says which settings need less."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and type(error).__name__ != "OutOfMemoryError":  # torch's class
            raise
        hint = "Lower BATCH or MAX_LENGTH (BATCH x ACCUMULATION can stay), use 4 bits or a smaller model."
        raise SettingsError("The memory was not enough for the training.", hint=hint) from error


@contextlib.contextmanager
def peak_memory(device: str) -> Generator[list[float]]:
    """Measure peak memory in GB, of the GPU or else of this process; at the end it is added to the yielded list."""
    found: list[float] = []
    with _gpu_peak(found) if device == "cuda" else _process_peak(found):
        yield found


@contextlib.contextmanager
def _gpu_peak(found: list[float]) -> Generator[None]:
    import torch

    torch.cuda.reset_peak_memory_stats()
    yield
    found.append(torch.cuda.max_memory_reserved() / GB)


@contextlib.contextmanager
def _process_peak(found: list[float]) -> Generator[None]:
    import psutil

    done, process, most = threading.Event(), psutil.Process(), [0]

    def look() -> None:
        while not done.wait(0.1):
            most[0] = max(most[0], process.memory_info().rss)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        found.append(most[0] / GB)
