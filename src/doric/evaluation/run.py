"""Asks a model the held-out prompts. Each answer is written to a journal at once, so that a stopped run can resume.

Conversations with several turns are asked turn by turn. A turn that failed is recorded as failed, and the next run asks
it again.
"""

import contextlib
import datetime
import itertools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from doric import data
from doric.core.backups import Backups
from doric.core.characters import tidy
from doric.core.cli import ProgressBar, run_until_interrupt
from doric.core.conversations import stable_id
from doric.core.errors import FatalServerError, InputError, PlanError, RetryableError, ServerError
from doric.core.resume import ResumableRun, then_and_now
from doric.core.settings import Settings
from doric.core.text import counted
from doric.evaluation.aggregate import (
    Result,
    compare,
    has_other_answers,
    is_edited,
    prompts_fingerprint,
)
from doric.evaluation.judge import judge_pairs, pair_answers
from doric.evaluation.local_model import ChatModel, Checkpoint, LocalModel
from doric.evaluation.metrics import FILTERED, ModelAnswer, read_answer, score_answers
from doric.llm.brake import DEFAULT_LIMIT, Brake, has_words, silence_hint
from doric.llm.client import ChatRequest, Client
from doric.llm.request import EFFORT
from doric.llm.response import Completion
from doric.llm.scheduler import Scheduler, gone_hint
from doric.llm.served_models import untagged
from doric.quality.decontamination import HeldOutPrompt, held_out_prompts

