"""Figures with the ends of their 95% intervals: shares, means, and changes of a share. Knows only numbers.

Cases may belong together, as the turns of one talk do: then it is the groups that are independent, not the cases.
"""

import math
import random
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

Z = 1.959964
RESAMPLES = 1000
FEWEST = 5
"""Groups below which a mean has no interval, and cases of one group are taken for one case."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, the ends of its 95% interval (None where too few cases tell), and how many cases it rests on."""

    value: float
    low: float | None
    high: float | None
    n: int


def share(hits: int, n: int) -> Interval:
    """The share of `n` cases that are hits, with Wilson's interval; no case at all tells nothing, from 0 to 1.

    >>> one = share(9, 10)
    >>> round(one.value, 3), round(one.low or 0, 3), round(one.high or 0, 3)
    (0.9, 0.596, 0.982)
    """
    if n == 0:
        return Interval(0.0, 0.0, 1.0, 0)
    return Interval(hits / n, *_wilson(hits / n, n), n)


def grouped_share(hits: Sequence[bool], groups: Sequence[Hashable]) -> Interval:
    """The share of hits; as many cases as the groups are worth decide how wide its interval is."""
    if not hits:
        return share(0, 0)
    rate = sum(hits) / len(hits)
    return Interval(rate, *_wilson(rate, _worth(hits, groups)), len(hits))


def share_change(after: Sequence[bool], before: Sequence[bool], groups: Sequence[Hashable]) -> Interval:
    """The change of a share over pairs of cases, of which there is one at least: Newcombe's interval (1998, 10)."""
    n, p, q = len(after), sum(after) / len(after), sum(before) / len(before)
    (p_low, p_high), (q_low, q_high) = (_wilson(rate, _worth(hits, groups)) for rate, hits in ((p, after), (q, before)))
    phi = _phi(Counter(zip(after, before, strict=True)))
    down, up = _joined(p - p_low, q_high - q, phi), _joined(p_high - p, q - q_low, phi)
    return Interval(p - q, max(-1.0, p - q - down), min(1.0, p - q + up), n)


def mean(values: Sequence[float], groups: Sequence[Hashable] | None = None, *, seed: int = 0) -> Interval:
    """The mean with a bootstrap interval, drawn by whole groups: the same values and seed give the same ends."""
    n = len(values)
    if n == 0:
        return Interval(0.0, None, None, 0)
    parts: dict[Hashable, list[float]] = {}
    for group, value in zip(range(n) if groups is None else groups, values, strict=True):
        parts.setdefault(group, []).append(value)
    if len(parts) < FEWEST:
        return Interval(sum(values) / n, None, None, n)
    draw = random.Random(seed)
    sums = [(sum(part), len(part)) for part in parts.values()]
    means = sorted(_ratio(draw.choices(sums, k=len(sums))) for _ in range(RESAMPLES))
    tail = round(0.025 * (len(means) - 1))
    return Interval(sum(values) / n, means[tail], means[-1 - tail], n)


def median(values: Sequence[float]) -> float | None:
    """The middle value, None of nothing.

    >>> median([3, 1, 2, 10])
    2.5
    """
    ordered, n = sorted(values), len(values)
    if not n:
        return None
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def _wilson(rate: float, n: float) -> tuple[float, float]:
    room = Z * Z / n
    middle = (rate + room / 2) / (1 + room)
    half = Z * math.sqrt(rate * (1 - rate) / n + room / (4 * n)) / (1 + room)
    # at the ends the arithmetic may miss 0, 1 or the rate itself by a rounding
    return min(rate, max(0.0, middle - half)), max(rate, min(1.0, middle + half))


def _worth(hits: Sequence[bool], groups: Sequence[Hashable]) -> float:
    """How many independent cases these are worth: all of them where groups are no more alike than chance has it.

    All alike or in a few groups, they tell nothing of how alike a group is: then a group is one case.
    """
    sizes, sums, n = Counter(groups), Counter[Hashable](), len(hits)
    for hit, group in zip(hits, groups, strict=True):
        sums[group] += hit
    k, rate = len(sizes), sum(hits) / n
    if k < FEWEST or rate in (0, 1):
        return k
    between = k / (k - 1) * sum((sums[group] - rate * size) ** 2 for group, size in sizes.items()) / n**2
    return max(1.0, min(n, rate * (1 - rate) / between)) if between and k < n else n


def _phi(count: Counter[tuple[bool, bool]]) -> float:
    both, one, other, none = count[True, True], count[True, False], count[False, True], count[False, False]
    margins = (both + one) * (other + none) * (both + other) * (one + none)
    alike = both * none - one * other
    if alike > 0:
        alike = max(0.0, alike - count.total() / 2)
    return alike / math.sqrt(margins) if margins else 0.0


def _joined(mine: float, theirs: float, phi: float) -> float:
    return math.sqrt(max(0.0, mine * mine - 2 * phi * mine * theirs + theirs * theirs))


def _ratio(sums: Sequence[tuple[float, int]]) -> float:
    return sum(total for total, _ in sums) / sum(size for _, size in sums)
