"""One dataset from the shards of a plan: ids stay unique, and answers nearly the same in two shards are left once.

The rows are merged in the order of the plan, with the index and the threshold of a run. Of two rows that are nearly the
same, the first in the plan stays. The other is written to the rejections, so a run that resumes the merged file asks
for that row again.
"""

import argparse
import logging
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from doric.core.conversations import Row
from doric.core.errors import InputError, PlanError, SettingsError
from doric.core.files import atomic_write, atomic_writer, encode_json, parse_object, refuse_in_use
from doric.core.jsonl import located, open_lines
from doric.core.regular_files import named_output
from doric.core.resume import PLAN, Plan, ResumableRun, then_and_now
from doric.dataset import generate
from doric.dataset.batch_state import refuse_open_batches
from doric.dataset.chats import FOLLOW_UPS
from doric.dataset.choice import source_of
from doric.dataset.history import History
from doric.dataset.plan import FIRST_TURNS
from doric.dataset.run import NOT_COMPARED
from doric.dataset.shards import SHARD, Shard, shard_of
from doric.dataset.sources import TopicSource
from doric.quality.gates import Rejection

log = logging.getLogger("doric")
REJECTED = ".rejected.jsonl"
FLAGS = "Give the flags that the shards were made with, without --shard."
REPAIR = "Fix or remove the line. If it is the last line of a run that was killed, run its shard again."


@dataclass(slots=True)
class Merged:
    """What a merge did: rows written and left out, and the rows of the plan that are open, which no shard has."""

    out: Path
    planned: int
    rows: int = 0
    dropped: list[int] = field(default_factory=list)

    @property
    def open(self) -> int:
        """The rows of the plan that the merged file lacks."""
        return self.planned - self.rows

    def summary(self, files: Sequence[Path]) -> str:
        """The result, for people."""
        lines = [f"{self.rows:,} of {self.planned:,} rows in {self.out}"]
        by_file = ", ".join(f"{path} {count:,}" for path, count in zip(files, self.dropped, strict=True) if count)
        if by_file:
            lines.append(
                f"  dropped:   {sum(self.dropped):,} near-duplicates ({by_file}; kept in {self.out}{REJECTED})"
            )
        if self.open:
            again = "run the same command without --merge and its files to fill them"
            lines.append(f"  open:      {self.open:,} rows of the plan; {again}")
        return "\n".join(lines)


@dataclass(slots=True)
class _Places:
    """Where each row is, as columns: its number in the plan, its file, its line, and the byte where it begins."""

    numbers: array = field(default_factory=lambda: array("q"))
    files: array = field(default_factory=lambda: array("H"))
    lines: array = field(default_factory=lambda: array("q"))
    starts: array = field(default_factory=lambda: array("q"))

    def add(self, number: int, file: int, line: int, start: int) -> None:
        for column, value in zip(
            (self.numbers, self.files, self.lines, self.starts), (number, file, line, start), strict=True
        ):
            column.append(value)

    def ordered(self) -> Iterator[tuple[int, int, int]]:
        """(file, line, start) of each row, in the order of the plan."""
        for at in sorted(range(len(self.numbers)), key=self.numbers.__getitem__):
            yield self.files[at], self.lines[at], self.starts[at]


def merge(args: argparse.Namespace) -> Merged:
    """Merge the shards `args.merge` to `args.out`. Raises `DoricError` if they are not the shards of one plan."""
    _check_flags(args)
    out, files = Path(named_output(args.out)), [Path(name) for name in args.merge]
    _check_out(out, files)
    source = source_of(args)
    assert isinstance(source, TopicSource)
    shards, stored = _read_plans(files, source)
    places = _Places()
    for at, (path, shard) in enumerate(zip(files, shards, strict=True)):
        _read_places(path, at, TopicSource(source.plan, shard=shard), places)
    merged = Merged(out, len(source), dropped=[0] * len(files))
    with atomic_writer(out) as rows, atomic_writer(f"{out}{REJECTED}") as rejections:
        _copy_rejections(files, rejections)
        _merge_rows(files, places, merged, rows, rejections)
        atomic_write(f"{out}{PLAN}", encode_json(stored) + b"\n")
    rejected = Path(f"{out}{REJECTED}")
    if not rejected.stat().st_size:
        rejected.unlink()
    return merged


