"""Minimal pairs: a right and a wrong sentence that differ in one thing. Which of the two is more probable for a model?

The pairs are in `data/minimal_pairs/pairs.tsv`. They need no gates, no judge and no generated text, so they measure a
model independently of everything that chose its training data. The method is that of BLiMP (Warstadt et al. 2020).
"""

import functools
import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, FiniteFloat, NonNegativeInt, StrictStr

from doric import data
from doric.core.conversations import stable_id
from doric.core.errors import InputError
from doric.core.files import read_text
from doric.evaluation.stats import Interval, share, share_change

log = logging.getLogger("doric")
FILE = "minimal_pairs/pairs.tsv"
KIND = "doric-minimal-pairs"
"""Marks a file as a result of this project."""
UNVERIFIED = "unverified"
"""The source of a pair for which there is only the authors' knowledge."""
DOUBT = "Doubt"
"""The beginning of the note of a pair whose wrong side may also be heard."""
HINT = "Give the --out of an earlier run of score_minimal_pairs.py."


@dataclass(frozen=True, slots=True)
class MinimalPair:
    """A right and a wrong sentence. `source` says where the rule is described, `note` what is in doubt."""

    phenomenon: str
    right: str
    wrong: str
    source: str = UNVERIFIED
    note: str = ""

    @property
    def sourced(self) -> bool:
        """Whether a source describes the rule, and nothing is in doubt."""
        return self.source != UNVERIFIED and not self.note.startswith(DOUBT)


@dataclass(frozen=True, slots=True)
class SentenceScore:
    """The sum of the log-probabilities (base e) of a sentence's tokens, and the number of these tokens."""

    logprob: float
    tokens: int


@dataclass(frozen=True, slots=True)
class PairScore:
    """The scores of both sentences of a pair."""

    pair: MinimalPair
    right: SentenceScore
    wrong: SentenceScore

    def is_correct(self, measure: str = "sum") -> bool:
        """Whether the right sentence is more probable by one of `MEASURES`. A tie is not correct."""
        value = MEASURES[measure]
        return value(self.pair.right, self.right) > value(self.pair.wrong, self.wrong)


MEASURES: dict[str, Callable[[str, SentenceScore], float]] = {
    "sum": lambda text, score: score.logprob,
    "per_token": lambda text, score: score.logprob / max(1, score.tokens),
    "per_character": lambda text, score: score.logprob / len(text),
}
"""How two sentences are compared. "sum" is the main figure (BLiMP's); "per_character" is lm-eval's acc_norm."""


@functools.cache
def minimal_pairs() -> tuple[MinimalPair, ...]:
    """The pairs, in the order of the file. Raises `DataError`."""
    return tuple(MinimalPair(**row) for row in data.read_table(FILE))


def phenomena(pairs: Sequence[MinimalPair]) -> dict[str, list[MinimalPair]]:
    """Phenomenon -> its pairs, in the order of the file."""
    found: dict[str, list[MinimalPair]] = {}
    for pair in pairs:
        found.setdefault(pair.phenomenon, []).append(pair)
    return found


def pairs_fingerprint(pairs: Sequence[MinimalPair]) -> str:
    """A hash of the sentences. Results with the same hash used the same pairs."""
    return stable_id(*(text for pair in pairs for text in (pair.phenomenon, pair.right, pair.wrong)))


