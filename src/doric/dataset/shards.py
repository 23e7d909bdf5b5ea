"""Shards of a plan: parts that can be filled by separate runs, each with the same mix as the whole plan."""

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass

from doric.dataset.plan import Plan

SHARD = "shard"
"""The key of the stored plan with the number of the shard, from 1, and that of all shards. Whole plans lack it."""
MOST = 1000


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `number` of `count`, from 1.

    The rows of a plan are counted bucket by bucket and topic by topic. Each `count` of them in a row are a block, with
    one row for each shard, and each block begins with the next shard. So every bucket and kind of ask differs from its
    share by less than two rows, and no shard gets always the same language or number of turns.
    """

    number: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def whole(self) -> bool:
        """Whether it is the whole plan."""
        return self.count == 1

    def has(self, rank: int) -> bool:
        """Whether the row that is counted as `rank` belongs to it.

        >>> [rank for rank in range(6) if Shard(1, 2).has(rank)]
        [0, 3, 4]
        """
        return (rank + rank // self.count) % self.count == self.number - 1

    def size(self, rows: int) -> int:
        """How many of so many rows belong to it."""
        blocks, rest = divmod(rows, self.count)
        return blocks + sum(self.has(rank) for rank in range(rows - rest, rows))

    def numbers(self, plan: Plan) -> Iterator[int]:
        """The numbers of its jobs, in the order of the plan."""
        return (number for number in range(len(plan)) if self.whole or self.has(plan.rank(number)))


WHOLE = Shard()


def shard_of(stored: object) -> Shard:
    """The shard for the value of `SHARD` in a stored plan; the whole plan if there is none."""
    match stored:
        case [int(number), int(count)] if 1 <= number <= count <= MOST:
            return Shard(number, count)
    return WHOLE


def read_shard(text: str) -> Shard:
    """The value of --shard. Raises `ArgumentTypeError`.

    >>> str(read_shard("2/4"))
    '2/4'
    """
    found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text.strip(), re.ASCII)
    shard = Shard(int(found[1]), int(found[2])) if found else Shard(0, 0)
    if 1 <= shard.number <= shard.count <= MOST:
        return shard
    raise argparse.ArgumentTypeError(f"'{text}' is no shard; give its number and that of all shards, for instance 2/4")
