"""Missing, unknown and misspelt keys, and values of a wrong type, in the TOML files and in heldout.jsonl."""

import difflib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from doric.lint.models import MODELS, Ask, HeldOut, Phrases
from doric.lint.review_models import REVIEW_MODELS
from doric.lint.source import Finding, Source, shown
from doric.lint.source_models import SOURCE_MODELS

FOLDERS: dict[str, type[BaseModel]] = {"phrases": Phrases, "asks": Ask}
"""Folder -> the model of its TOML files."""
KEYS = ("missing", "extra_forbidden")
"""A misspelt key has both of these errors on its line. Other errors on one line are one error."""
WANTED = {
    "string_type": "write text between quotation marks",
    "string_too_short": "it is empty: write text between the quotation marks",
    "list_type": "write a list between square brackets",
    "dict_type": "write a table",
    "int_type": "write a whole number",
    "float_type": "write a number",
    "bool_type": "write true or false",
}


def check_shape(source: Source) -> Iterator[Finding]:
    """Missing, unknown and misspelt keys, values of a wrong type, and lists with too few or too many entries."""
    if source.name.endswith(".jsonl"):
        for row in source.rows:
            for error in _errors(HeldOut, row.cells):
                yield source.error(row.line, shown(source.lines[row.line - 1]), _reason(error))
    elif model := _model(source.name):
        seen = set()
        for error in _errors(model, source.toml):
            line, reason = _place(source, error), _reason(error)
            kind = error["type"] if error["type"] in KEYS else ""
            if (line, kind) not in seen:
                yield source.error(line, shown(source.lines[line - 1]) if line else "", reason)
            seen.add((line, kind))


def _model(name: str) -> type[BaseModel] | None:
    folder, _, file = name.rpartition("/")
    named = MODELS | REVIEW_MODELS | SOURCE_MODELS
    return named.get(name) or (FOLDERS.get(folder) if file.endswith(".toml") else None)


def _errors(model: type[BaseModel], value: object) -> list[ErrorDetails]:
    try:
        model.model_validate(value)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def _reason(error: ErrorDetails) -> str:
    key = next((str(part) for part in reversed(error["loc"]) if isinstance(part, str)), "it")
    context = error.get("ctx", {})
    match error["type"]:
        case "missing":
            return f"'{key}' is missing: add it"
        case "extra_forbidden":
            return f"unknown key '{key}': correct its spelling or delete it"
        case "too_long":
            return f"'{key}' has {context['actual_length']} entries instead of {context['max_length']}: remove the rest"
        case "too_short":
            return f"'{key}' has {context['actual_length']} entries, and needs at least {context['min_length']}"
        case "literal_error":
            return f"'{key}' is {error['input']!r}: write {context['expected']}"
    return f"'{key}': {WANTED.get(error['type'], error['msg'])}"


def _place(source: Source, error: ErrorDetails) -> int:
    """The line of the wrong value, or of the key that may be meant or the table in which it is missing."""
    value: Any = source.toml
    line = 0
    # a missing key is not looked for: the next table may have it
    for part in error["loc"][:-1] if error["type"] == "missing" else error["loc"]:
        if isinstance(part, str) and isinstance(value, dict):
            line = source.key_line(part, line - 1) or line
            value = value.get(part)
        elif isinstance(part, int) and isinstance(value, list) and part < len(value):
            value = value[part]
            line = source.line_of(value) or line
    if error["type"] == "missing" and isinstance(value, dict):
        near = difflib.get_close_matches(str(error["loc"][-1]), [*value], 1)
        return next((at for key in near if (at := source.key_line(key, line - 1))), 0) or line or 1
    if error["type"] == "too_long" and isinstance(value, list):
        return source.line_of(value[-1]) or line
    return line
