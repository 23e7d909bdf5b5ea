"""The questions of a review page. The page has them without labels; the key beside it says what each one is."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from doric import data

OURS, GENUINE, FAKE = "ours", "genuine", "fake"
ID_DIGITS = 12
SEPARATOR = "\n---\n"
"""What is between the two texts of a pair, in `shown` of an answer."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question to a reader.

    `shown` is everything that a reader sees of it (`kind` "choice", "word", "line", "row" or "pair"), `origin` is
    "ours", "genuine" or "fake", and `source` says where the text is from.
    """

    id: str
    part: int
    kind: str
    shown: Mapping[str, Any]
    origin: str = OURS
    source: Mapping[str, Any] = field(default_factory=dict)

    def for_page(self) -> dict[str, Any]:
        """The question without anything that tells where it is from."""
        return {"id": self.id, "part": self.part, "kind": self.kind, **self.shown}

    def for_key(self) -> dict[str, Any]:
        """What the maker of the page keeps."""
        asked = {"prompt": self.shown["ask"]} if "ask" in self.shown else {}
        return {"part": self.part, "origin": self.origin, **asked, "source": dict(self.source)}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the page: its number, texts, its time, and how long one question takes."""

    number: int
    title: str
    about: str
    minutes: float
    seconds: float

    @property
    def most(self) -> int:
        """The most questions that fit into the time."""
        return max(1, math.floor(self.minutes * 60 / self.seconds))


def parts(numbers: Sequence[int] = (), minutes: float | None = None) -> tuple[Part, ...]:
    """The parts `numbers` (all if empty). With `minutes`, they share so many in proportion to their own times."""
    listed = [Part(**raw) for raw in data.read_toml("review/parts.toml")["part"]]
    chosen = [part for part in listed if not numbers or part.number in numbers]
    factor = 1.0 if minutes is None else minutes / sum(part.minutes for part in chosen)
    return tuple(Part(p.number, p.title, p.about, round(p.minutes * factor, 1), p.seconds) for p in chosen)


def item_id(kind: str, *texts: str) -> str:
    """The id of a text: its kind and 12 hexadecimal digits that depend only on the texts."""
    digest = hashlib.sha256("\x1f".join(texts).encode(errors="surrogatepass")).hexdigest()
    return f"{kind}:{digest[:ID_DIGITS]}"


def without_slots(text: str) -> str:
    """A line as readers see it: its slots are in square brackets.

    >>> without_slots("Fit aboot {topic}?")
    'Fit aboot [topic]?'
    """
    return text.replace("{", "[").replace("}", "]")
