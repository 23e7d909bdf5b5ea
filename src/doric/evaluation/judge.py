"""A model compares two answers to the same prompt. Each pair is compared twice, the second time in the other order.

A verdict counts only if both orders agree. If only one model gave no answer, it loses without a call. The verdicts are
a second opinion: they are shown beside the scoreboard and never change its figures.
"""

import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import ConfigDict, StrictBool, StrictStr, TypeAdapter, ValidationError, with_config

from doric import data
from doric.core.cli import run_until_interrupt
from doric.core.conversations import stable_id
from doric.core.errors import FatalServerError, InputError, RetryableError, ServerError
from doric.core.resume import ResumableRun, then_and_now
from doric.evaluation.metrics import ScoredAnswer, describe_invalid
from doric.evaluation.stats import share
from doric.llm.brake import DEFAULT_LIMIT, Brake, has_words, silence_hint
from doric.llm.client import Backend, ChatRequest, Client
from doric.llm.judging import beginning, fence_code, fill, last_verdict, read_choice
from doric.llm.response import Completion
from doric.llm.scheduler import Scheduler
from doric.llm.served_models import untagged
from doric.quality.decontamination import held_out_prompts

log = logging.getLogger("doric")
MAX_TOKENS = 400
LABELS = ["A", "B", "tie"]
UNREADABLE = "the judge gave no verdict that can be read"
"""The beginning of the error of a verdict that is paid for. Verdicts of earlier versions had other words, and those may
be readable now."""

type Pick = Literal["ours", "theirs", "tie"]


@functools.cache
def rubric() -> dict[str, Any]:
    """The instructions for the judge, from `data/judge.toml`: `criteria`, `system` and `question`."""
    return data.read_toml("judge.toml")


@functools.cache
def _labels() -> dict[str, str]:
    """Each way to write a verdict -> "a", "b" or "tie"."""
    return {word: label for label, words in rubric()["labels"].items() for word in words}


def criteria() -> tuple[str, ...]:
    """The criteria; the overall verdict is the last."""
    return (*rubric()["criteria"], "overall")


def rubric_fingerprint() -> str:
    """A hash of the rubric. Verdicts with the same hash were asked for with the same words."""
    return stable_id(rubric()["system"], rubric()["question"], *criteria(), MAX_TOKENS)


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with the answers of the model under test and of the baseline. None means that there is no answer."""

    id: str
    question: str
    ours: str | None
    theirs: str | None

    @property
    def default_win(self) -> str:
        """The side that wins because only the other gave no answer: "ours" or "theirs", else ""."""
        if (self.ours is None) == (self.theirs is None):
            return ""
        return "theirs" if self.ours is None else "ours"


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True)
class Verdict:
    """The judge's picks for a pair in one order, by criterion. If there is no verdict, `error` says why."""

    id: StrictStr
    swapped: StrictBool
    picks: dict[str, Pick]
    error: StrictStr = ""


_VERDICT = TypeAdapter(Verdict)


def read_verdict(row: object) -> Verdict:
    """A verdict from its JSON object. Raises `InputError` naming the field that is wrong."""
    hint = "Use a different --out, or give --overwrite."
    try:
        verdict = _VERDICT.validate_python(row)
    except ValidationError as error:
        raise InputError(describe_invalid(error, "a verdict"), hint=hint) from error
    if not verdict.error and (missing := [name for name in criteria() if name not in verdict.picks]):
        raise InputError(f"not a verdict: picks.{missing[0]} is missing", hint=hint)
    return verdict


