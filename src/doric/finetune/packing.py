"""Packing short rows into one, and the test that packed rows do not see each other."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from doric.core.errors import CheckError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from doric.finetune.foreign_types import Batch, HfDataset, Model, Tensor, Tokenizer
    from doric.finetune.masking import Encoded
    from doric.finetune.plan import Plan

MOST_CHANGE, MOST_DISTANCE = 0.05, 0.05
"""Rounding errors stay below 0.01 (change) and 0.02 (distance)."""


def as_dataset(coded: Sequence[Encoded]) -> HfDataset:
    """The rows as a Hugging Face dataset with input_ids, labels and length."""
    from datasets import Dataset

    return Dataset.from_list([{"input_ids": row.ids, "labels": row.labels, "length": len(row.ids)} for row in coded])


def packed(coded: Sequence[Encoded], length: int) -> list[list[int]]:
    """For each packed row of at most `length` tokens, the lengths of the rows in it; packed as in the trainer."""
    from trl import pack_dataset

    return list(pack_dataset(as_dataset(coded).select_columns(["input_ids", "labels"]), length, "bfd")["seq_lengths"])


def batched_tokens(lengths: Sequence[int], batch: int) -> int:
    """The number of tokens, padding included, of rows with these lengths in batches of `batch` rows.

    >>> batched_tokens([3, 5, 2], 2)
    12
    """
    return sum(max(lengths[at : at + batch]) * len(lengths[at : at + batch]) for at in range(0, len(lengths), batch))


def measure_batches(coded: Sequence[Encoded], packs: Sequence[Sequence[int]], plan: Plan) -> dict[str, float]:
    """The share of tokens that are not padding, for each way to build batches."""
    lengths = [len(row.ids) for row in coded]
    shuffled = random.Random(plan.seed).sample(lengths, len(lengths))
    return {
        "in random order": sum(lengths) / batched_tokens(shuffled, plan.batch),
        "grouped by length": sum(lengths) / batched_tokens(sorted(lengths), plan.batch),
        "packed": sum(lengths) / (len(packs) * plan.length),
    }


def way_in_use(plan: Plan) -> str:
    """The way in which this run builds batches, a key of `measure_batches`."""
    return "packed" if plan.packing else "in random order" if plan.device == "cuda" else "grouped by length"


def check_packed_rows(
    model: Model,
    tokenizer: Tokenizer,
    coded: Sequence[Encoded],
    packs: Sequence[Sequence[int]],
    plan: Plan,
) -> dict[str, str]:
    """The checks of packing as table rows. Raises `CheckError` if a token is lost or packed rows see each other.

    With Unsloth, the second check is made only if rows are packed.
    """
    checks = check_packing(coded, packs)
    if plan.backend == "trl" or plan.packing:
        found = leak(model, packed_batch(tokenizer, plan.backend), *(row.ids for row in coded[:3]))
        check_leak(found)
        checks["a packed row does not see the row before it"] = f"change {found['change']:.4f}"
        checks["packing does not change how a row is read"] = f"KL {found['distance']:.4f} nats per token"
    return checks


def check_packing(coded: Sequence[Encoded], packs: Sequence[Sequence[int]]) -> dict[str, str]:
    """The check as a table row. Raises `CheckError` if packing loses tokens."""
    before, after = sum(len(row.ids) for row in coded), sum(map(sum, packs))
    if before != after:
        raise CheckError(f"Packing lost {before - after:,} tokens.", hint="Set PACKING to off.")
    return {"tokens before packing = tokens after packing": f"{before:,} = {after:,}"}


def packed_batch(tokenizer: Tokenizer, backend: str) -> Batch:
    """A function that joins several rows into one packed batch, as the trainer does."""
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    collate = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id, padding_free=True)

    def batch(parts: list[list[int]]) -> dict[str, Tensor]:
        flat, lengths = [token for part in parts for token in part], [len(part) for part in parts]
        made = collate([{"input_ids": flat, "labels": flat, "seq_lengths": lengths}])
        if backend == "unsloth":
            made["packed_seq_lengths"] = torch.tensor(lengths, dtype=torch.int32)
        return {name: value for name, value in made.items() if name != "labels"}

    return batch


def leak(model: Model, batch: Batch, first: list[int], other: list[int], last: list[int]) -> dict[str, float]:
    """How much a packed row (token ids `last`) sees of the row before it.

    `change`: the largest change of its log-probabilities when the row before it is replaced (0: it sees nothing of it).
    `distance`: the mean KL divergence from the same row without packing, in nats per token (0: packing has no effect).
    """
    import torch

    model.eval()
    size = min(len(first), len(other))

    def tail(parts: list[list[int]]) -> Tensor:
        made = {name: value.to(model.device) for name, value in batch(parts).items()}
        return model(**made, use_cache=False).logits[0, -len(last) :].float().log_softmax(-1).cpu()

    with torch.no_grad():
        behind, swapped, alone = tail([first[:size], last]), tail([other[:size], last]), tail([last])
    return {
        "change": (behind - swapped).abs().max().item(),
        "distance": (alone.exp() * (alone - behind)).sum(-1).mean().item(),
    }


def check_leak(found: Mapping[str, float]) -> None:
    """Raise `CheckError` if packed rows see each other."""
    if found["change"] > MOST_CHANGE or found["distance"] > MOST_DISTANCE:
        raise CheckError(
            f"Packed rows see each other: replacing the row before changes log-probabilities by {found['change']:.2f}.",
            hint="Set PACKING to off: this model's attention does not separate packed rows.",
        )
