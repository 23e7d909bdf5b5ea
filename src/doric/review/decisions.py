"""What the readers together want: corrections on which they agree, and the items on which they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from doric.core.text import fold
from doric.review.answers import ONLY_BETTER, Answer, Review

GOOD, BAD = ("natural", "say"), ("wrong", "not_doric", "never")
LEAVES = ""
"""Wanted instead of a text that is to leave."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What all readers of an item want who want something: the text that they were shown, and the text instead.

    `wanted` is "" if the text is to leave. `by` are the pseudonyms of the readers, `region` is theirs.
    """

    item: str
    shown: str
    wanted: str
    by: tuple[str, ...]
    region: str
    prompt: tuple[Mapping[str, str], ...] = ()

    @property
    def kind(self) -> str:
        """The kind of the item."""
        return self.item.partition(":")[0]

    @property
    def changes(self) -> bool:
        """Whether the text is to change or to leave."""
        return fold(self.wanted) != fold(self.shown) or self.wanted.split() != self.shown.split()


def decide(reviews: Sequence[Review]) -> tuple[list[Decision], list[str]]:
    """The decisions on all items, and a note for each item on which readers want different things."""
    wanted: dict[str, list[tuple[Review, Answer, str]]] = {}
    for review in reviews:
        for answer in review.answers:
            if (text := wish(answer)) is not None:
                wanted.setdefault(answer.item, []).append((review, answer, text))
    found, notes = [], []
    for item, wishes in wanted.items():
        if len({" ".join(text.split()) for *_, text in wishes}) > 1:
            said = ", ".join(f"{review.by} ({review.region}) {text or 'away with it'!r}" for review, _, text in wishes)
            notes.append(f"Readers differ, so nothing is changed: {wishes[0][1].shown!r}: {said}")
            continue
        _, answer, text = wishes[0]
        regions = sorted({review.region for review, *_ in wishes})
        by = tuple(dict.fromkeys(review.by for review, *_ in wishes))
        found.append(Decision(item, answer.shown, text, by, ", ".join(regions), answer.prompt))
    return found, notes


def wish(answer: Answer) -> str | None:
    """The text that a reader wants: a better one, the same, or "" for none; None if the reader did not say.

    >>> wish(Answer("line:1", "Fit like?", "wrong", "")), wish(Answer("line:1", "Fit like?", "stiff", ""))
    ('', None)
    """
    if answer.kind == "pair":
        return answer.answer if answer.answer != "same" else None
    if answer.better:
        return answer.better if answer.kind == "row" else " ".join(answer.better.split())
    if answer.kind == "choice":
        return answer.answer if answer.answer not in ("both", "neither", ONLY_BETTER) else None
    if answer.answer in GOOD:
        return answer.shown
    return LEAVES if answer.answer in BAD else None
