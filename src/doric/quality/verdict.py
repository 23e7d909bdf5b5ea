"""What every gate shares: the answer it is given, the rejection it gives, and the figures and lists it goes by.

Figures and lists are in `data/gates.toml`. Knows no gate.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from doric import data
from doric.core import text as texts
from doric.dialect.scores import Scores, profile


@dataclass(frozen=True, slots=True)
class Rejection:
    """The gate that refused, why in words a writer can act on, and the figure it measured, where it measured one."""

    gate: str
    reason: str
    figure: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A text with what every gate needs of it, worked out once."""

    text: str
    words: tuple[str, ...]
    profile: Scores
    topic: str = ""

    @classmethod
    def of(cls, text: str, topic: str = "") -> "Answer":
        """Measure `text` for the gates; `topic` is what it should be about, where that is known."""
        return cls(text, tuple(texts.words(text)), profile(text), topic)


type Gate = Callable[[Answer], Rejection | None]


@functools.cache
def _spec() -> dict:
    return data.read_toml("gates.toml")


def threshold(name: str) -> float:
    """A figure of `[thresholds]` in `data/gates.toml`."""
    return _spec()["thresholds"][name]


@functools.cache
def pattern(table: str, key: str = "patterns") -> re.Pattern[str]:
    """The patterns of a list in `data/gates.toml` as one."""
    return re.compile("|".join(f"(?:{one})" for one in _spec()[table][key]), re.MULTILINE)


@functools.cache
def opener() -> re.Pattern[str]:
    """A stock way in at the head of a text in lower case: some whatever follows, some only as a clause of their own."""
    spec: dict[str, list[str]] = _spec()["openers"]
    clauses, beginnings = ("|".join(re.escape(one) for one in spec[key]) for key in ("clauses", "beginnings"))
    return re.compile(rf"(?:{beginnings})(?![^\W\d_])|(?:{clauses})(?=\s*(?:[^\w\s]|$))")
