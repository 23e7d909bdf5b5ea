"""Check the language data after a correction: list each wrong or doubtful line, with file, line and reason.

    uv run python dataset_generation/check_doric.py --doubts

Without --doubts, only errors are listed; they must be fixed. With --say, it explains how your own sentence is read,
word by word, and whether the quality gates would accept it; --say - reads the text from standard input. With --where,
it lists the lines that have a word or a sentence, and with --rows, how often each line is in a dataset.

--swap OLD NEW makes NEW the main spelling: in the tables and in every authored line. --house-spelling writes every
authored line in the main spellings. Both show what they change, and write it only with --yes or after a question. The
old files are kept, and --undo takes the last of these changes back.

Exit status: 0 no errors, 1 errors in the data, nothing found or nothing written, 2 a wrong flag or word, 130 stopped by
Ctrl-C.
"""

import os
import signal

if __name__ == "__main__":  # so that Ctrl-C ends the program without a traceback while the modules are imported
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

try:
    from doric.core import cli
    from doric.core.text import MAX_CHARACTERS, counted, printable
except ModuleNotFoundError as error:
    uv = f"uv run --project {Path(__file__).parents[1]} python {sys.argv[0]}"
    message = f"the package {error.name} is not installed. Run this script with uv: {uv}"
    argparse.ArgumentParser(usage=argparse.SUPPRESS).error(message)

if TYPE_CHECKING:
    from doric.lint.source import Finding
    from doric.lint.words import Sources

ROOT = Path(__file__).resolve().parents[1]
TOPIC_LISTS = (ROOT / "topics.json", ROOT / "topics.txt")
"""The lists of topics that the language data must cover."""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--doubts", action="store_true", help="also list warnings: lines that may be right")
    flag = parser.add_mutually_exclusive_group().add_argument
    say = "a sentence or an answer to explain; - reads it from stdin"
    flag("--say", metavar="TEXT", nargs="+", action="extend", help=say)
    where = "a word or a part of a sentence: list the lines that have it"
    flag("--where", metavar="TEXT", nargs="+", action="extend", help=where)
    flag("--swap", nargs=2, metavar=("OLD", "NEW"), help="write NEW instead of OLD everywhere")
    flag("--house-spelling", action="store_true", help="write every authored line in the main spellings")
    flag("--undo", action="store_true", help="take back the last --swap or --house-spelling")
    parser.add_argument("--rows", metavar="FILE", help="with --where: a dataset in which the lines are counted")
    parser.add_argument("--forms", action="store_true", help="with --swap: also the words of the same stem")
    parser.add_argument("--yes", action="store_true", help="write the changes without a question")
    args = parser.parse_args(_separated(sys.argv[1:] if argv is None else argv))
    args.say, args.where = (words and " ".join(words) for words in (args.say, args.where))  # the quotes may be missing
    for name, needed in (("rows", args.where is not None), ("forms", args.swap is not None)):
        if getattr(args, name) and not needed:
            parser.error(f"--{name} needs --{'where TEXT' if name == 'rows' else 'swap OLD NEW'}")
    return args


def _separated(argv: Sequence[str]) -> list[str]:
    """The command line with --say TEXT for --say=TEXT, and without -- before a text, so that more words may follow."""
    found: list[str] = []
    for given in argv:
        name, equals, text = given.partition("=")
        is_flag = len(name) > len("--s") and name.startswith("--") and "--say".startswith(name)
        is_flag = is_flag or (len(name) > len("--") and "--where".startswith(name))
        if is_flag and equals and not text.startswith("--"):
            found += [name, text]
        elif given != "--" or not found or found[-1] not in ("--say", "--where"):
            found.append(given)
    return found


def run(args: argparse.Namespace) -> int:
    """Do what the flags say, or check all the data; the exit status."""
    if args.undo:
        return _undo(yes=args.yes)
    if args.say is None and args.where is None and args.swap is None and not args.house_spelling:
        return _check(warnings=args.doubts)
    from doric.lint.files import read_files

    sources, findings = read_files()
    if findings:
        _show(findings)
        print("Fix these errors first: the data cannot be read.")
        return 1
    if args.say is not None:
        _show_words(_read_stdin() if args.say == "-" else args.say)
        return 0
    if args.where is not None:
        return _where(sources, args.where, args.rows)
    return _change(sources, args)


def _where(sources: "Sources", wanted: str, rows: str | None) -> int:
    from doric.lint.where import report

    lines, found = report(sources, wanted, rows)
    for line in lines:
        print(printable(line))
    return 0 if found else 1


def _change(sources: "Sources", args: argparse.Namespace) -> int:
    from doric.lint import edits, swap

    if args.house_spelling:
        change, command, nothing = swap.house_spelling(sources), "--house-spelling", "every line has the main spellings"
    else:
        change, command = swap.swap(sources, *args.swap, forms=args.forms), f"--swap {' '.join(args.swap)}"
        nothing = "no table and no line has the word"
    if not change.draft.files():
        print(f"Nothing to change: {nothing}.")
        return 0 if args.house_spelling else 1
    if not edits.agreed(command, change.draft.diff(), yes=args.yes, notes=change.remarks()):
        return 1
    edits.write(change.draft.files(), command)
    print("Written. Run this script again to check the data; --undo takes the change back.")
    return 0


def _undo(*, yes: bool) -> int:
    from doric.lint import edits

    if not edits.undo(lambda command, diff: edits.agreed(f"the opposite of {command}", diff, yes=yes)):
        return 1
    print("Taken back.")
    return 0


def _read_stdin() -> str:
    return sys.stdin.buffer.read().decode(errors="replace")


def _show_words(text: str) -> None:
    from doric.dialect.explain import explain
    from doric.dialect.spelling import to_house
    from doric.quality.gates import Answer, check_language

    answer = Answer.of(text)
    if not answer.words:
        print("There are no words in this text.")
        return
    for word, explanation in explain(text):
        print(printable(f"  {word}: {explanation}"))
    print("Other words count neither for nor against the text: they are in no list.")
    print(f"Scots: {answer.scores.substrate:.0%} of the words. North-East: {answer.scores.north_east:.0%}.")
    rejection = check_language(answer)
    passes = f"would be rejected: {rejection.reason}" if rejection else "would pass"
    print(printable(f"As an answer it {passes}."))
    house = to_house(text) if len(text) <= MAX_CHARACTERS else None
    if house and house.changes:
        print(printable(f"In the main spellings: {house.text.strip()}"))


def _check(*, warnings: bool) -> int:
    from doric.lint.check import check

    findings = check(TOPIC_LISTS)
    _show(finding for finding in findings if finding.is_error or warnings)
    errors = sum(finding.is_error for finding in findings)
    hint = "" if warnings else " (--doubts lists them)"
    print(f"{counted(errors, 'error')}, {counted(len(findings) - errors, 'warning')}{hint}.")
    return 1 if errors else 0


def _show(findings: Iterable["Finding"]) -> None:
    from doric.data import FOLDER

    for finding in findings:
        file = os.path.relpath(os.path.join(str(FOLDER), finding.file))
        place = f"{file}:{finding.line}" if finding.line else file
        text = f": {finding.text}" if finding.text else ""
        print(printable(f"{'error' if finding.is_error else 'warning'}: {place}{text}"))
        print(printable(f"    {finding.reason}"))


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
