"""An answer with its words and scores, the reason to reject it, and the thresholds and patterns of the gates."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from doric import data
from doric.core import text as texts
from doric.dialect.scores import Scores, score


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an answer was rejected.

    `reason` tells the author what to change. `figure` is the measured value, for gates that compare with a threshold.
    """

    gate: str
    reason: str
    figure: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A text with its words and scores, which are computed once for all gates. `topic` may be empty.

    `may_name_tongue` says whether the answer may speak of Doric, as an answer to "Stop writing Doric" may.
    """

    text: str
    words: tuple[str, ...]
    scores: Scores
    topic: str = ""
    may_name_tongue: bool = False

    @classmethod
    def of(cls, text: str, topic: str = "") -> "Answer":
        """Split and score `text`; of a text that is too long, only the first `MAX_CHARACTERS` characters."""
        measured = text[: texts.MAX_CHARACTERS]
        return cls(text, tuple(texts.words(measured)), score(measured), topic)

    @classmethod
    def unscored(cls, text: str) -> "Answer":
        """`text` with the words and scores of an empty text: enough for the gates that search for patterns."""
        return cls(text, (), score(""))


class Gate(Protocol):
    """A function that rejects an answer or returns None. A rejection has the name of the function."""

    __name__: str

    def __call__(self, answer: Answer) -> Rejection | None:
        """The reason to reject `answer`, or None."""


@functools.cache
def spec() -> dict:
    """All of `data/gates.toml`."""
    return data.read_toml("gates.toml")


def threshold(name: str) -> float:
    """A number from `[thresholds]` in `data/gates.toml`."""
    return spec()["thresholds"][name]


@functools.cache
def pattern(table: str, key: str = "patterns", *, file: str = "gates.toml") -> re.Pattern[str]:
    """All patterns of one list of a file in `data/`, joined into one."""
    return re.compile("|".join(f"(?:{pattern})" for pattern in data.read_toml(file)[table][key]), re.MULTILINE)


def lowered(text: str) -> str:
    """The text in lower case with straight quotes, as the patterns expect it."""
    return texts.straight(text.lower())


def quoted(tokens: Sequence[str]) -> str:
    """The first six words, each cut to 40 letters, quoted for a reason."""
    return ", ".join(f"'{token[:40]}'" for token in tokens[:6])