def _check_flags(args: argparse.Namespace) -> None:
    others = {name: bool(getattr(args, name.replace("-", "_"))) for name in ("dry-run", "overwrite", "batch", "report")}
    for name, given in {"shard": not args.shard.whole, **others}.items():
        if given:
            raise SettingsError(f"--{name} cannot be given with --merge", hint="Leave it out.")


def _check_out(out: Path, files: Sequence[Path]) -> None:
    """Raise `DoricError` if a file of the merge exists. It may be a shard, or have rows that were paid for."""
    for path in (out, Path(f"{out}{REJECTED}"), Path(f"{out}{PLAN}")):
        if path.exists():
            shard = "it is a shard that is merged" if path.resolve() in [file.resolve() for file in files] else ""
            raise InputError(shard or "the file exists", file=path, hint="Choose another --out for the merged rows.")


def _read_plans(files: Sequence[Path], source: TopicSource) -> tuple[list[Shard], Plan]:
    """The shard of each file, and the plan that all of them belong to. Raises `PlanError` otherwise."""
    plans, backends = [], []
    for path in files:
        refuse_in_use(path)
        refuse_open_batches(path)
        plan = ResumableRun((path,)).stored()
        if plan is None:
            raise PlanError(f"{path} has no {path.name}{PLAN} beside it", hint="Copy each shard with its plan.")
        plans.append(plan)
        backends.append(plan.get("backend"))
    shards = [shard_of(plan.get(SHARD)) for plan in plans]
    _check_complete(files, shards)
    wanted = source.fingerprint() | {"backend": backends[0]}
    for path, plan in zip(files, plans, strict=True):
        if changed := _changed(plan, wanted):
            raise PlanError(f"{path} is a shard of another plan ({changed})", hint=FLAGS)
        if differing := [key for key in NOT_COMPARED if plan.get(key) != plans[0].get(key)]:
            log.warning("%s was made with other settings than %s: %s.", path, files[0], ", ".join(differing))
    return shards, {key: value for key, value in plans[0].items() if key != SHARD}


def _check_complete(files: Sequence[Path], shards: Sequence[Shard]) -> None:
    """Raise `PlanError` unless each shard is there once."""
    seen: dict[Shard, Path] = {}
    for path, shard in zip(files, shards, strict=True):
        if shard.whole:
            raise PlanError(f"{path} is no shard: it has the whole plan", hint="Give files made with --shard.")
        if shard.count != shards[0].count:
            raise PlanError(f"{files[0]} is shard {shards[0]} and {path} is shard {shard}", hint=FLAGS)
        if (other := seen.setdefault(shard, path)) is not path:
            raise PlanError(f"{other} and {path} are both shard {shard}", hint="Give each shard once.")
    every = (Shard(number, shards[0].count) for number in range(1, shards[0].count + 1))
    if missing := [str(shard) for shard in every if shard not in seen]:
        what = f"shard {missing[0]} is" if len(missing) == 1 else f"shards {', '.join(missing)} are"
        raise PlanError(f"{what} missing", hint="Give the files of all shards; a shard need not be finished.")


def _changed(stored: Plan, wanted: dict[str, Any]) -> str:
    keys = sorted((stored.keys() | wanted.keys()) - {SHARD, *NOT_COMPARED})
    differing = [key for key in keys if stored.get(key) != wanted.get(key)]
    settings = [key for key in differing if key not in ("topics", "prompts")]
    words = [then_and_now(key, stored.get(key), wanted.get(key)) for key in settings]
    return ", ".join(words or [f"other {key}" for key in differing])


