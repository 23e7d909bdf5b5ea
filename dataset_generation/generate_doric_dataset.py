"""Generate a Doric chat dataset: two-turn chats in four buckets, with every answer checked by the quality gates.

    uv run python dataset_generation/generate_doric_dataset.py --out datasets/doric_synth.jsonl

With a key (OPENAI_API_KEY) or a local server (--base-url), a model writes the answers. Without both, the embedded voice
(--backend heuristic) combines authored sentences by topic and seed, offline. Use it to try the pipeline, for tests and
for a small first dataset. It says only what is in its phrase files, so it does not replace a fluent writer or a strong
model.

If a run stops for any reason, give the same command again to resume it. Rejected answers are kept in
OUT.rejected.jsonl, with the gate that rejected them. The plan is in OUT.plan.json.

Exit status: 0 done, 1 rows are missing or a budget is used up, 2 an error to fix, 3 --check finds no row to write, 130
stopped by Ctrl-C or SIGTERM.
"""

import os
import signal

if __name__ == "__main__":  # so that Ctrl-C ends the program without a traceback while the modules are imported
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from doric.dataset.shards import Shard

try:
    from doric.core import cli
except ModuleNotFoundError as error:
    uv = f"uv run --project {Path(__file__).parents[1]} python {sys.argv[0]}"
    message = f"the package {error.name} is not installed. Run this script with uv: {uv}"
    argparse.ArgumentParser(usage=argparse.SUPPRESS).error(message)


LEVELS = ("debug", "info", "warning", "error")
EXTRA_BODY = "fields added to every request, for instance '{\"enable_thinking\": false}' (default: EXTRA_BODY)"

ASK_MIX = (
    "what prompts ask besides advice: default, none, or shares of the core rows (need: of the adv rows), "
    "for instance 'greeting=0.1,sum=0' or 'none,joke=0.2'; --dry-run lists the kinds (default: default)"
)

JUDGE = (
    "a model that scores each accepted answer from 1 to 5 for answering the question, correctness and natural Doric; "
    "a low score is a rejection (default: none; may be the same model; another server gets JUDGE_API_KEY)"
)

BATCHES = (
    "submit: put the requests for all missing rows into batches; status: how far they are; collect: check the answers "
    "that have come. Then submit asks for the rows that are still missing, until collect ends with status 0. Give all "
    "other flags each time. --max-cost and --max-total-tokens count all rounds together"
)
BATCH_FILES = "batches as files only, without a server: OUT.batch/*.input.jsonl for vllm run-batch"

FROM_TEXTS = (
    "a speaker's own texts (.txt, .md, .docx) as the answers, unchanged: a model writes the question that each passage "
    "answers; needs --source, --licence and --permission"
)
FROM_CHATS = "English chats (ShareGPT or messages) whose answers a model writes anew in Doric"

CHECK = (
    "like --dry-run for a server without prices, and also an error for what would stop a run before its first call: "
    "the files are read, and the server of a judge is asked for its models; exit status 3 if every row is there "
    "already; not with --batch"
)

SHARD = "fill only share I of N of the plan, for instance 2/4, each in another --out; --merge joins them (default: 1/1)"
MERGE = (
    "write the rows of these shards to --out, without near-duplicates, and stop; give the other flags of the shards "
    "too, and afterwards the same command without --merge to fill the rows that are left open"
)


def shard(text: str) -> "Shard":
    """The value of --shard. Raises `ArgumentTypeError`."""
    from doric.dataset.shards import read_shard

    return read_shard(text)