log = logging.getLogger("doric")
ASKED = "asked"
"""The key of a plan for the time when its answers were asked for: one time, or the first and the last time."""
UNLIMITED = 1 << 30
"""The retry limit for the scheduler. A lower limit could stop the run for one bad prompt; retries are counted here."""
GONE = 20
"""If so many turns in a row fail, a server that has answered in this run counts as gone."""


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How turns are asked: sampling, concurrent calls, timeout of a call in seconds, retries per turn.

    `max_rejected` is the limit of the brake for answers without words and for verdicts that cannot be read.
    """

    max_tokens: int
    temperature: float
    seed: int
    concurrency: int
    timeout: float
    max_retries: int
    max_rejected: int = DEFAULT_LIMIT

    @property
    def sampling(self) -> dict[str, Any]:
        """The settings that the answers depend on."""
        return {"max_tokens": self.max_tokens, "temperature": self.temperature, "seed": self.seed}


def select_prompts(limit: int | None) -> tuple[HeldOutPrompt, ...]:
    """`limit` held-out prompts (None: all). They are taken from the buckets in turn, in file order.

    >>> len(select_prompts(12)), len({(held.bucket, held.benign) for held in select_prompts(12)})
    (12, 6)
    """
    by_bucket: dict[tuple[str, bool], list[HeldOutPrompt]] = {}
    for held in held_out_prompts():
        by_bucket.setdefault((held.bucket, held.benign), []).append(held)
    rounds = itertools.zip_longest(*by_bucket.values())
    return tuple(itertools.islice((held for each in rounds for held in each if held is not None), limit))


class Evaluation:
    """The answers of one model to `prompts` so far. `write` gets each new answer as a row for the journal.

    `earlier` are the answers of an earlier run. If there are several for the same turn, the last one counts.
    """

    def __init__(
        self,
        prompts: Sequence[HeldOutPrompt],
        settings: EvaluationSettings,
        write: Callable[[dict[str, Any]], object],
        *,
        earlier: Iterable[ModelAnswer] = (),
    ) -> None:
        self.prompts = tuple(prompts)
        self._settings, self._write = settings, write
        self._answers = {(answer.id, answer.turn): answer for answer in earlier}
        self._faults: dict[tuple[str, int], list[str]] = {}
        self._brake = Brake(settings.max_rejected)
        self._succeeded = False
        self._failed_in_succession = 0
        self._scheduler: Scheduler[HeldOutPrompt] | None = None
        self._stopped = False
        self._silent: Completion | None = None
        self._on_answer: Callable[[], object] = lambda: None

    @property
    def turns(self) -> int:
        """The number of turns."""
        return sum(1 + len(held.turns) for held in self.prompts)

    @property
    def done(self) -> int:
        """The number of turns that have an answer."""
        return sum(not answer.error for answer in self.answers())

    @property
    def faults(self) -> Counter[str]:
        """The failed calls so far, by kind."""
        return Counter(fault for answer in self._answers.values() for fault in answer.faults)

    def answers(self) -> list[ModelAnswer]:
        """The answers so far, in the order of the prompts."""
        keys = ((held.id, turn) for held in self.prompts for turn in range(1 + len(held.turns)))
        return [self._answers[key] for key in keys if key in self._answers]

    async def run(self, client: ChatModel, on_answer: Callable[[], object] = lambda: None) -> None:
        """Ask every turn that has no answer yet, and call `on_answer` after each of them.

        Raises `FatalServerError` if no later call can succeed, or if the model gives no words at all.
        """
        self._on_answer = on_answer
        for turn in range(max(1 + len(held.turns) for held in self.prompts)):
            if self._stopped:
                return
            self._scheduler = Scheduler(
                lambda held, turn=turn: self._ask(held, turn, client),
                lambda held, error, turn=turn: self._fail(held, turn, error.message),
                concurrency=self._settings.concurrency,
                max_retries=UNLIMITED,
            )
            await self._scheduler.run(
                held for held in self.prompts if turn <= len(held.turns) and not self._has(held, turn)
            )
        if self._silent is not None and self._silent.finish != FILTERED:  # otherwise the error of the brake says so
            log.warning("There are answers without words. %s", silence_hint(self._silent))

    def stop(self) -> None:
        """Ask no further turn. `run` returns when the calls in flight have ended."""
        self._stopped = True
        if self._scheduler is not None:
            self._scheduler.stop()

    def _has(self, held: HeldOutPrompt, turn: int) -> bool:
        answer = self._answers.get((held.id, turn))
        return answer is not None and not answer.error

    async def _ask(self, held: HeldOutPrompt, turn: int, client: ChatModel) -> None:
        if turn and not self._has(held, turn - 1):
            self._fail(held, turn, "the turn before it got no answer")
            return
        try:
            timed = await client.complete_timed(self._request(held, turn))
        except RetryableError as error:
            if self._stopped:
                raise  # it is no failure of this turn, which the next run asks again
            faults = self._faults.setdefault((held.id, turn), [])
            faults.append(error.fault)
            if len(faults) <= self._settings.max_retries:
                raise
            self._raise_if_gone(error, len(faults))
            self._fail(held, turn, error.message)
        except FatalServerError:
            raise
        except ServerError as error:
            self._faults.setdefault((held.id, turn), []).append(error.fault)
            self._fail(held, turn, error.message)
            if error.tokens_out:
                self._brake.failed(error)
        else:
            self._succeeded, self._failed_in_succession = True, 0
            completion = timed.completion
            answer = ModelAnswer(held.id, turn, _prompt_at(held, turn), tidy(completion.text), completion.finish)
            answer = replace(answer, tokens=completion.tokens_out, first=timed.first_token, seconds=timed.seconds)
            self._keep(answer)
            if has_words(completion.text):
                self._brake.accepted()
            else:
                self._silent = completion
                self._brake.refused(completion, "empty")

    def _request(self, held: HeldOutPrompt, turn: int) -> ChatRequest:
        chat = [{"role": "user", "content": held.prompt}]
        for earlier, prompt in enumerate(held.turns[:turn]):
            answer = self._answers[held.id, earlier].text
            chat += [{"role": "assistant", "content": answer}, {"role": "user", "content": prompt}]
        seed = (int(stable_id(held.id, turn), 16) + self._settings.seed) % 2**31
        return ChatRequest(chat, self._settings.max_tokens, temperature=self._settings.temperature, seed=seed)

    def _raise_if_gone(self, error: RetryableError, tries: int) -> None:
        """Raise `FatalServerError` if the server has never answered, or if it has stopped answering."""
        self._failed_in_succession += 1
        if self.done and not (self._succeeded and self._failed_in_succession >= GONE):
            return
        when = f"for {GONE} turns in succession" if self.done else f"{counted(tries, 'time')} and never an answer"
        raise FatalServerError(f"{error.message}, {when}", hint=gone_hint(error))

    def _fail(self, held: HeldOutPrompt, turn: int, reason: str) -> None:
        self._keep(ModelAnswer(held.id, turn, _prompt_at(held, turn), "", "", reason))

    def _keep(self, answer: ModelAnswer) -> None:
        key = (answer.id, answer.turn)
        before = self._answers[key].faults if key in self._answers else ()  # a turn that failed in an earlier run
        answer = replace(answer, faults=(*before, *self._faults.pop(key, ())))
        self._answers[key] = answer
        self._write(asdict(answer))
        self._on_answer()


async def evaluate(
    model: Settings | Checkpoint, prompts: Sequence[HeldOutPrompt], settings: EvaluationSettings, run: ResumableRun
) -> Result:
    """Ask a model for the answers that `run` does not have yet, and score all of them.

    Raises `PlanError` if the journal has another plan, and `FatalServerError` if no later call can succeed. After
    Ctrl-C or SIGTERM it waits for the calls in flight for a moment, and raises `KeyboardInterrupt`.
    """
    resumes = run.resumes
    stored = (run.stored() or {}) if resumes else {}
    given = bool(model.model)
    earlier_name = str(stored.get("model", ""))
    if isinstance(model, Settings) and (not given or untagged(model.model) == untagged(earlier_name)):
        model = replace(model, model=earlier_name)
    plan = {"model": model.model, "address": model.address, "heldout": prompts_fingerprint(), **settings.sampling}
    plan |= {"extra_body": model.extra_body} if model.extra_body else {}  # plans of earlier versions have no such key
    plan |= {name: value for name, value in model.preferred.items() if name == EFFORT}
    plan |= {"weights": model.fingerprint} if isinstance(model, Checkpoint) else {}
    # the same weights in another place are the same model
    moved = ("model",) if plan.get("weights") and plan["weights"] == stored.get("weights") else ()
    run.check(plan, ignore=(ASKED, *moved), describe=_difference)
    async with contextlib.AsyncExitStack() as stack:

        def connect() -> Awaitable[ChatModel]:
            return stack.enter_async_context(_chat_model(model, settings))

        # before the journal is emptied: if the server is down or rejects the key, no earlier answer must be lost
        client = None if resumes else await connect()
        earlier: list[ModelAnswer] = []
        (journal,) = stack.enter_context(run.open(_replay_to(earlier)))
        evaluation = Evaluation(prompts, settings, journal.write, earlier=earlier)
        if evaluation.done < evaluation.turns and not any(has_words(answer.text) for answer in earlier):
            # the brake stopped the earlier run; its empty answers say nothing about the model as it is served now
            failed = [answer for answer in earlier if answer.error]
            evaluation = Evaluation(prompts, settings, journal.write, earlier=failed)
        plan[ASKED] = _log_earlier(evaluation, journal.path, stored) if evaluation.done else ""
        if evaluation.done < evaluation.turns:
            client = client or await connect()
            if resumes and not given:
                _check_served(client, stored)
            plan |= {"model": client.model, ASKED: _until_now(plan[ASKED])}
            run.store(plan)
            work = evaluation.run(client, _progress(client.model, evaluation))
            await run_until_interrupt(work, lambda: (evaluation.stop(), client.hurry()))
    return Result(_about(plan, settings), tuple(score_answers(evaluation.answers(), {p.id: p for p in prompts})))


def _chat_model(model: Settings | Checkpoint, settings: EvaluationSettings) -> AbstractAsyncContextManager[ChatModel]:
    if isinstance(model, Checkpoint):
        return LocalModel(model, at_once=settings.concurrency)
    return Client(model, timeout=settings.timeout, concurrency=settings.concurrency)


def _check_served(client: ChatModel, stored: dict[str, Any]) -> None:
    """Raise `PlanError` if the server has only another model than the answers are from, and no model is named."""
    model = str(stored.get("model", ""))
    if len(client.listed) == 1 and untagged(client.listed[0]) != untagged(model):
        message = f"the answers so far are from {model}, and the server has only {client.listed[0]}"
        raise PlanError(message, hint="Give --overwrite to start again, or another --out to keep both.")


async def validate(
    model: Settings | Checkpoint,
    prompts: Sequence[HeldOutPrompt],
    settings: EvaluationSettings,
    out: Path,
    *,
    baseline: Settings | Result | None = None,
    judge: Settings | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Evaluate a model. If there is a baseline, compare the two. If there is also a judge, it compares their answers.

    Returns the result that is to be saved in `out`, which the caller has locked. The journals are
    `<out>.answers.jsonl`, `<out>.baseline.jsonl` and `<out>.judge.jsonl`. Raises the same errors as `evaluate` and
    `judge_pairs`.
    """

    journals = {name: Path(f"{out}.{name}.jsonl") for name in ("answers", "baseline", "judge")}
    backups = Backups(out, *journals.values(), *(Path(f"{path}.plan.json") for path in journals.values()))

    def journal(name: str) -> ResumableRun:
        return ResumableRun((journals[name],), overwrite=overwrite, backups=backups)

    ours = await evaluate(model, prompts, settings, journal("answers"))
    if (overwrite or is_edited(out) or has_other_answers(out, ours)) and (copies := backups.keep(out)):
        log.info("The old result is kept in %s.", copies[0])
    result = ours.as_json()
    if baseline is None:
        return result
    theirs = baseline
    if isinstance(theirs, Settings):
        theirs = await evaluate(theirs, prompts, settings, journal("baseline"))
    result |= {"baseline": theirs.as_json(), "changes": compare(ours.scored, theirs.scored)}
    if judge is not None:
        pairs, calls = pair_answers(ours.scored, theirs.scored), settings.concurrency
        async with Client(judge, timeout=settings.timeout, concurrency=calls) as client:
            result["judge"] = await judge_pairs(
                client, judge.address, pairs, journal("judge"), concurrency=calls, max_retries=settings.max_retries,
                max_rejected=settings.max_rejected,
            )  # fmt: skip
    return result


