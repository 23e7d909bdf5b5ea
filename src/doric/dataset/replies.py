"""The embedded voice in a chat: its answers to follow-ups, of sentences that the chat does not have yet.

The first sentence of an answer is what the follow-up asks for. Others about the topic follow, or of the same part of
the theme if there are none left.
"""

import itertools
from collections.abc import Iterable, Sequence

from doric.core.text import fold, sentences, words
from doric.dataset import asks, followups, heuristic
from doric.dataset.followups import MORE, NAMED, PARTS, REFUSAL, THEN, FollowUp
from doric.dataset.phrases import PARTS as THEME_PARTS
from doric.dataset.phrases import general_sentences
from doric.dataset.plan import Attempt, Exchange, Job, Voice
from doric.dataset.prompts import MISTAKES
from doric.dataset.spread import in_order, start_of, visit
from doric.llm.response import Completion

SIZES = (2, 2, 3, 2, 1)
"""The number of sentences of consecutive answers."""
GENERAL = 8
"""From this attempt on, an answer may have sentences for any topic."""
BESIDE = 6
"""An answer has its other sentences from the first so many that are left."""


def voice(seed: int) -> Voice:
    """The embedded voice for whole chats."""
    first = heuristic.voice(seed)

    async def speak(attempt: Attempt) -> Completion:
        if not attempt.said:
            return await first(attempt)
        return Completion(reply(attempt, seed))

    return speak


def follow_up(seed: int) -> FollowUp:
    """The follow-ups that the embedded voice has sentences for."""

    def chosen(job: Job, said: tuple[Exchange, ...]) -> followups.Prompt:
        left = _Left(job, said)
        known = tuple(noun for noun in followups.nouns(job, said) if left.naming(noun.doric))
        return followups.next_turn(job, said, followups.Voice(lambda wanted: bool(left.of(wanted)), known), seed)

    return chosen


def reply(attempt: Attempt, seed: int) -> str:
    """The answer to the last user turn of a chat. It depends only on the attempt and the seed."""
    prompt = attempt.job.prompt
    if prompt.wants == REFUSAL:
        return _refusal(attempt, seed)
    if prompt.wants == THEN or prompt.wants.startswith(PARTS):
        return _from_parts(attempt, seed)
    if prompt.ask in asks.asks():
        return asks.answer_to(asks.asked(prompt.ask, prompt.number, seed), attempt.number)
    return " ".join(_advice(attempt, seed))


class _Left:
    """The sentences about the topic of a chat, and of its theme, that it does not have yet."""

    def __init__(self, job: Job, said: Sequence[Exchange]) -> None:
        pools = heuristic.pools(job.topic.text, named=False)
        used = _said(said)
        self.order = pools.order
        self.own = _new((*pools.answers, *pools.more), used)
        self.general = _new((line for name in THEME_PARTS for line in general_sentences()[name]), used)
        """Sentences for any topic, which only replace others that the gates have rejected."""
        self.mistakes = _new(pools.mistakes, used)
        self.theme = {name: _new(lines, used) for name, lines in zip(THEME_PARTS, pools.theme, strict=True)}

    def of(self, wanted: str) -> list[str]:
        """The sentences that answer a follow-up."""
        return {MORE: self.own, MISTAKES: self.mistakes, **self.theme}.get(wanted, [])

    def naming(self, word: str) -> list[str]:
        """The sentences with a word."""
        every = itertools.chain(self.own, *self.theme.values())
        return [line for line in every if word in words(line) and not line.endswith("?")]


def _said(said: Sequence[Exchange]) -> set[str]:
    return {fold(line) for one in said for line in sentences(one.answer)}


def _new(lines: Iterable[str], used: set[str]) -> list[str]:
    return [line for line in lines if not {fold(one) for one in sentences(line)} & used]


def _advice(attempt: Attempt, seed: int) -> list[str]:
    job, prompt = attempt.job, attempt.job.prompt
    left = _Left(job, attempt.said)
    leads = left.naming(prompt.named) if prompt.wants == NAMED else left.of(prompt.wants)
    about = [*left.own, *itertools.chain(*left.theme.values())]
    about += left.general if attempt.number >= GENERAL or not about else []
    leads = leads or about
    start = start_of(seed, job.id, len(attempt.said))
    size = SIZES[(start + attempt.number) % len(SIZES)]
    picked = visit(len(leads), attempt.number, start)
    lines = [leads[picked]]
    rest = dict.fromkeys((*left.own, *left.of(prompt.wants), *about))
    others = [line for line in rest if line not in lines]
    others = others[:BESIDE] if attempt.number < GENERAL else others[-BESIDE:]
    choices = list(itertools.combinations(others, min(size - 1, len(others))))
    lines += choices[visit(len(choices), attempt.number // len(leads), start)]
    lines = sorted(in_order(lines, left.order), key=lambda line: line.endswith("?"))
    if job.kind == "adv":
        lines.insert(0, _hold(attempt, start))
    return lines


def _hold(attempt: Attempt, start: int) -> str:
    holds = _new(heuristic.holds(), _said(attempt.said))
    return holds[visit(len(holds), attempt.number, start)]


def _refusal(attempt: Attempt, seed: int) -> str:
    job, used = attempt.job, _said(attempt.said)
    parts = [
        _new(lines, used) or list(lines) for lines in heuristic.refusal_parts(job.prompt.category, job.prompt.case)
    ]
    return heuristic.combined(parts, attempt.number, start_of(seed, job.id, len(attempt.said)))


def _from_parts(attempt: Attempt, seed: int) -> str:
    parts = followups.parts(attempt.job.prompt, seed)
    return heuristic.combined(parts, attempt.number, start_of(seed, attempt.job.id, len(attempt.said)))
