"""Compare the dataset generator with a plain loop of the openai SDK: time, CPU, memory and extra calls.

    uv run python benchmarks/llm_client.py --json datasets/llm_client.json

Both use the same mock server. The generator does all its work: plan, prompts, gates, near-duplicates and both output
files. The plain loop sends the same chats through `AsyncOpenAI` with a semaphore, checks nothing, and writes its rows
at the end. The server is a separate process and generates its answers before the first call.

wall/ideal   seconds from the first call at the server to the exit of the client, and the shortest time that the
             latency allows
CPU          milliseconds per call without start-up: the difference between a run of all jobs and a run of a few jobs
extra calls  calls beyond one per job
lost         jobs without a row
"""

import argparse
import asyncio
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from doric.core import cli

ROOT = Path(__file__).parents[1]
GENERATOR = ROOT / "dataset_generation" / "generate_doric_dataset.py"
MOCK = ROOT / "tests" / "mock_server.py"
SHARED = runpy.run_path(str(ROOT / "tests" / "mock_process.py"))
mock_process, stats = SHARED["mock_process"], SHARED["stats"]
TOPICS, PER_TOPIC = 500, 4
FEW = 100
"""Jobs in the short run that measures the start-up."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Concurrency of the client, latency and `flags` of the mock server. `floor` is the shortest possible time."""

    name: str
    concurrency: int
    latency: float
    flags: tuple[str, ...] = ()
    floor: float = 0.0

    def ideal(self, jobs: int) -> float:
        """Seconds for `jobs` calls if only the latency takes time."""
        return max(self.floor, jobs / self.concurrency * self.latency)


STRAGGLER = ("--straggler-at", "500", "--straggler-seconds", "30")
THROTTLED = ("--rate-limit-share", "0.05", "--retry-after", "1")
SCENARIOS = (
    Scenario("C=50, 200 ms", 50, 0.2),
    Scenario("C=500, 200 ms", 500, 0.2),
    Scenario("C=500, 2 s", 500, 2.0),
    Scenario("C=50, 200 ms, jitter 50%", 50, 0.2, ("--jitter", "0.5")),
    Scenario("C=50, 200 ms, 5% 429", 50, 0.2, THROTTLED),
    Scenario("C=50, 200 ms, 2% malformed", 50, 0.2, ("--malformed-share", "0.02")),
    Scenario("C=50, 200 ms, a 30 s straggler", 50, 0.2, STRAGGLER, floor=30.0),
    Scenario(
        "C=50, 200 ms, all of these and 2% disconnects",
        50,
        0.2,
        ("--jitter", "0.5", *THROTTLED, "--malformed-share", "0.02", "--disconnect-share", "0.02", *STRAGGLER),
        floor=30.0,
    ),
)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one client in one scenario. Times are in seconds or milliseconds per call, memory is in MB."""

    scenario: str
    client: str
    wall: float
    ideal: float
    cpu_ms: float
    rss_mb: float
    extra_calls: int
    lost: int
    late_ms: float
    peak: int
    kinds: dict[str, int]


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources of a finished process: CPU seconds, peak memory in MB, and the time at which it ended."""

    cpu: float
    rss_mb: float
    ended: float


def mock(scenario: Scenario, answers: int) -> AbstractContextManager[str]:
    """The mock server as a separate process, which gives its base URL."""
    return mock_process(MOCK, "--latency", scenario.latency, "--answers", answers, *scenario.flags)


