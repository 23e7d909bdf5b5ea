"""From jobs to rows: ask a voice, check its answer, retry with the reason, and keep accepted and rejected answers.

A voice is any coroutine function that returns an answer. Rows are written to one file, and rejections to another. To
resume a run that was stopped, its whole state is rebuilt from these two files.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from doric.core.conversations import Row
from doric.core.errors import FatalServerError, RescuedError, RetryableError, ServerError
from doric.core.text import sentences
from doric.dataset import followups
from doric.dataset.chats import DIGITS, Accepted, Chat, scores_of, tried
from doric.dataset.followups import FollowUp
from doric.dataset.history import History, is_withheld, used_up
from doric.dataset.plan import Attempt, Job, RejectedAnswer, Voice
from doric.dataset.respelling import Respelling
from doric.dataset.sense import JUDGE, NOT_THE_WRITER, Judge, Verdict
from doric.dataset.tasks import Task, WriteAnswer
from doric.llm.brake import Brake
from doric.llm.budget import Budget
from doric.llm.response import ABORTED, Completion
from doric.quality.decontamination import HeldOutPrompt, find_match
from doric.quality.gates import Answer, Rejection
from doric.quality.near_duplicates import Match

log = logging.getLogger("doric")
BUDGET_GROWTHS = 2
"""The token budget of a job grows at most so often after a cut-off answer. After that, the answer is shortened."""


class BudgetExhausted(Exception):
    """A budget is used up; the message says which."""


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
        while not used_up(rejected, self._max_tries):
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
        self._tally.withheld |= {job.id} if is_withheld(rejected) else set()

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


def _held_out(text: str) -> HeldOutPrompt | None:
    """The held-out prompt that a sentence of `text` matches. A whole text might match by chance."""
    if find_match(text) is None:
        return None
    return next(filter(None, map(find_match, sentences(text))), None)
