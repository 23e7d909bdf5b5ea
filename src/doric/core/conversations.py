"""The two shapes of a row, the way from one to the other, and ids that stay the same from run to run.

    messages   {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}], "meta": {...}}
    ShareGPT   {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}], "meta": {...}}

Knows shapes only: neither files nor language. Other keys of a row are carried over as they are.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from doric.core.errors import InputError

type Row = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """The keys of a row and of its turns, and the roles there are."""

    turns: str
    role: str
    text: str
    roles: tuple[str, ...]


MESSAGES = Shape("messages", "role", "content", ("user", "assistant", "system"))
SHAREGPT = Shape("conversations", "from", "value", ("human", "gpt", "system"))
SHAREGPT_OF = dict(zip(MESSAGES.roles, SHAREGPT.roles, strict=True))
ROLE_OF = dict(zip(SHAREGPT.roles, MESSAGES.roles, strict=True))
_NO_META: dict[str, Any] = {}


def make_row(user: str, assistant: str, meta: dict[str, Any]) -> Row:
    """A row of exactly two turns."""
    turns = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return {"messages": turns, "meta": meta}


def stable_id(*parts: str | int) -> str:
    """16 hexadecimal digits that depend on the parts and their order, and on nothing else.

    >>> stable_id("a", "bc") == stable_id("ab", "c")
    False
    """
    told_apart = "".join(f"{len(str(part))}:{part}" for part in parts)
    return hashlib.blake2b(told_apart.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def check_row(row: object) -> None:
    """Raise `InputError`, naming the key that is wrong, unless `row` is an object of the messages shape."""
    _check(row, MESSAGES)


def to_sharegpt(row: Row, *, drop_meta: bool = False) -> Row:
    """The row as ShareGPT; `row` stays as it is. Raises `InputError` naming the key that is wrong."""
    check_row(row)
    return to_sharegpt_in_place({**row, "messages": [dict(turn) for turn in row["messages"]]}, drop_meta=drop_meta)


def from_sharegpt(row: Row) -> Row:
    """A ShareGPT row as messages; `row` stays as it is. Raises `InputError` naming the key that is wrong."""
    _check(row, SHAREGPT)
    turns = [{"role": ROLE_OF[turn["from"]], "content": turn["value"]} for turn in row["conversations"]]
    others = {key: value for key, value in row.items() if key not in ("conversations", "meta")}
    return {**others, "messages": turns, **({"meta": row["meta"]} if "meta" in row else {})}


def to_sharegpt_in_place(row: Row, *, drop_meta: bool = False) -> Row:
    """`to_sharegpt` in place, for millions of rows: `row` is used up.

    Raises `InputError` for a malformed row without naming the key: give a fresh copy to `check_row` for that.
    """
    # Renaming keys adds an eighth to reading and writing a row; new dictionaries would add a quarter.
    try:
        turns = row.pop("messages")
        meta = row.pop("meta", _NO_META)
        for turn in turns:
            role, text = turn.pop("role"), turn.pop("content")
            if turn or type(text) is not str:
                raise TypeError
            turn["from"], turn["value"] = SHAREGPT_OF[role], text
        if not turns or type(meta) is not dict or "conversations" in row:
            raise TypeError
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError("this is not a row of messages") from error
    row["conversations"] = turns
    if meta is not _NO_META and not drop_meta:
        row["meta"] = meta
    return row


def _check(row: object, shape: Shape) -> None:
    if not isinstance(row, dict):
        _refuse("a row", "an object", row)
    if shape.turns not in row:
        already = shape is MESSAGES and SHAREGPT.turns in row
        hint = "This is ShareGPT already." if already else f"It has: {_listed(row)}."
        raise InputError(f'the row has no key "{shape.turns}"', hint=hint)
    turns = row[shape.turns]
    if not isinstance(turns, list) or not turns:
        _refuse(shape.turns, "a list of at least one turn", turns)
    for index, turn in enumerate(turns):
        _check_turn(turn, f"{shape.turns}[{index}]", shape)
    if not isinstance(row.get("meta", {}), dict):
        _refuse("meta", "an object", row["meta"])
    if MESSAGES.turns in row and SHAREGPT.turns in row:
        raise InputError("the row has both shapes", hint=f"Keep one of {MESSAGES.turns!r} and {SHAREGPT.turns!r}.")


def _check_turn(turn: object, name: str, shape: Shape) -> None:
    if not isinstance(turn, dict):
        _refuse(name, "an object", turn)
    for key in (shape.role, shape.text):
        if key not in turn:
            raise InputError(f'{name} has no key "{key}"', hint=f"It has: {_listed(map(str, turn))}.")
    role, text = turn[shape.role], turn[shape.text]
    if not isinstance(role, str) or role not in shape.roles:
        _refuse(f"{name}.{shape.role}", f"one of {_listed(shape.roles)}", role)
    if not isinstance(text, str):
        _refuse(f"{name}.{shape.text}", "a string", text)
    if len(turn) > 2:
        other = next(key for key in turn if key not in (shape.role, shape.text))
        raise InputError(f'{name} has a key "{other}" that has no place here')


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(map(repr, keys)) or "nothing"


def _refuse(name: str, wanted: str, value: object) -> NoReturn:
    shown = repr(value)
    raise InputError(f"{name} must be {wanted}, not {shown if len(shown) <= 40 else shown[:37] + '...'}")
