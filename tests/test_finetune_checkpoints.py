"""Which checkpoint a run resumes from."""

from dataclasses import replace

import pytest

from doric.core.errors import DoricError
from doric.finetune.checkpoints import as_before, fingerprint, start_from
from doric.finetune.config import Settings

pytestmark = pytest.mark.usefixtures("finetune_group")


def written(checkpoint):
    """Write a small checkpoint that has all files of a complete checkpoint."""
    import torch
    from safetensors.torch import save_file

    checkpoint.mkdir(parents=True)
    save_file({"a": torch.zeros(64)}, checkpoint / "adapter_model.safetensors")
    for name in ("optimizer", "scheduler"):
        torch.save({}, checkpoint / f"{name}.pt")
    (checkpoint / "trainer_state.json").write_text("{}")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.pt", "trainer_state.json"])
@pytest.mark.parametrize("left", [0, 40, None], ids=["empty", "half", "missing"])
def test_incomplete_checkpoint_is_skipped(tmp_path, capsys, name, left):
    """An incomplete checkpoint is skipped with a note, and the previous checkpoint is used."""
    checkpoints, mark = tmp_path / "checkpoints", {"rate": 0.1}
    assert start_from(checkpoints, mark, resume=True) is None
    for step in (5, 10):
        written(checkpoints / f"checkpoint-{step}")
    broken = checkpoints / "checkpoint-10" / name
    if left is None:
        broken.unlink()
    else:
        whole = b'{"log_history": [' + bytes(100) if name == "trainer_state.json" else broken.read_bytes()
        broken.write_bytes(whole[:left])
    assert start_from(checkpoints, mark, resume=True) == str(checkpoints / "checkpoint-5")
    assert "checkpoint-10 is incomplete and is skipped" in capsys.readouterr().out


def test_resumed_run_keeps_its_batch_and_number_format(plan, tmp_path):
    """If less memory is free than at the first start, the resumed run keeps the original batch and number format."""
    settings = Settings()
    began = replace(plan, batch=4, accumulation=1, dtype="bfloat16")
    start_from(tmp_path / "checkpoints", fingerprint(began, {}), resume=True)
    written(tmp_path / "checkpoints" / "checkpoint-5")
    now = replace(plan, batch=1, accumulation=4, dtype="float32")
    later = as_before(now, settings, tmp_path)
    assert start_from(tmp_path / "checkpoints", fingerprint(later, {}), resume=True)
    asked = as_before(replace(now, batch=2), replace(settings, batch=2), tmp_path)
    assert asked.batch == 2
    assert as_before(now, replace(settings, resume=False), tmp_path) == now


def test_checkpoints_of_another_run_are_not_used(tmp_path):
    """A run resumes from checkpoints only with the same settings, and without RESUME it starts again."""
    checkpoints, mark = tmp_path / "checkpoints", {"rate": 0.1}
    assert start_from(checkpoints, mark, resume=True) is None
    written(checkpoints / "checkpoint-5")
    assert start_from(checkpoints, mark, resume=True) == str(checkpoints / "checkpoint-5")
    with pytest.raises(DoricError, match="other settings: rate") as caught:
        start_from(checkpoints, {"rate": 0.2}, resume=True)
    assert "RUN_NAME" in caught.value.hint
    assert start_from(checkpoints, {"rate": 0.2}, resume=False) is None
    assert not checkpoints.exists()


def test_a_folder_that_is_no_checkpoint_is_skipped(tmp_path, capsys):
    """A folder whose name has no step is skipped with a note."""
    assert start_from(tmp_path / "checkpoints", {}, resume=True) is None
    for name in ("checkpoint-5", "checkpoint-best"):
        written(tmp_path / "checkpoints" / name)
    assert start_from(tmp_path / "checkpoints", {}, resume=True) == str(tmp_path / "checkpoints" / "checkpoint-5")
