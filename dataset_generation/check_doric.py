"""Check the language data after a correction: each line that is wrong, or looks so, with its file and the reason.

    uv run python dataset_generation/check_doric.py --doubts

Without --doubts it shows only what must be mended. With --say it shows instead how a sentence of your own is read:
which words count as what, and whether it would pass.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from doric.dialect.lint import Note


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--say", metavar="TEXT", help="a sentence or an answer to be read")
    parser.add_argument("--doubts", action="store_true", help="also lines that only look wrong to the lexicon")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Read a sentence, or all the data; 1 when something must be mended."""
    return _reading(args.say) if args.say is not None else _proofs(doubts=args.doubts)


def _reading(text: str) -> int:
    from doric.dialect import lint as slips
    from doric.dialect import scores as lexicon
    from doric.dialect.highlight import marked
    from doric.quality import gates

    if notes := list(slips.slips()):
        _show(notes)
        print("Nothing can be read until these are mended.")
        return 1
    for piece in marked(text):
        if piece.kind:
            print(f"  {piece.text:14} {piece.gloss}")
    measured = lexicon.profile(text)
    print(f"Scots {measured.substrate:.0%} of the words, North-East {measured.north_east:.0%}.")
    rejection = gates.language(text)
    print(f"As an answer it would be refused: {rejection.reason}." if rejection else "As an answer it would pass.")
    return 0


def _proofs(*, doubts: bool) -> int:
    from doric.dialect import proofs

    notes = list(proofs.notes())
    _show(note for note in notes if note.fault or doubts)
    wrong = sum(note.fault for note in notes)
    more = "" if doubts else " (--doubts shows them)"
    print(
        f"{wrong} {'line' if wrong == 1 else 'lines'} to mend, {len(notes) - wrong} that a speaker may look at{more}."
    )
    return 1 if wrong else 0


def _show(notes: Iterable["Note"]) -> None:
    for note in notes:
        print(f"{'WRONG' if note.fault else 'doubt'}  data/{note.file}, line {note.line}: {note.text}")
        print(f"       {note.why}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script: 0 nothing to mend, 1 something is, 130 interrupted."""
    args = parse_args(argv)
    from doric.core.files import discard_stdout

    try:
        status = run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever reads has seen enough, as `head` has
        discard_stdout()
        return 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
