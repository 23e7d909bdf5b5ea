"""`review_doric.py agree`: who said what, and how far readers agree."""

import argparse
from pathlib import Path

from doric.core.text import printable
from doric.review.agreement import report
from doric.review.answers import read_key, read_reviews


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the subcommand."""
    parser.add_argument("answers", nargs="+", type=Path, metavar="PATH", help="answers of readers, or their folder")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the key of the page, which tells ours from fakes")


def run(args: argparse.Namespace) -> int:
    """Print the agreement; the exit status."""
    key = read_key(args.key)["items"] if args.key else None
    reviews, notes = read_reviews(args.answers)
    for line in (*notes, *report(reviews, key)):
        print(printable(line))
    return 0
