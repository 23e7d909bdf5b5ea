"""Training: early stopping, the best checkpoint, a killed run that resumes, and the checks that stop a run."""

import random
from collections import Counter

import pytest

pytest.importorskip("transformers", reason="fine-tuning needs `uv sync --group finetune`")

from doric.core.errors import CheckError, InputError, SettingsError
from doric.finetune.checkpoints import best_of, checks_without_gain
from doric.finetune.data import as_example
from doric.finetune.masking import encode_all, trained_texts
from doric.finetune.monitor import Samples, Watch, check_gradients, check_loss
from doric.finetune.split import keep
from doric.finetune.train import finish, held_out_losses, kept_loss, kept_step
from doric.finetune.weighting import parse_weights, weighted
from tiny_training import random_rows, run_until_killed, tiny_model, tiny_plan, tiny_run, tiny_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_overfit_run_stops_early_and_keeps_the_earlier_checkpoint(tmp_path, method):
    """A run whose held-out loss rises stops before its last step, with the weights of the lowest held-out loss."""
    plan = tiny_plan(method=method, patience=2, steps=200, rate=3e-2)
    trainer = tiny_run(tmp_path, plan, every=2)
    assert trainer.state.global_step < 200
    assert kept_step(trainer) == trainer.state.global_step - 2 * 2
    assert kept_loss(trainer) == min(held_out_losses(trainer)[1:])
    assert trainer.evaluate()["eval_loss"] == pytest.approx(kept_loss(trainer), abs=1e-4)


def test_run_that_stopped_early_is_only_loaded_when_it_is_started_again(tmp_path, capsys):
    """A second start of such a run trains nothing and has the same weights."""
    plan = tiny_plan(method="full", patience=1, steps=200, rate=3e-2)
    first = tiny_run(tmp_path, plan, every=2)
    again = tiny_run(tmp_path, plan, every=2)
    assert "stopped early" in capsys.readouterr().out
    assert again.state.global_step == first.state.global_step
    for one, two in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert one.equal(two)


def test_patience_0_never_stops(tmp_path):
    """With patience 0 all steps are trained, and still the best checkpoint is kept."""
    trainer = tiny_run(tmp_path, tiny_plan(method="full", patience=0, rate=3e-2), every=2)
    assert trainer.state.global_step == 12
    assert kept_loss(trainer) == min(held_out_losses(trainer)[1:])


def test_full_run_killed_at_a_random_step_resumes_with_the_same_curve(tmp_path):
    """A run that trains all weights, is killed and started again has the losses of a run without a break."""
    step = random.randrange(5, 12)
    plan = tiny_plan(method="full")
    run_until_killed(tmp_path / "killed", plan, every=4, step=step)
    resumed, whole = (tiny_run(tmp_path / name, plan) for name in ("killed", "whole"))
    curves = [
        {
            (one["step"], name): one[name]
            for one in each.state.log_history
            for name in ("loss", "eval_loss")
            if name in one
        }
        for each in (resumed, whole)
    ]
    assert len(curves[1]) == 12 + 4
    assert curves[0] == curves[1], f"killed after step {step}"


def test_evaluations_without_gain_are_counted_from_the_lowest_loss():
    """Evaluations after the lowest held-out loss count; the one before training does not."""
    history = [{"step": 0, "eval_loss": 1.0}, {"step": 5, "eval_loss": 3.0}, {"step": 6, "loss": 2.0}]
    assert checks_without_gain(history) == 0
    assert checks_without_gain([*history, {"step": 9, "eval_loss": 3.5}, {"step": 12, "eval_loss": 3.1}]) == 2
    assert checks_without_gain([]) == 0
    again = {"step": 5, "eval_loss": 3.0}
    assert checks_without_gain([*history, again]) == 0, "a resumed run evaluates its checkpoint again"


@pytest.mark.parametrize(
    ("logs", "step", "said"),
    [
        ({"eval_loss": float("nan")}, 0, "before any training"),
        ({"loss": float("nan")}, 1, "before any training"),
        ({"loss": float("inf")}, 7, "training has diverged"),
        ({"eval_loss": float("nan")}, 1, "training has diverged"),
    ],
)
def test_loss_that_is_no_number_before_training_is_not_blamed_on_the_learning_rate(logs, step, said):
    """A broken model and a learning rate that is too high are told apart."""
    with pytest.raises(CheckError, match=said) as caught:
        check_loss(logs, step)
    assert ("LEARNING_RATE" in caught.value.hint) == ("diverged" in said)


def test_gradient_that_is_not_finite_stops_the_run():
    """A gradient norm of NaN stops the run at once; in float16 only after many skipped steps."""
    nan = float("nan")
    with pytest.raises(CheckError, match="gradient norm was nan"):
        check_gradients([1.0, nan], float16=False)
    check_gradients([1.0, *[nan] * 10], float16=True)
    with pytest.raises(CheckError, match="last 20 steps"):
        check_gradients([1.0, *[nan] * 20], float16=True)


