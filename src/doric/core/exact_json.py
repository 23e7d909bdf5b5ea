"""JSON read exactly: whatever would be lost or changed when it is written again is an error that names its place."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from doric.core.errors import InputError
from doric.core.formats import HEAD, refuse_foreign_format

ONE_OBJECT = "Each line must hold one JSON object."
ONE_ARRAY = "This is one JSON array, not JSON Lines. Write one object per line: jq -c '.[]' FILE"
SEVERAL_LINES = f"{ONE_OBJECT} If this one goes on in the next line, write it on one line: jq -c . FILE"
TRAILING_COMMA = f"{ONE_OBJECT} Remove the comma at the end of the line."
TWO_OBJECTS = f"{ONE_OBJECT} Put the second one on its own line."
PYTHON = "This looks like Python, not JSON. Write it with json.dumps()."
FIX = "Correct it in the file, because the whole file is written again."
FIX_LINE = "Correct this line, or remove it."
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[-+.\w]+')
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


@dataclass(frozen=True)
class _Fault(Exception):
    """What is wrong, and the index of the first wrong character, None if it is not known."""

    what: str
    at: int | None = None
    hint: str = ""


def load_document(text: str, file: Path | str, *, hint: str) -> Any:  # noqa: ANN401 - any JSON
    """The value of a JSON document that people edit.

    Raises `InputError` for text that is not JSON (with `hint`), duplicate keys, numbers that are too large and too deep
    nesting.
    """
    try:
        return _load(text)
    except _Fault as fault:
        what, line = fault.what, None
        if fault.at is not None:
            line = text.count("\n", 0, fault.at) + 1
            what += f" (column {fault.at - text.rfind('\n', 0, fault.at)})"
        fix = hint if what.startswith("not JSON") else fault.hint or FIX
        raise InputError(what, file=file, line=line, hint=fix) from None


def load_line(line: bytes, file: Path | str | None, number: int | None) -> Any:  # noqa: ANN401 - any JSON
    """The JSON value on one line, which is line `number` of `file`.

    Raises `InputError` as `load_document` does, and for half characters (lone surrogates), with the column.
    """
    if number in (None, 1):
        refuse_foreign_format(line[:HEAD], file or "the file")
    try:
        text = line.decode()
        value = _load(text)
        _refuse_half_characters(text)
    except UnicodeDecodeError as error:
        what = f"not UTF-8 text (byte 0x{line[error.start]:02x} at column {error.start + 1})"
        raise InputError(what, file=file, line=number, hint="Save the file as UTF-8.") from error
    except _Fault as fault:
        what = fault.what
        if what.startswith("not JSON") and not fault.hint:
            what = f"not JSON: {excerpt(line)}"
        what += "" if fault.at is None else f" (column {min(fault.at, len(text.rstrip())) + 1})"
        hint = fault.hint or (_hint(text, fault.at or 0) if what.startswith("not JSON") else FIX_LINE)
        raise InputError(what, file=file, line=number, hint=hint) from None
    return value


def dump_document(value: Any, file: Path | str) -> bytes:  # noqa: ANN401 - any JSON
    """A JSON document for people: indented, not escaped. Raises `InputError` if UTF-8 cannot express it."""
    try:
        return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()
    except UnicodeEncodeError as error:
        raise InputError("it contains half a character (a lone surrogate)", file=file, hint=FIX) from error
    except RecursionError as error:
        raise InputError("nested too deeply", file=file, hint=FIX) from error


def excerpt(line: bytes) -> str:
    """The start of a line in quotation marks, for an error."""
    text = line[:400].decode(errors="replace").strip()
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _load(text: str) -> Any:  # noqa: ANN401 - any JSON
    """The value of `text`. Raises `_Fault`."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise _Fault(
                f"duplicate key {excerpt(twice.encode(errors='replace'))}", hint="Remove or rename one of them."
            )
        return found

    def number(digits: str) -> int | float:
        try:
            value = float(digits) if any(char in ".eE" for char in digits) else int(digits)
        except ValueError:  # int() refuses more than some thousand digits
            raise _Fault(f"a number of {len(digits):,} digits") from None
        if not math.isfinite(value):
            raise _Fault(f"the number {digits[:40]} is too large", _find(text, digits))
        return value

    def constant(name: str) -> NoReturn:
        hint = "Write a number, null or a text."
        raise _Fault(f"not JSON: {name}", _find(text, name), hint)

    try:
        return json.loads(text, object_pairs_hook=unique, parse_int=number, parse_float=number, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise _Fault(f"not JSON: {error.msg}", error.pos) from None
    except RecursionError:
        raise _Fault("nested too deeply") from None


def _find(text: str, word: str) -> int | None:
    """The index of the first `word` outside strings."""
    return next((token.start() for token in TOKEN.finditer(text) if token[0] == word), None)


def _refuse_half_characters(text: str) -> None:
    if "\\ud" not in text.lower():
        return
    high = None
    for escape in ESCAPE.finditer(text):
        code = int(escape[1], 16) if escape[1] else 0
        follows = high is not None and high.end() == escape.start()
        if 0xDC00 <= code < 0xE000 and follows:
            high = None
        elif high is not None or 0xDC00 <= code < 0xE000:
            _half(high or escape)
        else:
            high = escape if 0xD800 <= code < 0xDC00 else None
    if high is not None:
        _half(high)


def _half(escape: re.Match[str]) -> NoReturn:
    hint = "The program that wrote it cut an emoji in two. Remove it or write the whole character."
    raise _Fault(f"half a character: {escape[0]} (a lone surrogate)", escape.start(), hint)


def _hint(text: str, at: int) -> str:
    """What to do about a line that is not JSON from index `at` on."""
    begun, rest = text.strip(), text[at:].strip()
    if begun.startswith("["):
        return ONE_ARRAY
    if at and text[:at].rstrip().endswith("}") and rest:
        return TRAILING_COMMA if rest == "," else TWO_OBJECTS if rest.startswith("{") else ONE_OBJECT
    if begun.startswith(("{'", "{ '")):
        return PYTHON
    return SEVERAL_LINES if not rest and begun.startswith("{") else ONE_OBJECT