def judge_score(text: str) -> int:
    """The value of --judge-min. Raises `ArgumentTypeError`."""
    return cli.bounded(int, 1, 5)(text)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    flag = parser.add_argument_group("what to generate").add_argument
    flag("--topics-json", metavar="FILE", help="topics as JSON, grouped or not (default: topics.json)")
    flag(
        "--topics",
        metavar="FILE",
        help="topics as text, one per line, or a CSV table; may be combined with --topics-json",
    )
    flag("--out", metavar="FILE", default="datasets/doric_synth.jsonl", help="output file (default: %(default)s)")
    flag("--n-per-topic", type=cli.count, default=6, metavar="N", help="rows per topic (default: %(default)s)")
    flag(
        "--adv-ratio", type=cli.share, default=0.1, metavar="R", help="share told to drop Doric (default: %(default)s)"
    )
    flag("--safety-ratio", type=cli.share, default=0.05, metavar="R", help="share of harmful requests (default: 0.05)")
    flag("--multi-ratio", type=cli.share, default=0.2, metavar="R", help="share in other languages (default: 0.2)")
    flag("--ask-mix", metavar="MIX", help=ASK_MIX)
    flag(
        "--turns",
        default="2",
        metavar="N",
        help="turns of a chat, or a range such as 2-4: 2 are a question and its answer, and each turn more is a "
        "follow-up of the user with its answer (default: 2)",
    )
    flag("--langs", metavar="CODES", help="languages of that share, for instance es,fr,de (default: all 14)")
    flag(
        "--seed", type=cli.whole_number, default=0, help="same seed, same plan; embedded voice: same bytes (default: 0)"
    )
    flag("--shard", type=shard, default="1/1", metavar="I/N", help=SHARD)
    flag("--merge", nargs="+", metavar="FILE", help=MERGE)
    flag("--overwrite", action="store_true", help="start again; the old rows are kept as OUT.bak, OUT.bak.2, …")

    group = parser.add_argument_group("other sources than topics, which need a model")
    either = group.add_mutually_exclusive_group().add_argument
    either("--from-texts", metavar="FOLDER", help=FROM_TEXTS)
    either("--from-chats", metavar="FILE", help=FROM_CHATS)
    flag = group.add_argument
    flag("--source", metavar="TEXT", help="who wrote the texts, and where they are from")
    flag("--licence", metavar="TEXT", help="licence under which the rows may be passed on")
    flag("--permission", metavar="TEXT", help="who allowed their use, and when")
    flag("--passage-words", type=cli.positive_int, default=90, metavar="N", help="words of a passage (default: 90)")
    flag(
        "--english-questions",
        type=cli.share,
        default=0.65,
        metavar="R",
        help="share of questions in English; the others are in Doric (default: 0.65)",
    )

    flag = parser.add_argument_group("who writes the answers").add_argument
    backends = ("auto", "openai", "heuristic")
    flag("--backend", choices=backends, default="auto", help="auto: a model if a key or base URL is given (default)")
    flag("--model", help="model name (default: the variable MODEL)")
    flag("--allow-model-change", action="store_true", help="resume a run although another model has begun it")
    flag("--base-url", metavar="URL", help="URL of an OpenAI-compatible server (default: OPENAI_BASE_URL)")
    flag("--extra-body", metavar="JSON", help=EXTRA_BODY)
    flag("--temperature", type=cli.non_negative_float, default=0.8, help="sampling temperature (default: %(default)s)")
    flag(
        "--max-tries",
        type=cli.positive_int,
        metavar="N",
        help="tries per row (default: 6; embedded voice: 60)",
    )
    flag(
        "--house-spelling",
        choices=("on", "off", "report"),
        default="on",
        help="put accepted answers of a model in one spelling; the original is kept in meta (default: on)",
    )
    flag("--judge-model", metavar="MODEL", help=JUDGE)
    flag("--judge-base-url", metavar="URL", help="URL of the judge's server (default: that of the writer)")
    flag("--judge-min", type=judge_score, default=3, metavar="N", help="lowest score that is accepted (default: 3)")
    flag("--judge-extra-body", metavar="JSON", help="fields added to every request to the judge")
    flag("--max-concurrency", type=cli.positive_int, default=50, metavar="N", help="parallel calls (default: 50)")
    flag("--timeout", type=cli.positive_float, default=600.0, metavar="S", help="seconds per call (default: 600)")
    flag("--max-retries", type=cli.non_negative_int, default=8, metavar="N", help="failed calls per row (default: 8)")
    flag("--max-rpm", type=cli.positive_int, metavar="N", help="limit of calls per minute")
    flag("--max-tpm", type=cli.positive_int, metavar="N", help="limit of tokens per minute")

    flag = parser.add_argument_group("batches: answers within a day, at half the price with OpenAI").add_argument
    flag("--batch", choices=("submit", "status", "collect"), help=BATCHES)
    flag("--batch-files", action="store_true", help=BATCH_FILES)

    flag = parser.add_argument_group("cost").add_argument
    flag("--dry-run", action="store_true", help="print plan, expected tokens and cost; call nothing, write nothing")
    flag("--check", action="store_true", help=CHECK)
    flag("--price-in", type=cli.non_negative_float, metavar="USD", help="price of a million prompt tokens")
    flag("--price-out", type=cli.non_negative_float, metavar="USD", help="price of a million completion tokens")
    flag("--judge-price-in", type=cli.non_negative_float, metavar="USD", help="the same for the judge")
    flag("--judge-price-out", type=cli.non_negative_float, metavar="USD", help="the same for the judge")
    stop = "a later run resumes; may overshoot by one call"
    flag(
        "--max-cost", type=cli.bounded(float, 0, math.inf), metavar="USD", help=f"stop when this much is spent; {stop}"
    )
    flag("--max-total-tokens", type=cli.non_negative_int, metavar="N", help=f"stop after this many tokens; {stop}")
    flag(
        "--max-rejected",
        type=cli.non_negative_int,
        default=50,
        metavar="N",
        help="stop if none of N answers in a row passes and no row was written yet (default: 50; 0: never)",
    )

    flag = parser.add_argument_group("output").add_argument
    flag("--report", metavar="FILE", help="write an HTML page about the dataset at the end")
    flag("--progress-every", type=cli.positive_int, default=500, metavar="N", help="rows per log line (default: 500)")
    flag("--no-progress", action="store_true", help="no progress bar and no progress lines")
    flag("--log-level", default="info", choices=LEVELS, help="log from this level on (default: info)")
    cli.add_serving_flags(parser)
    return parser.parse_args(argv)


