"""Count on which try authored bad answers are accepted, told one fault at a time and told all faults by name.

    uv run python benchmarks/retries.py

A simulated weak model repairs exactly what it was told by name: words that the reason pairs with other words, words
that it quotes and for which it names a form, and sentences from which it quotes words. It changes nothing else. The
answers and their repairs are in tests/data/weak_answers.toml.
"""

import argparse
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from doric.core import cli
from doric.dialect.lexicon import house_forms
from doric.dialect.spelling import with_case
from doric.quality import faults, gates
from doric.quality.answer import Answer, Rejection

ANSWERS = Path(__file__).resolve().parents[1] / "tests" / "data" / "weak_answers.toml"
TRIES = 6
PAIR = re.compile(r"([\w']+) -> ([\w']+)")
QUOTED = re.compile(r"(?<!\w)'([^']+(?:'\w[^']*)*)'(?!\w)")

type Tell = Callable[[Answer, Sequence[Rejection]], Rejection | None]


def first_only(answer: Answer, found: Sequence[Rejection]) -> Rejection | None:
    """The first fault, as retries were told before."""
    return found[0] if found else None


WAYS: dict[str, Tell] = {"first fault": first_only, "all faults": faults.combined}


def repaired(sentences: Sequence[str], repairs: Sequence[str], reason: str) -> list[str]:
    """The sentences with what the reason names repaired."""
    pairs = dict(PAIR.findall(reason))
    named = [quoted.removesuffix("…").strip(".") for quoted in QUOTED.findall(reason)]
    if "write '" in reason:  # "'whit', 'wean' are Central Scots: write 'fit', 'bairn'"
        pairs |= {word: house_forms()[word] for word in named if house_forms().get(word)}
    places = [quoted for quoted in named if quoted not in {*pairs, *pairs.values(), "fit", "that"}]
    return [
        repair if any(_has(sentence, place) for place in places) else _reworded(sentence, pairs)
        for sentence, repair in zip(sentences, repairs, strict=True)
    ]


def _has(sentence: str, place: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(place)}(?!\w)", sentence, re.IGNORECASE) is not None


def _reworded(sentence: str, pairs: dict[str, str]) -> str:
    def swap(word: re.Match[str]) -> str:
        new = pairs.get(word.group().lower())
        return with_case(word.group(), new) if new else word.group()

    return re.sub(r"[\w']+", swap, sentence)


def tries(raw: dict, tell: Tell) -> int:
    """The try on which an answer is accepted, or 0 if none of `TRIES` is."""
    sentences, repairs = map(list, zip(*raw["sentences"], strict=True))
    for number in range(1, TRIES + 1):
        answer = Answer.of(" ".join(sentences))
        found = [*gates.faults(answer, prompt=raw["prompt"], topic="", kind="core")]
        if (rejection := tell(answer, found)) is None:
            return number
        sentences = repaired(sentences, repairs, rejection.reason)
    return 0


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Print how many answers are accepted on each try, for both ways of telling."""
    answers = tomllib.loads(ANSWERS.read_text("utf-8"))["answer"]
    counts = {way: Counter(tries(raw, tell) for raw in answers) for way, tell in WAYS.items()}
    if args.json:
        print(json.dumps({way: dict(sorted(count.items())) for way, count in counts.items()}))
        return 0
    for way, count in counts.items():
        on = ", ".join(f"try {number}: {count[number]}" for number in range(1, TRIES + 1) if count[number])
        print(f"{way:<12} {on or 'none accepted'}; never: {count[0]} of {len(answers)}")
    return 0


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
