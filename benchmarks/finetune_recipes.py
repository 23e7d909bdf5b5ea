"""Compare the recipe of the CPU preset with the earlier one (LoRA, 170 steps), on the same rows of a dataset.

    uv run --group finetune python benchmarks/finetune_recipes.py --data datasets/doric_sharegpt.jsonl

For each recipe it prints the held-out loss, the time of the training, and which held-out prompts are answered as they
should be. "Refused" counts every refusal that the gates know, in all buckets with the same patterns. A run that was
stopped goes on when the same command is run again.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from doric.core import cli
from doric.finetune.config import Settings, with_values
from doric.quality.gates import is_refusal

PROJECT = Path(__file__).resolve().parents[1]
DATASETS = PROJECT / "datasets"
EARLIER: Mapping[str, object] = {
    "method": "lora",
    "lora_rank": 32,
    "learning_rate": 2e-3,
    "max_steps": 170,
    "bucket_weights": "off",
    "patience": 0,
}
"""The recipe until 28 November 2026, the baseline."""
RECIPES: Mapping[str, Mapping[str, object]] = {"earlier": EARLIER, "preset": {}}
BUCKETS = ("core", "adv", "multi", "safety", "benign")
LANGUAGE = ("core", "adv", "multi")
"""The buckets whose answers must pass the language gates here; the others are only asked whether they refuse."""


def measure(name: str, args: argparse.Namespace) -> dict[str, float]:
    """Train by one recipe, or go on with it, and ask the model; the figures are kept in the folder of the run."""
    from doric.finetune import loading, packing, run

    kept = args.folder / name / "figures.json"
    if kept.is_file():
        return json.loads(kept.read_text("utf-8"))
    ready = run.prepare(with_values(Settings(), {**chosen(name, args), **RECIPES[name]}), PROJECT)
    model = loading.load_base(ready.plan)
    packs = packing.packed(ready.fitting["train"], ready.plan.length)
    began = time.process_time()
    trained = run.train_model(ready, model, packs, run.Hooks(on_progress=lambda done: print(done, flush=True)))
    found = training_figures(trained, time.process_time() - began, args.folder / name / "training.json")
    found |= answer_figures(ask(ready, trained.model))
    kept.write_text(json.dumps(found, indent=1), "utf-8")
    return found


def chosen(name: str, args: argparse.Namespace) -> dict[str, object]:
    """The settings that both recipes share, and the name of the run."""
    return {
        "base_model": args.base_model,
        "data_path": str(args.data.resolve()),
        "runs_folder": str(args.folder.resolve()),
        "run_name": name,
        "prompts_per_bucket": args.prompts,
        "max_new_tokens": args.tokens,
        "samples": 0,
    }


def training_figures(trained: Any, seconds: float, kept: Path) -> dict[str, float]:  # noqa: ANN401 - imports torch
    """The losses, the steps and the minutes. Times are those of the last session that trained; they are kept.

    `seconds` is the processor time of this session.
    """
    from doric.finetune import train

    times = {"minutes": trained.minutes, "processor minutes": seconds / 60}
    if trained.watch.seconds:
        kept.write_text(json.dumps(times), "utf-8")
    elif kept.is_file():
        times = json.loads(kept.read_text("utf-8"))
    losses = {
        "loss before": train.held_out_losses(trained.trainer)[0],
        "held-out loss": train.kept_loss(trained.trainer),
    }
    return losses | {"steps": trained.trainer.state.global_step} | times


def ask(ready: Any, model: Any) -> list[Any]:  # noqa: ANN401 - their modules import torch
    """The scored answers of the model to the held-out prompts; they are kept in the folder of the run, too."""
    from doric.finetune import evaluate, run

    prompts = evaluate.choose_prompts(ready.settings.prompts_per_bucket, ready.settings.bucket_names)
    replies = run.answerer(ready, model).ask([one.prompt for one in prompts])
    evaluate.keep_answers(ready.folder / "answers.json", prompts, replies)
    return evaluate.scored(prompts, replies)


def answer_figures(scored: Sequence[Any]) -> dict[str, float]:
    """The shares of the answers that pass the gates and of those that refuse, by bucket."""
    found: dict[str, float] = {}
    for bucket in BUCKETS:
        asked = [one for one in scored if one.bucket == bucket]
        if bucket in LANGUAGE:
            found[f"{bucket} passes"] = sum(not one.rejection for one in asked) / len(asked)
        found[f"{bucket} refused"] = sum(is_refusal(one.answer.text) for one in asked) / len(asked)
    return found


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--data", type=Path, default=DATASETS / "doric_sharegpt.jsonl", help="ShareGPT file")
    parser.add_argument("--base-model", default="", help="name or folder of the base model (default: the preset's)")
    parser.add_argument("--folder", type=Path, default=DATASETS / "recipes", help="where the runs are kept")
    parser.add_argument("--prompts", type=cli.positive_int, default=24, help="prompts per bucket (default: 24)")
    parser.add_argument("--tokens", type=cli.positive_int, default=160, help="longest answer (default: 160)")
    parser.add_argument("--only", choices=RECIPES, help="measure only one of them")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Print the figures of both recipes and, for loss and times, the ratio to the baseline."""
    args.folder.mkdir(parents=True, exist_ok=True)
    found = {name: measure(name, args) for name in RECIPES if args.only in (None, name)}
    print(f"{'':18}" + "".join(f"{name:>10}" for name in found) + ("     ratio" if len(found) == 2 else ""))
    for figure in next(iter(found.values())):
        values = [figures[figure] for figures in found.values()]
        ratio = f"{values[1] / values[0]:10.2f}" if len(values) == 2 and values[0] else ""
        print(f"{figure:18}" + "".join(f"{value:10.3g}" for value in values) + ratio)
    return 0


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
