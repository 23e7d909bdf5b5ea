"""Jobs to rows: ask a voice, judge what it says, ask again with the reason, and keep both what passed and what did not.

Knows no network and no file formats: a voice is any coroutine, rows go to a journal and rejections to another. All
of a run's state can be rebuilt from those two files, which is how a run that was killed goes on.
"""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from doric.core.conversations import Row, make_row
from doric.core.errors import FatalServerError, InputError, RetryableError
from doric.core.jsonl import Journal
from doric.core.text import ends_sentence, sentences
from doric.dataset.plan import Job
from doric.llm.budget import Budget
from doric.quality import gates
from doric.quality.decontamination import HeldOutPrompt, find_match
from doric.quality.gates import Answer, Rejection
from doric.quality.near_duplicates import NearDuplicateIndex

GROWTHS = 2
"""How often the token budget grows for an answer that was cut off, before the answer is cut back instead."""
WITHHELD = 2
"""Tries for a slot that a content filter withholds: the same question meets the same filter."""
SILENT = 8
"""Answers of which nothing came, with all the room there is and before one with words, that end a run."""
ALL_WITHHELD = 20
"""Answers withheld by a filter, before one that was not, that end a run."""
DIGITS = 4
WHOLE = re.compile(r".*[.!?…][\"'”’)]*(?=\s)", re.DOTALL)
"""All up to the last end of a sentence that something follows."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer that was refused: what it said, which gate, and why."""

    text: str
    gate: str
    reason: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One question to a voice: the job, what was refused before, how often the token budget has grown."""

    job: Job
    faults: tuple[Fault, ...]

    @property
    def attempt(self) -> int:
        """0 for the first try."""
        return len(self.faults)

    @property
    def grown(self) -> int:
        """How many answers were cut off at the token budget."""
        return sum(fault.gate == "cut_off" for fault in self.faults)


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a voice said, why it stopped (stop, length, content_filter), and the tokens it took: counted, or guessed."""

    text: str
    finish: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    counted: bool = True


type Voice = Callable[[Turn], Awaitable[Spoken]]


class BudgetExhausted(Exception):
    """A budget is used up; the message says which."""


@dataclass(slots=True)
class Tally:
    """What a run has done: rows by bucket, rows by the try that gave them, refusals by gate, faults by kind."""

    accepted: Counter[str] = field(default_factory=Counter)
    by_try: Counter[int] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    unfilled: list[Job] = field(default_factory=list)
    withheld: set[str] = field(default_factory=set)


async def _at_once() -> bool:
    return True


def _unlimited(tokens: int) -> None:
    """Nobody keeps count."""


