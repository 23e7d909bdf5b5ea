"""The model card: the README of each saved format, with metadata for the Hub, written from the results of the run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doric.core.reviews import checked_sentence
from doric.finetune.config import HUB_DATASET
from doric.finetune.models import licence_of
from doric.finetune.saved_models import is_whole_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from doric.finetune.plan import Plan

LIBRARIES = {"-lora": "peft", "": "transformers", "-gguf": "gguf"}
"""Suffix of the repository's name -> the library that loads what is in it."""


def run_facts(
    plan: Plan, *, steps: int, rows: int, data: str, losses: Sequence[float], made_with: str
) -> dict[str, str]:
    """What the card says about the training; `data` describes the rows, `losses` are in nats per token."""
    return {
        "base model": f"{plan.name}, {'4-bit' if plan.four_bit else plan.dtype}",
        "trained": "all weights"
        if plan.method == "full"
        else f"LoRA adapter, rank {plan.rank}, alpha {plan.alpha}, on {', '.join(plan.targets)}",
        "training": f"{steps} steps of {plan.rows_a_step} rows",
        "learning rate": f"{plan.rate:g}, {plan.schedule}",
        "data": data,
        "held-out loss": f"{losses[0]:.3f} before, {losses[-1]:.3f} after ({rows} rows of unseen topics)",
        "made with": made_with,
    }


def model_card(
    plan: Plan,
    facts: Mapping[str, str],
    scores: Sequence[tuple[str, float, float]],
    sample: tuple[str, str],
    library: str = "peft",
) -> str:
    """The README of one saved format in Markdown; `library` is the library that loads it.

    `scores` are (name, before, after) as shares from 0 to 1, and `sample` is a prompt with its answer.
    """
    metrics = "\n".join(f"| {name} | {before:.1%} | {after:.1%} |" for name, before, after in scores)
    return "\n".join(
        [
            "\n".join(["---", *_metadata(plan, facts, library), "---", "# A model that answers in Doric", ""]),
            f"{plan.name}, fine-tuned to answer in Doric, the Scots of North-East Scotland.",
            "\n| | |\n|---|---|",
            *(f"| {name} | {value} |" for name, value in facts.items()),
            "\nOn held-out prompts:\n\n| | before | after |\n|---|---|---|",
            metrics,
            f"\n> **{sample[0]}**\n>\n> {sample[1]}\n",
            f"Trained on synthetic text. It makes false statements. Of the data behind it: {checked_sentence()}",
            "Do not use it for advice on health, law or money.",
            "",
        ]
    )


def _metadata(plan: Plan, facts: Mapping[str, str], library: str) -> list[str]:
    datasets = re.findall(rf"{HUB_DATASET} ([\w.-]+/[\w.-]+)", facts.get("data", ""))
    return [
        *([] if Path(plan.base).is_dir() else [f"base_model: {plan.base}"]),
        *([f"datasets: [{', '.join(datasets)}]"] if datasets else []),
        f"license: {licence_of(plan.base)}",
        "language: [sco, en]",
        f"library_name: {library}",
        "pipeline_tag: text-generation",
        f"tags: [doric, scots, {'lora' if library == 'peft' else 'fine-tuned'}]",
    ]


def score_rows(
    before: Mapping[str, float], after: Mapping[str, float], probes: Sequence[Mapping[str, Any]]
) -> list[tuple[str, float, float]]:
    """The scores and probes as (name, before, after), shares from 0 to 1."""
    scores = [(name.replace("_", "-"), before[name], after[name]) for name in before]
    return scores + [(one["probe"], one["before"], one["after"]) for one in probes]


def saved_places(adapter: Path, merged: Path, gguf: Path | None) -> dict[str, Path]:
    """Suffix of the repository's name -> the folder or file, for each format that was saved."""
    whole = is_whole_model(adapter)  # after full fine-tuning
    model = adapter if whole and not merged.exists() else merged
    places = {"-lora": None if whole else adapter, "": model, "-gguf": gguf}
    return {suffix: place for suffix, place in places.items() if place and place.exists()}


def make_cards(
    plan: Plan,
    facts: Mapping[str, str],
    scores: Sequence[tuple[str, float, float]],
    sample: tuple[str, str],
    saved: Mapping[str, Path],
) -> dict[str, str]:
    """The card of each saved format, by the suffix of its repository."""
    return {suffix: model_card(plan, facts, scores, sample, LIBRARIES[suffix]) for suffix in saved}


def write_cards(saved: Mapping[str, Path], cards: Mapping[str, str]) -> None:
    """Write each card as README.md into its folder; a GGUF file has none."""
    for suffix, place in saved.items():
        if place.is_dir():
            (place / "README.md").write_text(cards[suffix], "utf-8")
