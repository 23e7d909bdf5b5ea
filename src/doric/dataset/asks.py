"""What people ask besides advice: greetings, meanings of words, sums, jokes and so on, from `data/asks/`.

Each file is one kind of ask: its bucket, its share of the rows of this bucket, the rules of its answers, and pairs of
user turns and answers.
Any user turn of a pair may be answered by any of its answers, and an answer is one entry of each list of its `parts`.
Turns and answers may have slots, which `subjects` fills.
"""

import functools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from doric import data
from doric.core.errors import SettingsError
from doric.dataset.spread import ATTEMPT_STEP, start_of, visit
from doric.dataset.subjects import Subject, subjects

CORE = "core"
ADVICE = "advice"
"""The name of the core rows that are about a topic and belong to no file."""
TYPED = "typed"
"""The name, in `--ask-mix`, of the share of English prompts that are in lower case and without an end mark."""
MOST_REPEATS = 16
"""A subject or a user turn comes at most so many times in a plan, each time with another turn or another answer."""
LONG_PART = 0.3
"""If two answers differ in parts with this share of their letters, their similarity is mostly below 0.9."""
USED = 0.75
"""At most this share of the different answers of a pair is used, so that a rejected answer can be replaced."""
SLOT = re.compile(r"\{(\w+)\}")
NO_SUBJECT = Subject("", {})


@dataclass(frozen=True, slots=True)
class Then:
    """What a user may say after the answer of a pair, in English and in Doric, and the parts of the answer to it."""

    says: tuple[str, ...]
    doric: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Pair:
    """User turns and the lists whose entries make an answer. `parts_of_speech` (all if empty) limits the words."""

    asks: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...]
    lang: str = ""
    parts_of_speech: frozenset[str] = frozenset()
    then: Then | None = None

    @property
    def answers(self) -> int:
        """The number of different answers."""
        return math.prod(map(len, self.parts))

    @functools.cached_property
    def leaders(self) -> tuple[int | None, ...]:
        """For each part, the part with which it changes: itself if it is long, or one of several short parts.

        Short parts that are a long part together change together. The others have None: they change nothing much.
        """
        means = [sum(map(len, part)) / len(part) for part in self.parts]
        found: list[int | None] = [None] * len(means)
        group: list[int] = []
        for at in sorted(range(len(means)), key=lambda at: -means[at]):
            group.append(at)
            if sum(means[one] for one in group) >= LONG_PART * sum(means):
                leader = min(group, key=lambda one: len(self.parts[one]))
                for one in group:
                    found[one] = leader
                group = []
        return tuple(found)

    @property
    def distinct(self) -> int:
        """The number of answers of which no two are near-duplicates."""
        return math.prod(len(part) for at, part in enumerate(self.parts) if self.leaders[at] == at)

    def answer(self, number: int) -> str:
        """Answer `number`, with slots. Of `distinct` consecutive numbers, no two answers are near-duplicates."""
        again, at = divmod(number % self.answers, self.distinct)
        left, places = visit(self.distinct, at), {}
        for part, leader in enumerate(self.leaders):
            if leader == part:
                left, places[part] = divmod(left, len(self.parts[part]))
        for part, leader in enumerate(self.leaders):
            if leader != part:
                again, more = divmod(again, len(self.parts[part]))
                places[part] = ((at if leader is None else places[leader]) + more) % len(self.parts[part])
        return " ".join(lines[places[part]] for part, lines in enumerate(self.parts))

    @property
    def is_plain(self) -> bool:
        """Whether its user turns have no slots."""
        return not SLOT.search(self.asks[0])


