"""Part 4 of the page: a blind sample of rows, of genuine text and of fakes, and pairs of answers."""

import itertools
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from doric import data
from doric.core import text as texts
from doric.core.conversations import as_messages
from doric.core.errors import InputError
from doric.core.files import read_text
from doric.core.jsonl import read_jsonl
from doric.evaluation.aggregate import KIND, load_result
from doric.review.corpus import OwnRow
from doric.review.items import FAKE, GENUINE, OURS, Item, Part, item_id

FAKE_TEXTS = "review/fakes.toml"
FAKES, PAIRS, GENUINES = 0.25, 0.3, 0.25
"""Shares of the sample."""
LONGEST = 1200
"""Longer answers are cut at the end of a sentence: nobody reads them to the end."""
WORD = re.compile(r"\w+(?:'\w+)*")
NOT_ASKED = ("multi", "safety")
"""Buckets that are left out: readers may not know the language, and harmful requests would upset some of them."""
LEAST_SWAPS = 3
SPOILED = 200
"""So many rows are tried for fakes."""


def read_rows(path: Path) -> tuple[OwnRow, ...]:
    """The last question and answer of each row of a dataset, or of each answer of `validation.json`.

    Raises `InputError` if the file is neither.
    """
    if _is_result(path):
        scored = load_result(path).scored
        rows = (OwnRow(s.answer.prompt, s.answer.text, s.bucket, {"row": s.answer.id}) for s in scored)
    else:
        rows = (_as_row(row, path, number) for number, row in read_jsonl(path, convert=as_messages))
    if not (found := tuple(row for row in rows if texts.has_text(row.answer))):
        hint = "Give a dataset, or the --out of a validation whose model answered."
        raise InputError("no row has an answer", file=path, hint=hint)
    return found


def _is_result(path: Path) -> bool:
    return path.suffix == ".json" and f'"{KIND}"' in read_text(path, regular=True)


def _as_row(row: Mapping, path: Path, number: int) -> OwnRow:
    turns = row["messages"]
    if turns[-1]["role"] != "assistant":
        raise InputError("the row does not end with an answer", file=path, line=number)
    asked = [turn["content"] for turn in turns[:-1] if turn["role"] == "user"]
    return OwnRow(asked[-1] if asked else "", turns[-1]["content"], "", {"file": str(path.name), "line": number})


def sample_items(rows: Sequence[OwnRow], genuine: Sequence[tuple[str, str]], part: Part, seed: int) -> list[Item]:
    """The sample in random order: first the single answers, then the pairs."""
    draw = random.Random(f"{seed}:sample")
    drawn = [row for row in rows if row.bucket not in NOT_ASKED] or list(rows)
    draw.shuffle(drawn)
    pairs = round(part.most * PAIRS)
    others = FAKES + (GENUINES if genuine else 0)
    alone = min(part.most - pairs, math.ceil(len(drawn) / (1 - others)))
    listed = data.read_toml(FAKE_TEXTS)["text"]
    made = [_single(part, raw["prompt"], raw["answer"], FAKE, {"file": FAKE_TEXTS}) for raw in listed]
    spoiled = [item for row in drawn[::-1][:SPOILED] for item in _spoiled(row, part, draw)][: round(alone * FAKES)]
    draw.shuffle(made)
    mixed = itertools.chain.from_iterable(itertools.zip_longest(made, spoiled))
    bad = list(filter(None, mixed))[: round(alone * FAKES)]
    passages = list(genuine)
    draw.shuffle(passages)
    good = [
        _single(part, "", _cut(text), GENUINE, {"file": file}) for file, text in passages[: round(alone * GENUINES)]
    ]
    mine = drawn[: part.most - pairs - len(bad) - len(good)]
    ours = [_single(part, row.prompt, _cut(row.answer), OURS, row.source) for row in mine]
    single = list({item.id: item for item in [*ours, *bad, *good]}.values())
    draw.shuffle(single)
    return [*single, *_pairs(drawn[alone:] or drawn, part, draw, pairs)]


def _single(part: Part, ask: str, text: str, origin: str, source: Mapping[str, Any]) -> Item:
    return Item(item_id("row", ask, text), part.number, "row", {"ask": ask, "text": text}, origin, source)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else texts.whole_sentences(text[:LONGEST])


def _spoiled(row: OwnRow, part: Part, draw: random.Random) -> Iterator[Item]:
    """The row with the words of one table exchanged, if that changes enough of them."""
    name, swap = draw.choice(sorted(data.read_toml(FAKE_TEXTS)["swap"].items()))
    spoiled, changes = swapped(_cut(row.answer), swap)
    if changes >= LEAST_SWAPS:
        yield _single(part, row.prompt, spoiled, FAKE, {**row.source, "swap": name})


def swapped(text: str, swap: Mapping[str, str]) -> tuple[str, int]:
    """`text` with words replaced, capitals kept, and the number of replacements.

    >>> swapped("Fit's adee wi the fit?", {"wi": "with", "fit": "whit"})
    ("Fit's adee with the whit?", 2)
    """
    changes = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal changes
        word = match.group()
        if (new := swap.get(word.lower())) is None:
            return word
        changes += 1
        return new.capitalize() if word[0].isupper() else new

    return WORD.sub(replace, text), changes


def _pairs(rows: Iterable[OwnRow], part: Part, draw: random.Random, most: int) -> list[Item]:
    """Pairs of an answer and the same answer with words exchanged, in random order."""
    found: list[Item] = []
    for row in rows:
        if len(found) == most:
            break
        for fake in _spoiled(row, part, draw):
            sides = [(OURS, _cut(row.answer)), (FAKE, fake.shown["text"])]
            draw.shuffle(sides)
            found.append(_pair(row, sides, part))
    return found


def _pair(row: OwnRow, sides: Sequence[tuple[str, str]], part: Part) -> Item:
    (first, one), (second, other) = sides
    shown = {"ask": row.prompt, "text": one, "second": other}
    source = {**row.source, "prompt": row.prompt}
    source |= {"first": {"origin": first, "text": one}, "second": {"origin": second, "text": other}}
    return Item(item_id("pair", row.prompt, one, other), part.number, "pair", shown, OURS, source)
