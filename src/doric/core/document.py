"""A JSON document that people keep: read so strictly that it can be written again without loss.

Knows nothing of what is in it.
"""

import json
import math
from pathlib import Path
from typing import Any

from doric.core.errors import InputError

ONCE = "Make one of the two, or give one of them another name."
PLAIN = "Mend it there: what is added to the file is written with the rest of it."
HALF = "holds half a character (a lone surrogate)"


def read(text: str, file: Path | str, *, hint: str) -> Any:  # noqa: ANN401 - any JSON
    """The value of a document; `hint` is for one that is no JSON.

    Raises `InputError` for what is no JSON, and for what would be lost when it is written again: a key that stands
    twice in one object, a number too great, a nest without end.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise InputError(f"the key {key!r} stands twice in one object", file=file, hint=ONCE)
            found[key] = value
        return found

    def number(text: str) -> int | float:
        try:
            value = float(text) if any(char in ".eE" for char in text) else int(text)
        except ValueError:  # int() takes some thousands of digits and no more
            raise InputError(f"a number of {len(text):,} digits", file=file, hint=PLAIN) from None
        if not math.isfinite(value):
            raise InputError(f"the number {text[:40]} is too great", file=file, hint=PLAIN)
        return value

    def constant(name: str) -> None:
        raise InputError(f"not JSON: {name}", file=file, hint=hint)

    try:
        return json.loads(text, object_pairs_hook=once, parse_int=number, parse_float=number, parse_constant=constant)
    except json.JSONDecodeError as error:
        what = f"not JSON: {error.msg} (column {error.colno})"
        raise InputError(what, file=file, line=error.lineno, hint=hint) from error
    except RecursionError as error:
        raise InputError("it is nested too deep", file=file, hint=PLAIN) from error


def written(value: Any, file: Path | str) -> bytes:  # noqa: ANN401 - any JSON
    """The document as bytes, for people to read. Raises `InputError` for what UTF-8 or a reader cannot hold."""
    try:
        return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()
    except UnicodeEncodeError as error:
        raise InputError(f"it {HALF}", file=file, hint=PLAIN) from error
    except RecursionError as error:
        raise InputError("it is nested too deep", file=file, hint=PLAIN) from error
