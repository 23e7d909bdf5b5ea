"""Where the jobs of a run come from. A run needs no more of them than a `Source` has."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from doric.core.conversations import Row
from doric.core.errors import InputError
from doric.core.text import listed_counts
from doric.dataset import asks, followups, instructions, replies
from doric.dataset.followups import FollowUp
from doric.dataset.plan import FIRST_TURNS, Job, Jobs, Plan, Voice
from doric.dataset.shards import SHARD, WHOLE, Shard
from doric.dataset.tasks import Task, WriteAnswer
from doric.llm.client import Backend

FROM = "from"
"""The key of the fingerprint for the source, and of the meta of its rows. Those of topics lack it."""
TEXTS, CHATS = "texts", "chats"


@dataclass(frozen=True, slots=True)
class Writing:
    """How the rows of a source are written: by whom, what users say next, and what the row has of it."""

    voice: Voice
    follow_up: FollowUp
    task: Task


class Source(Jobs, Protocol):
    """The jobs of a run, with all that differs between sources."""

    @property
    def needs_model(self) -> bool:
        """Whether only a model can write what is needed."""
        ...

    @property
    def respells(self) -> bool:
        """Whether the answers are not a speaker's, so that they may be put in the house spelling and judged."""
        ...

    def find(self, id: str, *, kind: str, group: str, topic: str, prompt: str) -> str:
        """The id of the job that a row fills, or ""."""
        ...

    def fingerprint(self) -> dict[str, object]:
        """The values that must be equal so that a run can be resumed."""
        ...

    def description(self) -> str:
        """The plan, for people."""
        ...

    def expected_tokens(self) -> tuple[float, float]:
        """Estimated tokens in, and the most tokens out, of a call."""
        ...

    def expected_cached(self) -> float:
        """Estimated tokens in of a call that a provider has in its cache."""
        ...

    def writing(self, client: Backend | None, temperature: float) -> Writing:
        """How rows are written, by the model of `client` or by the embedded voice."""
        ...

    def replay(self, row: Row) -> None:
        """Take note of a row of an earlier run."""
        ...


@dataclass(frozen=True, slots=True)
class TopicSource:
    """The rows about topics that a plan has, or those of a shard of it."""

    plan: Plan
    needs_model: bool = False
    respells: bool = True
    shard: Shard = WHOLE

    @property
    def seed(self) -> int:
        """The seed of the plan."""
        return self.plan.seed

    @property
    def answers(self) -> int:
        """The answers of its rows; of a shard, its share of those of the plan."""
        return round(self.plan.answers * len(self) / len(self.plan))

    def __len__(self) -> int:
        return self.shard.size(len(self.plan))

    def __iter__(self) -> Iterator[Job]:
        return map(self.plan.job, self.shard.numbers(self.plan))

    def find(self, id: str, *, kind: str, group: str, topic: str, prompt: str) -> str:
        """The id of the job that a row fills, or ""."""
        number = self.plan.number_of(id, kind=kind, group=group, topic=topic, prompt=prompt)
        if number is None or not (self.shard.whole or self.shard.has(self.plan.rank(number))):
            return ""
        return self.plan.job(number).id

    def fingerprint(self) -> dict[str, object]:
        """That of the plan, and the shard if there is more than one."""
        shard = {} if self.shard.whole else {SHARD: [self.shard.number, self.shard.count]}
        return self.plan.fingerprint() | shard

    def description(self) -> str:
        """Rows by bucket, by turns and by what is asked."""
        plan = self.plan
        counts = ", ".join(f"{kind} {count:,}" for kind, count in plan.counts.items())
        lines = [f"{len(plan):,} rows over {len(plan.topics):,} topics: {counts}"]
        if plan.mix.turns != (FIRST_TURNS, FIRST_TURNS):
            turns = ", ".join(f"{turns} turns {rows:,}" for turns, rows in plan.turns.items())
            lines.append(f"rows by turns: {turns}; {plan.answers:,} answers")
        lines += [f"{bucket} rows by what is asked: {asked}" for bucket, asked in asked_lines(plan.asks, plan.counts)]
        if not self.shard.whole:
            lines.append(f"shard {self.shard}: {len(self):,} of these rows, with the same mix")
        return "\n".join(lines)

    def expected_tokens(self) -> tuple[float, float]:
        """Means over a sample of the plan."""
        return instructions.expected_tokens(self.plan)

    def expected_cached(self) -> float:
        """A mean over a sample of the plan."""
        return instructions.expected_cached(self.plan)

    def writing(self, client: Backend | None, temperature: float) -> Writing:
        """By the model, or by the embedded voice."""
        if client is None:
            return Writing(replies.voice(self.seed), replies.follow_up(self.seed), WriteAnswer())
        voice = instructions.voice(client, self.seed, temperature)
        return Writing(voice, followups.for_model(self.seed), WriteAnswer())

    def replay(self, row: Row) -> None:
        """Nothing: the history has it."""


def asked_lines(rows: Mapping[str, int], buckets: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """(bucket, counts) of each bucket that has rows of a kind of ask. The other adv rows are "orders"."""
    kinds = asks.asks()
    for bucket in (asks.CORE, "adv"):
        own = {name: n for name, n in rows.items() if (kinds[name].bucket if name in kinds else asks.CORE) == bucket}
        if own.keys() - {asks.ADVICE}:
            rest = buckets.get(bucket, 0) - sum(own.values())
            yield bucket, listed_counts(own | ({"orders" if bucket == "adv" else "other": rest} if rest else {}))


@dataclass
class LeftOut:
    """What of the files is not used: the places of each reason."""

    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, place: str) -> None:
        """Note one place."""
        self.places.setdefault(reason, []).append(place)

    def lines(self) -> list[str]:
        """One line for each reason, the most frequent first, with its count and the first two places."""
        ordered = sorted(self.places.items(), key=lambda item: -len(item[1]))
        return [f"left out: {len(places):,} {reason} ({', '.join(places[:2])})" for reason, places in ordered]

    def nothing_left(self, what: str, file: Path, hint: str) -> InputError:
        """The error if everything is left out. `what` is what the files should have."""
        lines = f" ({'; '.join(self.lines())})" if self.places else ""
        return InputError(f"no {what} to use in it{lines}", file=file, hint=hint)
