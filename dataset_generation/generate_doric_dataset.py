"""Write a Doric chat dataset: two-turn chats in four buckets, each answer through the gates.

    uv run python dataset_generation/generate_doric_dataset.py --out datasets/doric_synth.jsonl

With a key (OPENAI_API_KEY) or a local server (--base-url) a model writes the answers. With neither, the embedded
voice does: authored sentences put together by topic, offline and repeatable. It is good for trying the pipeline, for
tests and for a small seed set; it says nothing that is not in its phrase files, so it is no stand-in for a fluent
writer or a strong model.

A run that stops, however it stops, goes on where it was when the same command is given again. Rejected answers are
kept in OUT.rejected.jsonl with the gate that refused them, the plan in OUT.plan.json.
"""

import argparse
import asyncio
import gc
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    plan = parser.add_argument_group("what to make")
    plan.add_argument("--topics-json", metavar="FILE", help="topics as JSON, grouped or not (default: topics.json)")
    plan.add_argument(
        "--topics", metavar="FILE", help="topics as plain text, one a line; may stand beside --topics-json"
    )
    plan.add_argument(
        "--out", metavar="FILE", default="datasets/doric_synth.jsonl", help="where rows go (default: %(default)s)"
    )
    plan.add_argument(
        "--n-per-topic", type=int, default=6, metavar="N", help="rows for each topic (default: %(default)s)"
    )
    plan.add_argument(
        "--adv-ratio", type=float, default=0.1, metavar="R", help="share told to drop Doric (default: %(default)s)"
    )
    plan.add_argument(
        "--safety-ratio", type=float, default=0.05, metavar="R", help="share of harmful asks (default: %(default)s)"
    )
    plan.add_argument(
        "--multi-ratio", type=float, default=0.2, metavar="R", help="share in other languages (default: %(default)s)"
    )
    plan.add_argument(
        "--langs", metavar="CODES", help="languages of the multi bucket, for instance es,fr,de (default: all 14)"
    )
    plan.add_argument(
        "--seed", type=int, default=0, help="same seed, same plan; with the embedded voice, same bytes (default: 0)"
    )
    plan.add_argument("--overwrite", action="store_true", help="start again; what a model wrote is kept as OUT.bak")

    voice = parser.add_argument_group("who writes")
    voice.add_argument(
        "--backend", choices=("auto", "openai", "heuristic"), default="auto", help="auto: a model if there is one"
    )
    voice.add_argument("--model", help="model name (else MODEL)")
    voice.add_argument(
        "--base-url", metavar="URL", help="address of an OpenAI-compatible server (else OPENAI_BASE_URL)"
    )
    voice.add_argument("--temperature", type=float, default=0.8, help="sampling temperature (default: %(default)s)")
    voice.add_argument(
        "--max-tries",
        type=int,
        metavar="N",
        help="answers asked for a slot before it is left (default: 6; embedded voice: 60)",
    )
    voice.add_argument(
        "--max-concurrency", type=int, default=50, metavar="N", help="calls in flight (default: %(default)s)"
    )
    voice.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="seconds one call may take (default: %(default)s)"
    )
    voice.add_argument(
        "--max-retries",
        type=int,
        default=8,
        metavar="N",
        help="faults of the server forgiven a slot (default: %(default)s)",
    )
    voice.add_argument("--max-rpm", type=int, metavar="N", help="calls a minute, at most")
    voice.add_argument("--max-tpm", type=int, metavar="N", help="tokens a minute, at most")

    money = parser.add_argument_group("money")
    money.add_argument(
        "--dry-run", action="store_true", help="print the plan, expected tokens and cost; call nothing, write nothing"
    )
    money.add_argument("--price-in", type=float, metavar="USD", help="price of a million prompt tokens")
    money.add_argument("--price-out", type=float, metavar="USD", help="price of a million answer tokens")
    money.add_argument(
        "--max-cost",
        type=float,
        metavar="USD",
        help="stop when so much is spent, a call more or so; a later run goes on",
    )
    money.add_argument(
        "--max-total-tokens",
        type=int,
        metavar="N",
        help="stop when so many are used, a call more or so; a later run goes on",
    )

    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--report", metavar="FILE", help="write an HTML page about the dataset at the end")
    shown.add_argument(
        "--progress-every", type=int, default=500, metavar="N", help="rows between log lines (default: %(default)s)"
    )
    shown.add_argument("--no-progress", action="store_true", help="no bar and no progress lines")
    shown.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warning", "error"), help="(default: info)"
    )
    return parser.parse_args(argv)


async def run(args: argparse.Namespace) -> int:
    """Make the dataset; the exit status."""
    from doric.core.cli import print_stderr
    from doric.core.errors import DoricError
    from doric.dataset.run import Run

    run = Run.prepare(args)
    if args.report:
        check_report(Path(args.report))
    if args.dry_run:
        print(run.forecast())
        return 0
    try:
        await run.run()
    except DoricError:
        if run.paid:  # what was paid for before the run had to stop
            print_stderr(run.summary())
        raise
    print_stderr(run.summary())
    if args.report:
        from doric.report.dataset_page import write_dataset_report

        write_dataset_report(run.out, run.rejected, Path(args.report))
    return run.status()


def check_report(path: Path) -> None:
    """Raise `InputError` if `path` exists and is not a report: before the run, because the report is written last."""
    from doric.core.files import refuse_foreign_file
    from doric.report.html import PAGE

    refuse_foreign_file(path, PAGE, "page of a dataset")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script: 0 done, 1 slots left empty or a budget spent, 2 something to mend, 130 Ctrl-C or SIGTERM."""
    args = parse_args(argv)
    from doric.core.cli import report_error, setup_logging
    from doric.core.errors import DoricError

    setup_logging(args.log_level.upper())
    try:
        return asyncio.run(run(args))
    except DoricError as error:
        return report_error(error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    status = main()
    gc.freeze()  # or the collector would go once more, for a fifth of a second, through all that the libraries made
    raise SystemExit(status)
