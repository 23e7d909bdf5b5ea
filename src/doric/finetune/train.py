"""Training with TRL's trainer, from the settings of the trainer to the trained model."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doric.core.errors import CheckError
from doric.finetune.checkpoints import best_of, checks_without_gain, step_of, weight_files
from doric.finetune.folders import disk_errors
from doric.finetune.loading import model_dtype
from doric.finetune.masking import IGNORED
from doric.finetune.memory import enough_memory
from doric.finetune.packing import as_dataset

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from transformers import TrainerCallback
    from trl import SFTConfig

    from doric.finetune.foreign_types import HfDataset, Model, Tokenizer, Trainer
    from doric.finetune.masking import Encoded
    from doric.finetune.monitor import Watch
    from doric.finetune.plan import Plan

TRACKERS = {"wandb": "WANDB_API_KEY", "trackio": "TRACKIO_SPACE_ID"}
"""Package of a tracker -> the environment variable that turns it on."""


def reporters() -> list[str]:
    """The trackers to report to: Weights & Biases or trackio, if the key is set and the package is installed."""
    return [name for name, key in TRACKERS.items() if os.environ.get(key) and importlib.util.find_spec(name)] or [
        "none"
    ]


def training_settings(plan: Plan, folder: Path, every: int) -> SFTConfig:
    """The plan as a configuration of TRL's trainer; it evaluates and saves after each `every` steps.

    At the end, the checkpoint with the lowest held-out loss is loaded. It and the last one are kept.
    """
    from trl import SFTConfig

    return SFTConfig(
        output_dir=str(folder),
        run_name=folder.parent.name,
        packing=plan.packing,
        eval_packing=False,
        padding_free=False,  # without this, Unsloth joins the rows of a batch; with packing, TRL turns it on itself
        shuffle_dataset=True,
        per_device_train_batch_size=plan.batch,
        per_device_eval_batch_size=plan.batch,
        learning_rate=plan.rate,
        lr_scheduler_type=plan.schedule,
        warmup_steps=plan.warmup,
        num_train_epochs=plan.epochs,
        max_steps=plan.steps or -1,
        train_sampling_strategy="random" if plan.device == "cuda" or plan.packing else "group_by_length",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        **common_settings(plan, every),
    )


def common_settings(plan: Plan, every: int) -> dict[str, Any]:
    """The arguments that the trainers of the training and of the preference stage have in common."""
    gpu = plan.device == "cuda"
    return {
        "max_length": plan.length,
        "gradient_accumulation_steps": plan.accumulation,
        "seed": plan.seed,
        "optim": "adamw_8bit" if gpu else "adamw_torch_fused",
        "bf16": plan.dtype == "bfloat16",
        "fp16": plan.dtype == "float16",
        "use_cpu": not gpu,
        "dataloader_pin_memory": gpu,
        "gradient_checkpointing": gpu,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps",
        "eval_steps": every,
        "eval_on_start": True,
        "save_steps": every,
        "report_to": reporters(),
        "disable_tqdm": True,
    }


@contextlib.contextmanager
def timed() -> Generator[list[float]]:
    """Measure the minutes that the block takes; at the end they are added to the yielded list."""
    began, found = time.monotonic(), list[float]()
    yield found
    found.append((time.monotonic() - began) / 60)


def total_steps(plan: Plan, rows_or_packs: int) -> int:
    """The number of optimiser steps of the whole run."""
    return plan.steps or math.ceil(plan.epochs * math.ceil(rows_or_packs / plan.rows_a_step))


def steps_between_checks(steps: int, wanted: int) -> int:
    """The number of steps between two checkpoints: `wanted`, or a fifth of all steps if it is 0."""
    return min(steps, wanted or math.ceil(steps / 5))


def held_out_rows(rows: Sequence[Encoded], plan: Plan) -> list[Encoded]:
    """The test rows for the held-out loss, a random choice."""
    return random.Random(plan.seed).sample(list(rows), min(plan.held, len(rows)))


def tokens_a_step(plan: Plan, coded: Sequence[Encoded], packs: Sequence[Sequence[int]]) -> float:
    """The mean number of tokens per optimiser step, without padding."""
    tokens = sum(len(one.ids) for one in coded)
    return plan.rows_a_step * tokens / len(packs if plan.packing else coded)


def make_trainer(
    model: Model,
    tokenizer: Tokenizer,
    plan: Plan,
    train: Sequence[Encoded],
    held: Sequence[Encoded],
    folder: Path,
    every: int,
    *watchers: TrainerCallback,
) -> Trainer:
    """A trainer for these rows that writes its checkpoints to `folder`."""
    from transformers import PrinterCallback
    from trl import SFTTrainer

    from doric.finetune.monitor import Patience

    trainer = SFTTrainer(
        model=model,
        args=training_settings(plan, folder, every),
        processing_class=tokenizer,
        train_dataset=as_dataset(train),
        eval_dataset=as_dataset(held),
        callbacks=[*watchers, Patience(plan.patience)],
    )
    trainer.remove_callback(PrinterCallback)  # the watchers replace it
    if (
        plan.dtype == "float16" and plan.method == "lora"
    ):  # TRL sets a 4-bit model's adapter to bfloat16, which float16 training cannot scale
        for each in model.parameters():
            each.data = each.data.float() if each.requires_grad else each.data
    return trainer


def train(trainer: Trainer, resumed: str | None, steps: int, patience: int = 0) -> None:
    """Train, from the checkpoint `resumed` if there is one; a finished run is only loaded.

    A run is finished after all steps, or if `patience` has stopped it.
    """
    if not resumed:
        _train(trainer, None)
        return
    from transformers import TrainerState

    at, state = step_of(resumed), TrainerState.load_from_json(str(Path(resumed) / "trainer_state.json"))
    stopped = 0 < patience <= checks_without_gain(state.log_history)
    if at < steps and not stopped:
        print(f"Resuming from step {at} of {steps}.")
        _train(trainer, resumed)
        return
    best = best_of(Path(resumed))
    how = f"stopped early at step {at}" if stopped else f"finished all {steps} steps"
    print(f"This run has {how}: {best.name} is loaded and nothing is trained.")
    load_weights(trainer.model, best)
    trainer.state = state


def _train(trainer: Trainer, resumed: str | None) -> None:
    with enough_memory(), disk_errors(Path(trainer.args.output_dir).parent):
        trainer.train(resume_from_checkpoint=resumed)


def load_weights(model: Model, checkpoint: Path) -> None:
    """Load the weights of a checkpoint, of an adapter or of the whole model, into the model."""
    from peft import PeftModel, load_peft_weights, set_peft_model_state_dict
    from safetensors.torch import load_file

    if isinstance(model, PeftModel):
        set_peft_model_state_dict(model, load_peft_weights(str(checkpoint), device=str(model.device)))
        return
    for file in weight_files(checkpoint):  # not strict: a tied output layer is not in the file
        model.load_state_dict(load_file(file), strict=False)


def finish(trainer: Trainer, watch: Watch, plan: Plan) -> Model:
    """Evaluate after the last step if that was not done yet; the trained model without the trainer's wrapper.

    After full fine-tuning, its weights have the number format of the plan, in which they are saved.
    """
    looks = [one["step"] for one in trainer.state.log_history if "eval_loss" in one]
    if looks[-1:] != [trainer.state.global_step]:
        trainer.evaluate()
    watch.update(trainer.state.log_history)
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)  # without the trainer's autocast
    return as_saved(model, plan)


def as_saved(model: Model, plan: Plan) -> Model:
    """The model in the number format in which it is saved; an adapter stays as it is.

    Only weights are converted: the frequencies of rotary embeddings stay in float32, as in a model that is loaded.
    """
    if plan.method == "full" and plan.backend == "trl":
        for weight in model.parameters():
            weight.data = weight.data.to(model_dtype(plan))
    return model


def held_out_losses(trainer: Trainer) -> list[float]:
    """The held-out losses in nats per token; the first is from before training."""
    return [one["eval_loss"] for one in trainer.state.log_history if "eval_loss" in one]


def kept_step(trainer: Trainer) -> int:
    """The step whose weights the trained model has: that with the lowest held-out loss."""
    return trainer.state.best_global_step or trainer.state.global_step


def kept_loss(trainer: Trainer) -> float:
    """The held-out loss of the trained model, in nats per token."""
    found = [
        one["eval_loss"]
        for one in trainer.state.log_history
        if one.get("step") == kept_step(trainer) and "eval_loss" in one
    ]
    return found[-1] if found else held_out_losses(trainer)[-1]


def training_summary(trainer: Trainer, minutes: float, tokens: float, watch: Watch) -> dict[str, Any]:
    """The results of the training as a table row; `tokens` is `tokens_a_step`."""
    held_out = held_out_losses(trainer)
    sizes = [(each.numel(), each.requires_grad) for each in trainer.model.parameters()]
    speed = f"{tokens * len(watch.seconds) / sum(watch.seconds):,.0f}" if watch.seconds else "–"
    trained = sum(size for size, trains in sizes if trains)
    return {
        "steps": trainer.state.global_step,
        "held-out loss before": f"{held_out[0]:.3f}",
        "held-out loss after": f"{kept_loss(trainer):.3f}",
        "decrease of the loss": f"{1 - kept_loss(trainer) / held_out[0]:.0%}",
        "step that is kept": kept_step(trainer),
        "minutes of training": f"{minutes:.1f}",
        "tokens per second": speed,
        "trained parameters": f"{trained / 1e6:.1f} of {sum(size for size, _ in sizes) / 1e6:,.0f} million",
    }


# --- checks ---------------------------------------------------------------------------------------------------------


def check_labels(trainer: Trainer, coded: Sequence[Encoded], packing: bool) -> None:
    """Raise `CheckError` unless the trainer has exactly the rows and labels that were checked (`check_row_tokens`)."""
    held: Any = trainer.train_dataset
    if packing:
        if len(held) == len(coded):
            raise CheckError("PACKING is on, but the trainer did not pack.", hint="Set PACKING to off.")
        same = sum(row.trained for row in coded) == sum(map(_trained, held["labels"]))
    else:
        theirs = Counter((tuple(row["input_ids"]), tuple(row["labels"])) for row in held)
        same = Counter((tuple(row.ids), tuple(row.labels)) for row in coded) == theirs
    if not same:
        hint = "Check the versions in section 1."
        raise CheckError("The trainer changed the rows: they differ from the checked rows.", hint=hint)
    check_batch(trainer, held, packing)


def _trained(labels: Sequence[int]) -> int:
    return sum(label != IGNORED for label in labels)


def check_batch(trainer: Trainer, held: HfDataset, packing: bool) -> None:
    """Raise `CheckError` if the trainer's collator joins rows that are not packed, or drops trained tokens."""
    picked: list[Mapping[str, Any]] = [held[at] for at in range(min(2, len(held)))]
    batch = trainer.data_collator([{name: row[name] for name in row if name != "length"} for row in picked])
    labels = batch["labels"]
    if not packing and len(labels) != len(picked):
        raise CheckError(
            "The trainer joins the rows of a batch although PACKING is off.",
            hint="Set padding_free=False in training_settings, or BACKEND to trl.",
        )
    lost = sum(_trained(row["labels"]) for row in picked) - int((labels != IGNORED).sum())
    rows_begun = sum(len(row.get("seq_lengths", [1])) for row in picked)  # the first token of each row is not predicted
    if not 0 <= lost <= (rows_begun if packing else 0):
        hint = "Check the versions in section 1."
        raise CheckError(f"A batch trains {lost} fewer tokens than its rows.", hint=hint)
