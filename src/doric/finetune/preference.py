"""The preference stage after the training: DPO, ORPO or KTO with pairs of a better and a worse answer, through TRL."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doric.core.conversations import stable_id
from doric.core.errors import SettingsError
from doric.core.text import fold
from doric.finetune import checkpoints, train
from doric.preferences.sources import read_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import TrainerCallback

    from doric.finetune.config import Settings
    from doric.finetune.foreign_types import HfDataset, Model, Tokenizer, Trainer
    from doric.finetune.plan import Plan
    from doric.finetune.split import Split
    from doric.preferences.pairs import Pair

OFF = "off"
HELD_SHARE = 0.1
"""The share of the pairs that are not trained, to measure the margin with."""
LEAST_PAIRS = 10
RATES = {"full": 1e-5, "lora": 5e-5}
"""The highest learning rate by method of training: a fraction of that of the training before, which is to be kept."""
WARMUP = 0.1
MARGIN, ACCURACY = "eval_rewards/margins", "eval_rewards/accuracies"
"""TRL's figures of the held pairs: the mean margin of the rewards in nats, and the share of margins above 0."""


@dataclass(frozen=True)
class Pairs:
    """The pairs to train with and those to measure with; they share no prompt. `unused` are of the test set."""

    train: list[Pair]
    held: list[Pair]
    unused: int


@dataclass(frozen=True, kw_only=True)
class Preferred:
    """What the stage did. The margins are those of the held pairs in nats, the accuracies shares from 0 to 1.

    `held_out_loss` is that of the test rows in nats per token, before and after.
    """

    method: str
    pairs: int
    held: int
    unused: int
    steps: int
    minutes: float
    margin: tuple[float, float]
    accuracy: tuple[float, float]
    held_out_loss: tuple[float, float]

    def facts(self) -> dict[str, str]:
        """The result as a table, by what was measured."""
        return {
            "method": self.method,
            "pairs trained, held, left out": f"{self.pairs:,}, {self.held:,}, {self.unused:,}",
            "steps": f"{self.steps:,}",
            "minutes": f"{self.minutes:.1f}",
            "margin of the held pairs": f"{self.margin[0]:.3f} → {self.margin[1]:.3f} nats",
            "better answer preferred": f"{self.accuracy[0]:.0%} → {self.accuracy[1]:.0%} of the held pairs",
            "held-out loss": f"{self.held_out_loss[0]:.3f} → {self.held_out_loss[1]:.3f}",
        }

    def as_json(self) -> dict[str, Any]:
        """The result for metrics.json."""
        return asdict(self)


def wanted_pairs(settings: Settings, project: Path, sets: Split, seed: int) -> Pairs | None:
    """The pairs, or None if the settings want no stage. Call it before the training: it raises as `read_split` does."""
    return read_split(settings, project, sets, seed) if settings.preference != OFF else None


def read_split(settings: Settings, project: Path, sets: Split, seed: int) -> Pairs:
    """The pairs of the file that the settings name. Those of a topic or prompt of the test set are left out.

    Raises `SettingsError` if the file is missing or has too few pairs, `InputError` for a line that is no pair.
    """
    path = project / settings.preference_path
    if not path.is_file():
        hint = "Make it with dataset_generation/make_preference_pairs.py, or set PREFERENCE to off."
        raise SettingsError(f"There is no file {path}.", hint=hint)
    topics = {example.topic for example in sets.test}
    asked = {fold(example.prompt) for example in sets.test}
    found = list(read_pairs(path))
    usable = [pair for pair in found if pair.meta.get("topic") not in topics and fold(_first(pair)) not in asked]
    if len(usable) < LEAST_PAIRS:
        hint = f"At least {LEAST_PAIRS} are needed, and some hundreds to learn from."
        raise SettingsError(f"{path.name} has {len(usable)} pairs that are not of the test set.", hint=hint)
    prompts = sorted({fold(_first(pair)) for pair in usable})
    held = set(random.Random(seed).sample(prompts, max(1, round(HELD_SHARE * len(prompts)))))
    parts = ([pair for pair in usable if (fold(_first(pair)) in held) is wanted] for wanted in (False, True))
    return Pairs(*parts, len(found) - len(usable))


def _first(pair: Pair) -> str:
    return next(turn["content"] for turn in pair.prompt if turn["role"] == "user")


def as_rows(pairs: Sequence[Pair], method: str) -> HfDataset:
    """The pairs as a dataset of TRL: prompt, chosen and rejected; for KTO one row per answer, with a label."""
    from datasets import Dataset

    rows = [row for pair in pairs for row in (pair.verdicts() if method == "kto" else [pair.row()])]
    return Dataset.from_list([{key: value for key, value in row.items() if key != "meta"} for row in rows])


