"""The commands of the generator over the Batches API, for tests, in a folder with ten topics."""

import json
from pathlib import Path

import generate_doric_dataset as script

PLAN = 10
"""The rows of the plan."""


def run(url: str, *more: str) -> int:
    """Run the script on a plan of ten rows and return its exit status."""
    return script.main([
        *("--topics", "topics.txt", "--out", "out.jsonl", "--n-per-topic", "1", "--no-progress"),
        *("--ask-mix", "none", "--base-url", url, "--model", "mock-doric", "--max-concurrency", "1", *more),
    ])  # fmt: skip


def rounds(url: str, *more: str, most: int = 8) -> int:
    """Submit and collect until the plan is complete; the last exit status."""
    for _ in range(most):
        assert run(url, "--batch", "submit", *more) in (0, 1)
        if (status := run(url, "--batch", "collect", *more)) != 1:
            return status
    return 1


def lines(name: str = "out.jsonl") -> list[dict]:
    """The objects of a JSON Lines file in the order of their ids; none if there is no file."""
    text = Path(name).read_text("utf-8") if Path(name).exists() else ""
    return sorted(
        map(json.loads, text.splitlines()), key=lambda row: (row.get("id") or row["meta"]["id"], row.get("try"))
    )
