"""Topics, ratios and a seed to jobs: how many of each bucket, which prompt, under which id.

The whole plan is arithmetic on a job's number, so it takes the same memory for a hundred jobs and a million, and any
part of it can be worked out alone. Knows nothing of answers.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from doric.core.conversations import stable_id
from doric.core.errors import SettingsError
from doric.dataset import prompts
from doric.dataset import spread as rota
from doric.topics.lists import Topic

WITNESSES = 1000
"""Jobs whose ids stand for the wording of a plan's prompts."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Rows a topic, and the share of the whole plan that goes to each bucket but core."""

    n_per_topic: int = 6
    adv: float = 0.1
    safety: float = 0.05
    multi: float = 0.2

    def __post_init__(self) -> None:
        if self.n_per_topic < 1:
            raise SettingsError(f"--n-per-topic is {self.n_per_topic}", hint="Ask for at least 1 row a topic.")
        for flag, share in (("--adv-ratio", self.adv), ("--safety-ratio", self.safety), ("--multi-ratio", self.multi)):
            if not 0 <= share <= 1:
                raise SettingsError(f"{flag} is {share}", hint="Give a share from 0 to 1.")
        if (total := self.adv + self.safety + self.multi) > 1 + 1e-9:
            hint = "--adv-ratio, --safety-ratio and --multi-ratio may reach 1 together; the rest is core."
            raise SettingsError(f"the ratios sum to {total:g}, more than 1", hint=hint)


@dataclass(frozen=True, slots=True)
class Job:
    """One row to make. `slot` counts a topic's jobs from 0; `place` is where the topic stands in the list."""

    id: str
    topic: Topic
    kind: str
    prompt: prompts.Prompt
    slot: int
    place: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """The places that belong to a bucket: from `low` to `high` - 1."""

    kind: str
    low: int
    high: int


class Plan:
    """The jobs of a run, in order, and what tells this plan from another."""

    def __init__(self, topics: Sequence[Topic], mix: Mix, *, langs: Sequence[str] = (), seed: int = 0) -> None:
        self.topics = tuple(topics)
        self.mix = mix
        self.langs = tuple(dict.fromkeys(langs)) or prompts.languages()
        self.seed = seed
        unknown = [lang for lang in self.langs if lang not in prompts.languages()]
        if unknown:
            hint = f"Choose from: {' '.join(prompts.languages())}."
            raise SettingsError(f"--langs names {', '.join(unknown)}, which has no prompts", hint=hint)
        self._start = rota.start_of(seed)
        self._buckets = tuple(self._cut())

    def __len__(self) -> int:
        return len(self.topics) * self.mix.n_per_topic

    def __iter__(self) -> Iterator[Job]:
        return map(self.job, range(len(self)))

    @property
    def counts(self) -> dict[str, int]:
        """Bucket -> rows of it in the whole plan."""
        rows = {bucket.kind: bucket.high - bucket.low for bucket in self._buckets}
        return {kind: rows[kind] for kind in prompts.KINDS}

    def job(self, number: int) -> Job:
        """Job `number`: topics take turns, so that a run stopped early has touched all of them."""
        slot, place = divmod(number, len(self.topics))
        topic, first = self.topics[place], place * self.mix.n_per_topic
        # Steps of the golden section visit every place once and leave no gap or cluster, so each run of
        # neighbouring steps, that is each topic, gets its share of every bucket.
        start = rota.place(len(self), first, self._start)
        point = rota.place(len(self), slot, start)
        bucket = next(bucket for bucket in self._buckets if point < bucket.high)
        turn = rota.before(len(self), slot, bucket.low, bucket.high, start)
        prompt = self._prompt(topic, bucket, turn, first)
        id = stable_id(self.seed, bucket.kind, topic.group, topic.text, slot, prompt.text)
        return Job(id, topic, bucket.kind, prompt, slot, place)

    def fingerprint(self) -> dict[str, object]:
        """What must be the same for two runs to write one file."""
        return {
            "topics": stable_id(*(part for topic in self.topics for part in (topic.group, topic.text))),
            "prompts": stable_id(*(self.job(number).id for number in range(min(len(self), WITNESSES)))),
            "topic_count": len(self.topics),
            "n_per_topic": self.mix.n_per_topic,
            "adv_ratio": self.mix.adv,
            "safety_ratio": self.mix.safety,
            "multi_ratio": self.mix.multi,
            "langs": list(self.langs),
            "seed": self.seed,
        }

    def _cut(self) -> Iterator[Bucket]:
        # rounding the running totals keeps every bucket within one row of its share
        low, total = 0, 0.0
        for kind, share in (("adv", self.mix.adv), ("safety", self.mix.safety), ("multi", self.mix.multi)):
            total += share
            high = min(len(self), math.floor(len(self) * total + 0.5))
            yield Bucket(kind, low, high)
            low = high
        yield Bucket("core", low, len(self))

    def _prompt(self, topic: Topic, bucket: Bucket, turn: int, first: int) -> prompts.Prompt:
        if bucket.kind == "core":
            return prompts.core_prompt(topic.text, turn, rota.start_of(self.seed, topic.text))
        # running on from topic to topic uses frames and languages evenly over the plan, and no two alike within a topic
        start = self._start + rota.before(len(self), first, bucket.low, bucket.high, self._start)
        if bucket.kind == "adv":
            return prompts.adv_prompt(topic.text, turn, start)
        if bucket.kind == "safety":
            return prompts.safety_prompt(start + turn)
        again, lang = divmod(start + turn, len(self.langs))
        return prompts.multi_prompt(topic.text, self.langs[lang], again)
