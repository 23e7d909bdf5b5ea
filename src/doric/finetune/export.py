"""Saving the trained model as adapter, merged model and GGUF file, each checked in its own process."""

from __future__ import annotations

import contextlib
import gc
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from doric.core.errors import CheckError, DoricError, InputError
from doric.finetune.base_files import make_valid
from doric.finetune.chat_template import end_ids
from doric.finetune.evaluate import REPETITION
from doric.finetune.export_worker import JUDGED, Job
from doric.finetune.folders import cache_folder
from doric.finetune.gguf_files import UNFINISHED
from doric.finetune.hardware import free_bytes
from doric.finetune.llama_cpp import HOW_TO_INSTALL
from doric.finetune.loading import load_base, speaking
from doric.finetune.parity import compare, token_log_probs
from doric.finetune.saved_tokens import TrainedTokens

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from doric.finetune.config import Settings
    from doric.finetune.foreign_types import Model, Rows, Tokenizer, Trainer
    from doric.finetune.masking import Encoded
    from doric.finetune.models import Shape
    from doric.finetune.plan import Plan

PROBES_HOLD = 60_000_000
"""The most log-probabilities (tokens x vocabulary) to compare: a quarter of a GB."""
LIMITS = {
    "adapter": (0.02, 0.95),
    "merged": (0.05, 0.90),
    "f16": (0.05, 0.90),
    "bf16": (0.05, 0.90),
    "q8_0": (0.06, 0.88),
    "q4_k_m": (0.40, 0.75),
}
"""Format -> largest KL (nats per token) and smallest share of equal top tokens; rounding alone can swap two tokens."""
LOOSE = (0.20, 0.80)
"""The limits for an adapter that was trained on 4-bit weights, compared on 16-bit weights."""
REFERENCE = "reference.pt"
TOKENS = "trained_tokens.json"


def wanted_forms(settings: Settings) -> list[str]:
    """The formats to save, in order."""
    gguf = settings.gguf_types if settings.export_merged and settings.export_gguf else []
    return ["adapter", *["merged"] * settings.export_merged, *gguf]


def save_adapter(model: Model, tokenizer: Tokenizer, plan: Plan, adapter: Path) -> None:
    """Write the adapter and the tokenizer, and beside them the `TrainedTokens` for the checks.

    The adapter names the chosen base model, not its 4-bit version. After full fine-tuning, the folder `adapter` gets
    the whole model. Files of an earlier run are removed, because they tell which of the two it is.
    """
    shutil.rmtree(adapter, ignore_errors=True)
    for each in getattr(model, "peft_config", {}).values():
        each.base_model_name_or_path = plan.base
    if plan.method == "full":
        make_valid(model.generation_config)
    model.save_pretrained(str(adapter))
    tokenizer.save_pretrained(str(adapter))
    TrainedTokens.of(tokenizer, end_ids(tokenizer, plan.base)).write(adapter.with_name(TOKENS))


def probe_rows(held: Sequence[Encoded], vocabulary: int, most: int = 24) -> list[tuple[list[int], list[int]]]:
    """The shortest held-out rows: at most `most`, and at most as many as fit into `PROBES_HOLD`."""
    chosen, places = [], 0
    for row in sorted(held, key=lambda row: len(row.ids))[:most]:
        places += row.trained
        if chosen and places * vocabulary > PROBES_HOLD:
            break
        chosen.append((row.ids, row.labels))
    return chosen


def keep_reference(model: Model, plan: Plan, probes: Rows, exports: Path) -> dict[str, float]:
    """Save the trained model's log-probabilities of the rows; the difference between the base model and it."""
    import torch

    exports.mkdir(parents=True, exist_ok=True)
    with speaking(model, plan.backend):
        trained = token_log_probs(model, probes)
        if plan.method == "full":
            base = token_log_probs(load_base(plan).eval(), probes)
        else:
            with model.disable_adapter():
                base = token_log_probs(model, probes)
    torch.save(trained, exports / REFERENCE)
    return compare(trained, base)


