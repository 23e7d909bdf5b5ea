"""Make preference pairs from a generated dataset: the accepted answer beside one that a gate refused, with the reason.

    uv run python dataset_generation/make_preference_pairs.py --rows datasets/doric_synth.jsonl --out datasets/doric_pairs.jsonl

The refused answers are those of INPUT.rejected.jsonl. More of them come from a weaker model that is asked the same
prompts: give its OUT.rejected.jsonl with --rejected too. Pairs that people chose on a review page are added with --pairs.
No pair comes twice, no prompt of the evaluation is used, and no gate and no length of an answer decides more pairs than
data/preferences/balance.toml allows. The format is that of TRL's trainers: `pairs` for DPO and ORPO, `verdicts` for KTO.

Exit status: 0 done, 2 an error to fix, 130 stopped by Ctrl-C.
"""  # noqa: E501 - the command must be one line that can be copied

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
    flag = parser.add_argument
    flag("--rows", type=Path, required=True, metavar="FILE", help="the dataset with the accepted answers")
    flag(
        "--rejected", type=Path, action="append", metavar="FILE",
        help="refused answers; may be given several times (default: ROWS.rejected.jsonl)",
    )  # fmt: skip
    flag(
        "--pairs", type=Path, action="append", default=[], metavar="FILE",
        help="pairs that exist already, for instance those of a review; may be given several times",
    )  # fmt: skip
    flag("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    flag(
        "--format", choices=("pairs", "verdicts"), default="pairs", help="for DPO and ORPO, or for KTO (default: pairs)"
    )
    flag("--most-of-a-gate", type=cli.share, metavar="R", help="largest share of the pairs of one gate (default: 0.35)")
    flag("--seed", type=cli.whole_number, default=7, metavar="N", help="decides which pairs are left out (default: 7)")
    flag("--overwrite", action="store_true", help="replace OUT if it exists; a copy is kept")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Check the paths, find and balance the pairs, write them, print the counts."""
    from doric.core.backups import Backups
    from doric.core.errors import InputError, SettingsError
    from doric.core.files import atomic_writer, encode_json, refuse_overwrite
    from doric.core.regular_files import refuse_read_once
    from doric.core.text import counted
    from doric.lint.files import refuse_broken_data
    from doric.preferences.balance import limits
    from doric.preferences.make import Making, summary
    from doric.preferences.sources import AcceptedRows

    refuse_broken_data()
    rejected = args.rejected or [path for path in [Path(f"{args.rows}.rejected.jsonl")] if path.is_file()]
    if not rejected and not args.pairs:
        hint = "Give refused answers with --rejected, or pairs with --pairs."
        raise SettingsError(f"there is no file {args.rows}.rejected.jsonl", hint=hint)
    for source in [args.rows, *rejected, *args.pairs]:
        refuse_read_once(source)
        refuse_overwrite(args.out, source=str(source), overwrite=args.overwrite)
    making = Making(AcceptedRows.index(args.rows), rejected, args.pairs)
    share = limits().most_of_a_gate if args.most_of_a_gate is None else args.most_of_a_gate
    kept = making.chosen(args.seed, most_of_a_gate=share)
    if not kept:
        why = "; ".join(f"{count:,} {reason}" for reason, count in making.left_out.most_common() if count)
        hint = "Give more refused answers with --rejected: a weaker model makes them from the same plan."
        raise InputError(f"no pair is left ({why or 'the files have no refused answers'})", file=args.rows, hint=hint)
    with atomic_writer(args.out) as out:
        for pair in making.pairs(kept):
            for entry in pair.verdicts() if args.format == "verdicts" else [pair.row()]:
                out.write(encode_json(entry) + b"\n")
        copies = Backups(args.out).keep(args.out)
    lines = [f"{counted(len(kept), 'pair')} in {args.out}", *summary(kept)]
    lines += [f"  left out:     {count:,}: {reason}" for reason, count in making.left_out.most_common() if count]
    lines += [f"  the old file is kept in {copy}" for copy in copies]
    cli.print_stderr("\n".join(lines))
    return 0


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
