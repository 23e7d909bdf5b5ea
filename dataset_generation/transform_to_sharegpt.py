"""Turn a dataset of messages into ShareGPT conversations: user becomes human, assistant gpt, system stays system.

    uv run python dataset_generation/transform_to_sharegpt.py --input datasets/doric_synth.jsonl --output datasets/doric_sharegpt.jsonl

Rows are streamed, and the output appears whole or not at all. A malformed row stops the run with its line and what is
wrong; with --skip-bad such rows go to OUTPUT.rejected.jsonl instead. Left out, counted and named are chats that hold an
answer which was stopped or cut (meta.partial), and chats that ask what is held out for the examination of models, in
whatever turn and near enough to know it again. `-` is stdin or stdout.
"""  # noqa: E501 - a launch line is there to be copied

import argparse
import asyncio
import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

BATCH = 8192
"""Bytes of lines converted at a time; much more, and the allocator hands memory back and forth after each batch."""
NOTHING: dict[str, Any] = {}
BREATH = 256
"""Batches between two looks at whether Ctrl-C was pressed."""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, metavar="FILE", help="JSON lines with messages; - is stdin")
    parser.add_argument("--output", required=True, metavar="FILE", help="where the conversations go; - is stdout")
    parser.add_argument("--drop-meta", action="store_true", help="leave each row's meta out")
    parser.add_argument("--overwrite", action="store_true", help="replace OUTPUT where there is one")
    parser.add_argument("--skip-bad", action="store_true", help="put malformed rows into OUTPUT.rejected.jsonl, go on")
    parser.add_argument("--no-guard", action="store_true", help="do not look for held-out prompts, ten times as fast")
    return parser.parse_args(argv)


@dataclass
class LeftOut:
    """What is kept out of training: chats with an answer that is not whole, and held-out prompts by their ids."""

    guard: bool
    partial: int = 0
    held: Counter[str] = field(default_factory=Counter)

    def held_in(self, row: dict[str, Any]) -> str:
        """The id of the held-out prompt that a user's turn of the row asks, or ""."""
        from doric.quality.decontamination import find_match

        asked = (turn["content"] for turn in row["messages"] if turn["role"] == "user") if self.guard else ()
        return next((found.id for text in asked if (found := find_match(text))), "")


async def run(args: argparse.Namespace) -> int:
    """Check the paths, convert row by row, tell the count; the exit status."""
    from doric.core.errors import InputError
    from doric.core.files import atomic_writer
    from doric.core.jsonl import name_of, open_lines

    rejects = Rejects(rejected_path(args.output)) if args.skip_bad else None
    check_paths(args, rejects)
    rows, left = 0, LeftOut(guard=not args.no_guard)
    with open_lines(args.input) as lines, rejects or contextlib.nullcontext(), atomic_writer(args.output) as out:
        batches = converted(lines, name_of(args.input), drop_meta=args.drop_meta, rejects=rejects, left=left)
        for number, (count, text) in enumerate(batches):
            out.write(text)
            rows += count
            if number % BREATH == 0:
                await asyncio.sleep(0)
        if rows == 0:
            what, hint = "the file is empty", 'Each line must be an object with a list "messages".'
            if left.held:
                what, hint = "every chat in it asks what is held out", "They examine models: train on other prompts."
            elif left.partial:
                what, hint = "every chat in it holds an answer that is not whole", "Ask again with /retry in the chat."
            elif rejects and rejects.count:
                what = f"not one of {rejects.count:,} rows has messages"
            raise InputError(what, file=name_of(args.input), hint=hint)
    print(summary(args, rows, rejects, left), file=sys.stderr)
    return 0


def converted(
    lines: IO[bytes], file: str, *, drop_meta: bool, rejects: "Rejects | None", left: LeftOut
) -> Iterator[tuple[int, bytes]]:
    """(rows, their lines as ShareGPT) batch by batch; `left` counts those left out.

    A malformed row goes to `rejects`; without it `InputError` names file, line and key.
    """
    first = 1
    while batch := lines.readlines(BATCH):
        rows = at_once(batch, drop_meta=drop_meta, left=left)
        if rows is None:
            rows = list(one_by_one(batch, first, file, drop_meta=drop_meta, rejects=rejects, left=left))
        if rows:
            yield len(rows), b"\n".join(rows) + b"\n"
        first += len(batch)