@contextlib.contextmanager
def out_of_the_way(trainer: Trainer, model: Model, plan: Plan, shape: Shape) -> Generator[None]:
    """Free GPU memory for the process that checks the saved models: drop the optimiser, and move the model if needed.

    A 4-bit model stays on the GPU: it is small, and not every version of bitsandbytes can move it.
    """
    import torch

    trainer.optimizer = trainer.lr_scheduler = None
    trainer.accelerator.free_memory()
    model.zero_grad(set_to_none=True)
    gc.collect()
    moved = False
    if plan.device == "cuda":
        torch.cuda.empty_cache()
        weights, free = 2 * shape.parameters, free_bytes()
        moved = not plan.four_bit and 1.1 * weights + 0.8e9 > free["cuda"] and 1.3 * weights < free["cpu"]
    if moved:
        model.to("cpu")
        torch.cuda.empty_cache()
    try:
        yield
    finally:
        if moved:
            model.to("cuda")


def export_job(plan: Plan, adapter: Path, exports: Path, probes: Rows, ends: Sequence[int]) -> Job:
    """The job for the worker; `make_forms` sets the format."""
    return Job(
        form="",
        base=plan.base,
        dtype=plan.dtype,
        tokenizer=str(adapter.with_name(TOKENS)),
        ends=list(ends),
        reference=str(exports / REFERENCE),
        rows=list(probes),
        adapter=str(adapter),
        merged=str(exports / "merged"),
        out=str(exports),
        cache=str(cache_folder()),
        repetition=REPETITION,
    )


def make_forms(job: Job, exports: Path, forms: Sequence[str]) -> list[dict[str, Any]]:
    """Write and check each format in its own Python process: if one fails, the others are not affected.

    Raises `InputError` if the adapter cannot be loaded.
    """
    _remove_old(exports)
    results: list[dict[str, Any]] = []
    for form in forms:
        results.append(_make_form(job, exports, form, results))
    for name in (REFERENCE, JUDGED, *UNFINISHED):
        (exports / name).unlink(missing_ok=True)
    return results


def _remove_old(exports: Path) -> None:
    """Remove the files of an earlier run."""
    for folder in (exports / "merged", exports / "merged-unfinished"):
        shutil.rmtree(folder, ignore_errors=True)
    for file in exports.glob("*.gguf"):
        file.unlink()


