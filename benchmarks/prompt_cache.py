"""Measure at a real vLLM server how much of the prompts of a run its prefix cache has, and the answers per minute.

    uv run python benchmarks/prompt_cache.py --base-url http://127.0.0.1:8000/v1
    uv run --with transformers --with jinja2 python benchmarks/prompt_cache.py --tokenizer DIR

The second command needs no server: it counts, with the tokenizer of the model in DIR, the tokens of the first prompt of
each row that no earlier prompt began with, in blocks of 16 tokens, which is how vLLM keeps them.
`--code DIR` measures the generator of another checkout, for instance of an earlier commit. The server's cache is
emptied first if it was started with VLLM_SERVER_DEV_MODE=1. Answers end at their first space, because the prompts are
what is measured; each counts, whether the gates accept it or not. The key is that of OPENAI_API_KEY.

prompt tokens   tokens of all prompts
computed        those that the server had to compute (prefill), because no earlier prompt began in the same way
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from doric.core import cli

ROOT = Path(__file__).parents[1]
TOKENS_A_BLOCK = 16
METRIC = re.compile(r"^vllm:(prefix_cache_queries|prefix_cache_hits|request_success)_total\{.*\} ([\d.e+]+)$", re.M)


def metrics(server: str) -> dict[str, float]:
    """The server's counts so far of prompt tokens, of those in the cache, and of answers."""
    with urllib.request.urlopen(f"{server}/metrics") as page:
        text = page.read().decode()
    counts: dict[str, float] = {}
    for name, value in METRIC.findall(text):
        counts[name] = counts.get(name, 0) + float(value)
    return counts


def empty_cache(server: str) -> bool:
    """Empty the server's prefix cache; False if it does not offer this."""
    key = os.environ.get("OPENAI_API_KEY", "")
    request = urllib.request.Request(
        f"{server}/reset_prefix_cache", method="POST", headers={"Authorization": f"Bearer {key}"}
    )
    try:
        with urllib.request.urlopen(request):
            return True
    except urllib.error.HTTPError:
        return False


def generate(args: argparse.Namespace, topics: Sequence[str], folder: Path) -> float:
    """Run the generator with one try per row; the seconds that it took."""
    file = folder / "topics.txt"
    file.write_text("\n".join(topics) + "\n", "utf-8")
    body = json.dumps({"stop": [" "]})
    flags = ["--n-per-topic", str(args.per_topic), "--max-tries", "1", "--max-rejected", "0", "--extra-body", body]
    command = [sys.executable, args.code / "dataset_generation" / "generate_doric_dataset.py", *flags]
    command += ["--topics", file, "--out", folder / "rows.jsonl", "--base-url", args.base_url, "--no-progress"]
    command += ["--max-concurrency", str(args.concurrency), "--log-level", "warning"]
    env: Mapping[str, str] = os.environ | {"PYTHONPATH": str(args.code / "src")}
    started = time.monotonic()
    status = subprocess.run(command, env=env, cwd=args.code, stderr=subprocess.PIPE, text=True, check=False)
    if status.returncode not in (0, 1):
        raise SystemExit(f"the generator ended with {status.returncode}: {status.stderr[-2000:]}")
    return time.monotonic() - started


def count(args: argparse.Namespace, topics: Sequence[str]) -> str:
    """How many tokens of the prompts of all rows a vLLM server with a large cache would compute."""
    from transformers import AutoTokenizer

    from doric.dataset import instructions
    from doric.dataset.plan import Mix, Plan
    from doric.topics.lists import Topic

    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    plan = Plan([Topic(topic, "all") for topic in topics], Mix(args.per_topic))
    known, total, computed = set(), 0, 0
    for job in plan:
        chat = instructions.messages(job, [], seed=plan.seed)
        tokens = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        ends = range(TOKENS_A_BLOCK, len(tokens) + 1, TOKENS_A_BLOCK)
        blocks = [hash(tuple(tokens[:end])) for end in ends]
        hits = next((number for number, block in enumerate(blocks) if block not in known), len(blocks))
        known.update(blocks[hits:])
        total, computed = total + len(tokens), computed + len(tokens) - hits * TOKENS_A_BLOCK
    return (
        f"{len(plan):,} rows, {total:,} prompt tokens, {computed:,} of them computed "
        f"({computed / len(plan):,.0f} per row, {1 - computed / total:.1%} from the cache)"
    )


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--base-url", metavar="URL", help="URL of a vLLM server, with /v1")
    where.add_argument("--tokenizer", metavar="DIR", help="folder of a model: only count tokens, without a server")
    parser.add_argument(
        "--code", type=Path, metavar="DIR", default=ROOT, help="checkout to measure (default: this one)"
    )
    parser.add_argument("--topics", type=int, default=60, metavar="N", help="number of topics (default: %(default)s)")
    parser.add_argument("--per-topic", type=int, default=2, metavar="N", help="rows per topic (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=8, metavar="N", help="parallel calls (default: 8)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the counts of one run."""
    args = parse_args(argv)
    args.code = args.code.resolve()
    grouped = json.loads((ROOT / "topics.json").read_text("utf-8"))["groups"]
    topics = [topic for group in grouped.values() for topic in group]
    chosen = topics[:: max(1, len(topics) // args.topics)][: args.topics]
    if args.tokenizer:
        source = str(args.code / "src")
        if args.code != ROOT and os.environ.get("PYTHONPATH") != source:  # the other checkout's package, from its start
            command = [sys.executable, __file__, *(sys.argv[1:] if argv is None else argv)]
            return subprocess.run(command, env=os.environ | {"PYTHONPATH": source}, check=False).returncode
        print(count(args, chosen))
        return 0
    server = args.base_url.rstrip("/").removesuffix("/v1")
    if not empty_cache(server):
        print("the cache was not emptied: start the server with VLLM_SERVER_DEV_MODE=1", file=sys.stderr)
    before = metrics(server)
    with tempfile.TemporaryDirectory() as folder:
        seconds = generate(args, chosen, Path(folder))
    used = {name: count - before.get(name, 0) for name, count in metrics(server).items()}
    prompts, hits, answers = used["prefix_cache_queries"], used["prefix_cache_hits"], used["request_success"]
    print(
        f"{answers:,.0f} answers, {prompts:,.0f} prompt tokens, {prompts - hits:,.0f} of them computed "
        f"({(prompts - hits) / answers:,.0f} per answer, {hits / prompts:.1%} from the cache), "
        f"{answers / seconds * 60:,.1f} answers per minute"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
