"""Judged answers: corrected ones become gold rows, chosen ones preferences, and wrong ones leave a dataset."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from doric.core.conversations import as_messages, make_row, stable_id
from doric.core.errors import InputError
from doric.core.files import check_writable, encode_json, parse_object, read_text
from doric.core.jsonl import located, read_jsonl
from doric.review.decisions import Decision
from doric.review.items import SEPARATOR

type Entry = dict[str, Any]


def judged(decisions: Iterable[Decision], key: Mapping[str, Any] | None) -> tuple[list[Decision], list[str]]:
    """The decisions on answers and pairs with their prompts, and notes about those whose prompt is not known."""
    found, notes = [], []
    for one in decisions:
        asked = (key or {}).get(one.item, {}).get("prompt", "")
        prompt = one.prompt or (({"role": "user", "content": asked},) if asked else ())
        if prompt:
            found.append(replace(one, prompt=prompt))
        elif one.kind == "pair" or one.changes:
            notes.append(f"Its question is not known, so it is not used (give --key): {one.shown[:80]!r}")
    return found, notes


def gold_rows(found: Sequence[Decision]) -> Iterator[Entry]:
    """The corrected answers as rows, with who corrected them."""
    for decision in found:
        if decision.kind == "row" and decision.wanted and decision.changes:
            *before, last = decision.prompt
            row = make_row(last["content"], decision.wanted, _meta(decision))
            yield {**row, "messages": [*map(dict, before), *row["messages"]]}


def preferences(found: Sequence[Decision]) -> Iterator[Entry]:
    """The pairs of which a reader chose one, and the corrected answers beside the old ones, for training."""
    for decision in found:
        if decision.kind == "pair" and SEPARATOR in decision.shown:
            first, second = decision.shown.split(SEPARATOR, 1)
            better, worse = (first, second) if decision.wanted == "first" else (second, first)
        elif decision.kind == "row" and decision.wanted and decision.changes:
            better, worse = decision.wanted, decision.shown
        else:
            continue
        meta = {**_meta(decision), "why": "review", "reason": f"{' and '.join(decision.by)} chose it"}
        turns = ({"role": "assistant", "content": text} for text in (better, worse))
        chosen, rejected = ([turn] for turn in turns)
        yield {"prompt": list(map(dict, decision.prompt)), "chosen": chosen, "rejected": rejected, "meta": meta}


def _meta(decision: Decision) -> Entry:
    id = stable_id("review", decision.item, decision.wanted, *(turn["content"] for turn in decision.prompt))
    return {"id": id, "kind": "core", "reviewed_by": list(decision.by), "region": decision.region, "source": "review"}


def added(path: Path, entries: Iterable[Entry]) -> tuple[str, int]:
    """The content of a file with the entries that it does not have yet at its end, and their number.

    It also has a row that the chat page has written there with the same turns.
    """
    check_writable(path)
    old = _content(path) if path.exists() else ""
    known = (
        {mark for _, entry in read_jsonl(path, convert=_checked) for mark in _marks(entry)} if old.strip() else set()
    )
    new = list({entry["meta"]["id"]: entry for entry in entries}.values())
    new = [entry for entry in new if not known & _marks(entry)]
    lines = "".join(encode_json(entry).decode() + "\n" for entry in new)
    return (old if old.endswith("\n") or not old else old + "\n") + lines, len(new)


def _content(path: Path) -> str:
    return read_text(path, regular=True).replace("\r\n", "\n")


def _checked(entry: Entry) -> Entry:
    """The entry, if its turns and its meta can be compared. Raises `InputError`."""
    turns, meta = entry.get("messages", []), entry.get("meta") or {}
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise InputError('"messages" is no list of turns', hint="Correct this line, or remove it.")
    if not isinstance(meta, dict):
        raise InputError('"meta" is no object', hint="Correct this line, or remove it.")
    return entry


def _marks(entry: Entry) -> set[str]:
    """By what an entry is known: its id, and the texts of its turns."""
    turns = [turn.get("content") for turn in entry.get("messages", ()) if turn.get("role") != "system"]
    id = (entry.get("meta") or {}).get("id")
    return {*([f"id {id}"] if id else ()), *([f"turns {turns}"] if turns else ())}


def without_wrong(path: Path, found: Sequence[Decision]) -> tuple[str, int]:
    """The content of a dataset without the rows whose answer readers call wrong, and the number of those."""
    wrong = {
        (decision.prompt[-1]["content"], decision.shown)
        for decision in found
        if decision.kind == "row" and not decision.wanted
    }
    kept, left = [], 0
    check_writable(path)
    for number, line in enumerate(_content(path).split("\n"), 1):
        if line.strip() and _turns(line, path, number) & wrong:
            left += 1
        else:
            kept.append(line)
    return "\n".join(kept), left


def _turns(line: str, path: Path, number: int) -> set[tuple[str, str]]:
    """Each question of a row with its answer."""
    try:
        turns = as_messages(parse_object(line.encode(), file=path, number=number))["messages"]
    except InputError as error:
        raise located(error, path, number) from error
    pairs = itertools.pairwise(turns)
    return {(one["content"], two["content"]) for one, two in pairs if two["role"] == "assistant"}
