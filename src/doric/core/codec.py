"""One JSON value to one line of bytes and back: the same bytes and the same refusals with orjson and without it.

Knows nothing of files. UTF-8, compact separators, non-ASCII unescaped, floats as orjson writes them.
"""

import json
import json.encoder
import math
from collections.abc import Callable
from typing import Any, NoReturn

from doric.core.errors import InputError

try:
    import orjson
except ImportError:
    orjson = None

type Json = dict[str, Any] | list[Any] | str | int | float | bool | None

SMALLEST_INT, LARGEST_INT = -(2**63), 2**64 - 1


def encode(value: Json) -> bytes:
    """One line of JSON without its newline; NaN and the infinities become null.

    Raises `InputError` for what such a line cannot hold: a lone surrogate, an integer beyond 64 bits, a key that is
    not a string, a type that JSON does not have.
    """
    try:
        return orjson.dumps(value) if orjson else encode_plain(value)
    except (TypeError, UnicodeEncodeError, RecursionError) as error:
        raise InputError(f"this cannot be written as a line of JSON: {error}") from error


def encode_plain(value: Json) -> bytes:
    """`encode` by the standard library alone."""
    return _written(value).encode()


def parse_plain(line: bytes) -> Json:
    """The value on one line, by the standard library alone, held to what orjson takes.

    Raises ValueError when it is not UTF-8 or not JSON.
    """
    text = line.decode()
    try:
        value = _DECODER.decode(text)
        if "\\ud" in text or "\\uD" in text:
            encode_plain(value)  # an escape may have made a lone surrogate
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return value


def _written(value: Json) -> str:
    match value:
        case str():
            return json.encoder.encode_basestring(value)
        case True | False | None:
            return {True: "true", False: "false", None: "null"}[value]
        case int():
            return _written_int(value)
        case float():
            return _written_float(value)
        case dict():
            return "{" + ",".join(f"{_written_key(key)}:{_written(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_written, value)) + "]"
    raise TypeError(f"Type is not JSON serializable: {type(value).__name__}")


def _written_key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError("Dict key must be str")
    return json.encoder.encode_basestring(key)


def _written_int(value: int) -> str:
    if not SMALLEST_INT <= value <= LARGEST_INT:
        raise TypeError("Integer exceeds 64-bit range")
    return str(value)


def _written_float(value: float) -> str:
    if not math.isfinite(value):
        return "null"
    text = repr(value)
    if not text.endswith("e-05"):
        return text.replace("e-0", "e-")
    # orjson goes over to exponents one power of ten later than Python does
    return ("-" if value < 0 else "") + "0.0000" + text.removeprefix("-")[:-4].replace(".", "")


def _parsed_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("number is infinity when parsed as double")
    return value


def _parsed_int(text: str) -> int | float:
    if len(text) > 20:  # the longest 64-bit integer has 20 characters
        return _parsed_float(text)
    value = int(text)
    return value if SMALLEST_INT <= value <= LARGEST_INT else float(value)


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_parsed_int, parse_float=_parsed_float, parse_constant=_not_json)

parse: Callable[[bytes], Json] = orjson.loads if orjson else parse_plain
"""The value on one line. Raises ValueError when it is not UTF-8 or not JSON."""
dump: Callable[[Json], bytes] = orjson.dumps if orjson else encode_plain
"""`encode` for values that `parse` gave, without its words for what cannot be written: what is nested too deep."""
