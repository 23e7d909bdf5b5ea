"""The state of the batches of an output file: OUT.batch.json, which is on disk before and after each step.

So a command that is killed at any point is continued by the same command, and nothing is paid twice.
"""

import re
import secrets
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError

from doric.core.errors import InputError, PlanError, os_error
from doric.core.files import atomic_write
from doric.core.regular_files import read_regular

ROUND = re.compile(r"round-(\d+)-")
STATE, FOLDER = ".batch.json", ".batch"
"""The endings of the state and of the folder with the files of requests and answers, after the name of the output."""


class Part(BaseModel):
    """One file of requests of a round, and its batch. `sought_file` and `sought_batch`: a call to make it was sent.

    `model` is the one that is asked, and `mark` stands for the content of the file. `limit_in` and `limit_out` are the
    most tokens that its answers may use. `created` and `expires` are seconds since 1970. `found` counts what its
    answers are, `why` the reasons of errors.
    """

    round: int
    number: int
    requests: int
    size: int
    model: str = ""
    mark: str = ""
    limit_in: int = 0
    limit_out: int = 0
    sought_file: bool = False
    file: str = ""
    sought_batch: float = 0.0
    batch: str = ""
    status: str = "written"
    completed: int = 0
    failed: int = 0
    created: int = 0
    expires: int = 0
    problem: str = ""
    downloaded: bool = False
    collected: bool = False
    found: dict[str, int] = Field(default_factory=dict)
    why: dict[str, int] = Field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    estimated: bool = False

    @property
    def name(self) -> str:
        """The beginning of the names of its files."""
        return f"round-{self.round}-part-{self.number}"


class LiveCalls(BaseModel):
    """The calls of a model that were not in a batch, and their tokens.

    `spent` is the cost in US dollars of those whose price was known. The tokens of the others are unpriced.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    estimated: bool = False
    spent: float = 0.0
    unpriced_in: int = 0
    unpriced_out: int = 0


class State(BaseModel):
    """All batches of one output. `run` is in the metadata of each, so that they are found on the server.

    `verdicts` are those of a judge while answers were collected, and `probes` the short calls before each round.
    `rows` is the number of rows after the last answers were collected.
    """

    version: Literal[1] = 1
    run: str = Field(default_factory=lambda: secrets.token_hex(8))
    files_only: bool = False
    address: str = ""
    model: str = ""
    reasons: bool = False
    plan: dict[str, Any] = Field(default_factory=dict)
    parts: list[Part] = Field(default_factory=list)
    verdicts: LiveCalls = Field(default_factory=LiveCalls)
    probes: LiveCalls = Field(default_factory=LiveCalls)
    rows: int = 0

    @classmethod
    def load(cls, out: Path) -> Self | None:
        """The state beside an output; None if it has no batches. Raises `InputError`."""
        path = state_file(out)
        hint = f"Restore it from a copy. Without it, answers that are paid for are in {out}{FOLDER} only."
        try:
            state = cls.model_validate_json(read_regular(path))
        except (FileNotFoundError, NotADirectoryError):  # writing the output says that its folder is none
            return None
        except OSError as error:
            raise os_error(error, path, "read") from error
        except ValidationError as error:
            raise InputError(f"not the state of batches: {error.errors()[0]['msg']}", file=path, hint=hint) from None
        if lacking := {"run", "parts"} - state.model_fields_set:
            raise InputError(f"not the state of batches: it has no {min(lacking)}", file=path, hint=hint)
        for part in state.parts:
            part.model = part.model or state.model  # the state of an earlier version
        return state

    def save(self, out: Path) -> None:
        """Write the state to disk in one step. Raises `InputError`."""
        atomic_write(state_file(out), self.model_dump_json(indent=1).encode() + b"\n")

    @property
    def round(self) -> int:
        """The number of the last round, 0 before the first."""
        return max((part.round for part in self.parts), default=0)

    @property
    def open(self) -> list[Part]:
        """The parts whose answers are not in the output yet."""
        return [part for part in self.parts if not part.collected]

    @property
    def unsent(self) -> list[Part]:
        """The parts that are not known to have a batch. Where files are enough, a part is sent when it is written."""
        return [part for part in self.open if not (self.files_only or part.batch)]

    def drop_unsent(self) -> list[Part]:
        """Take the parts out that have no batch, and return them: with other flags, a round may be another one."""
        unsent = self.unsent
        self.parts = [part for part in self.parts if part not in unsent]
        return unsent

    @classmethod
    def begin(cls, address: str) -> Self:
        """The state before the first round at a server, or of files only if `address` is ""."""
        return cls(files_only=not address, address=address)

    def check_server(self, out: Path, address: str) -> None:
        """Raise `PlanError` unless `address` is that of the batches of `out`, "" for files only."""
        if self.address != address:
            where = self.address or "files only (--batch-files)"
            raise PlanError(f"the batches of {out} are for {where}", hint="Give the same server or another --out.")

    def reopen(self) -> None:
        """Read all answers again that are on disk."""
        for part in self.parts:
            part.collected &= not part.downloaded

    def marker(self, part: Part) -> dict[str, str]:
        """The metadata of a batch."""
        return {"doric_run": self.run, "doric_part": part.name} | ({"doric_file": part.mark} if part.mark else {})

    def upload_name(self, part: Part) -> str:
        """The name of an uploaded file."""
        return f"doric-{self.run}-{part.mark or part.name}.jsonl"


def state_file(out: Path) -> Path:
    """The state beside an output."""
    return Path(f"{out}{STATE}")


def part_file(out: Path, part: Part, what: str) -> Path:
    """The file of a part with its `what`: input, output or errors."""
    return Path(f"{out}{FOLDER}") / f"{part.name}.{what}.jsonl"


def next_round(out: Path, state: State) -> int:
    """The number of a new round, above those of all files of answers: an earlier run's answers are not read as new."""
    names = (path.name for path in Path(f"{out}{FOLDER}").glob("round-*-part-*.jsonl") if ".input." not in path.name)
    found = (ROUND.match(name) for name in names)
    return max([state.round, *(int(one[1]) for one in found if one)]) + 1


def refuse_open_batches(out: Path) -> None:
    """Raise `PlanError` if rows of an output are asked for in batches: a live run would pay for them again."""
    if (state := State.load(out)) is None:
        return
    lost = [part for part in state.unsent if part.sought_batch]
    if lost:
        requests = sum(part.requests for part in lost)
        message = f"{out}: {requests:,} requests for its rows may be in a batch, whose creation was not confirmed"
        raise PlanError(message, hint="Give --batch submit, which looks for the batch on the server.")
    if sent := [part for part in state.open if part not in state.unsent]:
        requests = sum(part.requests for part in sent)
        message = f"{out}: {requests:,} requests for its rows are in batches that are not collected"
        raise PlanError(message, hint="Collect them first, with --batch collect.")


def refuse_lost_state(out: Path) -> None:
    """Raise `PlanError` if there are requests of earlier rounds without their state: their batches may be open."""
    folder = Path(f"{out}{FOLDER}")
    if not state_file(out).exists() and any(folder.glob("round-*.input.jsonl")):
        hint = f"Restore it from a copy. If no batch is open, move {folder} away and submit again."
        raise PlanError(f"{state_file(out)} is missing, and requests in {folder} may be in batches", hint=hint)
