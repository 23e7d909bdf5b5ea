"""The script that makes the SmolLM2 checkpoint: the folder is always complete, even if two runs work at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts import load_script

SCRIPT = Path(__file__).parents[1] / "finetune_notebook" / "smollm2_checkpoint.py"


@pytest.fixture
def maker(monkeypatch):
    """The script as a module. Fakes replace the download and the model, and write two small files."""
    module = load_script(SCRIPT)

    def save(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("ours")
        (folder / "tokenizer.json").write_text('{"model": {}}')

    saved = SimpleNamespace(save_pretrained=save)
    monkeypatch.setattr(module, "fetch_weights", lambda scratch: scratch)
    monkeypatch.setattr(module, "read_gguf", lambda weights: (saved, saved))
    return module


def test_checkpoint_is_created_once(maker, tmp_path):
    """The first call creates only the folder, and the second call returns it unchanged."""
    folder = tmp_path / "smollm2"
    assert maker.make_checkpoint(folder) == folder
    (folder / "config.json").write_text("kept")
    assert maker.make_checkpoint(folder) == folder
    assert (folder / "config.json").read_text() == "kept"
    assert list(tmp_path.iterdir()) == [folder]


def test_checkpoint_of_a_faster_run_is_used(maker, tmp_path, monkeypatch):
    """If another run finishes first, its checkpoint is used, and this run also succeeds."""
    folder, read = tmp_path / "smollm2", maker.read_gguf

    def finish_other_run(weights):
        folder.mkdir()
        (folder / "config.json").write_text("theirs")
        return read(weights)

    monkeypatch.setattr(maker, "read_gguf", finish_other_run)
    assert maker.make_checkpoint(folder) == folder
    assert (folder / "config.json").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [folder]


def test_folder_with_other_files_is_not_overwritten(maker, tmp_path, capsys):
    """If --out names a folder with other files, the exit status is 2, there is a hint, and the files stay."""
    (tmp_path / "notes.txt").touch()
    assert maker.main(["--out", str(tmp_path)]) == 2
    assert "hint: choose a new or empty folder" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_two_runs_at_once_both_succeed(maker, tmp_path):
    """If several runs make the checkpoint at the same time, all return the same complete folder and leave no other."""
    folder, ready = tmp_path / "smollm2", threading.Barrier(4)
    read = maker.read_gguf
    maker.read_gguf = lambda weights: (ready.wait(timeout=30), read(weights))[1]
    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(maker.make_checkpoint, folder) for _ in range(4)]
    assert [one.result() for one in made] == [folder] * 4
    assert list(tmp_path.iterdir()) == [folder]
    assert maker.is_checkpoint(folder)


def test_a_folder_that_cannot_be_written_is_one_line(maker, tmp_path, capsys):
    """If a part of the path is a file, the exit status is 2, and there is one line and a hint."""
    (tmp_path / "file").touch()
    assert maker.main(["--out", str(tmp_path / "file" / "smollm2")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in told] == ["error", "hint"]
