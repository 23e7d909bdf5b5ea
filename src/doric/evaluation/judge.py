"""Which of two answers is better, by the word of a model: every pair twice, the second time in the other order.

A verdict counts only where both orders agree on it; where they do not, the judge has shown that it cannot tell. A side
that alone gave no answer loses without a judge. Knows nothing of gates: this is a second opinion beside the scoreboard,
never a part of its figures.
"""

import functools
import json
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from doric import data
from doric.core.conversations import stable_id
from doric.core.errors import FatalServerError, InputError, RetryableError, ServerError
from doric.core.jsonl import Journal, ResumableRun
from doric.core.settings import Settings
from doric.evaluation.run import Manner, Result, address
from doric.evaluation.stats import share
from doric.llm.client import ChatRequest, Client
from doric.llm.response import Completion
from doric.llm.scheduler import Scheduler

log = logging.getLogger("doric")
MAX_TOKENS = 400
SIDES = {"a": "A", "b": "B", "tie": "tie"}


@functools.cache
def _spec() -> dict[str, Any]:
    return data.read_toml("judge.toml")


@functools.cache
def criteria() -> tuple[str, ...]:
    """What is judged, the verdict over all last."""
    return (*_spec()["criteria"], "overall")


def rubric() -> str:
    """A mark of what a judge is told: verdicts with the same one were asked for in the same words."""
    spec = _spec()
    return stable_id(spec["system"], spec["question"], *criteria(), MAX_TOKENS)


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with the answers of the model under test and of the baseline, None where none came."""

    id: str
    question: str
    ours: str | None
    theirs: str | None

    @property
    def forfeit(self) -> str:
        """The side that wins because the other gave no answer: "ours", "theirs", or "" where both or neither did."""
        if (self.ours is None) == (self.theirs is None):
            return ""
        return "theirs" if self.ours is None else "ours"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge said of a pair in one order: for each criterion "ours", "theirs" or "tie"; or why it said none."""

    id: str
    swapped: bool
    picks: dict[str, str]
    error: str = ""


type Mouth = Callable[[ChatRequest], Awaitable[Completion]]


def request(pair: Pair, swapped: bool) -> ChatRequest:
    """What the judge is asked."""
    first, second = (pair.theirs, pair.ours) if swapped else (pair.ours, pair.theirs)
    assert first is not None, "a forfeit is put to no judge"
    assert second is not None, "a forfeit is put to no judge"
    text = _spec()["question"].strip()
    slots = {"question": pair.question, "first": first, "second": second}
    # one pass over the template, so that the name of a slot inside an answer stays as it is
    filled = re.sub(r"\{(\w+)\}", lambda slot: slots[slot[1]], text)
    chat = [{"role": "system", "content": _spec()["system"].strip()}, {"role": "user", "content": filled}]
    pick = {"type": "string", "enum": ["A", "B", "tie"]}
    schema = {
        "type": "object",
        "properties": dict.fromkeys(criteria(), pick),
        "required": list(criteria()),
        "additionalProperties": False,
    }
    return ChatRequest(chat, MAX_TOKENS, temperature=0.0, seed=0, schema=schema)


def read(text: str, swapped: bool) -> dict[str, str] | None:
    """The judge's picks, None when there are none to be read; of several verdicts the last is meant.

    >>> read('{"naturalness": "A", "correctness": "tie", "doric": "b", "overall": "A"}', swapped=True)
    {'naturalness': 'theirs', 'correctness': 'tie', 'doric': 'ours', 'overall': 'theirs'}
    """
    meant = {"A": "theirs", "B": "ours", "tie": "tie"} if swapped else {"A": "ours", "B": "theirs", "tie": "tie"}
    picks = None
    for said in _objects(text):
        sides = {name: SIDES.get(str(said.get(name)).strip().lower()) for name in criteria()}
        if all(sides.values()):
            picks = {name: meant[side] for name, side in sides.items() if side}
    return picks


def _objects(text: str) -> list[dict[str, Any]]:
    """Every JSON object that stands in a text, those inside another before it."""
    found: list[dict[str, Any]] = []
    decoder = json.JSONDecoder(object_hook=found.append)  # called as each object closes
    at = text.find("{")
    while at >= 0:
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        at = text.find("{", end)
    return found


