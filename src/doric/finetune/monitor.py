"""What is watched during training: losses, gradients, a held-out loss without gain, time per step, sample answers.

This module imports transformers: import it after `versions.start_packages`.
"""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from doric.core.errors import CheckError
from doric.finetune.checkpoints import checks_without_gain
from doric.finetune.evaluate import Answerer, sample_prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from doric.finetune.config import Settings
    from doric.finetune.foreign_types import Model, Tokenizer
    from doric.quality.decontamination import HeldOutPrompt

type History = list[dict[str, Any]]
"""The trainer's log: dictionaries with `step` and `loss`, `grad_norm`, `eval_loss` or `learning_rate`."""

FAR = 50.0
"""A gradient norm of so many times the usual one is far too large."""
FAR_IN_A_ROW = 5
SKIPPED_IN_A_ROW = 20
"""In float16, steps whose gradient is not finite are skipped until the loss scale fits; so many in a row never end."""
SHORT = 80
"""The answers during the training have at most so many tokens."""
USUAL = 20
"""The usual gradient norm is known after so many steps."""


def check_loss(logs: Mapping[str, Any], step: int) -> None:
    """Raise `CheckError` if a loss is NaN or infinite: further steps would be useless.

    The loss of step 1 is computed before its weights change, so a learning rate cannot be its cause.
    """
    for name in ("loss", "eval_loss"):
        if name not in logs or math.isfinite(logs[name]):
            continue
        if step == 0 or (step == 1 and name == "loss"):
            raise CheckError(
                f"The {name} is {logs[name]} before any training: the model or its number format is broken, "
                "not the learning rate.",
                hint="Load the base model again or choose another one. On a GPU without bfloat16, some models (Gemma) "
                "overflow in float16: use FOUR_BIT, or a GPU with bfloat16.",
            )
        raise CheckError(
            f"The {name} is {logs[name]} at step {step}: training has diverged.",
            hint="Lower LEARNING_RATE, for example to a third. On a T4 (float16), also raise WARMUP.",
        )


def check_gradients(norms: Sequence[float], *, float16: bool) -> None:
    """Raise `CheckError` if the last gradient norms are not finite, or stay far above the usual one.

    `norms` has one norm per step of this session, before clipping.
    """
    bad = 0
    while bad < len(norms) and not math.isfinite(norms[-1 - bad]):
        bad += 1
    if bad >= (SKIPPED_IN_A_ROW if float16 else 1):
        raise CheckError(
            f"The gradient norm was {norms[-1]} in the last {bad} steps: training has diverged.",
            hint="Lower LEARNING_RATE, for example to a third, or raise WARMUP.",
        )
    before, last = [norm for norm in norms[:-FAR_IN_A_ROW] if math.isfinite(norm)], norms[-FAR_IN_A_ROW:]
    if len(before) >= USUAL and min(last) > FAR * statistics.median(before):
        raise CheckError(
            f"The gradient norm was at least {min(last):.3g} in the last {FAR_IN_A_ROW} steps, "
            f"but {statistics.median(before):.3g} before: training is diverging.",
            hint="Lower LEARNING_RATE, for example to a third.",
        )


class Watch(TrainerCallback):
    """Times the steps, stops the run if the loss or the gradient diverges, and shows the progress.

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
        self.norms: list[float] = []
        self.drawn = self.begun = time.monotonic()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Store the start time of a step: evaluation and checkpoints between steps are not counted."""
        self.begun = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Store the duration of the step."""
        self.seconds.append(time.monotonic() - self.begun)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:  # noqa: ANN401
        """Check loss and gradient; show the progress if it was last shown more than `every` seconds ago."""
        logs = more["logs"]
        check_loss(logs, state.global_step)
        if "grad_norm" in logs:
            self.norms.append(logs["grad_norm"])
            check_gradients(self.norms, float16=args.fp16)
        if time.monotonic() - self.drawn > self.every:
            self.update(state.log_history)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Tell the caller which checkpoint is complete."""
        self.saved(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")

    def update(self, history: History) -> None:
        """Show the progress now."""
        self.drawn = time.monotonic()
        self.draw(history, self.seconds)


class Patience(TrainerCallback):
    """Stops the training after `limit` evaluations in succession without a lower held-out loss; 0 never stops it.

    It only reads the trainer's log, so a resumed run stops where the same run without a break would stop.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Stop if the last evaluations brought no gain."""
        if 0 < self.limit <= checks_without_gain(state.log_history):
            control.should_training_stop = True


class Samples(TrainerCallback):
    """Asks the model some questions at each evaluation; `show(step, [(question, answer)])` gets the answers."""

    def __init__(
        self,
        answerer: Answerer,
        prompts: Sequence[HeldOutPrompt],
        show: Callable[[int, list[tuple[str, str]]], object],
    ) -> None:
        self.answerer, self.prompts, self.show = answerer, [one.prompt for one in prompts], show

    @classmethod
    def of(
        cls,
        model: Model,
        tokenizer: Tokenizer,
        ends: Sequence[int],
        settings: Settings,
        backend: str,
        show: Callable[[int, list[tuple[str, str]]], object],
    ) -> Samples:
        """As many questions as the settings say, with short answers."""
        limit = min(settings.max_new_tokens, SHORT)
        return cls(Answerer(model, tokenizer, ends, limit, backend), sample_prompts(settings.samples), show)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Ask and show; before training there is nothing to show yet."""
        if self.prompts and state.global_step:
            replies = self.answerer.ask(self.prompts)
            self.show(state.global_step, [(one, reply.text) for one, reply in zip(self.prompts, replies, strict=True)])
