"""The commands that serve a saved model, complete and quoted for a shell."""

from __future__ import annotations

import json
from shlex import quote
from typing import TYPE_CHECKING

from doric.finetune.evaluate import REPETITION

if TYPE_CHECKING:
    from pathlib import Path

    from doric.finetune.plan import Plan

RANKS = (8, 16, 32, 64, 128, 256)
"""The sizes that vLLM accepts for --max-lora-rank."""


def served_name(run_name: str) -> str:
    """The name under which a model is served: lower case, without spaces.

    >>> served_name("My first run")
    'my-first-run'
    """
    return "-".join(run_name.lower().split())


def next_steps(
    plan: Plan, project: Path, adapter: Path, exports: Path, gguf: Path | None, run_name: str, hub: str
) -> dict[str, str]:
    """The ways to serve the model, each with its command. Writes the Modelfile if there is a GGUF file."""
    name, merged = served_name(run_name), exports / "merged"
    steps = {"vLLM, the adapter on its base model": _vllm_adapter(plan, project, adapter, name)}
    if merged.is_dir():
        serve = f"vllm serve {quote(str(merged))} --served-model-name {quote(name)} --host 127.0.0.1"
        steps["vLLM, the merged model"] = f"cd {quote(str(project))}\nuv run --group vllm {serve}"
        steps["Modal, without the Hub"] = _modal_volume(project, merged, name)
    steps["Modal, from the Hub (tick UPLOAD_MODEL in section 3 first)"] = _deploy(project, hub)
    if gguf:
        (exports / "Modelfile").write_text(f"FROM ./{gguf.name}\nPARAMETER repeat_penalty {REPETITION}\n", "utf-8")
        folder = quote(str(exports))
        steps["A laptop, with Ollama"] = (
            f"cd {folder}\nollama create {quote(name)} -f Modelfile\nollama run {quote(name)}"
        )
    return steps


def _vllm_adapter(plan: Plan, project: Path, adapter: Path, name: str) -> str:
    rank = next((size for size in RANKS if size >= plan.rank), plan.rank)
    penalty = json.dumps({"repetition_penalty": REPETITION})
    return (
        f"cd {quote(str(project))}\nuv run --group vllm vllm serve {quote(plan.base)} --enable-lora "
        f"--max-lora-rank {rank} --lora-modules {quote(f'{name}={adapter}')} --host 127.0.0.1 "
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