def make_trainer(
    model: Model,
    tokenizer: Tokenizer,
    plan: Plan,
    settings: Settings,
    pairs: Pairs,
    folder: Path,
    *watchers: TrainerCallback,
) -> Trainer:
    """TRL's trainer for the method. The model as it is now is what DPO and KTO compare with."""
    from transformers import PrinterCallback

    kind, config = _classes(settings.preference)
    trainer = kind(
        model=model,
        args=config(**_arguments(plan, settings, pairs, folder)),
        processing_class=tokenizer,
        train_dataset=as_rows(pairs.train, settings.preference),
        eval_dataset=as_rows(pairs.held, settings.preference),
        callbacks=list(watchers),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _classes(method: str) -> tuple[Any, Any]:
    """The trainer and the configuration of a method."""
    if method == "orpo":
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        return ORPOTrainer, ORPOConfig
    import trl

    return (trl.DPOTrainer, trl.DPOConfig) if method == "dpo" else (trl.KTOTrainer, trl.KTOConfig)


def total_steps(plan: Plan, settings: Settings, pairs: Pairs) -> int:
    """The number of optimiser steps: that of the settings, or one pass over the pairs. A pair counts as two rows."""
    return settings.preference_steps or max(1, 2 * len(pairs.train) // plan.rows_a_step)


def _arguments(plan: Plan, settings: Settings, pairs: Pairs, folder: Path) -> dict[str, Any]:
    steps = total_steps(plan, settings, pairs)
    batch = plan.batch if settings.preference == "kto" else max(1, plan.batch // 2)  # a pair is two rows
    with_reference = {} if settings.preference == "orpo" else {"precompute_ref_log_probs": True}
    return {
        "output_dir": str(folder / "checkpoints"),
        "run_name": f"{folder.parent.name}-{settings.preference}",
        "per_device_train_batch_size": batch,
        "per_device_eval_batch_size": batch,
        "learning_rate": settings.preference_rate or RATES[plan.method],
        "lr_scheduler_type": "cosine",
        "warmup_steps": WARMUP,
        "max_steps": steps,
        "beta": settings.preference_beta,
        "save_total_limit": 1,
        **train.common_settings(plan, train.steps_between_checks(steps, 0)),
        **with_reference,
    }


def prefer(
    trained: Trainer,
    model: Model,
    tokenizer: Tokenizer,
    plan: Plan,
    settings: Settings,
    pairs: Pairs,
    folder: Path,
    *watchers: TrainerCallback,
) -> tuple[Model, Preferred]:
    """Run the stage on a model that `trained` has trained, from the last checkpoint if there is one.

    The held-out loss of the test rows is measured with `trained` before and after.
    """
    before = trained.evaluate()["eval_loss"]
    if plan.method == "full":
        model = model.float().requires_grad_(True)  # the small steps of this stage would be rounded away in 16 bits
    trainer = make_trainer(model, tokenizer, plan, settings, pairs, folder, *watchers)
    resumed = checkpoints.start_from(folder / "checkpoints", _mark(plan, settings, pairs), settings.resume)
    with train.timed() as minutes:
        train.train(trainer, resumed, total_steps(plan, settings, pairs))
    model = without_reference(trainer, plan)
    looks = [one for one in trainer.state.log_history if MARGIN in one] or [trainer.evaluate()]
    return model, Preferred(
        method=settings.preference,
        pairs=len(pairs.train),
        held=len(pairs.held),
        unused=pairs.unused,
        steps=trainer.state.global_step,
        minutes=minutes[0],
        margin=(looks[0][MARGIN], looks[-1][MARGIN]),
        accuracy=(looks[0].get(ACCURACY, float("nan")), looks[-1].get(ACCURACY, float("nan"))),
        held_out_loss=(before, trained.evaluate()["eval_loss"]),
    )


def without_reference(trainer: Trainer, plan: Plan) -> Model:
    """The model of the trainer, without the copy of the adapter that TRL added to compare with."""
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    if "ref" in getattr(model, "peft_config", {}):
        model.delete_adapter("ref")
    return train.as_saved(model, plan)


def _mark(plan: Plan, settings: Settings, pairs: Pairs) -> dict[str, Any]:
    """What must be equal for the stage to resume."""
    names = ("preference", "preference_rate", "preference_beta")
    digest = stable_id(*(pair.key for pair in (*pairs.train, *pairs.held)))
    steps = total_steps(plan, settings, pairs)
    return {name: getattr(settings, name) for name in names} | {"steps": steps, "seed": plan.seed, "pairs": digest}
