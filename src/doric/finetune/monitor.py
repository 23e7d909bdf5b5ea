"""What is watched during training: the losses, the time per step, and a loss that is not a number.

This module imports transformers: import it after `versions.start_packages`.
"""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from doric.core.errors import CheckError

type History = list[dict[str, Any]]
"""The trainer's log: dictionaries with `step` and `loss`, `eval_loss` or `learning_rate`."""


def check_loss(logs: Mapping[str, Any], step: int) -> None:
    """Raise `CheckError` if a loss is NaN or infinite: further steps would be useless."""
    for name in ("loss", "eval_loss"):
        if name in logs and not math.isfinite(logs[name]):
            raise CheckError(
                f"The {name} is {logs[name]} at step {step}: training has diverged.",
                hint="Lower LEARNING_RATE, for example to a third. On a T4 (float16), also raise WARMUP.",
            )


class Watch(TrainerCallback):
    """Times the steps, stops the run if the loss diverges, and shows the progress.

    `draw(history, seconds)` is called with the trainer's log and the seconds of each step of this session: at most
    once in `every` seconds, and at the end. `saved` is called with the folder of each checkpoint.
    """

    def __init__(
        self,
        draw: Callable[[History, list[float]], object],
        every: float = 10.0,
        saved: Callable[[Path], object] = lambda folder: None,
    ) -> None:
        self.draw, self.every, self.saved = draw, every, saved
        self.seconds: list[float] = []
        self.drawn = self.begun = time.monotonic()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Store the start time of a step: evaluation and checkpoints between steps are not counted."""
        self.begun = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Store the duration of the step."""
        self.seconds.append(time.monotonic() - self.begun)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:  # noqa: ANN401
        """Check the loss; show the progress if it was last shown more than `every` seconds ago."""
        check_loss(more["logs"], state.global_step)
        if time.monotonic() - self.drawn > self.every:
            self.update(state.log_history)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Tell the caller which checkpoint is complete."""
        self.saved(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")

    def update(self, history: History) -> None:
        """Show the progress now."""
        self.drawn = time.monotonic()
        self.draw(history, self.seconds)