def measured(command: Sequence[str | Path], env: dict[str, str]) -> Usage:
    """Run a client until it ends, and measure it. Exits if the client fails."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=os.environ | env, cwd=ROOT, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        ended = time.time()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1):
            log.seek(0)
            raise SystemExit(f"a client ended with {process.returncode}: {log.read().decode()[-2000:]}")
    return Usage(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, ended)


def generator(url: str, scenario: Scenario, topics: Path, out: Path) -> list[str | Path]:
    """The command line of the generator."""
    flags = ["--n-per-topic", str(PER_TOPIC), "--max-concurrency", str(scenario.concurrency), "--log-level", "warning"]
    files = ["--topics", topics, "--out", out]
    return [sys.executable, GENERATOR, *files, "--base-url", url, "--model", "mock-doric", "--no-progress", *flags]


def plain(url: str, scenario: Scenario, topics: Path, out: Path) -> list[str | Path]:
    """The command line of the plain SDK loop, which is in this file."""
    return [sys.executable, __file__, "--plain", url, str(scenario.concurrency), topics, out]


CLIENTS = {"generator": generator, "plain SDK loop": plain}


def measure(scenario: Scenario, client: str, topics: list[str], folder: Path) -> Result:
    """Run one client in one scenario. A run with a few jobs first measures the start-up."""
    env = {"OPENAI_API_KEY": "sk-benchmark", "PYTHONWARNINGS": "ignore"}
    jobs, few = len(topics) * PER_TOPIC, FEW // PER_TOPIC
    calm = Scenario(scenario.name, scenario.concurrency, scenario.latency)
    with mock(calm, FEW + 50) as url:
        small = measured(CLIENTS[client](url, calm, _file(folder, topics[:few]), folder / "few.jsonl"), env)
    with mock(scenario, jobs + 200) as url:
        used = measured(CLIENTS[client](url, scenario, _file(folder, topics), folder / "all.jsonl"), env)
        served = stats(url)
    rows = _lines(folder / "all.jsonl")
    for file in folder.iterdir():
        file.unlink()
    return Result(
        scenario=scenario.name,
        client=client,
        wall=round(used.ended - served["first_call_at"], 2),
        ideal=scenario.ideal(jobs),
        cpu_ms=round(1000 * (used.cpu - small.cpu) / (served["requests"] - FEW), 2),
        rss_mb=round(used.rss_mb),
        extra_calls=served["requests"] - jobs,
        lost=jobs - rows,
        late_ms=served["late_mean_ms"],
        peak=served["peak_in_flight"],
        kinds=served["kinds"],
    )


def _file(folder: Path, topics: list[str]) -> Path:
    path = folder / "topics.txt"
    path.write_text("\n".join(topics), "utf-8")
    return path


async def plain_loop(url: str, concurrency: int, plan: Iterable[Any]) -> list[dict[str, Any] | None]:
    """The simple loop that many scripts use: a semaphore and `gather`. Each failed call loses a row."""
    import openai

    from doric.dataset import instructions

    client = openai.AsyncOpenAI(base_url=url)
    slots = asyncio.Semaphore(concurrency)

    async def one(job: Any) -> dict[str, Any] | None:  # noqa: ANN401 - a Job, imported late
        async with slots:
            try:
                completion = await client.chat.completions.create(
                    model="mock-doric",
                    messages=instructions.messages(job, (), seed=0),  # ty: ignore[invalid-argument-type]
                    max_tokens=instructions.token_budget(job),
                    temperature=0.8,
                )
            except (openai.OpenAIError, json.JSONDecodeError):
                return None
            answer = completion.choices[0].message.content
            chat = [{"role": "user", "content": job.prompt.text}, {"role": "assistant", "content": answer}]
            return {"messages": chat, "meta": {"id": job.id}}

    return await asyncio.gather(*(one(job) for job in plan))


def run_plain(url: str, concurrency: int, topics: Path, out: Path) -> None:
    """Run the plain loop over the same plan, then write its rows."""
    from doric.dataset.plan import Mix, Plan
    from doric.topics.lists import read_topics

    rows = asyncio.run(plain_loop(url, concurrency, Plan(read_topics(topics), Mix(n_per_topic=PER_TOPIC))))
    out.write_text("".join(json.dumps(row) + "\n" for row in rows if row), "utf-8")


def kills(times: int, topics: list[str], folder: Path) -> str:
    """Kill the generator `times` times and restart it each time. Reports how many calls were paid for twice."""
    scenario = SCENARIOS[0]
    jobs, out = len(topics) * PER_TOPIC, folder / "all.jsonl"
    with mock(scenario, jobs + 200) as url:
        command = generator(url, scenario, _file(folder, topics), out)
        for number in range(1, times + 1):
            process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
            while stats(url)["requests"] < jobs * number / (times + 1):
                time.sleep(0.02)
            process.kill()
            process.wait()
        subprocess.run(command, cwd=ROOT, stderr=subprocess.DEVNULL, check=True)
        served = stats(url)
    ids = [json.loads(line)["meta"]["id"] for line in out.open("rb")]
    twice = served["requests"] - jobs - _lines(Path(f"{out}.rejected.jsonl"))
    return (
        f"{times} kills at C={scenario.concurrency}: {len(ids)} of {jobs} rows, {len(set(ids))} ids; {twice} calls "
        f"paid twice in total, {twice / times:.1f} per kill (at most {scenario.concurrency} each)"
    )


def memory(topics: list[str], folder: Path) -> str:
    """Peak memory for plans of 2,000 and 50,000 jobs. The larger plan also runs with a budget for about 2,000 rows."""
    calm = Scenario("no latency", 50, 0.0)
    small, large = ["--n-per-topic", "4"], ["--n-per-topic", "100"]
    figures = []
    for name, flags in (
        ("2,000 planned, all generated", small),
        ("50,000 planned, about 2,000 generated", [*large, "--max-total-tokens", "2000000"]),
        ("50,000 planned, all generated", large),
    ):
        with mock(calm, 0) as url:
            used = measured([*generator(url, calm, _file(folder, topics), folder / "all.jsonl"), *flags], {})
        figures.append(f"{name}: {used.rss_mb:.0f} MB, {_lines(folder / 'all.jsonl'):,} rows")
        for file in folder.iterdir():
            file.unlink()
    return "\n".join(figures)


def _lines(path: Path) -> int:
    return sum(1 for _ in path.open("rb")) if path.exists() else 0


def table(results: Sequence[Result]) -> str:
    """The results as a Markdown table."""
    head = "| scenario | client | wall / ideal | CPU ms per call | peak MB | extra calls | lost | server late ms |"
    lines = [head, "|" + "---|" * 8]
    lines += [
        f"| {one.scenario} | {one.client} | {one.wall:.2f} / {one.ideal:.2f} s = {one.wall / one.ideal:.2f} "
        f"| {one.cpu_ms:.2f} | {one.rss_mb:.0f} | {one.extra_calls} | {one.lost} | {one.late_ms:.1f} |"
        for one in results
    ]
    return "\n".join(lines)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--only", metavar="TEXT", action="append", help="only scenarios whose name contains TEXT")
    parser.add_argument("--client", choices=CLIENTS, help="only this client")
    parser.add_argument(
        "--topics", type=int, default=TOPICS, help="number of topics, four jobs each (default: %(default)s)"
    )
    parser.add_argument("--kills", type=int, metavar="N", help="only kill and restart the generator N times")
    parser.add_argument("--memory", action="store_true", help="only measure peak memory for several plan sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--plain", nargs=4, metavar=("URL", "C", "TOPICS", "OUT"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run each client in each scenario."""
    args = parse_args(argv)
    if args.plain:
        url, concurrency, topics, out = args.plain
        run_plain(url, int(concurrency), Path(topics), Path(out))
        return 0
    grouped = json.loads((ROOT / "topics.json").read_text("utf-8"))["groups"]
    topics = [topic for group in grouped.values() for topic in group][: args.topics]
    with tempfile.TemporaryDirectory() as folder:
        if args.kills:
            print(kills(args.kills, topics, Path(folder)))
            return 0
        if args.memory:
            print(memory(topics, Path(folder)))
            return 0
    results = []
    for scenario in SCENARIOS:
        if args.only and not any(part in scenario.name for part in args.only):
            continue
        for client in [args.client] if args.client else CLIENTS:
            with tempfile.TemporaryDirectory() as folder:
                results.append(measure(scenario, client, topics, Path(folder)))
            print(table(results[-1:]).splitlines()[-1], flush=True)
    print("\n" + table(results))
    if args.json:
        args.json.write_text(json.dumps([asdict(one) for one in results], indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