def test_gradient_that_stays_far_above_the_usual_one_stops_the_run():
    """Five norms in succession of fifty times the median stop the run; one such norm is clipped and does not."""
    usual = [1.0 + at / 100 for at in range(30)]
    check_gradients([*usual, 500.0, 1.0, 1.0], float16=False)
    with pytest.raises(CheckError, match="training is diverging"):
        check_gradients([*usual, *[500.0] * 5], float16=False)


def test_model_that_gives_nan_stops_before_the_first_step(tmp_path):
    """A model with a broken weight is found by the evaluation before training, and no checkpoint is written."""
    from doric.finetune import train as training

    model = tiny_model()
    model.lm_head.weight.data[0, 0] = float("nan")
    plan = tiny_plan(method="full")
    rows = random_rows(8, seed=1)
    watch = Watch(lambda history, seconds: None)
    trainer = training.make_trainer(model, tiny_tokenizer(), plan, rows, rows, tmp_path, 4, watch)
    with pytest.raises(CheckError, match="before any training"):
        training.train(trainer, None, plan.steps)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_sample_answers_are_shown_at_each_evaluation(tmp_path):
    """The questions are asked at each evaluation after training has begun, and shown with the answers and the step."""

    class Answerer:
        def ask(self, prompts):
            return [type("Reply", (), {"text": prompt.upper()}) for prompt in prompts]

    shown = []
    question = type("Prompt", (), {"prompt": "fit like?"})
    samples = Samples(Answerer(), [question], lambda step, said: shown.append((step, said)))
    tiny_run(tmp_path, tiny_plan(method="full"), samples)
    assert shown == [(step, [("fit like?", "FIT LIKE?")]) for step in (4, 8, 12)]


def test_damaged_best_checkpoint_is_replaced_by_the_last_one(tmp_path):
    """If the best checkpoint is incomplete, the checkpoint itself is used."""
    trainer = tiny_run(tmp_path, tiny_plan(method="full"))
    last = tmp_path / "checkpoints" / "checkpoint-12"
    best = best_of(last)
    assert best.name == f"checkpoint-{kept_step(trainer)}"
    (best / "model.safetensors").write_bytes(b"")
    assert best_of(last) == last


def test_fully_trained_model_answers_like_its_saved_file(tmp_path):
    """The rounded weights are saved and loaded without any difference, also in the positions of the tokens."""
    import torch
    from transformers import AutoModelForCausalLM

    plan = tiny_plan(method="full", dtype="bfloat16", steps=4)
    watch = Watch(lambda history, seconds: None)
    model = finish(tiny_run(tmp_path, plan, watch), watch, plan).eval()
    model.save_pretrained(tmp_path / "saved")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=torch.bfloat16).eval()
    ids = torch.tensor([list(range(2, 50))])
    with torch.no_grad():
        assert model(ids).logits.equal(loaded(ids).logits)


def test_small_buckets_are_repeated_until_their_share_holds():
    """No row of the other buckets is lost, and each row of a small bucket is used as often as the others of it."""
    rows = [("core", f"c{at}") for at in range(60)] + [("safety", f"s{at}") for at in range(5)]
    found = Counter(weighted(rows, parse_weights("core=75, safety=25"), seed=1))
    assert {name: found[name] for name in ("s0", "s4", "c0", "c59")} == {"s0": 4, "s4": 4, "c0": 1, "c59": 1}
    assert found.total() == 80
    assert weighted(rows, {}, seed=1) == [row for _, row in rows]


@pytest.mark.parametrize("text", ["core", "core=x", "=3", "core=-1", "core=nan", "core=inf", "core=0"])
def test_wrong_bucket_weights_are_refused(text):
    """Weights that are no shares are refused with an example."""
    with pytest.raises(SettingsError) as caught:
        parse_weights(text)
    assert "such as core=" in caught.value.hint


def test_answers_of_weight_0_are_read_but_not_trained(tokenizer, ends):
    """In a ShareGPT row, the tokens of an answer with the weight 0 have no label; those of the others have."""
    said = ["Fit like?", "Nae bad.", "An yersel?", "Chavin awa."]
    turns = [{"from": role, "value": text} for role, text in zip(("human", "gpt") * 2, said, strict=True)]
    turns[1]["weight"] = 0
    example = as_example({"conversations": turns}, "row 1")
    (row,) = encode_all(tokenizer, [example], ends)
    assert trained_texts(tokenizer, row, ends) == ["Chavinawa."]
    turns[3]["weight"] = 0
    with pytest.raises(InputError, match="1 all answers have the weight 0"):
        keep([as_example({"conversations": turns}, "row 1")], ["core"], 0.05, seed=1)
