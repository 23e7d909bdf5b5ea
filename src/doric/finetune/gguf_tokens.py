"""Whether a GGUF file reads and ends a chat as the trained model: vocabulary, scores, template, real llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doric.finetune import llama_cpp
from doric.finetune.base_files import base_file
from doric.finetune.gguf_files import same_cuts

if TYPE_CHECKING:
    from doric.finetune.foreign_types import Tokenizer
    from doric.finetune.saved_tokens import TrainedTokens

NORMAL = 1
"""The type of a GGUF token that is a piece of text, not a control token or a byte."""
UNEQUAL = 1e-3
"""Scores that differ by more than this are not the same: they are stored as 32-bit numbers."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer in a GGUF file: `kind` is "llama" for SentencePiece, and `scores` or `merges` say what to join."""

    kind: str
    eos: int
    template: str
    words: list[str]
    types: list[int]
    scores: list[float]
    merges: list[str]

    @classmethod
    def read(cls, file: Path) -> Vocabulary:
        """The vocabulary of this file."""
        from gguf import GGUFReader

        fields = GGUFReader(file).fields

        def contents(name: str, default: Any) -> Any:  # noqa: ANN401 - a field of any type
            return fields[f"tokenizer.{name}"].contents() if f"tokenizer.{name}" in fields else default

        return cls(
            kind=contents("ggml.model", ""),
            eos=int(contents("ggml.eos_token_id", -1)),
            template=contents("chat_template", ""),
            words=contents("ggml.tokens", []),
            types=contents("ggml.token_type", []),
            scores=contents("ggml.scores", []),
            merges=contents("ggml.merges", []),
        )


def check_gguf(file: Path, base: str, trained: TrainedTokens, tokenizer: Tokenizer) -> dict[str, Any]:
    """Whether a GGUF file has the trained end token, and (`template`) reads every held-out prompt as in training.

    `cuts` says for how many prompts a real llama.cpp gives the trained ids, or that this was not compared. `wrong` says
    what differs. Without llama.cpp, scores and merges are still compared with the base model's and the tokenizer's.
    """
    found = Vocabulary.read(file)
    cuts, alike = compare_cuts(file, trained)
    wrong = [
        "another chat template" if found.template != trained.template else "",
        "another vocabulary" if not same_words(found.words, trained.words) else "",
        scores_differ(found, base_file(base, "tokenizer.model")),
        "" if same_cuts(tokenizer, found.words, found.merges) else "merges in another order",
        "" if alike else f"llama.cpp cuts only {cuts} prompts as the model does",
    ]
    said = "; ".join(filter(None, wrong))
    return {"eos": found.eos == trained.eos, "template": not said, "cuts": cuts, "wrong": said}


def same_words(found: list[str], trained: list[str]) -> bool:
    """Whether the file has the trained vocabulary. The converter writes some spaces as such and may add words."""
    theirs, ours = ([word.replace("▁", " ") for word in words] for words in (found, trained))
    return theirs[: len(ours)] == ours


def scores_differ(found: Vocabulary, model: Path | None) -> str:
    """What is wrong with the scores of a SentencePiece vocabulary; "" if nothing is, or if it has merges instead.

    llama.cpp joins the pieces with the best scores first: with equal scores it cuts words at other places. `model` is
    the base model's tokenizer.model, if it has one.
    """
    if found.kind != "llama" or not found.scores:
        return ""
    pieces = {score for score, kind in zip(found.scores, found.types, strict=True) if kind == NORMAL}
    if len(pieces) < 2:
        return "no token scores: tokenizer.model was missing beside the merged model"
    if model is None:
        return ""
    from sentencepiece import SentencePieceProcessor

    source = SentencePieceProcessor(model_file=str(model))
    known = range(min(len(found.scores), source.get_piece_size()))
    pairs = [(found.scores[at], source.get_score(at)) for at in known if found.types[at] == NORMAL]
    other = sum(abs(theirs - ours) > UNEQUAL for theirs, ours in pairs)
    return f"{other:,} token scores differ from tokenizer.model" if other else ""


def compare_cuts(file: Path, trained: TrainedTokens) -> tuple[str, bool]:
    """How many prompts a real llama.cpp cuts into the trained ids, as text, and whether nothing is known against it."""
    using = llama_cpp.engine()
    if not using:
        return "not compared: no llama.cpp here", True
    try:
        found = llama_cpp.tokenize(file, trained.texts, using)
    except RuntimeError as error:
        return f"not compared: {error.args[0]}", True
    same = sum(ours == theirs for ours, theirs in zip(trained.ids, found, strict=True))
    return f"{same} of {len(found)}", same == len(found)
