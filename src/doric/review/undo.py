"""`review_doric.py undo`: the files as they were before the last applied review."""

import argparse

from doric.lint import edits


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the subcommand."""
    parser.add_argument("--yes", action="store_true", help="write without asking")


def run(args: argparse.Namespace) -> int:
    """Show the changes and take them back; the exit status."""
    if not edits.undo(lambda command, diff: edits.agreed(f"the opposite of {command}", diff, yes=args.yes)):
        return 1
    print("Taken back.")
    return 0
