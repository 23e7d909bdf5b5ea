"""Count how many rows of labelled files pass the language gates, and how many each gate rejects.

    uv run python benchmarks/gates.py tests/data/authored

The folder contains *.jsonl files with rows of {"text": ..., "label": ...}. If a file has several labels, the table has
a line for each label. --own adds the sentences that the embedded voice writes about its topics, one by one, by the gate
`not_north_east` only: single sentences are too short for the others.
"""

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from doric.core import cli
from doric.core.errors import InputError
from doric.core.jsonl import read_jsonl
from doric.dataset.phrases import authored_topics
from doric.quality.answer import Answer
from doric.quality.gates import check_language, not_north_east

SHAPE = 'Each line must be an object with the strings "text" and "label".'


@dataclass(slots=True)
class Count:
    """Rows checked, rows accepted, and rejections by gate."""

    rows: int = 0
    accepted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, gate: str | None) -> None:
        """Count one row. `gate` is the gate that rejected the row, or None."""
        self.rows += 1
        self.accepted += gate is None
        if gate:
            self.reasons[gate] += 1

    def as_json(self) -> dict[str, object]:
        """The object that --json prints for one file."""
        return {"rows": self.rows, "accepted": self.accepted, "reasons": dict(self.reasons.most_common())}

    def line(self, name: str) -> str:
        """One line of the table."""
        why = ", ".join(f"{gate} {times}" for gate, times in self.reasons.most_common())
        return f"{name:<44} {self.rows:>6} {self.accepted:>8} {self.accepted / self.rows:>7.1%}  {why}"


def files(folder: Path) -> list[Path]:
    """The *.jsonl files of a folder, sorted. Raises `InputError` when there are none."""
    if not folder.is_dir():
        what = "it is not a folder" if folder.exists() else "the folder does not exist"
        raise InputError(what, file=folder, hint="Name a folder of *.jsonl files.")
    found = sorted(path for path in folder.glob("*.jsonl") if path.is_file())
    if not found:
        raise InputError("there are no *.jsonl files in the folder", file=folder, hint=SHAPE)
    return found


def measure(path: Path) -> dict[str, Count]:
    """Label -> count, for one file; "" counts all rows. Raises `InputError` for a row without text or label."""
    counts = {"": Count()}
    for number, row in read_jsonl(path):
        for key in ("text", "label"):
            if not isinstance(row.get(key), str):
                raise InputError(f'no string under the key "{key}"', file=path, line=number, hint=SHAPE)
        rejection = check_language(row["text"])
        for label in ("", row["label"]):
            counts.setdefault(label, Count()).add(rejection.gate if rejection else None)
    return counts


def measure_own() -> dict[str, Count]:
    """The count of the sentences about the topics and of their themes, by the gate for North-East forms."""
    count = Count()
    for line in own_sentences():
        rejection = not_north_east(Answer.of(line))
        count.add(rejection.gate if rejection else None)
    return {"": count}


def own_sentences() -> list[str]:
    """The authored sentences about the topics and of their themes, each once."""
    topics = authored_topics().values()
    lines = [line for topic in topics for line in (*topic.answers, *topic.more, *itertools.chain(*topic.theme.parts))]
    return list(dict.fromkeys(lines))


def show(sets: dict[str, dict[str, Count]]) -> None:
    """Print the table: one line per file, and one per label when a file has several."""
    print(f"{'set':<44} {'rows':>6} {'accepted':>8} {'share':>7}  rejected by")
    for name, counts in sets.items():
        print(counts[""].line(name))
        labels = [label for label in counts if label]
        for label in labels if len(labels) > 1 else ():
            print(counts[label].line(f"    {label}"))


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="CORPORA_DIR", help="a folder of *.jsonl files")
    parser.add_argument("--own", action="store_true", help="also the project's own sentences, for North-East forms")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Check every row of every file and print the counts."""
    sets = {path.name: measure(path) for path in files(args.folder)}
    if args.own:
        sets["the project's own sentences"] = measure_own()
    if args.json:
        print(json.dumps({"sets": {name: counts[""].as_json() for name, counts in sets.items()}}, ensure_ascii=False))
    else:
        show(sets)
    return 0


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
