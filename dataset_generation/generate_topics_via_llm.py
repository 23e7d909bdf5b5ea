"""Widen a list of topics with a language model, without repeats.

    uv run python dataset_generation/generate_topics_via_llm.py --input topics.json --in-place --per-group 20

Each group is asked for new topics, several groups at once, until it has its number or has no more to give. A topic is
kept if it is a plain phrase of 5 to 12 words that is neither held out for evaluation nor nearly one that is there
already. Needs a model: a key (OPENAI_API_KEY) or a server of your own (--base-url). The topics that are there are
neither dropped nor moved; the file is written in one step after every call that gave some, and what stood there before
is kept as FILE.bak. Should it not be writable any more, the run stops, and the new ones go to FILE.found. An --output
that an earlier run made of the same --input is added to, so no topic is paid for and lost; one that lacks a topic of
--input is left alone, with exit 2.
"""

import argparse
import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger("doric")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--input", type=Path, metavar="FILE", default=Path("topics.json"), help="(default: %(default)s)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--output", type=Path, metavar="FILE", help="where the widened list goes; added to if it holds --input"
    )
    where.add_argument("--in-place", action="store_true", help="write it over --input")
    parser.add_argument(
        "--per-group", type=int, default=20, metavar="N", help="new topics a group (default: %(default)s)"
    )
    parser.add_argument("--groups", metavar="NAMES", help="only these groups, with commas between them (default: all)")
    parser.add_argument("--model", help="model name (else MODEL)")
    parser.add_argument(
        "--base-url", metavar="URL", help="address of an OpenAI-compatible server (else OPENAI_BASE_URL)"
    )
    parser.add_argument("--max-concurrency", type=int, default=8, metavar="N", help="calls in flight (default: 8)")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="seconds a call may take (default: 600)"
    )
    parser.add_argument("--price-in", type=float, metavar="USD", help="price of a million prompt tokens")
    parser.add_argument("--price-out", type=float, metavar="USD", help="price of a million answer tokens")
    parser.add_argument("--max-cost", type=float, metavar="USD", help="stop when so much is spent, a call more or so")
    parser.add_argument(
        "--max-total-tokens", type=int, metavar="N", help="stop when so many are used, a call more or so"
    )
    parser.add_argument("--seed", type=int, default=0, help="chooses what a model is shown (default: 0)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be asked; call nothing, write nothing")
    return parser.parse_args(argv)


async def run(args: argparse.Namespace) -> int:
    """Expand the list; the exit status."""
    from doric.core.cli import print_stderr
    from doric.topics.expand import Run

    run = Run.prepare(args)
    if args.dry_run:
        print(run.forecast())
        return 0
    try:
        await run.run()
    finally:
        if run.has_results:
            print_stderr(run.summary())
    return run.status()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script: 0 done, 1 groups left short or a budget spent, 2 something to mend, 130 Ctrl-C or SIGTERM."""
    args = parse_args(argv)
    from doric.core.cli import report_error, setup_logging
    from doric.core.errors import DoricError

    setup_logging("INFO")
    try:
        return asyncio.run(run(args))
    except DoricError as error:
        return report_error(error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
