"""How far a figure may be trusted: 95% intervals for shares, means and differences. Knows only numbers."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959964
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, the ends of its 95% interval, and how many cases it rests on."""

    value: float
    low: float
    high: float
    n: int


def share(hits: int, n: int) -> Interval:
    """The share of `n` cases that are hits, with Wilson's interval; no case at all tells nothing, from 0 to 1.

    >>> one = share(9, 10)
    >>> round(one.low, 3), round(one.high, 3)
    (0.596, 0.982)
    """
    if n == 0:
        return Interval(0.0, 0.0, 1.0, 0)
    rate, room = hits / n, Z * Z / n
    middle = (rate + room / 2) / (1 + room)
    half = Z * math.sqrt(rate * (1 - rate) / n + room / (4 * n)) / (1 + room)
    # at the ends the arithmetic may miss 0, 1 or the rate itself by a rounding
    return Interval(rate, min(rate, max(0.0, middle - half)), max(rate, min(1.0, middle + half)), n)


def mean(values: Sequence[float], *, seed: int = 0) -> Interval:
    """The mean with a bootstrap interval: the same values and seed give the same ends."""
    n = len(values)
    if n == 0:
        return Interval(0.0, 0.0, 0.0, 0)
    draw = random.Random(seed)
    means = sorted(sum(draw.choices(values, k=n)) / n for _ in range(RESAMPLES)) if n > 1 else [*values]
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
