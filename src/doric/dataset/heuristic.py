"""The embedded voice: an offline writer that combines whole authored sentences. The same seed gives the same answers.

An answer begins with sentences about the topic itself, at least one of which answers it. Sentences of the theme follow
only if they fit the topic. A refusal says no, gives a reason and offers something harmless. Asks of other kinds have
their own answers (see `asks`). The voice is for trying the pipeline, for tests and for a small first dataset, because
it says only what is in its phrase files. The caller must check its answers with the gates.
"""

import asyncio
import functools
import itertools
import math
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from doric import data
from doric.dataset import asks
from doric.dataset.phrases import PARTS, Parts, authored, general_sentences, theme_of
from doric.dataset.plan import Attempt, Voice
from doric.dataset.prompts import MISTAKES, in_doric
from doric.dataset.spread import ATTEMPT_STEP, distant_orders, in_order, start_of, visit
from doric.llm.response import Completion

SHAPES = {
    "short": ((2, 0), (3, 0), (2, 0), (2, 1)),
    "medium": ((3, 0), (4, 0), (3, 0), (3, 1)),
    "long": ((4, 0), (5, 0), (4, 1), (6, 0)),
}
"""For each length of an answer, how many sentences about the topic and how many of its theme it may have."""
GENERAL_SHAPES = {"short": ((1, 1),), "medium": ((1, 2), (2, 2)), "long": ((2, 3), (3, 3))}
"""The same for topics that are not authored: few sentences with the name of the topic, so that it is not repeated."""
NAMED = 12
"""So many attempts name a topic that is not authored. Later attempts say "yon", because some names never pass."""
ANY_LENGTH = 24
"""From this attempt on, an answer may have another length than wanted, because a topic has few short answers."""
LEAST_CHOICES = 12
"""If a topic has so few sentences that there are fewer choices than this, one of its theme is added."""
MOST_CHOICES = 5_000
"""Of many possible choices of sentences, only about so many are used, evenly spread."""
STARTS = 16
"""By the seed, the answers on a topic begin with one of so many choices: sentences with an order have few others."""
HOLD_FIRST = 0.7
"""The share of adv answers that begin with the reason to stay in Doric; the others end with it."""
YIELD_SECONDS = 0.05
"""The embedded voice never waits, but it lets signals and other tasks run at this interval."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question: topic, bucket, wanted length, safety category, and its number among the questions on the topic.

    `case` is that of a harmful request, and `wants` is what the question wants (see `prompts.Prompt`).
    """

    topic: str
    kind: str
    length: str
    category: str
    slot: int
    seed: int
    case: str = ""
    wants: str = ""


def voice(seed: int) -> Voice:
    """The embedded voice in the form that the generator calls. It never waits, so more than one worker is useless."""
    yielded = time.monotonic()

    async def speak(attempt: Attempt) -> Completion:
        nonlocal yielded
        if time.monotonic() - yielded >= YIELD_SECONDS:
            await asyncio.sleep(0)
            yielded = time.monotonic()
        job = attempt.job
        if job.prompt.ask in asks.asks():
            asked = asks.asked(job.prompt.ask, job.prompt.number, seed)
            return Completion(asks.answer_to(asked, attempt.number))
        prompt = job.prompt
        question = Question(
            job.topic.text, job.kind, prompt.length, prompt.category, job.slot, seed, prompt.case, prompt.wants
        )
        return Completion(answer(question, attempt.number))

    return speak


def answer(question: Question, attempt: int = 0) -> str:
    """The answer to a question. It depends only on question and attempt, and each attempt gives another text."""
    if question.kind == "safety":
        return _refusal(question, attempt)
    lines = _advice(question, attempt)
    if question.kind == "adv":
        draw = random.Random(f"{question.seed}:{question.topic}:{question.slot}:{attempt}")
        hold = draw.choice(holds())
        first = draw.random() < HOLD_FIRST or lines[-1].endswith("?")
        return " ".join([hold, *lines] if first else [*lines, hold])
    return " ".join(lines)


@functools.cache
def holds() -> tuple[str, ...]:
    """Reasons to stay in Doric."""
    return tuple(data.read_toml("holds.toml")["holds"])


@functools.cache
def _refusals() -> tuple[tuple[str, ...], dict[str, dict]]:
    spec = data.read_toml("refusals.toml")
    return tuple(spec["refusals"]), {raw["name"]: raw for raw in spec["category"]}


@dataclass(frozen=True, slots=True)
class Pools:
    """The sentences that an answer may have: those that answer the topic, others about it, and those of its theme.

    `mistakes` are those about the topic that say what people get wrong. Those in `order` stand in this order.
    """

    answers: tuple[str, ...]
    more: tuple[str, ...]
    theme: Parts
    mistakes: tuple[str, ...]
    order: tuple[str, ...]
    shapes: Mapping[str, tuple[tuple[int, int], ...]]


def _advice(question: Question, attempt: int) -> list[str]:
    lines = pools(question.topic, named=attempt < NAMED)
    first = lines.mistakes if question.wants == MISTAKES else ()
    shapes = lines.shapes[question.length]
    if attempt >= ANY_LENGTH:
        shapes = tuple(itertools.chain(*lines.shapes.values()))
    start = start_of(question.seed, question.topic)
    wanted, beside = shapes[(start + question.slot + attempt) % len(shapes)]
    number = question.seed % STARTS + question.slot + attempt * ATTEMPT_STEP
    return _sentences(lines, wanted, beside, number, start, first)


