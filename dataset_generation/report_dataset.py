"""Show what is in a dataset file, messages or ShareGPT: one HTML page, and a dataset card with the same figures.

    uv run python dataset_generation/report_dataset.py --input datasets/doric_synth.jsonl

Answers that the generator refused are shown too when they lie beside the file, as INPUT.rejected.jsonl.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, metavar="FILE", help="a dataset of JSON lines")
    parser.add_argument("--rejected", type=Path, metavar="FILE", help="refused answers (else INPUT.rejected.jsonl)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (default: INPUT with .html)")
    parser.add_argument("--card", type=Path, metavar="FILE", help="also write a dataset card for the Hugging Face hub")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Count, then write the page and the card."""
    from doric.core.errors import SettingsError
    from doric.core.files import refuse_foreign_file
    from doric.report import dataset_page as report
    from doric.report.html import CARD, PAGE

    page = args.out or args.input.with_suffix(".html")
    rejected = args.rejected or Path(f"{args.input}.rejected.jsonl")
    if args.input in (page, args.card):
        raise SettingsError(f"{args.input} would be overwritten", hint="Name another file with --out or --card.")
    refuse_foreign_file(page, PAGE, "page of a dataset")
    if args.card:
        refuse_foreign_file(args.card, CARD, "card of a dataset")
    if args.rejected and not args.rejected.is_file():
        raise SettingsError(f"--rejected {args.rejected}: there is no such file", hint="Leave the flag out.")
    found = report.counted(args.input, rejected)
    report.write_dataset_page(found, args.input.name, page)
    written = [str(page)]
    if args.card:
        report.write_card(found, args.input.name, args.card)
        written.append(str(args.card))
    print(f"{found.rows:,} rows, {found.rejected.total():,} refused answers: {' and '.join(written)}", file=sys.stderr)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script: 0 done, 2 something to mend, 130 interrupted."""
    args = parse_args(argv)
    from doric.core.cli import report_error
    from doric.core.errors import DoricError

    try:
        return run(args)
    except DoricError as error:
        return report_error(error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
