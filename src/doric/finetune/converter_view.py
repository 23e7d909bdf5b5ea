"""A folder for llama.cpp's converter: the merged model, with what the converter reads about spaces."""

import json
from pathlib import Path


def converter_view(merged: Path, scratch: Path, spaced: bool | None) -> Path:
    """A folder of links to the merged model whose tokenizer_config.json says whether a space is added to a text.

    Transformers 5 leaves `add_prefix_space` empty. llama.cpp then adds a space after each special token, so a prompt
    that starts with [INST] would be cut into other tokens than in training. `spaced` is `saved_tokens.adds_space`; if
    it is None, the merged model itself is returned.
    """
    if spaced is None or not (merged / "tokenizer_config.json").is_file():
        return merged
    scratch.mkdir(parents=True, exist_ok=True)
    for file in merged.iterdir():
        if file.name != "tokenizer_config.json":
            (scratch / file.name).symlink_to(file.resolve())
    settings = json.loads((merged / "tokenizer_config.json").read_text("utf-8"))
    (scratch / "tokenizer_config.json").write_text(json.dumps({**settings, "add_prefix_space": spaced}), "utf-8")
    return scratch
