"""From settings to a plan: every `auto` and 0 is replaced by the value of the machine's preset."""

import math
import re
from dataclasses import replace

from doric.core.errors import SettingsError
from doric.finetune.config import Settings
from doric.finetune.hardware import Machine
from doric.finetune.memory import propose_batch
from doric.finetune.models import Shape, base_model
from doric.finetune.plan import PRESETS, SMALL, TARGET_LAYERS, Plan, recipe_for
from doric.finetune.weighting import parse_weights

ADAPTER = ("lora_rank", "lora_alpha", "lora_dropout", "targets")
"""The settings that are used only if an adapter is trained."""


def make_plan(settings: Settings, machine: Machine, backend: str, shape: Shape) -> Plan:
    """The complete plan: `settle`, then the recipe for the size and the layers of the model, then a batch that fits."""
    plan = with_targets(with_recipe(settle(settings, machine, backend), settings, shape), shape)
    return with_batch(plan, settings, shape, PRESETS[machine.preset].rows_a_step, budget(settings, machine))


def chosen_base(settings: Settings, machine: Machine) -> str:
    """The name or folder of the base model."""
    menu = settings.model if settings.model != "auto" else PRESETS[machine.preset].model
    return base_model(menu, settings.base_model)


def budget(settings: Settings, machine: Machine) -> float:
    """The memory that the run may use, in GB."""
    return settings.vram_budget_gb or machine.memory


def settle(settings: Settings, machine: Machine, backend: str) -> Plan:
    """The plan from the settings and the preset; the batch is set later. Raises `SettingsError`."""
    check_source(settings)
    preset = PRESETS[machine.preset]
    four_bit = preset.four_bit if settings.four_bit == "auto" else settings.four_bit == "yes"
    if four_bit and machine.device == "cpu":
        raise SettingsError("4-bit weights need a CUDA GPU.", hint="Set FOUR_BIT to auto or no.")
    if settings.preference != "off" and backend == "unsloth":
        hint = "Set BACKEND to trl, or PREFERENCE to off."
        raise SettingsError("The preference stage was never run with Unsloth.", hint=hint)
    rank = settings.lora_rank or preset.rank
    packs = {"on": True, "off": False, "auto": backend == "trl" and machine.device == "cuda"}
    return Plan(
        base=chosen_base(settings, machine),
        backend=backend,
        device=machine.device,
        dtype=machine.dtype,
        four_bit=four_bit,
        rank=rank,
        alpha=settings.lora_alpha or rank,
        dropout=settings.lora_dropout,
        targets=TARGET_LAYERS[settings.targets],
        rate=settings.learning_rate,
        schedule=settings.schedule,
        warmup=settings.warmup,
        epochs=settings.epochs,
        steps=settings.max_steps or preset.steps,
        batch=1,
        accumulation=1,
        length=settings.max_length or preset.length,
        packing=packs[settings.packing],
        seed=settings.seed,
        held=settings.held_out_rows or preset.held,
        method=settings.method,
        patience=settings.patience,
        weights=settings.bucket_weights,
    )


def check_source(settings: Settings) -> None:
    """Raise `SettingsError` if the settings do not say which data to read, or name two sources."""
    hub = settings.data_source == "Hub"
    if not hub and settings.hub_dataset:
        raise SettingsError(
            f"HUB_DATASET is {settings.hub_dataset!r}, but DATA_SOURCE is {settings.data_source!r}.",
            hint="Set DATA_SOURCE to Hub, or leave HUB_DATASET empty.",
        )
    if hub and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", settings.hub_dataset):
        hint = "Set it to the dataset's name on the Hub, such as name/dataset, or DATA_SOURCE to a file."
        raise SettingsError(f"HUB_DATASET is {settings.hub_dataset!r}, but DATA_SOURCE is Hub.", hint=hint)
    if not hub and not settings.data_path.strip():
        raise SettingsError("DATA_PATH is empty.", hint="Set it to a ShareGPT file.")


def with_recipe(plan: Plan, settings: Settings, shape: Shape) -> Plan:
    """The plan with the method, the learning rate and the bucket weights for this size of model, where they are open.

    Raises `SettingsError` for a method that cannot be combined with the other settings, or for bad weights.
    """
    recipe = recipe_for(shape.parameters)
    method = chosen_method(plan, shape) if settings.method == "auto" else settings.method
    if method == "full" and plan.four_bit:
        raise SettingsError(
            "METHOD is full, but the weights are in 4 bits: these cannot be trained.",
            hint="Set FOUR_BIT to no, or METHOD to lora.",
        )
    check_adapter(settings, method)
    weights = {"auto": recipe.weights, "off": ""}.get(settings.bucket_weights, settings.bucket_weights)
    parse_weights(weights)
    return replace(plan, method=method, rate=settings.learning_rate or recipe.rate(method), weights=weights)


def check_adapter(settings: Settings, method: str) -> None:
    """Raise `SettingsError` if METHOD is full and a setting is only for an adapter; print a note if `auto` is full."""
    default = Settings()
    given = [name.upper() for name in ADAPTER if getattr(settings, name) != getattr(default, name)]
    if method != "full" or not given:
        return
    if settings.method == "full":
        hint = f"Set METHOD to lora, or leave out {given[0]}."
        raise SettingsError(f"METHOD is full, but {', '.join(given)} is for an adapter.", hint=hint)
    print(f"All weights are trained, so {', '.join(given)} is not used: set METHOD to lora to train an adapter.")


def chosen_method(plan: Plan, shape: Shape) -> str:
    """ "full" for a small model on a CPU, "lora" for all others."""
    return "full" if plan.device == "cpu" and shape.parameters <= SMALL else "lora"


def with_targets(plan: Plan, shape: Shape) -> Plan:
    """The plan with only those LoRA targets that the model has as linear layers; prints a note if some are missing.

    Raises `SettingsError` if the model has none of them. Without an adapter, the plan stays as it is.
    """
    if plan.method == "full":
        return plan
    there = tuple(name for name in plan.targets if name in shape.linear)
    if not there:
        raise SettingsError(
            f"{plan.name} has none of the layers {', '.join(plan.targets)}. It has {', '.join(sorted(shape.linear))}.",
            hint="Add its layer names to TARGET_LAYERS in doric/finetune/plan.py, or choose another model.",
        )
    if there != plan.targets:
        absent = ", ".join(name for name in plan.targets if name not in there)
        print(f"In {plan.name}, {absent} are fused experts and are not trained. LoRA trains {', '.join(there)}.")
    return replace(plan, targets=there)


def with_batch(plan: Plan, settings: Settings, shape: Shape, rows_a_step: int, budget: float) -> Plan:
    """The plan with batch and accumulation from the settings; where they are 0, with proposed values.

    `budget` is in GB.
    """
    batch = settings.batch or propose_batch(shape, plan, rows_a_step, budget)
    return replace(plan, batch=batch, accumulation=settings.accumulation or max(1, math.ceil(rows_a_step / batch)))
