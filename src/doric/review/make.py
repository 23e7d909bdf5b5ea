"""`review_doric.py make`: write the page and its key."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from doric.core import cli
from doric.core.errors import SettingsError
from doric.core.files import atomic_write, refuse_foreign_file
from doric.report.html import PAGE, write_page
from doric.review import corpus, sample
from doric.review.answers import KEY_FORMAT
from doric.review.choices import choice_items
from doric.review.items import FAKE, GENUINE, OURS, Item, Part, parts
from doric.review.page import review_key, review_page

CHOICES, WORDS, LINES, SAMPLE, RARE = 1, 2, 3, 4, 5
LARGEST = 3_000_000
"""Bytes. A larger page would be refused by mail programs, and slow on an old phone."""
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


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the subcommand."""
    flag = parser.add_argument
    flag("--out", type=Path, default=Path("review.html"), metavar="FILE", help="the page (default: %(default)s)")
    flag("--rows", type=Path, metavar="FILE", help="review this dataset, or the answers of a model (validation.json)")
    flag("--genuine", type=Path, metavar="PATH", help="texts of speakers (.txt, .md, or a folder) for the blind sample")
    flag("--seed", type=cli.whole_number, default=0, metavar="N", help="same seed, same page (default: 0)")
    flag("--parts", type=part_numbers, default=(), metavar="LIST", help="such as 1,4 (default: all; with --rows: 4)")
    flag("--minutes", type=MINUTES, metavar="N", help="time for the whole page (default: 180 for all parts)")


def run(args: argparse.Namespace) -> int:
    """Write the page and the key, and say what they have."""
    key = args.out.with_suffix(".key.json")
    if args.out.suffix not in (".html", ".htm"):
        raise SettingsError(f"--out is {args.out}", hint="Give a name that ends in .html.")
    refuse_foreign_file(args.out, PAGE, "page of this project")
    refuse_foreign_file(key, KEY_FORMAT.encode(), "key of a review page")
    chosen = parts(args.parts or ((SAMPLE,) if args.rows else ()), args.minutes)
    items = [item for part in chosen for item in _items(part, args)]
    page = review_page(items, chosen)
    if len(page.encode()) > LARGEST:
        raise SettingsError(f"the page would have more than {LARGEST:,} bytes", hint="Give fewer --minutes.")
    atomic_write(key, review_key(items))
    write_page(args.out, page)
    print("\n".join(_summary(args, key, items, chosen)))
    return 0


def _items(part: Part, args: argparse.Namespace) -> list[Item]:
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
    genuine = sample.read_genuine(args.genuine) if args.genuine else ()
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