def _replay_to(earlier: list[ModelAnswer]) -> Callable[[dict[str, Any]], None]:
    """A function that adds the answer in a row to `earlier`. It raises `InputError` if no run can have written it."""
    turns = {held.id: 1 + len(held.turns) for held in held_out_prompts()}
    answered: set[tuple[str, int]] = set()

    def replay(row: dict[str, Any]) -> None:
        answer = read_answer(row)
        key = answer.id, answer.turn
        hint = "Fix or remove the line, or give --overwrite to ask again; a copy is kept."
        if not 0 <= answer.turn < turns.get(answer.id, 0):
            raise InputError(f"there is no evaluation prompt {answer.id} with turn {answer.turn}", hint=hint)
        if key in answered:  # only turns that failed or got no words are asked again
            raise InputError(f"an earlier line has an answer to {answer.id}, turn {answer.turn}", hint=hint)
        if has_words(answer.text) and not answer.error:
            answered.add(key)
        earlier.append(answer)

    return replay


def _difference(key: str, then: object, now: object) -> str:
    if key == "weights":
        return "other weights: the files of the model have changed since it was started"
    if key == "heldout":
        return f"other evaluation prompts, because {data.shown('heldout.jsonl')} has changed since it was started"
    return then_and_now(key, then, now)


def _prompt_at(held: HeldOutPrompt, turn: int) -> str:
    return (held.prompt, *held.turns)[turn]


