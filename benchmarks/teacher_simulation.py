"""Simulate N GPU servers behind one address, and measure how many of them one generator keeps busy.

    uv run python benchmarks/teacher_simulation.py

The generator is the real one, with all gates and files. The servers are `tests/mock_gpus.py`, in one process: each has
64 slots (the calls per container of `modal/teacher_doric.py`), and its requests advance together, the slower the more
of them run. No GPU is used. The answers are those of the embedded voice, made before the first run (about 95 tokens).
After a warm-up, a window of some seconds is measured, and then the generator is stopped.

in flight    the most calls at once since the start
calls/s      answered calls per second, and as a share of what the servers answer if all slots are always in use
slots        share of the slots in use
CPU          milliseconds of CPU per call, and the share of one core, of the generator and of the simulated servers
late         milliseconds by which the simulated servers answer too late: if it is much, the machine is too busy

The last lines follow from the CPU per call alone, which other work on the machine changes least: the generator uses one
core, and a second client is needed where the servers answer as many calls as fill this core. Then the same servers are
measured with one client and with two clients, each with one shard. `--planned` rows are planned for the run that
measures the memory.

Speeds (--gpu) are straight lines through published measurements, see `SPEEDS`. Linux only (/proc).
"""

import argparse
import json
import math
import os
import runpy
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from doric.core import cli
from doric.topics.lists import read_topics

ROOT = Path(__file__).parents[1]
GENERATOR = ROOT / "dataset_generation" / "generate_doric_dataset.py"
MOCK = ROOT / "tests" / "mock_gpus.py"
SHARED = runpy.run_path(str(ROOT / "tests" / "mock_process.py"))
mock_process, stats = SHARED["mock_process"], SHARED["stats"]
TICK = os.sysconf("SC_CLK_TCK")
LEAST_CALLS = 20
"""A window is not over before so many calls were answered in it."""
MOST_SECONDS = 300.0
"""The first row of each client must be there within this time, and the least calls of a window."""
ROWS_PER_TOPIC = 100


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds to the first token and for each further one: with no request running, and more for each running."""

    first: tuple[float, float]
    each: tuple[float, float]
    source: str

    def full_rate(self, slots: int, tokens: float) -> float:
        """Calls per second of one server whose slots are always in use, with answers of so many tokens."""
        first, each = (base + more * slots for base, more in (self.first, self.each))
        return 1000 * slots / (first + (tokens - 1) * each)


SPEEDS = {
    # 1 to 100 requests: ITL 4.63 to 7.57 ms, TTFT 10 to 120 ms. Not vLLM, and faster: asks most of the client
    "h100-8b": Speed(
        (9.0, 1.15),
        (4.5, 0.029),
        "Llama 3.1 8B on one H100, NVIDIA NIM 1.8.0 (docs.nvidia.com/nim/benchmarking/llm/1.0.0/performance)",
    ),
    # 1 to 128 requests: TPOT 2.91 to 8.91 ms, TTFT 152 (8 requests) to 520 ms, 2,048 tokens in
    "b200x2-30b": Speed(
        (130.0, 3.05),
        (3.4, 0.046),
        "Nemotron Nano 30B FP8 on two B200, vLLM 0.16.0 (docs.vultr.com/inference-cookbook/cuda/optimization)",
    ),
    # 1 to 32 requests: ITL 5.1 to 7.1 ms, TTFT 27 to 135 ms, 256 tokens in
    "l4-0.5b": Speed((27.0, 3.5), (5.0, 0.065), "Qwen2.5 0.5B on one L4, vLLM 0.23.0 (ai.wmx.dev/benchmarks)"),
}
"""Published sweeps over the number of concurrent requests, each as two lines fitted by eye to within 10%."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all runs share."""

    speed: Speed
    slots: int
    warm_up: float
    seconds: float
    answers: Path


