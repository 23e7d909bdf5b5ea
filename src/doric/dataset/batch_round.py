"""A new round: its requests are written to files, as far as the budgets allow."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from doric.dataset.batch_budget import Limits
from doric.dataset.batch_files import RequestFile, request_line
from doric.dataset.batch_state import Part, State, next_round, part_file, state_file
from doric.dataset.generate import BudgetExhausted
from doric.llm.budget import Budget
from doric.llm.client import ChatRequest, Client
from doric.llm.prices import BATCH
from doric.llm.request import token_limit
from doric.llm.response import estimate_tokens


@dataclass(slots=True)
class Round:
    """The requests of a round, and the `parts` that they are in.

    Those with `open_ids` are in open batches and are left out. What was uploaded of the `unsent` parts, which this
    round replaces, is used if it is the same. `budget` has what was spent so far; `stopped` says that a limit has ended
    the round.
    """

    out: Path
    state: State
    client: Client
    budget: Budget
    limits: Limits
    open_ids: Collection[str] = ()
    unsent: Sequence[Part] = ()
    parts: list[Part] = field(default_factory=list)
    stopped: bool = False
    _number: int = 0
    _file: RequestFile = field(default_factory=RequestFile)

    def __post_init__(self) -> None:
        sought = [part.round + 1 for part in self.unsent if part.sought_batch]  # one may still appear on the server
        self._number = max([next_round(self.out, self.state), *sought])

    def ask(self, id: str, request: ChatRequest) -> None:
        """Add a request. Raises `BudgetExhausted` if it may exceed a limit, and `InputError`."""
        if id in self.open_ids:
            return
        body = self.client.batch_body(request)
        into, out = int(estimate_tokens(request.characters)), token_limit(body)
        self.budget.add(into, out, tier=BATCH)
        if self.limits.exceeded_by(self.budget):
            self.stopped = True
            raise BudgetExhausted("the requests of this round may use up the budget")
        line = request_line(id, body)
        if not self._file.has_room(line):
            self._write()
        self._file.add(line, into, out)

    def end(self) -> list[Part]:
        """Write the last file, and note the parts in the state; returns them. Raises `InputError`."""
        if self._file.lines:
            self._write()
        self.state.parts += self.parts
        if self.parts or self.unsent:
            self.state.save(self.out)
        kept = {part_file(self.out, part, "input") for part in self.state.parts}
        for path in {part_file(self.out, part, "input") for part in self.unsent} - kept:
            path.unlink(missing_ok=True)
        return self.parts

    def _write(self) -> None:
        file, self._file = self._file, RequestFile()
        part = Part(
            round=self._number, number=len(self.parts) + 1, requests=len(file.lines), size=file.size,
            model=self.client.model, limit_in=file.tokens_in, limit_out=file.tokens_out,
        )  # fmt: skip
        if not state_file(self.out).exists():  # if requests have no state, it was lost
            self.state.save(self.out)
        part.mark = file.write(part_file(self.out, part, "input"))
        for same in (one for one in self.unsent if (one.mark, one.size) == (part.mark, part.size)):
            part.sought_file, part.file = same.sought_file, same.file
        self.parts.append(part)
