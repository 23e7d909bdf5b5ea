"""Log-probabilities of minimal pairs under a model in memory, with transformers. Needs the finetune packages."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from doric.core.errors import InputError, SettingsError
from doric.evaluation.minimal_pairs import MinimalPair, PairScore, SentenceScore

if TYPE_CHECKING:
    import torch

BATCH_SIZE = 16


def score_pairs(
    model: Any,  # noqa: ANN401 - a PreTrainedModel, whose type hints lack most of what is used
    tokenizer: Any,  # noqa: ANN401 - a PreTrainedTokenizerBase, likewise
    pairs: Sequence[MinimalPair],
    *,
    batch_size: int = BATCH_SIZE,
    start: str | None = None,
    on_batch: Callable[[int], object] = lambda done: None,
) -> list[PairScore]:
    """Score both sentences of each pair with a causal language model, in the order of `pairs`.

    The first token of a sentence is predicted from `start`; if that is None, from the tokenizer's BOS token (else its
    EOS token), as lm-evaluation-harness does. The model's mode (training or not) is restored. `on_batch` gets the
    number of sentences that are done. Raises `SettingsError` if there is nothing to predict the first token from, and
    `InputError` if a log-probability is not finite.
    """
    import torch

    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.right, pair.wrong)))
    encoded = sorted(((text, *_encode(tokenizer, text, start)) for text in texts), key=lambda each: len(each[1]))
    found: dict[str, SentenceScore] = {}
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for at in range(0, len(encoded), batch_size):
                batch = encoded[at : at + batch_size]
                found |= dict(zip((text for text, _, _ in batch), _score_batch(model, batch), strict=True))
                on_batch(len(found))
    finally:
        model.train(was_training)
    return [PairScore(pair, found[pair.right], found[pair.wrong]) for pair in pairs]


def _encode(tokenizer: Any, text: str, start: str | None) -> tuple[list[int], int]:  # noqa: ANN401 - see above
    """The tokens of `start` and `text`, and the number of the first token that belongs to `text`."""
    if start is None:
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if first is None:
            message = "the tokenizer has neither a BOS nor an EOS token to begin a sentence with"
            raise SettingsError(message, hint="Give --start, for instance --start '. '.")
        return [first, *tokenizer.encode(text, add_special_tokens=False)], 1
    ids = tokenizer.encode(start + text)
    return ids, max(1, len(tokenizer.encode(start)))


def _score_batch(model: Any, batch: Sequence[tuple[str, list[int], int]]) -> Iterator[SentenceScore]:  # noqa: ANN401
    import torch

    longest = max(len(ids) for _, ids, _ in batch)
    # padding is on the right, so that positions are those of a single sentence; its tokens are never scored
    tokens = torch.tensor([[*ids, *[ids[-1]] * (longest - len(ids))] for _, ids, _ in batch], device=model.device)
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for _, ids, _ in batch], device=model.device)
    logits = model(input_ids=tokens, attention_mask=mask).logits[:, :-1].float()
    logprobs = torch.log_softmax(logits, dim=-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    for (text, ids, first), row in zip(batch, logprobs, strict=True):
        yield _sentence_score(text, row[first - 1 : len(ids) - 1])


def _sentence_score(text: str, logprobs: "torch.Tensor") -> SentenceScore:
    total = logprobs.double().sum().item()
    if not math.isfinite(total):
        hint = "Load the model in another precision (float32), or check its weights."
        raise InputError(f"the log-probability of a sentence is not finite: {text}", hint=hint)
    return SentenceScore(total, len(logprobs))
