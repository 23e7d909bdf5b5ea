"""Fields that the user adds to every request: --extra-body, EXTRA_BODY and VLLM_EXTRA_BODY."""

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NoReturn

from doric.core.errors import InputError, SettingsError
from doric.core.files import encode_json

OWN_FIELDS = (
    "messages", "model", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens",
)  # fmt: skip
"""Fields of a request that the program computes. --extra-body may not replace them."""
WRONG_LEVELS = ("extrabody", "body", "requestbody", "json", "payload")
"""Names of a level above the fields, without the signs between their words: of the SDK, and of HTTP clients."""
KEY_FIELD = re.compile(
    r".*(?:apikey|authorization|passw|passphrase|secret|credential|bearer|cookie"
    r"|(?:private|subscription|access|auth|signing|master|account|service)key).*"
    r"|.*(?:access|auth|id|refresh|session|security|user|csrf|jwt|hub)token|token|auth|pwd|jwt"
)
"""Names of fields that hold a key, in small letters and without the signs between their words."""
KEY_VALUE = re.compile(
    r"\b(?:sk|pk|rk)-[\w-]{8,}|\bhf_[A-Za-z0-9]{10,}|\b(?:gsk|r8|ghp|gho|ghu|ghs|ghr|github_pat|glpat|xai|nvapi)[_-][\w-]{12,}"
    r"|\b(?:wk|ws|as|ak)-[A-Za-z0-9]{16,}|\bxox[abprs]-[\w-]{8,}|\bAIza[\w-]{20,}|\bA[KS]IA[0-9A-Z]{12,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{4,}|\b(?:[Bb]earer|BEARER|[Bb]asic)\s+[\w.+/=~-]{8,}|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|://[^/\s:@]+:[^/\s@]+@"
    r"|(?<![A-Za-z0-9])(?=[A-Z0-9]*[a-z])(?=[a-z0-9]*[A-Z])(?=[A-Za-z]*\d)[A-Za-z0-9]{24,}",
    re.ASCII,
)
"""What begins as keys of known providers do, a header with a key, a URL with a password, or is long and at random."""


def parse_extra_body(text: str, source: str = "--extra-body", *, keys: Collection[str] = ()) -> dict[str, Any]:
    """The fields in a JSON object; none if the text is blank. Raises `SettingsError`, which names `source`.

    `keys` are the keys that are in use. No field may contain one of them, or what looks like a key.

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
    _check_fields(fields, source, keys)
    return fields


def _check_fields(fields: Mapping[str, Any], source: str, keys: Collection[str]) -> None:
    """Raise `SettingsError` for a field that the program sets, for one that holds a key, and for the wrong level."""
    if own := next((name for name in fields if name.strip().lower() in OWN_FIELDS), None):
        hint = "Set the model with --model; tokens, messages and streaming are set by this program."
        raise SettingsError(f"{source} may not set '{own}'", hint=hint)
    for name, value in fields.items():
        if _squeezed(name) == WRONG_LEVELS[0] or (_squeezed(name) in WRONG_LEVELS and isinstance(value, dict)):
            raise SettingsError(f"{source} has the field '{name}'", hint="Give the fields that are inside it.")
    for name, value in _all_fields(fields):
        hint = "These fields are stored in files. A key belongs in its own variable, such as OPENAI_API_KEY."
        if KEY_VALUE.search(name):
            raise SettingsError(f"{source} may not contain a key: the name of a field looks like one", hint=hint)
        if KEY_FIELD.fullmatch(_squeezed(name)):
            raise SettingsError(f"{source} may not contain a key: '{name}'", hint=hint)
        if isinstance(value, str) and (KEY_VALUE.search(value) or value in keys):
            raise SettingsError(f"{source} may not contain a key: the value of '{name}' looks like one", hint=hint)


def _squeezed(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def _all_fields(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """(name, value) of all fields in a JSON value; an entry of a list has the name of the list."""
    if name:
        yield name, value
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _all_fields(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from _all_fields(each, name)


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
