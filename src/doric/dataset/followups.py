"""What users say after the first answer of a chat, from `data/followups.toml`.

A follow-up depends on what was said: it names a noun of an earlier answer, or asks for the reason, for what to watch
for and so on, each once in a chat. So it is chosen when the answer before it has been accepted.
"""

import functools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from doric import data
from doric.core.text import ends_sentence, sentences, words
from doric.dataset import asks, prompts
from doric.dataset.asks import Then
from doric.dataset.plan import FIRST_TURNS, Exchange, Job
from doric.dataset.prompts import Prompt
from doric.dialect.lexicon import entries

NAMED, MORE, MODEL, REFUSAL, PARTS, THEN = "named", "more", "model", "refusal", "parts", "then"
"""What a follow-up may want besides the sentences of a theme: sentences that have a noun, others about the topic, what
only a model can do, another refusal, or an answer from the `parts` of a rule or of what follows the question itself."""
NAMED_SHARE = 0.5
"""The share of follow-ups that name a noun of an earlier answer, if there is one."""
ENGLISH_SHARE = 0.65
"""The share of follow-ups in English; the others are in Doric."""
LENGTH = "short"
SHORTEST_NOUN = 3


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun of an answer, in Doric as it was written and in English."""

    doric: str
    english: str


@dataclass(frozen=True, slots=True)
class Voice:
    """What a voice can answer: whether there are sentences for what a follow-up wants, and for which nouns."""

    can: Callable[[str], bool]
    nouns: tuple[Noun, ...]


type FollowUp = Callable[[Job, tuple[Exchange, ...]], Prompt]
"""Gives the user's next turn of a chat: `follow_up(job, what was said)`."""


@functools.cache
def _spec() -> dict:
    return data.read_toml("followups.toml")


def instruction() -> str:
    """What a model is told in the later turns of a chat."""
    return _spec()["instruction"]


def for_model(seed: int) -> FollowUp:
    """The follow-ups for a model, which can answer all of them."""

    def follow_up(job: Job, said: tuple[Exchange, ...]) -> Prompt:
        return next_turn(job, said, Voice(lambda wanted: True, nouns(job, said)), seed)

    return follow_up


def next_turn(job: Job, said: Sequence[Exchange], voice: Voice, seed: int) -> Prompt:
    """The user's next turn in the chat of a job."""
    draw = random.Random(f"{seed}:{job.id}:{len(said)}")
    if job.kind == "safety":
        return _insisting(job, said, draw)
    if job.prompt.ask in asks.asks():
        return _after_ask(job, said, draw, seed)
    if job.kind == "multi":
        return _in_language(job, said, voice, draw)
    prompt = _about_topic(job, said, voice, draw, only_english=job.kind == "adv")
    spec = _spec()["adv"]
    if job.kind == "adv" and draw.random() < spec["share"]:
        text = draw.choice(_unsaid(spec["says"], said))
        return replace(prompt, text=text.replace("{ask}", prompt.text))
    return prompt


def nouns(job: Job, said: Sequence[Exchange]) -> tuple[Noun, ...]:
    """The nouns of the answers so far that a follow-up can name, in order: none of the topic, and none named before."""
    known = _nouns()
    asked = {*words(job.topic.text), *words(prompts.in_doric(job.topic.text)), *(one.prompt.named for one in said)}
    found = dict.fromkeys(word for one in said for word in words(one.answer) if word in known)
    return tuple(
        noun for word in found for noun in [known[word]]
        if word not in asked and not _is_named(noun.english, asked)
    )  # fmt: skip


def _is_named(english: str, asked: set[str]) -> bool:
    return bool({english, english.removesuffix("s"), f"{english}s"} & asked)


@functools.cache
def _nouns() -> dict[str, Noun]:
    """Doric noun -> the noun, for those with one English word and no other part of speech."""
    parts: dict[str, set[str]] = {}
    for entry in entries():
        parts.setdefault(entry.doric, set()).add(entry.part_of_speech)
    bare = set(_spec()["not_named"])
    bare |= {f"{word}s" for word in bare}
    return {
        entry.doric: Noun(entry.doric, entry.english)
        for entry in entries()
        if parts[entry.doric] == {"n"} and entry.doric.isalpha() and entry.doric.islower()
        and len(entry.doric) >= SHORTEST_NOUN and entry.english.isalpha() and entry.english.islower()
        and entry.english not in bare
    }  # fmt: skip


# ---- advice


def _about_topic(
    job: Job, said: Sequence[Exchange], voice: Voice, draw: random.Random, *, only_english: bool
) -> Prompt:
    frames = [frame for frame in _fitting(job.topic.text) if _is_open(frame["answer"], said, voice)]
    named = [frame for frame in frames if frame["answer"] == NAMED]
    others = [frame for frame in frames if frame["answer"] != NAMED] or [_last_resort()]
    frame = draw.choice(named if named and draw.random() < NAMED_SHARE else others)
    lang = "en" if only_english or draw.random() < ENGLISH_SHARE else "sco"
    noun = draw.choice(voice.nouns) if frame["answer"] == NAMED else Noun("", "")
    says = frame["says" if lang == "en" else "doric"]
    if only_english:  # what insists on English stands beside it, so it is one whole sentence and no thanks
        says = [text for text in says if ends_sentence(text) and len(sentences(text)) == 1] or says
    text = draw.choice(_unsaid(says, said))
    text = text.replace("{english}", noun.english).replace("{doric}", noun.doric)
    return Prompt(text, lang, LENGTH, ask=job.prompt.ask, wants=frame["answer"], named=noun.doric)


