"""The model's answers to held-out prompts, before and after training, with the metrics of `doric.evaluation`.

"Passes the gates", "in Doric" and "refuses" mean the same here and in `validation/validate_model.py`.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from doric.dialect.scores import score
from doric.evaluation.aggregate import SHARES
from doric.evaluation.generation import generate_together, until_end
from doric.evaluation.metrics import ModelAnswer, ScoredAnswer, score_answers
from doric.finetune.chat_template import render
from doric.finetune.loading import speaking
from doric.quality.decontamination import HeldOutPrompt, held_out_prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from doric.finetune.foreign_types import Model, Tokenizer

REPETITION = 1.1
"""The repetition penalty: without it a small model repeats itself endlessly."""
ANSWERS_AT_ONCE = 8


@dataclass(frozen=True)
class Reply:
    """An answer, and whether the model ended it with an end token."""

    text: str
    stopped: bool


@dataclass(frozen=True)
class Answerer:
    """Asks a model: greedy decoding with a repetition penalty, at most `limit` tokens per answer."""

    model: Model
    tokenizer: Tokenizer
    ends: Sequence[int]
    limit: int
    backend: str

    def ask(self, prompts: Sequence[str]) -> list[Reply]:
        """The answers to single questions, in the same order."""
        import torch

        replies: list[Reply] = []
        with torch.no_grad(), speaking(self.model, self.backend):
            for at in range(0, len(prompts), ANSWERS_AT_ONCE):
                replies += self._answer_batch(prompts[at : at + ANSWERS_AT_ONCE])
        return replies

    def _answer_batch(self, prompts: Sequence[str]) -> Iterator[Reply]:
        from transformers import GenerationConfig

        likeliest = GenerationConfig(
            max_new_tokens=self.limit,
            do_sample=False,
            repetition_penalty=REPETITION,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=list(self.ends),
        )
        asked = [render(self.tokenizer, [{"role": "user", "content": one}], ask=True) for one in prompts]
        return map(self._reply, generate_together(self.model, asked, likeliest))

    def _reply(self, ids: list[int]) -> Reply:
        said, ended = until_end(ids, self.ends)
        return Reply(self.tokenizer.decode(said, skip_special_tokens=True).strip(), ended)


def choose_prompts(each: int, buckets: Iterable[str]) -> list[HeldOutPrompt]:
    """Up to `each` held-out prompts per bucket, evenly spread; for safety also as many harmless prompts."""
    chosen: list[HeldOutPrompt] = []
    for bucket in buckets:
        for benign in (False, True):
            listed = [one for one in held_out_prompts() if one.bucket == bucket and one.benign is benign]
            chosen += listed[:: max(1, len(listed) // each)][:each] if listed else []
    return chosen


def sample_prompts(count: int) -> list[HeldOutPrompt]:
    """`count` held-out questions to ask during training: the first of each bucket in turn."""
    buckets = ("core", "safety", "adv", "multi")
    each = {name: [one for one in held_out_prompts() if one.bucket == name and not one.benign] for name in buckets}
    return [one for group in zip(*each.values(), strict=False) for one in group][:count]


def scored(prompts: Sequence[HeldOutPrompt], replies: Sequence[Reply]) -> list[ScoredAnswer]:
    """The answers with the metrics of the scoreboard; an answer that did not stop counts as cut off."""
    answers = [
        ModelAnswer(one.id, 0, one.prompt, reply.text, "stop" if reply.stopped else "length")
        for one, reply in zip(prompts, replies, strict=True)
    ]
    return score_answers(answers, {one.id: one for one in prompts})


def once(text: str) -> str:
    """The text with each repeated word written once: a model that only repeats "aye" does not write Scots.

    >>> once("Aye, aye, aye! Fit like?")
    'Aye! Fit like?'
    """
    return re.sub(r"\b(\w+)(?:\W+\1\b)+", r"\1", text, flags=re.IGNORECASE)


def dialect_shares(texts: Iterable[str]) -> dict[str, float]:
    """Both dialect scores over all words of the texts, from 0 to 1."""
    profiles = [score(once(text)) for text in texts]
    words = sum(one.tokens for one in profiles) or 1
    return {
        "substrate": sum(one.substrate * one.tokens for one in profiles) / words,
        "north_east": sum(one.north_east * one.tokens for one in profiles) / words,
    }


def measure(prompts: Sequence[HeldOutPrompt], replies: Sequence[Reply]) -> dict[str, float]:
    """Shares from 0 to 1: both dialect scores over all words, the answers that pass the gates, the answers that end."""
    return dialect_shares(reply.text for reply in replies) | {
        "pass the gates": sum(SHARES["passes"](one) for one in scored(prompts, replies)) / len(replies),
        "stop by themselves": sum(reply.stopped for reply in replies) / len(replies),
    }


def _answers(one: ScoredAnswer) -> bool:
    return not SHARES["over_refuses"](one)


PROBES: dict[str, tuple[str, Callable[[ScoredAnswer], float]]] = {
    "told to write English: stays in Doric": ("adv", SHARES["holds_doric"]),
    "asked in another language: answers in Doric": ("multi", SHARES["holds_doric"]),
    "harmful: refuses": ("safety", SHARES["refuses"]),
    "looks harmful, but is not: answers": ("benign", _answers),
    "everyday question: does not refuse": ("core", _answers),
}
"""What is probed -> (bucket of the scoreboard, whether an answer is right)."""


def probe(prompts: Sequence[HeldOutPrompt], before: Sequence[Reply], after: Sequence[Reply]) -> list[dict[str, Any]]:
    """For each probe with prompts, the share of answers that are right, before and after training."""
    sides = [scored(prompts, replies) for replies in (before, after)]
    results = []
    for name, (bucket, right) in PROBES.items():
        asked = [[one for one in side if one.bucket == bucket] for side in sides]
        if asked[0]:
            shares = [sum(map(right, side)) / len(side) for side in asked]
            results.append({"probe": name, "prompts": len(asked[0]), "before": shares[0], "after": shares[1]})
    return results


def best_sample(prompts: Sequence[HeldOutPrompt], replies: Sequence[Reply]) -> tuple[str, str]:
    """A prompt and its answer for the model card: if possible, an everyday question whose answer passes the gates."""
    sides = scored(prompts, replies)
    best = max(range(len(sides)), key=lambda at: (sides[at].bucket == "core", not sides[at].rejection, -at))
    return prompts[best].prompt, " ".join(replies[best].text.split())


def keep_answers(path: Path, prompts: Sequence[HeldOutPrompt], replies: Sequence[Reply]) -> None:
    """Write the prompts and answers to a JSON file."""
    said = [{"id": one.id, "prompt": one.prompt, **asdict(reply)} for one, reply in zip(prompts, replies, strict=True)]
    path.write_text(json.dumps(said, ensure_ascii=False, indent=1), "utf-8")


def side_by_side(
    prompts: Sequence[HeldOutPrompt], said: Mapping[str, Sequence[Reply]], most: int = 2
) -> list[dict[str, str]]:
    """The first `most` prompts of each bucket with the answers of each model, as table rows."""
    taken: dict[str, int] = {}
    rows = []
    for at, one in enumerate(prompts):
        kind = "looks harmful, but is not" if one.benign else one.bucket
        taken[kind] = taken.get(kind, 0) + 1
        if taken[kind] <= most:
            answers = {who: replies[at].text for who, replies in said.items()}
            rows.append({"bucket": kind, "prompt": one.prompt, **answers})
    return rows
