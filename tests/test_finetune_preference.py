"""The preference stage: which pairs are trained, the three methods on a tiny model, and a stage that resumes."""

import json
import math
from dataclasses import replace

import pytest

pytest.importorskip("transformers", reason="fine-tuning needs `uv sync --group finetune`")

from doric.core import files
from doric.core.errors import InputError, SettingsError
from doric.finetune import preference
from doric.finetune.config import Settings
from doric.finetune.data import Example
from doric.finetune.hardware import Machine
from doric.finetune.settle import settle
from doric.finetune.split import Split
from doric.preferences.pairs import Pair
from tiny_training import tiny_plan, tiny_run, tiny_tokenizer

pytestmark = pytest.mark.usefixtures("finetune_group")

TEMPLATE = (
    "{% for turn in messages %}{{ turn['content'] }} {% if turn['role'] == 'assistant' %}<end> {% endif %}{% endfor %}"
)


def pair(number, topic="sarks", prompt=""):
    """A pair of which the chosen answer is of low numbers and the rejected one of high numbers."""
    asked = [{"role": "user", "content": prompt or f"{2 + number} {3 + number}"}]
    return Pair(
        prompt=tuple(asked), chosen=f"5 6 7 {2 + number}", rejected=f"51 52 53 {2 + number}", why="thin", reason="thin",
        margin=0.2, margin_of="scots", meta={"topic": topic},
    )  # fmt: skip


def example(topic, prompt):
    """A row of the test set."""
    turns = ({"role": "user", "content": prompt}, {"role": "assistant", "content": "5"})
    return Example(id=prompt, topic=topic, bucket="core", group="g", lang="en", messages=turns)


@pytest.fixture
def pairs_file(tmp_path):
    """A file with thirty pairs in TRL's format, in a project folder."""
    lines = [files.encode_json(pair(number).row()) for number in range(30)]
    (tmp_path / "pairs.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return tmp_path / "pairs.jsonl"


def chosen(**values):
    """Settings with a preference stage."""
    return replace(Settings(), preference="dpo", preference_path="pairs.jsonl", preference_rate=5e-3, **values)


def test_trained_and_held_pairs_share_no_prompt(pairs_file):
    """A tenth of the prompts is held back, with all their pairs."""
    found = preference.read_split(chosen(), pairs_file.parent, Split([], []), 7)
    assert (len(found.train), len(found.held), found.unused) == (27, 3, 0)
    assert not {one.prompt[0]["content"] for one in found.train} & {one.prompt[0]["content"] for one in found.held}


def test_pairs_of_the_test_set_are_left_out(pairs_file):
    """A pair with a topic or a prompt of the test rows is not used."""
    with pairs_file.open("ab") as out:
        out.write(files.encode_json(pair(0, topic="haar", prompt="50 51").row()) + b"\n")
    sets = Split([], [example("haar", "x"), example("other", "2 3")])
    assert preference.read_split(chosen(), pairs_file.parent, sets, 7).unused == 2


def test_missing_or_small_file_is_one_error_that_says_what_to_do(pairs_file):
    """Without the file, or with too few pairs, the error names the command that makes them."""
    with pytest.raises(SettingsError, match=r"There is no file .*none.jsonl") as found:
        preference.read_split(replace(chosen(), preference_path="none.jsonl"), pairs_file.parent, Split([], []), 7)
    assert "make_preference_pairs.py" in found.value.hint
    pairs_file.write_bytes(files.encode_json(pair(0).row()) + b"\n")
    with pytest.raises(SettingsError, match="has 1 pairs"):
        preference.read_split(chosen(), pairs_file.parent, Split([], []), 7)


def test_without_a_stage_no_file_of_pairs_is_needed(tmp_path):
    """The file is looked for before the training, and only if a stage is wanted."""
    assert preference.wanted_pairs(Settings(), tmp_path, Split([], []), 7) is None
    with pytest.raises(SettingsError, match="There is no file"):
        preference.wanted_pairs(chosen(), tmp_path, Split([], []), 7)


def test_line_that_is_no_pair_is_an_error_with_its_line(pairs_file):
    """A damaged pair names the file and the line."""
    with pairs_file.open("ab") as out:
        out.write(b'{"prompt": "2", "chosen": "3"}\n')
    with pytest.raises(InputError, match=r"pairs.jsonl:31: "):
        preference.read_split(chosen(), pairs_file.parent, Split([], []), 7)


@pytest.mark.parametrize(("kind", "method"), [("dpo", "full"), ("dpo", "lora"), ("orpo", "full"), ("kto", "lora")])
def test_stage_prefers_the_better_answers_more_than_before(pairs_file, tmp_path, kind, method):
    """With each method, the margin of pairs that were not trained rises, and the adapter keeps its one name."""
    model, result = run_stage(pairs_file, tmp_path / "run", kind, method)
    assert result.margin[1] > result.margin[0]
    assert result.steps == 12
    assert all(math.isfinite(loss) for loss in result.held_out_loss)
    assert list(getattr(model, "peft_config", {"default": 0})) == ["default"]
    json.dumps(result.as_json(), allow_nan=kind == "kto")


def test_finished_stage_is_only_loaded_when_it_is_started_again(pairs_file, tmp_path, capsys):
    """A second start of the same stage trains nothing and has the same weights."""
    first, _ = run_stage(pairs_file, tmp_path / "run", "dpo", "full")
    again, _ = run_stage(pairs_file, tmp_path / "run", "dpo", "full")
    assert "nothing is trained" in capsys.readouterr().out
    assert all(one.equal(two) for one, two in zip(first.parameters(), again.parameters(), strict=True))


def run_stage(pairs_file, folder, kind, method):
    """The model and the result of a stage of 12 steps after a short training."""
    plan = tiny_plan(method=method, steps=4)
    trainer = tiny_run(folder, plan)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    settings = replace(chosen(preference_steps=12), preference=kind)
    pairs = preference.read_split(settings, pairs_file.parent, Split([], []), 7)
    return preference.prefer(trainer, trainer.model, tokenizer, plan, settings, pairs, folder / "preference")


def test_stage_is_refused_with_unsloth_before_any_work():
    """The stage was never run with Unsloth, so the plan refuses it there; without the stage nothing is refused."""
    machine = Machine("cuda", "GPU", 16.0, 2, "float16", "T4")
    assert settle(Settings(), machine, "unsloth").backend == "unsloth"
    assert settle(chosen(), machine, "trl").backend == "trl"
    with pytest.raises(SettingsError, match="Unsloth"):
        settle(chosen(), machine, "unsloth")
