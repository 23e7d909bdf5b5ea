"""Shares, means and changes of a share, each with a 95% interval.

Cases may be in groups, for example the turns of one conversation. Then the groups are independent, but the cases of a
group are not.
"""

import math
import random
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

Z = 1.959964
RESAMPLES = 1000
MIN_GROUPS = 5
"""With fewer groups, a mean has no interval, and each group counts as one case."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, the ends of its 95% interval (None if there are too few cases), and the number of cases."""

    value: float
    low: float | None
    high: float | None
    n: int


def share(hits: int, n: int) -> Interval:
    """The share of `n` independent cases that are hits, with the Wilson score interval (0 to 1 if `n` is 0).

    >>> found = share(9, 10)
    >>> round(found.value, 3), round(found.low or 0, 3), round(found.high or 0, 3)
    (0.9, 0.596, 0.982)
    """
    if n == 0:
        return Interval(0.0, 0.0, 1.0, 0)
    return Interval(hits / n, *_wilson(hits / n, n), n)


def grouped_share(hits: Sequence[bool], groups: Sequence[Hashable]) -> Interval:
    """The share of hits. Its interval is computed with the effective number of independent cases."""
    if not hits:
        return share(0, 0)
    rate = sum(hits) / len(hits)
    return Interval(rate, *_wilson(rate, _effective_cases(hits, groups)), len(hits))


def share_change(after: Sequence[bool], before: Sequence[bool], groups: Sequence[Hashable]) -> Interval:
    """The change of a share over at least one pair of cases.

    The interval is method 10 of Newcombe (1998), "Improved confidence intervals for the difference between binomial
    proportions based on paired data".
    """
    n, p, q = len(after), sum(after) / len(after), sum(before) / len(before)
    p_low, p_high = _wilson(p, _effective_cases(after, groups))
    q_low, q_high = _wilson(q, _effective_cases(before, groups))
    phi = _phi(Counter(zip(after, before, strict=True)))
    down, up = _combined(p - p_low, q_high - q, phi), _combined(p_high - p, q - q_low, phi)
    return Interval(p - q, max(-1.0, p - q - down), min(1.0, p - q + up), n)


def mean(values: Sequence[float], groups: Sequence[Hashable] | None = None, *, seed: int = 0) -> Interval:
    """The mean with a bootstrap interval that resamples whole groups. Equal values and seeds give equal intervals."""
    n = len(values)
    if n == 0:
        return Interval(0.0, None, None, 0)
    parts: dict[Hashable, list[float]] = {}
    for group, value in zip(range(n) if groups is None else groups, values, strict=True):
        parts.setdefault(group, []).append(value)
    if len(parts) < MIN_GROUPS:
        return Interval(sum(values) / n, None, None, n)
    draw = random.Random(seed)
    sums = [(sum(part), len(part)) for part in parts.values()]
    means = sorted(_mean_of_sums(draw.choices(sums, k=len(sums))) for _ in range(RESAMPLES))
    tail = round(0.025 * (len(means) - 1))
    return Interval(sum(values) / n, means[tail], means[-1 - tail], n)


def _wilson(rate: float, n: float) -> tuple[float, float]:
    shrink = Z * Z / n
    middle = (rate + shrink / 2) / (1 + shrink)
    half = Z * math.sqrt(rate * (1 - rate) / n + shrink / (4 * n)) / (1 + shrink)
    # rounding errors may give ends slightly outside 0 to 1, or exclude the rate itself
    return min(rate, max(0.0, middle - half)), max(rate, min(1.0, middle + half))


def _effective_cases(hits: Sequence[bool], groups: Sequence[Hashable]) -> float:
    """The number of independent cases with the same variance: all cases if groups are no more alike than by chance.

    If all hits are equal or there are few groups, it is unknown how alike a group is, so each group counts as one case.
    """
    sizes, sums, n = Counter(groups), Counter[Hashable](), len(hits)
    for hit, group in zip(hits, groups, strict=True):
        sums[group] += hit
    k, rate = len(sizes), sum(hits) / n
    if k < MIN_GROUPS or rate in (0, 1):
        return k
    between = k / (k - 1) * sum((sums[group] - rate * size) ** 2 for group, size in sizes.items()) / n**2
    return max(1.0, min(n, rate * (1 - rate) / between)) if between and k < n else n


def _phi(count: Counter[tuple[bool, bool]]) -> float:
    """The correlation of paired hits, with Newcombe's continuity correction if it is positive."""
    both, first, second, neither = count[True, True], count[True, False], count[False, True], count[False, False]
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    covariance = both * neither - first * second
    if covariance > 0:
        covariance = max(0.0, covariance - count.total() / 2)
    return covariance / math.sqrt(margins) if margins else 0.0


def _combined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))


def _mean_of_sums(sums: Sequence[tuple[float, int]]) -> float:
    return sum(total for total, _ in sums) / sum(size for _, size in sums)
