"""Making the pairs of a run: every rejected answer beside the accepted one, without repeats, guarded and balanced."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from doric.core.conversations import stable_id
from doric.core.text import fold, has_text
from doric.preferences.balance import Sketch, balanced, limits
from doric.preferences.sources import AcceptedRows, pair_of, read_pairs, read_rejected
from doric.quality.decontamination import find_match

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from doric.preferences.pairs import Pair

NO_ROW = "no accepted answer to the same question"
NOT_WORSE = "refused for something that makes no answer worse"
SAME = "the same pair again"
EQUAL = "both answers are equal"
HELD_OUT = "the question is one of the evaluation"
TOO_MANY = "enough pairs of the same question"
UNEQUAL = "one answer is far longer than the other"
BALANCE = "left out for the balance of gates and lengths"


@dataclass
class Making:
    """One making of pairs. `left_out` counts by reason; `pairs` may be read several times: it reads the files again.

    Memory grows by about 150 bytes a row and 100 bytes a pair, not by the texts.
    """

    rows: AcceptedRows
    rejected: Sequence[Path]
    extra: Sequence[Path] = ()
    left_out: Counter[str] = field(default_factory=Counter)

    def chosen(self, seed: int, *, most_of_a_gate: float) -> list[Sketch]:
        """The pairs to keep, as sketches. Fills `left_out`."""
        self.left_out.clear()
        found = [_sketch(number, pair) for number, pair in self._usable(self.left_out)]
        longest = limits().length_ratio
        near = [one for one in found if one.ratio <= longest]
        kept = balanced(near, seed, most_of_a_gate=most_of_a_gate, most_longer=limits().most_longer)
        self.left_out[UNEQUAL] += len(found) - len(near)
        self.left_out[BALANCE] += len(near) - len(kept)
        return kept

    def pairs(self, kept: Sequence[Sketch]) -> Iterator[Pair]:
        """The pairs of the sketches, in the order of the files."""
        wanted = {one.number for one in kept}
        return (pair for number, pair in self._usable(Counter()) if number in wanted)

    def _usable(self, left_out: Counter[str]) -> Iterator[tuple[int, Pair]]:
        """The pairs with their numbers, each once. The reasons of all others are counted in `left_out`."""
        seen, by_prompt = set[str](), Counter[str]()
        for number, pair in enumerate(self._all(left_out)):
            prompt = stable_id(*(fold(text) for text in _asked(pair)))  # many chats have the same last turn
            if why := _unusable(pair) or (SAME if pair.key in seen else ""):
                left_out[why] += 1
            elif by_prompt[prompt] >= limits().per_prompt:
                left_out[TOO_MANY] += 1
            else:
                seen.add(pair.key)
                by_prompt[prompt] += 1
                yield number, pair

    def _all(self, left_out: Counter[str]) -> Iterator[Pair]:
        for path in self.rejected:
            for answer in read_rejected(path):
                if answer.gate in limits().not_worse or not has_text(answer.answer):
                    left_out[NOT_WORSE] += 1
                    continue
                row = self.rows.get(answer.first)
                if row and (pair := pair_of(answer, row)):
                    yield pair
                else:
                    left_out[NO_ROW] += 1
        for path in self.extra:
            yield from read_pairs(path)


def _unusable(pair: Pair) -> str:
    if pair.chosen.split() == pair.rejected.split():
        return EQUAL
    return HELD_OUT if any(map(find_match, _asked(pair))) else ""


def _asked(pair: Pair) -> list[str]:
    """The user's turns of the prompt."""
    return [turn["content"] for turn in pair.prompt if turn["role"] == "user"]


def _sketch(number: int, pair: Pair) -> Sketch:
    chosen, rejected = pair.lengths
    return Sketch(number, pair.why, chosen, rejected)


def summary(kept: Sequence[Sketch]) -> list[str]:
    """What the kept pairs are, in lines: by gate, and their lengths."""
    if not kept:
        return []
    gates = ", ".join(f"{why} {count:,}" for why, count in Counter(one.why for one in kept).most_common())
    words = [sum(one.chosen for one in kept) / len(kept), sum(one.rejected for one in kept) / len(kept)]
    longer = sum(one.side > 0 for one in kept) / len(kept)
    shorter = sum(one.side < 0 for one in kept) / len(kept)
    return [
        f"  refused by:   {gates}",
        f"  mean length:  {words[0]:.0f} words chosen, {words[1]:.0f} rejected; "
        f"the chosen answer is longer in {longer:.0%} of the pairs, shorter in {shorter:.0%}",
    ]
