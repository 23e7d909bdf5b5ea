"""Reading the dataset: from a file, an upload, Google Drive or the Hub, or made by the project's generator."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doric.core.conversations import Row, as_messages, check_row, stable_id
from doric.core.errors import InputError, SettingsError
from doric.core.jsonl import read_jsonl
from doric.core.text import fold
from doric.finetune.config import HUB_DATASET, Settings
from doric.finetune.hosted import added_file, mount_drive, upload_file
from doric.finetune.hub import load_rows

GENERATED = Path(Settings().data_path).name
"""The only name of a missing file that is generated: a misspelt name would be trained on other data than was meant."""
HOW_TO_DROP = "dataset_generation/transform_to_sharegpt.py with --skip-bad writes a file without such rows."


@dataclass(frozen=True)
class Example:
    """One chat: its turns (`role` is user, assistant or system), its topic, bucket, group and language.

    `untrained` are the positions of answers that are not trained, because the file gives them the weight 0.
    """

    id: str
    topic: str
    bucket: str
    group: str
    lang: str
    messages: tuple[Mapping[str, str], ...]
    untrained: frozenset[int] = frozenset()

    @property
    def prompt(self) -> str:
        """The first user message."""
        return next(turn["content"] for turn in self.messages if turn["role"] == "user")


def read_data(settings: Settings, project: Path, revision: str = "") -> tuple[list[Row], str]:
    """The rows and a description of their source. `revision` is the commit of a Hub dataset (default: the newest).

    Raises `SettingsError` if the file is missing, and `InputError` with the line for a line that is not JSON.
    """
    if settings.data_source == "Hub":
        rows = load_rows(settings.hub_dataset, revision)
        return rows, f"{HUB_DATASET} {settings.hub_dataset}" + (f" at {revision[:12]}" if revision else "")
    file = _find_file(settings, project)
    made = settings.data_source.startswith("file") and not file.exists() and file.name == GENERATED
    if made:
        generate_data(project, file)
    if not file.is_file():
        wrong = f"{file} is a folder, not a file." if file.is_dir() else f"There is no file {file}."
        hint = f"Correct DATA_PATH or DATA_SOURCE. Only a missing file with the name {GENERATED} is generated."
        raise SettingsError(wrong, hint=hint)
    return read_file(file), f"{file.name}, generated just now by the embedded voice" if made else file.name


def _find_file(settings: Settings, project: Path) -> Path:
    """The data file that the settings name. It may not exist. Kaggle's added files are searched too."""
    if settings.data_source == "upload":
        return upload_file(Path.cwd())
    home = mount_drive() if settings.data_source == "Google Drive" else project
    file = home / Path(settings.data_path).expanduser()
    searched = settings.data_source.startswith("file") and not file.is_file()
    return (added_file(file.name) if searched else None) or file


def read_file(path: Path) -> list[Row]:
    """The rows of a JSONL file. Raises `InputError` with the number of a line that is not JSON, or if it is empty."""
    return [row for _, row in read_jsonl(path)]


def generate_data(project: Path, path: Path) -> None:
    """Generate a dataset offline with the project's embedded voice and convert it to ShareGPT.

    Raises `InputError` with what the generator said if it fails.
    """
    made = path.with_name("doric_synth.jsonl")
    make = ["generate_doric_dataset.py", "--backend", "heuristic", "--topics-json", "topics.json", "--out", str(made)]
    convert = ["transform_to_sharegpt.py", "--input", str(made), "--output", str(path)]
    for script, *rest in (make, convert):
        command = [sys.executable, str(project / "dataset_generation" / script), *rest]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        if done.returncode:
            hint = "Run it yourself, or set DATA_PATH to an existing file."
            raise InputError(f"{script} failed: {done.stderr.strip()[-300:]}", hint=hint)


def as_examples(rows: Sequence[Mapping[str, Any]], source: str, most: int = 0) -> list[Example]:
    """The rows as examples: all, or `most` rows that are spread evenly over the file.

    Raises `InputError` with the source and the number of the row.
    """
    step = max(1.0, len(rows) / most) if most else 1.0
    numbers = [int(at * step) for at in range(len(rows) if not most else min(most, len(rows)))]
    return [as_example(rows[number], f"{source}:{number + 1}") for number in numbers]


def as_example(row: object, where: str) -> Example:
    """A row (ShareGPT or messages) as an example. Raises `InputError` with `where` if the row is wrong."""
    row, untrained = split_weights(row)
    try:
        plain = as_messages(row)
        check_row(plain)
    except InputError as error:
        raise InputError(f"{where}: {error.message}", hint=f"{error.hint} {HOW_TO_DROP}".strip()) from error
    turns = tuple({"role": turn["role"], "content": turn["content"].strip()} for turn in plain["messages"])
    meta = plain.get("meta") or {}
    asked = next(turn["content"] for turn in turns if turn["role"] == "user")
    return Example(
        id=str(meta.get("id") or stable_id(*(turn["content"] for turn in turns))),
        topic=str(meta.get("topic") or fold(asked)),
        bucket=str(meta.get("kind") or "core"),
        group=str(meta.get("group") or "no group"),
        lang=str(meta.get("lang") or "en"),
        messages=turns,
        untrained=untrained,
    )


def split_weights(row: object) -> tuple[object, frozenset[int]]:
    """The row without `weight: 0` in its turns, and the positions of these turns (OpenAI's mark)."""
    if not isinstance(row, dict):
        return row, frozenset()
    key = "messages" if "messages" in row else "conversations"
    turns = row.get(key)
    if not isinstance(turns, list):
        return row, frozenset()
    zero = frozenset(at for at, turn in enumerate(turns) if isinstance(turn, dict) and turn.get("weight") == 0)
    plain = [{k: v for k, v in turn.items() if k != "weight"} if at in zero else turn for at, turn in enumerate(turns)]
    return ({**row, key: plain} if zero else row), zero
