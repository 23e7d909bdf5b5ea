"""Comparing a saved model with the trained one: probabilities of every trained token, end token and template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from doric.finetune.masking import IGNORED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from doric.finetune.foreign_types import Model, Rows, Tensor, Tokenizer


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


def same_tokens(reference: str, other: str, ends: Sequence[int]) -> dict[str, bool]:
    """Whether a saved tokenizer has the base model's end token and renders a chat to the same tokens."""
    from transformers import AutoTokenizer

    first: Tokenizer = AutoTokenizer.from_pretrained(reference)
    second: Tokenizer = AutoTokenizer.from_pretrained(other)
    said = ("Fit’s on at 7.30?", "Naething, I dinna think – the café’s shut.")
    chat = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), said, strict=True)]
    written = [one.apply_chat_template(chat, tokenize=True, return_dict=True)["input_ids"] for one in (first, second)]
    return {
        "eos": first.eos_token_id == second.eos_token_id and _generation_ends(Path(other), ends),
        "template": written[0] == written[1],
    }


def _generation_ends(folder: Path, ends: Sequence[int]) -> bool:
    """Whether the generation settings stop at every end token; an adapter has none: the base model's apply."""
    settings = folder / "generation_config.json"
    if not settings.is_file():
        return True
    found = json.loads(settings.read_text("utf-8")).get("eos_token_id")
    return set(ends) <= set(found if isinstance(found, list) else [found])
