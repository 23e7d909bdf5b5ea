"""The variety of a dataset: nearest neighbours by brute force, sentences and their skeletons, questions, lengths.

uv run python benchmarks/dataset_quality.py datasets/doric_synth.jsonl
"""

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from rapidfuzz import fuzz, process

from doric.core import cli
from doric.core.conversations import as_messages
from doric.core.errors import InputError
from doric.core.jsonl import read_jsonl
from doric.core.text import fold, sentences, words

CHUNK = 512
KEPT_WORDS = 150
"""A skeleton keeps so many of the dataset's most frequent words."""


def nearest(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The similarity (0 to 1) and the index of each text's nearest neighbour. Every pair of texts is compared."""
    best, who = np.zeros(len(texts), dtype=np.float32), np.zeros(len(texts), dtype=np.int64)
    for start in range(0, len(texts), CHUNK):
        block = process.cdist(texts[start : start + CHUNK], texts, scorer=fuzz.ratio, workers=-1, dtype=np.float32)
        for row in range(block.shape[0]):
            block[row, start + row] = -1
        best[start : start + CHUNK] = block.max(axis=1) / 100
        who[start : start + CHUNK] = block.argmax(axis=1)
    return best, who


def distinct(texts: list[str], size: int) -> float:
    """The number of different n-grams of `size` words, as a share of all n-grams (Li et al. 2016, distinct-n)."""
    total, seen = 0, set()
    for text in texts:
        tokens = words(text)
        grams = list(zip(*(tokens[at:] for at in range(size)), strict=False))
        total += len(grams)
        seen.update(grams)
    return len(seen) / max(1, total)


def skeletons(lines: Collection[str]) -> Counter[tuple[str, ...]]:
    """The sentences by skeleton: every word that is not one of the most frequent `KEPT_WORDS` becomes a blank."""
    tokens = {line: [fold(word) for word in words(line)] for line in lines}
    frequent = {word for word, _ in Counter(word for each in tokens.values() for word in each).most_common(KEPT_WORDS)}
    return Counter(tuple(word if word in frequent else "_" for word in each) for each in tokens.values())


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("dataset", type=Path, metavar="FILE", help="rows of {messages, meta}, one per line")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Print the figures of a dataset. The exit status is 0."""
    rows = [row for _, row in read_jsonl(args.dataset, convert=as_messages)]
    if len(rows) < 2:
        raise InputError(f"{args.dataset}: fewer than two rows, so none has a neighbour")
    answers = [row["messages"][1]["content"] for row in rows]
    best, who = nearest([fold(answer) for answer in answers])
    used = Counter(line for answer in answers for line in set(sentences(answer)))
    line, times = used.most_common(1)[0]
    top = int(best.argmax())
    figures = {
        "rows": len(answers),
        "pairs_at_least_0.9": int((best >= 0.9).sum()),
        "highest_similarity": round(float(best.max()), 4),
        "median_nearest": round(statistics.median(best.tolist()), 4),
        "sentences": len(used),
        "skeletons": len(shapes := skeletons(used)),
        "most_used_skeleton": round(shapes.most_common(1)[0][1] / len(used), 4),
        "asking_sentences": sum(line.endswith("?") for line in used),
        "answers_that_ask": round(sum("?" in answer for answer in answers) / len(answers), 4),
        "questions": len({fold(row["messages"][0]["content"]) for row in rows}),
        "words_10_50_90": [int(one) for one in np.percentile([len(words(one)) for one in answers], (10, 50, 90))],
        "most_used_share": round(times / len(answers), 5),
        "most_used": line,
        "nearest_pair": [answers[top], answers[int(who[top])]],
        **{f"distinct_{size}": round(distinct(answers, size), 4) for size in (1, 2, 3)},
    }
    if args.json:
        print(json.dumps(figures, ensure_ascii=False))
    else:
        for name, value in figures.items():
            print(f"{name:>20}  {value}")
    return 0


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
