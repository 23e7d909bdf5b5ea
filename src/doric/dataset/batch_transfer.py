"""Sends the requests of a round to the server, and gets the files with the answers.

The state is on disk before and after each step, and a step that may have been done before is looked up first.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from pathlib import Path

from doric.core.errors import PlanError, RetryableError, ServerError
from doric.dataset.batch_files import ANSWERED
from doric.dataset.batch_state import Part, State, part_file, state_file
from doric.llm.batches import ENDED, GONE, Batch, BatchApi

log = logging.getLogger("doric")


async def find_created(api: BatchApi, out: Path, state: State, *, settle: float) -> None:
    """Note the batches that an earlier command has created without seeing the answer. Raises `ServerError`.

    A batch may be listed `settle` seconds after it was created.
    """
    for part in state.unsent:
        if not part.sought_batch:
            continue
        await asyncio.sleep(max(0.0, min(settle, part.sought_batch + settle - time.time())))
        if found := await api.find_batch(part.file, state.marker(part)):
            _update(part, found)
            state.save(out)
            _report(part)


async def send(api: BatchApi, out: Path, state: State, parts: Iterable[Part]) -> None:
    """Upload each part and create its batch. Raises `DoricError`."""
    for part in parts:
        if not part.file:
            part.file = await _uploaded(api, out, state, part)
            state.save(out)
        _update(part, await _created(api, out, state, part))
        state.save(out)
        _report(part)


def _report(part: Part) -> None:
    log.info("%s: batch %s of %s requests.", part.name, part.batch, f"{part.requests:,}")


async def _uploaded(api: BatchApi, out: Path, state: State, part: Part) -> str:
    name, path = state.upload_name(part), part_file(out, part, "input")
    if part.sought_file and (found := await api.find_file(name, part.size)):
        return found
    part.sought_file = True
    state.save(out)
    content = path.read_bytes() if path.exists() else b""
    if len(content) != part.size:
        raise PlanError(f"{path} is not as it was written", hint="Give the same command again.")
    return await api.upload(name, content)


async def _created(api: BatchApi, out: Path, state: State, part: Part) -> Batch:
    part.sought_batch = time.time()
    state.save(out)
    try:
        return await api.create(part.file, state.marker(part))
    except RetryableError:
        raise
    except ServerError:  # there is no batch, and the uploaded file may be the reason
        part.sought_batch, part.file = 0.0, ""
        state.save(out)
        raise


async def download(api: BatchApi, out: Path, state: State) -> None:
    """Get the files of each batch that has ended. Raises `DoricError`.

    A batch that is not on the server does not keep the answers of others back.
    """
    gone: list[ServerError] = []
    for part in state.open:
        if not part.batch or _is_here(out, part):
            continue
        try:
            await _get(api, out, part)
        except ServerError as error:
            if error.fault != GONE:
                raise
            gone.append(error)
        state.save(out)
    if gone and not any(part.downloaded for part in state.open):
        raise gone[0]
    for error in gone:
        log.warning("%s. %s", error.message, error.hint)


async def _get(api: BatchApi, out: Path, part: Part) -> None:
    batch = await api.retrieve(part.batch)
    _update(part, batch)
    if batch.status in ENDED and batch.completed and not batch.output:
        words = "%s: the server counts %s answers in batch %s and names no file with them. Collect again later, or set"
        hint = " `downloaded` of this part to true in %s: then its requests go into the next round."
        log.warning(words + hint, part.name, f"{batch.completed:,}", part.batch, state_file(out))
    elif batch.status in ENDED:
        for what, file in (("output", batch.output), ("errors", batch.errors)):
            if file:
                await api.download(file, part_file(out, part, what))
        part.downloaded = True


def _is_here(out: Path, part: Part) -> bool:
    """Whether the answers of a part are on disk, or are not to be looked for because a person has said so."""
    files = ("output",) if part.completed else ("output", "errors")
    on_disk = any(part_file(out, part, what).exists() for what in files)
    return part.downloaded and (on_disk or part.status not in ENDED)


async def restore(api: BatchApi, out: Path, parts: Iterable[Part]) -> None:
    """Get files of these parts that are missing on disk from the server again. Raises `DoricError`."""
    for part in parts:
        if part.file and not (path := part_file(out, part, "input")).exists():
            log.warning("%s is missing. It is restored from the server.", path)
            await api.download(part.file, path)
        if _lacks_answers(out, part):
            await _get(api, out, part)


def is_whole(out: Path, part: Part) -> bool:
    """Whether the files of a part that are needed are on disk."""
    return part_file(out, part, "input").exists() and not _lacks_answers(out, part)


def _lacks_answers(out: Path, part: Part) -> bool:
    """Whether answers that were read before are not on disk."""
    return bool(part.collected and part.found.get(ANSWERED)) and not part_file(out, part, "output").exists()


def find_outputs(out: Path, state: State) -> None:
    """Note which outputs of a run of files only are there."""
    for part in state.open:
        part.downloaded = part_file(out, part, "output").exists()
        part.status = "completed" if part.downloaded else part.status


def _update(part: Part, batch: Batch) -> None:
    part.batch, part.status, part.problem = batch.id, batch.status, batch.problem
    part.completed, part.failed, part.created, part.expires = (
        batch.completed, batch.failed, batch.created, batch.expires,
    )  # fmt: skip
