"""Names for objects of torch, transformers, TRL and datasets.

They are `Any` for the type checker: the hints of these libraries allow None nearly everywhere, and the group `finetune`
need not be installed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

type Tensor = Any
"""A `torch.Tensor`."""
type Dtype = Any
"""A `torch.dtype`."""
type Model = Any
"""A causal language model: `transformers.PreTrainedModel`, or `peft.PeftModel` with an adapter."""
type Tokenizer = Any
"""A `transformers.PreTrainedTokenizerBase`."""
type Trainer = Any
"""A `trl.SFTTrainer`."""
type HfDataset = Any
"""A `datasets.Dataset`."""
type Messages = Sequence[Mapping[str, str]]
"""The turns of a chat, each with `role` and `content`."""
type Rows = Sequence[tuple[list[int], list[int]]]
"""Rows as (token ids, labels)."""
type Batch = Callable[[list[list[int]]], dict[str, Tensor]]
"""Makes a batch of rows of token ids."""
