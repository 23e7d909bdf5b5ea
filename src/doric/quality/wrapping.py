"""Labels ("Doric: …") and marks (quotation marks, bold) around a whole answer. They are listed in `data/gates.toml`."""

import functools
import json
import re

from doric import data

MAX_WRAPPINGS = 4
LONE_QUOTES = '"“”«»'
"""Marks that make no sense alone at the beginning or the end of an answer."""
APOSTROPHES = "'’"
QUOTE_INSIDE = re.compile(r"(?<!\w)['‘](?=\w)|[.,!?…]['’](?=\s)")
"""A single quotation mark inside a text that is not an apostrophe."""


QUOTED_LINE = re.compile(r"^[ \t]*>[ \t]?", re.MULTILINE)


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
    for mark in LONE_QUOTES:
        if text.count(mark) == 1 and (text.startswith(mark) or text.endswith(mark)):
            text = text.strip(mark).strip()
    return text


def without_wrapping(text: str) -> str:
    """A stripped text without its outermost label or pair of marks; unchanged if it has neither."""
    if label := _label().match(text):
        return text[label.end() :].strip()
    if text.startswith(">"):
        return QUOTED_LINE.sub("", text).strip()
    if text.startswith("{") and text.endswith("}"):
        return _only_string(text)
    for first, last in _spec()["pairs"]:
        if text.startswith(first) and text.endswith(last) and len(text) > len(first) + len(last):
            inner = text[len(first) : len(text) - len(last)]
            if not _has_mark(inner, first, last):
                return inner.strip()
    return text


def _only_string(text: str) -> str:
    """The string of a JSON object with one string, else the text itself."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    strings = list(value.values())
    return strings[0].strip() if len(strings) == 1 and isinstance(strings[0], str) else text


def _has_mark(inner: str, first: str, last: str) -> bool:
    if last in APOSTROPHES:
        return QUOTE_INSIDE.search(inner) is not None
    return first in inner or last in inner


@functools.cache
def _spec() -> dict:
    return data.read_toml("gates.toml")["wrapping"]


@functools.cache
def _label() -> re.Pattern[str]:
    labels = "|".join(re.escape(str(label)) for label in _spec()["labels"])
    after = r"[*_\] ]{0,3}(?:[:：][*_]{0,2}|\s[-–—](?=\s)|[ ]*\n)"
    return re.compile(rf"[*_#>\[ ]{{0,4}}(?:{labels}){after}|[^\w\s\"'(*_`<]{{1,4}} ?[:：]\s", re.IGNORECASE)