@dataclass(frozen=True, slots=True)
class Ask:
    """A kind of ask. `length` is the least and the most words of an answer, `source` is where its slots come from.

    `share` is its share of the rows of its `bucket`, "core" or "adv".
    """

    name: str
    bucket: str
    share: float
    about: str
    instruction: str
    length: tuple[int, int]
    source: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What one row asks: a user turn of a pair, the subject that fills its slots, and the number of its answer."""

    pair: Pair
    text: str
    subject: Subject
    answer: int


# ---- the files


@functools.cache
def asks() -> dict[str, Ask]:
    """Name -> kind of ask, in the order of the names. Raises `DataError`."""
    return {name: _ask(name, data.read_toml(file)) for name, file in _files().items()}


def _files() -> dict[str, str]:
    return {file.removeprefix("asks/").removesuffix(".toml"): file for file in data.names("asks", ".toml")}


def _ask(name: str, spec: dict) -> Ask:
    pairs = tuple(_pair(raw) for raw in spec["pairs"])
    least, most = spec["length"]
    words, source = (least, most), spec.get("from", "")
    return Ask(name, spec.get("bucket", CORE), spec["share"], spec["about"], spec["instruction"], words, source, pairs)


def _pair(raw: dict) -> Pair:
    after = raw.get("then")
    then = Then(tuple(after["says"]), tuple(after["doric"]), _parts(after)) if after else None
    return Pair(tuple(raw["asks"]), _parts(raw), raw.get("lang", ""), frozenset(raw.get("pos", ())), then)


def _parts(raw: dict) -> tuple[tuple[str, ...], ...]:
    return tuple(map(tuple, raw["parts"]))


# ---- shares of a plan


def default_mix() -> dict[str, float]:
    """Name -> the share of the rows of its bucket that the files give, and the share of typed prompts."""
    return {name: ask.share for name, ask in asks().items()} | {TYPED: typed_share()}


def typed_share() -> float:
    """The share of English core prompts that are typed in lower case, from `data/prompts.toml`."""
    return data.read_toml("prompts.toml")["typed"]["share"]


def read_mix(text: str) -> dict[str, float]:
    """The mix that `--ask-mix` describes: "default", "none", or shares that change the default, in any combination.

    A later part takes precedence: "none,greeting=0.1" has only greetings. Raises `SettingsError`.
    """
    mix = default_mix()
    for part in filter(None, text.replace(",", " ").split()):
        name, given, share = part.partition("=")
        if not given and name in ("default", "none"):
            mix = default_mix() if name == "default" else {}
        else:
            mix[_known(name)] = _share(part, share)
    return check_mix(mix)


def _known(name: str) -> str:
    if name in (*asks(), TYPED):
        return name
    hint = f"Write default, none, or name=share with one of these names: {', '.join((*asks(), TYPED))}."
    raise SettingsError(f"--ask-mix: there is no ask '{name}'", hint=hint)


def _share(part: str, share: str) -> float:
    try:
        value = float(share)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise SettingsError(f"--ask-mix: '{part}' has no share from 0 to 1", hint="Write for instance greeting=0.1.")
    return value


def check_mix(mix: Mapping[str, float]) -> dict[str, float]:
    """The mix without shares of 0. Raises `SettingsError` if the asks of a bucket are more than all its rows."""
    kept = {name: share for name, share in mix.items() if share}
    if (total := sum(of_bucket(kept, CORE).values())) > 1 + 1e-9:
        hint = "They are shares of the core rows and may add up to 1; the rest asks for advice."
        raise SettingsError(f"the shares of --ask-mix sum to {total:g}, more than 1", hint=hint)
    return kept


def of_bucket(mix: Mapping[str, float], bucket: str) -> dict[str, float]:
    """The shares of the asks of a bucket."""
    return {name: share for name, share in mix.items() if name != TYPED and asks()[name].bucket == bucket}


# ---- user turns and answers


def most_rows(name: str) -> int:
    """The number of rows of an ask that can have different answers."""
    return sum(map(len, _rounds(name)))


def asked(name: str, number: int, seed: int) -> Asked:
    """What row `number` of an ask asks. Each subject, and each user turn without one, comes once before any again."""
    rounds, again = _rounds(name), 0
    number = place = number % most_rows(name)
    while place >= len(rounds[again]):
        place -= len(rounds[again])
        again += 1
    start = start_of(seed, name)
    pair, at, subject, earlier = rounds[again][visit(len(rounds[again]), place, start + again)]
    if pair is not None:
        return Asked(pair, pair.asks[at], NO_SUBJECT, earlier + start)
    turns = _turns(name, subject.part_of_speech)
    pair, turn = turns[(at + again + start) % len(turns)]
    return Asked(pair, turn, subject, number + start)


type Item = tuple[Pair | None, int, Subject, int]
"""A pair, the index of a user turn without slots and the number of its earlier rows; or a subject and its index."""


@functools.cache
def _rounds(name: str) -> tuple[tuple[Item, ...], ...]:
    """What is asked once, what is asked a second time, and so on: less each time, because no answer is repeated."""
    return tuple(filter(None, (tuple(_round(name, again)) for again in range(MOST_REPEATS))))


def _round(name: str, again: int) -> Iterator[Item]:
    ask = asks()[name]
    for at, subject in enumerate(subjects(ask.source) if ask.source else ()):
        if len(_turns(name, subject.part_of_speech)) > again:
            yield None, at, subject, 0
    for pair in ask.pairs:
        for at in range(len(pair.asks) if pair.is_plain else 0):
            if (earlier := again * len(pair.asks) + at) < math.ceil(USED * pair.distinct):
                yield pair, at, NO_SUBJECT, earlier


@functools.cache
def _turns(name: str, part_of_speech: str) -> tuple[tuple[Pair, str], ...]:
    """The user turns with slots that fit a part of speech, each with its pair."""
    fitting = (one for one in asks()[name].pairs if part_of_speech in (one.parts_of_speech or {part_of_speech}))
    return tuple((pair, text) for pair in fitting if not pair.is_plain for text in pair.asks)


def answer_to(one: Asked, attempt: int = 0) -> str:
    """The answer to what a row asks; each attempt gives another one, as long as the pair has more answers."""
    return filled(one.pair.answer(one.answer + attempt * ATTEMPT_STEP), one.subject)


def filled(text: str, subject: Subject) -> str:
    """A user turn or an answer with the values of a subject in its slots."""
    return SLOT.sub(lambda slot: subject.values.get(slot[1], slot[0]), text)
