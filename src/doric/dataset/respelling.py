"""Puts the accepted answers of a model in the house spelling, or counts which ones are not in it."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from doric.core.text import QUOTATION, words
from doric.dataset.chats import FOLLOW_UPS
from doric.dataset.plan import Job
from doric.dialect.spelling import to_house
from doric.quality.allowances import allowances
from doric.quality.gates import Answer, Rejection

MODES = ("on", "off", "report")
ORIGINAL, OUTSIDE = "original", "outside_house"
"""The keys of `meta`: the answer as the model wrote it, and the number of its words outside the house spelling."""
NEAR_DUPLICATE = "near_duplicate"
SHOWN = 6
"""The summary names so many of the words that were rewritten most often."""


@dataclass(frozen=True, slots=True)
class Respelt:
    """The answer to write and what to add to the `meta` of its row, or why the answer is refused after all."""

    answer: Answer
    meta: Mapping[str, Any] = field(default_factory=dict)
    rejection: Rejection | None = None


@dataclass(slots=True)
class Respelling:
    """What happens to accepted answers (`mode`), and what has happened.

    `answers` counts those that were rewritten, or that would be. `kept` counts those among them that stay as they are,
    because the gates would refuse them in the house spelling. `words` counts (old, new) of this run.
    """

    mode: str = "off"
    answers: int = 0
    kept: int = 0
    words: Counter[tuple[str, str]] = field(default_factory=Counter)

    def apply(self, answer: Answer, job: Job, judge: Callable[[Answer], Rejection | None]) -> Respelt:
        """The accepted answer as it is to be written. `judge` says why an answer is refused, None if it is accepted."""
        if self.mode == "off":
            return Respelt(answer)
        quoted = [found.group()[1:-1] for found in QUOTATION.finditer(job.prompt.text)]
        allowed = allowances(job.prompt.ask)
        explains = allowed is not None and allowed.quotes  # it speaks of words: those asked about stay, and English too
        asked = words(job.prompt.text) if explains else []
        house = to_house(answer.text, leave=[*quoted, *asked], english=not explains)
        if not house.changes:
            return Respelt(answer)
        respelt = Answer.of(house.text)
        if self.mode == "on" and (rejection := judge(respelt)):
            if rejection.gate == NEAR_DUPLICATE:  # the accepted answers are rewritten too, so only now it is found
                return Respelt(answer, rejection=rejection)
            self.kept += 1
            return Respelt(answer)
        self.answers += 1
        self.words.update((old.lower(), new.lower()) for old, new in house.changes)
        if self.mode == "on":
            return Respelt(respelt, {ORIGINAL: answer.text})
        return Respelt(answer, {OUTSIDE: len(house.changes)})

    def replay(self, meta: Mapping[str, Any]) -> None:
        """Count the answers of a row of an earlier run."""
        key = ORIGINAL if self.mode == "on" else OUTSIDE
        self.answers += sum(key in one for one in (meta, *meta.get(FOLLOW_UPS, ())))

    def __str__(self) -> str:
        """The counts for people; "" if there is nothing to tell."""
        if not self.answers and not self.kept:
            return ""
        common = ", ".join(f"{new} for {old} {count:,}" for (old, new), count in self.words.most_common(SHOWN))
        what = "put in" if self.mode == "on" else "not in"
        kept = f"; {self.kept:,} kept as written, which the gates would refuse" if self.kept else ""
        return f"{self.answers:,} answers {what} the house spelling{f' ({common})' if common else ''}{kept}"
