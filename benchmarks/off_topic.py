"""Measure the check that an answer shares no word with its question, with true and with shuffled pairs.

    uv run python benchmarks/off_topic.py

The pairs are questions of a plan and answers of the embedded voice. Shuffled, each question has the answer to one about
another topic. The sentences of an answer, and those of its topic, are left out of the words of the theme, because
a model writes others. "Shopping caught" counts the
questions to which the same advice about shopping is found to be no answer.
"""

import argparse
import asyncio
import itertools
import json
import random
from collections.abc import Callable, Sequence

from doric.core import cli
from doric.dataset import relevance, replies
from doric.dataset.plan import Attempt, Job, Mix, Plan
from doric.topics.lists import read_topics

SHOPPING = (
    "Mak a list afore ye gyang tae the shop, an dinna gyang fan ye're hungry. Leuk at the price for the kilo, for a "
    "muckle pack isna aye the chaip een, an tak yer ain pyoke wi ye."
)

type Check = Callable[[Job, str], bool]


def pairs(count: int, seed: int) -> list[tuple[Job, str]]:
    """So many questions that the check suits, with their answers."""
    plan = Plan(list(read_topics("topics.json")), Mix(), langs=[], seed=seed)
    jobs = list(filter(relevance.can_tell, plan))
    random.Random(seed).shuffle(jobs)
    voice = replies.voice(seed)

    async def answers() -> list[tuple[Job, str]]:
        return [(job, (await voice(Attempt(job))).text) for job in itertools.islice(jobs, count)]

    return asyncio.run(answers())


def shuffled(true: Sequence[tuple[Job, str]], seed: int) -> list[tuple[Job, str]]:
    """The questions, each with the answer to one about another topic."""
    draw = random.Random(seed)
    found = []
    for job, _ in true:
        others = [text for other, text in true if other.topic.text != job.topic.text]
        found.append((job, draw.choice(others)))
    return found


def figures(check: Check, true: Sequence[tuple[Job, str]], seed: int) -> dict[str, float | int]:
    """False alarms, shuffled pairs and shopping advice that are found, with precision and recall."""
    alarms = sum(check(*pair) for pair in true)
    caught = sum(check(*pair) for pair in shuffled(true, seed))
    shopping = [job for job, _ in true if not check(job, SHOPPING)]
    return {
        "pairs": len(true), "false alarms": alarms, "caught": caught,
        "precision": round(caught / max(1, caught + alarms), 3), "recall": round(caught / len(true), 3),
        "shopping caught": len(true) - len(shopping),
    }  # fmt: skip


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--pairs", type=cli.positive_int, default=300, help="pairs of each kind (default: 300)")
    parser.add_argument("--seed", type=cli.whole_number, default=5, help="seed of plan and shuffling (default: 5)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Print one JSON object per check."""
    true = pairs(args.pairs, args.seed)
    checks: dict[str, Check] = {
        "no word of topic, theme keywords or prompt": lambda job, text: not relevance.shares_words(job, text),
        "nor of the sentences of the theme (meta.off_topic)": relevance.is_off_topic_without,
    }
    for name, check in checks.items():
        print(json.dumps({"check": name, **figures(check, true, args.seed)}))
    return 0


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
