"""From jobs to rows: ask a voice, check its answer, retry with the reason, and keep accepted and rejected answers.

A voice is any coroutine function that returns an answer. Rows are written to one file, and rejections to another. To
resume a run that was stopped, its whole state is rebuilt from these two files.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doric.core.characters import tidy
from doric.core.conversations import Row, make_row
from doric.core.errors import FatalServerError, InputError, PlanError, RescuedError, ServerError
from doric.core.text import MAX_CHARACTERS, sentences, whole_sentences
from doric.dataset.plan import Attempt, Job, RejectedAnswer, Voice
from doric.dataset.respelling import Respelling
from doric.llm.brake import Brake
from doric.llm.budget import Budget
from doric.llm.response import ABORTED, Completion
from doric.llm.served_models import untagged
from doric.quality import gates
from doric.quality.decontamination import HeldOutPrompt, find_match
from doric.quality.gates import Answer, Rejection
from doric.quality.near_duplicates import NearDuplicateIndex
from doric.quality.wrapping import unwrap

log = logging.getLogger("doric")
BUDGET_GROWTHS = 2
"""The token budget of a job grows at most so often after a cut-off answer. After that, the answer is shortened."""
FILTERED_TRIES = 2
"""Tries for a job if a content filter withholds its answers. More tries are useless: the question stays the same."""
UNMARKED = "unmarked"
"""`meta.region` of a row in Scots that has no form of the North-East; other rows have no `meta.region`."""
LISTED_MODELS = 3
DIGITS = 4


class BudgetExhausted(Exception):
    """A budget is used up; the message says which."""


@dataclass(slots=True)
class Tally:
    """Counts of a run: rows by bucket, by ask, of unmarked region and by tries; rejections by gate; errors by kind."""

    accepted: Counter[str] = field(default_factory=Counter)
    asks: Counter[str] = field(default_factory=Counter)
    unmarked: int = 0
    by_try: Counter[int] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
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
        self._find = find
        self._replayed: set[int] = set()

    def replay_row(self, row: Row) -> None:
        """Add a row of an earlier run. Raises `InputError` if this run cannot have written it."""
        try:
            meta, (prompt, text) = row["meta"], (turn["content"] for turn in row["messages"][:2])
            id, kind, tries = meta["id"], meta["kind"], meta["tries"]
            key = id, kind, meta["group"], meta["topic"], prompt
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise _foreign("the generator did not write this row") from error
        if not all(isinstance(value, str) for value in (*key, text)) or type(tries) is not int:
            raise _foreign("the generator did not write this row")
        if not text.strip():
            raise _foreign("this row has no answer")
        if not (job := self._find(*key)):
            raise _foreign(f"the plan of this run has no row with the id {id}")
        if job in self.done:
            raise _foreign(f"an earlier line has the same id, {id}")
        self.add(job, kind, text, tries, ask=str(meta.get("ask") or ""))
        self.tally.unmarked += meta.get("region") == UNMARKED
        if model := model_of(row):
            self.models[model] += 1

    def replay_rejection(self, entry: dict[str, Any]) -> None:
        """Add a rejection of an earlier run, after its rows. Raises `InputError` as `replay_row` does."""
        try:
            id, model = entry["id"], entry.get("model", "")
            answer = RejectedAnswer(entry["answer"], entry["gate"], entry["reason"], model)
            key = id, entry["kind"], entry["group"], entry["topic"], entry["prompt"]
        except KeyError as error:
            raise _foreign("the generator did not write this rejection") from error
        if not all(isinstance(value, str) for value in (*key, answer.text, answer.gate, answer.reason, model)):
            raise _foreign("the generator did not write this rejection")
        if (same := hash((id, entry.get("try"), answer.text, model))) in self._replayed:
            raise _foreign(f"an earlier line is the same rejection of {id}")
        if not (job := self._find(*key)):
            raise _foreign(f"the plan of this run has no row with the id {id}")
        self._replayed.add(same)
        self.tally.rejected[answer.gate] += 1
        if job not in self.done:
            self.rejected.setdefault(job, []).append(answer)

    def add(self, id: str, kind: str, text: str, tries: int, *, ask: str = "") -> None:
        """Add an accepted answer; `ask` is the kind of ask of a core row."""
        self.accepted.add(id, text)
        self.done.add(id)
        self.tally.accepted[kind] += 1
        if ask:
            self.tally.asks[ask] += 1
        self.tally.by_try[tries] += 1


async def _may_call() -> bool:
    return True


def _ignore_tokens(tokens: int) -> None:
    """The default if no rate limit counts tokens."""


class Generator:
    """Asks `voice` for the answer of each job. Writes rows and rejections, and adds both to `history`."""

    def __init__(
        self,
        voice: Voice,
        history: History,
        write_row: Callable[[Row], None],
        write_rejection: Callable[[dict[str, Any]], None],
        *,
        backend: str,
        model: str,
        max_tries: int,
        budget: Budget,
        brake: Brake,
        respelling: Respelling | None = None,
    ) -> None:
        self._voice, self._history = voice, history
        self._respelling = respelling or Respelling()
        self._write_row, self._write_rejection = write_row, write_rejection
        self._backend, self._model = backend, model
        self._max_tries, self._budget, self._brake = max_tries, budget, brake
        self._tally = history.tally
        same = ("", untagged(model))
        for id, answers in history.rejected.items():  # tries of another model are no tries of this one
            history.rejected[id] = [answer for answer in answers if untagged(answer.model) in same]

    def open_jobs(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """The jobs without a row that have a try left. Jobs without a try left are recorded as unfilled."""
        for job in jobs:
            if job.id in self._history.done:
                continue
            if self._used_up(rejected := self._history.rejected.get(job.id, [])):
                self._leave_unfilled(job, rejected)
            else:
                yield job

    async def fill(
        self,
        job: Job,
        *,
        may_call: Callable[[], Awaitable[bool]] = _may_call,
        count_tokens: Callable[[int], None] = _ignore_tokens,
    ) -> bool:
        """Make the row of a job. Returns False if no try passed the gates, or if no further call is allowed.

        `may_call` is awaited before each try except the first, and returns whether the call is allowed. `count_tokens`
        gets the tokens of each call. Raises `RetryableError` if it should be called again with the same job, and
        `BudgetExhausted` or `FatalServerError` if the run must stop. The brake raises the latter, too.
        """
        rejected = self._history.rejected.pop(job.id, [])
        first = True
        while not self._used_up(rejected):
            # the run may stop while a call waits for its budget
            first = first and not self._budget.nearly_exhausted
            if spent := await self._budget.reserve():
                self._history.rejected[job.id] = rejected
                raise BudgetExhausted(spent)
            try:
                if not first and not await may_call():
                    self._history.rejected[job.id] = rejected
                    return False
                first = False
                completion = await self._ask(Attempt(job, tuple(rejected)), count_tokens)
            finally:
                self._budget.release()
            answer = self._check(job, completion, rejected)
            if answer is None:
                self._brake.accepted()
                return True
            rejected.append(answer)
            if answer.gate != "cut_off":  # the next try has a larger token budget
                self._brake.refused(completion, answer.gate)
        self._leave_unfilled(job, rejected)
        return False

    def _used_up(self, rejected: Sequence[RejectedAnswer]) -> bool:
        return len(rejected) >= self._max_tries or _is_withheld(rejected)

    def _leave_unfilled(self, job: Job, rejected: Sequence[RejectedAnswer]) -> None:
        self._tally.unfilled.append(job)
        self._tally.withheld |= {job.id} if _is_withheld(rejected) else set()

    async def _ask(self, attempt: Attempt, count_tokens: Callable[[int], None]) -> Completion:
        """The voice's answer. Its tokens are counted, also if the answer cannot be read."""
        try:
            completion = await self._voice(attempt)
        except ServerError as error:
            self._history.rejected[attempt.job.id] = list(attempt.rejected)
            if not isinstance(error, FatalServerError):
                self._tally.faults[error.fault] += 1
            if tokens := error.tokens_in + error.tokens_out:
                self._budget.add(error.tokens_in, error.tokens_out, counted=error.counted)
                count_tokens(tokens)
                if not isinstance(error, FatalServerError):
                    self._brake.failed(error)
            raise
        self._budget.add(completion.tokens_in, completion.tokens_out, counted=completion.counted)
        count_tokens(completion.tokens_in + completion.tokens_out)
        return completion

    def _check(self, job: Job, completion: Completion, rejected: Sequence[RejectedAnswer]) -> RejectedAnswer | None:
        """If the answer passes, write it as a row. Otherwise write its rejection and return it."""
        tries = len(rejected) + 1
        grown = sum(answer.gate == "cut_off" for answer in rejected)
        text = completion.text
        # on the last try a shortened answer is better than none
        if completion.finish == "length" and grown < BUDGET_GROWTHS and tries < self._max_tries:
            tokens = completion.tokens_out
            rejection = Rejection("cut_off", f"it was cut off at {tokens} tokens", tokens)
        else:
            answer = Answer.of(_cleaned(text))
            rejection = self._judge(answer, job, completion.finish)
            if rejection is None:
                respelt = self._respelling.apply(answer, job, lambda new: self._judge(new, job, "stop"))
                rejection = respelt.rejection
                if rejection is None:
                    self._accept(job, respelt.answer, tries, respelt.meta)
                    return None
        self._reject(job, text, rejection, tries)
        return RejectedAnswer(text, rejection.gate, rejection.reason, self._model)

    def _judge(self, answer: Answer, job: Job, finish: str) -> Rejection | None:
        if finish == ABORTED:
            return Rejection("broken_off", "the server broke off the answer")
        if finish == "content_filter":
            return Rejection("filtered", "the server's content filter withheld the answer")
        if rejection := _rejection(answer, job):
            return rejection
        if held := _held_out(answer.text):
            return Rejection("held_out", f"it contains the held-out prompt {held.id}")
        if (match := self._history.accepted.nearest(answer.text)) is None:
            return None
        reason = f"it is {match.similarity:.0%} the same as the accepted answer {match.id}: say something else"
        return Rejection("near_duplicate", reason, match.similarity)

    def _accept(self, job: Job, answer: Answer, tries: int, more: Mapping[str, Any]) -> None:
        row = make_row(job.prompt.text, answer.text, {**self._meta(job, answer, tries), **more})
        try:
            self._write_row(row)
        except RescuedError:  # the row is on disk, in another file
            self._history.add(job.id, job.kind, answer.text, tries, ask=job.prompt.ask)
            raise
        self._history.add(job.id, job.kind, answer.text, tries, ask=job.prompt.ask)
        self._tally.unmarked += gates.is_region_unmarked(answer)

    def _meta(self, job: Job, answer: Answer, tries: int) -> dict[str, Any]:
        scores = answer.scores
        return {
            "topic": job.about,
            "group": job.group,
            "kind": job.kind,
            **_ask_of(job),
            "id": job.id,
            "lang": job.prompt.lang,
            "wc": len(answer.words),
            "backend": self._backend,
            "model": self._model,
            "tries": tries,
            "substrate": round(scores.substrate, DIGITS),
            "north_east": round(scores.north_east, DIGITS),
            "leakage": round(scores.leakage, DIGITS),
            "spread": round(scores.spread, DIGITS),
            "contamination": round(scores.contamination, DIGITS),
            **({"region": UNMARKED} if gates.is_region_unmarked(answer) else {}),
        }

    def _reject(self, job: Job, text: str, rejection: Rejection, tries: int) -> None:
        self._tally.rejected[rejection.gate] += 1
        figure = rejection.figure
        self._write_rejection(
            {
                "id": job.id,
                "topic": job.about,
                "group": job.group,
                "kind": job.kind,
                **_ask_of(job),
                "lang": job.prompt.lang,
                "backend": self._backend,
                **({"model": self._model} if self._model else {}),
                "try": tries,
                "gate": rejection.gate,
                "reason": rejection.reason,
                "figure": figure if figure is None else round(figure, DIGITS),
                "prompt": job.prompt.text,
                "answer": text,
            }
        )


def _rejection(answer: Answer, job: Job) -> Rejection | None:
    """What the gates say about an answer; they know what was asked."""
    return gates.check(answer, prompt=job.prompt.text, topic=job.about, kind=job.kind, ask=job.prompt.ask)


def _ask_of(job: Job) -> dict[str, str]:
    return {"ask": job.prompt.ask} if job.prompt.ask else {}


def _cleaned(text: str) -> str:
    """The answer as it is checked and written: tidy, without a label or quotation marks around it."""
    return text if len(text) > MAX_CHARACTERS else whole_sentences(unwrap(tidy(text)))


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


def _is_withheld(rejected: Sequence[RejectedAnswer]) -> bool:
    """Whether a content filter has withheld as many answers of this job as are allowed."""
    return sum(answer.gate == "filtered" for answer in rejected) >= FILTERED_TRIES


def _held_out(text: str) -> HeldOutPrompt | None:
    """The held-out prompt that a sentence of `text` matches. A whole text might match by chance."""
    if find_match(text) is None:
        return None
    return next(filter(None, map(find_match, sentences(text))), None)


def _foreign(what: str) -> InputError:
    return InputError(what, hint="Fix or remove the line, or give --overwrite to start again; a copy is kept.")
