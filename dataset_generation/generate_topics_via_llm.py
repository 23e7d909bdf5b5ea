"""Expand a list of topics with a language model, without duplicates.

    uv run python dataset_generation/generate_topics_via_llm.py --input topics.json --in-place --per-group 20

The model is asked for new topics of each group until the group has enough or the model finds no more. Several groups
are asked in parallel. A topic is accepted if it is a plain phrase of 5 to 12 words, is not held out for evaluation and
is not a near-duplicate. Needs a model: a key (OPENAI_API_KEY) or a local server (--base-url).

Existing topics are neither removed nor moved. The file is replaced in one step after every call that found topics; the
old file is kept as FILE.bak, or FILE.bak.2 and so on. If the file can no longer be written, or another program removes
topics from it during the run, the run stops, and the new topics are saved to FILE.found. If --output was made from the
same --input by an earlier run, the new topics are added to it, so no topic that was paid for is lost. If --output lacks
a topic of --input, it is not changed (exit status 2).

Exit status: 0 done, 1 topics are missing or a budget is used up, 2 an error to fix, 130 stopped by Ctrl-C or SIGTERM.
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

try:
    from doric.core import cli
except ModuleNotFoundError as error:
    uv = f"uv run --project {Path(__file__).parents[1]} python {sys.argv[0]}"
    message = f"the package {error.name} is not installed. Run this script with uv: {uv}"
    argparse.ArgumentParser(usage=argparse.SUPPRESS).error(message)

EXTRA_BODY = "fields added to every request, for instance '{\"enable_thinking\": false}' (default: EXTRA_BODY)"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    flag = parser.add_argument
    flag(
        "--input",
        type=Path,
        metavar="FILE",
        default=Path("topics.json"),
        help="topic list, JSON or text (default: %(default)s)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--output", type=Path, metavar="FILE", help="new file, or one that contains all of --input")
    where.add_argument("--in-place", action="store_true", help="write to the --input file")
    flag("--per-group", type=cli.count, default=20, metavar="N", help="new topics per group (default: 20)")
    flag("--groups", metavar="NAMES", help="only these groups, separated by commas (default: all)")
    flag("--model", help="model name (default: the variable MODEL)")
    flag("--base-url", metavar="URL", help="URL of an OpenAI-compatible server (default: OPENAI_BASE_URL)")
    flag("--extra-body", metavar="JSON", help=EXTRA_BODY)
    flag("--max-concurrency", type=cli.positive_int, default=8, metavar="N", help="parallel calls (default: 8)")
    flag("--timeout", type=cli.positive_float, default=600.0, metavar="S", help="seconds per call (default: 600)")
    flag("--price-in", type=cli.non_negative_float, metavar="USD", help="price of a million prompt tokens")
    flag("--price-out", type=cli.non_negative_float, metavar="USD", help="price of a million completion tokens")
    over = "may overshoot by one call"
    flag(
        "--max-cost",
        type=cli.bounded(float, 0, math.inf, above=True),
        metavar="USD",
        help=f"stop when this much is spent; {over}",
    )
    flag("--max-total-tokens", type=cli.positive_int, metavar="N", help=f"stop after this many tokens; {over}")
    flag(
        "--max-rejected",
        type=cli.non_negative_int,
        default=20,
        metavar="N",
        help="stop if N calls in a row give no new topic and none did before (default: 20; 0: never)",
    )
    flag("--seed", type=cli.whole_number, default=0, help="chooses the examples that the model is shown (default: 0)")
    flag("--dry-run", action="store_true", help="print the plan and its expected cost; call nothing, write nothing")
    cli.add_serving_flags(parser)
    return parser.parse_args(argv)


async def run(args: argparse.Namespace) -> int:
    """Expand the list; the exit status."""
    from doric.core.text import printable
    from doric.lint.files import refuse_broken_data
    from doric.topics.expand import Run

    refuse_broken_data()
    expansion = Run.prepare(args)
    if args.dry_run:
        print(printable(expansion.forecast()))
        return 0
    try:
        await expansion.run()
    finally:
        if expansion.has_results:
            cli.print_stderr(expansion.summary())
    return expansion.status()


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
