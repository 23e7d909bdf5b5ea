"""The models of an evaluation: the one under test, the baseline to compare it with, and the judge."""

from collections.abc import Sequence
from pathlib import Path

from doric.core.errors import InputError, SettingsError
from doric.core.extra_body import parse_extra_body
from doric.core.other_model import find_model
from doric.core.settings import Settings, credentials_hint, load_settings
from doric.evaluation.aggregate import Result, check_comparable, load_result
from doric.evaluation.local_model import Checkpoint, find_checkpoint
from doric.evaluation.run import EvaluationSettings
from doric.quality.decontamination import HeldOutPrompt


def find_tested(
    checkpoint: str | None,
    name: str | None,
    base_url: str | None,
    extra_body: str | None = None,
    *,
    service_tier: str | None = None,
    reasoning_effort: str | None = None,
) -> Settings | Checkpoint:
    """The model under test: a checkpoint on this machine, or a model on a server.

    Raises `InputError` if there is no such checkpoint, and `SettingsError` if nothing names a model.
    """
    if checkpoint is not None:
        return find_checkpoint(checkpoint, parse_extra_body(extra_body or ""))
    settings = load_settings(
        model=name, base_url=base_url, extra_body=extra_body, service_tier=service_tier,
        reasoning_effort=reasoning_effort,
    )  # fmt: skip
    if not settings.given:
        hint = f"{credentials_hint(settings)} Or name a folder with --checkpoint."
        raise SettingsError("no model to evaluate: no key, no base URL and no --checkpoint", hint=hint)
    return settings


def find_baseline(
    spec: str | None,
    model: Settings | Checkpoint,
    prompts: Sequence[HeldOutPrompt],
    settings: EvaluationSettings,
    extra_body: str | None = None,
) -> Settings | Result | None:
    """The baseline that --baseline names: a saved result, or the settings of a second model to evaluate.

    Raises `InputError` if a file is not a result or has no turn in common, or if it is a folder, and `SettingsError`
    for a wrong URL, or if no server has the model.
    """
    if spec is None:
        return None
    path = Path(spec)
    if path.is_dir():
        hint = "Validate that model first, with --checkpoint and an --out of its own, and give this file."
        raise InputError("--baseline is a folder", file=spec, hint=hint)
    if path.suffix != ".json" and not path.is_file():
        return _find_second("--baseline", spec, model, "BASELINE_API_KEY", extra_body)
    saved = load_result(path)
    check_comparable(saved, prompts, settings.sampling, path)
    return saved


def find_judge(
    spec: str | None,
    model: Settings | Checkpoint,
    baseline: Settings | Result | None,
    extra_body: str | None = None,
) -> Settings | None:
    """The settings of the model that --judge-model names. Raises `SettingsError`, also if there is no baseline."""
    if spec is None:
        return None
    if baseline is None:
        raise SettingsError("--judge-model compares two models", hint="Name the other model with --baseline.")
    return _find_second("--judge-model", spec, model, "JUDGE_API_KEY", extra_body)


def _find_second(
    flag: str, spec: str, model: Settings | Checkpoint, key_variable: str, extra_body: str | None
) -> Settings:
    """The settings of a second model. Raises `SettingsError` if neither the flag nor the environment has its server."""
    server = load_settings() if isinstance(model, Checkpoint) else model
    found = find_model(spec, server, key_variable, extra_body)
    if not found.given:
        raise SettingsError(f"{flag} {spec}: no server has this model", hint=f"Give {flag} MODEL@URL or URL.")
    return found
