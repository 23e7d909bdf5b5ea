"""Let native speakers check the Doric: write a page for them, and use the answers that they send back.

    uv run python validation/review_doric.py make --out review.html

The page is one file that works without a network, on a phone too. Send it to speakers as it is. REVIEW.key.json, beside
it, says which texts are ours and which are fakes: keep it, and do not send it. docs/reviewing.md explains everything.

Exit status: 0 done, 2 an error to fix, 130 stopped by Ctrl-C.
"""

import os
import signal

if __name__ == "__main__":  # so that Ctrl-C ends the program without a traceback while the modules are imported
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from doric.core import cli
except ModuleNotFoundError as error:
    uv = f"uv run --project {Path(__file__).parents[1]} python {sys.argv[0]}"
    message = f"the package {error.name} is not installed. Run this script with uv: {uv}"
    argparse.ArgumentParser(usage=argparse.SUPPRESS).error(message)

COMMANDS = {
    "make": "write the page for speakers",
    "agree": "show who said what, and how far readers agree",
    "apply": "change the language data as readers said, after showing the changes",
    "undo": "take the last applied review back",
}
"""Subcommand -> its help. Each is a module of `doric.review` with `add_flags(parser)` and `run(args)`."""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        importlib.import_module(f"doric.review.{name}").add_flags(commands.add_parser(name, help=summary))
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    return importlib.import_module(f"doric.review.{args.command}").run(args)


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
