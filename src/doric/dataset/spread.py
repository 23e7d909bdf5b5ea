"""Evenly spread order: visits that reach every position once and leave no clusters, each computed alone."""

import functools
import math
import zlib

GOLDEN = (math.sqrt(5) - 1) / 2
ATTEMPT_STEP = 10_007
"""A prime number: two attempts at a row are so many positions apart, and so no other row has the same."""


@functools.lru_cache(maxsize=1 << 10)
def stride(size: int) -> int:
    """The step between two visited positions: `size` times the golden ratio, raised until it is coprime to `size`.

    Steps of this length spread the positions evenly.
    """
    step = max(1, round(size * GOLDEN))
    while math.gcd(step, size) != 1:
        step += 1
    return step


def visit(size: int, number: int, start: int = 0) -> int:
    """The position of visit `number` among `size` positions. Any `size` visits in a row reach each position once.

    >>> sorted(visit(7, number) for number in range(7)) == list(range(7))
    True
    """
    return (start + number * stride(size)) % size


def visits_between(size: int, count: int, low: int, high: int, start: int = 0) -> int:
    """The number of the first `count` visits that reach a position from `low` to `high` - 1, in O(log size).

    >>> visits_between(7, 5, 2, 4) == sum(2 <= visit(7, number) < 4 for number in range(5))
    True
    """
    step, shift = stride(size), start % size + size
    return _floor_sum(count, size, step, shift - low) - _floor_sum(count, size, step, shift - high)


def start_of(*parts: str | int) -> int:
    """A start for `visit` that depends only on `parts`, from 0 to 2**32 - 1."""
    return zlib.crc32(":".join(map(str, parts)).encode())


def _floor_sum(count: int, size: int, step: int, shift: int) -> int:
    """The sum of (step * i + shift) // size for i below `count`, by Euclid's algorithm on `size` and `step`."""
    total = 0
    while True:
        total += (count - 1) * count // 2 * (step // size) + count * (shift // size)
        step, shift = step % size, shift % size
        last = step * count + shift
        if last < size:
            return total
        count, shift, size, step = last // size, last % size, step, size
