"""What users ask: frames that sound like people, filled with a topic, for each bucket.

Frames and asks are in `data/prompts.toml`; a topic's shape (a gerund, a clause, a noun phrase) decides which frames
read right. Knows nothing of answers or of how many rows are wanted.
"""

import functools
import re
from dataclasses import dataclass

from doric import data
from doric.core.text import fold
from doric.dataset import spread as rota
from doric.dataset.phrases import known
from doric.dialect.render import render

KINDS = ("core", "adv", "safety", "multi")
CLAUSE_WORDS = frozenset(["how", "why", "what", "when", "where", "whether", "who", "which", "if", "whose"])
LENGTHS = {"short": (20, 45), "medium": (35, 85), "long": (60, 140)}
"""Words wanted of an answer, fewest and most, by the length a frame asks for."""
SLOT = re.compile(r"\{([Tt]opic|[Dd]oric)\}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One user turn: its text and language, the length of answer it wants, the safety category it falls in."""

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
    """How a topic may stand in a sentence: "gerund", "clause" or "noun".

    >>> shape("keeping a bike clean"), shape("why bread goes stale"), shape("cheap suppers for two")
    ('gerund', 'clause', 'noun')
    """
    first = topic.split()[0].lower()
    if first in CLAUSE_WORDS:
        return "clause"
    return "gerund" if first.endswith("ing") and len(first) > 4 else "noun"


@functools.lru_cache(maxsize=1 << 12)
def in_doric(topic: str) -> str:
    """The topic in Doric: as authored, or by the Doriciser."""
    authored = known().get(fold(topic))
    return authored.doric if authored else render(topic)


@functools.cache
def _frames(table: str, wanted: str) -> tuple[Frame, ...]:
    return tuple(
        Frame(raw["text"], raw.get("voice", "english"), raw.get("length", "medium"))
        for raw in _spec()[table]
        if wanted in raw["shapes"]
    )


def core_prompt(topic: str, turn: int, start: int) -> Prompt:
    """The `turn`th way to ask about `topic`: every frame once before any comes again, then with a sentence more.

    `start` says which frame comes first; it should differ from topic to topic.
    """
    frames = _frames("core", shape(topic))
    frame = frames[rota.place(len(frames), turn, start)]
    text = _filled(frame.text, topic) + _tail(turn // len(frames))
    return Prompt(text, {"english": "en"}.get(frame.voice, "sco"), frame.length)


def adv_prompt(topic: str, turn: int, start: int) -> Prompt:
    """The `turn`th way to ask about `topic` while telling the model to drop Doric, the first set by `start`."""
    frames = _frames("adv", shape(topic))
    return Prompt(_filled(frames[(start + turn) % len(frames)].text, topic) + _tail(turn // len(frames)), "en")


def safety_prompt(turn: int) -> Prompt:
    """The `turn`th harmful ask; its slot, if it has one, takes another value each time the ask comes round."""
    asks = _spec()["safety"]
    ask = asks[turn % len(asks)]
    text = ask["text"]
    for slot, values in _spec()["slots"].items():
        text = text.replace("{" + slot + "}", values[(turn // len(asks) + turn) % len(values)])
    return Prompt(text, ask.get("lang", "en"), category=ask["category"])


def multi_prompt(topic: str, lang: str, turn: int) -> Prompt:
    """The `turn`th way to ask about `topic` in `lang`, the topic by its title there where one is authored."""
    frames = _spec()["multi"][lang]["frames"]
    authored = known().get(fold(topic))
    title = authored.titles.get(lang, topic) if authored else topic
    return Prompt(frames[turn % len(frames)].replace("{topic}", title), lang)


def _filled(text: str, topic: str) -> str:
    # in one go, never str.format: a topic may hold braces, and between them the name of a slot
    doric = in_doric(topic)
    values = {"topic": topic, "Topic": _capital(topic), "doric": doric, "Doric": _capital(doric)}
    return SLOT.sub(lambda slot: values[slot[1]], text)


def _tail(again: int) -> str:
    """What is added to a frame that comes round for the `again`th time."""
    tails = _spec()["tails"]
    return f" {tails[(again - 1) % len(tails)]}" if again else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
