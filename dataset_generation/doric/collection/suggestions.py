"""Whatever a model answers when it is asked for a list, to the items of that list.

Arrays, objects that hold one, fenced blocks, an array that was cut off, bulleted or numbered lines, and bare lines that
look like a list. Prose is no list. Knows nothing of what an item should be.
"""

import json
import re
from typing import Any

from doric.text import finished

FENCED = re.compile(r"```[\w-]*\n?(.*?)(?:```|\Z)", re.DOTALL)
STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"(\s*:)?')
BULLET = re.compile(r"^\s*(?:[-*+•‣–—]|\(?\d{1,3}[.):]|\(?[a-zA-Z][.)])\s+(.*\S)")
NUMBER = re.compile(r"^\(?\d{1,3}[.):]\s+")
DRESSING = "*_`\"“”'‘ \t,;."
FEWEST_LINES = 3
"""Lines without a mark before them that are a list; fewer, or one that ends as a sentence does, are prose."""
KEYS = ("topic", "text", "title", "name")


def read_list(text: str) -> list[str]:
    """The items in `text`, in order, without bullets, bold marks, quotation marks or a full stop around them.

    >>> read_list('Sure! Here you go:\\n1. **Mending a kettle**\\n2. keeping bees.')
    ['Mending a kettle', 'keeping bees']
    """
    body = "\n".join(FENCED.findall(text)) if "```" in text else text
    ways = (way(body) for way in (_from_json, _from_cut_json, _from_lines))
    found = next(items for items in ways if items is not None)
    return [bare for item in found if (bare := NUMBER.sub("", item.strip(DRESSING)).strip(DRESSING))]


def _from_json(text: str) -> list[str] | None:
    """The first array in `text`, wherever it stands; None when there is none that is whole."""
    try:
        return _items(json.loads(text))
    except (ValueError, RecursionError):
        pass
    decoder = json.JSONDecoder()
    for start in (at for at, char in enumerate(text) if char in "[{"):
        try:
            value, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if items := _items(value):
            return items
    return None


def _items(value: Any) -> list[str]:  # noqa: ANN401 - whatever a model wrote
    if isinstance(value, dict):
        inner = (_items(one) for one in value.values() if isinstance(one, list | dict))
        return next(filter(None, inner), [])
    return [item for one in value if (item := _item(one))] if isinstance(value, list) else []


def _item(value: Any) -> str:  # noqa: ANN401 - whatever a model wrote
    if isinstance(value, dict):
        strings = [value[key] for key in KEYS if isinstance(value.get(key), str)]
        strings += [one for one in value.values() if isinstance(one, str)]
        return strings[0] if strings else ""
    return value if isinstance(value, str) else ""


def _from_cut_json(text: str) -> list[str] | None:
    """The whole strings of an array that ends in the middle; of objects, those under a key for the text."""
    start = text.find("[")
    if start < 0 or not text[start + 1 :].lstrip().startswith(('"', "{")):
        return None
    found, key = [], ""
    for string in STRING.finditer(text, start):
        if string[2]:
            key = string[1]
        elif key in ("", *KEYS):
            found.append(_unescaped(string[1]))
    return found


def _unescaped(string: str) -> str:
    try:
        return json.loads(f'"{string}"', strict=False)
    except ValueError:
        return string


def _from_lines(text: str) -> list[str]:
    """The bulleted lines if there are any, else every line but one that leads in with a colon, if they are a list."""
    bulleted = [found[1] for line in text.splitlines() if (found := BULLET.match(line))]
    lines = [stripped for line in text.splitlines() if (stripped := line.strip()) and not stripped.endswith(":")]
    return bulleted or ([] if len(lines) < FEWEST_LINES or any(map(finished, lines)) else lines)
