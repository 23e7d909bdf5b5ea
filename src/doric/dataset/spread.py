"""Taking turns: visiting every place of a list once, in steps that spread out evenly. Knows only numbers."""

import functools
import math
import zlib

GOLDEN = (math.sqrt(5) - 1) / 2


@functools.lru_cache(maxsize=1 << 10)
def stride(size: int) -> int:
    """The step, coprime to `size`, nearest above its golden section: steps of it leave neither gaps nor clusters."""
    step = max(1, round(size * GOLDEN))
    while math.gcd(step, size) != 1:
        step += 1
    return step


def place(size: int, turn: int, start: int = 0) -> int:
    """Where turn `turn` falls among `size` places; `size` turns in a row visit each of them once.

    >>> sorted(place(7, turn) for turn in range(7)) == list(range(7))
    True
    """
    return (start + turn * stride(size)) % size


def before(size: int, turn: int, low: int, high: int, start: int = 0) -> int:
    """How many of the turns 0 to `turn` - 1 fall on a place from `low` to `high` - 1, without going through them.

    >>> before(7, 5, 2, 4) == sum(2 <= place(7, earlier) < 4 for earlier in range(5))
    True
    """
    step, shift = stride(size), start % size + size
    return _floor_sum(turn, size, step, shift - low) - _floor_sum(turn, size, step, shift - high)


def _floor_sum(count: int, size: int, step: int, shift: int) -> int:
    """The sum of (step * i + shift) // size for i below `count`, by Euclid's way with `size` and `step`."""
    total = 0
    while True:
        total += (count - 1) * count // 2 * (step // size) + count * (shift // size)
        step, shift = step % size, shift % size
        last = step * count + shift
        if last < size:
            return total
        count, shift, size, step = last // size, last % size, step, size


def start_of(*parts: str | int) -> int:
    """A start that depends on `parts` alone, from 0 to 2**32 - 1."""
    return zlib.crc32(":".join(map(str, parts)).encode())
