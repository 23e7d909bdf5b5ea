"""GGUF files: converting the merged model, and comparing the file's merges with the tokenizer's."""

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
from doric.finetune.converter_view import converter_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from doric.finetune.foreign_types import Tokenizer

CONVERTER = "llama-cpp-python==0.3.36"
"""The package whose source contains llama.cpp's converter."""
UNFINISHED = ("unfinished-first.gguf", "unfinished.gguf")
SAID = "Fit’s on at 7.30, loon? Naething – the café’s shut ‘til 1998."


QUANTISE = """
import ctypes, sys, llama_cpp
params = llama_cpp.llama_model_quantize_default_params()
params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(params)))
"""


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


def make_gguf(merged: Path, out: Path, kind: str, converter: Path, spaced: bool | None = None) -> Path:
    """Convert the merged model to a GGUF file of a type such as "q8_0"; its path in `out`.

    `spaced` says whether the tokenizer adds a space after a special token: see `converter_view`. Raises
    `ConverterError`.
    """
    first, done = (out / name for name in UNFINISHED)
    small = kind == "q4_k_m"
    quantise = _quantiser(first, done) if small else []
    with tempfile.TemporaryDirectory() as scratch:
        source = converter_view(merged, Path(scratch) / merged.name, spaced)
        convert = [sys.executable, str(converter), str(source), "--outfile", str(first), "--outtype"]
        for step in [[*convert, "f16" if small else kind], *([quantise] if small else [])]:
            ran = subprocess.run(step, capture_output=True, text=True, check=False)
            if ran.returncode:
                said = (ran.stderr.strip().splitlines() or ["no message"])[-1]
                raise ConverterError(f"The converter failed: {said}", hint=f"Convert {merged} with a newer llama.cpp.")
    return (done if small else first).replace(out / f"doric-{kind}.gguf")


def _quantiser(first: Path, done: Path) -> list[str]:
    """The command that makes a q4_k_m file: llama.cpp's own program, or its Python package."""
    if tool := shutil.which("llama-quantize"):
        return [tool, str(first), str(done), "Q4_K_M"]
    if importlib.util.find_spec("llama_cpp"):
        return [sys.executable, "-c", QUANTISE, str(first), str(done)]
    hint = "Choose q8_0 in GGUF_TYPE, or install llama.cpp."
    raise ConverterError("llama-quantize is not installed.", hint=hint)


def same_cuts(tokenizer: Tokenizer, words: Sequence[str], merges: Sequence[str]) -> bool:
    """Whether the merges of a GGUF file split a Doric text into the same tokens as the tokenizer.

    A SentencePiece vocabulary has scores instead of merges, which `saved_tokens.scores_differ` compares.
    """
    from tokenizers import Tokenizer

    if not merges:
        return True
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    spec["model"]["vocab"] = {word: at for at, word in enumerate(words)}
    spec["model"]["merges"] = [merge.split(" ", 1) for merge in merges]
    theirs = Tokenizer.from_str(json.dumps(spec))
    return theirs.encode(SAID, add_special_tokens=False).ids == tokenizer(SAID, add_special_tokens=False)["input_ids"]
