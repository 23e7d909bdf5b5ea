"""Convert a dataset of messages to ShareGPT conversations: user becomes human, assistant gpt; system stays system.

    uv run python dataset_generation/transform_to_sharegpt.py --input datasets/doric_synth.jsonl --output datasets/doric_sharegpt.jsonl

Rows are streamed, and the output file appears complete or not at all. A malformed row stops the run with its line and
what is wrong; with --skip-bad such rows go to OUTPUT.rejected.jsonl instead. Two kinds of chats are dropped and
counted: those with an answer that was stopped or cut off (meta.partial), and those that match, in any turn, a prompt
that is held out for evaluation. `-` is stdin or stdout.
"""  # noqa: E501 - the command must be one line that can be copied

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from doric.core import cli
except ModuleNotFoundError as error:
    message = f"the package {error.name} is not installed. Run this script with uv: uv run python {sys.argv[0]}"
    argparse.ArgumentParser(usage=argparse.SUPPRESS).error(message)

if TYPE_CHECKING:
    from doric.core.conversations import RejectedLines, ShareGptConversion


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, metavar="FILE", help="JSON Lines with messages; - is stdin")
    parser.add_argument("--output", required=True, metavar="FILE", help="where the conversations go; - is stdout")
    parser.add_argument("--drop-meta", action="store_true", help="drop each row's meta")
    parser.add_argument("--overwrite", action="store_true", help="replace OUTPUT if it exists")
    parser.add_argument("--skip-bad", action="store_true", help="put malformed rows into OUTPUT.rejected.jsonl, go on")
    parser.add_argument("--no-guard", action="store_true", help="do not look for evaluation prompts; ten times as fast")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Check the paths, convert row by row, report the counts."""
    from doric.core.conversations import RejectedLines, ShareGptConversion
    from doric.core.files import atomic_writer
    from doric.core.jsonl import name_of, open_lines

    rejected = RejectedLines(Path(f"{'stdout' if args.output == '-' else args.output}.rejected.jsonl"))
    check_paths(args, rejected.path)
    done = ShareGptConversion(
        drop_meta=args.drop_meta,
        held_out=None if args.no_guard else held_out,
        reject=rejected.add if args.skip_bad else None,
    )
    rejects = rejected if args.skip_bad else contextlib.nullcontext()
    with open_lines(args.input) as lines, rejects, atomic_writer(args.output) as out:
        for batch in done.batches(lines, name_of(args.input)):
            out.write(batch)
        check_not_empty(args, done, rejected)
    print(summary(args, done, rejected), file=sys.stderr)
    return 0


def held_out(row: dict[str, Any]) -> str:
    """The id of the evaluation prompt that a user's turn of the row matches, or ""."""
    from doric.quality.decontamination import find_match

    asked = (turn["content"] for turn in row["messages"] if turn["role"] == "user")
    return next((found.id for text in asked if (found := find_match(text))), "")


def check_paths(args: argparse.Namespace, rejected: Path) -> None:
    """Raise `DoricError` when writing would replace the input, or (without --overwrite) any file."""
    from doric.core.errors import InputError, SettingsError

    for path in [Path(args.output), *([rejected] if args.skip_bad else [])]:
        if args.output == "-" or not path.is_file():
            continue
        if args.input != "-" and os.path.exists(args.input) and path.samefile(args.input):
            raise SettingsError(f"{path} is the input itself", hint="Choose another --output.")
        if not args.overwrite:
            hint = "Give --overwrite to replace it, or another --output."
            raise InputError("the file exists", file=path, hint=hint)


def check_not_empty(args: argparse.Namespace, done: "ShareGptConversion", rejected: "RejectedLines") -> None:
    """Raise `InputError` with the reason when no row is left."""
    from doric.core.errors import InputError
    from doric.core.jsonl import name_of

    if done.rows:
        return
    what, hint = "the file is empty", 'Each line must be an object with a list "messages".'
    if done.held:
        what, hint = "every chat in it matches an evaluation prompt", "Train on other prompts."
    elif done.partial:
        what, hint = "every chat in it has an incomplete answer", "Ask again with /retry in the chat."
    elif rejected.count:
        what = f"none of {rejected.count:,} rows has messages"
    raise InputError(what, file=name_of(args.input), hint=hint)


def summary(args: argparse.Namespace, done: "ShareGptConversion", rejected: "RejectedLines") -> str:
    """What was done, in one line."""
    from doric.core.jsonl import name_of

    parts = [
        f"{done.rows:,} rows of {name_of(args.input)} converted to {'stdout' if args.output == '-' else args.output}"
    ]
    if done.partial:
        parts.append(f"{done.partial:,} dropped because an answer is incomplete (meta.partial)")
    if done.held:
        ids = ", ".join(list(done.held)[:5]) + (", ..." if len(done.held) > 5 else "")
        parts.append(f"{done.held.total():,} dropped because they match an evaluation prompt ({ids})")
    if rejected.count:
        parts.append(f"{rejected.count:,} malformed rows in {rejected.path}")
    return "; ".join(parts)


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
