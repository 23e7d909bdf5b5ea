"""The script that creates the SmolLM2 checkpoint: complete folders only, also when two runs work at the same time."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[1] / "finetune_notebook" / "smollm2_checkpoint.py"


@pytest.fixture
def maker(monkeypatch):
    """The script as a module; the download and the model are replaced with fakes that write two small files."""
    spec = importlib.util.spec_from_file_location("smollm2_checkpoint", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def save(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("ours")
        (folder / "tokenizer.json").write_text('{"model": {}}')

    saved = SimpleNamespace(save_pretrained=save)
    monkeypatch.setattr(module, "fetch_weights", lambda scratch: scratch)
    monkeypatch.setattr(module, "read_gguf", lambda weights: (saved, saved))
    return module


def test_checkpoint_is_created_once(maker, tmp_path):
    """The first call creates the folder and leaves nothing else behind; the second call returns it unchanged."""
    folder = tmp_path / "smollm2"
    assert maker.make_checkpoint(folder) == folder
    (folder / "config.json").write_text("kept")
    assert maker.make_checkpoint(folder) == folder
    assert (folder / "config.json").read_text() == "kept"
    assert list(tmp_path.iterdir()) == [folder]


def test_checkpoint_of_a_faster_run_is_used(maker, tmp_path, monkeypatch):
    """If another run finishes while this one works, its checkpoint is used and this run succeeds too."""
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
    """--out that names a folder with other files ends with exit status 2 and a hint, and the files stay."""
    (tmp_path / "notes.txt").touch()
    assert maker.main(["--out", str(tmp_path)]) == 2
    assert "hint: choose a new or empty folder" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
