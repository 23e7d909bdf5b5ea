"""The two formats of a row, the conversion between them, and ids that are the same in every run.

    messages   {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}], "meta": {...}}
    ShareGPT   {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}], "meta": {...}}

Other keys of a row are kept as they are. This module needs only the standard library, because the notebook imports it
on machines where other packages are missing.
"""

import contextlib
import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, Self

from doric.core.characters import find_flaw, tidy
from doric.core.errors import InputError, os_error
from doric.core.files import atomic_writer, encode_json, parse_json, parse_object
from doric.core.markers import split_reasoning
from doric.core.text import has_text

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
ROLE_OF = dict(zip(SHAREGPT.roles, MESSAGES.roles, strict=True)) | {"developer": "system"}
"""Role in a file -> role of a plain row. OpenAI renamed `system` to `developer`."""
TEXT_PARTS = ("text", "input_text", "output_text")
REASONING_PARTS = ("thinking", "reasoning", "redacted_thinking", "reasoning_text")
"""Types of the parts of a message that are not its text."""
REASONING_KEYS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
RULE = "the turns must alternate user, assistant, … and end with an answer"
_NO_META: dict[str, Any] = {}


def make_row(user: str, assistant: str, meta: dict[str, Any], *later: tuple[str, str]) -> Row:
    """A row of a user turn and its answer, and of the `later` pairs of user turn and answer."""
    turns = [
        {"role": role, "content": text}
        for pair in ((user, assistant), *later)
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    return {"messages": turns, "meta": meta}


def stable_id(*parts: str | int) -> str:
    """16 hexadecimal digits that depend only on the parts and their order.

    >>> stable_id("a", "bc") == stable_id("ab", "c")
    False
    """
    lengths_and_parts = "".join(f"{len(str(part))}:{part}" for part in parts)
    return hashlib.blake2b(lengths_and_parts.encode(errors="surrogatepass"), digest_size=8).hexdigest()


# --- reading a row --------------------------------------------------------------------------------------------------


def as_messages(row: object, *, reasoned: Callable[[], object] = lambda: None) -> Row:
    """A plain copy of a row in either format: `messages` of exactly a role and a content, which is a string.

    Keys that are null count as absent, parts of text are joined, and an answer loses its reasoning; `reasoned` is
    called for each such answer. Raises `InputError` with the name of the wrong key. Use `check_row` to check the order
    of the turns.
    """
    if not isinstance(row, dict):
        _refuse("a row", "an object", row)
    given = {key: value for key, value in row.items() if value is not None or key not in ("meta", *_FORMATS)}
    found = [format for format in _FORMATS.values() if format.turns in given]
    if not found:
        raise InputError('the row has no key "messages"', hint=f"It has: {_listed(given)}.")
    if len(found) > 1:
        raise InputError("the row has both formats", hint=f"Keep one of {MESSAGES.turns!r} and {SHAREGPT.turns!r}.")
    turns = given.pop(found[0].turns)
    if not isinstance(turns, list) or not turns:
        _refuse(found[0].turns, "a list of at least one turn", turns)
    if not isinstance(given.get("meta", {}), dict):
        _refuse("meta", "an object", given["meta"])
    meta = {"meta": given.pop("meta")} if "meta" in given else {}
    plain = [_plain_turn(turn, f"{found[0].turns}[{at}]", found[0], reasoned) for at, turn in enumerate(turns)]
    return {**given, "messages": plain, **meta}


def check_row(row: Row) -> None:
    """Raise `InputError` unless a model can be trained on a plain row; the notebook trains on no other rows.

    Turns alternate, the first is a question, the last is an answer, none is empty, and none contains marks of a chat
    template or damaged characters. System prompts may be anywhere except at the end.
    """
    for number, turn in enumerate(row["messages"], 1):
        if not has_text(turn["content"]):
            raise InputError(f"turn {number}, of the {turn['role']}, is empty; {RULE}")
        if flaw := find_flaw(turn["content"]):
            raise InputError(f"turn {number} cannot be trained: {flaw}", hint="Correct the text, or remove the row.")
    if wrong := _wrong_order([(number, turn["role"]) for number, turn in enumerate(row["messages"], 1)]):
        raise InputError(f"{wrong}; {RULE}")


def to_sharegpt(row: Row, *, drop_meta: bool = False) -> Row:
    """A copy of a plain row as ShareGPT."""
    turns = [dict(turn) for turn in row["messages"]]
    return to_sharegpt_in_place({**row, "messages": turns}, drop_meta=drop_meta)


def to_sharegpt_in_place(row: Row, *, drop_meta: bool = False) -> Row:
    """A faster `to_sharegpt` for millions of rows: it changes `row` itself and returns it."""
    # renaming keys adds 12% to the time for reading and writing a row; new dictionaries would add 25%
    turns = row.pop("messages")
    meta = row.pop("meta", _NO_META)
    for turn in turns:
        turn["from"], turn["value"] = SHAREGPT_OF[turn.pop("role")], turn.pop("content")
    row["conversations"] = turns
    if meta is not _NO_META and not drop_meta:
        row["meta"] = meta
    return row


def is_plain(row: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether `as_messages` would not change the row, and `check_row` would accept it. Never raises.

    It is a fast test that is True for nearly all rows of this program. False proves nothing.
    """
    try:
        turns: list[Any] = row["messages"]
        meta = row.get("meta", _NO_META)
        if type(turns) is not list or type(meta) is not dict or len(turns) % 2 or "conversations" in row:
            return False
        for turn, role in zip(turns, ("user", "assistant") * (len(turns) // 2), strict=True):
            text = turn["content"]
            if turn["role"] != role or len(turn) != 2 or not has_text(text) or tidy(text) != text or find_flaw(text):
                return False
        return bool(turns)
    except (KeyError, TypeError, AttributeError):
        return False


_FORMATS: Mapping[str, Format] = {format.turns: format for format in (MESSAGES, SHAREGPT)}


def _plain_turn(turn: object, name: str, format: Format, reasoned: Callable[[], object]) -> dict[str, str]:
    if not isinstance(turn, dict):
        _refuse(name, "an object", turn)
    for key in (format.role, format.text):
        if key not in turn:
            raise InputError(f'{name} has no key "{key}"', hint=f"It has: {_listed(map(str, turn))}.")
    role = turn[format.role]
    accepted = format.roles if format is SHAREGPT else (*format.roles, "developer")
    if not isinstance(role, str) or role not in accepted:
        _refuse(f"{name}.{format.role}", f"one of {_listed(format.roles)}", role)
    thoughts = _check_other_keys(turn, name, format)
    text, thought = _joined(turn[format.text], f"{name}.{format.text}")
    role = ROLE_OF.get(role, role)
    if role == "assistant" and (split := split_reasoning(text)).reasoning:
        text, thought = split.answer, True
    if thoughts or thought:
        reasoned()

    return {"role": role, "content": tidy(text)}


def _check_other_keys(turn: dict[str, Any], name: str, format: Format) -> bool:
    """Whether a key other than role and text holds reasoning. Raises `InputError` for a key that would be lost."""
    thoughts = False
    for key, value in turn.items():
        if key in (format.role, format.text) or value in (None, "", [], {}) or (key == "weight" and value == 1):
            continue  # `weight: 1` is the default: this turn is trained
        if key not in REASONING_KEYS:
            raise InputError(f'{name} has an unexpected key "{key}"', hint=UNEXPECTED.get(key, ""))
        thoughts = True
    return thoughts


UNEXPECTED = {
    "tool_calls": "Calls of tools cannot be converted: remove the row.",
    "function_call": "Calls of functions cannot be converted: remove the row.",
    "weight": "ShareGPT cannot say that an answer is not trained: remove the row or the weight.",
}


def _joined(content: object, name: str) -> tuple[str, bool]:
    """The text of a string or of a list of parts, and whether a part was reasoning. Raises `InputError`."""
    if isinstance(content, str):
        return content, False
    if not isinstance(content, list):
        _refuse(name, "a string", content)
    texts, thoughts = [], False
    for at, part in enumerate(content):
        match part:
            case str():
                texts.append(part)
            case {"type": str(kind)} if kind in REASONING_PARTS:
                thoughts = True
            case {"type": str(kind), "text": str(text)} if kind in TEXT_PARTS:
                texts.append(text)
            case _:
                _refuse(f"{name}[{at}]", "a part with text", part)
    return "".join(texts), thoughts


def _wrong_order(turns: list[tuple[int, str]]) -> str:
    """What is wrong with the order of the turns, each with its number and role; "" if nothing is."""
    expected, last = "user", 0
    for number, role in turns:
        if role == "system":
            continue
        if role != expected:
            return f"turns {last} and {number} are both the {role}'s" if last else f"the first turn is the {role}'s"
        expected, last = "assistant" if role == "user" else "user", number
    if not last:
        return "there is only a system prompt"
    if turns[-1][1] == "system":
        return "the last turn is the system's"
    return "the last turn is the user's" if expected == "assistant" else ""


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(map(repr, keys)) or "nothing"


def _refuse(name: str, wanted: str, value: object) -> NoReturn:
    shown = "null" if value is None else repr(value)
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
    reasoned: int = 0
    """Answers whose reasoning was left out."""
    partial: int = 0
    """Rows dropped because an answer in them was stopped or cut off (meta.partial)."""
    malformed: int = 0
    first_fault: str = ""
    """What is wrong with the first malformed line."""
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
            what = f"none of {self.malformed:,} rows can be converted ({self.first_fault})"
        raise InputError(what, file=file, hint=hint)

    def left_out(self) -> list[str]:
        """What was left out, one phrase per reason, with up to five ids of evaluation prompts."""
        found = []
        if self.reasoned:
            found.append(f"answers with reasoning, which was left out: {self.reasoned:,}")
        if self.partial:
            found.append(f"{self.partial:,} dropped because an answer is incomplete (meta.partial)")
        if self.held:
            ids = ", ".join(list(self.held)[:5]) + (", ..." if len(self.held) > 5 else "")
            found.append(f"{self.held.total():,} dropped because they match an evaluation prompt ({ids})")
        return found

    def _fast(self, batch: list[bytes]) -> list[bytes] | None:
        """The rows of a batch; None if a line is not exactly as this program writes it, or a row is to be dropped."""
        try:
            rows = [self._fast_row(line) for line in batch]
            return [encode_json(to_sharegpt_in_place(row, drop_meta=self.drop_meta)) for row in rows]
        except (InputError, ValueError, RecursionError):
            return None

    def _fast_row(self, line: bytes) -> Row:
        row: Any = parse_json(line)
        if not is_plain(row) or row.get("meta", _NO_META).get("partial") or (self.held_out and self.held_out(row)):
            raise ValueError
        if encode_json(row) != line.rstrip():  # something may be lost
            raise ValueError
        return row

    def _one_by_one(self, batch: list[bytes], first: int, file: str) -> Iterator[bytes]:
        for number, line in enumerate(batch, first):
            if not line.strip():
                continue
            thoughts: list[None] = []
            try:
                row = as_messages(parse_object(line), reasoned=functools.partial(thoughts.append, None))
                check_row(row)
                converted = encode_json(to_sharegpt(row, drop_meta=self.drop_meta))
            except InputError as error:
                self._malformed(error, file, number, line)
            else:
                if self._belongs(row):
                    self.reasoned += len(thoughts)
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
        self.first_fault = self.first_fault or f"line {number}: {error.message}"
        self.reject(number, line, error.message)


class MalformedLines:
    """Malformed lines, written to a separate file.

    The generator's `<out>.rejected.jsonl` is another file: it holds answers that were paid for.

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
