"""The plan of a run: how many rows of each bucket, and the prompt and id of each row.

A job is computed from its number alone. So a plan of a million jobs takes no more memory than a plan of a hundred, and
any part of it can be computed separately.
"""

import bisect
import functools
import math
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from doric.core.conversations import stable_id
from doric.core.errors import SettingsError
from doric.dataset import asks, prompts
from doric.dataset.prompts import Prompt
from doric.dataset.spread import start_of, visit, visits_between
from doric.llm.response import Completion
from doric.topics.lists import Topic

FINGERPRINT_JOBS = 1000
"""The ids of so many jobs are in the fingerprint of a plan. They change if the wording of the prompts changes."""

ASK_MIX = "ask_mix"
"""The key of the fingerprint for the shares of asks. Plans of earlier versions, and plans without asks, lack it."""


TURNS = "turns"
"""The key of the fingerprint for the least and the most turns of a chat. Plans whose chats have two turns lack it."""
FIRST_TURNS = 2
"""The turns of a chat without a follow-up: the user's and the answer's. Each follow-up and its answer are one more."""
MOST_TURNS = 6
"""In longer chats users would repeat themselves, and the embedded voice has no more to say about a topic."""


@dataclass(frozen=True, slots=True)
class Mix:
    """The number of rows per topic, and for each bucket except core its share of the whole plan.

    `asks` are the shares of the rows of a bucket that are asks of another kind than the rest (see `asks.read_mix`).
    `turns` are the least and the most turns of a chat (see `read_turns`).
    """

    n_per_topic: int = 6
    adv: float = 0.1
    safety: float = 0.05
    multi: float = 0.2
    asks: Mapping[str, float] = field(default_factory=asks.default_mix)
    turns: tuple[int, int] = (FIRST_TURNS, FIRST_TURNS)

    def __post_init__(self) -> None:
        if self.n_per_topic < 1:
            raise SettingsError(f"--n-per-topic is {self.n_per_topic}", hint="Ask for at least 1 row per topic.")
        for flag, share in (("--adv-ratio", self.adv), ("--safety-ratio", self.safety), ("--multi-ratio", self.multi)):
            if not 0 <= share <= 1:
                raise SettingsError(f"{flag} is {share}", hint="Give a share from 0 to 1.")
        if (total := self.adv + self.safety + self.multi) > 1 + 1e-9:
            hint = "--adv-ratio, --safety-ratio and --multi-ratio may add up to 1; the rest is core."
            raise SettingsError(f"the ratios sum to {total:g}, more than 1", hint=hint)
        object.__setattr__(self, "asks", asks.check_mix(self.asks))


def read_turns(text: str) -> tuple[int, int]:
    """The least and the most turns of a chat that `--turns` gives: a number, or a range such as 2-4.

    Two turns are a question and its answer, and each turn more is a follow-up with its answer. Raises `SettingsError`.

    >>> read_turns("3"), read_turns("2-4")
    ((3, 3), (2, 4))
    """
    found = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", text.strip(), re.ASCII)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if FIRST_TURNS <= least <= most <= MOST_TURNS:
        return least, most
    hint = f"Give a number from {FIRST_TURNS} to {MOST_TURNS}, or a range such as 2-4. {FIRST_TURNS} is a question and"
    raise SettingsError(f"--turns is '{text}'", hint=f"{hint} its answer.")


@dataclass(frozen=True, slots=True)
class Job:
    """A row to make. `slot` is the number of the job among those of its topic, from 0. `place` is the topic's index.
    `number` is that of the job in the plan.

    A harmful request and an ask that is no advice are not about the topic: their rows have `about` and `group` instead.
    In a later turn of the chat, `prompt` is the follow-up of the user.
    """

    id: str
    topic: Topic
    kind: str
    prompt: Prompt
    slot: int
    place: int
    turns: int = FIRST_TURNS
    number: int = 0

    @property
    def about(self) -> str:
        """What the row is about: the topic, the category of a harmful request, or the subject of an ask."""
        return self.prompt.category or self.prompt.subject or self.topic.text

    @property
    def group(self) -> str:
        """The group of the row: that of its topic, "safety", or the kind of ask."""
        return "safety" if self.prompt.category else self.prompt.ask if self.prompt.subject else self.topic.group


@dataclass(frozen=True, slots=True)
class RejectedAnswer:
    """An answer that a gate rejected: its text, the gate, the reason, and the model that wrote it ("" if not known)."""

    text: str
    gate: str
    reason: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was said in a chat before: a user turn and its accepted answer."""

    prompt: Prompt
    answer: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request for the answer to a job, with the answers rejected so far and what was said before, oldest first."""

    job: Job
    rejected: tuple[RejectedAnswer, ...] = ()
    said: tuple[Exchange, ...] = ()

    @property
    def number(self) -> int:
        """The number of the attempt, from 0."""
        return len(self.rejected)

    @property
    def cut_off(self) -> int:
        """The number of answers that were cut off at the token budget. The budget grows with each of them."""
        return sum(answer.gate == "cut_off" for answer in self.rejected)


