"""Writes and checks one saved format in its own process: `python -m doric.finetune.export_worker JOB RESULTS`.

Nothing in the memory of the training and none of Unsloth's patches can change the result.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doric.core.errors import DoricError
from doric.finetune.gguf_files import CONVERTER, gguf_converter, make_gguf
from doric.finetune.gguf_tokens import check_gguf
from doric.finetune.parity import compare, token_log_probs
from doric.finetune.saved_models import NotEnoughMemory, judge_dtype, load_saved, merge, stored_dtype
from doric.finetune.saved_tokens import TrainedTokens, check_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from doric.finetune.foreign_types import Tensor

SHORT_OF_MEMORY = ("not enough memory", "Use a machine with more memory.")
JUDGED = "adapter-judged.pt"
"""The file with the reference for the other formats: the adapter on the 16-bit base model."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the worker does, as JSON. `form` is "adapter", "merged" or a GGUF type.

    `rows` are (ids, labels) of held-out chats. `reference` is a file with the trained model's log-probabilities, and
    `tokenizer` one with its `TrainedTokens`.
    """

    form: str
    base: str
    dtype: str
    tokenizer: str
    ends: list[int]
    reference: str
    rows: list[tuple[list[int], list[int]]]
    adapter: str
    merged: str
    out: str
    cache: str
    repetition: float
    package: str = CONVERTER


def run_job(job: Job) -> dict[str, Any]:
    """Check the adapter; or merge and check the merged model; or write a GGUF file and check it.

    The result has `form`, `file`, and either the figures or `failed` or `skipped` with the reason and a hint.
    """
    if job.form == "adapter":
        return _check_adapter(job)
    try:
        where = _write(job)
    except (DoricError, MemoryError) as error:
        return {"form": job.form, "file": "", "failed": why(error)}
    kept = Path(job.reference).with_name(JUDGED)
    if not kept.is_file():
        reason = ["there is no reference: see the adapter's row", "Check it on a machine with more memory."]
        return {"form": job.form, "file": where.get("gguf", ""), "skipped": reason}
    import torch

    dtype, against = torch.load(kept)
    return look(job, where, dtype, against)


def _check_adapter(job: Job) -> dict[str, Any]:
    import torch

    where = {"base": job.base, "adapter": job.adapter}
    result = look(job, where, job.dtype, torch.load(job.reference))
    if "skipped" not in result:
        dtype = judge_dtype(where, stored_dtype(job.base))
        kept = Path(job.reference).with_name(JUDGED)
        torch.save((dtype, token_log_probs(load_saved(where, dtype), job.rows)), kept)
    return result


def _write(job: Job) -> dict[str, str]:
    """Write the merged model or the GGUF file; where it is."""
    if job.form == "merged":
        merge(job.base, job.adapter, job.merged, job.ends, job.repetition)
        return {"base": job.merged}
    converter = gguf_converter(Path(job.cache), job.package)
    spaced = TrainedTokens.read(Path(job.tokenizer)).spaced
    return {"base": job.out, "gguf": make_gguf(Path(job.merged), Path(job.out), job.form, converter, spaced).name}


def look(job: Job, where: Mapping[str, str], dtype: str, against: Tensor) -> dict[str, Any]:
    """Load one saved format and compare it with the expected output, or say why that was not possible."""
    result = {"form": job.form, "file": where.get("gguf", "")}
    try:
        found = token_log_probs(load_saved(where, dtype), job.rows)
    except (NotEnoughMemory, MemoryError) as error:
        return {**result, "skipped": why(error)}
    return {**result, **compare(against, found), **_tokens(job, where)}


def _tokens(job: Job, where: Mapping[str, str]) -> dict[str, Any]:
    """Whether the saved format has the trained end token and writes the trained prompts."""
    from transformers import AutoTokenizer

    trained = TrainedTokens.read(Path(job.tokenizer))
    if "gguf" not in where:
        return check_folder(Path(where.get("adapter", where["base"])), trained)
    file = Path(where["base"]) / where["gguf"]
    return check_gguf(file, job.base, trained, AutoTokenizer.from_pretrained(job.adapter))


def why(error: DoricError | MemoryError) -> list[str]:
    """The reason and the hint."""
    return [error.message, error.hint] if isinstance(error, DoricError) else list(SHORT_OF_MEMORY)


def main(job: Path, results: Path) -> None:
    """Run the job in a JSON file and write its result to another."""
    results.write_text(json.dumps(run_job(Job(**json.loads(job.read_text("utf-8"))))), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
