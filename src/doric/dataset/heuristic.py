"""The embedded voice: an offline writer that combines whole authored sentences. The same seed gives the same answers.

An answer is a sentence about the topic itself with sentences of its theme around it. Their order is: what to know
first, why, what to do, what to watch for. A refusal says no, gives a reason and offers something harmless. The voice is
for trying the pipeline, for tests and for a small first dataset, because it says only what is in its phrase files. The
caller must check its answers with the gates.
"""

import asyncio
import functools
import math
import random
import time
from dataclasses import dataclass

from doric import data
from doric.dataset.phrases import PARTS, AuthoredTopic, authored, general_sentences, theme_of
from doric.dataset.plan import Attempt, Voice
from doric.dataset.prompts import in_doric, start_of, visit
from doric.llm.response import Completion

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
"""For each length of an answer, the allowed orders of its sentences."""
OPENER_EVERY, CLOSER_EVERY = 11, 13
"""On average, 1 of 11 answers begins, and 1 of 13 answers ends, with a sentence that is not about the topic."""
NAMED = 12
"""So many attempts name a topic that is not authored. Later attempts say "yon", because some names never pass."""
FIELD = 5
"""The number of sentences that a theme has for each part. `_spread_out` needs a prime number."""
YIELD_SECONDS = 0.05
"""The embedded voice never waits, but it lets signals and other tasks run at this interval."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question: topic, bucket, wanted length, safety category, and its number among the questions on the topic."""

    topic: str
    kind: str
    length: str
    category: str
    slot: int
    seed: int


def voice(seed: int) -> Voice:
    """The embedded voice in the form that the generator calls. It never waits, so more than one worker is useless."""
    yielded = time.monotonic()

    async def speak(attempt: Attempt) -> Completion:
        nonlocal yielded
        if time.monotonic() - yielded >= YIELD_SECONDS:
            await asyncio.sleep(0)
            yielded = time.monotonic()
        job = attempt.job
        question = Question(job.topic.text, job.kind, job.prompt.length, job.prompt.category, job.slot, seed)
        return Completion(answer(question, attempt.number))

    return speak


def answer(question: Question, attempt: int = 0) -> str:
    """The answer to a question. It depends only on question and attempt, and each attempt gives another text."""
    if question.kind == "safety":
        return _refusal(question, attempt)
    draw = random.Random(f"{question.seed}:{question.topic}:{question.kind}:{question.slot}:{attempt}")
    lines = _advice(question, attempt, draw)
    if question.kind == "adv":
        hold = draw.choice(_extras()["holds"])
        return " ".join([hold, *lines] if draw.random() < 0.7 else [*lines, hold])
    if draw.randrange(OPENER_EVERY) == 0:
        lines.insert(0, draw.choice(_extras()["openers"]))
    elif draw.randrange(CLOSER_EVERY) == 0:
        lines.append(draw.choice(_extras()["closers"]))
    return " ".join(lines)


@functools.cache
def _extras() -> dict[str, tuple[str, ...]]:
    """Sentences that are not about a topic: reasons to stay in Doric, openers and closers."""
    return {key: tuple(lines) for key, lines in data.read_toml("holds.toml").items()}


@functools.cache
def _refusals() -> tuple[tuple[str, ...], dict[str, dict]]:
    spec = data.read_toml("refusals.toml")
    return tuple(spec["refusals"]), {raw["name"]: raw for raw in spec["category"]}


def _advice(question: Question, attempt: int, draw: random.Random) -> list[str]:
    known = authored(question.topic)
    answers, pools = _pools(question.topic, known, named=attempt < NAMED)
    place = known.place if known else start_of(question.topic)
    number = question.slot if attempt == 0 else draw.randrange(1 << 16)
    picks = _spread_out(number, place, question.seed)
    shapes = SHAPES[question.length]
    # each attempt takes the next shape and the next sentence about the topic, at different rates: none is repeated
    at = question.slot + place + attempt % len(shapes) + attempt // len(shapes)
    chosen = {
        part: pool[pick % len(pool)] if len(pool) <= FIELD else draw.choice(pool)
        for (part, pool), pick in zip(pools.items(), picks, strict=True)
    }
    chosen["answer"] = answers[at % len(answers)]
    chosen["more"] = answers[(at + 1) % len(answers)]
    first = random.Random(f"{question.seed}:{question.topic}:{question.kind}:{question.slot}").randrange(len(shapes))
    return [chosen[part] for part in shapes[(first + attempt) % len(shapes)].split()]


def _pools(
    topic: str, known: AuthoredTopic | None, *, named: bool
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The sentences about the topic itself, and the sentences of each part of its theme."""
    if known:
        return known.answers, {part: getattr(known.theme, part) for part in PARTS}
    name = in_doric(topic) if named else "yon"
    general = general_sentences()
    lines = tuple(line.replace("{topic}", name) for line in general["answers"])
    theme = theme_of(topic)
    return lines, {part: getattr(theme, part) if theme else general[part] for part in PARTS}


def _spread_out(number: int, place: int, seed: int) -> tuple[int, ...]:
    """One index for each part. Any two of a topic's first 25 questions share at most one of their indices.

    The same question on two topics of a theme shares at most two. The indices are the values of a quadratic polynomial
    over the integers modulo 5 at four points (a Reed-Solomon code).
    """
    first, second, third = number % FIELD, number // FIELD % FIELD, (place + number // FIELD**2) % FIELD
    return tuple((first + second * x + third * x * x + seed) % FIELD for x in range(1, 5))


def _refusal(question: Question, attempt: int) -> str:
    refusals, categories = _refusals()
    category = categories[question.category]
    parts = (category.get("refusals", refusals), category["whys"], category["offers"])
    # every combination is used before any is repeated
    start = start_of(question.seed, question.topic, question.category, question.slot)
    number = visit(math.prod(map(len, parts)), attempt, start)
    lines = []
    for part in parts:
        number, at = divmod(number, len(part))
        lines.append(part[at])
    return " ".join(lines)
