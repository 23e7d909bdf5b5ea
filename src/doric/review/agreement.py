"""How far readers agree with each other and with the gates."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from doric.core.errors import SettingsError
from doric.core.reviews import KINDS
from doric.core.text import counted
from doric.quality.gates import check_language
from doric.review.answers import ANSWERS, ONLY_BETTER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from doric.review.answers import Review

RESAMPLES = 500
LEAST_ITEMS = 10
"""With fewer items that two readers answered, an alpha says nothing."""
type Ratings = dict[str, dict[str, str]]
"""Item -> reader -> answer."""


@dataclass(frozen=True)
class Alpha:
    """Krippendorff's alpha with its 95% interval by resampling items. `items` were answered by two readers or more."""

    kind: str
    items: int
    value: float
    low: float
    high: float


def ratings(reviews: Sequence[Review], kind: str) -> Ratings:
    """The answers to the items of a kind. A better form alone is no answer, and counts as none here."""
    found: Ratings = {}
    for review in reviews:
        for answer in review.answers:
            if answer.kind == kind and answer.answer != ONLY_BETTER:
                found.setdefault(answer.item, {})[review.by] = answer.answer
    return found


def alpha(found: Ratings, kind: str) -> Alpha | None:
    """The agreement on a kind of items; None if fewer than `LEAST_ITEMS` were answered by two readers.

    Answers that go from good to bad are ordinal, so neighbours differ less; the others are nominal. The value is 1.0 if
    all readers always gave one and the same answer, of which Krippendorff's formula says nothing.
    """
    shared = [answers for answers in found.values() if len(answers) > 1]
    if len(shared) < LEAST_ITEMS:
        return None
    scale = ANSWERS.get(kind, ()) if kind != "pair" else ()
    value = _alpha(shared, scale)
    draw = random.Random(len(shared))
    samples = sorted(_alpha(draw.choices(shared, k=len(shared)), scale) for _ in range(RESAMPLES))
    return Alpha(kind, len(shared), value, samples[int(0.025 * RESAMPLES)], samples[int(0.975 * RESAMPLES) - 1])


def _alpha(items: Sequence[Mapping[str, str]], scale: Sequence[str]) -> float:
    try:
        import krippendorff
        import numpy as np
    except ModuleNotFoundError as error:
        hint = "Start it with: uv run --group review python validation/review_doric.py agree answers"
        raise SettingsError(f"the package {error.name} is not installed", hint=hint) from error
    values = list(scale) or sorted({answer for item in items for answer in item.values()})
    if len({answer for item in items for answer in item.values()}) < 2:
        return 1.0
    counts = np.array([[list(item.values()).count(value) for value in values] for item in items])
    level = "ordinal" if scale else "nominal"
    return float(krippendorff.alpha(value_counts=counts, value_domain=range(len(values)), level_of_measurement=level))


def report(reviews: Sequence[Review], key: Mapping[str, Mapping] | None = None) -> list[str]:
    """Everything about the agreement, as lines for a terminal."""
    lines = [f"{counted(len(reviews), 'reader')}: {_listed(Counter(one.region for one in reviews))}"]
    for kind, name in KINDS.items():
        found = ratings(reviews, kind)
        if found:
            lines += _about(found, kind, name)
    lines += _gates(reviews)
    lines += _origins(reviews, key) if key else []
    return lines + _differences(reviews)


def _about(found: Ratings, kind: str, name: str) -> list[str]:
    given = Counter(answer for answers in found.values() for answer in answers.values())
    told = _listed(given) if kind != "choice" else f"{given.total()} answers"
    lines = [f"{name}: {counted(len(found), 'item')}; {told}"]
    if measured := alpha(found, kind):
        spread = f"[{measured.low:.2f}, {measured.high:.2f}]"
        return [*lines, f"  alpha {measured.value:.2f} {spread} on {measured.items} items with two readers or more"]
    shared = sum(len(answers) > 1 for answers in found.values())
    return [*lines, f"  {shared} items have two readers: too few for an alpha ({LEAST_ITEMS} are needed)"]


def _gates(reviews: Sequence[Review]) -> list[str]:
    """What the gates say of the answers that readers judged."""
    table = Counter[tuple[bool, bool]]()
    for review in reviews:
        for answer in review.answers:
            if answer.kind == "row" and answer.answer != ONLY_BETTER and answer.shown:
                table[(check_language(answer.shown) is None, answer.answer in ("natural", "stiff"))] += 1
    if not table:
        return []
    same = table[(True, True)] + table[(False, False)]
    return [
        f"readers and gates: {same} of {table.total()} verdicts on answers agree; the gates accept "
        f"{table[(True, False)]} that a reader calls wrong or not Doric, and refuse {table[(False, True)]} that a "
        "reader accepts"
    ]


def _origins(reviews: Sequence[Review], key: Mapping[str, Mapping]) -> list[str]:
    """How the blind sample was judged, by where its texts are from."""
    found: dict[str, Counter[str]] = {}
    for review in reviews:
        for answer in review.answers:
            origin = key.get(answer.item, {}).get("origin")
            if answer.kind == "row" and origin and answer.answer != ONLY_BETTER:
                found.setdefault(origin, Counter())[answer.answer] += 1
    return [f"  {origin}: {_listed(counts)}" for origin, counts in sorted(found.items())]


def _differences(reviews: Sequence[Review]) -> list[str]:
    """The items on which readers differ, with who said what, and whether the line runs between regions."""
    where = {one.by: one.region for one in reviews}
    shown = {answer.item: answer.shown for one in reviews for answer in one.answers}
    lines = []
    for kind in KINDS:
        for item, answers in ratings(reviews, kind).items():
            if len(set(answers.values())) > 1:
                lines.append(f"  {shown[item][:100]!r}: " + ", ".join(f"{by} {said}" for by, said in answers.items()))
                lines += ["    by region: " + text for text in [_by_region(answers, where)] if text]
    return ["where readers differ:", *lines] if lines else []


def _by_region(answers: Mapping[str, str], where: Mapping[str, str]) -> str:
    """The answer of each region, if each region agrees within itself and the regions differ; else ""."""
    said: dict[str, set[str]] = {}
    for by, answer in answers.items():
        said.setdefault(where[by], set()).add(answer)
    agreed = all(len(found) == 1 for found in said.values())
    return ", ".join(f"{region} {min(found)}" for region, found in said.items()) if agreed and len(said) > 1 else ""


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
