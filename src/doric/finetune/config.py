"""The settings of a run. Each field is a form of the notebook (in upper case) and a flag of `finetune.py`."""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from doric.core.errors import InputError, SettingsError
from doric.core.files import read_text

OVERRIDES = "DORIC_NB_OVERRIDES"
"""The environment variable with the settings of a headless run of the notebook, as a JSON object."""
HUB_DATASET = "the Hub dataset"
"""How the source of the rows begins if they are of the Hub; its name there follows."""


MOST = 2**53
"""The largest number that a setting accepts, unless it has its own limit."""
MOST_SEED = 2**32 - 1
"""The largest seed that NumPy accepts."""
MOST_NAME = 100
"""The longest name of a run in bytes: file systems allow 255, and longer names are made from it."""


def option(
    default: Any,  # noqa: ANN401 - the field's type
    help: str,
    *choices: str,
    several: bool = False,
    least: float = 0,
    most: float = MOST,
) -> Any:  # noqa: ANN401 - the field's type
    """A field with its default, a description for --help and the values of its menu, if it has one.

    `several`: the value may be a list of them with commas. A number is from `least` to `most`.
    """
    about = {"help": help, "choices": choices, "several": several, "least": least, "most": most}
    return field(default=default, metadata=about)


def items(text: str) -> list[str]:
    """The items of a list with commas, each once.

    >>> items("q8_0, f16,, q8_0")
    ['q8_0', 'f16']
    """
    return list(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user chose. `auto` and 0 mean: the value of the machine's preset."""

    backend: str = option("auto", "library that trains", "auto", "unsloth", "trl")
    model: str = option(
        "auto", "base model", "auto", "qwen3-4b", "qwen3-14b", "gemma4-e4b", "smollm3-3b", "olmo3-7b", "gemma3-4b",
        "gemma3-12b", "llama-3b", "mistral-7b", "mixtral", "smollm2",
    )  # fmt: skip
    base_model: str = option("", "any other chat model: its name on the Hub, or a folder; overrides the menu")
    four_bit: str = option("auto", "load the weights in 4 bits", "auto", "yes", "no")
    method: str = option(
        "auto",
        "what is trained: an adapter or all weights (auto: all for small models on a CPU)",
        "auto",
        "lora",
        "full",
    )
    lora_alpha: int = option(0, "alpha of the adapter (0: the rank)")
    lora_dropout: float = option(0.0, "dropout of the adapter, a share", most=0.9)
    targets: str = option("all", "layers that get an adapter", "all", "attention")
    pad_token: str = option("auto", "padding token (auto: the tokenizer's, unless that is also the end token)")
    learning_rate: float = option(0.0, "highest learning rate (0: by size of the model)", most=1)
    schedule: str = option("cosine", "learning-rate schedule", "cosine", "linear", "constant")
    warmup: float = option(0.05, "share of the steps for warm-up", most=1)
    epochs: float = option(2.0, "passes over the data, if there is no number of steps", least=0.01, most=1000)
    max_steps: int = option(0, "optimiser steps (0: the epochs decide; on a CPU the preset)")
    packing: str = option("auto", "join short rows into one (auto: with TRL on a GPU)", "auto", "on", "off")
    seed: int = option(7, "seed of the data order, the split and the adapter", most=MOST_SEED)
    check_every: int = option(0, "steps between checkpoints and evaluations (0: a fifth of the run)")
    patience: int = option(2, "evaluations without a better held-out loss after which training stops (0: never)")
    samples: int = option(3, "held-out questions that are answered at each evaluation")
    resume: bool = option(True, "resume from the last checkpoint of this run")
    data_source: str = option(
        "file, else generate", "where the data is", "file, else generate", "upload", "Google Drive", "Hub"
    )
    data_path: str = option("datasets/doric_sharegpt.jsonl", "ShareGPT file, relative to the project")
    hub_dataset: str = option("", "name of the Hub dataset, if data_source is Hub")
    max_rows: int = option(0, "rows to use, spread evenly over the file (0: all)")
    buckets: str = option("core, multi, adv, safety", "buckets to train on")
    max_refusals: float = option(0.05, "largest share of refusals in the data, before bucket_weights", most=1)
    bucket_weights: str = option(
        "auto",
        "shares of the trained rows, such as core=70, safety=8; auto: by size of the model; off: as in the data",
    )
    test_share: float = option(0.06, "share of the topics in the test set", least=0.01, most=0.9)
    held_out_rows: int = option(0, "rows for the held-out loss (0: the preset's)")
    preference: str = option(
        "off",
        "stage after the training with preference pairs (see make_preference_pairs.py)",
        "off",
        "dpo",
        "orpo",
        "kto",
    )
    preference_path: str = option("datasets/doric_pairs.jsonl", "file of the pairs, relative to the project")
    preference_steps: int = option(0, "optimiser steps of that stage (0: one pass over the pairs)")
    preference_rate: float = option(0.0, "its highest learning rate (0: 1e-5, or 5e-5 for an adapter)", most=1)
    preference_beta: float = option(
        0.1, "how strongly the model is kept near what it was before that stage", least=0.001, most=100
    )
    run_name: str = option("doric", "name of the run and of its folder")
    runs_folder: str = option("", "folder for the runs (empty: finetune_notebook/runs, or on Drive)")
    keep_on_drive: bool = option(False, "keep checkpoints, answers and adapter on Google Drive")
    prompts_per_bucket: int = option(6, "held-out questions per bucket, before and after training", least=1)
    max_new_tokens: int = option(200, "longest answer, in tokens", least=1, most=32768)
    export_merged: bool = option(True, "save the merged model")
    export_gguf: bool = option(True, "save a GGUF file")
    gguf_type: str = option(
        "q8_0", "type of the GGUF file, or several with commas", "q8_0", "f16", "bf16", "q4_k_m", several=True
    )
    upload_model: bool = option(False, "upload the saved models to the Hub")
    upload_dataset: bool = option(False, "upload the dataset to the Hub")
    hub_name: str = option("your-name/doric", "repository on the Hub")
    hub_private: bool = option(True, "keep the repositories private")
    vram_budget_gb: int = option(0, "memory to use, in GB (0: all)")
    lora_rank: int = option(0, "rank of the adapter (0: the preset's)", most=4096)
    max_length: int = option(0, "longest row, in tokens (0: the preset's)")
    batch: int = option(0, "rows per batch (0: the largest that fits)")
    accumulation: int = option(0, "batches per optimiser step (0: from the preset)")

    @property
    def gguf_types(self) -> list[str]:
        """The types of the GGUF files as a list."""
        return items(self.gguf_type)

    @property
    def bucket_names(self) -> list[str]:
        """The buckets as a list."""
        return [name.strip() for name in self.buckets.split(",") if name.strip()]


TRY: dict[str, object] = {
    "method": "lora",
    "max_steps": 12,
    "check_every": 6,
    "max_rows": 240,
    "learning_rate": 0.005,
    "warmup": 0.0,
    "held_out_rows": 8,
    "test_share": 0.1,
    "prompts_per_bucket": 1,
    "max_new_tokens": 40,
    "export_merged": False,
    "export_gguf": False,
    "run_name": "try",
}
"""The preset "just try it": every step once, in about two minutes on two cores with SmolLM2-135M."""
NAMES = tuple(each.name for each in fields(Settings))
MENUS: dict[str, tuple[str, ...]] = {
    each.name: each.metadata["choices"] for each in fields(Settings) if each.metadata["choices"]
}
"""Setting -> the values that its menu offers."""
LISTS = {each.name for each in fields(Settings) if each.metadata["several"]}
"""The settings that may have several values of their menu."""
ABOUT = {each.name: each.metadata for each in fields(Settings)}
"""Setting -> its description and its limits."""


def with_values(settings: Settings, values: Mapping[str, object]) -> Settings:
    """The settings with new values by name, in upper or lower case.

    Raises `SettingsError` for an unknown name, a name that is given twice, a value of another type (a float setting
    accepts an int), a value that is not in the menu (only a browser enforces the menus), a number that is too small or
    too large, and a name of a run that cannot be a folder's name.
    """
    refuse_twice(values)
    return replace(settings, **{known_name(name): checked(name, value) for name, value in values.items()})


def refuse_twice(names: Iterable[str]) -> None:
    """Raise `SettingsError` if a setting is named twice, in upper and lower case."""
    found: dict[str, str] = {}
    for name in names:
        if first := found.get(name.lower()):
            raise SettingsError(f"{first} is given twice, the second time as {name}.", hint="Remove one of the two.")
        found[name.lower()] = name


def read_settings(path: Path, settings: Settings) -> Settings:
    """The settings with those of a TOML file. Raises `InputError` with the line of the wrong setting."""
    text = read_text(path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML: {error}", file=path, hint="Write lines such as: max_steps = 170") from error
    for name, value in values.items():
        try:
            if isinstance(value, dict):
                hint = f"Remove the line [{name}] and write its settings as lines such as: max_steps = 170"
                raise SettingsError(f"{name} is a table, not a setting.", hint=hint)
            refuse_twice([*values][: [*values].index(name) + 1])
            settings = with_values(settings, {name: value})
        except SettingsError as error:
            raise InputError(error.message, file=path, line=_line_of(name, text), hint=error.hint) from error
    return settings


def _line_of(name: str, text: str) -> int | None:
    """The number of the line of a TOML file that sets a name; None if it is not found."""
    sets = re.compile(rf"\s*\[?\s*[\"']?{re.escape(name)}[\"']?\s*[=.\]]")
    return next((number for number, line in enumerate(text.splitlines(), 1) if sets.match(line)), None)


def known_name(name: str) -> str:
    """The name of the field. Raises `SettingsError`, with similar names as the hint."""
    if name.lower() in NAMES:
        return name.lower()
    close = difflib.get_close_matches(name.lower(), NAMES, n=3)
    spelt = [each.upper() if name.isupper() else each for each in close]
    hint = (
        f"Did you mean {' or '.join(spelt)}?" if spelt else "The settings are the forms in section 3 of the notebook."
    )
    raise SettingsError(f"There is no setting {name}.", hint=hint)


def checked(name: str, value: object) -> object:
    """The value if the setting can have it. Raises `SettingsError`."""
    kind, choices = type(getattr(Settings(), name.lower())), MENUS.get(name.lower(), ())
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        message = f"{name} is {value!r}, but it must be of type {kind.__name__}."
        raise SettingsError(message, hint="Use a value of that type.")
    given = items(str(value)) or [value] if name.lower() in LISTS else [value]
    if wrong := [one for one in given if choices and one not in choices]:
        some = "one or more, with commas," if name.lower() in LISTS else "one"
        raise SettingsError(f"{name} cannot be {wrong[0]!r}.", hint=f"Choose {some} of {', '.join(choices)}.")
    if isinstance(value, int | float) and kind is not bool:
        check_number(name, value)
    if name.lower() == "run_name":
        check_run_name(name, str(value))
    return value


def check_number(name: str, value: float) -> None:
    """Raise `SettingsError` if a number is below or above the limits of its setting, or is no number at all."""
    about = ABOUT[name.lower()]
    least, most = about["least"], about["most"]
    if not least <= value <= most:  # also True for nan
        limits = f"from {least} to {most}" if most < MOST else f"at least {least}"
        raise SettingsError(f"{name} is {value}, but it must be {limits}.", hint=f"{name} is: {about['help']}.")


def check_run_name(name: str, value: str) -> None:
    """Raise `SettingsError` unless the name of the run can be the name of one folder on every system."""
    parts = value.replace("\\", "/").split("/")
    plain = value.strip() and value == value.strip() and len(parts) == 1 and not value.startswith(".")
    if not plain or not value.isprintable() or len(value.encode()) > MOST_NAME:
        hint = f"Use letters and digits, at most {MOST_NAME}; --runs-folder (RUNS_FOLDER) says where the folder is."
        raise SettingsError(f"{name} is {value[:MOST_NAME]!r}, but it must be a folder name.", hint=hint)


def from_forms(forms: Mapping[str, Any]) -> Settings:
    """The settings from the forms of the notebook, which are upper-case variables, and from `DORIC_NB_OVERRIDES`.

    Forms that have not been run yet have their defaults. Raises `SettingsError`.
    """
    filled = {name.upper(): forms[name.upper()] for name in NAMES if name.upper() in forms}
    return with_values(with_values(Settings(), filled), json.loads(os.environ.get(OVERRIDES, "{}")))
