"""Saved models: each format is compared with the trained model, and a wrong one is never used."""

import copy
import json
import subprocess
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import ANY

import pytest

from doric.core.errors import DoricError
from doric.finetune import export, saved_models
from doric.finetune.config import Settings, with_values
from doric.finetune.export import check_parity, make_forms, usable_gguf, usable_ggufs, verdicts
from doric.finetune.export_worker import Job, look
from doric.finetune.folders import export_folder
from doric.finetune.gguf_files import CONVERTER, ConverterError, gguf_converter, same_cuts
from doric.finetune.parity import compare, token_log_probs
from doric.finetune.saved_models import NotEnoughMemory, load_saved, room_for, weight_bytes

ROWS = [([1, 5, 6, 7, 8, 2], [-100, -100, 6, 7, 8, 2]), ([1, 9, 10, 11, 2], [-100, -100, 10, 11, 2])]
GOOD = {"eos": True, "template": True, "file": ""}
JOB = Job(
    form="", base="b", dtype="float32", tokenizer="b", ends=[2], reference="r", rows=ROWS, adapter="a", merged="m",
    out="o", cache="c", repetition=1.1,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("finetune_group")


def test_wrong_merged_model_stops_the_run(tiny):
    """A merged model with other weights fails the comparison, and the run stops with a hint."""
    import torch

    reference = token_log_probs(tiny, ROWS)
    assert compare(reference, reference) == {"top1": 1.0, "kl": 0.0}
    other = copy.deepcopy(tiny)
    with torch.no_grad():
        other.lm_head.weight.mul_(-1)
    found = compare(reference, token_log_probs(other, ROWS))
    result = {"form": "merged", **found, **GOOD}
    assert verdicts([result], four_bit=False)[0]["result"] == "FAIL"
    with pytest.raises(DoricError, match=r"saved model \(merged\) differs from the trained model") as caught:
        check_parity([result], {"top1": 0.1, "kl": 9.0}, four_bit=False)
    assert "adapter" in caught.value.hint


@pytest.mark.parametrize("lost", ["eos", "template"])
def test_saved_model_with_another_end_or_template_stops_the_run(lost):
    """A merged model with another end token or template fails, even if its weights are correct."""
    result = {"form": "merged", "top1": 1.0, "kl": 0.0, **GOOD, lost: False}
    with pytest.raises(DoricError, match="differs from the trained model"):
        check_parity([result], {"top1": 0.1, "kl": 9.0}, four_bit=False)


def test_training_that_changed_nothing_stops_the_run():
    """If the trained model differs from the base model only by rounding errors, the run stops."""
    result = {"form": "merged", "top1": 0.99, "kl": 0.004, **GOOD}
    with pytest.raises(DoricError, match="as close to the base model"):
        check_parity([result], {"top1": 0.99, "kl": 0.005}, four_bit=False)


def test_format_that_was_not_checked_does_not_stop_the_run():
    """If a saved model does not fit into memory, the table shows `not checked` with the reason."""
    fine = {"form": "adapter", "top1": 1.0, "kl": 0.0, **GOOD}
    results = [fine, {"form": "merged", "file": "", "skipped": ["loading it takes 99 GB", "Elsewhere."]}]
    lines = verdicts(results, four_bit=False)
    assert [line["result"] for line in lines] == ["pass", "not checked"]
    assert lines[1]["why"] == "loading it takes 99 GB"
    check_parity(results, {"top1": 0.1, "kl": 9.0}, four_bit=False)


def test_free_memory_is_checked_before_loading(smollm2, monkeypatch):
    """The size of a model comes from its configuration, and it is loaded only on a device with enough memory."""
    where = {"base": str(smollm2)}
    assert weight_bytes(where, "float32")["cpu"] == 4 * 134_515_008
    for cuda, cpu, device in ((8e9, 8e9, "cuda"), (5e8, 8e9, "cpu")):
        monkeypatch.setattr(saved_models, "free_bytes", lambda free={"cuda": cuda, "cpu": cpu}: free)
        assert room_for(where, "bfloat16") == device
    monkeypatch.setattr(saved_models, "free_bytes", lambda: {"cuda": 0, "cpu": 1e8})
    with pytest.raises(NotEnoughMemory, match=r"takes 0\.3 GB, but only 0\.1 GB are free"):
        load_saved(where, "bfloat16")
    looked = look(replace(JOB, form="merged"), where, "bfloat16", None)
    assert looked == {
        "form": "merged",
        "file": "",
        "skipped": ["loading it takes 0.3 GB, but only 0.1 GB are free", ANY],
    }


def test_failed_format_does_not_affect_the_others(tmp_path, monkeypatch):
    """If the GGUF process fails, the merged model and its result stay, and no GGUF is made without a merged model."""

    def apart(job, folder):
        if job.form == "q8_0":
            (folder / "unfinished.gguf").touch()
            raise DoricError("It was killed.", hint="Try again.")
        return {"form": job.form, "top1": 1.0, "kl": 0.0, **GOOD}

    monkeypatch.setattr(export, "run_apart", apart)
    results = make_forms(JOB, tmp_path, ["adapter", "merged", "q8_0"])
    assert [one["form"] for one in results] == ["adapter", "merged", "q8_0"]
    assert results[-1] == {"form": "q8_0", "file": "", "failed": ["It was killed.", "Try again."]}
    assert verdicts(results, four_bit=False)[-1]["result"] == "not made"
    assert list(tmp_path.iterdir()) == []
    failed = {"form": "merged", "file": "", "failed": ["not enough memory", "x"]}
    monkeypatch.setattr(export, "run_apart", lambda job, folder: failed)
    assert make_forms(JOB, tmp_path, ["merged", "q8_0"])[-1]["failed"][0] == "there is no merged model"


def test_gguf_file_that_could_not_be_loaded_is_kept(tmp_path, monkeypatch, capsys):
    """A GGUF file that was written but could not be checked is kept with a warning."""

    def apart(job, folder):
        (folder / "doric-q8_0.gguf").touch()
        raise DoricError("GGUF model with architecture x is not supported yet.", hint="Try again.")

    monkeypatch.setattr(export, "run_apart", apart)
    results = make_forms(JOB, tmp_path, ["q8_0"])
    assert verdicts(results, four_bit=False)[0]["result"] == "not checked"
    assert usable_gguf(results, tmp_path) == tmp_path / "doric-q8_0.gguf"
    assert "before you rely on it" in capsys.readouterr().out


def test_gguf_vocabulary_must_tokenize_doric_as_the_tokenizer_does(tokenizer):
    """A GGUF file whose merges have another order tokenizes Doric differently and is rejected."""
    spec = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    words = sorted(spec["vocab"], key=spec["vocab"].get)
    merges = [one if isinstance(one, str) else " ".join(one) for one in spec["merges"]]
    assert same_cuts(tokenizer, words, merges)
    assert not same_cuts(tokenizer, words, merges[::-1])


def test_large_files_are_not_written_to_google_drive(tmp_path, capsys):
    """With KEEP_ON_DRIVE merged model and GGUF file stay on the machine, otherwise they are in the run's folder."""
    drive, project = tmp_path / "drive" / "doric", tmp_path / "project"
    assert export_folder(project, drive, "doric", drive=False) == drive / "export"
    local = export_folder(project, drive, "doric", drive=True)
    assert local == project / "finetune_notebook/runs/doric/export"
    assert "on this machine only" in capsys.readouterr().out


def test_failed_gguf_keeps_the_merged_model(tmp_path, capsys):
    """If the GGUF file is missing or gives other answers, the merged model stays and the next step is printed."""
    (tmp_path / "doric-q8_0.gguf").touch()
    fine = {"form": "q8_0", "top1": 0.99, "kl": 0.001, **GOOD, "file": "doric-q8_0.gguf"}
    assert usable_gguf([fine], tmp_path) == tmp_path / "doric-q8_0.gguf"
    failed = {"form": "q8_0", "failed": ["No converter.", "Set LLAMA_CPP."]}
    assert usable_gguf([failed], tmp_path) is None
    assert "Next step: Set LLAMA_CPP." in capsys.readouterr().out
    assert usable_gguf([{**fine, "top1": 0.2}], tmp_path) is None
    assert (tmp_path / "do-not-use-doric-q8_0.gguf").exists()


def test_several_gguf_types_are_written_in_one_call(tmp_path, monkeypatch, capsys):
    """Each type in GGUF_TYPE is a format of its own: one that fails does not affect the others."""

    def apart(job, folder):
        (folder / f"doric-{job.form}.gguf").touch()
        wrong = {"template": False, "wrong": "no token scores"} if job.form == "q8_0" else {}
        return {"form": job.form, "top1": 1.0, "kl": 0.0, **GOOD, "file": f"doric-{job.form}.gguf", **wrong}

    monkeypatch.setattr(export, "run_apart", apart)
    settings = with_values(Settings(), {"GGUF_TYPE": "f16, q8_0,bf16"})
    forms = export.wanted_forms(settings)
    assert forms == ["adapter", "merged", "f16", "q8_0", "bf16"]
    results = make_forms(JOB, tmp_path, forms[2:])
    assert usable_ggufs(results, tmp_path) == [tmp_path / "doric-f16.gguf", tmp_path / "doric-bf16.gguf"]
    assert "(no token scores)" in capsys.readouterr().out
    with pytest.raises(DoricError, match="GGUF_TYPE cannot be 'q3'"):
        with_values(Settings(), {"GGUF_TYPE": "q8_0, q3"})


def test_prompts_that_llama_cpp_did_not_compare_are_named(tmp_path, capsys):
    """Without a llama.cpp, a file is usable, and it is said that its cuts were not compared and how to compare them."""
    (tmp_path / "doric-q8_0.gguf").touch()
    cuts = "not compared: no llama.cpp here"
    fine = {"form": "q8_0", "top1": 1.0, "kl": 0.0, **GOOD, "file": "doric-q8_0.gguf", "cuts": cuts}
    assert usable_ggufs([fine], tmp_path) == [tmp_path / "doric-q8_0.gguf"]
    said = capsys.readouterr().out
    assert cuts in said
    assert "node-llama-cpp" in said
    assert verdicts([fine], four_bit=False)[0]["prompts"] == cuts


def test_missing_converter_gives_a_clear_error(tmp_path, monkeypatch):
    """If LLAMA_CPP names a folder without the converter, the run ends with an error."""
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    with pytest.raises(ConverterError, match="no convert_hf_to_gguf"):
        gguf_converter(tmp_path, CONVERTER)


def test_only_the_converters_own_package_is_downloaded_as_source(tmp_path, monkeypatch):
    """Only the converter's package is downloaded as source, not its build tools, and a failure gives a hint."""
    calls = []
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    run = lambda command, **more: (calls.append(command), SimpleNamespace(returncode=1))[1]  # noqa: E731
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ConverterError, match="could not be downloaded"):
        gguf_converter(tmp_path, CONVERTER)
    assert calls[0][calls[0].index("--no-binary") + 1] == "llama-cpp-python"
