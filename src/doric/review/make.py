"""`review_doric.py make`: write the page and its key."""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from doric.core import cli
from doric.core.errors import SettingsError
from doric.core.files import atomic_write, refuse_foreign_file
from doric.core.text import printable
from doric.report.html import PAGE, write_page
from doric.review import corpus, sample
from doric.review.answers import KEY_FORMAT
from doric.review.choices import choice_items
from doric.review.genuine import Genuine, read_genuine
from doric.review.items import FAKE, GENUINE, OURS, Item, Part, parts
from doric.review.page import review_key, review_page

CHOICES, WORDS, LINES, SAMPLE, RARE = 1, 2, 3, 4, 5
LARGEST = 3_000_000
"""Bytes. A larger page would be refused by mail programs, and slow on an old phone."""
LONGEST_NAME = 80
MINUTES = cli.bounded(float, 1, 1000)


def part_numbers(text: str) -> tuple[int, ...]:
    """The value of --parts. Raises `ArgumentTypeError`.

    >>> part_numbers("4,1")
    (1, 4)
    """
    names = [name.strip() for name in text.split(",")]
    if not all(name in ("1", "2", "3", "4", "5") for name in names):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of parts from 1 to 5, such as 1,4")
    return tuple(sorted({int(name) for name in names}))


def one_line(text: str) -> str:
    """The value of --sender. Raises `ArgumentTypeError`.

    >>> one_line(" Mary  Reid ")
    'Mary Reid'
    """
    name = " ".join(printable(text).split())
    if not name or len(name) > LONGEST_NAME:
        raise argparse.ArgumentTypeError(f"give a name of at most {LONGEST_NAME} characters")
    return name


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the subcommand."""
    flag = parser.add_argument
    flag("--out", type=Path, default=Path("review.html"), metavar="FILE", help="the page (default: %(default)s)")
    flag("--rows", type=Path, metavar="FILE", help="review this dataset, or the answers of a model (validation.json)")
    flag("--genuine", type=Path, metavar="PATH", help="texts of speakers for part 4 (.txt, .md, .docx, .csv, a folder)")
    flag("--seed", type=cli.whole_number, default=0, metavar="N", help="same seed, same page (default: 0)")
    flag("--parts", type=part_numbers, default=(), metavar="LIST", help="such as 1,4 (default: all; with --rows: 4)")
    flag(
        "--sender",
        type=one_line,
        metavar="NAME",
        help="who gets the answers, as readers know you: Mary Reid",
    )
    flag("--minutes", type=MINUTES, metavar="N", help="time for the whole page (default: 180 for all parts)")


def run(args: argparse.Namespace) -> int:
    """Write the page and the key, and say what they have."""
    key = args.out.with_suffix(".key.json")
    if args.out.suffix not in (".html", ".htm"):
        raise SettingsError(f"--out is {args.out}", hint="Give a name that ends in .html.")
    refuse_foreign_file(args.out, PAGE, "page of this project")
    refuse_foreign_file(key, KEY_FORMAT.encode(), "key of a review page")
    chosen = parts(args.parts or ((SAMPLE,) if args.rows else ()), args.minutes)
    _refuse_unused(args, chosen)
    genuine = read_genuine(args.genuine) if args.genuine else Genuine(())
    items = [item for part in chosen for item in _items(part, args, genuine.passages)]
    chosen = tuple(_with_its_time(part, items) for part in chosen)
    page = review_page(items, chosen, args.sender or "")
    if len(page.encode()) > LARGEST:
        raise SettingsError(f"the page would have more than {LARGEST:,} bytes", hint="Give fewer --minutes.")
    atomic_write(key, review_key(items))
    write_page(args.out, page)
    print(printable("\n".join([*genuine.notes, *_summary(args, key, items, chosen)])))
    return 0


def _with_its_time(part: Part, items: Sequence[Item]) -> Part:
    """The part with the minutes that its questions take, which can be fewer than would fit."""
    count = sum(item.part == part.number for item in items)
    return replace(part, minutes=min(math.ceil(part.minutes), math.ceil(count * part.seconds / 60)))


def _refuse_unused(args: argparse.Namespace, chosen: Sequence[Part]) -> None:
    given = [f"--{name}" for name in ("rows", "genuine") if getattr(args, name)]
    if given and SAMPLE not in (part.number for part in chosen):
        reason = f"{given[0]} is for part {SAMPLE}, which --parts leaves out"
        raise SettingsError(reason, hint=f"Add {SAMPLE} to --parts.")


def _items(part: Part, args: argparse.Namespace, genuine: Sequence[tuple[str, str]]) -> list[Item]:
    if part.number == CHOICES:
        return choice_items(part, args.seed)
    own = corpus.own_rows(args.seed)
    if part.number == WORDS:
        return corpus.word_items(own, part)
    if part.number == LINES:
        return corpus.line_items(own, part)
    if part.number == RARE:
        return corpus.rare_items(own, part)
    rows = sample.read_rows(args.rows) if args.rows else own
    return sample.sample_items(rows, genuine, part, args.seed)


def _summary(args: argparse.Namespace, key: Path, items: Sequence[Item], chosen: Sequence[Part]) -> Iterator[str]:
    for part in chosen:
        count = sum(item.part == part.number for item in items)
        yield f"part {part.number}, {part.title}: {count} questions, {part.minutes:g} minutes"
    single = [item.origin for item in items if item.kind == "row"]
    if single:
        yield f"blind sample: {', '.join(f'{single.count(origin)} {origin}' for origin in (OURS, GENUINE, FAKE))}"
        if not args.genuine:
            yield "No --genuine text was given, so the sample has only our rows and fakes."
    yield f"{args.out}: send this file to speakers. {key}: keep this file, and send it to nobody who reads the page."
