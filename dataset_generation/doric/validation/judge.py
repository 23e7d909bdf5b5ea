"""Which of two answers is better, by the word of a model: every pair twice, the second time in the other order.

A verdict counts only where both orders agree on it; where they do not, the judge has shown that it cannot tell. Knows
nothing of gates: this is a second opinion beside the scoreboard, never a part of its figures.
"""

import functools
import json
import re
import tomllib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from doric.backends import OpenAIBackend, Reply, Request
from doric.errors import BackendError, FatalBackendError, InputError, TryLaterError
from doric.jsonl import Journal, Sidecar
from doric.language.vocabulary import DATA
from doric.pool import Pool
from doric.rows import stable_id
from doric.settings import Settings
from doric.validation.candidate import Manner, Result, address, holds_rows, refuse_another
from doric.validation.intervals import share

MAX_TOKENS = 400
ONE_OBJECT = re.compile(r"\{[^{}]*\}")
SIDES = {"a": "A", "b": "B", "tie": "tie"}


@functools.cache
def _spec() -> dict[str, Any]:
    return tomllib.loads((DATA / "judge.toml").read_text("utf-8"))


@functools.cache
def criteria() -> tuple[str, ...]:
    """What is judged, the verdict over all last."""
    return (*_spec()["criteria"], "overall")


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with the answers of the model under test and of the baseline."""

    id: str
    question: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge said of a pair in one order: for each criterion "ours", "theirs" or "tie"; or why it said none."""

    id: str
    swapped: bool
    picks: dict[str, str]
    error: str = ""


type Mouth = Callable[[Request], Awaitable[Reply]]


def request(pair: Pair, swapped: bool) -> Request:
    """What the judge is asked."""
    first, second = (pair.theirs, pair.ours) if swapped else (pair.ours, pair.theirs)
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
    return Request(chat, MAX_TOKENS, temperature=0.0, seed=0, schema=schema)


def read(text: str, swapped: bool) -> dict[str, str] | None:
    """The judge's picks, None when there are none to be read.

    >>> read('{"naturalness": "A", "correctness": "tie", "doric": "b", "overall": "A"}', swapped=True)
    {'naturalness': 'theirs', 'correctness': 'tie', 'doric': 'ours', 'overall': 'theirs'}
    """
    meant = {"A": "theirs", "B": "ours", "tie": "tie"} if swapped else {"A": "ours", "B": "theirs", "tie": "tie"}
    for found in ONE_OBJECT.findall(text):
        try:
            said = json.loads(found)
        except ValueError:
            continue
        picks = {name: SIDES.get(str(said.get(name)).strip().lower()) for name in criteria()}
        if all(picks.values()):
            return {name: meant[pick] for name, pick in picks.items() if pick}
    return None


class Court:
    """Verdicts so far. `replay` those of an earlier run, `attach` the journal, then `hear`."""

    def __init__(self, pairs: Sequence[Pair], *, max_retries: int = 3) -> None:
        self._pairs = tuple(pairs)
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
        """Have every pair judged in both orders. Raises `FatalBackendError` when no later call can succeed."""
        cases = [(pair, swapped) for pair in self._pairs for swapped in (False, True)]
        pool = Pool(
            lambda case: self._judge(*case, mouth), self._give_up, limit=concurrency, max_retries=self._max_retries
        )
        await pool.run(case for case in cases if not self._has(case[0].id, case[1]))

    def result(self) -> dict[str, Any]:
        """By criterion: wins, losses, ties, how often both orders agreed, how often what was shown first was picked."""
        both = [(self._verdicts.get((pair.id, False)), self._verdicts.get((pair.id, True))) for pair in self._pairs]
        judged = [(one, two) for one, two in both if one and two and one.picks and two.picks]
        return {
            "pairs": len(self._pairs),
            "judged": len(judged),
            "failed": len(self._pairs) - len(judged),
            "criteria": {name: self._of(name, judged) for name in criteria()},
        }

    def _of(self, name: str, judged: Sequence[tuple[Verdict, Verdict]]) -> dict[str, Any]:
        agreed = [one.picks[name] for one, two in judged if one.picks[name] == two.picks[name]]
        count = Counter(agreed)
        total = len(self._pairs)
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
            reply = await mouth(request(pair, swapped))
        except (TryLaterError, FatalBackendError):
            raise
        except BackendError as error:
            self._give_up((pair, swapped), error)
            return
        picks = read(reply.text, swapped)  # at temperature 0 it would say the same again
        self._keep(Verdict(pair.id, swapped, picks or {}, "" if picks else "the verdict could not be read"))

    def _give_up(self, case: tuple[Pair, bool], error: BackendError) -> None:
        self._keep(Verdict(case[0].id, case[1], {}, error.message))

    def _keep(self, verdict: Verdict) -> None:
        assert self._journal is not None, "attach() comes first"
        self._verdicts[verdict.id, verdict.swapped] = verdict
        self._journal.write(asdict(verdict))


def pairs(ours: Result, theirs: Result) -> list[Pair]:
    """The first answers of both to each question that both answered."""
    earlier = {one.held.id: one for one in theirs.marked if one.given.turn == 0 and one.came}
    return [
        Pair(
            f"{one.held.id}:{stable_id(one.given.text, other.given.text)}",
            one.given.prompt, one.given.text, other.given.text,
        )
        for one in ours.marked
        if one.given.turn == 0 and one.came and (other := earlier.get(one.held.id))
    ]  # fmt: skip


async def judged(
    settings: Settings, cases: Sequence[Pair], manner: Manner, journal_path: Path, *, fresh: bool
) -> dict[str, Any]:
    """Have a model judge `cases`, going on where an earlier run stopped; the result, with the judge's name.

    Raises `PlanError` when the journal is another judge's, `FatalBackendError` when the server cannot go on.
    """
    court = Court(cases, max_retries=manner.max_retries)
    begun = not fresh and holds_rows(journal_path)
    async with OpenAIBackend(settings, timeout=manner.timeout, concurrency=manner.concurrency) as server:
        plan = {"judge": server.model, "address": address(settings)}
        if begun:
            refuse_another(journal_path, plan)
        with Journal(journal_path, replay=court.replay, fresh=not begun) as journal:
            Sidecar.beside(journal_path).store(plan)
            court.attach(journal)
            await court.hear(server.reply, manner.concurrency)
    return {"model": plan["judge"], **court.result()}


def _saw_first(verdict: Verdict, name: str) -> bool:
    """Whether the pick was the answer shown first."""
    return verdict.picks[name] == ("theirs" if verdict.swapped else "ours")
