"""The authored answers that a model is shown as examples, from `data/exemplars.toml`."""

import functools
from dataclasses import dataclass

from doric import data


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A user turn with its answer: its bucket, and the length that was wanted (see `prompts.LENGTHS`)."""

    kind: str
    length: str
    user: str
    answer: str


@functools.cache
def exemplars() -> tuple[Exemplar, ...]:
    """All exemplars, in file order."""
    return tuple(Exemplar(**raw) for raw in data.read_toml("exemplars.toml")["exemplar"])


@functools.cache
def fitting(kind: str, length: str) -> tuple[Exemplar, ...]:
    """The exemplars of a bucket and a length, or all of the bucket if none has this length.

    Always in the same order, so that servers can cache the beginning of the chats.
    """
    own = tuple(one for one in exemplars() if one.kind == kind)
    return tuple(one for one in own if one.length == length) or own
