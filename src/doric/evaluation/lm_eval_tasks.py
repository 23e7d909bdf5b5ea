"""The minimal pairs as tasks of lm-evaluation-harness: one for each phenomenon, and the group `doric_minimal_pairs`.

The harness reports `acc` (our "sum") and `acc_norm` (our "per_character"). The format is described at
https://github.com/EleutherAI/lm-evaluation-harness/blob/main/docs/task_guide.md.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from doric.core.files import atomic_write
from doric.evaluation.minimal_pairs import MinimalPair, phenomena

GROUP = "doric_minimal_pairs"
HARNESS = (
    "uv run --group finetune --with lm-eval==0.4.13 lm_eval run --model hf --model_args pretrained=FOLDER,dtype=float32"
    f" --tasks {GROUP} --include_path"
)
"""The command that runs the tasks of a folder, which is its last word."""
METRICS = ("acc", "acc_norm")


def write_tasks(folder: Path, pairs: Sequence[MinimalPair]) -> list[Path]:
    """Write the tasks into `folder`, which may be given to lm_eval as --include_path. Returns the files.

    The tasks name their data by absolute path, because the harness looks for it from the folder it is started in.
    """
    written = []
    for name, group in phenomena(pairs).items():
        rows = folder / f"{task_name(name)}.jsonl"
        content = [json.dumps({"right": pair.right, "wrong": pair.wrong}, ensure_ascii=False) for pair in group]
        atomic_write(rows, ("\n".join(content) + "\n").encode())
        written += [rows, _write_yaml(folder, task_name(name), _task(name, rows))]
    return [*written, _write_yaml(folder, GROUP, _group(list(phenomena(pairs))))]


def task_name(phenomenon: str) -> str:
    """The name of the task of a phenomenon.

    >>> task_name("negation-nae")
    'doric_negation_nae'
    """
    return f"doric_{phenomenon.replace('-', '_')}"


def _task(phenomenon: str, rows: Path) -> dict[str, Any]:
    return {
        "task": task_name(phenomenon),
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows.absolute())}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "num_fewshot": 0,
        "doc_to_text": "",
        "target_delimiter": "",  # else each sentence begins with a blank
        "doc_to_target": 0,
        "doc_to_choice": "{{[right, wrong]}}",
        "metric_list": [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in METRICS],
        "metadata": {"version": 1.0},
    }


def _group(names: Sequence[str]) -> dict[str, Any]:
    return {
        "group": GROUP,
        "task": [task_name(name) for name in names],
        "aggregate_metric_list": [{"metric": name, "aggregation": "mean", "weight_by_size": True} for name in METRICS],
        "metadata": {"version": 1.0},
    }


def _write_yaml(folder: Path, name: str, content: dict[str, Any]) -> Path:
    path = folder / f"{name}.yaml"
    atomic_write(path, (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode())  # JSON is YAML
    return path
