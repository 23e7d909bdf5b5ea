"""A run with a tiny model and random rows, for tests. It can kill itself: `tiny_training.py FOLDER PLAN EVERY STEP`."""

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from doric.finetune.checkpoints import fingerprint, start_from
from doric.finetune.loading import prepare_model
from doric.finetune.masking import IGNORED, Encoded
from doric.finetune.plan import Plan
from doric.finetune.train import check_labels, make_trainer, train

WORDS = 60


def tiny_plan(**other: Any) -> Plan:
    """A plan for a run of a few seconds on a CPU."""
    plan = {
        "base": "tiny", "backend": "trl", "device": "cpu", "dtype": "float32", "four_bit": False, "rank": 4, "alpha": 4,
        "dropout": 0.0, "targets": ("q_proj", "down_proj"), "rate": 1e-2, "schedule": "constant", "warmup": 0.0,
        "epochs": 1.0, "steps": 12, "batch": 2, "accumulation": 1, "length": 32, "packing": False, "seed": 3, "held": 8,
    }  # fmt: skip
    return Plan(**{**plan, **other})


def tiny_tokenizer() -> Any:
    """A tokenizer whose words are numbers."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<end>": 1} | {str(number): number for number in range(2, WORDS)}
    inner = Tokenizer(WordLevel(words, unk_token="<pad>"))
    inner.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<end>")


def tiny_model(seed: int = 0) -> Any:
    """A Llama model with 2 layers and random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**shape, vocab_size=WORDS, pad_token_id=0, eos_token_id=1))


def random_rows(count: int, seed: int) -> list[Encoded]:
    """Rows of random words: what can be learnt from some of them is wrong for all others."""
    chance = random.Random(seed)
    words = [[chance.randrange(2, WORDS) for _ in range(chance.randrange(6, 14))] + [1] for _ in range(count)]
    return [Encoded(ids, [IGNORED] * 2 + ids[2:], "core") for ids in words]


def tiny_run(folder: Path, plan: Plan, *watchers: Any, every: int = 4) -> Any:
    """The trainer after a run, resumed from the checkpoints in the folder if there are any."""
    rows, held = random_rows(16, seed=1), random_rows(8, seed=2)
    resumed = start_from(folder / "checkpoints", fingerprint(plan, {"train": rows}), resume=True)
    model = prepare_model(tiny_model(), plan)
    trainer = make_trainer(model, tiny_tokenizer(), plan, rows, held, folder / "checkpoints", every, *watchers)
    check_labels(trainer, rows, plan.packing)
    train(trainer, resumed, plan.steps, plan.patience)
    return trainer


def killer(step: int) -> Any:
    """A callback that ends this process without any cleaning up after a step."""
    from transformers import TrainerCallback

    class Killer(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == step:
                os.kill(os.getpid(), signal.SIGKILL)

    return Killer()


def run_until_killed(folder: Path, plan: Plan, *, every: int, step: int) -> None:
    """Start the run in a process of its own, which kills itself after a step; it leaves its checkpoints."""
    command = [sys.executable, "-W", "ignore", __file__, str(folder), json.dumps(asdict(plan)), str(every), str(step)]
    done = subprocess.run(
        command, check=False, capture_output=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-500:]


if __name__ == "__main__":
    read = json.loads(sys.argv[2])
    tiny_run(
        Path(sys.argv[1]),
        Plan(**{**read, "targets": tuple(read["targets"])}),
        killer(int(sys.argv[4])),
        every=int(sys.argv[3]),
    )
