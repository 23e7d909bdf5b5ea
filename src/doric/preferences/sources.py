"""Reading what pairs are made of: the accepted rows, the rejected answers, and pairs that exist already."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from doric.core.conversations import as_messages, check_row, stable_id
from doric.core.errors import InputError
from doric.core.files import file_size, parse_object
from doric.core.jsonl import located, open_lines, read_jsonl
from doric.core.text import fold, has_text
from doric.preferences.pairs import Pair, margin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from doric.preferences.pairs import Turn

HINT_REJECTED = "Give a file OUT.rejected.jsonl of generate_doric_dataset.py."
HINT_PAIRS = 'A pair has "prompt", "chosen" and "rejected", each a list of turns or a string.'
KEPT_META = ("id", "topic", "group", "kind", "ask", "lang")


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """An answer that a gate refused. `asked` is the user's turn that it answers, `first` the first of the chat."""

    asked: str
    first: str
    answer: str
    gate: str
    reason: str
    judge: Mapping[str, int] | None


def read_rejected(path: Path) -> Iterator[Rejected]:
    """The rejected answers of a file of the generator; none if it is empty. Raises `InputError` with the line."""
    if path.is_file() and not file_size(path):  # of a run in which no answer was refused
        return
    yield from (rejected for _, rejected in read_jsonl(path, convert=_as_rejected))


def _as_rejected(entry: Mapping[str, Any]) -> Rejected:
    for key in ("prompt", "answer", "gate"):
        if not isinstance(entry.get(key), str):
            raise InputError(f'the key "{key}" is missing or no text', hint=HINT_REJECTED)
    judge = entry.get("judge")
    return Rejected(
        asked=str(entry.get("follow_up") or entry["prompt"]),
        first=entry["prompt"],
        answer=entry["answer"],
        gate=entry["gate"],
        reason=str(entry.get("reason") or entry["gate"]),
        judge=scores(judge),
    )


def scores(found: object) -> dict[str, int] | None:
    """The numbers of a judge's verdict; None if there are none."""
    if not isinstance(found, dict):
        return None
    return {name: value for name, value in found.items() if type(value) is int} or None


@dataclass
class AcceptedRows:
    """The rows of a dataset by their first prompt. Only their places in the file are held: about 150 bytes a row."""

    path: Path
    _places: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def index(cls, path: Path) -> AcceptedRows:
        """Read the whole file once. Raises `InputError` with the line of a row that cannot be trained."""
        found = cls(path)
        with open_lines(path) as lines:
            place = lines.tell()
            for number, line in enumerate(lines, 1):
                if line.strip():
                    row = _plain(line, path, number)
                    found._places.setdefault(_key(row["messages"]), (place, number))
                place += len(line)
        if not found._places:
            raise InputError("the file is empty", file=path, hint="Give a dataset of generate_doric_dataset.py.")
        return found

    def __len__(self) -> int:
        return len(self._places)

    def get(self, prompt: str) -> dict[str, Any] | None:
        """The first row with this prompt, as messages; None if there is none."""
        place = self._places.get(stable_id(fold(prompt)))
        if place is None:
            return None
        with open(self.path, "rb") as handle:
            handle.seek(place[0])
            return _plain(handle.readline(), self.path, place[1])


def _plain(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = as_messages(parse_object(line, file=path, number=number))
        check_row(row)
    except InputError as error:
        raise located(error, path, number) from error
    return row


def _key(messages: list[Turn]) -> str:
    return stable_id(fold(next(turn["content"] for turn in messages if turn["role"] == "user")))


def pair_of(rejected: Rejected, row: Mapping[str, Any]) -> Pair | None:
    """The rejected answer beside the row's answer to the same turn; None if the row has no such turn."""
    turns: list[Turn] = row["messages"]
    wanted = fold(rejected.asked)
    at = next((n for n, turn in enumerate(turns) if turn["role"] == "user" and fold(turn["content"]) == wanted), None)
    if at is None:
        return None
    chosen, meta = turns[at + 1]["content"], row.get("meta") or {}
    judged = _judged(meta, sum(turn["role"] == "user" for turn in turns[:at]))
    amount, measure = margin(chosen, rejected.answer, (judged, rejected.judge))
    return Pair(
        prompt=tuple(turns[: at + 1]),
        chosen=chosen,
        rejected=rejected.answer,
        why=rejected.gate,
        reason=rejected.reason,
        margin=amount,
        margin_of=measure,
        meta={key: meta[key] for key in KEPT_META if key in meta},
    )


def _judged(meta: Mapping[str, Any], before: int) -> dict[str, int] | None:
    """What the judge gave the answer after `before` earlier ones of the chat; None without a judge."""
    later = meta.get("follow_ups")
    found = meta if not before else later[before - 1] if isinstance(later, list) and len(later) >= before else {}
    return scores(found.get("judge")) if isinstance(found, dict) else None


def read_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of a file in TRL's format, such as those of a review. Raises `InputError` with the line."""
    return (pair for _, pair in read_jsonl(path, convert=_as_pair))


def _as_pair(entry: Mapping[str, Any]) -> Pair:
    prompt = tuple(_turns(entry.get("prompt"), "prompt", "user"))
    chosen, rejected = (_answer(entry, key, prompt) for key in ("chosen", "rejected"))
    given = entry.get("meta")
    meta = given if isinstance(given, dict) else {}
    known = isinstance(meta.get("margin"), int | float) and isinstance(meta.get("margin_of"), str)
    amount, measure = (meta["margin"], meta["margin_of"]) if known else margin(chosen, rejected, (None, None))
    why = str(meta.get("why") or "review")
    return Pair(
        prompt=prompt, chosen=chosen, rejected=rejected, why=why, reason=str(meta.get("reason") or why), margin=amount,
        margin_of=measure, meta=meta,
    )  # fmt: skip


def _answer(entry: Mapping[str, Any], key: str, prompt: tuple[Turn, ...]) -> str:
    """The answer of a pair. Some datasets repeat the prompt before it. Raises `InputError` for any other turns."""
    *before, last = _turns(entry.get(key), key, "assistant")
    if before and before != list(prompt):
        raise InputError(f'"{key}" has more than one turn, which are not those of "prompt"', hint=HINT_PAIRS)
    return last["content"]


def _turns(value: object, key: str, last: str) -> list[Turn]:
    """The turns of a part of a pair; a string is one turn of the role `last`. Raises `InputError`."""
    turns = [{"role": last, "content": value}] if isinstance(value, str) else value
    if not isinstance(turns, list) or not turns or not all(_is_turn(turn) for turn in turns):
        raise InputError(f'"{key}" is no list of turns and no text', hint=HINT_PAIRS)
    if turns[-1]["role"] != last:
        raise InputError(f'"{key}" does not end with a turn of the {last}', hint=HINT_PAIRS)
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def _is_turn(turn: object) -> bool:
    return (
        isinstance(turn, dict)
        and turn.get("role") in ("system", "user", "assistant")
        and isinstance(turn.get("content"), str)
        and has_text(turn["content"])
    )
