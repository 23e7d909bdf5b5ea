"""One whole run without a notebook, from the settings to a checked model, for `finetune.py` and the Modal job."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doric.core.files import atomic_write
from doric.finetune import (
    chat_template,
    checkpoints,
    data,
    evaluate,
    export,
    folders,
    hub,
    loading,
    masking,
    memory,
    model_card,
    models,
    packing,
    preference,
    record,
    settle,
    split,
    train,
    versions,
)
from doric.finetune.hardware import Machine, look_at_machine
from doric.finetune.progress import Progress, Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from doric.finetune.config import Settings
    from doric.finetune.evaluate import Answerer, Reply
    from doric.finetune.foreign_types import Model, Tokenizer, Trainer
    from doric.finetune.masking import Encoded
    from doric.finetune.models import Shape
    from doric.finetune.monitor import Watch
    from doric.finetune.plan import Plan
    from doric.finetune.preference import Pairs
    from doric.finetune.record import Record
    from doric.finetune.split import Split
    from doric.quality.decontamination import HeldOutPrompt

log = logging.getLogger("doric")
METRICS = "metrics.json"
"""The file in the folder of a run with its results."""
KIND = "fine-tuning metrics"
"""The field `kind` of that file, by which it is known as one that may be replaced."""


def log_samples(step: int, said: Sequence[tuple[str, str]]) -> None:
    """Log the answers to some questions during the training, one line each."""
    for question, answer in said:
        log.info("step %d: %s -> %s", step, question, " ".join(answer.split()))


def _ignore(_: object) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What a caller is told while a run is going on.

    `on_stage` gets a sentence when a stage begins, `on_progress` the figures after each step and each evaluation, and
    `on_checkpoint` the folder of each checkpoint when it is complete, and `on_samples` the step with some questions and
    answers.
    """

    on_stage: Callable[[str], object] = _ignore
    on_progress: Callable[[Progress], object] = _ignore
    on_checkpoint: Callable[[Path], object] = _ignore
    on_samples: Callable[[int, list[tuple[str, str]]], object] = log_samples


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Everything that is known before the model is loaded. `fitting` has the rows of `train` and `test`."""

    settings: Settings
    machine: Machine
    plan: Plan
    shape: Shape
    folder: Path
    source: str
    counts: dict[str, int]
    sets: Split
    pairs: Pairs | None
    tokenizer: Tokenizer
    ends: list[int]
    fitting: dict[str, list[Encoded]]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The trained model. `minutes` is the time of this session, `peak` the memory in GB, `steps` those of the run."""

    model: Model
    trainer: Trainer
    watch: Watch
    held: list[Encoded]
    steps: int
    tokens: float
    minutes: float
    peak: float


def run(settings: Settings, project: Path, hooks: Hooks | None = None) -> dict[str, Any]:
    """Train, measure, save and check a model; what was measured, as in the file `metrics.json` of the run's folder.

    The folder is `settings.runs_folder / settings.run_name`. A run that was interrupted is resumed. Raises `DoricError`
    if a check fails.
    """
    told = hooks or Hooks()
    ready = prepare(settings, project, told.on_stage)
    with folders.disk_errors(ready.folder):
        return _run(ready, project, told)


def _run(ready: Ready, project: Path, told: Hooks) -> dict[str, Any]:
    settings = ready.settings
    told.on_stage(f"Load {ready.plan.name} and ask it the questions")
    model = loading.load_base(ready.plan)
    packs = packing.packed(ready.fitting["train"], ready.plan.length)
    packing.check_packed_rows(model, ready.tokenizer, ready.fitting["train"], packs, ready.plan)
    prompts = evaluate.choose_prompts(settings.prompts_per_bucket, settings.bucket_names)
    before = _ask(ready, model, prompts, "answers_before.json")
    trained = train_model(ready, model, packs, told)
    trained, preferred = prefer(ready, trained, told)
    told.on_stage("Ask the trained model the same questions")
    after = _ask(ready, trained.model, prompts, "answers_after.json")
    told.on_stage("Save the model and check the saved files")
    exported = save_and_check(ready, trained, project)
    metrics = measured(ready, trained, prompts, before, after) | exported | preferred
    atomic_write(ready.folder / METRICS, as_json(metrics))
    publish(ready, metrics, evaluate.best_sample(prompts, after))
    return metrics


def as_json(metrics: dict[str, Any]) -> bytes:
    """The metrics as the content of a file."""
    return json.dumps(metrics, indent=1, ensure_ascii=False).encode()