class PairwiseJudge:
    """Verdicts so far. `replay` those of an earlier run, `attach` the journal, then `hear`."""

    def __init__(self, pairs: Sequence[Pair], *, max_retries: int = 3) -> None:
        self._all = tuple(pairs)
        self._pairs = tuple(pair for pair in self._all if pair.ours is not None and pair.theirs is not None)
        self._max_retries = max_retries
        self._verdicts: dict[tuple[str, bool], Verdict] = {}
        self._journal: Journal | None = None

    def replay(self, row: dict[str, Any]) -> None:
        """Take over a line of the journal; a later one for the same pair and order wins."""
        try:
            verdict = Verdict(**row)
        except TypeError as error:
            raise InputError("this is no verdict", hint="Name another --out.") from error
        self._verdicts[verdict.id, verdict.swapped] = verdict

    def attach(self, journal: Journal) -> None:
        """Where verdicts go from now on."""
        self._journal = journal

    async def hear(self, mouth: Mouth, concurrency: int) -> None:
        """Have every pair judged in both orders. Raises `FatalServerError` when no later call can succeed."""
        cases = [(pair, swapped) for pair in self._pairs for swapped in (False, True)]
        pool = Scheduler(
            lambda case: self._judge(*case, mouth),
            self._give_up,
            concurrency=concurrency,
            max_retries=self._max_retries,
        )
        await pool.run(case for case in cases if not self._has(case[0].id, case[1]))

    @property
    def calls(self) -> int:
        """How many verdicts it takes."""
        return 2 * len(self._pairs)

    @property
    def done(self) -> int:
        """How many of them are there."""
        return sum(self._has(pair.id, swapped) for pair in self._pairs for swapped in (False, True))

    def result(self) -> dict[str, Any]:
        """By criterion: wins, losses, ties, how often both orders agreed, how often what was shown first was picked.

        A forfeit is a win of the other side in every criterion; a question that neither side answered is no pair.
        """
        both = [(self._verdicts.get((pair.id, False)), self._verdicts.get((pair.id, True))) for pair in self._pairs]
        judged = [(one, two) for one, two in both if one and two and one.picks and two.picks]
        forfeits = Counter(pair.forfeit for pair in self._all if pair.forfeit)
        return {
            "pairs": len(self._pairs) + forfeits.total(),
            "forfeits": {"ours": forfeits["ours"], "theirs": forfeits["theirs"]},
            "unanswered": len(self._all) - len(self._pairs) - forfeits.total(),
            "judged": len(judged),
            "failed": len(self._pairs) - len(judged),
            "criteria": {name: self._of(name, judged, forfeits) for name in criteria()},
        }

    def _of(self, name: str, judged: Sequence[tuple[Verdict, Verdict]], forfeits: Counter[str]) -> dict[str, Any]:
        agreed = [one.picks[name] for one, two in judged if one.picks[name] == two.picks[name]]
        count = Counter(agreed) + forfeits
        total = len(self._pairs) + forfeits.total()
        return {
            "wins": asdict(share(count["ours"], total)),
            "losses": asdict(share(count["theirs"], total)),
            "ties": count["tie"],
            "undecided": len(judged) - len(agreed),
            "agreement": asdict(share(len(agreed), len(judged))),
            "picked_first": asdict(
                share(sum(_saw_first(one, name) for pair in judged for one in pair), 2 * len(judged))
            ),
        }

    def _has(self, id: str, swapped: bool) -> bool:
        verdict = self._verdicts.get((id, swapped))
        return verdict is not None and not verdict.error

    async def _judge(self, pair: Pair, swapped: bool, mouth: Mouth) -> None:
        try:
            completion = await mouth(request(pair, swapped))
        except (RetryableError, FatalServerError):
            raise
        except ServerError as error:
            self._give_up((pair, swapped), error)
            return
        picks = read(completion.text, swapped)  # at temperature 0 it would say the same again
        self._keep(Verdict(pair.id, swapped, picks or {}, "" if picks else "the verdict could not be read"))

    def _give_up(self, case: tuple[Pair, bool], error: ServerError) -> None:
        self._keep(Verdict(case[0].id, case[1], {}, error.message))

    def _keep(self, verdict: Verdict) -> None:
        assert self._journal is not None, "attach() comes first"
        self._verdicts[verdict.id, verdict.swapped] = verdict
        self._journal.write(asdict(verdict))


def pairs(ours: Result, theirs: Result) -> list[Pair]:
    """The first answers of both to each question that both were asked."""
    earlier = {one.held.id: one for one in theirs.marked if one.given.turn == 0}
    return [
        Pair(
            f"{one.held.id}:{stable_id(one.given.text, other.given.text)}", one.given.prompt,
            one.given.text if one.said else None, other.given.text if other.said else None,
        )
        for one in ours.marked
        if one.given.turn == 0 and (other := earlier.get(one.held.id))
    ]  # fmt: skip


async def judged(
    settings: Settings, cases: Sequence[Pair], manner: Manner, journal_path: Path, *, fresh: bool
) -> dict[str, Any]:
    """Have a model judge `cases`, going on where an earlier run stopped; the result, with the judge's name.

    Raises `PlanError` when the journal is another judge's, `FatalServerError` when the server cannot go on.
    """
    court = PairwiseJudge(cases, max_retries=manner.max_retries)
    files = ResumableRun((journal_path,), overwrite=fresh)
    async with Client(settings, timeout=manner.timeout, concurrency=manner.concurrency) as server:
        plan = {"judge": server.model, "address": address(settings), "rubric": rubric()}
        files.check(plan)
        with files.open(court.replay) as (journal,):
            files.store(plan)
            if court.done:
                words = "%d of %d verdicts are taken from %s; --overwrite asks for all of them again."
                log.info(words, court.done, court.calls, journal_path)
            court.attach(journal)
            await court.hear(server.complete, manner.concurrency)
    result = court.result()
    _tell_unjudged(result)
    return {"model": plan["judge"], **result}


def _tell_unjudged(result: Mapping[str, Any]) -> None:
    won, lost, neither = *result["forfeits"].values(), result["unanswered"]
    if won or lost or neither:
        words = (
            "Without a judge: %d pairs won and %d lost for want of an answer; %d left out that neither side answered."
        )
        log.info(words, won, lost, neither)


def _saw_first(verdict: Verdict, name: str) -> bool:
    """Whether the pick was the answer shown first."""
    return verdict.picks[name] == ("theirs" if verdict.swapped else "ours")
