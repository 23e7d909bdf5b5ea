"""Check the language data after a correction: list each wrong or doubtful line, with file, line and reason.

    uv run python dataset_generation/check_doric.py --doubts

Without --doubts, only errors are listed; they must be fixed. With --say, it explains how your own sentence is read,
word by word, and whether the quality gates would accept it; --say - reads the text from standard input.

Exit status: 0 no errors, 1 errors in the data, 2 a wrong flag, 130 stopped by Ctrl-C.
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
    from doric.core.text import printable
except ModuleNotFoundError as error:
    uv = f"uv run --project {Path(__file__).parents[1]} python {sys.argv[0]}"
    message = f"the package {error.name} is not installed. Run this script with uv: {uv}"
    argparse.ArgumentParser(usage=argparse.SUPPRESS).error(message)

if TYPE_CHECKING:
    from doric.lint.source import Finding

ROOT = Path(__file__).resolve().parents[1]
TOPIC_LISTS = (ROOT / "topics.json", ROOT / "topics.txt")
"""The lists of topics that the language data must cover."""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--say", metavar="TEXT", help="a sentence or an answer to explain; - reads it from stdin")
    parser.add_argument("--doubts", action="store_true", help="also list warnings: lines that may be right")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Explain a sentence, or check all the data. Returns 1 if there are errors in the data."""
    return _check(warnings=args.doubts) if args.say is None else _explain(args.say)


def _explain(text: str) -> int:
    from doric.lint.check import read_files

    if findings := read_files()[1]:
        _show(findings)
        print("Fix these errors first: the data cannot be read.")
        return 1
    _show_words(_read_stdin() if text == "-" else text)
    return 0


def _read_stdin() -> str:
    return sys.stdin.buffer.read().decode(errors="replace")


def _show_words(text: str) -> None:
    from doric.dialect.explain import explain
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


def _check(*, warnings: bool) -> int:
    from doric.lint.check import check

    findings = check(TOPIC_LISTS)
    _show(finding for finding in findings if finding.is_error or warnings)
    errors = sum(finding.is_error for finding in findings)
    hint = "" if warnings else " (--doubts lists them)"
    print(f"{_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}{hint}.")
    return 1 if errors else 0


def _show(findings: Iterable["Finding"]) -> None:
    from doric.data import FOLDER

    for finding in findings:
        file = os.path.relpath(os.path.join(str(FOLDER), finding.file))
        place = f"{file}:{finding.line}" if finding.line else file
        text = f": {finding.text}" if finding.text else ""
        print(printable(f"{'error' if finding.is_error else 'warning'}: {place}{text}"))
        print(printable(f"    {finding.reason}"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
