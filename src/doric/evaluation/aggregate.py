"""Answers to held-out prompts as figures with intervals: what passes, what holds, what is turned away, what drifts.

Pure: marked answers in, figures out. No answer, whether the call failed or nothing was said, stays in every share as a
failure and counts with the worst value wherever a mean is a mark of quality. Means that only describe (length,
repetition, forms of Central Scots, times) are over the answers that there are, and say over how many. The turns of one
talk are no independent cases, so intervals go by prompt.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict
from typing import Any

from doric.evaluation.metrics import ModelAnswer, ScoredAnswer, mark
from doric.evaluation.stats import Interval, grouped_share, mean, median, share_change
from doric.llm.response import estimate_tokens

BUCKETS = ("core", "adv", "multi", "safety", "benign", "drift")
"""The buckets as they are shown; the harmless asks of the safety bucket stand apart."""

type Measure = Callable[[ScoredAnswer], float]

SHARES: dict[str, Measure] = {
    "passes": lambda one: not one.fault,
    "holds_doric": lambda one: one.holds,
    "on_topic": lambda one: one.on_topic,
    "refuses": lambda one: one.refuses,
    "filtered": lambda one: one.filtered,
    "over_refuses": lambda one: one.refuses or one.filtered or not one.said,
    "finished": lambda one: one.said and one.given.finish == "stop",
}
"""Shares of all that was asked; no answer is no hit, but for `over_refuses`, where a hit is bad."""
QUALITIES: dict[str, tuple[Measure, float]] = {
    "points": (lambda one: one.points, 0.0),
    "substrate": (lambda one: one.answer.scores.substrate, 0.0),
    "north_east": (lambda one: one.answer.scores.north_east, 0.0),
    "spread": (lambda one: one.answer.scores.spread, 0.0),
    "leakage": (lambda one: one.answer.scores.leakage, 1.0),
    "own": (lambda one: one.own, 0.0),
}
"""Means over all that was asked, and what no answer counts as."""
DESCRIPTIONS: dict[str, Measure] = {
    "contamination": lambda one: one.answer.scores.contamination,
    "words": lambda one: len(one.answer.words),
    "repetition": lambda one: one.repetition,
}
"""Means over the answers that there are."""
WANTED = {"refuses": ("safety",), "filtered": ("safety",), "over_refuses": ("core", "adv", "multi", "benign", "drift")}
"""Shares that make sense in some buckets only."""


def figures(marked: Sequence[ScoredAnswer], bucket: str) -> dict[str, Any]:
    """The figures of one bucket ("all" for everything), each an interval as a dictionary."""
    answers = [one for one in marked if one.said]
    found: dict[str, Any] = {"asked": len(marked), "answered": len(answers)}
    for name, measure in SHARES.items():
        if bucket in WANTED.get(name, (bucket,)):
            found[name] = asdict(grouped_share([bool(measure(one)) for one in marked], _talks(marked)))
    for name, (measure, worst) in QUALITIES.items():
        found[name] = asdict(mean([measure(one) if one.said else worst for one in marked], _talks(marked)))
    for name, measure in DESCRIPTIONS.items():
        found[name] = asdict(mean([measure(one) for one in answers], _talks(answers)))
    ends = Counter(one.given.finish for one in marked if one.came)
    return found | {"finish": dict(ends.most_common()), "times": _times(answers)}


def board(marked: Sequence[ScoredAnswer]) -> dict[str, Any]:
    """All figures: `all`, each of `buckets` that was asked, `drift` over turns, and what became of the `calls`."""
    by_bucket = {bucket: [one for one in marked if one.bucket == bucket] for bucket in BUCKETS}
    return {
        "all": figures(marked, "all"),
        "buckets": {bucket: figures(ones, bucket) for bucket, ones in by_bucket.items() if ones},
        "drift": drift(by_bucket["drift"]),
        "calls": calls(marked),
    }


def drift(marked: Sequence[ScoredAnswer]) -> dict[str, Any]:
    """By turn of the `talks` long talks: share that passes and points; and the change from first turns to last.

    The change is over the talks answered throughout: one that broke off cannot tell how it would have gone on.
    """
    turns = sorted({one.given.turn for one in marked})
    at = {turn: [one for one in marked if one.given.turn == turn] for turn in turns}
    talks: dict[str, dict[int, ScoredAnswer]] = {}
    for one in marked:
        talks.setdefault(one.held.id, {})[one.given.turn] = one
    whole = [
        {turn: one.points for turn, one in talk.items()}
        for talk in talks.values()
        if all(one.said and len(talk) == 1 + len(one.held.turns) for one in talk.values())
    ]
    return {
        "turns": [
            {
                "turn": turn + 1,
                "passes": asdict(grouped_share([not one.fault for one in ones], _talks(ones))),
                "points": asdict(mean([one.points if one.said else 0.0 for one in ones], _talks(ones))),
            }
            for turn, ones in at.items()
        ],
        "change": asdict(mean([_late(talk) - _early(talk) for talk in whole])),
        "talks": len(talks),
    }


def _talks(marked: Sequence[ScoredAnswer]) -> list[str]:
    return [one.held.id for one in marked]


def _early(talk: Mapping[int, float]) -> float:
    return _middle([talk[turn] for turn in sorted(talk)[: max(1, len(talk) // 3)]])


def _late(talk: Mapping[int, float]) -> float:
    return _middle([talk[turn] for turn in sorted(talk)[-max(1, len(talk) // 3) :]])


def _middle(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def calls(marked: Sequence[ScoredAnswer]) -> dict[str, Any]:
    """How many turns were asked and stayed without an answer, and the faults met on the way, by kind."""
    faults = Counter(fault for one in marked for fault in one.given.faults)
    failed = [one for one in marked if not one.came]
    attempts = sum(len(one.given.faults) + one.came for one in marked)
    return {
        "asked": len(marked),
        "failed": len(failed),
        "empty": sum(one.came and not one.said for one in marked),
        "attempts": attempts,
        "faults": dict(faults.most_common()),
        "errors": dict(Counter(one.given.error for one in failed).most_common(10)),
    }


def compare(after: Sequence[ScoredAnswer], before: Sequence[ScoredAnswer]) -> dict[str, dict[str, Any]]:
    """Bucket -> figure -> the change from `before` to `after`, with both, over the turns that both were asked.

    Both are marked anew among those turns alone: what is one's own depends on what else was said.
    """
    common = {_place(one) for one in after} & {_place(one) for one in before}
    earlier = {_place(one): one for one in _among(before, common)}
    pairs = [(one, earlier[_place(one)]) for one in _among(after, common)]
    found = {"all": _changes(pairs, "all")} if pairs else {}
    for bucket in BUCKETS:
        if mine := [pair for pair in pairs if pair[0].bucket == bucket]:
            found[bucket] = _changes(mine, bucket)
    return found


def _place(one: ScoredAnswer) -> tuple[str, int]:
    return one.held.id, one.given.turn


def _among(marked: Sequence[ScoredAnswer], places: Set[tuple[str, int]]) -> list[ScoredAnswer]:
    kept = [one for one in marked if _place(one) in places]
    return mark([one.given for one in kept], {one.held.id: one.held for one in kept})


def _changes(pairs: Sequence[tuple[ScoredAnswer, ScoredAnswer]], bucket: str) -> dict[str, Any]:
    after, before = (figures(side, bucket) for side in zip(*pairs, strict=True))
    talks = _talks([one for one, _ in pairs])
    found: dict[str, Interval] = {}
    for name, measure in SHARES.items():
        if bucket in WANTED.get(name, (bucket,)):
            sides = ([bool(measure(pair[at])) for pair in pairs] for at in (0, 1))
            found[name] = share_change(*sides, talks)
    for name, (measure, worst) in QUALITIES.items():
        one, other = ([measure(pair[at]) if pair[at].said else worst for pair in pairs] for at in (0, 1))
        found[name] = mean([new - old for new, old in zip(one, other, strict=True)], talks)
    return {name: {**asdict(change), "before": before[name], "after": after[name]} for name, change in found.items()}


def _times(answers: Sequence[ScoredAnswer]) -> dict[str, float | bool | None]:
    given = [one.given for one in answers]
    first = [one.first for one in given if one.first is not None]
    return {
        "first_token_median": median(first),
        "first_token_p95": sorted(first)[round(0.95 * (len(first) - 1))] if first else None,
        "tokens_per_second_median": median([rate for one in given if (rate := _rate(one))]),
        "tokens_guessed": any(not one.tokens for one in given if _rate(one)),
        "seconds_median": median([one.seconds for one in given]),
    }


def _rate(one: ModelAnswer) -> float | None:
    """Tokens a second once the first was there; None of an answer that came whole."""
    tokens = one.tokens or int(estimate_tokens(len(one.text)))
    if one.first is None or tokens < 2 or one.seconds <= one.first:
        return None
    return (tokens - 1) / (one.seconds - one.first)
