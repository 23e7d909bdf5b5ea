"""Training: the trainer keeps the checked rows, a diverged run stops, a killed run resumes."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from doric.core.errors import DoricError
from doric.finetune.masking import Encoded
from doric.finetune.packing import as_dataset
from doric.finetune.train import check_labels, finish, training_settings
from tiny_training import run_until_killed, tiny_plan, tiny_run

pytestmark = pytest.mark.usefixtures("finetune_group")


def test_nan_or_infinite_loss_stops_the_run():
    """If the training loss or the held-out loss is NaN or infinite, the run stops with a hint."""
    from doric.finetune.monitor import check_loss  # it imports transformers

    check_loss({"loss": 2.0}, 1)
    for logs in ({"loss": math.nan}, {"eval_loss": math.inf}):
        with pytest.raises(DoricError, match="at step 3") as caught:
            check_loss(logs, 3)
        assert "LEARNING_RATE" in caught.value.hint


def test_trainer_that_changes_the_rows_is_caught():
    """The trainer must use the rows and labels that were checked, and must pack them if PACKING is on."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    def trainer(held, **more):
        return SimpleNamespace(train_dataset=held, data_collator=DataCollatorForLanguageModeling(0, **more))

    row, other = Encoded([1, 2, 3], [-100, 2, 3]), Encoded([4, 5], [-100, 5])
    whole = as_dataset([row, other])
    check_labels(trainer(whole), [row, other], packing=False)
    unmasked = as_dataset([replace(row, labels=row.ids), other])
    with pytest.raises(DoricError, match="changed the rows"):
        check_labels(trainer(unmasked), [row, other], packing=False)
    with pytest.raises(DoricError, match="did not pack"):
        check_labels(trainer(whole), [row, other], packing=True)
    with pytest.raises(DoricError, match="joins the rows of a batch") as caught:
        check_labels(trainer(whole, padding_free=True), [row, other], packing=False)
    assert "padding_free=False" in caught.value.hint


def test_rows_of_a_batch_stay_separate(plan, tmp_path):
    """padding_free is explicitly False, because Unsloth would otherwise join the rows of a batch."""
    assert training_settings(plan, tmp_path, 1).padding_free is False


PLAN = tiny_plan(rank=8, alpha=8, targets=("q_proj", "v_proj"), schedule="cosine", warmup=0.1, steps=10)


def watched_run(folder):
    """The trainer after a run with `PLAN`, the watch, and the names of the checkpoints that it was told of."""
    from doric.finetune.monitor import Watch  # it imports transformers

    saved = []
    watch = Watch(lambda history, seconds: None, saved=lambda checkpoint: saved.append(checkpoint.name))
    trainer = tiny_run(folder, PLAN, watch, every=2)
    finish(trainer, watch, PLAN)
    return trainer, watch, saved


def losses(trainer):
    """The number of each step and its training loss."""
    return [(one["step"], one["loss"]) for one in trainer.state.log_history if "loss" in one]


def weights(trainer):
    """The sum of the absolute values of the trained weights."""
    return sum(float(each.abs().sum()) for each in trainer.model.parameters() if each.requires_grad)


@pytest.fixture(scope="module")
def whole(one_thread, tmp_path_factory):
    """The folder of an uninterrupted run, and what `watched_run` returned."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, *watched_run(folder)


def test_killed_training_resumes_with_the_same_losses(whole, tmp_path):
    """A run that is killed at step 7 and started again has the same steps and losses as an uninterrupted run."""
    run_until_killed(tmp_path, PLAN, every=2, step=7)
    _, uninterrupted, *_ = whole
    resumed, watch, _ = watched_run(tmp_path)
    assert len(watch.seconds) == 10 - 6, "the steps after the last checkpoint"
    assert resumed.state.global_step == uninterrupted.state.global_step == 10
    assert [step for step, _ in losses(resumed)] == list(range(1, 11))
    assert [loss for _, loss in losses(resumed)] == pytest.approx([loss for _, loss in losses(uninterrupted)], rel=1e-4)


def test_finished_run_started_again_trains_no_further_step(whole):
    """A finished run told of each checkpoint; started again, it is loaded, and no further step is trained."""
    folder, first, watch, saved = whole
    again, watched_again, _ = watched_run(folder)
    assert (len(watch.seconds), len(watched_again.seconds)) == (10, 0)
    assert saved == [f"checkpoint-{step}" for step in (2, 4, 6, 8, 10)]
    assert weights(again) == pytest.approx(weights(first), rel=1e-6)
    assert (again.state.global_step, losses(again)) == (first.state.global_step, losses(first))
