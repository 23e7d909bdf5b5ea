"""What every judge shares: the texts to judge stand in a fence that they cannot imitate, and verdicts are JSON.

Models write this JSON in many forms. `last_verdict` reads the objects, `read_score` a score and `read_choice` a choice.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from doric.core.conversations import stable_id
from doric.core.text import MAX_CHARACTERS

MAX_FAILURES = 100
"""After so many braces that begin no JSON, no verdict is expected. Each of them may take time linear in the text."""
COMMA = re.compile(r",(?=\s*[}\]])")
"""A comma after the last entry, which many models write and JSON does not allow."""
QUOTES = str.maketrans("“”„‟«»＂‘’", '"' * 7 + "''")
"""Quotation marks that some models write instead of those of JSON."""
REMARK = re.compile(r"(?<![:\w])//[^\n\"]*$", re.MULTILINE)
SIGNS = re.compile(r"^[\W_]+|[\W_]+$")
"""Signs around a word."""
MOST_VALUE = 200
"""Characters of a value that are read."""
NUMBER = re.compile(
    r"\**(\d+)(?:\.0+)?\**\s*(?:(?:/|of|out of)\s*(\d+)(?!\d))?\s*(?:[-–—:;,.(](?![\s.,–—-]*\d).*)?", re.DOTALL
)
"""A score as text: "4", "4/5", "4 out of 5", "4 - fluent", but not "4-5", "4,5" or "4.5"."""
SCORE_KEYS = ("score", "rating", "value", "points", "grade")
"""Where an object has its score, if it has other numbers too."""
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


def last_verdict[T](
    text: str, names: Sequence[str], read: Callable[[object], T]
) -> tuple[dict[str, T], dict[str, Any]] | None:
    """The last complete verdict in a text: what `read` makes of the value of each name, and its object, in lower case.

    None if there is none. `read` returns a false value for what it cannot read. An object may have all names, or there
    may be one object for each name, with the name as a key or as a value: {"criterion": "doric", "winner": "A"}.
    """
    for variant in dict.fromkeys((text, REMARK.sub("", text.translate(QUOTES)))):
        found = [_named(each) for each in json_objects(variant)]
        for one in (*reversed(found), _together(found, names)):
            values = {name: read(one.get(name)) for name in names}
            if all(values.values()):
                return values, one
    return None


def _named(found: Mapping[str, Any]) -> dict[str, Any]:
    """An object with its keys in lower case and without spaces around them."""
    return {name.strip().lower(): value for name, value in found.items()}


def _together(found: Iterable[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """The values of all objects that are about one name each."""
    together: dict[str, Any] = {}
    for one in found:
        own = [name for name in names if name in one]
        said = [key for key, value in one.items() if isinstance(value, str) and value.strip().lower() in names]
        if len(own) == 1:
            together[own[0]] = one[own[0]]
        elif not own and len(said) == 1:
            together[one[said[0]].strip().lower()] = {key: value for key, value in one.items() if key != said[0]}
    return together


def read_score(value: object, low: int, high: int) -> int:
    """A score from `low` to `high`; 0 if it is none.

    >>> [read_score(one, 1, 5) for one in (4, 4.0, "4 out of 5", {"score": 4, "max": 5}, ["4"], "4 - fluent")]
    [4, 4, 4, 4, 4, 4]
    >>> [read_score(one, 1, 5) for one in (True, 7, 4.5, "4.5", "4,5", "5,000", "1-5", "4 or 5", "4/10", None)]
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    """
    value = _only_value(value)
    if isinstance(value, dict):
        named = [each for key in SCORE_KEYS if not isinstance(each := value.get(key), dict | None)]
        found = [score for each in named or _flat(value) if (score := read_score(each, low, high))]
        return found[0] if len(found) == 1 else 0
    if isinstance(value, str):
        match = NUMBER.fullmatch(_plain(value))
        value = int(match[1]) if match and int(match[2] or high) == high else 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if low <= value <= high and value == int(value) else 0


def read_choice(value: object, labels: Mapping[str, str], around: Iterable[str] = ()) -> str:
    """The choice that a value is, of `labels` (a word in lower case -> the choice); "" if it is none.

    There may be signs around the word, or phrases of `around`, or an object or a list with nothing else that is one.

    >>> labels = {"a": "a", "b": "b", "tie": "tie"}
    >>> [read_choice(one, labels, ("response", "wins")) for one in ("[[A]]", "Response B", ["A"], "A wins", "A or B")]
    ['a', 'b', 'a', 'a', '']
    """
    value = _only_value(value)
    if isinstance(value, dict):
        found = {choice for each in _flat(value) if (choice := read_choice(each, labels, around))}
        return found.pop() if len(found) == 1 else ""
    if not isinstance(value, str):
        return ""
    words = SIGNS.sub("", _plain(value).lower())
    phrases = sorted(around, key=len, reverse=True)
    while words not in labels:
        shorter = next((cut for phrase in phrases if (cut := _without(words, phrase)) != words), "")
        if not shorter:
            return ""
        words = shorter
    return labels[words]


def _only_value(value: object) -> object:
    """The only entry of a list, also of a list in a list; any other value unchanged."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def _flat(value: Mapping[str, object]) -> list[object]:
    """The values of an object that are no objects."""
    return [each for each in map(_only_value, value.values()) if not isinstance(each, dict)]


def _plain(text: str) -> str:
    """The beginning of a value, with letters of other widths as ordinary ones."""
    return " ".join(unicodedata.normalize("NFKC", text[:MOST_VALUE]).translate(QUOTES).split())


def _without(words: str, phrase: str) -> str:
    """`words` without a phrase at the beginning or at the end."""
    return SIGNS.sub("", words.removeprefix(f"{phrase} ").removesuffix(f" {phrase}"))
