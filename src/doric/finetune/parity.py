"""Comparing a saved model with the trained one: the probabilities of every trained token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from doric.finetune.masking import IGNORED

if TYPE_CHECKING:
    from doric.finetune.foreign_types import Model, Rows, Tensor


def token_log_probs(model: Model, rows: Rows) -> Tensor:
    """Log-probabilities of every trained token in rows of (ids, labels): a float tensor of tokens x vocabulary."""
    import torch

    found = []
    with torch.no_grad():
        for ids, labels in rows:
            logits = model(input_ids=torch.tensor([ids], device=model.device)).logits[0]
            places = [at - 1 for at, label in enumerate(labels) if label != IGNORED]
            found.append(logits[places].float().log_softmax(-1).cpu())
    return torch.cat(found)


def compare(reference: Tensor, other: Tensor) -> dict[str, float]:
    """`top1`: share of tokens with the same top prediction. `kl`: mean divergence from `reference`, nats per token."""
    size = min(reference.shape[1], other.shape[1])  # a GGUF file may omit unused entries at the end of the vocabulary
    reference, other = reference[:, :size], other[:, :size]
    same = (reference.argmax(-1) == other.argmax(-1)).float().mean().item()
    return {"top1": same, "kl": (reference.exp() * (reference - other)).sum(-1).mean().item()}
