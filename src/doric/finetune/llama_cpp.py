"""Tokens from a real llama.cpp: the Python package `llama_cpp`, or npm's `node-llama-cpp`, whichever is installed.

A GGUF file is read by llama.cpp's own tokenizer, which is another program than the one of Transformers. Only running it
shows whether both split a text into the same tokens.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HOW_TO_INSTALL = "Install one with `npm install node-llama-cpp` or `uv pip install llama-cpp-python`, and export again."
SECONDS = 600
"""Time limit for reading one file and splitting all texts."""

PYTHON = """
import json, sys
from llama_cpp import Llama
order = json.load(open(sys.argv[1], encoding="utf-8"))
model = Llama(order["file"], vocab_only=True, verbose=False)
cut = [model.tokenize(text.encode(), add_bos=False, special=True) for text in order["texts"]]
json.dump(cut, open(sys.argv[2], "w"))
"""
NODE = """
import {createRequire} from "node:module";
import {readFileSync, writeFileSync} from "node:fs";
import {pathToFileURL} from "node:url";
const [order, results, from] = process.argv.slice(2);
const {file, texts} = JSON.parse(readFileSync(order, "utf-8"));
const {getLlama} = await import(pathToFileURL(createRequire(from + "/x.js").resolve("node-llama-cpp")));
const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});
const model = await llama.loadModel({modelPath: file, vocabOnly: true});
writeFileSync(results, JSON.stringify(texts.map((text) => Array.from(model.tokenize(text, true)))));
process.exit(0);
"""


def engine() -> str:
    """The engine that is installed: "llama_cpp", "node-llama-cpp" or ""."""
    if importlib.util.find_spec("llama_cpp"):
        return "llama_cpp"
    return "node-llama-cpp" if shutil.which("node") and node_folder() else ""


def node_folder() -> Path | None:
    """The folder whose `node_modules` has node-llama-cpp: NODE_LLAMA_CPP, this folder or one above it; or None."""
    own = os.environ.get("NODE_LLAMA_CPP")
    places = [Path(own)] if own else [Path.cwd(), *Path.cwd().parents]
    return next((place for place in places if (place / "node_modules/node-llama-cpp").is_dir()), None)


def tokenize(file: Path, texts: Sequence[str], using: str) -> list[list[int]]:
    """The token ids of each text, from the GGUF file's own tokenizer; special tokens are recognised, none is added.

    `using` is the result of `engine`. Raises RuntimeError(reason, hint) if the engine fails: its own last message.
    """
    with tempfile.TemporaryDirectory() as scratch:
        order, results = Path(scratch) / "order.json", Path(scratch) / "results.json"
        order.write_text(json.dumps({"file": str(file.resolve()), "texts": list(texts)}), "utf-8")
        command = _command(Path(scratch), using, order, results)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{using} did not answer within {SECONDS} s.", "Try it again.") from error
        if done.returncode or not results.is_file():
            said = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
            raise RuntimeError(f"{using} could not read the file: {said}", "Try the file with a newer llama.cpp.")
        return json.loads(results.read_text("utf-8"))


def _command(scratch: Path, using: str, order: Path, results: Path) -> list[str]:
    if using == "llama_cpp":
        return [sys.executable, "-c", PYTHON, str(order), str(results)]
    script = scratch / "tokenize.mjs"
    script.write_text(NODE, "utf-8")
    return ["node", str(script), str(order), str(results), str(node_folder())]
