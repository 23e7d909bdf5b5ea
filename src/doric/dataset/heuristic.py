"""The embedded voice: seeded, offline, made of whole authored sentences that fit together.

An answer is a line about the topic itself with sentences of its theme around it, in the order what to know, why,
what to do, what to watch for; a refusal is no, why, and something harmless instead. Good for trying the pipeline,
for tests and for a seed set; it knows no more than its phrase files. Knows nothing of gates: whoever calls it judges
what it says.
"""

import functools
import math
import random
from dataclasses import dataclass

from doric import data
from doric.core.text import fold
from doric.dataset import spread as rota
from doric.dataset.phrases import MOVES, Known, general, known, theme_of
from doric.dataset.prompts import in_doric

SHAPES = {
    "short": ("answer more", "answer steps", "answer checks", "answer whys", "more answer"),
    "medium": (
        "answer more steps", "answer more checks", "answer more whys", "answer whys steps", "answer steps checks",
        "starts answer checks", "answer whys more", "answer whys steps checks",
    ),
    "long": (
        "starts answer whys steps checks", "answer more whys steps checks", "starts answer more steps checks",
        "answer whys more steps checks",
    ),
}  # fmt: skip
"""How an answer of each length may run: the order of its sentences."""
OPENER_EVERY, CLOSER_EVERY = 11, 13
"""One answer in so many begins, or ends, with a sentence that is not about its topic."""


NAMED = 12
"""Attempts that name somebody's own topic; later ones say "yon", for there are names that no answer may hold."""
CODE = 5
"""Sentences a move has in a theme; a prime, which the spreading needs."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What the voice is asked: topic, bucket, length wanted, safety category, and which turn at the topic it is."""

    topic: str
    kind: str
    length: str
    category: str
    turn: int
    seed: int


@functools.cache
def _holds() -> dict[str, tuple[str, ...]]:
    spec = data.read_toml("holds.toml")
    return {key: tuple(lines) for key, lines in spec.items()}


@functools.cache
def _refusals() -> tuple[tuple[str, ...], dict[str, dict]]:
    spec = data.read_toml("refusals.toml")
    return tuple(spec["refusals"]), {raw["name"]: raw for raw in spec["category"]}


def answer(ask: Ask, attempt: int = 0) -> str:
    """What the voice says; the same ask and attempt always give the same text, another attempt another one."""
    if ask.kind == "safety":
        return _refusal(ask, attempt)
    draw = random.Random(f"{ask.seed}:{ask.topic}:{ask.kind}:{ask.turn}:{attempt}")
    lines = _advice(ask, attempt, draw)
    if ask.kind == "adv":
        hold = draw.choice(_holds()["holds"])
        return " ".join([hold, *lines] if draw.random() < 0.7 else [*lines, hold])
    if draw.randrange(OPENER_EVERY) == 0:
        lines.insert(0, draw.choice(_holds()["openers"]))
    elif draw.randrange(CLOSER_EVERY) == 0:
        lines.append(draw.choice(_holds()["closers"]))
    return " ".join(lines)


def _advice(ask: Ask, attempt: int, draw: random.Random) -> list[str]:
    authored = known().get(fold(ask.topic))
    answers, pools = _pools(ask.topic, authored, named=attempt < NAMED)
    place = authored.place if authored else rota.start_of(ask.topic)
    turn = ask.turn if attempt == 0 else draw.randrange(1 << 16)
    picks = _spread_out(turn, place, ask.seed)
    shapes = SHAPES[ask.length]
    # each attempt takes the next shape and the next line about the topic, out of step, so that none repeats another
    at = ask.turn + place + attempt % len(shapes) + attempt // len(shapes)
    chosen = {
        move: pool[pick % len(pool)] if len(pool) <= CODE else draw.choice(pool)
        for (move, pool), pick in zip(pools.items(), picks, strict=True)
    }
    chosen["answer"] = answers[at % len(answers)]
    chosen["more"] = answers[(at + 1) % len(answers)]
    first = random.Random(f"{ask.seed}:{ask.topic}:{ask.kind}:{ask.turn}").randrange(len(shapes))
    return [chosen[move] for move in shapes[(first + attempt) % len(shapes)].split()]


def _pools(topic: str, authored: Known | None, *, named: bool) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    if authored:
        return authored.answers, {move: getattr(authored.theme, move) for move in MOVES}
    name = in_doric(topic) if named else "yon"
    lines = tuple(line.replace("{topic}", name) for line in general()["answers"])
    theme = theme_of(topic)
    return lines, {move: getattr(theme, move) if theme else general()[move] for move in MOVES}


def _spread_out(turn: int, place: int, seed: int) -> tuple[int, ...]:
    """One number a move, such that neighbours share few: two of a topic's first 25 turns agree on one at most,
    and two topics of a theme on two.

    These are the values of a quadratic over the integers modulo 5, a Reed-Solomon code, at four points.
    """
    first, second, third = turn % CODE, turn // CODE % CODE, (place + turn // CODE**2) % CODE
    return tuple((first + second * x + third * x * x + seed) % CODE for x in range(1, 5))


def _refusal(ask: Ask, attempt: int) -> str:
    refusals, categories = _refusals()
    category = categories[ask.category]
    parts = (category.get("refusals", refusals), category["whys"], category["offers"])
    # every way of saying no comes before any comes again
    start = rota.start_of(ask.seed, ask.topic, ask.category, ask.turn)
    number = rota.place(math.prod(map(len, parts)), attempt, start)
    said = []
    for part in parts:
        number, at = divmod(number, len(part))
        said.append(part[at])
    return " ".join(said)