type Voice = Callable[[Attempt], Awaitable[Completion]]
"""A writer of answers: the embedded voice (`heuristic`) or a model (`instructions`)."""


class Jobs(Protocol):
    """The jobs of a run, in order. `answers` are those of all their chats together."""

    @property
    def seed(self) -> int: ...

    @property
    def answers(self) -> int: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Job]: ...


@dataclass(frozen=True, slots=True)
class Bucket:
    """The positions that belong to a bucket, or to a kind of ask in it: from `low` to `high` - 1."""

    kind: str
    low: int
    high: int
    ask: str = ""


class Plan:
    """The jobs of a run, in order. Raises `SettingsError` for a language without prompts."""

    def __init__(self, topics: Sequence[Topic], mix: Mix, *, langs: Sequence[str] = (), seed: int = 0) -> None:
        self.topics = tuple(topics)
        self.mix = mix
        self.langs = tuple(dict.fromkeys(langs)) or prompts.languages()
        self.seed = seed
        unknown = [lang for lang in self.langs if lang not in prompts.languages()]
        if unknown:
            hint = f"Choose from: {' '.join(prompts.languages())}."
            raise SettingsError(f"--langs: no prompts in {', '.join(unknown)}", hint=hint)
        self._start = start_of(seed)
        self._buckets = tuple(self._cut())
        self._ends = [bucket.high for bucket in self._buckets]
        self._places = {(topic.group, topic.text): place for place, topic in enumerate(self.topics)}
        self._last_slot = 0

    def __len__(self) -> int:
        return len(self.topics) * self.mix.n_per_topic

    def __iter__(self) -> Iterator[Job]:
        return map(self.job, range(len(self)))

    @property
    def counts(self) -> dict[str, int]:
        """Bucket -> its rows in the whole plan."""
        rows = dict.fromkeys(prompts.KINDS, 0)
        for bucket in self._buckets:
            rows[bucket.kind] += bucket.high - bucket.low
        return rows

    @property
    def asks(self) -> dict[str, int]:
        """Kind of ask -> its rows in the whole plan, advice first, without those that have none."""
        rows = {bucket.ask: bucket.high - bucket.low for bucket in reversed(self._buckets) if bucket.ask}
        return {name: rows[name] for name in (asks.ADVICE, *self.mix.asks) if rows.get(name)}

    @property
    def turns(self) -> dict[int, int]:
        """Number of turns -> the chats of the whole plan that have so many."""
        least, most = self.mix.turns
        rows: Counter[int] = Counter()
        for bucket in self._buckets:
            again, rest = divmod(bucket.high - bucket.low, most - least + 1)
            rows.update({least + more: again + (more < rest) for more in range(most - least + 1)})
        return {turns: count for turns, count in sorted(rows.items()) if count}

    @property
    def answers(self) -> int:
        """The answers of the whole plan."""
        return sum((turns - FIRST_TURNS + 1) * rows for turns, rows in self.turns.items())

    @property
    def capped(self) -> dict[str, int]:
        """Kind of ask -> its rows, for each that has fewer than its share: no more of its answers are different.

        The other rows are about topics.
        """
        rows = self.asks
        return {
            name: rows.get(name, 0)
            for bucket, count in self.counts.items()
            for name, share in asks.of_bucket(self.mix.asks, bucket).items()
            if rows.get(name, 0) < math.floor(count * share) - 1
        }

    def job(self, number: int) -> Job:
        """Job `number`. Consecutive jobs have different topics, so a run that is stopped early has used all topics."""
        slot, place = divmod(number, len(self.topics))
        topic, first = self.topics[place], place * self.mix.n_per_topic
        start = visit(len(self), first, self._start)
        bucket = self._bucket(slot, start)
        least, most = self.mix.turns
        turns = least + (visit(len(self), slot, start) - bucket.low) % (most - least + 1)
        earlier = visits_between(len(self), slot, bucket.low, bucket.high, start)
        prompt = self._prompt(topic, bucket, earlier, first)
        id = stable_id(self.seed, bucket.kind, topic.group, topic.text, slot, prompt.text)
        return Job(id, topic, bucket.kind, prompt, slot, place, turns, number)

    def _bucket(self, slot: int, start: int) -> Bucket:
        """The bucket of a topic's job `slot`; `start` is the position of its first job."""
        # Golden-ratio steps visit every position once and leave no clusters. The visits of a topic are consecutive,
        # so each topic gets its share of every bucket.
        point = visit(len(self), slot, start)
        return self._buckets[bisect.bisect_right(self._ends, point)]

    def rank(self, number: int) -> int:
        """The number of job `number` if the jobs are counted bucket by bucket, and in a bucket topic by topic."""
        slot, place = divmod(number, len(self.topics))
        first = place * self.mix.n_per_topic
        bucket = self._bucket(slot, visit(len(self), first, self._start))
        return bucket.low + visits_between(len(self), first + slot, bucket.low, bucket.high, self._start)

    def find(self, id: str, *, kind: str, group: str, topic: str, prompt: str) -> str:
        """The id of the job that a row with the id `id` fills, or "". The other values are those of the row.

        The prompt of the row may be edited. The ids differ if the wording of the prompts has changed since.
        """
        number = self.number_of(id, kind=kind, group=group, topic=topic, prompt=prompt)
        return "" if number is None else self.job(number).id

    def number_of(self, id: str, *, kind: str, group: str, topic: str, prompt: str) -> int | None:
        """The number of the job that `find` returns, or None."""
        if (known := self._without_topic.get(id)) is not None and known[:2] == (group, topic):
            return known[2]
        if (place := self._places.get((group, topic))) is None:
            return None
        # rows are written in the order of the plan, so the slot is mostly that of the row before
        slots = [self._last_slot, *range(self.mix.n_per_topic)]
        for slot in slots:
            if stable_id(self.seed, kind, group, topic, slot, prompt) == id:
                self._last_slot = slot
                return slot * len(self.topics) + place
        every = range(place, len(self), len(self.topics))
        return next((number for number in every if self.job(number).id == id), None)

    def fingerprint(self) -> dict[str, object]:
        """The values that must be equal so that two runs write the same file."""
        return {
            "topics": stable_id(*(part for topic in self.topics for part in (topic.group, topic.text))),
            "prompts": stable_id(*(self.job(number).id for number in range(min(len(self), FINGERPRINT_JOBS)))),
            "topic_count": len(self.topics),
            "n_per_topic": self.mix.n_per_topic,
            "adv_ratio": self.mix.adv,
            "safety_ratio": self.mix.safety,
            "multi_ratio": self.mix.multi,
            "langs": list(self.langs),
            "seed": self.seed,
            **({ASK_MIX: dict(self.mix.asks)} if self.mix.asks else {}),
            **({TURNS: list(self.mix.turns)} if self.mix.turns != (FIRST_TURNS, FIRST_TURNS) else {}),
        }

    @functools.cached_property
    def _without_topic(self) -> dict[str, tuple[str, str, int]]:
        """Id -> (group, what it is about, number) of each job not about its topic. Only resumed runs need it."""
        found = {}
        for number in range(len(self)):
            slot, place = divmod(number, len(self.topics))
            bucket = self._bucket(slot, visit(len(self), place * self.mix.n_per_topic, self._start))
            if bucket.kind == "safety" or bucket.ask not in ("", asks.ADVICE):
                job = self.job(number)
                found[job.id] = job.group, job.about, number
        return found

    def _cut(self) -> Iterator[Bucket]:
        # the running totals are rounded, so every bucket differs from its share by less than one row
        low, total = 0, 0.0
        for kind, share in (("adv", self.mix.adv), ("safety", self.mix.safety), ("multi", self.mix.multi)):
            total += share
            high = min(len(self), math.floor(len(self) * total + 0.5))
            yield from self._cut_bucket(kind, low, high)
            low = high
        yield from self._cut_bucket(asks.CORE, low, len(self), asks.ADVICE)

    def _cut_bucket(self, kind: str, low: int, end: int, rest: str = "") -> Iterator[Bucket]:
        """The kinds of ask of a bucket, and the `rest` of it."""
        rows, total, before = end - low, 0.0, 0
        for name, share in asks.of_bucket(self.mix.asks, kind).items():
            total += share
            until = math.floor(rows * total + 0.5)
            high = min(end, low + min(until - before, asks.most_rows(name)))
            yield Bucket(kind, low, high, name)
            low, before = high, until
        yield Bucket(kind, low, end, rest)

    def _prompt(self, topic: Topic, bucket: Bucket, number: int, first: int) -> Prompt:
        if bucket.kind == asks.CORE or bucket.ask:
            return self._asking_prompt(topic, bucket, number, first)
        # the count continues from topic to topic: so frames and languages are used evenly, and none twice in a topic
        start = self._start + visits_between(len(self), first, bucket.low, bucket.high, self._start)
        if bucket.kind == "adv":
            return prompts.adv_prompt(topic.text, number, start)
        if bucket.kind == "safety":
            return prompts.safety_prompt(start + number)
        again, lang = divmod(start + number, len(self.langs))
        return prompts.multi_prompt(topic.text, self.langs[lang], again)

    def _asking_prompt(self, topic: Topic, bucket: Bucket, number: int, first: int) -> Prompt:
        share = self.mix.asks.get(asks.TYPED, 0) if bucket.kind == asks.CORE else 0
        at = number
        if share or bucket.ask != asks.ADVICE:  # its number among the rows of the same ask, topic by topic
            at += visits_between(len(self), first, bucket.low, bucket.high, self._start)
        if bucket.ask == asks.ADVICE:
            prompt = prompts.core_prompt(topic.text, number, start_of(self.seed, topic.text))
        else:
            prompt = prompts.ask_prompt(bucket.ask, at, self.seed)
        is_typed = math.floor((at + 1) * share) > math.floor(at * share)
        return prompts.typed(prompt, at) if is_typed and prompt.lang == "en" else prompt
