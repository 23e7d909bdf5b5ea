"""The progress of the training, as figures, as a bar on a terminal and as log lines elsewhere."""

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

log = logging.getLogger("doric")
LOG_EVERY = 10.0
"""Seconds between two log lines; an evaluation is always logged."""
RECENT = 20
"""The speed is that of so many last steps."""


@dataclass(frozen=True)
class Progress:
    """Where the training is. `loss` and `held_out` are in nats per token, None before the first one.

    `tokens_per_second` is that of the last steps, and `seconds_left` the time of the steps that remain.
    """

    step: int
    steps: int
    loss: float | None
    held_out: float | None
    tokens_per_second: float | None
    seconds_left: float | None

    def __str__(self) -> str:
        """One line, for a log."""
        parts = [f"step {self.step} of {self.steps}"]
        parts += [f"loss {self.loss:.3f}"] if self.loss is not None else []
        parts += [f"held-out loss {self.held_out:.3f}"] if self.held_out is not None else []
        parts += [f"{self.tokens_per_second:,.0f} tokens/s"] if self.tokens_per_second else []
        parts += [f"{duration(self.seconds_left)} left"] if self.seconds_left else []
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(50), duration(600), duration(9000)
    ('50 s', '10 min', '2 h 30 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


@dataclass(frozen=True)
class Rate:
    """Makes the progress from the trainer's log, for a run of `steps` steps with `tokens` tokens each."""

    steps: int
    tokens: float

    def __call__(self, history: Sequence[Mapping[str, Any]], seconds: Sequence[float]) -> Progress:
        """The progress after the last entry of the log; `seconds` are those of each step of this session."""
        step = int(history[-1]["step"]) if history else 0
        recent = seconds[-RECENT:]
        each = sum(recent) / len(recent) if recent else None
        return Progress(
            step=step,
            steps=self.steps,
            loss=_last(history, "loss"),
            held_out=_last(history, "eval_loss"),
            tokens_per_second=self.tokens / each if each else None,
            seconds_left=each * (self.steps - step) if each else None,
        )


def _last(history: Sequence[Mapping[str, Any]], key: str) -> float | None:
    return next((one[key] for one in reversed(history) if key in one), None)


class ProgressDisplay:
    """Shows progress: a tqdm bar if standard error is a terminal, else a log line every `LOG_EVERY` seconds."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._logged, self._step = 0.0, -1
        self._held_out: float | None = None

    def __call__(self, progress: Progress) -> None:
        """Show the figures."""
        if sys.stderr.isatty():
            self._update_bar(progress)
        elif self._is_due(progress):
            self._logged, self._held_out, self._step = time.monotonic(), progress.held_out, progress.step
            log.info("%s", progress)

    def _is_due(self, progress: Progress) -> bool:
        evaluated = progress.held_out != self._held_out
        late = progress.step < progress.steps and time.monotonic() - self._logged >= LOG_EVERY
        ended = progress.step == progress.steps != self._step
        return evaluated or late or ended

    def _update_bar(self, progress: Progress) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=progress.steps, initial=progress.step, unit="step", dynamic_ncols=True)
        self._bar.n = progress.step
        self._bar.set_postfix_str(str(progress).partition(", ")[2])
        if progress.step == progress.steps:
            self.close()

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
