"""User prompts for each bucket: sentence frames from `data/prompts.toml`, filled with a topic.

The shape of a topic (gerund, clause or noun phrase) decides which frames fit. Frames, languages and harmful requests
are visited in an evenly spread order (`visit`): each is used once before any is used again.
"""

import functools
import math
import re
import zlib
from dataclasses import dataclass

from doric import data
from doric.dataset.phrases import authored
from doric.dialect.render import render

KINDS = ("core", "adv", "safety", "multi")
CLAUSE_WORDS = frozenset(["how", "why", "what", "when", "where", "whether", "who", "which", "if", "whose"])
LENGTHS = {"short": (20, 45), "medium": (35, 85), "long": (60, 140)}
"""For each length that a frame can ask for: the fewest and the most words that the answer should have."""
SLOT = re.compile(r"\{([Tt]opic|[Dd]oric)\}")
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Prompt:
    """A user turn: its text, its language, the wanted length of the answer, and the safety category of the request."""

    text: str
    lang: str
    length: str = "medium"
    category: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """A sentence with a slot for the topic."""

    text: str
    voice: str
    length: str


@functools.cache
def _spec() -> dict:
    return data.read_toml("prompts.toml")


def languages() -> tuple[str, ...]:
    """The languages that have frames, in file order."""
    return tuple(_spec()["multi"])


@functools.lru_cache(maxsize=1 << 12)
def shape(topic: str) -> str:
    """The grammatical shape of a topic: "gerund", "clause" or "noun".

    >>> shape("keeping a bike clean"), shape("why bread goes stale"), shape("cheap suppers for two")
    ('gerund', 'clause', 'noun')
    """
    first = topic.split()[0].lower()
    if first in CLAUSE_WORDS:
        return "clause"
    return "gerund" if first.endswith("ing") and len(first) > 4 else "noun"


@functools.lru_cache(maxsize=1 << 12)
def in_doric(topic: str) -> str:
    """The topic in Doric: the authored name if there is one, else rendered word by word."""
    known = authored(topic)
    return known.doric if known else render(topic)


@functools.cache
def _frames(table: str, wanted: str) -> tuple[Frame, ...]:
    return tuple(
        Frame(raw["text"], raw.get("voice", "english"), raw.get("length", "medium"))
        for raw in _spec()[table]
        if wanted in raw["shapes"]
    )


def core_prompt(topic: str, number: int, start: int) -> Prompt:
    """Prompt `number` about `topic`. Each frame is used once, and then again with an extra sentence.

    `start` selects the first frame; it should differ from topic to topic.
    """
    frames = _frames("core", shape(topic))
    frame = frames[visit(len(frames), number, start)]
    text = _filled(frame.text, topic) + _tail(number // len(frames))
    return Prompt(text, {"english": "en"}.get(frame.voice, "sco"), frame.length)


def adv_prompt(topic: str, number: int, start: int) -> Prompt:
    """Prompt `number` that asks about `topic` and tells the model to drop Doric; `start` selects the first frame."""
    frames = _frames("adv", shape(topic))
    frame = frames[(start + number) % len(frames)]
    return Prompt(_filled(frame.text, topic) + _tail(number // len(frames)), "en")


def safety_prompt(number: int) -> Prompt:
    """Harmful request `number`. If it has a slot, the slot gets another value each time the request is repeated."""
    requests = _spec()["safety"]
    request = requests[number % len(requests)]
    text = request["text"]
    for slot, values in _spec()["slots"].items():
        text = text.replace("{" + slot + "}", values[(number // len(requests) + number) % len(values)])
    return Prompt(text, request.get("lang", "en"), category=request["category"])


def multi_prompt(topic: str, lang: str, number: int) -> Prompt:
    """Prompt `number` about `topic` in the language `lang`, with the topic's title in this language if there is one."""
    frames = _spec()["multi"][lang]["frames"]
    known = authored(topic)
    title = known.titles.get(lang, topic) if known else topic
    return Prompt(frames[number % len(frames)].replace("{topic}", title), lang)


@functools.lru_cache(maxsize=1 << 10)
def stride(size: int) -> int:
    """The step between two visited positions: `size` times the golden ratio, raised until it is coprime to `size`.

    Steps of this length spread the positions evenly.
    """
    step = max(1, round(size * GOLDEN))
    while math.gcd(step, size) != 1:
        step += 1
    return step


def visit(size: int, number: int, start: int = 0) -> int:
    """The position of visit `number` among `size` positions. Any `size` visits in a row reach each position once.

    >>> sorted(visit(7, number) for number in range(7)) == list(range(7))
    True
    """
    return (start + number * stride(size)) % size


def visits_between(size: int, count: int, low: int, high: int, start: int = 0) -> int:
    """The number of the first `count` visits that reach a position from `low` to `high` - 1, in O(log size).

    >>> visits_between(7, 5, 2, 4) == sum(2 <= visit(7, number) < 4 for number in range(5))
    True
    """
    step, shift = stride(size), start % size + size
    return _floor_sum(count, size, step, shift - low) - _floor_sum(count, size, step, shift - high)


def start_of(*parts: str | int) -> int:
    """A start for `visit` that depends only on `parts`, from 0 to 2**32 - 1."""
    return zlib.crc32(":".join(map(str, parts)).encode())


def _floor_sum(count: int, size: int, step: int, shift: int) -> int:
    """The sum of (step * i + shift) // size for i below `count`, by Euclid's algorithm on `size` and `step`."""
    total = 0
    while True:
        total += (count - 1) * count // 2 * (step // size) + count * (shift // size)
        step, shift = step % size, shift % size
        last = step * count + shift
        if last < size:
            return total
        count, shift, size, step = last // size, last % size, step, size


def _filled(text: str, topic: str) -> str:
    # a single substitution and not str.format, because a topic may contain braces, even around the name of a slot
    doric = in_doric(topic)
    values = {"topic": topic, "Topic": _capital(topic), "doric": doric, "Doric": _capital(doric)}
    return SLOT.sub(lambda slot: values[slot[1]], text)


def _tail(round_number: int) -> str:
    """The sentence added to a frame that is used again; empty in round 0."""
    tails = _spec()["tails"]
    return f" {tails[(round_number - 1) % len(tails)]}" if round_number else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
