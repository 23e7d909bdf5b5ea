"""Measure the generator with the embedded voice and all gates: rows per second, and cost per row as the dataset grows.

    uv run python benchmarks/generator.py

For each size the script runs in its own process, and its start is included. The best of --repeats runs is reported,
because other work on the machine can only add time. A run of one row measures the start. The `net` ratios do not
include the start, so they are stricter. For comparison, the benchmark also searches for duplicates in the simplest way:
a plain loop compares every answer of the smallest dataset with every earlier answer, using rapidfuzz's `ratio`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from doric.core import cli
from doric.core.jsonl import read_jsonl

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "dataset_generation" / "generate_doric_dataset.py"


class Run(NamedTuple):
    """One run: rows, rejections, wall and CPU seconds from start to exit, and peak memory in MB."""

    rows: int
    rejected: int
    seconds: float
    cpu: float
    megabytes: float


@dataclass(frozen=True, slots=True)
class Figure:
    """The reported figures of one size. Costs are microseconds per row. A ratio is relative to the first size."""

    rows: int
    rejected: int
    rows_per_second: float
    cost: float
    ratio: float
    net_ratio: float
    cpu_cost: float
    net_cpu_ratio: float
    megabytes: float


def generate(out: Path, each: int, topics: Path) -> Run:
    """Generate a dataset of `each` rows per topic at `out`."""
    argv = [sys.executable, str(SCRIPT), "--backend", "heuristic", "--topics-json", str(topics), "--out", str(out)]
    argv += ["--n-per-topic", str(each), "--no-progress", "--overwrite"]
    began = time.perf_counter()
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as process:
        log = process.stderr.read() if process.stderr else b""
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the generator failed:\n{log.decode()}")
    files = (out, Path(f"{out}.rejected.jsonl"))  # without rejections, there is no such file
    rows, rejected = (path.read_bytes().count(b"\n") if path.exists() else 0 for path in files)
    return Run(rows, rejected, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def best(runs: Sequence[Run]) -> Run:
    """The fastest run, with the lowest CPU time of all runs."""
    return min(runs, key=lambda run: run.seconds)._replace(cpu=min(run.cpu for run in runs))


def measured(folder: Path, sizes: list[int], topics: Path, repeats: int) -> tuple[Run, list[Figure]]:
    """The best of `repeats` runs for the start and for each size. The sizes take turns, so other load affects all of
    them.
    """
    (folder / "one.json").write_text('["keeping hens warm in winter"]')
    kinds = [(1, folder / "one.json"), *((each, topics) for each in sizes)]
    rounds = [[generate(folder / f"{each}.jsonl", each, listed) for each, listed in kinds] for _ in range(repeats)]
    start, *runs = map(best, zip(*rounds, strict=True))
    return start, [figure(run, runs[0], start) for run in runs]


def figure(run: Run, first: Run, start: Run) -> Figure:
    """The figures of one size, relative to the first size."""
    scale = first.rows / run.rows
    return Figure(
        run.rows,
        run.rejected,
        run.rows / run.seconds,
        1e6 * run.seconds / run.rows,
        run.seconds / first.seconds * scale,
        (run.seconds - start.seconds) / (first.seconds - start.seconds) * scale,
        1e6 * run.cpu / run.rows,
        (run.cpu - start.cpu) / (first.cpu - start.cpu) * scale,
        run.megabytes,
    )


def naive(dataset: Path, threshold: float = 90) -> float:
    """CPU seconds to compare each answer with all accepted answers before it, one pair at a time."""
    from rapidfuzz import fuzz

    answers = [row["messages"][1]["content"] for _, row in read_jsonl(dataset)]
    accepted: list[str] = []
    began = time.process_time()
    for answer in answers:
        if not any(fuzz.ratio(answer, other) >= threshold for other in accepted):
            accepted.append(answer)
    return time.process_time() - began


def table(start: Run, figures: list[Figure], seconds: float) -> str:
    """The figures as a table."""
    heads = ("rows", "rejected", "rows/s", "us/row", "ratio", "net", "CPU us/row", "net", "MB")
    lines = ["".join(f"{head:>11}" for head in heads)]
    for one in figures:
        cells = (f"{one.rows:,}", f"{one.rejected:,}", f"{one.rows_per_second:,.0f}", f"{one.cost:.0f}")
        ratios = (f"{one.ratio:.2f}", f"{one.net_ratio:.2f}", f"{one.cpu_cost:.0f}", f"{one.net_cpu_ratio:.2f}")
        lines.append("".join(f"{cell:>11}" for cell in (*cells, *ratios, f"{one.megabytes:.0f}")))
    rows = figures[0].rows
    lines.append(f"start: {start.seconds:.2f} s, {start.cpu:.2f} s of CPU")
    lines.append(f"baseline, the all-pairs duplicate check alone at {rows:,} rows: {rows / seconds:,.0f} rows/s,")
    lines.append(f"{1e6 * seconds / rows:,.0f} us of CPU per row, and twice that for twice the rows")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark and print the figures."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[6, 24, 98], metavar="N", help="rows per topic")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each size; the best counts")
    parser.add_argument("--topics-json", type=Path, default=ROOT / "topics.json", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start, figures = measured(Path(folder), args.sizes, args.topics_json, args.repeats)
        seconds = naive(Path(folder) / f"{args.sizes[0]}.jsonl")
    if args.json:
        rows = figures[0].rows
        baseline = {"name": "all-pairs rapidfuzz.fuzz.ratio", "rows": rows, "rows_per_second": rows / seconds}
        sizes = [asdict(one) for one in figures]
        print(json.dumps({"start_seconds": start.seconds, "sizes": sizes, "baseline": baseline}))
    else:
        print(table(start, figures, seconds))


if __name__ == "__main__":
    main()
