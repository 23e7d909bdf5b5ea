"""The commands that serve a saved model, complete and quoted for a shell."""

from __future__ import annotations

import json
import re
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from doric.finetune.evaluate import REPETITION
from doric.finetune.modelfile import write_modelfile

if TYPE_CHECKING:
    from doric.finetune.plan import Plan

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The sizes that vLLM accepts for --max-lora-rank."""


def served_name(run_name: str) -> str:
    """The name under which a model is served: lower case, only characters that Ollama, vLLM and Modal accept.

    >>> served_name("My first run"), served_name("Doric & fun"), served_name("«»")
    ('my-first-run', 'doric-fun', 'doric')
    """
    return "-".join(re.findall(r"[a-z0-9._]+", run_name.lower())).strip("-._") or "doric"


def next_steps(
    plan: Plan, project: Path, adapter: Path, exports: Path, gguf: Path | None, run_name: str, hub: str
) -> dict[str, str]:
    """The ways to serve the model, each with its command. Writes the Modelfile if there is a GGUF file."""
    name, merged = served_name(run_name), exports / "merged"
    steps = {}
    if plan.method != "full":
        steps["vLLM, the adapter on its base model"] = _vllm_adapter(plan, project, adapter, name)
    if merged.is_dir():
        serve = f"vllm serve {quote(str(merged))} --served-model-name {quote(name)} --host 127.0.0.1"
        steps["vLLM, the merged model"] = f"cd {quote(str(project))}\nuv run --group vllm {serve}"
        steps["Modal, without the Hub"] = _modal_volume(project, merged, name)
    steps["Modal, from the Hub (tick UPLOAD_MODEL in section 3 first)"] = _deploy(project, hub)
    if gguf:
        write_modelfile(exports / "Modelfile", gguf, adapter)
        folder = quote(str(exports))
        steps["A laptop, with Ollama"] = (
            f"cd {folder}\nollama create {quote(name)} -f Modelfile\nollama run {quote(name)}"
        )
    return steps


def lora_size(rank: int) -> int | None:
    """The smallest size that vLLM allows for an adapter of this rank; None if it serves none that large.

    >>> lora_size(24), lora_size(300), lora_size(600)
    (32, 320, None)
    """
    return next((size for size in RANKS if size >= rank), None)


def _vllm_adapter(plan: Plan, project: Path, adapter: Path, name: str) -> str:
    size = lora_size(plan.rank)
    if size is None:
        return f"# vLLM serves adapters up to rank {RANKS[-1]}, and this one has {plan.rank}: serve the merged model."
    base = str(Path(plan.base).resolve()) if Path(plan.base).is_dir() else plan.base
    penalty = json.dumps({"repetition_penalty": REPETITION})
    template = adapter / "chat_template.jinja"
    own = f" --chat-template {quote(str(template))}" if template.is_file() else ""  # else vLLM takes the base model's
    return (
        f"cd {quote(str(project))}\nuv run --group vllm vllm serve {quote(base)} --enable-lora "
        f"--max-lora-rank {size} --lora-modules {quote(f'{name}={adapter}')} --host 127.0.0.1{own} "
        f"--override-generation-config {quote(penalty)}"
    )


def _modal_volume(project: Path, merged: Path, name: str) -> str:
    put = f"uv run modal volume put doric-models {quote(str(merged))} {quote(f'/{name}')}"
    return "\n".join([f"cd {quote(str(project / 'modal'))}", "uv run modal volume create doric-models", put]) + (
        "\n" + _set_model(f"/models/{name}")
    )


def _deploy(project: Path, model: str) -> str:
    return f"cd {quote(str(project / 'modal'))}\n{_set_model(model)}"


def _set_model(model: str) -> str:
    return f"DORIC_MODEL={quote(model)} uv run modal deploy vllm_doric.py"
