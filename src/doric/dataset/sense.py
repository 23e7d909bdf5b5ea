"""A model scores each answer that the gates have accepted: does it answer the question, is it correct, is it Doric?

The prompt is in `data/sense.toml`. An answer whose score is too low is refused with the judge's reason, which the
writer is told. The question and the answer stand in a fence, so the writer's text cannot instruct the judge.
"""

import functools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from doric import data
from doric.core.conversations import stable_id
from doric.core.errors import FatalServerError, ServerError
from doric.core.text import printable
from doric.dataset import asks
from doric.dataset.plan import Exchange, Job
from doric.llm.brake import Brake, has_words, silence_hint
from doric.llm.budget import Budget
from doric.llm.client import Backend, ChatRequest
from doric.llm.judging import beginning, fence_code, fill, last_verdict, read_score
from doric.llm.response import Completion, estimate_tokens
from doric.quality.gates import Rejection

log = logging.getLogger("doric")
JUDGE, NO_VERDICT = "judge", "no_verdict"
"""The gates of an answer with a low score, and of one whose verdict could not be read. `meta.judge` has the scores."""
NOT_THE_WRITER = ("cut_off", NO_VERDICT)
"""Gates of answers that are no fault of the writer: the brake does not count them, and a model is not told of them."""
LOW, HIGH = 1, 5
MAX_TOKENS = 400
TEMPERATURES = (0.0, 0.7)
"""If a verdict cannot be read, it is asked for once more: at temperature 0 the text would be the same."""
MOST_REASON = 200
"""Characters of a reason. It is sent to the writer."""
EXPECTED_OUT = 80
"""Tokens that a verdict is expected to use, for the forecast."""
UNREADABLE = "the judge gave no verdict that could be read"


@functools.cache
def _spec() -> dict[str, Any]:
    return data.read_toml("sense.toml")


def criteria() -> dict[str, str]:
    """What is scored -> its name in the reason that the writer is told."""
    return _spec()["criteria"]