async def run(args: argparse.Namespace) -> int:
    """Generate the dataset; the exit status."""
    from doric.core.errors import DoricError, SettingsError
    from doric.core.regular_files import named_output
    from doric.dataset.run import Run
    from doric.lint.files import refuse_broken_data

    refuse_broken_data()
    if args.merge and (args.dry_run or args.check):
        hint = "Leave out --dry-run and --check; a merge needs no model and writes over no file."
        raise SettingsError("a merge writes its rows, so it cannot be tried out", hint=hint)
    if args.merge:
        return merge_shards(args)
    if args.batch or args.batch_files:
        return await run_batch(args)
    generation = Run.prepare(args)
    if args.report:
        args.report = str(named_output(args.report))
        check_report(Path(args.report))
    if args.check:
        await generation.check()
    if args.dry_run or args.check:
        print(generation.forecast(priced=not args.check))
        return cli.NOTHING_LEFT if args.check and not generation.left() else 0
    try:
        await generation.run()
    except DoricError:
        if generation.paid:  # report what was paid for, also if the run had to stop
            cli.print_stderr(generation.summary())
        raise
    cli.print_stderr(generation.summary())
    if args.report:
        write_report(generation.out, generation.rejected, Path(args.report))
    return generation.status()


async def run_batch(args: argparse.Namespace) -> int:
    """Submit, collect or report on batches; the exit status."""
    from doric.core.errors import SettingsError
    from doric.dataset.batch_run import BatchRun
    from doric.dataset.batch_status import status

    if not args.batch or args.backend == "heuristic" or args.report:
        what = (
            "--batch-files is given without --batch" if not args.batch else "--batch asks a model and makes no report"
        )
        raise SettingsError(what, hint="See the flags for batches in --help; report_dataset.py makes a report.")
    if args.check:
        raise SettingsError("--check is not for batches", hint="--batch submit --dry-run shows what would be asked.")
    if args.batch == "status":
        lines, result = await status(args)
        print(lines)
        return result
    generation = BatchRun.prepare(args)
    if args.dry_run:
        print(generation.forecast())
        return 0
    return await (generation.submit() if args.batch == "submit" else generation.collect())


def merge_shards(args: argparse.Namespace) -> int:
    """Merge shards; the exit status, 1 if rows are left open."""
    from doric.dataset.merge import merge

    merged = merge(args)
    cli.print_stderr(merged.summary(args.merge))
    return 1 if merged.open else 0


def write_report(rows: Path, rejected: Path, page: Path) -> None:
    """Write the page of the dataset."""
    from doric.report.dataset_page import dataset_page, load_stats
    from doric.report.html import write_page

    write_page(page, dataset_page(load_stats(rows, rejected), rows.name))


def check_report(path: Path) -> None:
    """Raise `InputError` if `path` is another file or cannot be written. Call it first; the report is written last."""
    from doric.core.files import refuse_foreign_file
    from doric.report.html import PAGE

    refuse_foreign_file(path, PAGE, "page of a dataset")


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
