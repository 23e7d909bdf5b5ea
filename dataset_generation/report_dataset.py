"""Show what is in a dataset file (messages or ShareGPT): write an HTML page, and a dataset card with the same figures.

    uv run python dataset_generation/report_dataset.py --input datasets/doric_synth.jsonl

Answers that the generator rejected are shown too, if INPUT.rejected.jsonl exists.

Exit status: 0 done, 2 an error to fix, 130 stopped by Ctrl-C.
"""

import os
import signal

if __name__ == "__main__":  # so that Ctrl-C ends the program without a traceback while the modules are imported
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from doric.core import cli
except ModuleNotFoundError as error:
    uv = f"uv run --project {Path(__file__).parents[1]} python {sys.argv[0]}"
    message = f"the package {error.name} is not installed. Run this script with uv: {uv}"
    argparse.ArgumentParser(usage=argparse.SUPPRESS).error(message)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--input", type=Path, required=True, metavar="FILE", help="a dataset in JSON Lines")
    parser.add_argument("--rejected", type=Path, metavar="FILE", help="rejected answers (else INPUT.rejected.jsonl)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (default: INPUT with .html)")
    parser.add_argument("--card", type=Path, metavar="FILE", help="also write a dataset card for the Hugging Face hub")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Count, then write the page and the card; the exit status."""
    from doric.core.errors import SettingsError
    from doric.core.files import refuse_foreign_file
    from doric.core.regular_files import named_output
    from doric.lint.files import refuse_broken_data
    from doric.report.dataset_page import dataset_card, dataset_page, load_stats
    from doric.report.html import CARD, PAGE, write_page

    refuse_broken_data()
    page = named_output(args.out) if args.out else args.input.with_suffix(".html")
    args.card = args.card and named_output(args.card)
    rejected = args.rejected or Path(f"{args.input}.rejected.jsonl")
    if len({args.input, page, args.card}) < 3:
        hint = "Use a different file for --out or --card."
        raise SettingsError("--input, --out and --card are not three different files", hint=hint)
    refuse_foreign_file(page, PAGE, "page of a dataset")
    if args.card:
        refuse_foreign_file(args.card, CARD, "card of a dataset")
    if args.rejected and not args.rejected.is_file():
        raise SettingsError(f"--rejected {args.rejected}: no such file", hint="Leave the flag out.")
    stats = load_stats(args.input, rejected)
    write_page(page, dataset_page(stats, args.input.name))
    written = [str(page)]
    if args.card:
        write_page(args.card, dataset_card(stats, args.input.name))
        written.append(str(args.card))
    cli.print_stderr(f"{stats.rows:,} rows, {stats.rejected.total():,} rejected answers: {' and '.join(written)}")
    return 0


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