def _fitting(topic: str) -> Iterator[dict]:
    wanted = prompts.shape(topic)
    return (frame for frame in _spec()["advice"] if prompts.fits(frame.get("shapes", prompts.SHAPES), wanted))


def _is_open(wanted: str, said: Sequence[Exchange], voice: Voice) -> bool:
    """Whether a chat has not asked this yet, and the voice can answer it."""
    if wanted == NAMED:
        return bool(voice.nouns)
    return wanted not in {one.prompt.wants for one in said} and voice.can(wanted)


def _last_resort() -> dict:
    return next(frame for frame in _spec()["advice"] if frame["answer"] == MORE)


def _in_language(job: Job, said: Sequence[Exchange], voice: Voice, draw: random.Random) -> Prompt:
    says = _spec()["multi"][job.prompt.lang]
    turns = {one.prompt.text for one in said}
    new = [(wanted, text) for wanted in says for text in says[wanted] if text not in turns]
    rest = [one for one in new if one[0] == MORE]
    wanted, text = draw.choice([one for one in new if _is_open(one[0], said, voice)] or rest)
    return Prompt(text, job.prompt.lang, LENGTH, wants=wanted)


def _unsaid(texts: Sequence[str], said: Sequence[Exchange]) -> list[str]:
    """The texts that no user turn of the chat has; all of them if there is none."""
    turns = [one.prompt.text for one in said]
    return [text for text in texts if not any(_fixed(text) in turn for turn in turns)] or list(texts)


def _fixed(text: str) -> str:
    """The longest part of a frame outside its slot."""
    return max(asks.SLOT.sub("\n", text).split("\n"), key=len).strip()


# ---- harmful requests


def _insisting(job: Job, said: Sequence[Exchange], draw: random.Random) -> Prompt:
    category, case = job.prompt.category, job.prompt.case
    lists = _spec()["safety"]
    own = [one for one in lists if category in one.get("categories", ())]
    says = (own or [one for one in lists if "categories" not in one])[0]["says"]
    return Prompt(draw.choice(_unsaid(says, said)), "en", LENGTH, category=category, case=case, wants=REFUSAL)


# ---- asks of other kinds


def _after_ask(job: Job, said: Sequence[Exchange], draw: random.Random, seed: int) -> Prompt:
    asked, last = said[-1].prompt, said[-1].prompt.ask
    used = {one.prompt.wants for one in said}
    if THEN not in used and not asked.wants.startswith(PARTS) and (then := then_of(asked, seed)):
        lang, text = _said_in(then.says, then.doric, said, draw)
        return Prompt(text, lang, LENGTH, ask=last, subject=last, number=asked.number, wants=THEN)
    rules = [(at, rule) for at, rule in enumerate(_spec()["ask"]) if last in rule["after"]]
    at, rule = draw.choice([one for one in rules if f"{PARTS}:{one[0]}" not in used] or rules)
    if "of" not in rule:
        lang, text = _said_in(rule["says"], rule["doric"], said, draw)
        return Prompt(text, lang, LENGTH, ask=last, subject=last, wants=f"{PARTS}:{at}")
    kind = rule["of"]
    # from the end, because the rows of a plan are from the start
    number = asks.most_rows(kind) - 1 - _place(job, kind, len(said)) % asks.most_rows(kind)
    asked = prompts.ask_prompt(kind, number, seed)
    text = draw.choice(_unsaid(rule["says" if asked.lang == "en" else "doric"], said))
    return replace(asked, text=text.replace("{ask}", asked.text), wants=kind)


def _place(job: Job, kind: str, turn: int) -> int:
    """The place of a follow-up among all that ask something of a kind: another one for each chat and each turn.

    The chats are counted as if the plan had them in the default shares, so that the places have few gaps.
    """
    first, shares = job.prompt, _leading_to(kind)
    own, place = shares[first.ask], 0
    for name, share in shares.items():
        whole, rest = divmod(first.number * share, own)
        place += whole + (1 if rest or name < first.ask else 0)
    return place * (job.turns - FIRST_TURNS) + turn - 1


@functools.cache
def _leading_to(kind: str) -> dict[str, int]:
    """Ask -> its share, times 10,000, for each ask after which a chat may come to a question of a kind."""
    leading, size = {kind}, 0
    while len(leading) > size:
        size = len(leading)
        leading |= {name for rule in _spec()["ask"] if rule.get("of") in leading for name in rule["after"]}
    return {name: max(1, round(ask.share * 10_000)) for name, ask in asks.asks().items() if name in leading}


def _said_in(
    english: Sequence[str], doric: Sequence[str], said: Sequence[Exchange], draw: random.Random
) -> tuple[str, str]:
    lang = "en" if draw.random() < ENGLISH_SHARE or not doric else "sco"
    return lang, draw.choice(_unsaid(english if lang == "en" else doric, said))


def then_of(prompt: Prompt, seed: int) -> Then | None:
    """What may follow the question of an ask itself, if its pair has that."""
    return asks.asked(prompt.ask, prompt.number, seed).pair.then


def parts(prompt: Prompt, seed: int) -> Sequence[Sequence[str]]:
    """The lists whose entries make the answer to a follow-up that wants `PARTS` or `THEN`."""
    wanted = prompt.wants
    if wanted == THEN and (then := then_of(prompt, seed)):
        return then.parts
    return _spec()["ask"][int(wanted.partition(":")[2])]["parts"]