def rubric_fingerprint() -> str:
    """A hash of the prompt. Scores with the same hash were asked for with the same words."""
    texts, tasks = _spec()["texts"], _spec()["tasks"]
    return stable_id(texts["system"], texts["question"], *criteria(), *tasks.values(), MAX_TOKENS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The scores from 1 to 5 by criterion, and the judge's reason. Without scores, the verdict could not be read."""

    scores: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""

    def rejection(self, least: int) -> Rejection | None:
        """Why the answer is refused, if a score is below `least` or there is none."""
        if not self.scores:
            return Rejection(NO_VERDICT, UNREADABLE)
        low = [f"{score} of {HIGH} for {criteria()[name]}" for name, score in self.scores.items() if score < least]
        if not low:
            return None
        reason = f": {self.reason.rstrip('.')}" if self.reason else ""
        return Rejection(JUDGE, f"a judge gives it {' and '.join(low)}{reason}", min(self.scores.values()))


def request(job: Job, answer: str, said: Sequence[Exchange] = (), *, temperature: float = 0.0) -> ChatRequest:
    """The request to the judge for an answer to the prompt of `job`, after the conversation so far."""
    texts, question = _spec()["texts"], _question(job, said)
    code = fence_code(question, answer)
    filled = fill(texts["question"], {"question": question, "answer": answer}, code, {"task": _task(job)})
    system = f"{texts['system'].strip()}\n\n{texts['fence'].strip().replace('{code}', code)}"
    score = {"type": "integer", "enum": list(range(LOW, HIGH + 1))}
    schema = {
        "type": "object",
        "properties": {"reason": {"type": "string"}, **dict.fromkeys(criteria(), score)},
        "required": ["reason", *criteria()],
        "additionalProperties": False,
    }
    chat = [{"role": "system", "content": system}, {"role": "user", "content": filled}]
    return ChatRequest(chat, MAX_TOKENS, temperature=temperature, seed=0, schema=schema)


def _question(job: Job, said: Sequence[Exchange]) -> str:
    """What the user asks, after what was said before."""
    if not said:
        return job.prompt.text
    before = [f"User: {one.prompt.text}\nAnswer: {one.answer}" for one in said]
    return "\n".join((*before, f"User, to be answered now: {job.prompt.text}"))


def _task(job: Job) -> str:
    ask = asks.asks().get(job.prompt.ask)
    tasks = _spec()["tasks"]
    return tasks["ask"].replace("{about}", ask.about) if ask else tasks[job.kind]


def expected_tokens(jobs: list[Job], answer_tokens: float) -> tuple[float, float]:
    """Estimated tokens in and out of a verdict: the mean over `jobs`, for answers of `answer_tokens` tokens."""
    characters = sum(len(turn["content"]) for job in jobs for turn in request(job, "").messages)
    return estimate_tokens(characters / max(1, len(jobs))) + answer_tokens, EXPECTED_OUT


def read_verdict(text: str) -> Verdict:
    """The last complete verdict in a text; one without scores if there is none.

    >>> read_verdict('{"answers": 5, "correct": "4/5", "doric": {"score": 3}, "reason": "good"}')
    Verdict(scores={'answers': 5, 'correct': 4, 'doric': 3}, reason='good')
    """
    found = last_verdict(text, [*criteria()], lambda value: read_score(value, LOW, HIGH))
    if not found:
        return Verdict()
    reason = found[1].get("reason")
    return Verdict(found[0], _tidy_reason(reason) if isinstance(reason, str) else "")


def _tidy_reason(text: str) -> str:
    line = " ".join(printable(text[: 4 * MOST_REASON]).split())
    return line if len(line) <= MOST_REASON else f"{line[:MOST_REASON].rstrip()}…"


class Judge:
    """Asks a model for verdicts, and counts them.

    `name` is the model's, for errors. `spent` counts its calls. The brake ends the run if no verdict can be read.
    """

    def __init__(self, backend: Backend, *, name: str, least: int, spent: Budget, brake: Brake) -> None:
        self._backend, self._name, self.least, self._spent, self._brake = backend, name, least, spent, brake
        self._told = False

    async def verdict(
        self,
        job: Job,
        answer: str,
        said: Sequence[Exchange],
        may_call: Callable[[], Awaitable[bool]],
        count_tokens: Callable[[int], None],
    ) -> Verdict | None:
        """The verdict on an answer; None if no further call is allowed.

        Raises `ServerError` as the client does, and `FatalServerError` if no verdict could be read for too long.
        """
        for temperature in TEMPERATURES:
            if not await may_call():
                return None
            completion = await self._ask(request(job, answer, said, temperature=temperature), count_tokens)
            verdict = read_verdict(completion.text)
            if verdict.scores:
                self._brake.accepted()
                return verdict
            self._note_unreadable(completion)
            self._brake.refused(completion, "unreadable")
            if completion.finish == "content_filter":  # the same texts would be withheld again
                break
        return Verdict()

    async def _ask(self, request: ChatRequest, count_tokens: Callable[[int], None]) -> Completion:
        try:
            completion = await self._backend.complete(request)
        except ServerError as error:
            error.message = f"the judge {self._name}: {error.message}"
            if error.tokens_in or error.tokens_out:
                count_tokens(self._spent.book(error))
                if not isinstance(error, FatalServerError):
                    self._brake.failed(error)
            raise
        count_tokens(self._spent.book(completion))
        return completion

    def _note_unreadable(self, completion: Completion) -> None:
        """Say once what a verdict that cannot be read is like."""
        if self._told:
            return
        self._told = True
        if has_words(completion.text):
            log.warning("A verdict of the judge could not be read; it begins: '%s'.", beginning(completion.text))
        else:
            log.warning("A verdict of the judge has no words. %s", silence_hint(completion))


@dataclass(slots=True)
class ScoreCount:
    """The scores of the accepted answers, by (criterion, score)."""

    scores: Counter[tuple[str, int]] = field(default_factory=Counter)
    answers: int = 0

    def add(self, meta: Mapping[str, Any]) -> None:
        """Count the scores in the `meta` of an answer, if it has any."""
        scores = meta.get(JUDGE)
        if isinstance(scores, Mapping):
            self.answers += 1
            self.scores.update((name, score) for name, score in scores.items() if type(score) is int)

    def __str__(self) -> str:
        """The means for people; "" if no answer was scored."""
        found = []
        for name in criteria():
            given = [(score, times) for (one, score), times in self.scores.items() if one == name]
            if total := sum(times for _, times in given):
                found.append(f"{name} {sum(score * times for score, times in given) / total:.1f}")
        return f"{', '.join(found)} of {HIGH} on average in {self.answers:,} answers" if found else ""