def control(pairs: Sequence[MinimalPair], kind: Literal["labels", "words"], seed: int = 0) -> list[MinimalPair]:
    """A copy of the pairs that no model can know, to test the scoring.

    "labels" exchanges right and wrong of a random half, so the accuracy is about 50%. "words" puts the words of both
    sentences in the same random order: what is left above 50% needs no grammar, only the frequency of a word.
    """
    draw = random.Random(seed)
    if kind == "labels":
        swapped = set(draw.sample(range(len(pairs)), len(pairs) // 2))
        return [
            replace(pair, right=pair.wrong, wrong=pair.right) if at in swapped else pair
            for at, pair in enumerate(pairs)
        ]
    return [_shuffled(pair, draw) for pair in pairs]


def _shuffled(pair: MinimalPair, draw: random.Random) -> MinimalPair:
    order = list(range(max(len(pair.right.split()), len(pair.wrong.split()))))
    draw.shuffle(order)
    right, wrong = (
        " ".join(words[at] for at in order if at < len(words)) for words in (pair.right.split(), pair.wrong.split())
    )
    return replace(pair, right=right, wrong=wrong)


# ---- figures


def figures(scores: Sequence[PairScore]) -> dict[str, Any]:
    """Accuracy with intervals: `all` pairs, those that are `sourced`, and each phenomenon, by each measure.

    The intervals are for other sentences of the same phenomena, so each pair is an independent case.
    """
    by_phenomenon: dict[str, list[PairScore]] = {}
    for score in scores:
        by_phenomenon.setdefault(score.pair.phenomenon, []).append(score)
    return {
        "all": _accuracies(scores),
        "sourced": _accuracies([score for score in scores if score.pair.sourced]),
        "phenomena": {name: _accuracies(group) for name, group in by_phenomenon.items()},
    }


def changes(after: Sequence[PairScore], before: Sequence[PairScore]) -> dict[str, Any]:
    """The change of the accuracy ("sum") from `before` to `after` over the pairs that both scored, with intervals."""
    earlier = {score.pair: score for score in before}
    both = [(score, earlier[score.pair]) for score in after if score.pair in earlier]
    groups = {"all": both, "sourced": [two for two in both if two[0].pair.sourced]}
    for two in both:
        groups.setdefault(two[0].pair.phenomenon, []).append(two)
    return {name: asdict(_change(group)) for name, group in groups.items() if group}


def _change(both: Sequence[tuple[PairScore, PairScore]]) -> Interval:
    after, before = ([two[side].is_correct() for two in both] for side in (0, 1))
    return share_change(after, before, range(len(both)))


def _accuracies(scores: Sequence[PairScore]) -> dict[str, Any]:
    return {name: asdict(share(sum(score.is_correct(name) for score in scores), len(scores))) for name in MEASURES}


# ---- saved results


@dataclass(frozen=True, slots=True)
class PairsResult:
    """The scored pairs of a model, perhaps with those of a baseline. `about` says which model, where, when and how."""

    about: Mapping[str, Any]
    scores: tuple[PairScore, ...]
    baseline: "PairsResult | None" = None

    def summary(self) -> dict[str, Any]:
        """The figures, without the scores of each pair."""
        found = {**self.about, **figures(self.scores)}
        if self.baseline:
            found |= {"baseline": self.baseline.summary(), "changes": changes(self.scores, self.baseline.scores)}
        return found

    def as_json(self) -> dict[str, Any]:
        """The result as it is saved."""
        rows = [
            {**asdict(score.pair), "scores": {"right": asdict(score.right), "wrong": asdict(score.wrong)}}
            for score in self.scores
        ]
        baseline = {"baseline": self.baseline.as_json()} if self.baseline else {}
        return {"kind": KIND, **self.summary(), **baseline, "pairs": rows}


class _Score(BaseModel):
    logprob: FiniteFloat
    tokens: NonNegativeInt


class _Row(BaseModel):
    phenomenon: StrictStr
    right: Annotated[StrictStr, Field(min_length=1)]
    wrong: Annotated[StrictStr, Field(min_length=1)]
    source: StrictStr
    note: StrictStr
    scores: dict[Literal["right", "wrong"], _Score]

    def score(self) -> PairScore:
        pair = MinimalPair(self.phenomenon, self.right, self.wrong, self.source, self.note)
        right, wrong = (
            SentenceScore(each.logprob, each.tokens) for each in (self.scores["right"], self.scores["wrong"])
        )
        return PairScore(pair, right, wrong)


class _Saved(BaseModel):
    kind: Literal["doric-minimal-pairs"]
    model: StrictStr
    address: StrictStr
    date: StrictStr
    start: StrictStr
    control: StrictStr
    pairs_hash: StrictStr
    pairs: Annotated[list[_Row], Field(min_length=1)]
    baseline: "_Saved | None" = None

    def result(self) -> PairsResult:
        about = self.model_dump(exclude={"kind", "pairs", "baseline"})
        baseline = self.baseline.result() if self.baseline else None
        return PairsResult(about, tuple(row.score() for row in self.pairs), baseline)


def load_pairs_result(path: Path) -> PairsResult:
    """A saved result. Its figures are computed again. Raises `InputError` if the file is not one."""
    try:
        return _Saved.model_validate(json.loads(read_text(path))).result()
    except (ValueError, KeyError, RecursionError) as error:  # ValueError: no JSON, or not of this form
        raise InputError("not a result of minimal pairs", file=path, hint=HINT) from error


def with_baseline(result: PairsResult, before: PairsResult, path: Path) -> PairsResult:
    """The result with a baseline. Warns if they differ in more than the model.

    Raises `InputError` if they have no pair in common.
    """
    common = {score.pair for score in before.scores} & {score.pair for score in result.scores}
    if not common:
        raise InputError("it has none of these pairs", file=path, hint="Score the baseline again.")
    if len(common) < len(result.scores):
        log.warning("%s has %d of these %d pairs: changes are over those.", path, len(common), len(result.scores))
    if before.about["start"] != result.about["start"]:
        log.warning("%s was scored with another --start: a change may come from that.", path)
    return replace(result, baseline=replace(before, baseline=None))
