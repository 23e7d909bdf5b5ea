"""`review_doric.py apply`: what the readers said, as one change that is shown first and can be undone."""

import argparse
import itertools
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from doric import data
from doric.core.errors import InputError
from doric.core.text import printable
from doric.lint import edits
from doric.lint.files import read_files
from doric.lint.source import Source
from doric.review import rows, status
from doric.review.answers import Review, read_key, read_reviews
from doric.review.decisions import Decision, decide
from doric.review.language import Corrections

PROJECT = Path(__file__).resolve().parents[3]
AFTER = "Run `uv run pytest -q tests/test_lint.py tests/test_spelling.py` too before you share the change."


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the subcommand."""
    flag = parser.add_argument
    flag("answers", nargs="+", type=Path, metavar="PATH", help="answers of readers, or their folder")
    flag("--key", type=Path, metavar="FILE", help="the key of the page; answers and pairs need it")
    flag("--dataset", type=Path, metavar="FILE", help="a dataset that rows leave whose answer readers call wrong")
    flag("--gold", type=Path, default=Path("datasets/gold.jsonl"), metavar="FILE", help="corrected rows (%(default)s)")
    flag(
        "--preferences", type=Path, default=Path("datasets/review_preferences.jsonl"), metavar="FILE",
        help="pairs of a better and a worse answer (%(default)s)",
    )  # fmt: skip
    flag("--yes", action="store_true", help="write without asking")


def run(args: argparse.Namespace) -> int:
    """Show the changes, write them, check the data; the exit status."""
    reviews, notes = read_reviews(args.answers)
    key = _key(args.key, reviews) if args.key else None
    sources = _sources()
    decisions, differing = decide(reviews)
    corrections = Corrections(sources)
    _correct(corrections, decisions)
    files = corrections.files(sources)
    more, said = _row_files(args, decisions, key, {one.by: one.may_publish for one in reviews})
    files |= more
    notes += [*differing, *corrections.notes, *said]
    recorded = status.changed_files(reviews, PROJECT / "README.md")
    if recorded and not files:
        notes.append("Nothing else changes: everything that the readers agree on is so already, or is listed above.")
    files |= recorded
    if not files:
        notes.append("Nothing to change: what the readers agree on is so already, or is listed above.")
        print(printable("\n".join(notes)))
        return 0
    if not edits.agreed("the review", edits.files_diff(files), yes=args.yes, notes=notes):
        return 1
    edits.write(files, f"review_doric.py apply {' '.join(path.name for path in args.answers)}")
    print("Written. `review_doric.py undo` takes it back.")
    return check_data()


def _key(path: Path, reviews: Sequence[Review]) -> Mapping:
    key = read_key(path)
    of_pages = [one for one in reviews if one.page and not all(answer.prompt for answer in one.answers)]
    if other := next((one for one in of_pages if one.page != key.get("page")), None):
        hint = "Give the key that was written beside the page of these answers."
        raise InputError(f"it is the key of another page than {other.file}", file=path, hint=hint)
    return key["items"]


def _sources() -> dict[str, Source]:
    sources, problems = read_files()
    if broken := next((one for one in problems if one.is_error), None):
        hint = "Correct it first; check_doric.py shows all problems."
        raise InputError(broken.reason, file=data.shown(broken.file), line=broken.line or None, hint=hint)
    return sources


def _correct(corrections: Corrections, decisions: Sequence[Decision]) -> None:
    """Lines first: exchanging words changes them, and then they are not found."""
    for decision in decisions:
        if decision.kind == "line" and decision.changes:
            corrections.lines(decision)
    for decision in decisions:
        if decision.kind == "word" and (old := decision.item.partition(":")[2].partition("\t")[0]) != decision.wanted:
            corrections.word(decision, old)
        elif decision.kind == "choice":
            corrections.choice(decision)


def _row_files(
    args: argparse.Namespace, decisions: Sequence[Decision], key: Mapping | None, publish: Mapping[str, bool]
) -> tuple[dict[str, str], list[str]]:
    """The gold rows, the preferences and the dataset: path -> new content, and what is said about them."""
    _refuse_same_file(args.gold, args.preferences, args.dataset)
    about = [one for one in decisions if one.kind in ("row", "pair")]
    found, notes = rows.judged(about, key)
    free = [one for one in found if all(publish[by] for by in one.by)]
    if kept_back := sum(one.changes for one in found) - sum(one.changes for one in free):
        notes.append(f"{kept_back} corrected or chosen answers are not used: their readers gave no leave to publish")
    files: dict[str, str] = {}
    for path, entries in ((args.gold, rows.gold_rows(free)), (args.preferences, rows.preferences(free))):
        content, count = rows.added(path, entries)
        if count:
            files[str(path.absolute())] = content
            notes.append(f"{count} new in {path}")
    if args.dataset:
        content, count = rows.without_wrong(args.dataset, found)
        if count:
            files[str(args.dataset.absolute())] = content
        notes.append(f"{count} rows leave {args.dataset}")
    return files, notes


def _refuse_same_file(*paths: Path | None) -> None:
    given = [path for path in paths if path]
    for path, other in itertools.combinations(given, 2):
        if path.resolve() == other.resolve():
            hint = "--gold, --preferences and --dataset are three files: what one gets would replace the others."
            raise InputError("it is given twice", file=other, hint=hint)


def check_data() -> int:
    """What check_doric.py says of the changed data, in a process that has read nothing before; its exit status."""
    script = PROJECT / "dataset_generation" / "check_doric.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    print(done.stdout.strip().split("\n")[-1] if not done.returncode else done.stdout.strip())
    print(AFTER)
    return 1 if done.returncode else 0
