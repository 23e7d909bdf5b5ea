"""A model whose answers come from batches: what is not answered yet is asked in the next round."""

import contextvars
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from doric.core.conversations import stable_id
from doric.core.errors import ServerError
from doric.dataset.batch_files import Answers, ids_in
from doric.dataset.batch_state import Part, part_file
from doric.dataset.chats import tried
from doric.dataset.plan import FIRST_TURNS, Attempt
from doric.dataset.sources import Writing
from doric.llm.client import ChatRequest, Client
from doric.llm.response import Completion

now_asked: contextvars.ContextVar[str] = contextvars.ContextVar("now_asked")
"""The id of the request that a task makes."""


class Asked(Exception):
    """A job waits for its answer: the request goes into a batch."""


@dataclass(slots=True)
class BatchModel:
    """Completes a request from the `answers` to batches, or passes it to `ask(id, request)` and raises `Asked`.

    `unusable` counts answers that cannot be read or are errors, by their fault.
    """

    client: Client
    answers: Answers
    ask: Callable[[str, ChatRequest], object]
    unusable: Counter[str] = field(default_factory=Counter)

    async def complete(self, request: ChatRequest) -> Completion:
        """The completion that a batch has brought. Raises `Asked` if there is none that can be used."""
        id = now_asked.get()
        if response := self.answers.response(id):
            try:
                return self.client.read_response(*response, request)
            except ServerError as error:
                self.unusable[error.fault] += 1
        self.ask(id, request)
        raise Asked(id)


def read_answers(out: Path, parts: Iterable[Part]) -> Answers:
    """The answers of these parts of an output, with their counts noted in each. Raises `InputError`."""
    every = Answers()
    for part in parts:
        files = [part_file(out, part, what) for what in ("output", "errors")]
        found = Answers.read(files, ids_in(part_file(out, part, "input")))
        part.found, part.why = dict(found.found), dict(found.why)
        part.tokens_in, part.tokens_out, part.cached = found.tokens_in, found.tokens_out, found.cached
        part.estimated = found.uncounted > 0
        if part.estimated:  # as in the forecast, so that a budget ends the rounds
            share = found.uncounted / max(1, part.requests)
            part.tokens_in += round(share * part.limit_in)
            part.tokens_out += round(share * part.limit_out / 2)
        for id, place in found.places.items():
            every.places[id] = place  # a later round answers again what an earlier one has not answered well
    return every


def with_ids(writing: Writing) -> Writing:
    """The same, with an id for each request: the row, the turn if it is a follow-up, and the number of the try.

    The id of a follow-up has a mark of what was said before, since another first answer makes it another request.
    """

    async def speak(attempt: Attempt) -> Completion:
        turn = FIRST_TURNS + len(attempt.said)
        said = [text for one in attempt.said for text in (one.prompt.text, one.answer)]
        mark = f"-{stable_id(*said, attempt.job.prompt.text)[:8]}" if said else ""
        now_asked.set(f"{tried(attempt.job.id, turn)}#{attempt.number + 1}{mark}")
        return await writing.voice(attempt)

    return replace(writing, voice=speak)