def judge_request(pair: Pair, swapped: bool) -> ChatRequest:
    """The request to the judge for a pair with two answers. Raises `ValueError` for any other pair."""
    first, second = (pair.theirs, pair.ours) if swapped else (pair.ours, pair.theirs)
    if first is None or second is None:
        raise ValueError("both sides must have an answer")
    code = fence_code(pair.question, first, second)
    filled = fill(rubric()["question"], {"question": pair.question, "first": first, "second": second}, code)
    system = f"{rubric()['system'].strip()}\n\n{rubric()['fence'].strip().replace('{code}', code)}"
    chat = [{"role": "system", "content": system}, {"role": "user", "content": filled}]
    schema = {
        "type": "object",
        "properties": {name: {"type": "string", "enum": LABELS} for name in criteria()},
        "required": list(criteria()),
        "additionalProperties": False,
    }
    return ChatRequest(chat, MAX_TOKENS, temperature=0.0, seed=0, schema=schema)


def read_picks(text: str, swapped: bool) -> dict[str, Pick] | None:
    """The judge's picks by criterion. The last complete verdict in the text counts; None if there is none.

    >>> read_picks('{"naturalness": "A", "correctness": "tie", "doric": "b", "overall": "A"}', swapped=True)
    {'naturalness': 'theirs', 'correctness': 'tie', 'doric': 'ours', 'overall': 'theirs'}
    """
    sides: dict[str, Pick] = {"a": "ours", "b": "theirs", "tie": "tie"}
    if swapped:
        sides |= {"a": "theirs", "b": "ours"}
    verdict = last_verdict(text, criteria(), lambda value: read_choice(value, _labels(), rubric()["around"]))
    return {name: sides[label] for name, label in verdict[0].items()} if verdict else None


