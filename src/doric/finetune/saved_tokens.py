"""What the training saw as tokens, and whether a saved tokenizer and its chat template write the same."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doric.finetune.chat_template import render
from doric.quality.decontamination import held_out_prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from doric.finetune.foreign_types import Tokenizer


@dataclass(frozen=True)
class TrainedTokens:
    """What the training saw, to be found again in every saved format.

    `texts` and `ids` are the prompts of all held-out questions, as the training's template and tokenizer write them.
    `spaced`: whether a text after a special token starts with an added space (None: no SentencePiece tokenizer).
    """

    eos: int
    ends: list[int]
    template: str
    words: list[str]
    texts: list[str]
    ids: list[list[int]]
    spaced: bool | None

    @classmethod
    def of(cls, tokenizer: Tokenizer, ends: Sequence[int]) -> TrainedTokens:
        """The tokens of the tokenizer that encoded the training rows. Its template must be frozen."""
        chats = [[{"role": "user", "content": one.prompt}] for one in held_out_prompts()]
        return cls(
            eos=tokenizer.eos_token_id,
            ends=list(ends),
            template=default_template(tokenizer),
            words=[str(word) for word in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))],
            texts=[tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True) for one in chats],
            ids=[render(tokenizer, one, ask=True) for one in chats],
            spaced=adds_space(tokenizer),
        )

    def write(self, path: Path) -> None:
        """Write the tokens as JSON, for another process."""
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, path: Path) -> TrainedTokens:
        """The tokens from a file of `write`."""
        return cls(**json.loads(path.read_text("utf-8")))


def default_template(tokenizer: Tokenizer) -> str:
    """The chat template that a server uses: the only one, or the one named `default`."""
    templates = tokenizer.chat_template
    return templates["default"] if isinstance(templates, dict) else templates or ""


def adds_space(tokenizer: Tokenizer) -> bool | None:
    """Whether a SentencePiece tokenizer adds a space to a text after a special token; None for another tokenizer."""
    if not any("▁" in word for word in tokenizer.get_vocab()):
        return None
    ids = tokenizer(f"{tokenizer.eos_token}x", add_special_tokens=False)["input_ids"]
    return str(tokenizer.convert_ids_to_tokens(ids)[1]).startswith("▁")


def check_folder(folder: Path, trained: TrainedTokens) -> dict[str, Any]:
    """Whether a saved adapter or merged model has the trained end token and writes the trained prompts.

    `prompts` says for how many held-out questions the ids are the same; `template` is True if it is all of them.
    """
    from transformers import AutoTokenizer

    saved: Tokenizer = AutoTokenizer.from_pretrained(folder)
    chats = [[{"role": "user", "content": one.prompt}] for one in held_out_prompts()]
    # without the switches of `render`: a server passes none
    written = [
        saved.apply_chat_template(one, tokenize=True, add_generation_prompt=True, return_dict=True)["input_ids"]
        for one in chats
    ]
    same = sum(ours == theirs for ours, theirs in zip(trained.ids, written, strict=True))
    eos = saved.eos_token_id == trained.eos
    settings = folder / "generation_config.json"  # an adapter has none: the base model's settings apply
    if settings.is_file():
        found = json.loads(settings.read_text("utf-8")).get("eos_token_id")
        eos = eos and set(trained.ends) <= set(found if isinstance(found, list) else [found])
    return {"eos": eos, "template": same == len(chats), "prompts": f"{same} of {len(chats)}"}