@dataclass(frozen=True, slots=True)
class Figures:
    """One measured window. CPU is in milliseconds per answered call, memory in MB.

    `share_of_full` compares with servers whose slots are always in use. `answered`, `rows` and `rejected` count the
    whole run, with its warm-up and its end.
    """

    servers: int
    clients: int
    planned: int
    seconds: float
    calls_per_second: float
    share_of_full: float
    slots_in_use: float
    rows_per_second: float
    client_cpu_ms: float
    client_cores: float
    client_mb: float
    server_cpu_ms: float
    server_cores: float
    late_ms: float
    tokens_per_answer: float
    most_in_flight: int
    load: float
    answered: int
    unanswered: int
    rows: int
    rejected: int


@dataclass(slots=True)
class Client:
    """A running generator and its files."""

    process: "subprocess.Popen[bytes]"
    out: Path
    log: Path

    def cpu(self) -> float:
        """The CPU seconds that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def peak_mb(self) -> float:
        """Its peak memory in MB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

    def rows(self) -> int:
        """The rows in its dataset."""
        return _lines(self.out)

    def rejected(self) -> int:
        """The answers that it rejected."""
        return _lines(Path(f"{self.out}.rejected.jsonl"))

    def check(self) -> None:
        """Exit if it has ended."""
        if self.process.poll() is not None:
            raise SystemExit(f"a client ended with {self.process.returncode}: {self.log.read_text('utf-8')[-2000:]}")

    def stop(self) -> None:
        """Stop it as SIGTERM does, so that its calls in flight end and are saved."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        if self.process.wait() not in (0, 1, 130):
            raise SystemExit(f"a client ended with {self.process.returncode}: {self.log.read_text('utf-8')[-2000:]}")


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def simulated(setting: Setting, servers: int) -> AbstractContextManager[str]:
    """The simulated servers as a separate process, which gives their base URL."""
    flags = ["--servers", servers, "--slots", setting.slots, "--answers", setting.answers]
    return mock_process(MOCK, *flags, "--first", *setting.speed.first, "--each", *setting.speed.each)


@contextmanager
def client(url: str, folder: Path, shard: int, of: int, concurrency: int, per_topic: int) -> Generator[Client]:
    """Run the generator in `folder` with one shard of the plan. It is stopped at the end of the block."""
    out, log = folder / f"{shard}.jsonl", folder / f"{shard}.log"
    flags = ["--out", out, "--base-url", url, "--model", "mock-doric", "--no-progress", "--log-level", "warning"]
    flags += ["--backend", "openai", "--n-per-topic", per_topic, "--max-concurrency", concurrency]
    flags += ["--shard", f"{shard}/{of}"]
    env = os.environ | {"OPENAI_API_KEY": "sk-benchmark"}
    with log.open("wb") as messages:
        process = subprocess.Popen(
            [sys.executable, str(GENERATOR), *map(str, flags)], env=env, cwd=ROOT, stdout=messages, stderr=messages
        )
    try:
        yield (running := Client(process, out, log))
        running.stop()
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything counted up to one moment."""

    served: dict[str, Any]
    cpu: float
    rows: tuple[int, ...]
    at: float = field(default_factory=time.monotonic)

    @property
    def answered(self) -> int:
        """The calls that were answered."""
        return self.served["kinds"].get("ok", 0)


def moment(url: str, clients: Sequence[Client]) -> Moment:
    """Everything counted up to now. Exits if a client has ended."""
    for one in clients:
        one.check()
    return Moment(stats(url), sum(one.cpu() for one in clients), tuple(one.rows() for one in clients))


def after(seconds: float, ready: Callable[[Moment], bool], url: str, clients: Sequence[Client]) -> Moment:
    """The first moment after so many seconds that is `ready`."""
    began = time.monotonic()
    time.sleep(seconds)
    while not ready(now := moment(url, clients)):
        if now.at - began > seconds + MOST_SECONDS:
            raise SystemExit("the clients get too few answers")
        time.sleep(0.1)
    return now


