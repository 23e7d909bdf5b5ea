"""Make an 8-bit or 4-bit copy of a merged model for vLLM on a GPU, with llm-compressor.

    uv run --group finetune --with llmcompressor==0.14.0.1 python -m doric.finetune.quantise MERGED OUT --scheme fp8

fp8 halves the weights, needs no data and can be made without a GPU; a GPU of the Ada generation or newer (L4, L40S,
H100) computes in it. awq makes a quarter of them; it needs a GPU, and chats of the training data (--data). Ask the copy
the held-out prompts (validation/validate_model.py) before you rely on it: this command does not compare its answers.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doric.core import cli
from doric.core.conversations import as_messages
from doric.core.errors import SettingsError
from doric.core.jsonl import read_jsonl
from doric.finetune.base_files import TOWER, carry
from doric.finetune.versions import has_gpu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from doric.finetune.foreign_types import HfDataset, Tokenizer

SCHEMES = {"fp8": "FP8_DYNAMIC", "awq": "W4A16_ASYM"}
"""The flag's value -> the scheme of llm-compressor."""
PACKAGE = "llmcompressor==0.14.0.1"
LEFT_ALONE = ("lm_head", f"re:{TOWER}")
"""Layers that stay in 16 bits: the output layer, and those that read images or sound."""


def quantise(merged: Path, out: Path, scheme: str, data: Path | None = None, rows: int = 256) -> None:
    """Write a quantised copy of a merged model, with its tokenizer, template and other files.

    `rows` chats of `data` (ShareGPT or messages) calibrate awq. Raises `SettingsError`, before anything is loaded, if
    the package, the model or the data is missing or `out` exists.
    """
    check(merged, out, scheme, data)
    import torch
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Tokenizer = AutoTokenizer.from_pretrained(merged)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(merged, dtype="auto", device_map={"": device})
    more: dict[str, Any] = {}
    if data and scheme == "awq":
        chats = calibration(tokenizer, data, rows)
        more = {"dataset": chats, "num_calibration_samples": len(chats), "max_seq_length": 1024}
    oneshot(model=model, tokenizer=tokenizer, recipe=recipe(scheme), **more)
    unfinished = out.with_name(f"{out.name}-unfinished")
    model.save_pretrained(unfinished, save_compressed=True)
    tokenizer.save_pretrained(unfinished)
    carry(str(merged), unfinished)
    unfinished.replace(out)


def check(merged: Path, out: Path, scheme: str, data: Path | None) -> None:
    """Raise `SettingsError` for what would fail later."""
    if not (merged / "config.json").is_file():
        raise SettingsError(f"{merged} is not a merged model.", hint="Give the folder export/merged of a run.")
    if out.exists():
        raise SettingsError(f"{out} exists.", hint="Give a new folder, or remove it.")
    if scheme == "awq" and not data:
        raise SettingsError("awq is calibrated with chats.", hint="Add --data datasets/doric_sharegpt.jsonl.")
    if importlib.util.find_spec("llmcompressor") is None:
        hint = f"Start it as in --help: uv run --group finetune --with {PACKAGE} ..."
        raise SettingsError("The package llmcompressor is not installed.", hint=hint)
    if scheme == "awq" and not has_gpu():
        raise SettingsError("awq needs a CUDA GPU and this machine has none.", hint="Choose --scheme fp8.")
    shutil.rmtree(out.with_name(f"{out.name}-unfinished"), ignore_errors=True)


def recipe(scheme: str) -> list[Any]:
    """The steps of llm-compressor for a scheme."""
    from llmcompressor.modifiers.quantization import QuantizationModifier

    rounding = QuantizationModifier(targets=["Linear"], scheme=SCHEMES[scheme], ignore=list(LEFT_ALONE))
    if scheme == "fp8":
        return [rounding]
    from llmcompressor.modifiers.transform.awq import AWQModifier

    return [AWQModifier(), rounding]


def calibration(tokenizer: Tokenizer, data: Path, rows: int) -> HfDataset:
    """The first chats of a file as a dataset of token ids, written by the tokenizer's own template."""
    from datasets import Dataset

    chats = [as_messages(row)["messages"] for at, (_, row) in enumerate(read_jsonl(data)) if at < rows]
    ids = [tokenizer.apply_chat_template(chat, tokenize=True, return_dict=True)["input_ids"] for chat in chats]
    return Dataset.from_list([{"input_ids": one, "attention_mask": [1] * len(one)} for one in ids])


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("merged", metavar="MERGED", type=Path, help="the folder of the merged model")
    parser.add_argument("out", metavar="OUT", type=Path, help="the new folder")
    parser.add_argument("--scheme", choices=SCHEMES, default="fp8", help="fp8 or awq (default: fp8)")
    parser.add_argument("--data", metavar="FILE", type=Path, help="chats for awq: a ShareGPT file")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Write the copy and print how to serve it; the exit status."""
    quantise(args.merged, args.out, args.scheme, args.data)
    print(f"{args.out}: serve it as the merged model, for example with vllm serve")
    return 0


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
