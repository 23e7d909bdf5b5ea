"""From jobs to rows: ask a voice, check its answer, retry with the reason, and keep accepted and rejected answers.

A voice is any coroutine function that returns an answer. Rows are written to one file, and rejections to another. To
resume a run that was stopped, its whole state is rebuilt from these two files.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from doric.core.conversations import Row
from doric.core.errors import FatalServerError, InputError, PlanError, RescuedError, RetryableError, ServerError
from doric.core.markers import split_reasoning
from doric.core.text import has_text, sentences
from doric.dataset import exemplars, followups
from doric.dataset.chats import DIGITS, FOLLOW_UPS, UNMARKED, Accepted, Chat, Drift, scores_of, tried
from doric.dataset.followups import FollowUp
from doric.dataset.plan import FIRST_TURNS, Attempt, Job, RejectedAnswer, Voice
from doric.dataset.relevance import OFF_TOPIC
from doric.dataset.respelling import Respelling
from doric.dataset.sense import JUDGE, NOT_THE_WRITER, Judge, ScoreCount, Verdict
from doric.dataset.tasks import Task, WriteAnswer
from doric.llm.brake import Brake
from doric.llm.budget import Budget
from doric.llm.response import ABORTED, Completion
from doric.llm.served_models import untagged
from doric.quality import gates
from doric.quality.decontamination import HeldOutPrompt, find_match
from doric.quality.gates import Answer, Rejection
from doric.quality.near_duplicates import Match, NearDuplicateIndex

log = logging.getLogger("doric")
BUDGET_GROWTHS = 2
"""The token budget of a job grows at most so often after a cut-off answer. After that, the answer is shortened."""
FILTERED_TRIES = 2
"""Tries for a job if a content filter withholds its answers. More tries are useless: the question stays the same."""
LISTED_MODELS = 3
EXEMPLAR = "exemplar"
"""The ids, with a number, of the answers that a model was shown: an answer that is nearly the same is rejected."""


class BudgetExhausted(Exception):
    """A budget is used up; the message says which."""


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
        if type(turn) is not int:
            raise _foreign("the generator did not write this rejection")
        if (same := hash((id, turn, entry.get("try"), answer.text, model))) in self._replayed:
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
        return next((answers for answers in tries if _used_up(answers, most)), [])

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


async def _may_call() -> bool:
    return True


def _ignore_tokens(tokens: int) -> None:
    """The default if no rate limit counts tokens."""


class _NotAllowed(Exception):
    """No further call is allowed, so an answer has no verdict."""


@dataclass(slots=True)
class _Calls:
    """What a call for a job must ask and report, and whether it is the `first`, which the caller has asked for."""

    may_call: Callable[[], Awaitable[bool]]
    may_judge: Callable[[], Awaitable[bool]]
    count_tokens: Callable[[int], None]
    first: bool = True


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
        follow_up: FollowUp | None = None,
        judge: Judge | None = None,
        task: Task | None = None,
    ) -> None:
        self._task = task or WriteAnswer()
        self._voice, self._history, self._sense = voice, history, judge
        self._without_verdict: dict[str, Completion] = {}
        self._follow_up = follow_up or followups.for_model(0)
        self._chats: dict[str, Chat] = {}
        self._respelling = respelling or Respelling()
        self._write_row, self._write_rejection = write_row, write_rejection
        self._backend, self._model = backend, model
        self._max_tries, self._budget, self._brake = max_tries, budget, brake
        self._tally = history.tally
        history.keep_tries_of(model)

    def open_jobs(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """The jobs without a row that have a try left. Jobs without a try left are recorded as unfilled."""
        for job in jobs:
            if job.id in self._history.done:
                continue
            if used_up := self._history.used_up(job, self._max_tries):
                self._leave_unfilled(job, used_up)
            else:
                yield job

    async def fill(
        self,
        job: Job,
        *,
        may_call: Callable[[], Awaitable[bool]] = _may_call,
        may_judge: Callable[[], Awaitable[bool]] = _may_call,
        count_tokens: Callable[[int], None] = _ignore_tokens,
    ) -> bool:
        """Make the row of a job. Returns False if no try passed the gates, or if no further call is allowed.

        `may_call` is awaited before each try except the first, and `may_judge` before each verdict; they return whether
        the call is allowed. `count_tokens` gets the tokens of each call. Raises `RetryableError` if it should be called
        again with the same job, which then goes on with the turn of the chat that failed, or with its verdict. Raises
        `BudgetExhausted` or `FatalServerError` if the run must stop. The brakes raise the latter, too.
        """
        chat = self._chats.pop(job.id, None) or Chat(job)
        calls = _Calls(may_call, may_judge, count_tokens)
        try:
            while not chat.complete:
                if not await self._next_answer(chat, calls):
                    return False
        except RetryableError:
            if chat.accepted:  # these answers are paid for
                self._chats[job.id] = chat
            raise
        return True

    async def _next_answer(self, chat: Chat, calls: "_Calls") -> bool:
        """Add the answer to the next turn of a chat; False if there is none."""
        key = tried(chat.job.id, chat.turn)
        rejected = self._history.rejected.pop(key, [])
        if chat.accepted and chat.next_prompt is None:
            chat.next_prompt = self._follow_up(chat.job, chat.said)
        while not _used_up(rejected, self._max_tries):
            # the run may stop while a call waits for its budget
            calls.first = calls.first and not self._budget.nearly_exhausted
            if spent := await self._budget.reserve():
                self._history.rejected[key] = rejected
                raise BudgetExhausted(spent)
            try:
                if not calls.first and not await calls.may_call():
                    self._history.rejected[key] = rejected
                    return False
                calls.first = False
                completion = await self._ask(Attempt(chat.now, tuple(rejected), chat.said), key, calls.count_tokens)
                answer = await self._check(chat, completion, rejected, calls)
            except _NotAllowed:
                self._history.rejected[key] = rejected
                return False
            finally:
                self._budget.release()
            if answer is None:
                self._brake.accepted()
                return True
            rejected.append(answer)
            if answer.gate not in NOT_THE_WRITER:
                self._brake.refused(completion, answer.gate)
        self._leave_unfilled(chat.job, rejected)
        return False

    def _leave_unfilled(self, job: Job, rejected: Sequence[RejectedAnswer]) -> None:
        self._tally.unfilled.append(job)
        self._tally.withheld |= {job.id} if _is_withheld(rejected) else set()

    async def _ask(self, attempt: Attempt, key: str, count_tokens: Callable[[int], None]) -> Completion:
        """The voice's answer. Its tokens are counted, also if the answer cannot be read."""
        if paid := self._without_verdict.pop(key, None):
            return paid
        try:
            completion = await self._voice(attempt)
        except ServerError as error:
            self._history.rejected[key] = list(attempt.rejected)
            if not isinstance(error, FatalServerError):
                self._tally.faults[error.fault] += 1
            if error.tokens_in or error.tokens_out:
                count_tokens(self._budget.book(error))
                if not isinstance(error, FatalServerError):
                    self._brake.failed(error)
            raise
        count_tokens(self._budget.book(completion))
        return completion

    async def _check(
        self, chat: Chat, completion: Completion, rejected: Sequence[RejectedAnswer], calls: _Calls
    ) -> RejectedAnswer | None:
        """If the answer passes, add it to the chat. Otherwise write its rejection and return it."""
        job = chat.now
        tries, verdict = len(rejected) + 1, Verdict()
        grown = sum(answer.gate == "cut_off" for answer in rejected)
        text = completion.text
        # on the last try a shortened answer is better than none
        if completion.finish == "length" and grown < BUDGET_GROWTHS and tries < self._max_tries:
            tokens = completion.tokens_out
            rejection = Rejection("cut_off", f"it was cut off at {tokens} tokens", tokens)
        else:
            answer = self._task.draft(text)
            rejection = self._judge(answer, chat, completion.finish)
            if rejection is None and self._sense is not None:
                verdict = await self._verdict(self._sense, chat, answer, completion, rejected, calls)
                # meanwhile, an answer like this one may have been accepted
                rejection = verdict.rejection(self._sense.least) or self._near_duplicate(answer)
            if rejection is None:
                respelt = self._respelling.apply(answer, job, lambda new: self._judge(new, chat, "stop"))
                rejection = respelt.rejection
                if rejection is None:
                    found: dict[str, Any] = {JUDGE: dict(verdict.scores)} if verdict.scores else {}
                    self._accept(chat, self._task.accept(chat, respelt.answer, tries, {**respelt.meta, **found}))
                    return None
        self._reject(chat, text, rejection, tries, verdict)
        return RejectedAnswer(text, rejection.gate, rejection.reason, self._model)

    async def _verdict(
        self,
        judge: Judge,
        chat: Chat,
        answer: Answer,
        completion: Completion,
        rejected: Sequence[RejectedAnswer],
        calls: _Calls,
    ) -> Verdict:
        """The judge's verdict. If it fails, the answer is kept for the next call of `fill`, because it is paid for."""
        try:
            verdict = await judge.verdict(chat.now, answer.text, chat.said, calls.may_judge, calls.count_tokens)
        except ServerError as error:
            key = tried(chat.job.id, chat.turn)
            self._history.rejected[key] = list(rejected)
            if not isinstance(error, FatalServerError):
                self._tally.faults[error.fault] += 1
                self._without_verdict[key] = completion
            raise
        if verdict is None:
            raise _NotAllowed
        return verdict

    def _judge(self, answer: Answer, chat: Chat, finish: str) -> Rejection | None:
        if finish == ABORTED:
            return Rejection("broken_off", "the server broke off the answer")
        if finish == "content_filter":
            return Rejection("filtered", "the server's content filter withheld the answer")
        if rejection := self._task.fault(answer, chat):
            return rejection
        if held := _held_out(answer.text):
            return Rejection("held_out", f"it contains the held-out prompt {held.id}")
        return self._near_duplicate(answer)

    def _near_duplicate(self, answer: Answer) -> Rejection | None:
        match = self._history.accepted.nearest(answer.text)
        return None if match is None else near_duplicate(match)

    def _accept(self, chat: Chat, accepted: Accepted) -> None:
        """Add an answer to its chat. Write the row if it is complete."""
        chat.accepted.append(accepted)
        chat.next_prompt = None
        self._history.accepted.add(chat.job.id, accepted.answer.text)
        if not chat.complete:
            return
        first = chat.accepted[0]
        row, tries = chat.row(self._meta(first.job, first.answer, first.tries)), [one.tries for one in chat.accepted]
        try:
            self._write_row(row)
        except RescuedError:  # the row is on disk, in another file
            self._history.add(row, *tries)
            raise
        self._history.add(row, *tries)

    def _meta(self, job: Job, answer: Answer, tries: int) -> dict[str, Any]:
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
            **scores_of(answer),
        }

    def _reject(self, chat: Chat, text: str, rejection: Rejection, tries: int, verdict: Verdict) -> None:
        job = chat.job
        later = {"turn": chat.turn, "follow_up": chat.now.prompt.text} if chat.accepted else {}
        self._tally.rejected[rejection.gate] += 1
        of: Row = {"id": job.id, "topic": job.about, "group": job.group, "kind": job.kind, **_ask_of(job)}
        of |= {"lang": chat.now.prompt.lang, "backend": self._backend}
        of |= ({"model": self._model} if self._model else {}) | later
        scores = {JUDGE: dict(verdict.scores)} if verdict.scores else None
        self._write_rejection(rejected_row(of, rejection, tries, job.prompt.text, text, scores))


def rejected_row(
    of: Row, rejection: Rejection, tries: int | None, prompt: str, answer: str, scores: Row | None = None
) -> Row:
    """A line of the rejections. `of` says what the answer is for, and who wrote it."""
    figure = rejection.figure
    return {
        **of,
        "try": tries,
        "gate": rejection.gate,
        "reason": rejection.reason,
        "figure": figure if figure is None else round(figure, DIGITS),
        **(scores or {}),
        "prompt": prompt,
        "answer": answer,
    }


def near_duplicate(match: Match) -> Rejection:
    """The rejection of an answer that is nearly the same as an accepted one."""
    reason = f"it is {match.similarity:.0%} the same as the accepted answer {match.id}: say something else"
    return Rejection("near_duplicate", reason, match.similarity)


def _ask_of(job: Job) -> dict[str, str]:
    return {"ask": job.prompt.ask} if job.prompt.ask else {}


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


def _used_up(rejected: Sequence[RejectedAnswer], most: int) -> bool:
    """Whether there is no try left of `most`."""
    return len(rejected) >= most or _is_withheld(rejected)


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