class PairwiseJudge:
    """The verdicts on `pairs` so far. `write` gets each new verdict as a row for the journal.

    `earlier` are the verdicts of an earlier run. If there are several for the same pair and order, the last one counts.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        write: Callable[[dict[str, Any]], object],
        *,
        earlier: Iterable[Verdict] = (),
        max_retries: int = 3,
        max_rejected: int = DEFAULT_LIMIT,
    ) -> None:
        self._pairs = tuple(pairs)
        self._answered = [pair for pair in pairs if pair.ours is not None and pair.theirs is not None]
        self._write, self._max_retries, self._brake = write, max_retries, Brake(max_rejected, noun="verdicts")
        self._verdicts = {(verdict.id, verdict.swapped): verdict for verdict in earlier}
        # if none could be read, the brake has stopped the earlier run; that says nothing about the judge as it is now
        self._keeps_unreadable = any(verdict.picks for verdict in self._verdicts.values())
        self._scheduler: Scheduler[tuple[Pair, bool]] | None = None
        self._told = False
        self._silent: Completion | None = None

    @property
    def calls(self) -> int:
        """The number of verdicts that must be asked for, done or not."""
        return 2 * len(self._answered)

    @property
    def done(self) -> int:
        """The number of verdicts that exist already."""
        return self.calls - len(self._open_cases())

    @property
    def unreadable(self) -> int:
        """The number of verdicts among those that nobody can read. They are not asked for again."""
        keys = [(pair.id, swapped) for pair in self._answered for swapped in (False, True)]
        return sum(self._is_paid(self._verdicts[key]) for key in keys if key in self._verdicts)

    async def run(self, backend: Backend, concurrency: int) -> None:
        """Ask for the missing verdicts. Raises `FatalServerError` if no later call can succeed, or none can be read."""
        self._scheduler = Scheduler(
            lambda case: self._judge(*case, backend), self._fail, concurrency=concurrency, max_retries=self._max_retries
        )
        await self._scheduler.run(iter(self._open_cases()))
        if self._silent is not None:  # otherwise the error of the brake says so
            log.warning("There are verdicts without words. %s", silence_hint(self._silent))

    def stop(self) -> None:
        """Ask for no further verdict. `run` returns when the calls in flight have ended."""
        if self._scheduler is not None:
            self._scheduler.stop()

    def result(self) -> dict[str, Any]:
        """By criterion: wins, losses, ties, how often both orders agreed, how often the answer shown first was picked.

        A default win counts in every criterion. A question that neither model answered is not a pair.
        """
        both = [(self._verdicts.get((pair.id, False)), self._verdicts.get((pair.id, True))) for pair in self._answered]
        judged = [(first, second) for first, second in both if first and second and first.picks and second.picks]
        default_wins = Counter(pair.default_win for pair in self._pairs if pair.default_win)
        return {
            "pairs": len(self._answered) + default_wins.total(),
            "forfeits": {"ours": default_wins["ours"], "theirs": default_wins["theirs"]},
            "unanswered": len(self._pairs) - len(self._answered) - default_wins.total(),
            "judged": len(judged),
            "failed": len(self._answered) - len(judged),
            "criteria": {name: self._by_criterion(name, judged, default_wins) for name in criteria()},
        }

    def _by_criterion(
        self, name: str, judged: Sequence[tuple[Verdict, Verdict]], default_wins: Counter[str]
    ) -> dict[str, Any]:
        agreed = [first.picks[name] for first, second in judged if first.picks[name] == second.picks[name]]
        count = Counter[str](agreed) + default_wins
        total = len(self._answered) + default_wins.total()
        picked_first = sum(_picked_first(verdict, name) for pair in judged for verdict in pair)
        return {
            "wins": asdict(share(count["ours"], total)),
            "losses": asdict(share(count["theirs"], total)),
            "ties": count["tie"],
            "undecided": len(judged) - len(agreed),
            "agreement": asdict(share(len(agreed), len(judged))),
            "picked_first": asdict(share(picked_first, 2 * len(judged))),
        }

    def _open_cases(self) -> list[tuple[Pair, bool]]:
        cases = [(pair, swapped) for pair in self._answered for swapped in (False, True)]
        done = {key for key, verdict in self._verdicts.items() if not verdict.error or self._is_paid(verdict)}
        return [(pair, swapped) for pair, swapped in cases if (pair.id, swapped) not in done]

    def _is_paid(self, verdict: Verdict) -> bool:
        """Whether the judge has given this verdict, which nobody can read; at temperature 0 it would give it again."""
        return self._keeps_unreadable and verdict.error.startswith(UNREADABLE)

    async def _judge(self, pair: Pair, swapped: bool, backend: Backend) -> None:
        try:
            completion = await backend.complete(judge_request(pair, swapped))
        except (RetryableError, FatalServerError):
            raise
        except ServerError as error:
            if error.tokens_out:
                self._keep(Verdict(pair.id, swapped, {}, f"{UNREADABLE}: {error.message}"))
                self._brake.failed(error)
            else:
                self._fail((pair, swapped), error)
            return
        picks = read_picks(completion.text, swapped)  # not asked again: at temperature 0 the text would be the same
        self._keep(Verdict(pair.id, swapped, picks or {}, "" if picks else UNREADABLE))
        if picks:
            self._brake.accepted()
        else:
            self._note_unreadable(completion)
            self._brake.refused(completion, UNREADABLE)

    def _note_unreadable(self, completion: Completion) -> None:
        """Say once what a verdict that cannot be read is like. Those without words are said at the end of the run."""
        if not has_words(completion.text):
            self._silent = completion
        elif not self._told:
            self._told = True
            words = "A verdict could not be read; it begins: '%s'. Another judge may keep to the form."
            log.warning(words, beginning(completion.text))

    def _fail(self, case: tuple[Pair, bool], error: ServerError) -> None:
        self._keep(Verdict(case[0].id, case[1], {}, error.message))

    def _keep(self, verdict: Verdict) -> None:
        self._verdicts[verdict.id, verdict.swapped] = verdict
        self._write(asdict(verdict))


def pair_answers(ours: Iterable[ScoredAnswer], theirs: Iterable[ScoredAnswer]) -> list[Pair]:
    """The first answers of both models to each question that both were asked."""
    others = {each.prompt.id: each for each in theirs if each.answer.turn == 0}
    both = [(each, others[each.prompt.id]) for each in ours if each.answer.turn == 0 and each.prompt.id in others]
    return [
        Pair(
            f"{mine.prompt.id}:{stable_id(mine.answer.text, other.answer.text)}", mine.answer.prompt,
            mine.answer.text if mine.has_text else None, other.answer.text if other.has_text else None,
        )
        for mine, other in both
    ]  # fmt: skip


async def judge_pairs(
    client: Client,
    address: str,
    pairs: Sequence[Pair],
    run: ResumableRun,
    *,
    concurrency: int,
    max_retries: int,
    max_rejected: int = DEFAULT_LIMIT,
) -> dict[str, Any]:
    """Ask the model of `client`, at `address`, for the verdicts on `pairs` that `run` does not have yet.

    Returns the result with the judge's name. Raises `PlanError` if the journal is from another judge, and
    `FatalServerError` if no later call can succeed. After Ctrl-C or SIGTERM it waits for the calls in flight for a
    moment, and raises `KeyboardInterrupt`.
    """
    plan: dict[str, Any] = {"judge": client.model, "address": address, "rubric": rubric_fingerprint()}
    plan |= {"extra_body": client.extra_body} if client.extra_body else {}  # plans of earlier versions have no such key
    judge_before = str((run.stored() or {}).get("judge", "")) if run.resumes else ""
    if untagged(judge_before) == untagged(client.model):
        plan["judge"] = judge_before
    run.check(plan, describe=_difference)
    earlier: list[Verdict] = []
    with run.open(_replay_to(earlier)) as (journal,):
        run.store(plan)
        judge = PairwiseJudge(pairs, journal.write, earlier=earlier, max_retries=max_retries, max_rejected=max_rejected)
        if judge.done:
            words = "%d of %d verdicts come from %s; --overwrite asks for all of them again."
            log.info(words, judge.done, judge.calls, journal.path)
        if judge.unreadable:
            words = (
                "%d of these verdicts could not be read, and are paid for: to ask again, remove their lines from %s."
            )
            log.warning(words, judge.unreadable, journal.path)
        await run_until_interrupt(judge.run(client, concurrency), lambda: (judge.stop(), client.hurry()))
    result = judge.result()
    _log_default_wins(result)
    return {"model": client.model, **result}


def _replay_to(earlier: list[Verdict]) -> Callable[[dict[str, Any]], None]:
    """A function that adds the verdict in a row to `earlier`. It raises `InputError` if no run can have written it."""
    known = {held.id for held in held_out_prompts()}
    judged: set[tuple[str, bool]] = set()

    def replay(row: dict[str, Any]) -> None:
        verdict = read_verdict(row)
        key = verdict.id, verdict.swapped
        hint = "Fix or remove the line, or give --overwrite to ask again; a copy is kept."
        if verdict.id.partition(":")[0] not in known:  # a pair of other answers is left out, but kept
            raise InputError(f"there is no evaluation prompt for the pair {verdict.id}", hint=hint)
        if key in judged:  # only verdicts that failed are asked for again
            raise InputError(f"an earlier line has a verdict on {verdict.id} in the same order", hint=hint)
        if not verdict.error:
            judged.add(key)
        earlier.append(verdict)

    return replay


def _difference(key: str, then: object, now: object) -> str:
    if key == "rubric":
        return f"another rubric, because {data.shown('judge.toml')} has changed since it was started"
    return then_and_now(key, then, now)


def _log_default_wins(result: Mapping[str, Any]) -> None:
    won, lost, neither = *result["forfeits"].values(), result["unanswered"]
    if won or lost or neither:
        log.info(
            "Decided without the judge: %d pairs won and %d lost because one side gave no answer; "
            "%d questions that neither side answered are not counted.", won, lost, neither,
        )  # fmt: skip


def _picked_first(verdict: Verdict, name: str) -> bool:
    return verdict.picks[name] == ("theirs" if verdict.swapped else "ours")
