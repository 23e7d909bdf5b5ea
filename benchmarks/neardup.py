"""Measure the near-duplicate index: time and memory per row as it grows, and its recall compared with brute force.

    uv run python benchmarks/neardup.py

There are three kinds of text. `random`: short texts of made-up words. `templates`: four or five sentences, each from
one of many small pools, so that rows share sentences. `own`: the answers of the embedded voice before any gate. As in
the generator, each row is looked up, and it is stored if it has no match. Times are CPU time. `first` is the mean of
the first 3,000 rows, and `last` is the mean of the last tenth. To measure recall, the benchmark changes stored texts
(words, letters or a sentence). Brute force finds the changed texts that still have a similarity of 0.9 to a stored
text. The index should find the same texts. A separate process measures each line, so RSS is the memory of one index and
the interpreter.
"""

import argparse
import itertools
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from doric.core import cli
from doric.core.text import fold
from doric.dataset import heuristic
from doric.dataset.plan import Mix, Plan
from doric.quality.near_duplicates import NearDuplicateIndex
from doric.topics.lists import read_topics

THRESHOLD = 0.9
FIRST = 3_000
SIZES = (1_000, 3_000, 12_000, 100_000)
TOPICS = Path(__file__).parent.parent / "topics.json"
LETTERS = "aaaaeeeeeiiinnnnoorrrssttthdlkgwbcfmpuvy"
HEAD = f"{'texts':<10}{'rows':>10}{'stored':>10}{'us/row':>8}{'first':>7}{'last':>7}{'cands/row':>11}{'RSS MB':>8}"
HEAD += f"{'recall .90-.95':>20}{'.95-1':>16}"


def made_up(draw: random.Random) -> Callable[[], str]:
    """Returns a function that makes sentences of 9 to 18 made-up words. Some words are much more frequent than
    others.
    """
    lengths = draw.choices(range(1, 10), (2, 9, 12, 12, 10, 8, 5, 3, 2), k=6000)
    words = ["".join(draw.choices(LETTERS, k=length)) for length in lengths]
    weights = list(itertools.accumulate(1 / rank for rank in range(4, 6004)))
    return lambda: " ".join(draw.choices(words, cum_weights=weights, k=draw.randint(9, 18))).capitalize() + "."


def random_texts(draw: random.Random) -> Iterator[str]:
    """Texts of three to five sentences; no sentence occurs twice."""
    sentence = made_up(draw)
    while True:
        yield " ".join(sentence() for _ in range(draw.randint(3, 5)))


def templates(draw: random.Random) -> Iterator[str]:
    """Texts from 96 themes. A theme has four pools of five sentences, and five topics with three sentences each."""
    sentence = made_up(draw)
    themes = [[[sentence() for _ in range(5)] for _ in range(4)] for _ in range(96)]
    answers = {(theme, topic): [sentence() for _ in range(3)] for theme in range(96) for topic in range(5)}
    while True:
        theme, topic = draw.randrange(96), draw.randrange(5)
        pools = draw.sample(themes[theme], draw.choice((3, 3, 4)))
        yield " ".join([draw.choice(answers[theme, topic]), *(draw.choice(pool) for pool in pools)])


def own(draw: random.Random) -> Iterator[str]:
    """The answers of the embedded voice to the jobs of a plan, in order."""
    seed = draw.randrange(1 << 16)
    for job in Plan(read_topics(TOPICS), Mix(400), seed=seed):
        ask = heuristic.Question(job.topic.text, job.kind, job.prompt.length, job.prompt.category, job.slot, seed)
        yield heuristic.answer(ask)


SOURCES = {"random": random_texts, "templates": templates, "own": own}


def altered(draw: random.Random, text: str, words: Sequence[str]) -> str:
    """The text with a part replaced: single words, single letters, or one run of words."""
    share, tokens = draw.uniform(0.01, 0.1), text.split()
    match draw.randrange(3):
        case 0:
            return " ".join(draw.choice(words) if draw.random() < share else token for token in tokens)
        case 1:
            return "".join(draw.choice(LETTERS) if char != " " and draw.random() < share else char for char in text)
        case _:
            length = round(len(tokens) * share * 1.6)
            start = draw.randrange(len(tokens) - length)
            tokens[start : start + length] = draw.sample(words, length)
            return " ".join(tokens)


def fill(index: NearDuplicateIndex, texts: Iterator[str], rows: int) -> tuple[list[float], list[str]]:
    """(CPU seconds for each hundredth of the rows, a sample of the texts)."""
    costs, stored = [], []
    for start in range(0, rows, rows // 100):
        block = list(itertools.islice(texts, rows // 100))
        began = time.process_time()
        for number, text in enumerate(block, start):
            if index.nearest(text) is None:
                index.add(str(number), text)
        costs.append(time.process_time() - began)
        stored += random.Random(start).sample(block, min(20, len(block)))
    return costs, stored


def recall(
    index: NearDuplicateIndex, draw: random.Random, stored: list[str], tries: int
) -> dict[bool, tuple[int, int]]:
    """For `tries` changed texts: whether the similarity is 0.95 or more -> (found, expected)."""
    from rapidfuzz import fuzz, process

    everything = index.texts
    words = " ".join(stored).split()
    counts = {False: (0, 0), True: (0, 0)}
    for text in draw.sample(stored, min(tries, len(stored))):
        query = altered(draw, text, words)
        best = process.extractOne(fold(query), everything, scorer=fuzz.ratio, score_cutoff=THRESHOLD * 100)
        if best is not None:
            found, expected = counts[best[1] >= 95]
            counts[best[1] >= 95] = found + (index.nearest(query) is not None), expected + 1
    return counts


def resident() -> float:
    """The memory (RSS) of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def measure(kind: str, rows: int) -> str:
    """One line of the table."""
    draw = random.Random(f"{kind}:{rows}")
    index, texts = NearDuplicateIndex(THRESHOLD), SOURCES[kind](draw)
    costs, stored = fill(index, texts, rows)
    memory = resident()
    per_row = [cost / (rows // 100) * 1e6 for cost in costs]
    first = per_row[: max(1, FIRST // (rows // 100))]
    candidates = sum(len(index.candidates(text)) for text in itertools.islice(texts, 500)) / 500
    line = f"{kind:<10}{rows:>10,}{len(index):>10,}{sum(per_row) / 100:>8.0f}{sum(first) / len(first):>7.0f}"
    line += f"{sum(per_row[-10:]) / 10:>7.0f}{candidates:>11.1f}{memory:>8.0f}"
    shares = recall(index, draw, stored, 1500 if rows <= 100_000 else 300)
    shown = (f"{found / max(1, expected):.3f} of {expected}" for found, expected in (shares[False], shares[True]))
    return line + "{:>20}{:>16}".format(*shown)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    sizes = f"numbers of rows (default: {' '.join(map(str, SIZES))})"
    parser.add_argument("--sizes", type=int, nargs="+", metavar="N", help=sizes)
    parser.add_argument("--texts", choices=tuple(SOURCES), help="one kind of text (default: all three)")
    parser.add_argument("--one", action="store_true", help="measure in this process and print no heading")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table. Each line is measured in its own process."""
    args = parse_args(argv)
    if args.one:
        print(measure(args.texts, args.sizes[0]), flush=True)
        return 0
    print(HEAD, flush=True)
    for kind in (args.texts,) if args.texts else SOURCES:
        for rows in args.sizes or SIZES:
            subprocess.run([sys.executable, __file__, "--one", "--texts", kind, "--sizes", str(rows)], check=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
