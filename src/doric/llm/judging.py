"""What every judge shares: the texts to judge stand in a fence that they cannot imitate, and verdicts are JSON."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from doric.core.conversations import stable_id
from doric.core.text import MAX_CHARACTERS

MAX_FAILURES = 100
"""After so many braces that begin no JSON, no verdict is expected. Each of them may take time linear in the text."""
COMMA = re.compile(r",(?=\s*[}\]])")
"""A comma after the last entry, which many models write and JSON does not allow."""
SHOWN = 80
"""Characters of a verdict that could not be read, for the log."""


def fence_code(*texts: str) -> str:
    """A code that is in none of the texts. It is a hash of all of them, so no author of one of them can know it."""
    code = stable_id(*texts)
    while any(code in text for text in texts):
        code = stable_id(code)
    return code


def fill(template: str, texts: Mapping[str, str], code: str, plain: Mapping[str, str] | None = None) -> str:
    """A template with each of `texts` in a fence at its slot, and the trusted `plain` texts without one.

    It is filled in a single pass, so that the name of a slot inside a text is not replaced.
    """
    slots = {name: f"<<<{code}\n{shortened(text)}\n{code}>>>" for name, text in texts.items()} | {**(plain or {})}
    return re.sub(r"\{(\w+)\}", lambda slot: slots[slot[1]], template.strip())


def shortened(text: str) -> str:
    """As much of a text as a judge is shown."""
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} […]"


def beginning(text: str) -> str:
    """The first characters of a verdict that could not be read, on one line."""
    return " ".join(text[: 2 * SHOWN].split())[:SHOWN]


def json_objects(text: str) -> list[dict[str, Any]]:
    """Every JSON object in a text, inner objects before the outer one. A comma before a bracket does no harm."""
    text = COMMA.sub("", text)
    found: list[dict[str, Any]] = []

    def keep(value: dict[str, Any]) -> dict[str, Any]:
        found.append(value)
        return value

    decoder = json.JSONDecoder(object_hook=keep)  # called at the end of each object
    at, failures = text.find("{"), 0
    while at >= 0 and failures < MAX_FAILURES:
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
            failures += 1
        at = text.find("{", end)
    return found


def named_values(found: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The objects with their keys in lower case and without spaces around them."""
    return ({name.strip().lower(): value for name, value in each.items()} for each in found)