class Writer:
    """Fills jobs. Open it on the two journals of a run, and it knows what is done and what was refused so far."""

    def __init__(self, voice: Voice, *, backend: str, model: str, max_tries: int, spend: Budget) -> None:
        self.voice = voice
        self.backend = backend
        self.model = model
        self.max_tries = max_tries
        self.spend = spend
        self.tally = Tally()
        self.done: set[str] = set()
        self._heard = False
        self._silent = self._withheld = 0
        self._near = NearDuplicateIndex(gates.threshold("near_duplicate"))
        self._faults: dict[str, list[Fault]] = {}
        self._rows: Journal | None = None
        self._rejections: Journal | None = None

    def replay_row(self, row: Row) -> None:
        """Take over a row of an earlier run. Raises `InputError` when it is not one."""
        try:
            meta, text = row["meta"], row["messages"][1]["content"]
            id, kind, tries = meta["id"], meta["kind"], meta["tries"]
        except (KeyError, TypeError, IndexError) as error:
            raise _foreign("a row") from error
        if not all(isinstance(one, str) for one in (id, kind, text)) or type(tries) is not int:
            raise _foreign("a row")
        self.done.add(id)
        self._near.add(id, text)
        self.tally.accepted[kind] += 1
        self.tally.by_try[tries] += 1

    def replay_rejection(self, entry: dict[str, Any]) -> None:
        """Take over a refusal of an earlier run, after its rows. Raises `InputError` when it is not one."""
        try:
            id, fault = entry["id"], Fault(entry["answer"], entry["gate"], entry["reason"])
        except KeyError as error:
            raise _foreign("a refusal") from error
        if not all(isinstance(one, str) for one in (id, fault.text, fault.gate, fault.reason)):
            raise _foreign("a refusal")
        self.tally.rejected[fault.gate] += 1
        if id not in self.done:
            self._faults.setdefault(id, []).append(fault)

    def attach(self, rows: Journal, rejections: Journal) -> None:
        """Where rows and refusals go from now on."""
        self._rows, self._rejections = rows, rejections

    def open_jobs(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Those of `jobs` without a row that have a try left; those that have none are unfilled."""
        for job in jobs:
            if job.id in self.done:
                continue
            if self._used_up(faults := self._faults.get(job.id, [])):
                self._leave_empty(job, faults)
            else:
                yield job

    async def fill(
        self, job: Job, *, turn: Callable[[], Awaitable[bool]] = _at_once, used: Callable[[int], None] = _unlimited
    ) -> bool:
        """Make the row of one job; False when no try passed the gates, or none may be made any more.

        `turn` is awaited before each try but the first and tells whether it may be made; `used` is told the tokens of
        each call. Raises `RetryableError` to be called again with the same job, `BudgetExhausted` and
        `FatalServerError`
        to stop the run.
        """
        faults = self._faults.pop(job.id, [])
        its_turn = True
        while not self._used_up(faults):
            its_turn = (
                its_turn and not self.spend.nearly_exhausted
            )  # it may have to wait, and the run may stop meanwhile
            if spent := await self.spend.reserve():
                self._faults[job.id] = faults
                raise BudgetExhausted(spent)
            try:
                if not its_turn and not await turn():
                    self._faults[job.id] = faults
                    return False
                its_turn = False
                spoken = await self._ask(Turn(job, tuple(faults)), used)
            finally:
                self.spend.release()
            fault = self._take(job, spoken, faults)
            if fault is None:
                return True
            faults.append(fault)
            self._despair(fault, spoken)
        self._leave_empty(job, faults)
        return False

    def _used_up(self, faults: Sequence[Fault]) -> bool:
        return len(faults) >= self.max_tries or _is_withheld(faults)

    def _leave_empty(self, job: Job, faults: Sequence[Fault]) -> None:
        self.tally.unfilled.append(job)
        self.tally.withheld |= {job.id} if _is_withheld(faults) else set()

    async def _ask(self, turn: Turn, used: Callable[[int], None]) -> Spoken:
        """What the voice says, with its tokens counted, those of an answer that could not be read too."""
        try:
            spoken = await self.voice(turn)
        except RetryableError as error:
            self._faults[turn.job.id] = list(turn.faults)
            self.tally.faults[error.fault] += 1
            if tokens := error.tokens_in + error.tokens_out:
                self.spend.add(error.tokens_in, error.tokens_out, counted=error.counted)
                used(tokens)
            raise
        self.spend.add(spoken.tokens_in, spoken.tokens_out, counted=spoken.counted)
        used(spoken.tokens_in + spoken.tokens_out)
        self._heard = self._heard or bool(spoken.text)
        return spoken

    def _despair(self, fault: Fault, spoken: Spoken) -> None:
        """Raise `FatalServerError` when what was refused shows that no answer is to be had here."""
        self._withheld += fault.gate == "filtered"
        self._silent += spoken.finish == "length" and fault.gate == "empty"
        if self._heard:
            return
        if self._silent >= SILENT:
            raise FatalServerError(
                f"{SILENT} answers were used up by thoughts ({spoken.tokens_out:,} tokens the last), and no word came",
                hint="Choose a model that thinks less, or turn its thinking down where it is served.",
            )
        if self._withheld >= ALL_WITHHELD:
            raise FatalServerError(
                f"the server's content filter withheld {ALL_WITHHELD} answers, and let none through",
                hint="Look at the account and the filter at the provider, or choose another model.",
            )

    def _take(self, job: Job, spoken: Spoken, faults: list[Fault]) -> Fault | None:
        """Keep what was said if it passes, else record why not."""
        grown = sum(fault.gate == "cut_off" for fault in faults)
        text = spoken.text
        last = len(faults) + 1 >= self.max_tries  # then what came is better than nothing
        if spoken.finish == "length" and grown < GROWTHS and not last:
            rejection = Rejection("cut_off", f"it was cut off at {spoken.tokens_out} tokens", spoken.tokens_out)
        else:
            text = _whole(text)
            answer = Answer.of(text)
            rejection = self._judge(answer, job, spoken.finish)
            if rejection is None:
                self._keep(job, answer, len(faults) + 1)
                return None
        self._refuse(job, spoken.text, rejection, len(faults) + 1)
        return Fault(spoken.text, rejection.gate, rejection.reason)

    def _judge(self, answer: Answer, job: Job, finish: str) -> Rejection | None:
        if finish == "content_filter":
            return Rejection("filtered", "the server's content filter withheld the answer")
        rejection = gates.check(answer, prompt=job.prompt.text, topic=job.topic.text, kind=job.kind)
        if rejection:
            return rejection
        if held := _held(answer.text):
            return Rejection("held_out", f"it contains the held-out prompt {held.id}")
        rival = self._near.nearest(answer.text)
        if rival is None:
            return None
        reason = f"it is {rival.similarity:.0%} the same as the accepted answer {rival.id}: say something else"
        return Rejection("near_duplicate", reason, rival.similarity)

    def _keep(self, job: Job, answer: Answer, tries: int) -> None:
        assert self._rows is not None, "attach() comes first"
        self._rows.write(make_row(job.prompt.text, answer.text, self._meta(job, answer, tries)))
        self._near.add(job.id, answer.text)
        self.done.add(job.id)
        self.tally.accepted[job.kind] += 1
        self.tally.by_try[tries] += 1

    def _meta(self, job: Job, answer: Answer, tries: int) -> dict[str, Any]:
        measured = answer.scores
        return {
            "topic": job.topic.text,
            "group": job.topic.group,
            "kind": job.kind,
            "id": job.id,
            "lang": job.prompt.lang,
            "wc": len(answer.words),
            "backend": self.backend,
            "model": self.model,
            "tries": tries,
            "substrate": round(measured.substrate, DIGITS),
            "north_east": round(measured.north_east, DIGITS),
            "leakage": round(measured.leakage, DIGITS),
            "spread": round(measured.spread, DIGITS),
            "contamination": round(measured.contamination, DIGITS),
        }

    def _refuse(self, job: Job, text: str, rejection: Rejection, tries: int) -> None:
        assert self._rejections is not None, "attach() comes first"
        self.tally.rejected[rejection.gate] += 1
        figure = rejection.figure
        self._rejections.write(
            {
                "id": job.id,
                "topic": job.topic.text,
                "group": job.topic.group,
                "kind": job.kind,
                "lang": job.prompt.lang,
                "backend": self.backend,
                "try": tries,
                "gate": rejection.gate,
                "reason": rejection.reason,
                "figure": figure if figure is None else round(figure, DIGITS),
                "prompt": job.prompt.text,
                "answer": text,
            }
        )


def _is_withheld(faults: Sequence[Fault]) -> bool:
    """Whether a content filter withheld as many answers as it is asked for."""
    return sum(fault.gate == "filtered" for fault in faults) >= WITHHELD


def _foreign(what: str) -> InputError:
    hint = "Mend or take out the line, or give --overwrite to start again."
    return InputError(f"this is not {what} that the generator writes", hint=hint)


def _held(text: str) -> HeldOutPrompt | None:
    """The held-out prompt that a sentence of `text` is; the words of all of it may add up to one by chance."""
    if find_match(text) is None:
        return None
    return next(filter(None, map(find_match, sentences(text))), None)


def _whole(text: str) -> str:
    """`text` up to the end of its last whole sentence; all of it when it ends well or has no whole sentence.

    >>> _whole("Keep it dry. An dinna")
    'Keep it dry.'
    """
    stripped = text.strip()
    if ends_sentence(stripped):
        return stripped
    whole = WHOLE.match(stripped)
    return whole.group() if whole else stripped