def _sentences(pools: Pools, wanted: int, beside: int, number: int, start: int, first: Sequence[str] = ()) -> list[str]:
    """The sentences of an answer: `wanted` about the topic, then `beside` of the theme, then the question, if any.

    The answer begins with one of the sentences `first`, if there are any. If there are too few about the topic, more of
    the theme are taken.
    """
    own = [*pools.answers, *pools.more]
    theme = [line for part in pools.theme for line in part]
    wanted, beside = min(wanted, len(own)), beside + max(0, wanted - len(own))
    if beside == 0 and math.comb(len(own), wanted) < LEAST_CHOICES:
        beside = 1
    around = _beside(tuple(map(len, pools.theme)), min(beside, len(theme)))
    about, at, times = _about(pools, wanted, number, start, first)
    near = around[(visit(len(around), at, start) + times) % len(around)]
    return _question_last([*about, *(theme[at] for at in near)])


def _about(
    pools: Pools, wanted: int, number: int, start: int, first: Sequence[str]
) -> tuple[tuple[str, ...], int, int]:
    """Choice `number` of `wanted` sentences about a topic, its place among all, and how often all were used before it.

    Choices whose numbers are near have little in common. At least one sentence answers the topic, the first is one of
    `first`, if there are any, and at most one sentence asks back. A choice of two begins with the one that answers,
    unless the two have another order.
    """
    seen = dict[tuple[str, ...], None]()
    for choice in _choices(pools, wanted, start, first):
        seen[choice] = None
        if len(seen) > number:
            break
    times, at = divmod(number, len(seen))
    return list(seen)[at], at, times


def _choices(pools: Pools, wanted: int, start: int, first: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The choices of `_about` in their order; a choice may come more than once."""
    own = [*pools.answers, *pools.more]
    others = [line for line in own if line not in pools.order]
    named = [*pools.order, *random.Random(start).sample(others, len(others))]
    opens = first or (pools.answers if wanted < 3 else own)
    for order in distant_orders(len(own), len(pools.order)):
        lines = [named[at] for at in order]
        if lines[0] in opens and not set(lines[:2]).isdisjoint(pools.answers):
            chosen = _asking_once(lines, wanted)
            leads = 1 if first else 0
            yield tuple(_question_last([*chosen[:leads], *in_order(chosen[leads:], pools.order)]))


def _question_last(lines: Iterable[str]) -> list[str]:
    return sorted(lines, key=lambda line: line.endswith("?"))


def _asking_once(lines: Sequence[str], wanted: int) -> tuple[str, ...]:
    """The first `wanted` sentences of which at most one is a question."""
    first = next((line for line in lines if line.endswith("?")), "")
    return tuple([line for line in lines if line == first or not line.endswith("?")][:wanted])


@functools.lru_cache(maxsize=1 << 10)
def _beside(sizes: tuple[int, ...], wanted: int) -> tuple[tuple[int, ...], ...]:
    """All choices of `wanted` indices of the sentences of a theme that has parts of these sizes.

    The sentences of a choice are of different parts, if enough parts have any.
    """
    part_of = [part for part, size in enumerate(sizes) for _ in range(size)]
    every = itertools.combinations(range(len(part_of)), wanted)
    needed = min(wanted, sum(size > 0 for size in sizes))
    step = 1 + math.comb(len(part_of), wanted) // MOST_CHOICES
    return tuple(itertools.islice((one for one in every if len({part_of[at] for at in one}) == needed), 0, None, step))


@functools.lru_cache(maxsize=1 << 12)
def pools(topic: str, *, named: bool) -> Pools:
    """The sentences for a topic. If it is not authored, they name it, or say "yon" if it is not to be `named`."""
    if known := authored(topic):
        return Pools(known.answers, known.more, known.fitting, known.mistakes, known.order, SHAPES)
    general, theme = general_sentences(), theme_of(topic)
    name = in_doric(topic) if named else "yon"
    lines = tuple(line.replace("{topic}", name) for line in general["answers"])
    common = theme.common if theme else ((),) * len(PARTS)
    beside = tuple(own or general[part] for part, own in zip(PARTS, common, strict=True))
    return Pools(lines, (), beside, (), (), GENERAL_SHAPES)


def refusal_parts(category: str, case: str = "") -> tuple[list[str], list[str], list[str]]:
    """The lists of what a refusal of a harmful request consists of: no, the reasons and the offers that fit it."""
    refusals, categories = _refusals()
    spec = categories[category]
    whys, offers = ([line for one in fitting(spec, case) for line in one.get(key, ())] for key in ("whys", "offers"))
    return spec.get("refusals", list(refusals)), whys, offers


def fitting(category: Mapping[str, Any], case: str) -> list[Mapping[str, Any]]:
    """The parts of a category of refusals.toml that fit a request: the category itself, and those for its `case`."""
    return [category, *(some for some in category.get("some", ()) if case in some["cases"])]


def _refusal(question: Question, attempt: int) -> str:
    start = start_of(question.seed, question.topic, question.category, question.slot)
    return combined(refusal_parts(question.category, question.case), attempt, start)


def combined(parts: Sequence[Sequence[str]], attempt: int, start: int) -> str:
    """One sentence of each part; every combination is used before any is repeated."""
    number, lines = visit(math.prod(map(len, parts)), attempt, start), []
    for part in parts:
        number, at = divmod(number, len(part))
        lines.append(part[at])
    return " ".join(lines)