def prepare(settings: Settings, project: Path, on_stage: Callable[[str], object] = _ignore) -> Ready:
    """Import the packages, make the plan, and read, clean, split and encode the rows. Raises `DoricError`."""
    on_stage("Import the packages")
    backend = versions.choose_backend(settings.backend, gpu=versions.has_gpu())
    versions.installed_versions()
    versions.start_packages(backend)
    hub.check_hub(settings)
    machine = look_at_machine()
    shape = models.model_shape(settle.chosen_base(settings, machine))
    folder = folders.run_folder(project, settings.runs_folder, settings.run_name, drive=settings.keep_on_drive)
    plan = checkpoints.as_before(settle.make_plan(settings, machine, backend, shape), settings, folder)
    on_stage("Read, clean and encode the rows")
    begun = record.begin(folder, settings)
    rows, source = data.read_data(settings, project, begun.revision)
    if settings.upload_dataset:
        hub.push_dataset(rows, f"{settings.hub_name}-chats", settings.hub_private, source)
    sets, why = split.of_rows(rows, source, settings, plan.seed)
    pairs = preference.wanted_pairs(settings, project, sets, plan.seed)
    tokenizer, ends, fitting = _encode(settings, plan, sets, begun)
    checkpoints.refuse_other_run(folder / "checkpoints", checkpoints.fingerprint(plan, fitting), settings.resume)
    return Ready(
        settings=settings, machine=machine, plan=plan, shape=shape, folder=folder, source=source, counts=dict(why),
        sets=sets, pairs=pairs, tokenizer=tokenizer, ends=ends, fitting=fitting,
    )  # fmt: skip


def _encode(
    settings: Settings, plan: Plan, sets: Split, begun: Record
) -> tuple[Tokenizer, list[int], dict[str, list[Encoded]]]:
    tokenizer = chat_template.load_tokenizer(plan.base, begun.today)
    chat_template.set_padding(tokenizer, settings.pad_token)
    chat_template.check_tokens(tokenizer)
    ends = chat_template.end_ids(tokenizer, plan.base)
    parts = {"train": sets.train, "test": sets.test}
    coded = {name: masking.encode_all(tokenizer, part, ends) for name, part in parts.items()}
    return tokenizer, ends, masking.fitting_rows(coded, plan)


def train_model(ready: Ready, model: Model, packs: Sequence[Sequence[int]], hooks: Hooks) -> Trained:
    """Prepare the model and train it, from the last checkpoint if there is one. Raises `DoricError`."""
    from doric.finetune.monitor import Samples, Watch

    plan, rows = ready.plan, ready.fitting["train"]
    model = loading.prepare_model(model, plan)
    held = train.held_out_rows(ready.fitting["test"], plan)
    steps = train.total_steps(plan, len(packs) if plan.packing else len(rows))
    place = ready.folder / "checkpoints"
    resumed = checkpoints.start_from(place, checkpoints.fingerprint(plan, ready.fitting), ready.settings.resume)
    tokens = train.tokens_a_step(plan, rows, packs)
    rate = Rate(steps, tokens)
    watch = Watch(lambda log, seconds: hooks.on_progress(rate(log, seconds)), every=0, saved=hooks.on_checkpoint)
    every = train.steps_between_checks(steps, ready.settings.check_every)
    samples = Samples.of(model, ready.tokenizer, ready.ends, ready.settings, plan.backend, hooks.on_samples)
    trainer = train.make_trainer(model, ready.tokenizer, plan, rows, held, place, every, watch, samples)
    train.check_labels(trainer, rows, plan.packing)
    hooks.on_stage(f"Train {steps} steps of {plan.rows_a_step} rows")
    with memory.peak_memory(plan.device) as peak, train.timed() as minutes:
        train.train(trainer, resumed, steps, plan.patience)
    model = train.finish(trainer, watch, plan)
    return Trained(
        model=model, trainer=trainer, watch=watch, held=held, steps=steps, tokens=tokens, minutes=minutes[0],
        peak=peak[0],
    )  # fmt: skip


def prefer(ready: Ready, trained: Trained, hooks: Hooks) -> tuple[Trained, dict[str, Any]]:
    """Run the preference stage if the settings want it; the model after it, and the results under "preference"."""
    from doric.finetune.monitor import Watch

    settings, plan, pairs = ready.settings, ready.plan, ready.pairs
    if not pairs:
        return trained, {}
    steps = preference.total_steps(plan, settings, pairs)
    rate = Rate(steps, trained.tokens)
    watch = Watch(lambda log, seconds: hooks.on_progress(rate(log, seconds)), every=0, saved=hooks.on_checkpoint)
    hooks.on_stage(f"Preference stage ({settings.preference}): {steps} steps with {len(pairs.train):,} pairs")
    model, result = preference.prefer(
        trained.trainer, trained.model, ready.tokenizer, plan, settings, pairs, ready.folder / "preference", watch
    )
    return replace(trained, model=model), {"preference": result.as_json()}


