"""The progress of the training in figures and log lines."""

import logging

from doric.finetune.progress import Progress, ProgressDisplay, Rate

LOG = [{"step": 0, "eval_loss": 5.0}, {"step": 1, "loss": 4.5}, {"step": 2, "loss": 4.0}]


def test_progress_has_step_loss_speed_and_time_left():
    """A line has the step, the last losses, the tokens per second and the time that the remaining steps take."""
    shown = Rate(steps=10, tokens=500.0)(LOG, [2.0, 3.0])
    assert str(shown) == "step 2 of 10, loss 4.000, held-out loss 5.000, 200 tokens/s, 20 s left"


def test_progress_before_the_first_step_has_no_speed():
    """Before the first step, only what is known is said."""
    assert str(Rate(steps=10, tokens=500.0)(LOG[:1], [])) == "step 0 of 10, held-out loss 5.000"
    assert str(Rate(steps=10, tokens=500.0)([], [])) == "step 0 of 10"


def test_only_recent_steps_decide_about_the_speed():
    """A slow start does not make the time left longer."""
    assert Rate(steps=30, tokens=100.0)([{"step": 25, "loss": 1.0}], [100.0] * 5 + [1.0] * 20).seconds_left == 5.0


def test_each_evaluation_and_the_last_step_are_logged(caplog):
    """Without a terminal, there is a line for each evaluation and for the last step, not for every step."""
    show = ProgressDisplay()
    with caplog.at_level(logging.INFO, "doric"):
        for step in range(1, 7):
            show(Progress(step, 6, 4.0, 5.0 if step < 4 else 4.5, 100.0, 60.0))
    assert [record.getMessage()[:11] for record in caplog.records] == ["step 1 of 6", "step 4 of 6", "step 6 of 6"]
