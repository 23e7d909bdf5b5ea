"""What the commands say about the batches of an output: their state, one line each, and what to do next."""

import argparse
import datetime
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from doric.core.errors import PlanError, ServerError
from doric.core.regular_files import named_output
from doric.core.resume import behind_link
from doric.core.settings import load_settings
from doric.core.text import listed_counts
from doric.dataset.batch_state import STATE, Part, State, part_file
from doric.llm.batches import ENDED, GONE, Batch, BatchApi
from doric.llm.reset_times import in_words

VLLM = ("uv", "run", "--group", "vllm", "vllm", "run-batch")
"""The command that answers a file of requests, in the folder of the project."""


async def status(args: argparse.Namespace) -> tuple[str, int]:
    """The lines for people, and the exit status: 1 if requests are open, 0 if all are collected. Changes no file.

    Raises `DoricError` if there are no batches or the server does not answer.
    """
    out = behind_link(named_output(args.out), STATE)
    if (state := State.load(out)) is None or not state.parts:
        raise PlanError(f"{out} has no batches", hint="Begin with --batch submit.")
    batches = await _batches(args, state)
    lines = [_line(out, state, part, batches.get(part.batch)) for part in state.parts]
    return "\n".join([*lines, f"next: {_next(out, state, batches)}"]), 1 if state.open else 0


async def _batches(args: argparse.Namespace, state: State) -> dict[str, Batch]:
    asked = [part.batch for part in state.open if part.batch and not part.downloaded]
    if not asked:
        return {}
    settings = load_settings(model=state.model, base_url=args.base_url)
    if settings.address != state.address:
        raise PlanError(f"the batches of {args.out} are for {state.address}", hint="Give this server with --base-url.")
    found: dict[str, Batch] = {}
    async with BatchApi(settings, timeout=args.timeout) as api:
        for id in asked:
            try:
                found[id] = await api.retrieve(id)
            except ServerError as error:
                if error.fault != GONE:
                    raise
                found[id] = Batch(id, "not found", problem=f"{error.message}. {error.hint}")
    return found


def _line(out: Path, state: State, part: Part, batch: Batch | None) -> str:
    if part.collected:
        return f"{part_line(part)}; collected"
    if state.files_only:
        done = part_file(out, part, "output").exists()
        return f"{part.name}: {part.requests:,} requests, {'answered' if done else 'no answers yet'}"
    if batch is None:
        return f"{part.name}: {part.requests:,} requests, {'downloaded' if part.downloaded else 'not sent'}"
    counts = f"{batch.completed:,} of {batch.total or part.requests:,} answered, {batch.failed:,} failed"
    age = f", {in_words(max(0.0, time.time() - batch.created))} old" if batch.created else ""
    ends = f", expected by {_moment(batch.expires)}" if batch.expires and batch.status not in ENDED else ""
    problem = f": {batch.problem}" if batch.problem else ""
    return f"{part.name}: {batch.id} {batch.status}, {counts}{age}{ends}{problem}"


def _moment(seconds: int) -> str:
    try:
        return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):  # a server that counts in milliseconds
        return "a time that is not known"


def _next(out: Path, state: State, batches: dict[str, Batch]) -> str:
    if not state.open:
        return "--batch submit, if rows are missing"
    if state.files_only:
        ready = any(part_file(out, part, "output").exists() for part in state.open)
        return "--batch collect" if ready else f"{' '.join(VLLM)} with each input in {out}.batch, then --batch collect"
    if state.unsent:
        return "--batch submit, which sends what is not sent"
    ended = any(part.downloaded or batches[part.batch].status in ENDED for part in state.open)
    return "--batch collect" if ended else "wait; --batch collect takes what has ended"


def part_line(part: Part) -> str:
    """What a collected batch has brought, for people."""
    why = f" ({listed_counts(part.why)})" if part.why else ""
    problem = f"; {part.problem}" if part.problem else ""
    found = listed_counts(part.found) or "nothing"
    return f"{part.name + ':':<17} {part.status}, {part.requests:,} requests: {found}{why}{problem}"


def submitted_lines(out: Path, state: State, parts: Sequence[Part]) -> list[str]:
    """What to do after a round of these parts was submitted."""
    lines = []
    for part in parts if state.files_only else ():
        files = [part_file(out, part, what) for what in ("input", "output")]
        command = [*VLLM, "-i", *map(str, files[:1]), "-o", *map(str, files[1:])]
        lines.append(f"Run: {shlex.join([*command, '--model', state.model])}")
    return [*lines, "Next: give the same command with --batch collect (or status)."]
