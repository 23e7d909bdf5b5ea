"""Asking a model for more topics of a group until there are enough, or until it has no more to give.

One batch is one call; what comes back is read, tidied, judged and kept or counted as refused. Knows no files and no
network: the voice is any backend. Group names and topics are untrusted: they go to the model as JSON in a user turn,
never into its rules.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.llm.budget import Budget
from doric.llm.client import Backend, ChatRequest
from doric.quality.gates import Rejection
from doric.topics.filters import Known, spec, tidy, unfit
from doric.topics.parse import read_list

SCHEMA = {
    "type": "object",
    "properties": {"topics": {"type": "array", "items": {"type": "string"}}},
    "required": ["topics"],
    "additionalProperties": False,
}
MOST_GROWTHS = 2
"""How often the room for thoughts is doubled, once for each call in a row that gave nothing."""
MOST_CALLS = 200
"""Calls for one group, whatever happens: a model that gives one topic a call is not worth more."""


@dataclass(slots=True)
class Group:
    """A group being widened: what it had, how many more are wanted, what was found, and why it ended short.

    Of what was found the first `written` are on disk.
    """

    name: str
    had: Sequence[str]
    wanted: int
    found: list[str] = field(default_factory=list)
    written: int = 0
    calls: int = 0
    dry: int = 0
    ended: str = ""

    @property
    def missing(self) -> int:
        """How many are still wanted."""
        return self.wanted - len(self.found)

    @property
    def unwritten(self) -> list[str]:
        """What was found and is not on disk."""
        return self.found[self.written :]


@dataclass(slots=True)
class Refused:
    """What was refused: how often by each rule, and one example of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, text: str, rejection: Rejection) -> None:
        """Count a refusal."""
        self.counts[rejection.gate] += 1
        self.examples.setdefault(rejection.gate, (text, rejection.reason))


class Widener:
    """Widens groups that share one memory of `topics`, so that none comes twice, within a group or across them.

    Once `stop` is set no further call is made.
    """

    def __init__(
        self, voice: Backend, topics: Iterable[str], *, spend: Budget, stop: asyncio.Event, seed: int = 0
    ) -> None:
        self.refused = Refused()
        self.faults: Counter[str] = Counter()
        self._voice, self._spend, self._stop, self._seed = voice, spend, stop, seed
        self._known = Known()
        for text in topics:
            self._known.add(text)

    async def ask(self, group: Group) -> list[str]:
        """One call for `group`; the topics it gave that are kept. Sets `group.ended` when nothing more is to be had.

        Raises `RetryableError` to be called again later and `FatalServerError` to stop everything.
        """
        if spent := await self._spend.reserve():  # by another group, while this one waited for its turn
            group.ended = spent
            return []
        if self._stop.is_set():  # while it waited for room in a budget
            self._spend.release()
            return []
        try:
            completion = await self._voice.complete(request(group, self._seed))
        except RetryableError as error:
            self.faults[error.fault] += 1
            if error.tokens_in or error.tokens_out:  # an answer that could not be read was paid for
                self._spend.add(error.tokens_in, error.tokens_out, counted=error.counted)
            raise
        except FatalServerError:
            raise
        except ServerError as error:
            group.ended = error.message
            return []
        finally:
            self._spend.release()
        self._spend.add(completion.tokens_in, completion.tokens_out, counted=completion.counted)
        group.calls += 1
        kept = self._take(group, completion.text, completion.finish)
        group.found += kept
        group.dry = 0 if kept else group.dry + 1
        group.ended = self._why_ended(group)
        return kept

    def _take(self, group: Group, text: str, finish: str) -> list[str]:
        items = read_list(text, cut=finish == "length")
        if not items:
            why = "the server's content filter withheld it" if finish == "content_filter" else "there is no list in it"
            self.refused.add(" ".join(text.split())[:60], Rejection("no_list", why))
        kept: list[str] = []
        for item in map(tidy, items):
            rejection = unfit(item) or self._known.rival(item)
            if rejection is None and len(kept) < group.missing:
                self._known.add(item)
                kept.append(item)
            elif rejection:
                self.refused.add(item, rejection)
        return kept

    def _why_ended(self, group: Group) -> str:
        if group.missing <= 0:
            return ""
        if group.dry >= spec()["ask"]["dry"]:
            return f"{group.dry} calls in a row gave no new topic that fits"
        if group.calls >= MOST_CALLS:
            return f"{group.calls} calls were not enough"
        return self._spend.exhausted() or ""


def request(group: Group, seed: int) -> ChatRequest:
    """What the model is asked next for `group`: a seeded side to come from, and examples that it must not repeat."""
    rules = spec()["ask"]
    draw = random.Random(f"{seed}:{group.name}:{group.calls}")
    wanted = min(rules["batch"], round(group.missing * rules["spare"]) + 1)
    there = [*group.had, *group.found]
    # the newest are always shown, since a model is likeliest to repeat what it has just said
    newest = group.found[-rules["batch"] :]
    rest = there[: len(there) - len(newest)]
    shown = draw.sample(rest, min(len(rest), rules["shown"] - len(newest))) + newest
    data = {"group": group.name, "wanted": wanted, "from": draw.choice(rules["angles"]), "examples": shown}
    messages = [
        {"role": "system", "content": rules["system"].strip()},
        {"role": "user", "content": json.dumps(data, ensure_ascii=False)},
    ]
    return ChatRequest(
        messages,
        max_tokens=100 + wanted * rules["tokens"],
        temperature=rules["temperature"],
        schema=SCHEMA,
        doublings=min(group.dry, MOST_GROWTHS),
    )


def expected(groups: Sequence[Group]) -> tuple[int, int, int]:
    """Calls, tokens in and tokens out, if no more is refused than is asked for to spare."""
    rules = spec()["ask"]
    asked = [round(group.wanted * rules["spare"]) for group in groups]
    calls = sum(-(-number // rules["batch"]) for number in asked)
    words = len(rules["system"].split()) + rules["shown"] * 8
    return calls, round(calls * words * 1.4), sum(asked) * 14


def guess(groups: Sequence[Group]) -> tuple[float, float]:
    """Tokens in and out that one call is taken to need before the first have told."""
    calls, into, out = expected(groups)
    return into / max(1, calls), out / max(1, calls)
