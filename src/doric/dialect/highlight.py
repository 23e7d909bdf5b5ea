"""Splits a text into spans and marks the Doric, Central Scots and English words, each with a short explanation."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from doric.core import text as texts
from doric.dialect.lexicon import CLITIC, glosses, house_forms, variants
from doric.dialect.scores import classify

CLASSES = {
    "ne": "North-East",
    "shared": "Scots, shared with the North-East",
    "scots": "Scots",
    "na": "Scots negative",
    "central": "Central Scots",
    "central_weak": "general Scots",
    "leak": "English",
}
"""Class of a word -> its name for readers."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text. `kind` is the class of a marked word, "" for other text. `gloss` is its explanation."""

    text: str
    kind: str = ""
    gloss: str = ""


def highlight(text: str) -> Iterator[Span]:
    """The spans of the text, in order. Joined, they give `text` again.

    >>> [(span.text, span.kind) for span in highlight("I dinna ken. It's affa caul!")][-5:]
    [(". It's ", ''), ('affa', 'ne'), (' ', ''), ('caul', 'ne'), ('!', '')]
    """
    straight = texts.straight(text)
    at = 0
    for sentence in texts.sentences(straight):
        start = straight.index(sentence, at)
        for token, kind in zip(texts.TOKEN.finditer(sentence), classify(sentence)[1], strict=True):
            if kind:
                first, last = start + token.start(), start + token.end()
                if first > at:
                    yield Span(text[at:first])
                yield Span(text[first:last], kind, gloss(token.group().lower(), kind))
                at = last
    if at < len(text):
        yield Span(text[at:])


@functools.lru_cache(maxsize=1 << 14)
def gloss(word: str, kind: str) -> str:
    """The explanation of a lower-cased word: its English, the house form if it differs, and the name of its class."""
    meaning = meaning_of(word)
    house = house_forms().get(word) or variants().get(word)
    house = f"house spelling {house}" if house and house.lower() != word else ""
    return " · ".join(filter(None, (meaning, house, CLASSES[kind])))


def meaning_of(word: str) -> str:
    """The English meaning of a lower-cased Doric word, or ""."""
    known = glosses()
    return known.get(word) or known.get(CLITIC.sub("", word), "")
