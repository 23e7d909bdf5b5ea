"""Which pairs are kept, so that neither one gate nor the length of the answers decides what a model learns."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from doric.data import read_toml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


NUMBERS = ("most_of_a_gate", "most_longer", "length_ratio", "per_prompt")
"""The keys of the table `balance`, in the order of the fields of `Limits`."""


@dataclass(frozen=True)
class Limits:
    """The limits of data/preferences/balance.toml. `not_worse` has the gates whose rejections make no pair."""

    not_worse: Mapping[str, str]
    most_of_a_gate: float
    most_longer: float
    length_ratio: float
    per_prompt: int


@cache
def limits() -> Limits:
    """The limits of the data file. Raises `DataError`."""
    found = read_toml("preferences/balance.toml")
    balance = found["balance"]
    return Limits(found["not_worse"], *(balance[name] for name in NUMBERS))


@dataclass(frozen=True)
class Sketch:
    """What the balance needs to know of a pair: its number, its gate, and the words of both answers."""

    number: int
    why: str
    chosen: int
    rejected: int

    @property
    def ratio(self) -> float:
        """How many times as long the longer answer is. At least 1."""
        return max(self.chosen, self.rejected) / max(1, min(self.chosen, self.rejected))

    @property
    def side(self) -> int:
        """1 if the chosen answer is longer, -1 if it is shorter, 0 if both have the same number of words."""
        return (self.chosen > self.rejected) - (self.chosen < self.rejected)


def balanced(sketches: Sequence[Sketch], seed: int, *, most_of_a_gate: float, most_longer: float) -> list[Sketch]:
    """The pairs to keep, in their order. Which ones of a group that is too large, chance decides, by the seed.

    If there are too few gates for the share (of two, one has at least half the pairs), all gates get equally many.
    """
    kept, before = random.Random(seed).sample(sketches, len(sketches)), -1
    while len(kept) != before:  # each limit may break the other; the pairs only become fewer
        before = len(kept)
        kept = _limit_gates(_limit_sides(kept, most_longer), most_of_a_gate)
    return sorted(kept, key=lambda one: one.number)


def _limit_gates(sketches: Sequence[Sketch], share: float) -> list[Sketch]:
    """The pairs without those that are too many of their gate, from the end."""
    caps, taken, kept = gate_caps(Counter(one.why for one in sketches), share), Counter[str](), list[Sketch]()
    for one in sketches:
        if taken[one.why] < caps[one.why]:
            taken[one.why] += 1
            kept.append(one)
    return kept


def _limit_sides(sketches: Sequence[Sketch], most: float) -> list[Sketch]:
    """The pairs without those with the most unequal lengths of a side that has more than the share `most`."""
    sides = Counter(one.side for one in sketches)
    side = 1 if sides[1] >= sides[-1] else -1
    others = len(sketches) - sides[side]
    allowed = math.floor(others * most / (1 - most)) if most < 1 else len(sketches)
    if not others or sides[side] <= allowed:
        return list(sketches)
    nearest = sorted((one for one in sketches if one.side == side), key=lambda one: one.ratio)[:allowed]
    keep = {one.number for one in nearest} | {one.number for one in sketches if one.side != side}
    return [one for one in sketches if one.number in keep]


def gate_caps(counts: Mapping[str, int], share: float) -> dict[str, int]:
    """Gate -> the most pairs it may have, so that no gate has more than the share of all.

    >>> gate_caps({"english": 90, "thin": 10, "edges": 10, "leakage": 10}, 0.4)
    {'english': 20, 'thin': 20, 'edges': 20, 'leakage': 20}
    """
    share = max(share, 1 / len(counts)) if counts else share
    low, high = min(counts.values(), default=0), max(counts.values(), default=0)
    while low < high:  # the largest cap that holds
        middle = (low + high + 1) // 2
        total = sum(min(count, middle) for count in counts.values())
        low, high = (middle, high) if middle <= share * total + 1e-9 else (low, middle - 1)
    return dict.fromkeys(counts, low)
