"""Reads the items of a list in a model's answer. Models write lists in many forms.

Accepted are JSON and Python arrays, objects that contain an array, JSON Lines, fenced blocks, an array that was cut
off, bulleted or numbered lines, and plain lines that look like a list. Prose is not a list.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from doric.core.text import ends_sentence
from doric.topics.items import clean_item, without_mark

FENCED = re.compile(r"```[\w-]*\n?(.*?)(?:```|\Z)", re.DOTALL)
FENCE = re.compile(r"```[\w-]*")
STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"(\s*:)?')
OPENING = re.compile(r"[\[{]")
PYTHON = re.compile(r"""\[\s*(?:'|"[^"\n]*",\s*')""")
PYTHON_STRING = re.compile(r"""(?<=[\[,\s])(['"])((?:\\.|[^\\\n]){1,200}?)\1(?=\s*(?:[,\]]|\Z))""")
WRAPPED = re.compile(r"^\s*([a-z0-9].*\S)")
NUMBERED = re.compile(r"(?:[a-z]+[ _-]?)?\d{1,3}", re.IGNORECASE)
DECORATION = "*_`\"“”'‘ \t,;."
MAX_FAILURES = 100
"""After so many brackets that begin no JSON, the rest is text. Each of them may take time linear in the text."""
MIN_LINES = 3
"""Lines without bullets are a list only if there are at least so many. Fewer lines, or whole sentences, are prose."""
KEYS = ("topic", "text", "title", "name")


def read_list(text: str, *, cut: bool = False) -> list[str]:
    """The items in `text`, in order, without bullets, bold marks, quotation marks or a full stop around them.

    `cut`: the text was cut off, so the last line is dropped. Of an array that was cut off, only whole strings are read.

    >>> read_list('Sure! Here you go:\\n1. **Mending a kettle**\\n2. keeping bees.')
    ['Mending a kettle', 'keeping bees']
    """
    body = "\n".join(FENCED.findall(text)) if "```" in text else text
    found = _read(body, cut)
    if body is not text and len(found) < 2:  # the fence may contain an example, and the list is outside it
        found = max(found, _read(FENCE.sub("\n", text), cut), key=len)
    stripped = (clean_item(item).strip(DECORATION) for item in found)
    return [item for item in stripped if item]


def _read(text: str, cut: bool) -> list[str]:
    found: list[str] = []
    between: list[str] = []
    for piece in _pieces(text):
        if isinstance(piece, str):
            between.append(piece)
        else:
            found += _items(piece)
    rest = "\n".join(between)
    if not found and PYTHON.search(rest):
        return [string[2].replace(f"\\{string[1]}", string[1]) for string in PYTHON_STRING.finditer(rest)]
    if not found and (strings := _from_cut_json(rest)) is not None:
        return strings
    bulleted = _bulleted(rest, cut)
    if found:  # the array may be an example before a list in lines
        return found + bulleted if len(bulleted) > len(found) else found
    return bulleted or _plain(rest, cut)


def _pieces(text: str) -> Iterator[Any]:
    """The complete arrays and objects in `text`, and the text between them, in order."""
    decoder, done, at, failures = json.JSONDecoder(), 0, 0, 0
    while failures < MAX_FAILURES and (start := OPENING.search(text, at)) is not None:
        at = start.start() + 1
        try:
            value, end = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            failures += 1
            continue
        yield text[done : start.start()]
        yield value
        done = at = end
    yield text[done:]


def _items(value: Any) -> list[str]:  # noqa: ANN401 - any JSON
    if isinstance(value, list):
        return [item for one in value if (item := _item(one))]
    if not isinstance(value, dict):
        return []
    inner = [items for one in value.values() if isinstance(one, list | dict) and (items := _items(one))]
    numbered = [item for one in value.values() if (item := _item(one))]
    if numbered and all(map(NUMBERED.fullmatch, value)):
        return numbered
    own = [value[key] for key in KEYS if isinstance(value.get(key), str)]
    return inner[0] if inner else own[:1]


def _item(value: Any) -> str:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        strings = [value[key] for key in KEYS if isinstance(value.get(key), str)]
        strings += [one for one in value.values() if isinstance(one, str)]
        return strings[0] if strings else ""
    return value if isinstance(value, str) else ""


def _from_cut_json(text: str) -> list[str] | None:
    """The complete strings of an array that is cut off; in objects, only the strings under one of `KEYS`."""
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


def _bulleted(text: str, cut: bool) -> list[str]:
    """The bulleted lines. A line without a bullet that begins in lower case continues the line before it."""
    found: list[str] = []
    continued = False
    for line in map(str.rstrip, text.splitlines()):
        if (item := without_mark(line.strip())) != line.strip():
            found.append(item)
            continued = True
        elif continued := continued and (rest := WRAPPED.match(line)) is not None:
            found[-1] += f" {rest[1]}"
    return found[:-1] if cut else found


def _plain(text: str, cut: bool) -> list[str]:
    """All lines, if they look like a list. Lines that end with a colon only introduce the list and are dropped."""
    lines = [stripped for line in text.splitlines() if (stripped := line.strip()) and not stripped.endswith(":")]
    lines = lines[:-1] if cut else lines
    return [] if len(lines) < MIN_LINES or any(map(ends_sentence, lines)) else lines
