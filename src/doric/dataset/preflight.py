"""Before a run of the generator: its topics, its price, whatever is wrong with its flags, and what it will take.

Reads, and writes nothing. Knows flags and files, and nothing of how a row is made.
"""

import argparse
import itertools
import logging
from pathlib import Path

from doric.core.errors import InputError, SettingsError
from doric.core.files import file_size, refuse_foreign_file
from doric.core.settings import Settings
from doric.dataset import instructions
from doric.dataset.plan import Plan
from doric.llm.budget import Price, chosen_price
from doric.llm.response import estimate_tokens
from doric.quality.decontamination import find_match
from doric.topics.lists import Topic, each_once, read_topics

log = logging.getLogger("doric")
SAMPLE = 200
"""Jobs by whose prompts a forecast is made."""


def check_numbers(args: argparse.Namespace) -> None:
    """Raise `SettingsError` for a number that no run can have; those of the plan are the plan's own."""
    for flag in ("max_concurrency", "progress_every", "max_tries", "max_rpm", "max_tpm", "timeout"):
        if (value := getattr(args, flag)) is not None and not value > 0:
            raise SettingsError(f"--{flag.replace('_', '-')} is {value}", hint="Give a number above 0.")
    for flag in ("temperature", "max_retries", "price_in", "price_out", "max_cost", "max_total_tokens"):
        if (value := getattr(args, flag)) is not None and not value >= 0:
            raise SettingsError(f"--{flag.replace('_', '-')} is {value}", hint="Give 0 or a number above it.")


def check_files(args: argparse.Namespace) -> None:
    """Raise `DoricError` when a file that is written is also another one of the run, or somebody else's."""
    named = {
        "--out": args.out,
        "OUT.rejected.jsonl": f"{args.out}.rejected.jsonl",
        "OUT.plan.json": f"{args.out}.plan.json",
    }
    named |= {"--report": args.report, "--topics": args.topics, "--topics-json": args.topics_json}
    seen: dict[Path, str] = {}
    for flag, name in named.items():
        if name and (other := seen.setdefault(Path(name).resolve(), flag)) != flag:
            raise SettingsError(f"{flag} and {other} are the same file, {name}", hint="Give each a name of its own.")
    if args.report:
        from doric.report.html import PAGE  # with an engine for templates, that most runs do not need

        refuse_foreign_file(Path(args.report), PAGE, "page of a dataset")


def topics(args: argparse.Namespace) -> list[Topic]:
    """The topics of a run, each once, without those that are held out. Raises `DoricError` when there is none."""
    lists = [read_topics(args.topics_json, as_json=True)] if args.topics_json else []
    lists += [read_topics(args.topics)] if args.topics else []
    if not lists and not Path("topics.json").is_file():
        hint = "Run from the top of the repository, or name a list with --topics-json or --topics."
        raise InputError("there is no such file here", file="topics.json", hint=hint)
    kept = []
    for topic in each_once(itertools.chain.from_iterable(lists or [read_topics("topics.json")])):
        if held := find_match(topic.text):
            log.warning("Left out the topic '%s': it matches the held-out prompt %s.", topic.text, held.id)
        else:
            kept.append(topic)
    if not kept:
        raise SettingsError("every topic matches a held-out prompt", hint="Give topics of your own.")
    return kept


def price(args: argparse.Namespace, settings: Settings) -> Price | None:
    """What the model costs, where that is known."""
    return chosen_price(args.price_in, args.price_out, settings.model)


def expected(plan: Plan, seed: int) -> tuple[float, float]:
    """Tokens in, and at most out, of one call, by a sample of the plan."""
    sample = list(itertools.islice(plan, SAMPLE))
    asked = sum(len(one["content"]) for job in sample for one in instructions.messages(job, [], seed=seed))
    out = sum(map(instructions.token_budget, sample))
    return estimate_tokens(asked / len(sample)), out / len(sample)


def forecast(plan: Plan, out: Path | None, price: Price | None, seed: int) -> str:
    """What filling `out` will take, as a line or two for people; a first answer has half of the tokens it may have."""
    left = max(0, len(plan) - (lines(out) if out else 0))
    into, most = expected(plan, seed)
    tokens_in, tokens_out = round(left * into), round(left * most / 2)
    told = (
        f"{left:,} of them to write: about {tokens_in:,} tokens in and {tokens_out:,} out if each first answer passes;"
        " more with every second try, and a reasoning model's thoughts"
    )
    if price is None:
        return f"{told}\nprice not known: give --price-in and --price-out to see the cost"
    return f"{told}\nabout ${price.cost(tokens_in, tokens_out):,.2f} ({price.source})"


def lines(path: Path) -> int:
    """Lines in a file, 0 when it is not there."""
    return sum(1 for _ in path.open("rb")) if file_size(path) else 0
