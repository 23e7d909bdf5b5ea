"""Renew the table of list prices (src/doric/data/prices.toml) from the price list of the package litellm.

    uv run --with litellm python dataset_generation/update_prices.py

litellm ships its list with each release, so the newest release has the newest prices. Nothing is asked of a provider.

Exit status: 0 done, 2 an error to fix, 130 stopped by Ctrl-C.
"""

import os
import signal

if __name__ == "__main__":  # so that Ctrl-C ends the program without a traceback while the modules are imported
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from doric.core import cli
except ModuleNotFoundError as error:
    uv = f"uv run --project {Path(__file__).parents[1]} python {sys.argv[0]}"
    message = f"the package {error.name} is not installed. Run this script with uv: {uv}"
    argparse.ArgumentParser(usage=argparse.SUPPRESS).error(message)

TABLE = Path(__file__).parents[1] / "src/doric/data/prices.toml"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--source", type=Path, metavar="FILE", help="LiteLLM's list as a file (default: the package)")
    parser.add_argument("--out", type=Path, default=TABLE, metavar="FILE", help="the table (default: %(default)s)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Read the list, write the table; the exit status."""
    from doric.core.files import atomic_write, refuse_foreign_file
    from doric.llm.price_list import MARK, litellm_prices, price_table, read_price_list

    refuse_foreign_file(args.out, MARK, "table of prices")
    prices, source = (read_price_list(args.source), args.source.name) if args.source else litellm_prices()
    table = price_table(prices, source, datetime.date.today())
    atomic_write(args.out, table.encode())
    cli.print_stderr(f"{args.out}: {table.count(' = { ')} models from {source}")
    return 0


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
