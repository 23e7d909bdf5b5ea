"""Labels ("Doric: …") and marks (quotation marks, bold) around a whole answer. They are listed in `data/gates.toml`."""

import functools
import json
import re

from doric import data

MAX_WRAPPINGS = 4
LONE_QUOTES = {'"': '"', "“": "”", "„": "”“", "‟": "”", "”": "“„‟", "«": "»", "»": "«", "＂": "＂", "*": "*"}
"""Marks that make no sense alone at the beginning or the end of an answer, and their partners."""
APOSTROPHES = "'’"
QUOTE_INSIDE = re.compile(r"(?<!\w)['‘](?=\w)|[.,!?…]['’](?=\s)")
"""A single quotation mark inside a text that is not an apostrophe."""
QUOTED_LINE = re.compile(r"^[ \t]*>[ \t]?", re.MULTILINE)
RULE = re.compile(r"\A(?:-{3,}|={3,}|\*{3,}|_{3,})\s*\n|\n[ \t]*(?:-{3,}|={3,}|\*{3,}|_{3,})\Z")
"""A line across the page at the beginning or the end."""
FENCED = re.compile(r"(```|~~~)\w*[ \t]*\n([^`~]*)\1")
TAGGED = re.compile(r"<([A-Za-z][\w-]{0,20})(?:\s[^<>]{0,100})?>([^<>]*)</\1>")
JSON = re.compile(r"[{\[]\s*[\"']")
STOPPED = re.compile(r"([.!?…][\"”»'’])\.\Z")
"""A second full stop, after the quotation mark at the end."""


def unwrap(text: str) -> str:
    """The answer without a label before it and without quotation marks or bold marks around the whole of it.

    >>> unwrap('**Doric:** "Nae bad ava."'), unwrap('"Aye," she said, "an na."')
    ('Nae bad ava.', '"Aye," she said, "an na."')
    """
    text = text.strip()
    for _ in range(MAX_WRAPPINGS):
        if (inner := without_wrapping(text)) == text:
            break
        text = inner
    for mark, partners in LONE_QUOTES.items():
        is_alone = text.count(mark) == 1 and not any(partner in text.replace(mark, "") for partner in partners)
        if is_alone and (text.startswith(mark) or text.endswith(mark)):
            text = text.strip(mark).strip()
    return text


def without_wrapping(text: str) -> str:
    """A stripped text without its outermost label or pair of marks; unchanged if it has neither."""
    if found := FENCED.fullmatch(text) or TAGGED.fullmatch(text):
        return found[2].strip()
    if label := _label().match(text):
        return text[label.end() :].strip()
    if text.startswith(">"):
        return QUOTED_LINE.sub("", text).strip()
    if (shorter := RULE.sub("", text).strip()) != text:
        return shorter
    if JSON.match(text):
        return _only_string(text) or text
    stopped = STOPPED.sub(r"\1", text)
    if (inner := _without_pair(stopped)) != stopped:
        return inner
    lines = [line.strip() for line in stopped.splitlines() if line.strip()]
    return "\n".join(map(_without_pair, lines)) if all(_without_pair(line) != line for line in lines) else text


def _without_pair(text: str) -> str:
    """A text without the marks around it; unchanged if one of them is also inside it."""
    for first, last in _pairs():
        if text.startswith(first) and text.endswith(last) and len(text) > len(first) + len(last):
            inner = text[len(first) : len(text) - len(last)]
            if not _has_mark(inner, first, last):
                return inner.strip()
    return text


def _only_string(text: str) -> str:
    """The only string in JSON, or the only one under a key that is a label; "" if there is none."""
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return ""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    strings = {key: item.strip() for key, item in items if isinstance(item, str) and item.strip()}
    labelled = {key: item for key, item in strings.items() if str(key).lower() in _spec()["labels"]}
    found = list((labelled or strings).values())
    return found[0] if len(found) == 1 else ""


def _has_mark(inner: str, first: str, last: str) -> bool:
    if last in APOSTROPHES:
        return QUOTE_INSIDE.search(inner) is not None
    return first in inner or last in inner


@functools.cache
def _spec() -> dict:
    return data.read_toml("gates.toml")["wrapping"]


@functools.cache
def _pairs() -> list[list[str]]:
    """The marks before and after an answer, the longest first."""
    return sorted(_spec()["pairs"], key=lambda pair: -len(pair[0]))


@functools.cache
def _label() -> re.Pattern[str]:
    """A label with the mark that separates it from the answer. A dash separates only before a capital."""
    labels = "|".join(re.escape(str(label)) for label in sorted(_spec()["labels"], key=len, reverse=True))
    between = r"(?:[:：][*_]{0,2}|=(?=\s?[\"“'])|>(?=\s)|\s[-–—](?=\s+(?-i:[A-Z\"“'‘«„]))|[ ]*\n)"
    before, after = r"[*_#<>\[\"' ]{0,4}", r"[*_>\"'\] ]{0,3}"
    return re.compile(
        rf"{before}(?:{labels}){after}{between}|[\[(<](?:{labels})(?<!\Wa)[\])>]|[^\w\s\"'(*_`<]{{1,4}} ?[:：]\s",
        re.IGNORECASE,
    )
