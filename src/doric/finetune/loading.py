"""Loading the base model, adding the adapter, and switching a model to answering and back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from doric.finetune.base_files import TOWER, in_tower, readable

if TYPE_CHECKING:
    from collections.abc import Generator

    from doric.finetune.foreign_types import Dtype, Model
    from doric.finetune.plan import Plan


def model_dtype(plan: Plan) -> Dtype:
    """The number format of the weights, as a torch dtype."""
    import torch

    return {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}[plan.dtype]


def load_base(plan: Plan) -> Model:
    """The base model on the plan's device, with 4-bit weights if the plan says so. Seeds torch.

    Raises `SettingsError` if the weights are missing or damaged.
    """
    if plan.backend == "unsloth":
        from unsloth import FastLanguageModel  # before torch and transformers: it patches them

        _seed(plan)
        with readable(plan.base, "weights"):
            model, _ = FastLanguageModel.from_pretrained(
                plan.base,
                max_seq_length=plan.length,
                dtype=model_dtype(plan),
                load_in_4bit=plan.four_bit,
                full_finetuning=plan.method == "full",
            )
        return model
    from transformers import AutoModelForCausalLM

    _seed(plan)
    with readable(plan.base, "weights"):
        return AutoModelForCausalLM.from_pretrained(
            plan.base,
            dtype=model_dtype(plan),
            device_map={"": plan.device},
            attn_implementation="sdpa",
            quantization_config=_four_bits(plan) if plan.four_bit else None,
        )


def _seed(plan: Plan) -> None:
    import torch

    torch.manual_seed(plan.seed)


def _four_bits(plan: Plan) -> Any:  # noqa: ANN401 - transformers' BitsAndBytesConfig
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=model_dtype(plan),
    )


def prepare_model(model: Model, plan: Plan) -> Model:
    """The model as it is trained: with an adapter, or, for full fine-tuning, with all weights in float32.

    In bfloat16 most of the small steps at the end of the training would be rounded away.
    """
    if plan.method != "full":
        return add_adapter(model, plan)
    if plan.backend == "unsloth":  # chooses the number formats itself
        return model
    return model.float().requires_grad_(True)


def add_adapter(model: Model, plan: Plan) -> Model:
    """The model with new LoRA matrices; only these are trained. Layers that read images or sound get none."""
    lora: dict[str, Any] = {
        "r": plan.rank,
        "lora_alpha": plan.alpha,
        "lora_dropout": plan.dropout,
        "target_modules": list(plan.targets),
    }
    if plan.backend == "unsloth":
        from unsloth import FastLanguageModel

        return FastLanguageModel.get_peft_model(
            model, **lora, use_gradient_checkpointing="unsloth", random_state=plan.seed
        )
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if any(in_tower(name) for name, _ in model.named_modules()):  # Unsloth leaves them alone by itself
        lora["exclude_modules"] = TOWER
    if plan.four_bit:
        model = prepare_model_for_kbit_training(model)
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora))


@contextlib.contextmanager
def speaking(model: Model, backend: str) -> Generator[None]:
    """Switch the model to inference, and afterwards back to training."""
    training = model.training
    switch = _unsloth_switch() if backend == "unsloth" else None
    if switch:
        switch.for_inference(model)
    model.eval()
    try:
        yield
    finally:
        if training and switch:
            switch.for_training(model)
        model.train(training)


def _unsloth_switch() -> Any:  # noqa: ANN401 - Unsloth's class, whose type hints lack for_training
    from unsloth import FastLanguageModel

    return FastLanguageModel
