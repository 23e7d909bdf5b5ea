"""Compare the ShareGPT conversion with the minimum that any conversion must do: orjson loads and dumps for each line.

    uv run python benchmarks/sharegpt.py

The script converts a file of rows in the generator's format, with its checks, fsync and rename. It does so once with
and once without the search for held-out prompts. The bare loop reads the same file and writes its rows unchanged. The
three take turns. The figures are medians, and the ratios are relative to the bare loop.
"""

import itertools
import runpy
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from doric.core import cli
from doric.core.conversations import Row, make_row
from doric.dataset import heuristic
from doric.dataset.plan import Job, Mix, Plan
from doric.dialect.scores import score
from doric.topics.lists import read_topics

ROOT = Path(__file__).parent.parent
SCRIPT = runpy.run_path(str(ROOT / "dataset_generation" / "transform_to_sharegpt.py"))
FIGURES = ("substrate", "north_east", "leakage", "spread", "contamination")


def row_of(job: Job) -> Row:
    """A row with an answer of the embedded voice."""
    question = heuristic.Question(job.topic.text, job.kind, job.prompt.length, job.prompt.category, job.slot, 0)
    text = heuristic.answer(question)
    scores = score(text)
    meta = {"topic": job.topic.text, "group": job.topic.group, "kind": job.kind, "id": job.id, "lang": job.prompt.lang}
    meta |= {"wc": len(text.split()), "backend": "heuristic", "model": "", "tries": 1}
    return make_row(job.prompt.text, text, meta | {name: round(getattr(scores, name), 4) for name in FIGURES})


def write_rows(path: Path, megabytes: int) -> None:
    """Write a file of about the given size: the rows of three thousand jobs, repeated."""
    jobs = itertools.islice(Plan(read_topics(ROOT / "topics.json"), Mix()), 3000)
    block = b"".join(orjson.dumps(row_of(job)) + b"\n" for job in jobs)
    with path.open("wb") as out:
        for _ in range(megabytes * 1_000_000 // len(block) + 1):
            out.write(block)


def bare(source: Path, target: Path) -> None:
    """Read and write every row unchanged."""
    with source.open("rb") as lines, target.open("wb") as out:
        for line in lines:
            out.write(orjson.dumps(orjson.loads(line)) + b"\n")


def guarded(source: Path, target: Path, *flags: str) -> None:
    """Run the script in this process, with the search for held-out prompts."""
    SCRIPT["main"](["--input", str(source), "--output", str(target), "--overwrite", *flags])


def conversion(source: Path, target: Path) -> None:
    """Run the script without the search for held-out prompts."""
    guarded(source, target, "--no-guard")


WORKS = {"bare loads/dumps": bare, "conversion": conversion, "with held-out guard": guarded}


def timed(work: Callable[[Path, Path], None], source: Path, target: Path) -> tuple[float, float]:
    """The CPU and wall seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work(source, target)
    return time.process_time() - cpu, time.perf_counter() - wall


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--megabytes", type=int, default=100, help="size of the file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="runs of each (default: %(default)s)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        write_rows(source, args.megabytes)
        size = source.stat().st_size / 1e6
        turns = [[timed(work, source, target) for work in WORKS.values()] for _ in range(args.rounds)]
    print(f"{size:.0f} MB, {args.rounds} runs each    CPU MB/s   wall MB/s   CPU ratio   wall ratio")
    for at, name in enumerate(WORKS):
        figures = [statistics.median(size / turn[at][clock] for turn in turns) for clock in (0, 1)]
        figures += [statistics.median(turn[0][clock] / turn[at][clock] for turn in turns) for clock in (0, 1)]
        print(f"{name:<24}{figures[0]:>11.0f}{figures[1]:>12.0f}{figures[2]:>12.2f}{figures[3]:>13.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
