"""The tokenizer's chat template: chats as tokens, the tokens that end an answer, and the padding token."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from doric.core.errors import CheckError, InputError, SettingsError
from doric.finetune.base_files import readable
from doric.finetune.frozen_template import SWITCHES, freeze

if TYPE_CHECKING:
    from datetime import date

    from doric.finetune.foreign_types import Messages, Tokenizer

PADDING = ("<|finetune_right_pad_id|>", "<|vision_pad|>", "<pad>", "[PAD]", "<|endoftext|>", "<unk>")
"""Tokens that can pad, in order of preference."""


def load_tokenizer(base: str, day: date) -> Tokenizer:
    """The tokenizer of the base model with a frozen chat template: `day` is the date that the template writes.

    Raises `SettingsError` if the base model has no tokenizer, or one that cannot be read.
    """
    from transformers import AutoTokenizer

    with readable(base, "tokenizer"):
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(base)
    freeze(tokenizer, day)
    return tokenizer


def render(tokenizer: Tokenizer, messages: Messages, *, ask: bool = False) -> list[int]:
    """Token ids from the tokenizer's chat template; with `ask`, they end where the answer starts.

    Raises `InputError` if the template rejects the chat.
    """
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(
            list(messages), tokenize=True, add_generation_prompt=ask, return_dict=True, **SWITCHES
        )["input_ids"]
    except (TemplateError, ValueError) as error:
        roles = ", ".join(turn["role"] for turn in messages)
        hint = (
            "Choose an -Instruct model. If the template has no system role, remove the system messages from the data."
        )
        raise InputError(f"The chat template rejects a chat with the turns {roles}: {error}", hint=hint) from error


def end_ids(tokenizer: Tokenizer, base: str) -> list[int]:
    """The ids of the tokens that end an answer: from the tokenizer and from the model's generation settings."""
    from transformers import GenerationConfig

    found = [tokenizer.eos_token_id]
    with contextlib.suppress(OSError):  # not every model has generation settings
        more = GenerationConfig.from_pretrained(base).eos_token_id
        found += more if isinstance(more, list) else [more]
    return [each for each in dict.fromkeys(found) if each is not None]


def set_padding(tokenizer: Tokenizer, wanted: str) -> None:
    """Set the padding token; `auto` replaces it if it is missing or is also the end token.

    Raises `SettingsError` if the vocabulary has no such token.
    """
    if wanted != "auto" and wanted not in tokenizer.get_vocab():
        spare = ", ".join(spare_tokens(tokenizer)) or "auto"
        raise SettingsError(
            f"PAD_TOKEN is {wanted!r}, which is no token of this model.", hint=f"Choose one of {spare}."
        )
    if wanted != "auto":
        tokenizer.pad_token = wanted
    elif tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        spare = spare_tokens(tokenizer)
        tokenizer.pad_token = spare[0] if spare else tokenizer.pad_token


def spare_tokens(tokenizer: Tokenizer) -> list[str]:
    """The tokens of the vocabulary that can pad."""
    known = tokenizer.get_vocab()
    return [token for token in PADDING if token in known and token != tokenizer.eos_token]


def check_tokens(tokenizer: Tokenizer) -> None:
    """Raise `CheckError` if padding and end are the same token: the loss ignores padding, so the end is not trained."""
    if tokenizer.eos_token is None:
        hint = "Choose an -Instruct model: base models have no chat format."
        raise CheckError("The tokenizer has no end token.", hint=hint)
    if tokenizer.pad_token is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        spare = spare_tokens(tokenizer)
        raise CheckError(
            f"The padding token is {tokenizer.pad_token!r} and the end token is {tokenizer.eos_token!r}: "
            "they must differ, or the model never learns to stop.",
            hint=f"Set PAD_TOKEN to {spare[0] if spare else 'a spare token of the vocabulary'}.",
        )
