"""The generator's --check: what would stop a run is found before anything is paid, and whether a row is left."""

from pathlib import Path

import pytest

import generate_doric_dataset as script
from doric.core import cli

FLAGS = ("--topics", "topics.txt", "--out", "out.jsonl", "--n-per-topic", "2", "--no-progress")
OFFLINE = (*FLAGS, "--backend", "heuristic")
SERVER = ("--base-url", "https://teacher.example/v1", "--model", "acme/teacher")


@pytest.fixture(autouse=True)
def here(ten_topics):
    """A folder with ten topics, without a key, a URL or a `.env`."""
    return ten_topics


def files() -> dict[str, bytes]:
    """The files of the folder with their content."""
    return {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}


def test_a_dataset_with_all_its_rows_is_told_by_the_exit_status():
    """Without a row to write, --check ends with status 3, whatever it prints; with rows to write, with 0."""
    assert script.main([*OFFLINE, "--check"]) == 0
    assert script.main(OFFLINE) == 0
    assert script.main([*OFFLINE, "--check"]) == cli.NOTHING_LEFT == 3
    assert script.main([*OFFLINE, "--dry-run"]) == 0


def test_a_check_asks_for_no_prices(capsys):
    """--dry-run says how to give a price that is not known; --check is also for servers that are paid per hour."""
    assert script.main([*FLAGS, *SERVER, "--dry-run"]) == 0
    assert "--price-in" in capsys.readouterr().out
    assert script.main([*FLAGS, *SERVER, "--check"]) == 0
    assert "--price-in" not in capsys.readouterr().out
