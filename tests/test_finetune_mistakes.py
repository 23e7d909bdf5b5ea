"""Mistakes with settings, data, base models and folders: each is one clear error, and nothing is lost."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from doric.core.errors import DoricError, InputError, PlanError, SettingsError
from doric.finetune import folders, record
from doric.finetune.checkpoints import refuse_other_run
from doric.finetune.config import ABOUT, Settings, read_settings, with_values
from doric.finetune.data import as_example, read_data
from doric.finetune.hardware import Machine
from doric.finetune.settle import check_adapter, settle
from doric.finetune.split import keep, split_by_topic
from doric.quality.decontamination import held_out_prompts
from finetune_rows import sharegpt
from scripts import load_script

SCRIPT = Path(__file__).parents[1] / "finetune_notebook" / "finetune.py"
CPU = Machine("cpu", "CPU", 16.0, 2, "bfloat16", "CPU")
NUMBERS = [name for name, value in Settings.__dataclass_fields__.items() if type(value.default) in (int, float)]


def example(**meta):
    """An example with one question."""
    return as_example(sharegpt(("human", "Fit like?"), ("gpt", "Nae bad."), **meta), "row 1")


# ---- settings


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_limits_in_every_door(name, tmp_path, capsys):
    """A number outside its limits, or NaN, is refused as a flag, in a TOML file and in a form."""
    kind, most = type(getattr(Settings(), name)), ABOUT[name]["most"]
    wrong = [-1, most + 1, *([float("nan"), float("inf")] if kind is float else [])]
    for value in map(kind, wrong):
        with pytest.raises(SettingsError, match=r"must be (from|at least)") as caught:
            with_values(Settings(), {name: value})
        assert ABOUT[name]["help"] in caught.value.hint
        (tmp_path / "run.toml").write_text(f"# mine\n{name} = {value}\n")
        with pytest.raises(InputError, match=r"run\.toml:2: "):
            read_settings(tmp_path / "run.toml", Settings())
        with pytest.raises(SystemExit):
            load_script(SCRIPT).parse_args([f"--{name.replace('_', '-')}={value}"])
        assert "--" + name.replace("_", "-") in capsys.readouterr().err


def test_the_defaults_are_within_their_limits():
    """Every default is accepted, also that of the preset for a first try."""
    assert with_values(Settings(), load_script(SCRIPT).TRY).run_name == "try"
    assert with_values(Settings(), {name: getattr(Settings(), name) for name in NUMBERS}) == Settings()


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", ".hidden", "a/b", "../x", "/x", "a\\b", "a\nb", " a", "x" * 101, "\ud800"]
)
def test_a_run_has_the_name_of_one_folder(name):
    """A name that leads out of the folder of the runs, or cannot be a folder on every system, is refused."""
    with pytest.raises(SettingsError, match="folder name"):
        with_values(Settings(), {"run_name": name})


@pytest.mark.parametrize("name", ["my first run", "🎉", "fit-like_2.1", "Doric & co"])
def test_a_run_may_have_any_other_name(name):
    """Spaces and other letters are allowed."""
    assert with_values(Settings(), {"run_name": name}).run_name == name


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("seed = 1\n\nmax_stepz = 3", 3, "no setting max_stepz"),
        ("max_steps = 3\nMAX_STEPS = 4", 2, "given twice"),
        ("# x\n[training]\nmax_steps = 3", 2, "is a table"),
        ('"seed" = "7"', 1, "type int"),
    ],
    ids=["unknown", "twice", "table", "type"],
)
def test_the_line_of_a_wrong_setting_is_named(tmp_path, content, line, said):
    """An error in a TOML file names the line."""
    (tmp_path / "run.toml").write_text(content)
    with pytest.raises(InputError, match=said) as caught:
        read_settings(tmp_path / "run.toml", Settings())
    assert caught.value.message.startswith(f"{tmp_path / 'run.toml'}:{line}: ")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data_source": "Hub"}, "HUB_DATASET is ''"),
        ({"data_source": "Hub", "hub_dataset": "a//b"}, "HUB_DATASET is 'a//b'"),
        ({"hub_dataset": "me/chats"}, "but DATA_SOURCE is"),
        ({"data_path": " "}, "DATA_PATH is empty"),
    ],
)
def test_settings_that_contradict_each_other_about_the_data_are_refused(values, said):
    """The source of the data is clear before anything is read or asked of the Hub."""
    with pytest.raises(SettingsError, match=said):
        settle(replace(Settings(), **values), CPU, "trl")


def test_settings_of_an_adapter_without_one_are_refused_or_noted(capsys):
    """METHOD = full with LORA_RANK is an error; if the method was not chosen, a line says that the rank is not used."""
    with pytest.raises(SettingsError, match="LORA_RANK, TARGETS is for an adapter"):
        check_adapter(Settings(method="full", lora_rank=8, targets="attention"), "full")
    check_adapter(Settings(lora_rank=8), "full")
    assert "LORA_RANK is not used" in capsys.readouterr().out
    check_adapter(Settings(lora_rank=8), "lora")
    check_adapter(Settings(method="full"), "full")
    assert not capsys.readouterr().out


# ---- data


def test_a_misspelt_data_file_is_not_replaced_by_generated_data(tmp_path):
    """Only a missing file with the default's name is generated; another one, or a folder, is an error."""
    with pytest.raises(SettingsError, match="no file"):
        read_data(Settings(data_path="mine.jsonl"), tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match="is a folder"):
        read_data(Settings(data_path="folder"), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_a_home_folder_in_a_file_of_settings_is_found(tmp_path, monkeypatch):
    """`~` is expanded by the shell for a flag, but not in a TOML file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "rows.jsonl").write_text(json.dumps(sharegpt(("human", "Fit like?"), ("gpt", "Nae bad."))) + "\n")
    rows, _ = read_data(Settings(data_path="~/rows.jsonl"), Path("/elsewhere"))
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("buckets", "said"), [(["core", "saftey"], "'saftey', which does not exist"), ([], "is empty")]
)
def test_a_misspelt_bucket_is_not_left_out_silently(buckets, said):
    """A bucket that is neither in the data nor one of the project's own is an error."""
    with pytest.raises(SettingsError, match=said):
        keep([example()], buckets, 0.05, seed=1)
    kept, _ = keep([example(kind="mine")], ["core", "mine"], 0.05, seed=1)
    assert len(kept) == 1


def test_all_rows_held_out_says_why_none_is_left():
    """If every row is dropped, the error has the number of rows by reason."""
    rows = [as_example(sharegpt(("human", one.prompt), ("gpt", "Aye.")), "x") for one in held_out_prompts()[:3]]
    with pytest.raises(InputError, match="None of the 3 rows is left to train on: 3 held-out prompt"):
        keep(rows, ["core"], 0.05, seed=1)


def test_refusals_may_be_all_rows():
    """MAX_REFUSALS = 1 drops no refusal."""
    kept, _ = keep([example(kind="safety")], ["safety"], 1.0, seed=1)
    assert len(kept) == 1


@pytest.mark.parametrize(
    ("topics", "share", "hint"), [(1, 0.06, "of each row)."), (2, 0.06, "a larger"), (2, 0.9, "a smaller")]
)
def test_too_few_topics_say_what_would_help(topics, share, hint):
    """A larger test set is no remedy if there is one topic, or if all topics are in the test set."""
    with pytest.raises(InputError, match=rf"has {topics} topics?, too few") as caught:
        split_by_topic([example(topic=str(at)) for at in range(topics)], share, seed=1)
    assert hint in caught.value.hint


# ---- the base model


@pytest.fixture
def base(tiny, tokenizer, tmp_path):
    """A folder with a small model."""
    tiny.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_a_base_model_without_tokenizer_or_weights_is_one_error(base, plan, damage):
    """Missing and damaged files are one line with the folder's name, without a traceback."""
    from doric.finetune.chat_template import load_tokenizer
    from doric.finetune.loading import load_base

    for name, read in (
        ("tokenizer.json", lambda: load_tokenizer(str(base), date(2026, 11, 26))),
        ("model.safetensors", lambda: load_base(replace(plan, base=str(base)))),
    ):
        whole = (base / name).read_bytes()
        (base / name).write_bytes(whole[:100]) if damage == "cut off" else (base / name).unlink()
        with pytest.raises(SettingsError, match=f"of {base} cannot be used: ") as caught:
            read()
        assert "\n" not in caught.value.message
        (base / name).write_bytes(whole)


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
def test_a_model_that_cannot_be_trained_here_is_one_error(finetune_group, tmp_path, kind):
    """A model without a decoder of the usual kind is refused before anything is loaded."""
    from doric.finetune.models import model_shape

    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(SettingsError, match="cannot be used"):
        model_shape(str(tmp_path))


def test_a_base_model_that_is_no_folder_is_one_error(finetune_group, tmp_path, monkeypatch):
    """A path is not taken for a name on the Hub, and `~` is expanded."""
    from doric.finetune.models import base_model, model_shape

    (tmp_path / "file").touch()
    for name, reason in (("file", "not a folder"), ("missing", "there is no such folder")):
        with pytest.raises(InputError, match=reason):
            model_shape(str(tmp_path / name))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert base_model("smollm2", "~/mine") == str(tmp_path / "mine")


def test_a_padding_token_of_another_model_is_refused(tokenizer):
    """A token that is not in the vocabulary is refused before the training."""
    from doric.finetune.chat_template import set_padding

    with pytest.raises(SettingsError, match="no token of this model") as caught:
        set_padding(tokenizer, "<|nonsense|>")
    assert "<|endoftext|>" in caught.value.hint


# ---- the folder of the run


def test_two_runs_in_one_folder_at_once_are_refused(tmp_path):
    """The second process is refused until the first one ends, also if that is killed; one process may come twice."""
    claim = "import sys; from pathlib import Path; from doric.finetune.folders import claim; claim(Path(sys.argv[1]));"
    first = subprocess.Popen(
        [sys.executable, "-c", claim + "print('ready', flush=True); sys.stdin.read()", str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert first.stdout.readline() == "ready\n"
    with pytest.raises(DoricError, match="another run is using this folder"):
        folders.run_folder(tmp_path, str(tmp_path.parent), tmp_path.name, drive=False)
    first.kill()
    first.communicate()
    for _ in range(2):
        assert folders.run_folder(tmp_path, str(tmp_path.parent), tmp_path.name, drive=False) == tmp_path


def test_a_folder_for_runs_that_cannot_be_made_is_one_error(tmp_path):
    """A file in the place of the folder is one line."""
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not a folder"):
        folders.run_folder(tmp_path, str(tmp_path / "file"), "first", drive=False)


def test_a_folder_on_a_file_system_without_locks_is_used(tmp_path, monkeypatch):
    """Google Drive and Modal's Volumes may have no locks."""
    import errno

    def no_locks(handle, path):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(folders, "lock_open_file", no_locks)
    assert folders.run_folder(tmp_path, str(tmp_path), "first", drive=False).is_dir()


@pytest.mark.parametrize("kind", ["system", "safetensors", "tokenizers", "torch"])
def test_a_full_disk_is_one_error(tmp_path, monkeypatch, kind):
    """Python, the libraries in Rust and torch each say it in another way."""
    import errno

    weights = type("SafetensorError", (Exception,), {})("I/O error: No space left on device (os error 28)")
    raised = {
        "system": OSError(errno.ENOSPC, "No space left"),
        "safetensors": weights,
        "tokenizers": Exception("No space left on device (os error 28)"),
        "torch": RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),
    }[kind]
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 0}))
    with pytest.raises(InputError, match="the disk is full"), folders.disk_errors(tmp_path):
        raise raised


