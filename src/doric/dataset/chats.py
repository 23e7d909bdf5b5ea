"""Chats of more than one exchange while they are made, their rows, and how the Doric of later answers compares.

A chat is written when it is complete. Until then it is only in memory, so a crash costs at most that chat.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from doric.core.conversations import Row, make_row
from doric.dataset.plan import FIRST_TURNS, TURNS, Exchange, Job
from doric.dataset.prompts import Prompt
from doric.quality.gates import Answer, is_region_unmarked

DIGITS = 4
FOLLOW_UPS = "follow_ups"
"""The key of `meta` with the language, tries and scores of each later answer."""
UNMARKED = "unmarked"
"""`meta.region` of an answer in Scots that has no form of the North-East; other answers have no `meta.region`."""
SCORES = ("substrate", "north_east", "leakage", "spread", "contamination")


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted answer, the job whose prompt it answers, its tries, and what else its meta has."""

    job: Job
    answer: Answer
    tries: int
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Chat:
    """The accepted answers of a chat so far. `next_prompt` is the follow-up that is to be answered next, if any."""

    job: Job
    accepted: list[Accepted] = field(default_factory=list)
    next_prompt: Prompt | None = None

    @property
    def now(self) -> Job:
        """The job with the user's turn that is to be answered next."""
        return replace(self.job, prompt=self.next_prompt) if self.next_prompt else self.job

    @property
    def complete(self) -> bool:
        """Whether the chat has all its turns."""
        return len(self.accepted) + 1 >= self.job.turns

    @property
    def turn(self) -> int:
        """The number of the turn that is answered next: 2 for the first answer, 3 for the first follow-up."""
        return FIRST_TURNS + len(self.accepted)

    @property
    def said(self) -> tuple[Exchange, ...]:
        """What was said so far."""
        return tuple(Exchange(one.job.prompt, one.answer.text) for one in self.accepted)

    @property
    def answers(self) -> list[Answer]:
        """The answers so far."""
        return [one.answer for one in self.accepted]

    def row(self, meta: Mapping[str, Any]) -> Row:
        """The row of a complete chat; `meta` is that of its first answer."""
        first, *later = self.accepted
        chat = {TURNS: self.job.turns, FOLLOW_UPS: [_follow_up(one) for one in later]} if later else {}
        pairs = ((one.job.prompt.text, one.answer.text) for one in later)
        return make_row(first.job.prompt.text, first.answer.text, {**meta, **first.more, **chat}, *pairs)


def tried(id: str, turn: int) -> str:
    """The key of the tries for one turn of a row.

    >>> tried("1f", 2), tried("1f", 3)
    ('1f', '1f:3')
    """
    return id if turn == FIRST_TURNS else f"{id}:{turn}"


def scores_of(answer: Answer) -> dict[str, Any]:
    """The scores of an answer as `meta` has them, and its region if it is unmarked."""
    figures = {name: round(getattr(answer.scores, name), DIGITS) for name in SCORES}
    return {**figures, **({"region": UNMARKED} if is_region_unmarked(answer) else {})}


def _follow_up(one: Accepted) -> dict[str, Any]:
    prompt = one.job.prompt
    asked = {"ask": prompt.ask} if prompt.ask else {}
    figures = {"wc": len(one.answer.words), "tries": one.tries, **scores_of(one.answer)}
    return {"wants": prompt.wants, **asked, "lang": prompt.lang, **figures, **one.more}


@dataclass(slots=True)
class Drift:
    """The Doric of the first and of the later answers of chats: sums of their scores."""

    chats: int = 0
    later: int = 0
    scots: list[float] = field(default_factory=lambda: [0.0, 0.0])
    north_east: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def add(self, meta: Mapping[str, Any]) -> None:
        """Add a row by its meta. Rows without follow-ups, or without their scores, change nothing."""
        later = meta.get(FOLLOW_UPS)
        if not isinstance(later, list) or not later:
            return
        try:
            scores = [(one["substrate"] + 0.0, one["north_east"] + 0.0) for one in (meta, *later)]
        except (KeyError, TypeError):
            return
        self.chats += 1
        self.later += len(later)
        for at, sums in enumerate((self.scots, self.north_east)):
            sums[0] += scores[0][at]
            sums[1] += sum(score[at] for score in scores[1:])

    def __str__(self) -> str:
        """The means for people; "" without chats."""
        if not self.later:
            return ""
        scots, north_east = (
            f"{sums[1] / self.later:.0%} (first answers {sums[0] / self.chats:.0%})"
            for sums in (self.scots, self.north_east)
        )
        return f"{self.later:,} later answers; Scots words {scots}, North-East words {north_east}"