def _log_earlier(evaluation: Evaluation, journal: Path, stored: dict[str, Any]) -> str:
    """The time when the answers in the journal were asked for. Logs how many there are."""
    asked = str(stored.get(ASKED, "an unknown day"))
    words = "%d of %d answers come from %s (asked: %s); --overwrite asks for all of them again."
    log.info(words, evaluation.done, evaluation.turns, journal, asked)
    return asked


def _progress(model: str, evaluation: Evaluation) -> Callable[[], None]:
    log.info("Asking %s: %d of %d turns remain.", model, evaluation.turns - evaluation.done, evaluation.turns)

    def note() -> str:
        return f"failed calls {sum(evaluation.faults.values())}"

    return ProgressBar(evaluation.turns, evaluation.done, every=50, shown=True, note=note).advance


def _about(plan: dict[str, Any], settings: EvaluationSettings) -> dict[str, Any]:
    return {
        "model": plan["model"],
        "address": plan["address"],
        "date": plan[ASKED],
        "manner": {**settings.sampling, "concurrency": settings.concurrency, "max_retries": settings.max_retries},
        "heldout": plan["heldout"],
    }


def _until_now(asked: str) -> str:
    """The times of the first answer and of now."""
    first, now = asked.partition(" to ")[0], datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{first} to {now}" if first not in ("", now) else now
