"""Convert a dataset of messages to ShareGPT conversations: user becomes human, assistant gpt; system stays system.

    uv run python dataset_generation/transform_to_sharegpt.py --input datasets/doric_synth.jsonl --output datasets/doric_sharegpt.jsonl

Rows are streamed, and the output file appears complete or not at all. A row that cannot be trained stops the run with
its line and the reason: turns must alternate and end with an answer, and none may be empty. With --skip-bad, such rows
are written to OUTPUT.malformed.jsonl instead. Two kinds of chats are dropped and counted: chats with an answer that was
stopped or cut off (meta.partial), and chats with a turn that matches a prompt held out for evaluation. Reasoning
(<think>…</think>) is left out. Rows that are ShareGPT already are checked in the same way. `-` is stdin or stdout.

Exit status: 0 done, 2 an error to fix, 130 stopped by Ctrl-C.
"""  # noqa: E501 - the command must be one line that can be copied

import os
import signal

if __name__ == "__main__":  # so that Ctrl-C ends the program without a traceback while the modules are imported
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    from doric.core import cli
except ModuleNotFoundError as error:
    uv = f"uv run --project {Path(__file__).parents[1]} python {sys.argv[0]}"
    message = f"the package {error.name} is not installed. Run this script with uv: {uv}"
    argparse.ArgumentParser(usage=argparse.SUPPRESS).error(message)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--input", required=True, metavar="FILE", help="JSON Lines in either format; - is stdin")
    parser.add_argument("--output", required=True, metavar="FILE", help="the file to write; - is stdout")
    parser.add_argument("--drop-meta", action="store_true", help="drop each row's meta")
    parser.add_argument("--overwrite", action="store_true", help="replace OUTPUT if it exists; a copy is kept")
    parser.add_argument("--skip-bad", action="store_true", help="write malformed rows to OUTPUT.malformed.jsonl")
    parser.add_argument("--no-guard", action="store_true", help="do not look for evaluation prompts; twice as fast")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Check the paths, convert row by row, print the counts."""
    from doric.core.backups import Backups
    from doric.core.conversations import MalformedLines, ShareGptConversion
    from doric.core.files import atomic_writer, parent_folders, refuse_foreign_file, refuse_overwrite
    from doric.core.jsonl import name_of, open_lines
    from doric.core.regular_files import is_stdout

    if not args.no_guard:
        from doric.lint.files import refuse_broken_data

        refuse_broken_data()  # without the evaluation prompts, nothing would be left out
    args.output = "-" if is_stdout(args.output) else args.output
    target = "stdout" if args.output == "-" else args.output
    malformed = MalformedLines(Path(f"{target}.malformed.jsonl"))
    for path in [*([] if args.output == "-" else [Path(target)]), *([malformed.path] if args.skip_bad else [])]:
        refuse_overwrite(path, source=args.input, overwrite=args.overwrite)
    if args.skip_bad:
        refuse_foreign_file(malformed.path, b'{"line":', "file of malformed rows")
    conversion = ShareGptConversion(
        drop_meta=args.drop_meta,
        held_out=None if args.no_guard else held_out,
        reject=malformed.add if args.skip_bad else None,
    )
    opened_malformed = malformed if args.skip_bad else contextlib.nullcontext()
    with (
        open_lines(args.input) as lines,
        parent_folders(malformed.path),
        opened_malformed,
        atomic_writer(args.output) as out,
    ):
        for batch in conversion.batches(lines, name_of(args.input)):
            out.write(batch)
        conversion.check_not_empty(name_of(args.input))
        replaced = [] if args.output == "-" else [Path(target)]
        copies = Backups(Path(target), malformed.path).keep(*replaced, *([malformed.path] if args.skip_bad else []))
    done = [f"{conversion.rows:,} rows of {name_of(args.input)} converted to {target}", *conversion.left_out()]
    done += [f"{malformed.count:,} malformed rows in {malformed.path}"] if malformed.count else []
    done += [f"the old file is kept in {copy}" for copy in copies]
    cli.print_stderr("; ".join(done))
    return 0


def held_out(row: dict[str, Any]) -> str:
    """The id of the evaluation prompt that a user's turn of the row matches, or ""."""
    from doric.quality.decontamination import find_match

    asked = (turn["content"] for turn in row["messages"] if turn["role"] == "user")
    return next((found.id for text in asked if (found := find_match(text))), "")


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
