"""The largest possible cost of a teacher, and the question before the costs begin."""

import argparse
import sys

from doric.core import cli, gpu_prices
from doric.core.errors import SettingsError


def cost_per_hour(args: argparse.Namespace) -> float:
    """The most that one container costs per hour, in dollars: its GPUs, with all cores and all memory in use."""
    name, _, number = args.gpu.partition(":")
    each = args.rate if args.rate is not None else gpu_prices.GPUS[name]
    return each * int(number or 1) + args.cores * gpu_prices.CORE + args.memory * gpu_prices.GIB


def is_price_known(args: argparse.Namespace) -> bool:
    """Whether the price of a GPU is given or in the table."""
    return args.rate is not None or args.gpu.partition(":")[0] in gpu_prices.GPUS


def cost_bound(args: argparse.Namespace) -> str:
    """The largest possible cost of the containers, and what is not in it, in words."""
    each = cost_per_hour(args)
    source = "your --rate" if args.rate is not None else f"prices of {gpu_prices.DATE}"
    return (
        f"{args.model} on {args.containers} x {args.gpu} for at most {args.max_hours:g} h costs at most "
        f"${each * args.containers * args.max_hours:.2f}: ${each:.2f} per container and hour ({source}; "
        "`uv run modal billing rates` prints today's). The start of a container, some minutes, is included. Building "
        "the image and storing the model's weights are not."
    )


def check_confirmable(args: argparse.Namespace) -> None:
    """Raise `SettingsError`, after the cost was printed, if nobody can be asked before the costs begin."""
    if not args.yes and not sys.stdin.isatty():
        cli.print_stderr(cost_bound(args))
        raise SettingsError("the cost is not confirmed", hint="Add --yes before the --.")


def confirm(yes: bool) -> None:
    """Ask before the costs begin. Raises SystemExit if the answer is no."""
    if not yes and not cli.says_yes("Start?"):
        cli.print_stderr("Nothing was started.")
        raise SystemExit(1)
