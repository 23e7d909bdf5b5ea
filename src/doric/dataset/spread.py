"""Choices that are far apart: visits that leave no clusters, and orders of sentences that begin differently."""

import functools
import itertools
import math
import random
import zlib
from collections.abc import Sequence

GOLDEN = (math.sqrt(5) - 1) / 2
ATTEMPT_STEP = 10_007
"""A prime number: two attempts at a row are so many positions apart, and so no other row has the same."""


DESIGNED = 48
"""So many orders are chosen for their distance; a topic rarely has more answers."""
PAIR_BITS = 64
"""Numbers that are put in order are below this."""
MOST_ORDERS = 720
"""All orders of six sentences. Of more sentences, so many orders are drawn."""


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


@functools.lru_cache(maxsize=1 << 7)
def distant_orders(count: int, ascending: int = 0) -> tuple[tuple[int, ...], ...]:
    """Orders of the numbers below `count`, such that few of the first ones begin alike.

    Each of the first orders is the one that has least in common with those before it: the two numbers that it begins
    with, and which number follows which, at any distance, among its first three and four. So answers that consist of
    the first two to four sentences of an order repeat few sentences of each other in the same order. The later orders
    come by chance. All this stays true if each number is replaced by another one in all orders.

    The numbers below `ascending` are compared as if they stood in ascending order in each beginning, for sentences that
    are put in their own order after they were chosen.

    >>> distant_orders(3)[:2]
    ((0, 1, 2), (2, 1, 0))
    """
    left = [(one, *_beginnings(one, range(ascending))) for one in _some_orders(count)]
    alike, chosen = [0.0] * len(left), list[tuple[int, ...]]()
    for _ in range(min(DESIGNED, len(left))):
        best = min(range(len(left)), key=alike.__getitem__)
        one, two, three, four = left[best]
        chosen.append(one)
        del left[best], alike[best]
        for at, (_, a, b, c) in enumerate(left):
            shared = (two & a).bit_count() / 4 + (three & b).bit_count() / 3 + (four & c).bit_count() / 6
            alike[at] += shared**4
    return (*chosen, *(one for one, *_ in left))


def _some_orders(count: int) -> list[tuple[int, ...]]:
    """All orders of the numbers below `count` in random order, or `MOST_ORDERS` of them."""
    draw = random.Random(count)
    if math.factorial(count) > MOST_ORDERS:
        return list(dict.fromkeys(tuple(draw.sample(range(count), count)) for _ in range(MOST_ORDERS)))
    every = list(itertools.permutations(range(count)))
    draw.shuffle(every)
    return every


def _beginnings(order: Sequence[int], ascending: range) -> tuple[int, int, int]:
    """As bits: the first two numbers, and the ordered pairs among the first three and the first four."""
    three, four = (_pairs(in_order(order[:size], ascending)) for size in (3, 4))
    return sum(1 << number for number in order[:2]), three, four


def _pairs(order: Sequence[int]) -> int:
    return sum(1 << (PAIR_BITS * a + b) for a, b in itertools.combinations(order, 2))


def in_order[T](items: Sequence[T], order: Sequence[T]) -> list[T]:
    """The same items, those in `order` in that order, in the places that such items have; the others stay.

    >>> in_order(["then", "a hint", "first"], ["first", "then", "last"])
    ['first', 'a hint', 'then']
    """
    ordered = iter(sorted((item for item in items if item in order), key=order.index))
    return [next(ordered) if item in order else item for item in items]


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
