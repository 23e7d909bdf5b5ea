"""A pair of answers to one prompt, and how it is written for TRL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from doric.core.conversations import stable_id
from doric.core.text import fold
from doric.dialect.scores import score

if TYPE_CHECKING:
    from collections.abc import Mapping

type Turn = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two answers to one prompt. `prompt` are the turns before them, of which the last is the user's.

    `why` is the gate that refused the rejected answer, `judge`, or `review`; `reason` says it in words. `margin` is how
    much better the chosen answer is, by what `margin_of` names: `judge` (mean score, 0 to 4) or `scots` (share of Scots
    words, -1 to 1).
    """

    prompt: tuple[Turn, ...]
    chosen: str
    rejected: str
    why: str
    reason: str
    margin: float
    margin_of: str
    meta: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Equal for two pairs with the same prompt and answers, apart from case and spaces."""
        return stable_id(*(fold(turn["content"]) for turn in self.prompt), fold(self.chosen), fold(self.rejected))

    @property
    def lengths(self) -> tuple[int, int]:
        """The numbers of words of the chosen and of the rejected answer."""
        return len(self.chosen.split()), len(self.rejected.split())

    def row(self) -> dict[str, Any]:
        """The pair in TRL's format for DPO and ORPO: `prompt`, `chosen` and `rejected` are lists of turns."""
        return {
            "prompt": list(self.prompt),
            "chosen": [_answer(self.chosen)],
            "rejected": [_answer(self.rejected)],
            "meta": self._meta(),
        }

    def verdicts(self) -> list[dict[str, Any]]:
        """The two answers one by one, in TRL's format for KTO: `label` says whether the answer is wanted."""
        answers = ((self.chosen, True), (self.rejected, False))
        return [
            {"prompt": list(self.prompt), "completion": [_answer(text)], "label": wanted, "meta": self._meta()}
            for text, wanted in answers
        ]

    def _meta(self) -> dict[str, Any]:
        found = {"why": self.why, "reason": self.reason, "margin": self.margin, "margin_of": self.margin_of}
        return {**self.meta, **found}


def _answer(text: str) -> Turn:
    return {"role": "assistant", "content": text}


def margin(
    chosen: str, rejected: str, judged: tuple[Mapping[str, int] | None, Mapping[str, int] | None]
) -> tuple[float, str]:
    """How much better the chosen answer is, and by which measure: the judge's if it scored both answers.

    >>> margin("", "", ({"answers": 5, "doric": 4}, {"answers": 2, "doric": 3}))
    (2.0, 'judge')
    """
    better, worse = judged
    if better and worse:
        return round(_mean(better) - _mean(worse), 2), "judge"
    return round(score(chosen).substrate - score(rejected).substrate, 4), "scots"


def _mean(scores: Mapping[str, int]) -> float:
    return sum(scores.values()) / len(scores)