def _read_places(path: Path, at: int, source: TopicSource, places: _Places) -> None:
    """Note where the rows of a shard are. Raises `InputError` for a line that is no row of it."""
    found = set[int]()
    for line, start, content in _lines(path):
        row = _row(content, path, line)
        if (number := _number(row, source)) is None:
            what = f"shard {source.shard} of the plan has no row with the id {row['meta'].get('id')}"
            raise InputError(what, file=path, line=line, hint=REPAIR)
        if number in found:
            raise InputError("an earlier line has the same row", file=path, line=line, hint=REPAIR)
        found.add(number)
        places.add(number, at, line, start)


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(number, first byte, content) of each line that is not blank."""
    with open_lines(path) as lines:
        start = lines.tell()
        for number, content in enumerate(lines, 1):
            if content.strip():
                yield number, start, content
            start += len(content)


def _row(content: bytes, path: Path, line: int) -> Row:
    """The row on a line, with the texts and the meta that a merge needs. Raises `InputError`."""
    try:
        row = parse_object(content)
        texts = [turn["content"] for turn in row["messages"]]
        names = [row["meta"][name] for name in ("id", "kind", "group", "topic")]
        if len(texts) >= FIRST_TURNS and all(isinstance(text, str) for text in (*texts, *names)):
            return row
    except InputError as error:
        raise InputError(error.message, file=path, line=line, hint=REPAIR) from error
    except (KeyError, TypeError, AttributeError):
        pass
    raise InputError("the generator did not write this row", file=path, line=line, hint=REPAIR)


def _number(row: Row, source: TopicSource) -> int | None:
    """The number of the job that a row of the shard fills; None if it fills none."""
    meta, prompt = row["meta"], row["messages"][0]["content"]
    found = {"kind": meta["kind"], "group": meta["group"], "topic": meta["topic"], "prompt": prompt}
    number = source.plan.number_of(meta["id"], **found)
    return number if number is not None and source.shard.has(source.plan.rank(number)) else None


def _copy_rejections(files: Sequence[Path], rejections: IO[bytes]) -> None:
    """Copy those of all shards: answers that a run must not ask for again."""
    for path in (Path(f"{file}{REJECTED}") for file in files):
        if not path.exists():
            continue
        for line, _, content in _lines(path):
            try:
                parse_object(content)
            except InputError as error:
                raise InputError(error.message, file=path, line=line, hint=REPAIR) from error
            rejections.write(content.rstrip(b"\r\n") + b"\n")


def _merge_rows(files: Sequence[Path], places: _Places, merged: Merged, rows: IO[bytes], rejections: IO[bytes]) -> None:
    """Write each row that is no near-duplicate of an earlier one, and a rejection for each other row."""
    history = History()
    with ExitStack() as stack:
        handles = [stack.enter_context(path.open("rb")) for path in files]
        for at, line, start in places.ordered():
            handles[at].seek(start)
            content = handles[at].readline()
            row = _row(content, files[at], line)
            if (rejection := _near_duplicate(row, history)) is not None:
                merged.dropped[at] += 1
                rejections.write(encode_json(rejection) + b"\n")
                continue
            try:
                history.replay_row(row)
            except InputError as error:
                raise located(error, files[at], line) from error
            rows.write(content.rstrip(b"\r\n") + b"\n")
            merged.rows += 1


def _near_duplicate(row: Row, history: History) -> dict[str, Any] | None:
    """The rejection of a row whose answer an earlier row has in nearly the same words; None if there is none."""
    for turn, answer in enumerate(row["messages"][1::2], FIRST_TURNS):
        if (match := history.accepted.nearest(answer["content"])) is not None:
            return _rejection(row, turn, generate.near_duplicate(match))
    return None


def _rejection(row: Row, turn: int, rejection: Rejection) -> dict[str, Any]:
    """The rejection as a run writes it. `turn` is that of the answer."""
    meta, messages = row["meta"], row["messages"]
    at = 2 * (turn - FIRST_TURNS)
    own = meta if turn == FIRST_TURNS else (meta.get(FOLLOW_UPS) or [{}] * turn)[turn - FIRST_TURNS - 1]
    later = {"turn": turn, "follow_up": messages[at]["content"]} if at else {}
    of = {key: meta[key] for key in ("id", "topic", "group", "kind", "ask") if key in meta} | {"lang": own.get("lang")}
    of |= {key: meta[key] for key in ("backend", "model") if meta.get(key)} | later
    tries, prompt, answer = own.get("tries"), messages[0]["content"], messages[at + 1]["content"]
    return generate.rejected_row(of, rejection, tries, prompt, answer)
