"""How many rows of each labelled set the language gates accept, and why the rest fall.

    uv run python benchmarks/gates.py tests/data/authored

The folder holds *.jsonl files of {"text": ..., "label": ...} rows. A file with several labels gets a line for each.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from doric.core.errors import DoricError, InputError
from doric.core.jsonl import read_jsonl
from doric.quality import gates

SHAPE = 'Each line must be an object with the strings "text" and "label".'


@dataclass(slots=True)
class Count:
    """Rows judged, rows accepted, and refusals by gate."""

    rows: int = 0
    accepted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def take(self, gate: str | None) -> None:
        """Count one row: the gate that refused it, or None."""
        self.rows += 1
        self.accepted += gate is None
        if gate:
            self.reasons[gate] += 1

    def as_json(self) -> dict[str, object]:
        """The shape that --json prints."""
        return {"rows": self.rows, "accepted": self.accepted, "reasons": dict(self.reasons.most_common())}

    def line(self, name: str) -> str:
        """One line of the table."""
        why = ", ".join(f"{gate} {times}" for gate, times in self.reasons.most_common())
        return f"{name:<44} {self.rows:>6} {self.accepted:>8} {self.accepted / self.rows:>7.1%}  {why}"


def files(folder: Path) -> list[Path]:
    """The sets of a folder, by name. Raises `InputError` when there is none."""
    if not folder.is_dir():
        what = "it is not a directory" if folder.exists() else "there is no such folder"
        raise InputError(what, file=folder, hint="Name a folder of *.jsonl files.")
    found = sorted(path for path in folder.glob("*.jsonl") if path.is_file())
    if not found:
        raise InputError("there is no *.jsonl file in it", file=folder, hint=SHAPE)
    return found


def measure(path: Path) -> dict[str, Count]:
    """Label -> its count, for one file; "" counts all rows. Raises `InputError` for a row without text or label."""
    counts = {"": Count()}
    for number, row in read_jsonl(path):
        for key in ("text", "label"):
            if not isinstance(row.get(key), str):
                raise InputError(f'no string under the key "{key}"', file=path, line=number, hint=SHAPE)
        refused = gates.check_language(row["text"])
        for label in ("", row["label"]):
            counts.setdefault(label, Count()).take(refused.gate if refused else None)
    return counts


def show(sets: dict[str, dict[str, Count]]) -> None:
    """Print the table: a line a file, and a line a label where a file has several."""
    print(f"{'set':<44} {'rows':>6} {'accepted':>8} {'share':>7}  why the rest fall")
    for name, counts in sets.items():
        print(counts[""].line(name))
        labels = [label for label in counts if label]
        for label in labels if len(labels) > 1 else ():
            print(counts[label].line(f"    {label}"))


def main(argv: Sequence[str] | None = None) -> int:
    """Judge every row of every set; 0 done, 2 something to mend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CORPORA_DIR", help="a folder of *.jsonl sets")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    args = parser.parse_args(argv)
    try:
        sets = {path.name: measure(path) for path in files(args.folder)}
    except DoricError as error:
        print(f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else []), sep="\n", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({"sets": {name: counts[""].as_json() for name, counts in sets.items()}}, ensure_ascii=False))
    else:
        show(sets)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
