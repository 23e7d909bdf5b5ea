"""The two formats of a row, the conversion between them, and ids that are the same in every run.

    messages   {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}], "meta": {...}}
    ShareGPT   {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}], "meta": {...}}

Other keys of a row are kept as they are. This module needs only the standard library, because the notebook imports it
on machines where other packages are missing.
"""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, Self, cast

from doric.core.errors import InputError, os_error
from doric.core.files import atomic_writer, encode_json, parse_json, parse_object

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
    """A faster `to_sharegpt` for millions of rows: it changes `row` itself and returns it.

    Raises `InputError` for a malformed row, but does not name the key, and the row may be half converted. To find the
    key, read the row again and pass it to `check_row`.
    """
    # renaming keys adds 12% to the time for reading and writing a row; new dictionaries would add 25%
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


# --- converting files -------------------------------------------------------------------------------------------------

BATCH = 8192
"""Bytes of lines converted at a time. With many more, the allocator would get and free memory for each batch."""


@dataclass
class ShareGptConversion:
    """Converts lines of messages to lines of ShareGPT, and counts the rows that it drops.

    `held_out` returns the id of the evaluation prompt that a row matches, or "". `reject` gets the number of a
    malformed line, the line and what is wrong with it. Without `reject`, such a line raises `InputError`.
    """

    drop_meta: bool = False
    held_out: Callable[[Row], str] | None = None
    reject: Callable[[int, bytes, str], object] | None = None
    rows: int = 0
    partial: int = 0
    """Rows dropped because an answer in them was stopped or cut off (meta.partial)."""
    malformed: int = 0
    held: Counter[str] = field(default_factory=Counter)
    """Rows dropped because of an evaluation prompt, by its id."""

    def batches(self, lines: IO[bytes], file: str) -> Iterator[bytes]:
        """The converted rows, in batches of some lines. Raises `InputError` with `file`, line and key."""
        first = 1
        while batch := lines.readlines(BATCH):
            rows = self._fast(batch)
            if rows is None:
                rows = list(self._one_by_one(batch, first, file))
            if rows:
                self.rows += len(rows)
                yield b"\n".join(rows) + b"\n"
            first += len(batch)

    def check_not_empty(self, file: str) -> None:
        """Raise `InputError` with the reason when no row was converted."""
        if self.rows:
            return
        what, hint = "the file is empty", 'Each line must be an object with a list "messages".'
        if self.held:
            what, hint = "every chat in it matches an evaluation prompt", "Train on other prompts."
        elif self.partial:
            what, hint = "every chat in it has an incomplete answer", "Ask again with /retry in the chat."
        elif self.malformed:
            what = f"none of {self.malformed:,} rows has messages"
        raise InputError(what, file=file, hint=hint)

    def dropped(self) -> list[str]:
        """How many rows were dropped, one phrase per reason, with up to five ids of evaluation prompts."""
        found = []
        if self.partial:
            found.append(f"{self.partial:,} dropped because an answer is incomplete (meta.partial)")
        if self.held:
            ids = ", ".join(list(self.held)[:5]) + (", ..." if len(self.held) > 5 else "")
            found.append(f"{self.held.total():,} dropped because they match an evaluation prompt ({ids})")
        return found

    def _fast(self, batch: list[bytes]) -> list[bytes] | None:
        """The rows of a batch; None if a line is blank or malformed, or a row is to be dropped."""
        try:
            rows = [cast(Row, parse_json(line)) for line in batch]
            if any(row.get("meta", _NO_META).get("partial") for row in rows):
                return None
            if self.held_out and any(map(self.held_out, rows)):
                return None
            return [encode_json(to_sharegpt_in_place(row, drop_meta=self.drop_meta)) for row in rows]
        except (InputError, AttributeError, KeyError, TypeError, ValueError, RecursionError):
            return None

    def _one_by_one(self, batch: list[bytes], first: int, file: str) -> Iterator[bytes]:
        for number, line in enumerate(batch, first):
            if not line.strip():
                continue
            try:
                row = parse_object(line)
                converted = encode_json(to_sharegpt(row, drop_meta=self.drop_meta))
            except InputError as error:
                self._malformed(error, file, number, line)
            else:
                if self._belongs(row):
                    yield converted

    def _belongs(self, row: Row) -> bool:
        """Whether a well-formed row is written to the output. Rows that are dropped are counted."""
        if row.get("meta", _NO_META).get("partial"):
            self.partial += 1
            return False
        if found := self.held_out(row) if self.held_out else "":
            self.held[found] += 1
        return not found

    def _malformed(self, error: InputError, file: str, number: int, line: bytes) -> None:
        if self.reject is None:
            hint = error.hint or "--skip-bad puts such rows into a separate file and goes on."
            raise InputError(error.message, file=file, line=number, hint=hint) from error
        self.malformed += 1
        self.reject(number, line, error.message)


class RejectedLines:
    """Malformed lines, written to a separate file.

    Use it as a context manager: the file appears when the block succeeds. If there are no malformed lines, no file is
    written, and the file of an earlier run is deleted.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self._stack = contextlib.ExitStack()

    def add(self, number: int, line: bytes, reason: str) -> None:
        """Keep one line with its number and what is wrong with it."""
        text = line.decode(errors="replace").rstrip("\r\n")
        try:
            if self.count == 0:
                self._out = self._stack.enter_context(atomic_writer(self.path))
            self._out.write(encode_json({"line": number, "reason": reason, "text": text}) + b"\n")
        except OSError as error:
            raise os_error(error, self.path, "written") from error
        self.count += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if kind is None and self.count == 0:
            self.path.unlink(missing_ok=True)
