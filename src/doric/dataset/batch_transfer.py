"""Sends the requests of a round to the server, and gets the files with the answers.

The state is on disk before and after each step, and a step that may have been done before is looked up first.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from pathlib import Path

from doric.core.errors import PlanError
from doric.dataset.batch_state import Part, State, part_file
from doric.llm.batches import ENDED, Batch, BatchApi

log = logging.getLogger("doric")


async def send(api: BatchApi, out: Path, state: State, parts: Iterable[Part], *, settle: float) -> None:
    """Upload each part and create its batch. A batch may be listed `settle` seconds after it was created.

    Raises `DoricError`.
    """
    for part in parts:
        if not part.file:
            part.file = await _uploaded(api, out, state, part)
            state.save(out)
        if not part.batch:
            _update(part, await _created(api, out, state, part, settle))
            state.save(out)
            log.info("%s: batch %s of %s requests.", part.name, part.batch, f"{part.requests:,}")


async def _uploaded(api: BatchApi, out: Path, state: State, part: Part) -> str:
    name, path = state.upload_name(part), part_file(out, part, "input")
    if part.sought_file and (found := await api.find_file(name, part.size)):
        return found
    part.sought_file = True
    state.save(out)
    content = path.read_bytes() if path.exists() else b""
    if len(content) != part.size:
        hint = "Restore it, or take its part out of the state, and submit again."
        raise PlanError(f"{path} is not as it was written", hint=hint)
    return await api.upload(name, content)


async def _created(api: BatchApi, out: Path, state: State, part: Part, settle: float) -> Batch:
    marker = state.marker(part)
    if part.sought_batch:
        await asyncio.sleep(max(0.0, min(settle, part.sought_batch + settle - time.time())))
        if found := await api.find_batch(part.file, marker):
            return found
    part.sought_batch = time.time()
    state.save(out)
    return await api.create(part.file, marker)


def find_outputs(out: Path, state: State) -> None:
    """Note which outputs of a run of files only are there."""
    for part in state.open:
        part.downloaded = part_file(out, part, "output").exists()
        part.status = "completed" if part.downloaded else part.status


async def download(api: BatchApi, out: Path, state: State) -> None:
    """Get the files of each batch that has ended. Raises `DoricError`."""
    for part in state.open:
        if not part.batch or part.downloaded:
            continue
        batch = await api.retrieve(part.batch)
        _update(part, batch)
        if batch.status in ENDED:
            for what, file in (("output", batch.output), ("errors", batch.errors)):
                if file:
                    await api.download(file, part_file(out, part, what))
            part.downloaded = True
        state.save(out)


def _update(part: Part, batch: Batch) -> None:
    part.batch, part.status, part.problem = batch.id, batch.status, batch.problem
    part.completed, part.failed, part.created, part.expires = (
        batch.completed, batch.failed, batch.created, batch.expires,
    )  # fmt: skip
