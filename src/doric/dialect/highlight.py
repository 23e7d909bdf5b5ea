"""A text with its Doric words marked: piece by piece, with what each means and where it belongs.

Knows the lexicon and nothing of pages: a piece is a bit of the text as it was written, or one word with its class.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from doric.core import text as texts
from doric.dialect.lexicon import CLITIC, house_forms, variants
from doric.dialect.scores import classify, glosses

CLASSES = {
    "ne": "North-East",
    "shared": "Scots, shared with the North-East",
    "scots": "Scots",
    "na": "Scots negative",
    "central": "Central Scots",
    "central_weak": "Scots at large",
    "leak": "English",
}
"""Class of a word -> what a reader calls it."""


@dataclass(frozen=True, slots=True)
class Span:
    """A bit of a text; `kind` is "" for what is not marked. `gloss` says what the word means and where it belongs."""

    text: str
    kind: str = ""
    gloss: str = ""


def highlight(text: str) -> Iterator[Span]:
    """The whole text in pieces: joined they are `text` again.

    >>> [(span.text, span.kind) for span in highlight("I dinna ken. It's affa caul!")][-5:]
    [(". It's ", ''), ('affa', 'ne'), (' ', ''), ('caul', 'ne'), ('!', '')]
    """
    straight = text.translate(texts.QUOTES)
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
    """What a lower-cased word of a class means, which other spelling the house has for it, and where it belongs."""
    meaning = meaning_of(word)
    house = house_forms().get(word) or variants().get(word)
    house = f"house spelling {house}" if house and house.lower() != word else ""
    return " · ".join(filter(None, (meaning, house, CLASSES[kind])))


def meaning_of(word: str) -> str:
    """The English of a lower-cased Doric word, "" where the lexicon has none of its own."""
    known = glosses()
    return known.get(word) or known.get(CLITIC.sub("", word), "")