def answerer(ready: Ready, model: Model) -> Answerer:
    """Asks the model as the settings say."""
    plan, settings = ready.plan, ready.settings
    return evaluate.Answerer(model, ready.tokenizer, ready.ends, settings.max_new_tokens, plan.backend)


def _ask(ready: Ready, model: Model, prompts: Sequence[HeldOutPrompt], file: str) -> list[Reply]:
    replies = answerer(ready, model).ask([one.prompt for one in prompts])
    evaluate.keep_answers(ready.folder / file, prompts, replies)
    return replies


def save_and_check(ready: Ready, trained: Trained, project: Path) -> dict[str, Any]:
    """Save every wanted format and compare each with the trained model. Raises `CheckError` for a wrong one."""
    settings, plan, model = ready.settings, ready.plan, trained.model
    exports = folders.export_folder(project, ready.folder, settings.run_name, drive=settings.keep_on_drive)
    adapter = ready.folder / "export" / "adapter"
    export.save_adapter(model, ready.tokenizer, plan, adapter)
    rows = export.probe_rows(trained.held, ready.shape.vocabulary)
    base = export.keep_reference(model, plan, rows, exports)
    with export.out_of_the_way(trained.trainer, model, plan, ready.shape):
        job = export.export_job(plan, adapter, exports, rows, ready.ends)
        results = export.make_forms(job, exports, export.wanted_forms(settings))
    export.check_parity(results, base, plan.four_bit)
    gguf = export.usable_gguf(results, exports)
    return {
        "exports": results,
        "base_model_kl": base["kl"],
        "saved": {name or "merged": str(place) for name, place in _saved(adapter, exports, gguf).items()},
    }


def _saved(adapter: Path, exports: Path, gguf: Path | None) -> dict[str, Path]:
    return model_card.saved_places(adapter, exports / "merged", gguf)


def measured(
    ready: Ready, trained: Trained, prompts: Sequence[HeldOutPrompt], before: Sequence[Reply], after: Sequence[Reply]
) -> dict[str, Any]:
    """The results as JSON: the plan, losses in nats per token, scores as shares from 0 to 1, answers, times."""
    sides = {"before": before, "after": after}
    history = trained.trainer.state.log_history
    losses = train.held_out_losses(trained.trainer)
    real = evaluate.dialect_shares(example.messages[-1]["content"] for example in ready.sets.test)
    return {
        "kind": KIND,
        "plan": asdict(ready.plan),
        "settings": asdict(ready.settings),
        "machine": asdict(ready.machine),
        "versions": versions.installed_versions(),
        "data": {"source": ready.source, "rows": ready.counts, "trained": len(ready.fitting["train"])},
        "steps": trained.trainer.state.global_step,
        "kept_step": train.kept_step(trained.trainer),
        "minutes": trained.minutes,
        "peak_memory_gb": trained.peak,
        "tokens_per_second": speed(trained),
        "held_out_loss": {"rows": len(trained.held), "before": losses[0], "after": train.kept_loss(trained.trainer)},
        "scores": {
            "before": evaluate.measure(prompts, before),
            "after": evaluate.measure(prompts, after),
            "data": real,
        },
        "probes": evaluate.probe(prompts, before, after),
        "answers": evaluate.side_by_side(prompts, sides, most=len(prompts)),
        "history": [one for one in history if "loss" in one or "eval_loss" in one],
        "seconds": trained.watch.seconds,
        "tokens_a_step": trained.tokens,
    }


def speed(trained: Trained) -> float | None:
    """Tokens per second of the steps of this session, without evaluations; None if there was no step."""
    seconds = trained.watch.seconds
    return trained.tokens * len(seconds) / sum(seconds) if seconds else None


def publish(ready: Ready, metrics: dict[str, Any], sample: tuple[str, str]) -> None:
    """Write the model cards, and upload the models if that is wanted."""
    saved = {"" if name == "merged" else name: Path(place) for name, place in metrics["saved"].items()}
    losses = metrics["held_out_loss"]
    facts = model_card.run_facts(
        ready.plan,
        steps=metrics["steps"],
        rows=losses["rows"],
        data=f"{metrics['data']['trained']:,} chats ({', '.join(ready.settings.bucket_names)}) from {ready.source}",
        losses=[losses["before"], losses["after"]],
        made_with=f"{versions.NAMES[ready.plan.backend]}: {ready.machine.name}, {metrics['minutes']:.0f} min",
    )
    scores = model_card.score_rows(metrics["scores"]["before"], metrics["scores"]["after"], metrics["probes"])
    cards = model_card.make_cards(ready.plan, facts, scores, sample, saved)
    model_card.write_cards(saved, cards)
    if ready.settings.upload_model:
        hub.push_model(saved, cards, ready.settings.hub_name, ready.settings.hub_private)
