"""Training: the trainer keeps the checked rows, a diverged run stops, a killed run resumes."""

import json
import math
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from doric.core.errors import DoricError
from doric.finetune.masking import Encoded
from doric.finetune.packing import as_dataset
from doric.finetune.train import check_labels, training_settings

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


TRAIN = """
import json, os, signal, sys
from pathlib import Path
import torch
from transformers import LlamaConfig, LlamaForCausalLM, AutoTokenizer
from doric.finetune import checkpoints, loading, train
from doric.finetune.masking import Encoded
from doric.finetune.monitor import Watch
from doric.finetune.plan import Plan
folder, die_at, base = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(base)
shape = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
model = LlamaForCausalLM(LlamaConfig(**shape, vocab_size=49152, pad_token_id=0))
coded = [Encoded(list(range(n, n + 9)), [-100] * 3 + list(range(n + 3, n + 9))) for n in range(5, 65)]
plan = Plan(
    base="tiny", backend="trl", device="cpu", dtype="float32", four_bit=False, rank=8, alpha=8, dropout=0.0,
    targets=("q_proj", "v_proj"), rate=0.01, schedule="cosine", warmup=0.1, epochs=1.0, steps=10, batch=4,
    accumulation=1, length=64, packing=False, seed=7, held=8,
)
class Dies(Watch):
    def on_step_end(self, args, state, control, **more):
        super().on_step_end(args, state, control, **more)
        if state.global_step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
saved = []
watch = Dies(lambda history, seconds: None, saved=lambda checkpoint: saved.append(checkpoint.name))
resumed = checkpoints.start_from(folder / "checkpoints", checkpoints.fingerprint(plan, {"train": coded}), True)
adapted = loading.add_adapter(model, plan)
trainer = train.make_trainer(adapted, tokenizer, plan, coded, coded[:8], folder / "checkpoints", 2, watch)
train.check_labels(trainer, coded, False)
train.train(trainer, resumed, plan.steps)
train.finish(trainer, watch, plan)
log = [(one["step"], one["loss"]) for one in trainer.state.log_history if "loss" in one]
weights = sum(float(each.abs().sum()) for each in trainer.model.parameters() if each.requires_grad)
done = {"steps": trainer.state.global_step, "log": log, "taken": len(watch.seconds), "weights": weights, "saved": saved}
(folder / "log.json").write_text(json.dumps(done))
"""


def train_apart(folder, smollm2, die_at):
    """Train ten steps in a separate process, which kills itself at step `die_at`. Returns its exit status."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-c", TRAIN, str(folder), str(die_at), str(smollm2)]
    return subprocess.run(command, check=False).returncode


def test_killed_training_resumes_with_the_same_losses(smollm2, tmp_path):
    """A run that is killed at step 7 and started again has the same steps and losses as an uninterrupted run."""
    assert train_apart(tmp_path / "whole", smollm2, die_at=0) == 0
    assert train_apart(tmp_path / "killed", smollm2, die_at=7) == -signal.SIGKILL
    assert train_apart(tmp_path / "killed", smollm2, die_at=0) == 0
    whole, killed = (json.loads((tmp_path / name / "log.json").read_text()) for name in ("whole", "killed"))
    assert killed["steps"] == whole["steps"] == 10
    assert [step for step, _ in killed["log"]] == list(range(1, 11))
    assert [loss for _, loss in killed["log"]] == pytest.approx([loss for _, loss in whole["log"]], rel=1e-4)


def test_finished_run_started_again_trains_no_further_step(smollm2, tmp_path):
    """A finished run told of each checkpoint; started again, it is loaded, and no further step is trained."""
    assert train_apart(tmp_path / "run", smollm2, die_at=0) == 0
    first = json.loads((tmp_path / "run" / "log.json").read_text())
    assert train_apart(tmp_path / "run", smollm2, die_at=0) == 0
    again = json.loads((tmp_path / "run" / "log.json").read_text())
    assert (first["taken"], again["taken"]) == (10, 0)
    assert first["saved"] == [f"checkpoint-{step}" for step in (2, 4, 6, 8, 10)]
    assert again["weights"] == pytest.approx(first["weights"], rel=1e-6)
    assert (again["steps"], again["log"]) == (first["steps"], first["log"])
