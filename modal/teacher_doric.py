"""Generate a dataset with an open model on GPUs of Modal, and stop the GPUs when the generator has ended.

    uv run --group modal modal/teacher_doric.py --model Qwen/Qwen3-4B-Instruct-2507 --yes -- --out datasets/big.jsonl

The flags after `--` are those of dataset_generation/generate_doric_dataset.py. Before anything is paid, its plan, the
model and Modal's Secret are checked, and the largest possible cost is printed. Then teacher_app.py is deployed: up to
--containers containers with vLLM behind one address. When one of them is ready, the generator starts, with the address
and the key in its environment. When it ends for any reason, and after --max-hours, the app is stopped. modal/README.md
says what limits the costs if this machine fails. --dry-run or --help after `--` only print what the generator prints.

Exit status: that of the generator (0 done, 1 rows are missing, 2 an error to fix, 3 --check finds no row to write); 1
if the app may still be running or no container became ready; 130 stopped by Ctrl-C; 129 and 143 ended by SIGHUP and
SIGTERM.
"""

import os
import signal

# so that Ctrl-C ends the program without a traceback while the modules are imported, unless it is ignored
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from doric.core import cli, gpu_prices
from doric.teacher.costs import is_price_known
from doric.teacher.generator import only_prints, why_refused
from doric.teacher.models import EXAMPLE, model_name
from doric.teacher.run import use

FOLDER = Path(__file__).absolute().parent
GENERATOR = FOLDER.parent / "dataset_generation" / "generate_doric_dataset.py"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line. What follows `--` is in `generator`."""
    given = list(sys.argv[1:] if argv is None else argv)
    cut = given.index("--") if "--" in given else len(given)
    parser = cli.Parser(__doc__)
    flag = parser.add_argument
    flag("--model", type=model_name, help="a model of the Hugging Face Hub, or a folder such as /models/teacher in the "
         "Volume doric-models (required; the variable MODEL is for other commands)")  # fmt: skip
    flag("--revision", default="", metavar="COMMIT", help="commit of the model (default: the newest, which is printed)")
    flag("--containers", type=cli.bounded(int, 1, 100), default=1, metavar="N", help="most containers (default: 1)")
    flag("--gpu", type=gpu_prices.gpu_type, default="H100", metavar="TYPE",
         help="GPU of a container, also H100:2 (default: H100)")  # fmt: skip
    flag("--max-hours", type=cli.bounded(float, 0.1, 24), default=2.0, metavar="H",
         help="after this time everything is stopped; start-up counts, some minutes (default: 2)")  # fmt: skip
    flag("--max-model-len", type=cli.positive_int, default=8192, metavar="N", help="context in tokens (default: 8192)")
    flag(
        "--cores", type=cli.positive_float, default=8.0, metavar="N", help="most CPU cores of a container (default: 8)"
    )
    flag("--memory", type=cli.positive_float, default=128.0, metavar="GIB",
         help="most main memory of a container (default: 128)")  # fmt: skip
    flag("--rate", type=cli.positive_float, metavar="USD", help="price of one GPU per hour, if it has changed")
    flag("--yes", action="store_true", help="do not ask before the costs begin")
    args, unknown = parser.parse_known_args(given[:cut])
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}. Flags of the generator come after --")
    args.generator = given[cut + 1 :]
    if why := why_refused(args.generator, args.model):
        parser.error(why)
    args.reports = only_prints(args.generator)
    if args.reports:
        return args
    if not args.model:
        parser.error(f"--model is required, for instance --model {EXAMPLE}; the variable MODEL is for other commands")
    if not is_price_known(args):
        parser.error(f"the price of {args.gpu} is not known: run `modal billing rates` and give it with --rate")
    return args


def run(args: argparse.Namespace) -> int:
    """Check everything, print the cost, use the teacher, and stop it. Returns the exit status."""
    return use(args, FOLDER, GENERATOR)


main = cli.main(parse_args, run)

if __name__ == "__main__":
    sys.exit(main())