def _make_form(job: Job, exports: Path, form: str, before: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if any(one["form"] == "merged" and "failed" in one for one in before):
        return {"form": form, "file": "", "failed": ["there is no merged model", "See the row above."]}
    try:
        return run_apart(replace(job, form=form), exports)
    except DoricError as error:
        if form == "adapter":
            raise
        return lost_form(form, exports, error)


def run_apart(job: Job, folder: Path) -> dict[str, Any]:
    """Run a job in a new Python process. Raises `InputError` if the process fails."""
    order, results = folder / "compare.json", folder / "compared.json"
    order.write_text(json.dumps(asdict(job)), "utf-8")
    command = [sys.executable, "-W", "ignore", "-m", "doric.finetune.export_worker", str(order), str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it was killed, perhaps out of memory"
        raise InputError(
            f"The {job.form} format could not be written or loaded: {last}",
            hint="The adapter is kept. Fix the cause and run this cell again.",
        )
    return json.loads(results.read_text("utf-8"))


def lost_form(form: str, exports: Path, error: DoricError) -> dict[str, Any]:
    """The result for a format whose process failed: not written, or written but not checked."""
    place = exports / ("merged/config.json" if form == "merged" else f"doric-{form}.gguf")
    file = place.name if place.suffix == ".gguf" and place.is_file() else ""
    return {"form": form, "file": file, "skipped" if place.is_file() else "failed": [error.message, error.hint]}


# --- results --------------------------------------------------------------------------------------------------------


def verdicts(results: Sequence[Mapping[str, Any]], four_bit: bool) -> list[dict[str, Any]]:
    """The results as table rows: pass, FAIL, not checked or not made, with the reason.

    `prompts` is the number of held-out prompts that the saved template writes, or that llama.cpp cuts, as trained.
    """
    lines = [_verdict(one, four_bit) for one in results]
    if not any(line["why"] for line in lines):
        lines = [{name: value for name, value in line.items() if name != "why"} for line in lines]
    return lines


def _verdict(one: Mapping[str, Any], four_bit: bool) -> dict[str, Any]:
    kl, top1 = LOOSE if four_bit and one["form"] == "adapter" else LIMITS[one["form"]]
    line: dict[str, Any] = {"format": one["form"], "KL, nats per token": "–", "KL allowed": kl}
    line |= {
        "same top token": "–",
        "same top token needed": f"{top1:.0%}",
        "same end": "–",
        "same template": "–",
        "prompts": "–",
    }
    if "failed" in one or "skipped" in one:
        verdict = "not made" if "failed" in one else "not checked"
        return {**line, "result": verdict, "why": (one.get("failed") or one["skipped"])[0]}
    good = one["kl"] <= kl and one["top1"] >= top1 and one["eos"] and one["template"]
    line |= {"KL, nats per token": f"{one['kl']:.4f}", "same top token": f"{one['top1']:.1%}"}
    line |= {name: "yes" if one[key] else "no" for name, key in (("same end", "eos"), ("same template", "template"))}
    line["prompts"] = one.get("prompts") or one.get("cuts") or "–"
    return {**line, "result": "pass" if good else "FAIL", "why": one.get("wrong", "")}


def check_parity(results: Sequence[Mapping[str, Any]], base: Mapping[str, float], four_bit: bool) -> None:
    """Raise `CheckError` if the adapter or the merged model differs from the trained one, or is still the base model.

    Nothing is checked about GGUF files: see `usable_gguf`.
    """
    checked = [one for one in results if one["form"] in ("adapter", "merged")]
    for line, one in zip(verdicts(checked, four_bit), checked, strict=True):
        if line["result"] == "FAIL":
            raise CheckError(
                f"The saved model ({one['form']}) differs from the trained model: KL {one['kl']:.3f}, "
                f"{line['same top token']} same top tokens, same end: {line['same end']}, same template: "
                f"{line['same template']} ({line['prompts']} prompts as trained).",
                hint="Do not use it. The adapter in the run's folder is the trained one; merge it again into the base "
                f"model that it names, in 16 bits{' (it was trained on 4-bit weights)' if four_bit else ''}.",
            )
    merged = next((one["kl"] for one in checked if one["form"] == "merged" and "kl" in one), 0.0)
    if base["kl"] <= 3 * merged:
        raise CheckError(
            f"The saved model is as close to the base model (KL {base['kl']:.4f}) as to the trained one.",
            hint="Training changed almost nothing: train longer, or raise LEARNING_RATE.",
        )


def usable_gguf(results: Sequence[Mapping[str, Any]], exports: Path) -> Path | None:
    """The first usable GGUF file, or None; prints what is wrong with the others: see `usable_ggufs`."""
    return next(iter(usable_ggufs(results, exports)), None)


def usable_ggufs(results: Sequence[Mapping[str, Any]], exports: Path) -> list[Path]:
    """The usable GGUF files; prints the reason and the next step for each that failed or was not checked.

    A file that gives other answers than the model is renamed.
    """
    return [
        exports / one["file"] for one in results if one["form"] not in ("adapter", "merged") and _usable(one, exports)
    ]


def _usable(one: Mapping[str, Any], exports: Path) -> bool:
    if "failed" in one:
        what, todo = one["failed"]
        print(f"There is no GGUF file: {what}\nThe merged model is not affected. Next step: {todo}")
        return False
    if "skipped" in one:
        print(f"The GGUF file was not checked: {one['skipped'][0]}\nTry it before you rely on it.")
        return True
    if _verdict(one, four_bit=False)["result"] == "FAIL":
        bad = (exports / one["file"]).rename(exports / f"do-not-use-{one['file']}")
        why = f" ({one['wrong']})" if one.get("wrong") else ""
        print(f"The GGUF file gives other answers than the model{why}.")
        print(f"It was renamed to {bad.name}; use the merged model.")
        return False
    if str(one.get("cuts", "")).startswith("not compared"):
        print(f"{one['file']}: whether llama.cpp cuts a text as the model does was {one['cuts']}. {HOW_TO_INSTALL}")
    return True


def saved_sizes(saved: Mapping[str, Path | None]) -> dict[str, float]:
    """Format -> the size of its files in MB."""
    return {
        name: sum(file.stat().st_size for file in _files(place) if file.is_file()) / 1e6
        for name, place in saved.items()
        if place and place.exists()
    }


def _files(place: Path) -> list[Path]:
    return [place] if place.is_file() else list(place.rglob("*"))
