"""Check the language data after a correction: list each wrong or doubtful line, with file, line and reason.

    uv run python dataset_generation/check_doric.py --doubts

Without --doubts, only errors are listed; they must be fixed. With --say, it shows how your own sentence is scored:
which words count as Doric, and whether the quality gates would accept it.

Exit status: 0 no errors, 1 errors in the data, 2 a wrong flag, 130 stopped by Ctrl-C.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

try:
    from doric.core import cli
except ModuleNotFoundError as error:
    uv = f"uv run --project {Path(__file__).parents[1]} python {sys.argv[0]}"
    message = f"the package {error.name} is not installed. Run this script with uv: {uv}"
    argparse.ArgumentParser(usage=argparse.SUPPRESS).error(message)

if TYPE_CHECKING:
    from doric.dialect.lint import Finding


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--say", metavar="TEXT", help="a sentence or an answer to score")
    parser.add_argument("--doubts", action="store_true", help="also list warnings: lines that may be right")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Score a sentence, or check all the data. Returns 1 if there are errors in the data."""
    return _score(args.say) if args.say is not None else _check(warnings=args.doubts)


def _score(text: str) -> int:
    from doric.dialect import lint
    from doric.dialect.highlight import highlight
    from doric.dialect.scores import score
    from doric.quality.gates import check_language

    if findings := list(lint.lint_files()):
        _show(findings)
        print("Fix these errors first: the data cannot be read.")
        return 1
    for span in highlight(text):
        if span.kind:
            print(f"  {span.text:14} {span.gloss}")
    scores = score(text)
    print(f"Scots: {scores.substrate:.0%} of the words. North-East: {scores.north_east:.0%}.")
    rejection = check_language(text)
    print(f"As an answer it would be rejected: {rejection.reason}." if rejection else "As an answer it would pass.")
    return 0


def _check(*, warnings: bool) -> int:
    from doric.dialect import lint

    findings = list(lint.lint())
    _show(finding for finding in findings if finding.is_error or warnings)
    errors = sum(finding.is_error for finding in findings)
    hint = "" if warnings else " (--doubts lists them)"
    print(f"{_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}{hint}.")
    return 1 if errors else 0


def _show(findings: Iterable["Finding"]) -> None:
    from doric.data import FOLDER

    folder = os.path.relpath(str(FOLDER))
    for finding in findings:
        print(f"{'error' if finding.is_error else 'warning'}: {folder}/{finding.file}:{finding.line}: {finding.text}")
        print(f"    {finding.reason}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