def at_once(batch: list[bytes], *, drop_meta: bool, left: LeftOut) -> list[bytes] | None:
    """The rows of a batch in which nothing is wrong, nothing to be left out and no line blank; None of any other."""

    from doric.core.conversations import to_sharegpt_in_place
    from doric.core.errors import InputError
    from doric.core.files import encode_json, parse_json

    try:
        rows = [cast(dict[str, Any], parse_json(line)) for line in batch]
        if any(row.get("meta", NOTHING).get("partial") for row in rows):
            return None
        if left.guard and any(map(left.held_in, rows)):
            return None
        return [encode_json(to_sharegpt_in_place(row, drop_meta=drop_meta)) for row in rows]
    except (InputError, AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def one_by_one(
    batch: list[bytes], first: int, file: str, *, drop_meta: bool, rejects: "Rejects | None", left: LeftOut
) -> Iterator[bytes]:
    """The rows of a batch in which something is wrong or to be left out, or a line is blank."""
    from doric.core.conversations import to_sharegpt
    from doric.core.errors import InputError
    from doric.core.files import encode_json
    from doric.core.jsonl import decode

    for number, line in enumerate(batch, first):
        if not line.strip():
            continue
        try:
            row = decode(line)
            meta = row.get("meta")
            done = encode_json(to_sharegpt(row, drop_meta=drop_meta))
            if isinstance(meta, dict) and meta.get("partial"):
                left.partial += 1
            elif found := left.held_in(row):
                left.held[found] += 1
            else:
                yield done
        except InputError as error:
            if rejects is None:
                hint = error.hint or "--skip-bad puts such rows into a file of their own and goes on."
                raise InputError(error.message, file=file, line=number, hint=hint) from error
            rejects.add(number, line, error.message)


class Rejects:
    """Malformed rows, in a file of their own that is made when the first one comes and appears whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self._stack = contextlib.ExitStack()

    def add(self, number: int, line: bytes, reason: str) -> None:
        """Keep one line with its number and what is wrong with it."""
        from doric.core.files import atomic_writer, encode_json, os_error

        text = line.decode(errors="replace").rstrip("\r\n")
        try:
            if self.count == 0:
                self._out = self._stack.enter_context(atomic_writer(self.path))
            self._out.write(encode_json({"line": number, "reason": reason, "text": text}) + b"\n")
        except OSError as error:
            raise os_error(error, self.path, "written") from error
        self.count += 1

    def __enter__(self) -> "Rejects":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if kind is None and self.count == 0:
            self.path.unlink(missing_ok=True)  # of an earlier run, whose output has just been replaced


def rejected_path(output: str) -> Path:
    """Where malformed rows go."""
    return Path(f"{'stdout' if output == '-' else output}.rejected.jsonl")


def check_paths(args: argparse.Namespace, rejects: Rejects | None) -> None:
    """Raise `DoricError` when writing would lose a file: the input itself, or one that is there already."""
    from doric.core.errors import InputError, SettingsError

    for path in [Path(args.output), *([rejects.path] if rejects else [])]:
        if args.output == "-" or not path.is_file():
            continue
        if args.input != "-" and os.path.exists(args.input) and path.samefile(args.input):
            raise SettingsError(f"{path} is the input itself", hint="Name another --output.")
        if not args.overwrite:
            hint = "Give --overwrite to replace it, or another --output."
            raise InputError("it is there already", file=path, hint=hint)


def summary(args: argparse.Namespace, rows: int, rejects: Rejects | None, left: LeftOut) -> str:
    """What was done, in one line."""
    from doric.core.jsonl import name_of

    where = "stdout" if args.output == "-" else args.output
    done = f"{rows:,} rows of {name_of(args.input)} converted to {where}"
    done += f"; {left.partial:,} left out for an answer that is not whole (meta.partial)" if left.partial else ""
    if left.held:
        ids = ", ".join(list(left.held)[:5]) + (", ..." if len(left.held) > 5 else "")
        done += f"; {left.held.total():,} left out for asking what is held out ({ids})"
    return f"{done}; {rejects.count:,} malformed rows in {rejects.path}" if rejects and rejects.count else done


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script: 0 done, 2 something to mend, 130 interrupted."""
    args = parse_args(argv)
    from doric.core.cli import report_error
    from doric.core.errors import DoricError

    try:
        return asyncio.run(run(args))
    except DoricError as error:
        return report_error(error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
