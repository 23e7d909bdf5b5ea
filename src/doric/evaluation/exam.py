"""Putting the held-out prompts to a model: turn by turn, a few talks at a time, every answer to a journal at once.

A talk that was broken off goes on where it was; a turn that failed for good is journalled as failed, and asked again
by a later run. Knows servers by what they say, and nothing of whether an answer is good.
"""

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from doric.core.conversations import stable_id
from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.core.jsonl import Journal
from doric.evaluation.metrics import ModelAnswer
from doric.llm.client import ChatRequest
from doric.llm.response import TimedCompletion
from doric.llm.scheduler import Scheduler
from doric.quality.decontamination import HeldOutPrompt, held_out_prompts

UNCOUNTED = 1 << 30
"""The exam gives up by itself: the pool would take the one prompt that a server cannot answer for a server gone."""
GONE = 20
"""Turns lost one after the other, by a server that answered before in this run, after which it counts as gone."""

type Ear = Callable[[ChatRequest], Awaitable[TimedCompletion]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What every turn is asked with: the most tokens, the temperature, and the seed that each turn's own is made of."""

    max_tokens: int
    temperature: float
    seed: int


def chosen(limit: int | None) -> tuple[HeldOutPrompt, ...]:
    """The first `limit` held-out prompts, the buckets taking turns so that a short exam has some of each; None is all.

    >>> len(chosen(12)), len({(held.bucket, held.benign) for held in chosen(12)})
    (12, 6)
    """
    kinds: dict[tuple[str, bool], list[HeldOutPrompt]] = {}
    for held in held_out_prompts():
        kinds.setdefault((held.bucket, held.benign), []).append(held)
    rounds = itertools.zip_longest(*kinds.values())
    return tuple(itertools.islice((held for turn in rounds for held in turn if held is not None), limit))


def fingerprint() -> str:
    """A mark of the held-out prompts: two exams with the same one asked the same."""
    return stable_id(*(text for held in held_out_prompts() for text in (held.prompt, *held.turns)))


class Evaluation:
    """The answers of one model so far. `replay` those of an earlier run, `attach` the journal, then `sit`."""

    def __init__(self, prompts: Sequence[HeldOutPrompt], rules: Rules, *, max_retries: int = 3) -> None:
        self.prompts = tuple(prompts)
        self._rules = rules
        self._max_retries = max_retries
        self._given: dict[tuple[str, int], ModelAnswer] = {}
        self._faults: dict[tuple[str, int], list[str]] = {}
        self._heard = self._lost = 0
        self._journal: Journal | None = None
        self._on_answer: Callable[[], None] = lambda: None

    @property
    def turns(self) -> int:
        """How many turns there are to ask."""
        return sum(1 + len(held.turns) for held in self.prompts)

    @property
    def done(self) -> int:
        """How many of them have an answer."""
        return sum(not given.error for given in self.answers())

    @property
    def faults(self) -> Counter[str]:
        """The faults of the server so far, by kind."""
        return Counter(fault for given in self._given.values() for fault in given.faults)

    def replay(self, row: dict[str, Any]) -> None:
        """Take over a line of the journal; a later one for the same turn wins."""
        given = ModelAnswer.read(row)
        self._given[given.id, given.turn] = given

    def attach(self, journal: Journal, on_answer: Callable[[], None] = lambda: None) -> None:
        """Where answers go from now on, and what to call after each."""
        self._journal, self._on_answer = journal, on_answer

    def answers(self) -> list[ModelAnswer]:
        """What there is, in the order of the prompts."""
        keys = ((held.id, turn) for held in self.prompts for turn in range(1 + len(held.turns)))
        return [self._given[key] for key in keys if key in self._given]

    async def sit(self, ear: Ear, concurrency: int) -> None:
        """Ask what has no answer yet, turn after turn. Raises `FatalServerError` when no later call can succeed."""
        for turn in range(max(1 + len(held.turns) for held in self.prompts)):
            pool = Scheduler(
                lambda held, turn=turn: self._ask(held, turn, ear),
                lambda held, error, turn=turn: self._fail(held, turn, error.message),
                concurrency=concurrency,
                max_retries=UNCOUNTED,
            )
            await pool.run(held for held in self.prompts if turn <= len(held.turns) and not self._has(held, turn))

    def _has(self, held: HeldOutPrompt, turn: int) -> bool:
        given = self._given.get((held.id, turn))
        return given is not None and not given.error

    async def _ask(self, held: HeldOutPrompt, turn: int, ear: Ear) -> None:
        if turn and not self._has(held, turn - 1):
            self._fail(held, turn, "the turn before it got no answer")
            return
        try:
            heard = await ear(self._request(held, turn))
        except RetryableError as error:
            faults = self._faults.setdefault((held.id, turn), [])
            faults.append(error.fault)
            if len(faults) <= self._max_retries:
                raise
            self._fail_or_stop(held, turn, error, len(faults))
        except FatalServerError:
            raise
        except ServerError as error:
            self._fail(held, turn, error.message)
        else:
            self._heard, self._lost = self._heard + 1, 0
            completion = heard.completion
            given = ModelAnswer(
                held.id, turn, _said(held, turn), completion.text, completion.finish, tokens=completion.tokens_out
            )
            self._keep(replace(given, first=heard.first_token, seconds=heard.seconds))

    def _request(self, held: HeldOutPrompt, turn: int) -> ChatRequest:
        chat = [{"role": "user", "content": held.prompt}]
        for at, prompt in enumerate(held.turns[:turn]):
            answer = self._given[held.id, at].text
            chat += [{"role": "assistant", "content": answer}, {"role": "user", "content": prompt}]
        number = (int(stable_id(held.id, turn), 16) + self._rules.seed) % 2**31
        return ChatRequest(chat, self._rules.max_tokens, temperature=self._rules.temperature, seed=number)

    def _fail_or_stop(self, held: HeldOutPrompt, turn: int, error: RetryableError, times: int) -> None:
        self._lost += 1
        if self.done and not (self._heard and self._lost >= GONE):
            self._fail(held, turn, error.message)
            return
        when = f"for {GONE} turns one after the other" if self.done else f"{times} times and never an answer"
        hint = "Is the server running and reachable? Nothing is lost: run the same command again."
        raise FatalServerError(f"{error.message}, {when}", hint=hint)

    def _fail(self, held: HeldOutPrompt, turn: int, why: str) -> None:
        self._keep(ModelAnswer(held.id, turn, _said(held, turn), "", "", why))

    def _keep(self, given: ModelAnswer) -> None:
        assert self._journal is not None, "attach() comes first"
        key = (given.id, given.turn)
        earlier = self._given[key].faults if key in self._given else ()  # a turn that failed in an earlier run
        given = replace(given, faults=(*earlier, *self._faults.pop(key, ())))
        self._given[key] = given
        self._journal.write(asdict(given))
        self._on_answer()


def _said(held: HeldOutPrompt, turn: int) -> str:
    """What the user says at a turn."""
    return (held.prompt, *held.turns)[turn]
