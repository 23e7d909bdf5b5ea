"""What a model is told so that it writes Doric: rules, a few authored examples, the question, and what was wrong
before.

The wording is in `data/instructions.toml`. A topic or a question is only ever the content of a user turn, never part
of the rules.
"""

import functools
import random
from collections.abc import Sequence

from doric import data
from doric.dataset.phrases import known
from doric.dataset.plan import Job
from doric.dataset.prompts import LENGTHS

type Message = dict[str, str]
TOKENS_A_WORD = 2.6
"""Doric is cut into more tokens than English: about 2.2 a word by the common tokenizers, and some room."""


@functools.cache
def _spec() -> dict:
    return data.read_toml("instructions.toml")


def messages(job: Job, faults: Sequence[tuple[str, str]], *, seed: int) -> list[Message]:
    """The chat that asks for one answer. `faults` are the (answer, reason) pairs rejected before, oldest first.

    Only the last of them is shown: a model that sees all its failures repeats them.
    """
    least, most = LENGTHS[job.prompt.length]
    rules = _spec()["system"].replace("{least}", str(least)).replace("{most}", str(most))
    chat = [{"role": "system", "content": f"{rules.strip()}\n\n{_spec()['bucket'][job.kind]}"}]
    for question, answer in _exemplars(job, seed):
        chat += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    question = {"role": "user", "content": job.prompt.text}
    chat.append(question)
    for text, reason in faults[-1:]:
        again = _spec()["again"]["text" if text else "nothing"].replace("{reason}", reason)
        if text:
            chat += [{"role": "assistant", "content": text}, {"role": "user", "content": again}]
        else:  # no turn of the model's stands between, and turns must alternate
            question["content"] += f"\n\n{again}"
    return chat


def token_budget(job: Job, grown: int = 0) -> int:
    """The most tokens an answer may take, half as many again each time one was cut off."""
    most = LENGTHS[job.prompt.length][1]
    return round(most * TOKENS_A_WORD * 1.5**grown)


def _exemplars(job: Job, seed: int) -> list[tuple[str, str]]:
    """Authored answers on other topics: one of the job's own group where there is one, the rest from anywhere."""
    draw = random.Random(f"{seed}:{job.id}")
    others = _others()
    own = [one for one in others if one[2] == job.topic.group and one[3] != job.topic.text]
    picked = draw.sample(own, min(1, len(own)))
    rest = [one for one in draw.sample(others, 6) if one not in picked and one[3] != job.topic.text]
    return [(question, answer) for question, answer, _, _ in (picked + rest)[: _spec()["exemplars"]["count"]]]


@functools.cache
def _others() -> tuple[tuple[str, str, str, str], ...]:
    return tuple(
        (
            f"Tell me about {topic}.",
            f"{one.answers[0]} {one.theme.whys[one.place]} {one.theme.steps[one.place]}",
            one.theme.group,
            topic,
        )
        for topic, one in known().items()
    )
