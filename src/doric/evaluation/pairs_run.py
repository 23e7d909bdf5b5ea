"""Scores the minimal pairs with a local checkpoint or a server, for score_minimal_pairs.py."""

import datetime
import logging
from collections.abc import Sequence
from typing import Any, Literal

from doric.core.errors import SettingsError
from doric.core.regular_files import model_source
from doric.evaluation.checkpoint_logprobs import score_pairs
from doric.evaluation.checkpoints import load_checkpoint
from doric.evaluation.minimal_pairs import (
    MinimalPair,
    PairsResult,
    control,
    minimal_pairs,
    pairs_fingerprint,
    phenomena,
)
from doric.evaluation.server_logprobs import START, score_pairs_on_server
from doric.llm.client import Client

log = logging.getLogger("doric")
EVERY = 200
"""A log line after so many sentences."""


def select_pairs(
    names: Sequence[str] | None = None, kind: Literal["labels", "words"] | None = None, seed: int = 0
) -> list[MinimalPair]:
    """The pairs of some phenomena (default: all), or the control of this kind. Raises `SettingsError`."""
    known = phenomena(minimal_pairs())
    for name in names or ():
        if name not in known:
            raise SettingsError(f"there is no phenomenon '{name}'", hint=f"Choose from: {', '.join(known)}.")
    pairs = [pair for name, group in known.items() if not names or name in names for pair in group]
    return control(pairs, kind, seed) if kind else pairs


def score_with_checkpoint(
    name: str, pairs: Sequence[MinimalPair], *, batch_size: int, start: str | None, about: dict[str, Any]
) -> PairsResult:
    """Score the pairs with the model in a folder or on the Hub. Raises `InputError` and `SettingsError`."""
    model, tokenizer = load_checkpoint(model_source(name), exact=True)
    progress = _Progress(pairs)
    scores = score_pairs(model, tokenizer, pairs, batch_size=batch_size, start=start, on_batch=progress)
    used = "BOS" if start is None else start
    return PairsResult(_about(name, "", used, pairs) | about, tuple(scores))


async def score_with_server(
    client: Client,
    pairs: Sequence[MinimalPair],
    *,
    address: str,
    start: str | None,
    concurrency: int,
    max_retries: int,
    about: dict[str, Any],
) -> PairsResult:
    """Score the pairs with a model on a server. Raises `FatalServerError` if it gives no prompt log-probabilities."""
    start = START if start is None else start
    scores = await score_pairs_on_server(
        client, pairs, start=start, concurrency=concurrency, max_retries=max_retries, on_sentence=_Progress(pairs)
    )
    return PairsResult(_about(client.model, address, start, pairs) | about, tuple(scores))


def _about(model: str, address: str, start: str, pairs: Sequence[MinimalPair]) -> dict[str, Any]:
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {
        "model": model, "address": address, "date": date, "start": start, "control": "",
        "pairs_hash": pairs_fingerprint(pairs),
    }  # fmt: skip


class _Progress:
    """Log lines while sentences are scored."""

    def __init__(self, pairs: Sequence[MinimalPair]) -> None:
        self._total = len({text for pair in pairs for text in (pair.right, pair.wrong)})
        self._logged = 0

    def __call__(self, done: int) -> None:
        if done - self._logged >= EVERY or done == self._total:
            self._logged = done
            log.info("%d of %d sentences", done, self._total)
