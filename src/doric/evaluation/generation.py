"""Answers of a loaded model to several chats, written together as one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from transformers import GenerationConfig, StoppingCriteriaList


def generate_together(
    model: Any,  # noqa: ANN401 - a causal language model of transformers, PEFT or Unsloth
    chats: Sequence[Sequence[int]],
    settings: GenerationConfig,
    stop: StoppingCriteriaList | None = None,
) -> list[list[int]]:
    """The token ids that follow each chat of token ids. Those after an end token mean nothing.

    The chats are padded on the left with their own first token: a repetition penalty counts the padding, too, and must
    not change the probability of a token because other chats of the batch are longer.
    """
    import torch

    longest = max(map(len, chats))
    rows = [[chat[0]] * (longest - len(chat)) + list(chat) for chat in chats]
    mask = [[0] * (longest - len(chat)) + [1] * len(chat) for chat in chats]
    ids, attended = torch.tensor(rows, device=model.device), torch.tensor(mask, device=model.device)
    made = model.generate(input_ids=ids, attention_mask=attended, generation_config=settings, stopping_criteria=stop)
    return made[:, longest:].tolist()


def until_end(ids: Sequence[int], ends: Collection[int]) -> tuple[Sequence[int], bool]:
    """The ids before the first end token, and whether there is one.

    >>> until_end([5, 8, 2, 2], {2})
    ([5, 8], True)
    """
    end = next((spot for spot, token in enumerate(ids) if token in ends), None)
    return ids[:end], end is not None