def measure(setting: Setting, servers: int, clients: int = 1, per_topic: int = ROWS_PER_TOPIC) -> Figures:
    """Measure a window of so many servers and clients, with a plan of so many rows for each topic."""
    concurrency = math.ceil(setting.slots * servers / clients)
    with tempfile.TemporaryDirectory() as name, simulated(setting, servers) as url:
        with ExitStack() as stack:
            running = [
                stack.enter_context(client(url, Path(name), shard, clients, concurrency, per_topic))
                for shard in range(1, clients + 1)
            ]
            after(0, lambda now: all(now.rows), url, running)
            begin = after(setting.warm_up, lambda now: True, url, running)
            least = begin.answered + LEAST_CALLS
            end = after(setting.seconds, lambda now: now.answered >= least, url, running)
            load, megabytes = os.getloadavg()[0], max(one.peak_mb() for one in running)
        final = stats(url)
        rows, rejected = sum(one.rows() for one in running), sum(one.rejected() for one in running)
    calls, seconds = end.answered - begin.answered, end.served["now"] - begin.served["now"]
    tokens = (end.served["tokens"] - begin.served["tokens"]) / calls
    used = {name: end.served[name] - begin.served[name] for name in ("busy_seconds", "cpu_seconds")}
    lates = [one.served["late_mean_ms"] * one.served["requests"] for one in (begin, end)]
    return Figures(
        servers=servers,
        clients=clients,
        planned=per_topic * len(read_topics(ROOT / "topics.json")),
        seconds=seconds,
        calls_per_second=calls / seconds,
        share_of_full=calls / seconds / (servers * setting.speed.full_rate(setting.slots, tokens)),
        slots_in_use=used["busy_seconds"] / (seconds * servers * setting.slots),
        rows_per_second=(sum(end.rows) - sum(begin.rows)) / seconds,
        client_cpu_ms=1000 * (end.cpu - begin.cpu) / calls,
        client_cores=(end.cpu - begin.cpu) / seconds,
        client_mb=megabytes,
        server_cpu_ms=1000 * used["cpu_seconds"] / calls,
        server_cores=used["cpu_seconds"] / seconds,
        late_ms=(lates[1] - lates[0]) / calls,
        tokens_per_answer=tokens,
        most_in_flight=end.served["peak_in_flight"],
        load=load,
        answered=final["kinds"].get("ok", 0),
        unanswered=final["requests"] - final["kinds"].get("ok", 0),
        rows=rows,
        rejected=rejected,
    )


@dataclass(frozen=True, slots=True)
class Limit:
    """How many calls and servers fill one core of one client. `servers` have all their slots in use."""

    cpu_ms: float
    calls_per_second: float
    full_rate: float
    servers: float


def limit_of(setting: Setting, runs: Sequence[Figures]) -> Limit:
    """The limit of one client, from the median of its CPU per call in these runs."""
    cpu = statistics.median(run.client_cpu_ms for run in runs)
    rate = setting.speed.full_rate(setting.slots, statistics.mean(run.tokens_per_answer for run in runs))
    return Limit(cpu, 1000 / cpu, rate, 1000 / cpu / rate)


