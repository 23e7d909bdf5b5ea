"""GGUF files: converting the merged model, and comparing the file's vocabulary with the tokenizer."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from doric.core.errors import DoricError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from doric.finetune.foreign_types import Tokenizer

CONVERTER = "llama-cpp-python==0.3.36"
"""The package whose source contains llama.cpp's converter."""
UNFINISHED = ("unfinished-first.gguf", "unfinished.gguf")
SAID = "Fit’s on at 7.30, loon? Naething – the café’s shut ‘til 1998."


class ConverterError(DoricError):
    """llama.cpp's converter is missing or failed."""


def gguf_converter(cache: Path, package: str = CONVERTER) -> Path:
    """The path of llama.cpp's converter: in the folder LLAMA_CPP if set, else from a package that is downloaded once.

    Raises `ConverterError`.
    """
    own = os.environ.get("LLAMA_CPP")
    place = Path(own) if own else cache / package.replace("==", "-")
    script = place / "convert_hf_to_gguf.py"
    if script.is_file():
        return script
    if own:
        hint = "Set LLAMA_CPP to a checkout of llama.cpp."
        raise ConverterError(f"There is no convert_hf_to_gguf.py in {own}.", hint=hint)
    with tempfile.TemporaryDirectory() as scratch:
        _unpack(_download(package, Path(scratch)), place)
    return script


def _download(package: str, folder: Path) -> Path:
    """The source archive of the package. Only this package is downloaded as source, not its build tools."""
    pip = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else ["uvx", "pip"]
    only = ["--no-deps", "--no-binary", package.partition("==")[0]]
    get = [*pip, "download", "--quiet", *only, "--dest", str(folder), package]
    if subprocess.run(get, capture_output=True, text=True, check=False).returncode:
        hint = "Set LLAMA_CPP to a checkout of llama.cpp."
        raise ConverterError("The GGUF converter could not be downloaded.", hint=hint)
    return next(folder.glob("*.tar.gz"))


def _unpack(archive: Path, place: Path) -> None:
    with tarfile.open(archive) as opened:
        for member in opened:
            inside = member.name.partition("/vendor/llama.cpp/")[2]
            if inside.startswith(("convert_hf_to_gguf.py", "conversion/", "gguf-py/")):
                member.name = inside
                opened.extract(member, place, filter="data")


def make_gguf(merged: Path, out: Path, kind: str, converter: Path) -> Path:
    """Convert the merged model to a GGUF file of a type such as "q8_0"; its path in `out`. Raises `ConverterError`."""
    tool, small = shutil.which("llama-quantize"), kind == "q4_k_m"
    if small and tool is None:
        hint = "Choose q8_0 in GGUF_TYPE, or install llama.cpp."
        raise ConverterError("llama-quantize is not installed.", hint=hint)
    first, done = (out / name for name in UNFINISHED)
    convert = [sys.executable, str(converter), str(merged), "--outfile", str(first), "--outtype"]
    steps = [[*convert, "f16" if small else kind]]
    steps += [[str(tool), str(first), str(done), "Q4_K_M"]] if small else []
    for step in steps:
        ran = subprocess.run(step, capture_output=True, text=True, check=False)
        if ran.returncode:
            said = (ran.stderr.strip().splitlines() or ["no message"])[-1]
            raise ConverterError(f"The converter failed: {said}", hint=f"Convert {merged} with a newer llama.cpp.")
    return (done if small else first).replace(out / f"doric-{kind}.gguf")


def gguf_tokens(file: Path, reference: str) -> dict[str, bool]:
    """Whether a GGUF file has the base tokenizer's end token, vocabulary and template, and tokenizes Doric alike."""
    from gguf import GGUFReader
    from transformers import AutoTokenizer

    fields = GGUFReader(file).fields
    tokenizer: Tokenizer = AutoTokenizer.from_pretrained(reference)

    def texts(name: str) -> list[str]:
        return [str(bytes(fields[name].parts[at]), "utf-8") for at in fields[name].data] if name in fields else []

    words = [word.replace("▁", " ") for word in texts("tokenizer.ggml.tokens")]  # the converter writes some as spaces
    ours = [str(word).replace("▁", " ") for word in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
    template = fields.get("tokenizer.chat_template")
    return {
        "eos": int(fields["tokenizer.ggml.eos_token_id"].contents()) == tokenizer.eos_token_id,
        "template": template is not None
        and template.contents() == tokenizer.chat_template
        and words[: len(ours)] == ours
        and same_cuts(tokenizer, texts("tokenizer.ggml.tokens"), texts("tokenizer.ggml.merges")),
    }


def same_cuts(tokenizer: Tokenizer, words: Sequence[str], merges: Sequence[str]) -> bool:
    """Whether the vocabulary and merges of a GGUF file split a Doric text into the same tokens as the tokenizer."""
    from tokenizers import Tokenizer

    if not merges:  # this tokenizer uses scores instead of merges: the vocabulary decides
        return True
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    spec["model"]["vocab"] = {word: at for at, word in enumerate(words)}
    spec["model"]["merges"] = [merge.split(" ", 1) for merge in merges]
    theirs = Tokenizer.from_str(json.dumps(spec))
    return theirs.encode(SAID, add_special_tokens=False).ids == tokenizer(SAID, add_special_tokens=False)["input_ids"]
