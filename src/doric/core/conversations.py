"""The two formats of a row, the conversion between them, and ids that are the same in every run.

    messages   {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}], "meta": {...}}
    ShareGPT   {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}], "meta": {...}}

Other keys of a row are kept as they are. Standard library only, because the notebook imports it everywhere.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from doric.core.errors import InputError

type Row = dict[str, Any]


@dataclass(frozen=True)
class Format:
    """The keys of a row and of its turns, and the roles."""

    turns: str
    role: str
    text: str
    roles: tuple[str, ...]


MESSAGES = Format("messages", "role", "content", ("user", "assistant", "system"))
SHAREGPT = Format("conversations", "from", "value", ("human", "gpt", "system"))
SHAREGPT_OF = dict(zip(MESSAGES.roles, SHAREGPT.roles, strict=True))
ROLE_OF = dict(zip(SHAREGPT.roles, MESSAGES.roles, strict=True))
_NO_META: dict[str, Any] = {}


def make_row(user: str, assistant: str, meta: dict[str, Any]) -> Row:
    """A row of exactly two turns."""
    turns = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return {"messages": turns, "meta": meta}


def stable_id(*parts: str | int) -> str:
    """16 hexadecimal digits that depend only on the parts and their order.

    >>> stable_id("a", "bc") == stable_id("ab", "c")
    False
    """
    lengths_and_parts = "".join(f"{len(str(part))}:{part}" for part in parts)
    return hashlib.blake2b(lengths_and_parts.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def check_row(row: object) -> None:
    """Raise `InputError`, naming the wrong key, unless `row` is a row of messages."""
    _check(row, MESSAGES)


def to_sharegpt(row: Row, *, drop_meta: bool = False) -> Row:
    """A copy of the row as ShareGPT. Raises `InputError` naming the wrong key."""
    check_row(row)
    return to_sharegpt_in_place({**row, "messages": [dict(turn) for turn in row["messages"]]}, drop_meta=drop_meta)


def from_sharegpt(row: Row) -> Row:
    """A copy of a ShareGPT row as messages. Raises `InputError` naming the wrong key."""
    _check(row, SHAREGPT)
    turns = [{"role": ROLE_OF[turn["from"]], "content": turn["value"]} for turn in row["conversations"]]
    others = {key: value for key, value in row.items() if key not in ("conversations", "meta")}
    return {**others, "messages": turns, **({"meta": row["meta"]} if "meta" in row else {})}


def to_sharegpt_in_place(row: Row, *, drop_meta: bool = False) -> Row:
    """`to_sharegpt` for millions of rows: changes `row` itself and returns it.

    Raises `InputError` for a malformed row without naming the key, and leaves that row half converted: to name the
    key, read the row again and give it to `check_row`.
    """
    # renaming keys adds 12 % to the time of reading and writing a row; new dictionaries would add 25 %
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
        raise InputError("not a row of messages") from error
    row["conversations"] = turns
    if meta is not _NO_META and not drop_meta:
        row["meta"] = meta
    return row


def _check(row: object, format: Format) -> None:
    if not isinstance(row, dict):
        _refuse("a row", "an object", row)
    if format.turns not in row:
        already = format is MESSAGES and SHAREGPT.turns in row
        hint = "This is ShareGPT already." if already else f"It has: {_listed(row)}."
        raise InputError(f'the row has no key "{format.turns}"', hint=hint)
    turns = row[format.turns]
    if not isinstance(turns, list) or not turns:
        _refuse(format.turns, "a list of at least one turn", turns)
    for index, turn in enumerate(turns):
        _check_turn(turn, f"{format.turns}[{index}]", format)
    if not isinstance(row.get("meta", {}), dict):
        _refuse("meta", "an object", row["meta"])
    if MESSAGES.turns in row and SHAREGPT.turns in row:
        raise InputError("the row has both formats", hint=f"Keep one of {MESSAGES.turns!r} and {SHAREGPT.turns!r}.")


def _check_turn(turn: object, name: str, format: Format) -> None:
    if not isinstance(turn, dict):
        _refuse(name, "an object", turn)
    for key in (format.role, format.text):
        if key not in turn:
            raise InputError(f'{name} has no key "{key}"', hint=f"It has: {_listed(map(str, turn))}.")
    role, text = turn[format.role], turn[format.text]
    if not isinstance(role, str) or role not in format.roles:
        _refuse(f"{name}.{format.role}", f"one of {_listed(format.roles)}", role)
    if not isinstance(text, str):
        _refuse(f"{name}.{format.text}", "a string", text)
    if len(turn) > 2:
        other = next(key for key in turn if key not in (format.role, format.text))
        raise InputError(f'{name} has an unexpected key "{other}"')


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(map(repr, keys)) or "nothing"


def _refuse(name: str, wanted: str, value: object) -> NoReturn:
    shown = repr(value)
    raise InputError(f"{name} must be {wanted}, not {shown if len(shown) <= 40 else shown[:37] + '...'}")