@pytest.mark.parametrize("raised", [RuntimeError("shapes differ"), FileNotFoundError(2, "x"), ValueError("x")])
def test_other_errors_are_not_taken_for_a_full_disk(tmp_path, raised):
    """An error in a block that writes keeps its traceback if it is of another kind."""
    with pytest.raises(type(raised)), folders.disk_errors(tmp_path):
        raise raised


def stored(folder, mark):
    """A run's folder with its note and one complete checkpoint."""
    pytest.importorskip("safetensors", reason="fine-tuning needs `uv sync --group finetune`")
    import zipfile

    import numpy
    from safetensors.numpy import save_file

    checkpoint = folder / "checkpoints/checkpoint-3"
    checkpoint.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(mark))
    (checkpoint / "trainer_state.json").write_text("{}")
    (checkpoint / "scheduler.pt").touch()
    save_file({"weight": numpy.zeros(2)}, checkpoint / "adapter_model.safetensors")
    zipfile.ZipFile(checkpoint / "optimizer.pt", "w").close()


def test_a_run_that_resumes_with_another_base_or_dataset_is_refused_before_anything_is_written(tmp_path):
    """The settings that differ are named, and every file of the earlier run stays as it is."""
    mark = {"base": "mine", "rows": "1", "rate": 0.5}
    stored(tmp_path, mark)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    refuse_other_run(tmp_path / "checkpoints", mark, resume=True)
    with pytest.raises(PlanError, match=r"other settings: base, rows\.") as caught:
        refuse_other_run(tmp_path / "checkpoints", {**mark, "base": "other", "rows": "0"}, resume=True)
    assert "RUN_NAME" in caught.value.hint
    refuse_other_run(tmp_path / "checkpoints", {**mark, "base": "other"}, resume=False)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_the_date_of_a_run_is_not_lost_to_another_dataset(tmp_path, monkeypatch):
    """A run that resumes with another Hub dataset is refused, and the note of its start stays."""
    (tmp_path / "checkpoints/checkpoint-3").mkdir(parents=True)
    begun = {"day": "2026-11-01", "dataset": "me/chats", "revision": "abc"}
    (tmp_path / record.FILE).write_text(json.dumps(begun))
    monkeypatch.setattr(record, "dataset_revision", lambda name: "new")
    with pytest.raises(PlanError, match="other settings: dataset"):
        record.begin(tmp_path, Settings(data_source="Hub", hub_dataset="me/others"))
    assert json.loads((tmp_path / record.FILE).read_text()) == begun
    same = record.begin(tmp_path, Settings(data_source="Hub", hub_dataset="me/chats"))
    assert same.day == "2026-11-01"


# ---- outputs


@pytest.mark.parametrize("flags", [["--metrics", "rows.jsonl"], ["--metrics", "same", "--report", "same"]])
def test_a_file_of_somebody_else_is_not_replaced_by_the_metrics(tmp_path, monkeypatch, capsys, flags):
    """--metrics refuses a file that is no metrics file, such as the dataset, and the file of --report."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"conversations": []}\n')
    assert load_script(SCRIPT).main(flags) == 2
    assert (tmp_path / "rows.jsonl").read_text() == '{"conversations": []}\n'
    assert len(capsys.readouterr().err.splitlines()) == 2