def table(runs: Sequence[Figures]) -> str:
    """The figures of the runs as a Markdown table."""
    heads = (
        "servers",
        "clients",
        "planned rows",
        "in flight",
        "calls/s",
        "of full",
        "slots in use",
        "rows/s",
        "client ms per call",
    )
    heads += ("client cores", "client MB", "servers ms per call", "servers cores", "late ms", "load")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for run in runs:
        cells = (f"{run.servers}", f"{run.clients}", f"{run.planned:,}", f"{run.most_in_flight:,}")
        cells += (
            f"{run.calls_per_second:.1f}",
            f"{run.share_of_full:.0%}",
            f"{run.slots_in_use:.0%}",
            f"{run.rows_per_second:.0f}",
        )
        cells += (f"{run.client_cpu_ms:.2f}", f"{run.client_cores:.2f}", f"{run.client_mb:.0f}")
        cells += (f"{run.server_cpu_ms:.2f}", f"{run.server_cores:.2f}", f"{run.late_ms:.1f}", f"{run.load:.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def words(limit: Limit, setting: Setting) -> str:
    """What follows from the CPU per call, in words."""
    return (
        f"{limit.cpu_ms:.2f} ms of CPU per call: one client makes {limit.calls_per_second:.0f} calls/s with a full "
        f"core.\nOne server with {setting.slots} slots in use answers {limit.full_rate:.0f} calls/s, so one client "
        f"keeps {limit.servers:.1f} servers busy.\nA second client is needed from {math.floor(limit.servers) + 1} "
        "servers on."
    )


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    flag, number, pair = parser.add_argument, cli.positive_int, ("MS", "MORE")
    flag("--servers", type=number, nargs="+", default=[1, 2, 4, 8, 16], metavar="N", help="numbers of servers")
    flag("--slots", type=number, default=64, metavar="N", help="requests that a server runs at once (default: 64)")
    flag("--gpu", choices=SPEEDS, default="h100-8b", help="a published speed (default: h100-8b)")
    flag("--first", type=float, nargs=2, metavar=pair, help="another time to the first token: milliseconds with no "
         "request running, and how many more for each running request")  # fmt: skip
    flag("--each", type=float, nargs=2, metavar=pair, help="another time of each further token, in the same way")
    flag("--warm-up", type=float, default=5.0, metavar="S", help="seconds before the window (default: 5)")
    flag("--seconds", type=cli.positive_float, default=15.0, metavar="S", help="length of the window (default: 15)")
    flag("--answers", type=number, default=8000, metavar="N", help="prepared answers; if they are used up, the "
         "simulated servers need more CPU (default: 8000)")  # fmt: skip
    flag("--planned", type=number, default=1_000_000, metavar="N", help="rows of the plan whose memory is measured")
    flag("--quick", action="store_true", help="short and small, to see that it works: the figures mean little")
    flag("--json", action="store_true", help="one JSON object instead of lines")
    args = parser.parse_args(argv)
    if args.quick:
        args.servers, args.slots, args.warm_up, args.seconds, args.answers = [2], 16, 0.2, 0.3, 300
    return args


def run(args: argparse.Namespace) -> int:
    """Measure each number of servers, then two clients, then the large plan, and print the figures."""
    speed = SPEEDS[args.gpu]
    if args.first or args.each:
        speed = Speed(tuple(args.first or speed.first), tuple(args.each or speed.each), "flags")
    large = math.ceil(args.planned / len(read_topics(ROOT / "topics.json")))
    ordinary = large if args.quick else ROWS_PER_TOPIC
    runs: list[Figures] = []
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(speed, args.slots, args.warm_up, args.seconds, Path(folder) / "answers.json")
        subprocess.run(
            [sys.executable, str(MOCK), "--answers", str(setting.answers), "--prepare", str(args.answers)], check=True
        )

        def add(servers: int, clients: int = 1, per_topic: int = ordinary) -> None:
            runs.append(measure(setting, servers, clients, per_topic))
            cli.print_stderr(table(runs[-1:]).splitlines()[-1])

        for servers in args.servers:
            add(servers)
        limit = limit_of(setting, runs)
        split = min(max(args.servers), math.floor(limit.servers) + 1)
        if split not in args.servers:
            add(split)
        add(split, clients=2)
        if not args.quick:  # whose plans are all large
            add(min(args.servers, key=lambda servers: abs(servers - limit.servers / 2)), per_topic=large)
    if args.json:
        print(json.dumps({"gpu": asdict(speed), "limit": asdict(limit), "runs": [asdict(one) for one in runs]}))
    else:
        print(f"{speed.source}\n\n{table(runs)}\n\n{words(limit, setting)}")
    return 0


main = cli.main(parse_args, run)

if __name__ == "__main__":
    sys.exit(main())
