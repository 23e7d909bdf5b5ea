"""User prompts for each bucket: sentence frames from `data/prompts.toml`, filled with a topic, and asks (see `asks`).

The shape of a topic (gerund, noun phrase, clause and so on) decides which frames fit. Frames, languages and harmful
requests are visited in an evenly spread order (`spread.visit`): each is used once before any is used again.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from doric import data
from doric.dataset import asks
from doric.dataset.phrases import authored
from doric.dataset.spread import visit
from doric.dialect.render import render
from doric.dialect.scores import score

KINDS = ("core", "adv", "safety", "multi")
SHAPES = ("gerund", "clause", "how-to", "when", "noun")
"""The shapes of topics (see `shape`)."""
CLAUSE_WORDS = frozenset(["how", "why", "what", "when", "where", "whether", "who", "which", "if", "whose"])
LENGTHS = {"short": (20, 45), "medium": (35, 85), "long": (60, 140)}
"""For each length that a frame can ask for: the fewest and the most words that the answer should have."""
MISTAKES = "mistakes"
"""What a question wants that asks what people get wrong. It fits only topics that have such sentences."""
SLOT = re.compile(r"\{([Tt]opic|[Dd]oric)\}")
LITERAL = re.compile(r"(\"[^\"]*\"|`[^`]*`)")
"""Parts of a prompt that stay as they are when it is typed carelessly."""
MOST_SCOTS = 0.1
"""A user turn with a greater share of Scots words is Scots, not English."""
WITHOUT_SLIP = 3
"""One in so many prompts that are typed carelessly has no slip."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A user turn: its text, its language, the wanted length of the answer, and the safety category of the request.

    `ask` is the kind of ask of a core prompt ("advice" if it is about a topic). An ask of another kind has a `subject`
    instead of a topic, and a `number` among those of its kind. The `case` of a harmful request decides which
    reasons and offers fit it besides those of its category.

    A question may want certain sentences: `wants` is `MISTAKES` or what a follow-up wants (see `followups`). These have
    the Doric word `named`, if any.
    """

    text: str
    lang: str
    length: str = "medium"
    category: str = ""
    case: str = ""
    ask: str = ""
    subject: str = ""
    number: int = 0
    wants: str = ""
    named: str = ""

    @property
    def words(self) -> tuple[int, int]:
        """The least and the most words that the answer should have."""
        ask = asks.asks().get(self.ask)
        return ask.length if ask else LENGTHS[self.length]


@dataclass(frozen=True, slots=True)
class Frame:
    """A sentence with a slot for the topic. `answer` is "", or `MISTAKES` if it asks what people get wrong."""

    text: str
    voice: str
    length: str
    answer: str = ""


@functools.cache
def _spec() -> dict:
    return data.read_toml("prompts.toml")


def languages() -> tuple[str, ...]:
    """The languages that have frames, in file order."""
    return tuple(_spec()["multi"])


@functools.lru_cache(maxsize=1 << 12)
def shape(topic: str) -> str:
    """The grammatical shape of a topic: "gerund", "noun", "clause", or one of two kinds of clause, "how-to" and "when".

    >>> shape("keeping a bike clean"), shape("why bread goes stale"), shape("cheap suppers for two")
    ('gerund', 'clause', 'noun')
    >>> shape("how to bleed a radiator"), shape("when a child cries"), shape("when to plant garlic")
    ('how-to', 'when', 'how-to')
    """
    first, *others = topic.lower().split()
    if first in CLAUSE_WORDS:
        return "how-to" if others[:1] == ["to"] else "when" if first == "when" else "clause"
    return "gerund" if first.endswith("ing") and len(first) > 4 else "noun"


@functools.lru_cache(maxsize=1 << 12)
def in_doric(topic: str) -> str:
    """The topic in Doric: the authored name if there is one, else rendered word by word."""
    known = authored(topic)
    return known.doric if known else render(topic)


@functools.cache
def _frames(table: str, shape: str) -> tuple[Frame, ...]:
    return tuple(
        Frame(raw["text"], raw.get("voice", "english"), raw.get("length", "medium"), raw.get("answer", ""))
        for raw in _spec()[table]
        if fits(raw["shapes"], shape)
    )


@functools.cache
def _frames_in(lang: str, shape: str) -> tuple[Frame, ...]:
    """The frames of another language that fit a shape."""
    every = ({"text": raw} if isinstance(raw, str) else raw for raw in _spec()["multi"][lang]["frames"])
    return tuple(
        Frame(raw["text"], lang, "medium", raw.get("answer", ""))
        for raw in every
        if fits(raw.get("shapes", SHAPES), shape)
    )


def _answerable(frames: Sequence[Frame], topic: str) -> tuple[Frame, ...]:
    """The frames without those that ask for what an authored topic has no sentences for."""
    known = authored(topic)
    return tuple(frame for frame in frames if not frame.answer or known is None or known.mistakes)


def fits(shapes: Sequence[str], shape: str) -> bool:
    """Whether a frame with these `shapes` fits a topic of this `shape`. What fits any clause fits a "how-to"."""
    return shape in shapes or (shape == "how-to" and "clause" in shapes)


def core_prompt(topic: str, number: int, start: int) -> Prompt:
    """Prompt `number` about `topic`. Each frame is used once, and then again with an extra sentence.

    `start` selects the first frame; it should differ from topic to topic.
    """
    frames = _answerable(_frames("core", shape(topic)), topic)
    frame = frames[visit(len(frames), number, start)]
    text = _filled(frame.text, topic) + _tail(number // len(frames))
    lang = {"english": "en"}.get(frame.voice, "sco")
    return Prompt(text, lang, frame.length, ask=asks.ADVICE, wants=frame.answer)


def ask_prompt(name: str, number: int, seed: int) -> Prompt:
    """Prompt `number` of a kind of ask."""
    one = asks.asked(name, number, seed)
    lang = one.pair.lang or _language(one.text)
    return Prompt(asks.filled(one.text, one.subject), lang, ask=name, subject=one.subject.name or name, number=number)


@functools.lru_cache(maxsize=1 << 12)
def _language(text: str) -> str:
    """The language of a user turn without its slots and quotations: "sco" if it has Scots and no English words."""
    scores = score(LITERAL.sub("it", asks.SLOT.sub("it", text)))
    return "sco" if scores.substrate > MOST_SCOTS and not scores.leakage else "en"


def typed(prompt: Prompt, number: int) -> Prompt:
    """An English prompt as people type it on a phone: in lower case, without an end mark, with at most one slip.

    `number` decides which slip it has, if any. Quotations and code stay as they are.
    """
    parts = LITERAL.split(prompt.text)  # the parts with odd numbers are literal
    text = "".join(part if at % 2 else part.lower() for at, part in enumerate(parts))
    plain = "".join(" " * len(part) if at % 2 else part.lower() for at, part in enumerate(parts))
    found = list(_slip_pattern().finditer(plain))
    if found and number % WITHOUT_SLIP:
        slip = found[number % len(found)]
        text = text[: slip.start()] + _slips()[slip.group()] + text[slip.end() :]
    return replace(prompt, text=text.rstrip(".?!"))


@functools.cache
def _slips() -> dict[str, str]:
    """Right spelling -> a slip, from `data/prompts.toml`."""
    return _spec()["typed"]["slips"]


@functools.cache
def _slip_pattern() -> re.Pattern[str]:
    return re.compile(rf"(?<![\w'])(?:{'|'.join(map(re.escape, _slips()))})(?![\w'])")


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
    return Prompt(text, request.get("lang", "en"), category=request["category"], case=request.get("case", ""))


def multi_prompt(topic: str, lang: str, number: int) -> Prompt:
    """Prompt `number` about `topic` in the language `lang`, with the topic's title in this language if there is one."""
    frames = _answerable(_frames_in(lang, shape(topic)), topic)
    known = authored(topic)
    title = known.titles.get(lang, topic) if known else topic
    frame = frames[number % len(frames)]
    return Prompt(frame.text.replace("{topic}", title), lang, wants=frame.answer)


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
