"""Fields that the user adds to every request: --extra-body, EXTRA_BODY and VLLM_EXTRA_BODY."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from doric.core.errors import InputError, SettingsError
from doric.core.files import encode_json

OWN_FIELDS = (
    "messages", "model", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens",
)  # fmt: skip
"""Fields of a request that the program computes. --extra-body may not replace them."""
KEY_FIELD = re.compile(r"api.?key|authorization|passw|secret|(?:access|auth).?token", re.IGNORECASE)
"""Names of fields that hold a key."""


def parse_extra_body(text: str, source: str = "--extra-body") -> dict[str, Any]:
    """The fields in a JSON object; none if the text is blank. Raises `SettingsError`, which names `source`.

    >>> parse_extra_body('{"chat_template_kwargs": {"enable_thinking": false}}')
    {'chat_template_kwargs': {'enable_thinking': False}}
    """
    text = text.removeprefix("\ufeff")
    if not text.strip():
        return {}
    hint = """Give an object, for instance '{"enable_thinking": false}'."""
    try:
        fields = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
        encode_json(fields)  # lone surrogates, and objects that are too deep
    except json.JSONDecodeError as error:
        raise SettingsError(f"{source} is not JSON: {error.msg}, at character {error.pos + 1}", hint=hint) from None
    except (ValueError, RecursionError, InputError) as error:
        reason = str(error).removeprefix("this cannot be written as JSON: ")
        raise SettingsError(f"{source} is not JSON: {reason}", hint=hint) from None
    if not isinstance(fields, dict):
        raise SettingsError(f"{source} is not a JSON object", hint=hint)
    _check_fields(fields, source)
    return fields


def _check_fields(fields: Mapping[str, Any], source: str) -> None:
    """Raise `SettingsError` for a field that the program sets, for one that holds a key, and for the wrong level."""
    if own := next((name for name in fields if name.strip().lower() in OWN_FIELDS), None):
        hint = "Set the model with --model; tokens, messages and streaming are set by this program."
        raise SettingsError(f"{source} may not set '{own}'", hint=hint)
    if "extra_body" in fields:
        raise SettingsError(f"{source} has the field 'extra_body'", hint="Give the fields that are inside it.")
    if secret := next(filter(KEY_FIELD.search, _names(fields)), None):
        hint = "These fields are stored in files. A key belongs in its own variable, such as OPENAI_API_KEY."
        raise SettingsError(f"{source} may not contain a key: '{secret}'", hint=hint)


def _names(value: object) -> Iterator[str]:
    """The names of all fields in a JSON value."""
    if isinstance(value, dict):
        yield from value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _names(each)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"the field '{twice}' is in it twice")
    return dict(pairs)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"the number {number[:20]} is too large")
    return value
