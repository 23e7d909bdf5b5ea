"""The state of a run of the generator: its rows and rejections so far, and what they count up to.

To resume a run that was stopped, it is rebuilt from the two files of the run.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from doric.core.conversations import Row
from doric.core.errors import InputError, PlanError
from doric.core.markers import split_reasoning
from doric.core.text import has_text
from doric.dataset import exemplars
from doric.dataset.chats import FOLLOW_UPS, UNMARKED, Drift, tried
from doric.dataset.plan import FIRST_TURNS, Job, RejectedAnswer
from doric.dataset.relevance import OFF_TOPIC
from doric.dataset.sense import ScoreCount
from doric.llm.served_models import untagged
from doric.quality import gates
from doric.quality.near_duplicates import NearDuplicateIndex

log = logging.getLogger("doric")
FILTERED_TRIES = 2
"""Tries for a job if a content filter withholds its answers. More tries are useless: the question stays the same."""
LISTED_MODELS = 3
EXEMPLAR = "exemplar"
"""The ids, with a number, of the answers that a model was shown: an answer that is nearly the same is rejected."""


@dataclass(slots=True)
class Tally:
    """Counts of a run: rows by bucket, ask, turns, and of unmarked region; answers by tries; rejections; errors."""

    accepted: Counter[str] = field(default_factory=Counter)
    asks: Counter[str] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)
    drift: Drift = field(default_factory=Drift)
    unmarked: int = 0
    off_topic: int = 0
    by_try: Counter[int] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    scores: ScoreCount = field(default_factory=ScoreCount)
    unfilled: list[Job] = field(default_factory=list)
    withheld: set[str] = field(default_factory=set)


class History:
    """The rows and rejections so far of a run. To resume a run, replay its files into this object.

    `models` counts the rows of earlier runs by the model that wrote them.

    `find(id, kind, group, topic, prompt)` returns the id of the job of the plan that an entry belongs to, or "".
    """

    def __init__(self, find: Callable[[str, str, str, str, str], str] = lambda id, *_: id) -> None:
        self.tally = Tally()
        self.done: set[str] = set()
        self.rejected: dict[str, list[RejectedAnswer]] = {}
        self.models: Counter[str] = Counter()
        self.accepted = NearDuplicateIndex(gates.threshold("near_duplicate"))
        for number, exemplar in enumerate(exemplars.exemplars(), 1):  # models repeat what they are shown
            self.accepted.add(f"{EXEMPLAR}-{number}", exemplar.answer)
        self._find = find
        self._replayed: set[int] = set()

    def replay_row(self, row: Row) -> None:
        """Add a row of an earlier run. Raises `InputError` if this run cannot have written it."""
        try:
            meta, turns = row["meta"], [turn["content"] for turn in row["messages"]]
            prompt, text, later = turns[0], turns[1], turns[3::2]
            id, kind, tries = meta["id"], meta["kind"], meta["tries"]
            key = id, kind, meta["group"], meta["topic"], prompt
            tries_later = [one["tries"] for one in meta.get(FOLLOW_UPS, ())]
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
            raise _foreign("the generator did not write this row") from error
        if not all(isinstance(value, str) for value in (*key, text, *later)) or any(
            type(each) is not int for each in (tries, *tries_later)
        ):
            raise _foreign("the generator did not write this row")
        if not all(has_text(split_reasoning(answer).answer) for answer in (text, *later)):
            raise _foreign("this row has no answer")
        if not all(isinstance(question, str) and has_text(question) for question in turns[::2]):
            raise _foreign("this row has no question")
        if len(turns) != 2 * (1 + len(tries_later)):
            raise _foreign("this row does not have all its turns")
        if not (job := self._find(*key)):
            raise _foreign(f"the plan of this run has no row with the id {id}")
        if job in self.done:
            raise _foreign(f"an earlier line has the same id, {id}")
        for answer in (text, *later):
            self.accepted.add(id, answer)
        self.add(row, tries, *tries_later, job=job)
        if model := model_of(row):
            self.models[model] += 1

    def replay_rejection(self, entry: dict[str, Any]) -> None:
        """Add a rejection of an earlier run, after its rows. Raises `InputError` as `replay_row` does."""
        try:
            id, model = entry["id"], entry.get("model", "")
            answer, turn = (
                RejectedAnswer(entry["answer"], entry["gate"], entry["reason"], model),
                entry.get("turn", FIRST_TURNS),
            )
            key = id, entry["kind"], entry["group"], entry["topic"], entry["prompt"]
        except KeyError as error:
            raise _foreign("the generator did not write this rejection") from error
        if not all(isinstance(value, str) for value in (*key, answer.text, answer.gate, answer.reason, model)):
            raise _foreign("the generator did not write this rejection")
        number = entry.get("try")  # None for a row that a merge has left out
        if type(turn) is not int or type(number) not in (int, type(None)):
            raise _foreign("the generator did not write this rejection")
        if (same := hash((id, turn, number, answer.text, model))) in self._replayed:
            raise _foreign(f"an earlier line is the same rejection of {id}")
        if not (job := self._find(*key)):
            raise _foreign(f"the plan of this run has no row with the id {id}")
        self._replayed.add(same)
        self.tally.rejected[answer.gate] += 1
        if job not in self.done:
            if turn > FIRST_TURNS:  # it answered a follow-up to an answer that is lost, so a model must not see it
                answer = replace(answer, text="")
            self.rejected.setdefault(tried(job, turn), []).append(answer)

    def keep_tries_of(self, model: str) -> None:
        """Forget the tries of other models: they are no tries of this one."""
        same = ("", untagged(model))
        for key, answers in self.rejected.items():
            self.rejected[key] = [answer for answer in answers if untagged(answer.model) in same]

    def used_up(self, job: Job, most: int) -> Sequence[RejectedAnswer]:
        """The rejected answers to a turn of the job that has no try of `most` left; none if each turn has one."""
        turns = range(FIRST_TURNS, job.turns + 1)
        tries = (self.rejected.get(tried(job.id, turn), []) for turn in turns)
        return next((answers for answers in tries if used_up(answers, most)), [])

    def may_ask(self, jobs: Iterable[Job], most: int, model: str) -> bool:
        """Whether the model has a try left for a job without a row. The tries of other models are forgotten."""
        self.keep_tries_of(model)
        return any(job.id not in self.done and not self.used_up(job, most) for job in jobs)

    def add(self, row: Row, *tries: int, job: str = "") -> None:
        """Add a row whose answers are in `accepted`; `tries` are those of each answer.

        `job` is the id of the job that it fills, if it differs from that of the row.
        """
        meta = row["meta"]
        self.done.add(job or meta["id"])
        self.tally.accepted[meta["kind"]] += 1
        if ask := meta.get("ask"):
            self.tally.asks[str(ask)] += 1
        self.tally.turns[FIRST_TURNS - 1 + len(tries)] += 1
        self.tally.drift.add(meta)
        self.tally.unmarked += meta.get("region") == UNMARKED
        self.tally.by_try.update(tries)
        self.tally.off_topic += meta.get(OFF_TOPIC) is True
        for one in (meta, *(meta.get(FOLLOW_UPS) or ())):
            self.tally.scores.add(one)


def model_of(row: Row) -> str:
    """The name of the model that wrote a row; "" if the row does not say it.

    >>> model_of({"messages": [], "meta": {"model": "llama3.1:latest"}})
    'llama3.1'
    """
    name = (row.get("meta") or {}).get("model")
    return untagged(name) if isinstance(name, str) else ""


def check_model(model: str, models: Mapping[str, int], path: Path, *, allowed: bool) -> None:
    """Raise `PlanError` if none of the rows in `path` is from `model`, unless `allowed`.

    `models` counts the rows by model. Without rows, any model may continue the run.
    """
    if not models or untagged(model) in models:
        return
    earlier = ", ".join(f"{name} ({count:,} rows)" for name, count in Counter(models).most_common(LISTED_MODELS))
    if allowed:
        log.info("%s has rows from %s. The model %s writes the others.", path, earlier, model)
        return
    hint = "Give the old model with --model, --allow-model-change to mix them, or another --out to keep both."
    raise PlanError(f"{path} was begun with the model {earlier}, and this run asks {model}", hint=hint)


def used_up(rejected: Sequence[RejectedAnswer], most: int) -> bool:
    """Whether there is no try left of `most`."""
    return len(rejected) >= most or is_withheld(rejected)


def is_withheld(rejected: Sequence[RejectedAnswer]) -> bool:
    """Whether a content filter has withheld as many answers of this job as are allowed."""
    return sum(answer.gate == "filtered" for answer in rejected) >= FILTERED_TRIES


def _foreign(what: str) -> InputError:
    return InputError(what, hint="Fix or remove the line, or give --overwrite to start again; a copy is kept.")
