"""The committed notebook and its checks. Each check stops a run that would damage the model."""

import ast
import copy
import json
import math
import os
import re
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY

import pytest

from doric.quality.decontamination import held_out_prompts

NOTEBOOK = Path(__file__).parents[1] / "finetune_notebook" / "doric_finetune.ipynb"
CELLS = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
TEXT = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown"]
CHAT = [{"role": "user", "content": "Fit’s on at 7.30?"}, {"role": "assistant", "content": "Naething, I dinna think."}]


# ---- the committed notebook


def test_notebook_carries_no_outputs():
    """The committed notebook has no outputs and no execution counts."""
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in CELLS)


def test_notebook_has_its_thirteen_sections():
    """The notebook has a title and thirteen numbered sections in the right order."""
    heads = [line for text in TEXT for line in text.splitlines() if line.startswith("#")]
    assert heads[0].startswith("# ")
    assert [int(head.split()[1]) for head in heads[1:]] == list(range(1, 14))


def test_every_code_cell_begins_with_a_sentence():
    """The first line of each code cell is a sentence that describes the cell."""
    firsts = [source.partition("\n")[0] for source in CODE]
    assert [first for first in firsts if not re.fullmatch(r"# (@title )?[A-Z].+\.( \{ run: \"auto\" \})?", first)] == []


def test_every_form_field_can_be_read_by_colab():
    """Each `@param` follows a literal that is assigned to an upper-case name, and is a list or a JavaScript object."""
    fields = [line for source in CODE for line in source.splitlines() if "@param" in line]
    assert len(fields) > 30
    for field in fields:
        name, value, kind = re.fullmatch(r"([A-Z_0-9]+) = (.+?)  # @param (\[.+\]|\{.+\})", field).groups()
        assert isinstance(ast.literal_eval(value), str | int | float | bool), name
        if kind.startswith("["):
            assert ast.literal_eval(value) in json.loads(kind), name


def test_imports_from_doric_need_only_the_standard_library():
    """The notebook's imports from doric need no other packages, because Colab installs doric with --no-deps."""
    nodes = [node for source in CODE for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    imports = [ast.unparse(node) for node in nodes if (node.module or "").split(".")[0] == "doric"]
    assert imports
    environment = {**os.environ, "PYTHONPATH": str(NOTEBOOK.parents[1] / "src")}
    command = [sys.executable, "-S", "-c", "\n".join(imports)]  # -S: without site-packages
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_is_uploaded_unless_it_is_ticked():
    """In the committed notebook, both upload boxes are off and the Hub repository is private."""
    source = "\n".join(CODE)
    for line in ("UPLOAD_MODEL = False  #", "UPLOAD_DATASET = False  #", "HUB_PRIVATE = True  #"):
        assert line in source


# ---- settings and the machine


@pytest.fixture(scope="session")
def plan(notebook):
    """A plan for a CPU with the settings of the committed notebook."""
    forms = "\n".join(line for source in CODE for line in source.splitlines() if "# @param" in line)
    names = {}
    exec(forms, names)
    machine = notebook.Machine("cpu", "CPU", 16.0, 2, "bfloat16", "CPU")
    return notebook.settle({**names, "BASE_MODEL": "some/model"}, machine, "trl")


def test_override_refuses_unknown_settings_and_suggests_a_similar_one(notebook, monkeypatch):
    """An unknown setting stops the run, and the hint names the most similar setting."""
    monkeypatch.setenv("DORIC_NB_OVERRIDES", '{"MAX_STEP": 3}')
    with pytest.raises(notebook.UserError, match="no setting MAX_STEP") as caught:
        notebook.override({"MAX_STEPS": 0}, last=True)
    assert "MAX_STEPS" in caught.value.hint


def test_override_keeps_the_type_of_a_setting(notebook, monkeypatch):
    """A float setting accepts an integer but not a string."""
    names = {"WARMUP": 0.05}
    monkeypatch.setenv("DORIC_NB_OVERRIDES", '{"WARMUP": 0}')
    notebook.override(names)
    assert names == {"WARMUP": 0.0}
    monkeypatch.setenv("DORIC_NB_OVERRIDES", '{"WARMUP": "none"}')
    with pytest.raises(notebook.UserError, match="WARMUP is 'none'"):
        notebook.override(names)


def test_menus_apply_to_headless_runs_too(notebook, plan):
    """A run without a browser accepts only the values in a form's menu, and the error for another value lists them."""
    offered = {}
    for field in (line for source in CODE for line in source.splitlines() if "@param [" in line):
        offered[field.partition(" = ")[0]] = tuple(json.loads(field.partition("@param ")[2]))
    offered.pop("BACKEND")
    assert offered == notebook.MENUS
    chosen = {name: choices[0] for name, choices in offered.items()}
    notebook.check_menus(chosen)
    with pytest.raises(notebook.UserError, match="SCHEDULE cannot be 'steep'") as caught:
        notebook.check_menus({**chosen, "SCHEDULE": "steep"})
    assert "cosine, linear, constant" in caught.value.hint


def test_unsloth_is_chosen_only_with_a_gpu(notebook):
    """Without a GPU, TRL is used, and BACKEND = unsloth stops the run."""
    assert notebook.choose_backend("auto", gpu=False) == "trl"
    assert notebook.choose_backend("trl", gpu=True) == "trl"
    with pytest.raises(notebook.UserError, match="CUDA"):
        notebook.choose_backend("unsloth", gpu=False)


def test_unsloth_is_called_with_arguments_that_exist(notebook, plan, monkeypatch):
    """The source of the installed Unsloth has every argument that the notebook uses, which works without a GPU."""
    from importlib.metadata import distribution

    calls = {}

    class Recorder:
        from_pretrained = staticmethod(lambda *args, **more: (calls.update(from_pretrained=more), (None, None))[1])
        get_peft_model = staticmethod(lambda *args, **more: calls.update(get_peft_model=more))
        for_inference = staticmethod(lambda *args, **more: calls.update(for_inference=more))
        for_training = staticmethod(lambda *args, **more: calls.update(for_training=more))

    monkeypatch.setitem(sys.modules, "unsloth", SimpleNamespace(FastLanguageModel=Recorder))
    gpu = replace(plan, backend="unsloth", device="cuda", four_bit=True)
    notebook.load_base(gpu)
    notebook.add_adapter(None, gpu)
    with notebook.speaking(SimpleNamespace(training=True, eval=lambda: None, train=lambda on: None), "unsloth"):
        pass
    assert set(calls) == {"from_pretrained", "get_peft_model", "for_inference", "for_training"}
    for name, file in (("from_pretrained", "loader"), ("get_peft_model", "llama")):
        source = next(one for one in distribution("unsloth").files if str(one) == f"unsloth/models/{file}.py")
        tree = ast.walk(ast.parse(source.locate().read_text("utf-8")))
        known = [
            {arg.arg for arg in one.args.args} for one in tree if isinstance(one, ast.FunctionDef) and one.name == name
        ]
        assert any(set(calls[name]) <= arguments for arguments in known), name


def test_model_is_sized_without_being_loaded(notebook, smollm2):
    """The size of the model is computed only from its configuration, and tied weights are counted once."""
    shape = notebook.model_shape(str(smollm2))
    assert (shape.parameters, shape.layers, shape.vocabulary) == (134_515_008, 30, 49_152)
    assert shape.linear["q_proj"] == 30 * (576 + 576)


def test_model_that_cannot_be_read_gives_a_clear_error(notebook, monkeypatch):
    """If a model cannot be read, the error has a hint that works without a connection."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(notebook.UserError, match="nowhere/at-all could not be read") as caught:
        notebook.model_shape("nowhere/at-all")
    assert "smollm2_checkpoint.py" in caught.value.hint


def test_quantised_base_is_refused_or_mapped(notebook, tmp_path, capsys):
    """A 4-bit name on the Hub is replaced with its 16-bit original, and a folder with quantised weights is refused."""
    assert notebook.base_model("auto", "unsloth/Qwen3-4B-unsloth-bnb-4bit", "T4") == "unsloth/Qwen3-4B"
    assert "FOUR_BIT decides" in capsys.readouterr().out
    settings = {"model_type": "llama", "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(notebook.UserError, match="already quantised") as caught:
        notebook.model_shape(str(tmp_path))
    assert "16-bit original" in caught.value.hint


def test_fused_experts_are_neither_trained_nor_quantised(notebook, plan, tmp_path, capsys):
    """Only the attention of a Mixtral is trained, with a note, and the estimate counts the experts in 16 bits."""
    from transformers import MixtralConfig

    MixtralConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    ).save_pretrained(tmp_path)
    shape = notebook.model_shape(str(tmp_path))
    assert shape.quantisable == 2 * (64 * 64 * 2 + 64 * 32 * 2)
    settled = notebook.with_targets(plan, shape)
    assert settled.targets == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert "fused experts" in capsys.readouterr().out
    with pytest.raises(notebook.UserError, match="none of the layers c_attn"):
        notebook.with_targets(replace(plan, targets=("c_attn",)), shape)


def test_badge_and_setup_cell_have_the_same_address(notebook):
    """The Colab badge links to the same repository that the setup cell clones."""
    address = notebook.REPOSITORY.removeprefix("https://github.com/")
    assert f"colab.research.google.com/github/{address}/blob/main/finetune_notebook/doric_finetune.ipynb" in TEXT[0]


def test_project_added_on_kaggle_is_copied_to_a_writable_folder(notebook, tmp_path):
    """The project is copied out of Kaggle's folder for added files, because that folder is read-only."""
    module = tmp_path / "input/my-upload/doric/src/doric/core/conversations.py"
    module.parent.mkdir(parents=True)
    module.touch()
    (tmp_path / "working").mkdir()
    found = notebook.fetch_project(tmp_path / "working", tmp_path / "input")
    assert found == tmp_path / "working/doric"
    assert (found / "src/doric/core/conversations.py").is_file()


def test_hosted_machine_gets_packages_into_its_own_python(notebook, tmp_path, monkeypatch):
    """The setup installs into the Python of the notebook, with the constraints and without the packages for serving."""
    calls = []
    monkeypatch.setattr(notebook.shutil, "which", lambda name: name)
    run = lambda command, **more: (calls.append(command), SimpleNamespace(returncode=0))[1]  # noqa: E731
    monkeypatch.setattr(notebook.subprocess, "run", run)
    monkeypatch.chdir(tmp_path)
    notebook.install(NOTEBOOK.parents[1])
    assert all(call[:5] == ["uv", "pip", "install", "--python", sys.executable] for call in calls)
    assert "constraints.txt" in calls[0]
    assert not [each for each in calls[0] if "serving" in each]


def test_batch_shrinks_with_the_budget(notebook, plan, smollm2):
    """With less memory the suggested batch is smaller, and gradient accumulation compensates for this."""
    shape = notebook.model_shape(str(smollm2))
    batches = [notebook.propose_batch(shape, plan, 16, budget) for budget in (64.0, 6.0, 3.0, 0.5)]
    assert batches == sorted(batches, reverse=True)
    assert batches[0] == 16
    assert batches[-1] == 1
    small = notebook.with_batch(plan, {"BATCH": 0, "ACCUMULATION": 0}, shape, 16, 3.0)
    assert small.batch * small.accumulation >= 16


def test_installed_versions_are_pinned_without_local_labels(notebook, tmp_path):
    """Packages that must not change on a hosted machine are pinned without local version labels, as uv requires."""
    notebook.hold_versions(tmp_path / "constraints.txt")
    pins = (tmp_path / "constraints.txt").read_text().splitlines()
    assert any(pin.startswith("torch==") for pin in pins)
    assert all(re.fullmatch(r"[a-z]+==[\d.]+\w*", pin) for pin in pins)


def test_an_uploaded_zip_of_the_project_is_enough(notebook, tmp_path):
    """An uploaded zip file of the project is unpacked and used instead of a clone of the repository."""
    with zipfile.ZipFile(tmp_path / "project.zip", "w") as archive:
        archive.writestr("project/src/doric/core/conversations.py", "")
    assert notebook.fetch_project(tmp_path) == tmp_path / "project"


def test_colab_features_give_a_clear_error_elsewhere(notebook, tmp_path):
    """Outside Colab, uploading and Google Drive give an error."""
    for call in (lambda: notebook.upload_file(tmp_path), notebook.mount_drive):
        with pytest.raises(notebook.UserError, match="Colab only"):
            call()


# ---- data


def sharegpt(*turns, **meta):
    """A ShareGPT row of (role, text) turns."""
    return {"conversations": [{"from": role, "value": text} for role, text in turns], "meta": meta}


def test_wrong_role_stops_the_run(notebook):
    """The error for an unknown role names the line, and the hint says how to fix it."""
    row = sharegpt(("human", "Fit like?"), ("bot", "Nae bad."))
    with pytest.raises(notebook.UserError, match=r"data:7: conversations\[1\]\.from .* 'bot'") as caught:
        notebook.as_example(row, "data:7")
    assert "transform_to_sharegpt.py" in caught.value.hint


@pytest.mark.parametrize(
    "turns",
    [
        [("human", "Fit like?")],
        [("human", "Fit like?"), ("gpt", "  ")],
        [("gpt", "Nae bad."), ("human", "Fit like?")],
        [("human", "Fit like?"), ("human", "Are ye there?"), ("gpt", "Aye.")],
    ],
    ids=["unanswered", "empty answer", "answer first", "two questions"],
)
def test_row_without_an_answer_stops_the_run(notebook, turns):
    """Questions and answers must alternate, and none of them may be empty."""
    with pytest.raises(notebook.UserError, match="end with an answer"):
        notebook.as_example(sharegpt(*turns), "data:1")


def test_invalid_json_line_is_named(notebook, tmp_path):
    """The error for a line that is not JSON has the line number."""
    (tmp_path / "data.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(notebook.UserError, match=r"data\.jsonl:2 is not JSON"):
        notebook.read_file(tmp_path / "data.jsonl")


def examples(notebook, count=60, groups=3):
    """Examples for `count` topics in `groups` groups. Each topic has three rows, and one of them is a refusal."""
    made = []
    for at in range(count):
        for turn, kind in enumerate(("core", "core", "safety")):
            row = sharegpt(("human", f"Question {turn} about thing {at}?"), ("gpt", f"Answer {turn}, thing {at}."))
            row["meta"] = {"topic": f"thing {at}", "group": f"group {at % groups}", "kind": kind}
            made.append(notebook.as_example(row, "test"))
    return made


def test_test_set_shares_no_topic_and_no_prompt(notebook):
    """For every group, whole topics go to the test set, and no test prompt is in the training set."""
    found = examples(notebook)
    twin = replace(found[0], topic="another topic", messages=found[-1].messages)
    split = notebook.split_by_topic([*found, twin], 0.1, seed=1)
    assert notebook.shared(split) == {"prompts": 0, "topics": 0}
    assert {one.group for one in split.test} == {"group 0", "group 1", "group 2"}
    notebook.check_split(split)


def test_shared_prompt_stops_the_run(notebook):
    """If a prompt is in both sets, the split is refused."""
    found = examples(notebook, 4)
    with pytest.raises(notebook.UserError, match="share"):
        notebook.check_split(notebook.Split(found, found[:1]))


def test_held_out_prompts_and_surplus_refusals_are_dropped(notebook):
    """Held-out prompts, duplicates, rows of other buckets and excess refusals are dropped and counted."""
    asked = held_out_prompts()[0].prompt
    held = notebook.as_example(sharegpt(("human", asked.upper()), ("gpt", "Na."), topic="x", kind="core"), "test")
    found = examples(notebook)
    kept, why = notebook.keep([*found, found[0], held], ["core", "safety"], 0.05, seed=1)
    assert why["held-out prompt"] == why["duplicate"] == 1
    assert sum(one.bucket == "safety" for one in kept) / len(kept) <= 0.05
    assert notebook.keep(found, ["core"], 0.05, seed=1)[1]["another bucket"] == 60


def test_dataset_is_pushed_private_and_with_a_card(notebook, monkeypatch, capsys):
    """The upload always sets the private flag and prints whether the repository is private."""
    import datasets
    import huggingface_hub

    calls = {}
    monkeypatch.setenv("HF_TOKEN", "not-a-token")
    push = lambda self, name, **more: calls.update(data=(name, more["private"]))  # noqa: E731
    monkeypatch.setattr(datasets.Dataset, "push_to_hub", push)
    card = lambda self, name, **more: calls.update(card=str(self))  # noqa: E731
    monkeypatch.setattr(huggingface_hub.DatasetCard, "push_to_hub", card)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda self, name, **more: None)
    info = lambda self, name, **more: SimpleNamespace(private=True)  # noqa: E731
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", info)
    notebook.push_dataset([sharegpt(("human", "a"), ("gpt", "b"))], "me/chats", True, "a test")
    assert calls["data"] == ("me/chats", True)
    assert "language:\n- sco" in calls["card"]
    assert "(private)" in capsys.readouterr().out


# ---- template and mask


@pytest.fixture(scope="session")
def tokenizer(notebook, smollm2):
    """The tokenizer of SmolLM2."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2)


@pytest.fixture(scope="session")
def ends(notebook, tokenizer, smollm2):
    """The tokens at the end of an answer."""
    return notebook.end_ids(tokenizer, str(smollm2))


def test_only_answers_are_trained_and_each_to_its_end(notebook, tokenizer, ends):
    """In a chat with two answers, training covers exactly both answers and their end tokens."""
    chat = [*CHAT, {"role": "user", "content": "Ay?"}, {"role": "assistant", "content": "Aye."}]
    row = notebook.encode(tokenizer, chat, ends)
    notebook.check_row_tokens(tokenizer, chat, row, ends)
    trained = [label for label in row.labels if label != -100]
    assert tokenizer.decode(trained) == "Naething, I dinna think.<|im_end|>Aye.<|im_end|>"


def test_mask_equals_trls_mask_except_for_the_newline_after_the_end(notebook, tokenizer, ends, plan, tiny, tmp_path):
    """For prompt and completion, TRL trains the same tokens and also the newline after the end token."""
    from datasets import Dataset
    from trl import SFTTrainer

    chats = [CHAT, [{"role": "user", "content": "Ay?"}, {"role": "assistant", "content": "Aye, “fairly” – 20%."}]]
    data = Dataset.from_list([{"prompt": chat[:1], "completion": chat[1:]} for chat in chats])
    settings = notebook.training_settings(replace(plan, steps=1), tmp_path, 1)
    settings.eval_strategy, settings.eval_on_start = "no", False
    held = SFTTrainer(model=tiny, args=settings, train_dataset=data, processing_class=tokenizer).train_dataset
    ours = {tuple(row.ids): row for row in (notebook.encode(tokenizer, chat, ends) for chat in chats)}
    for theirs in held:
        row = ours[tuple(theirs["input_ids"])]
        different = [at for at, label in enumerate(theirs["labels"]) if label != row.labels[at]]
        assert tokenizer.decode([theirs["input_ids"][at] for at in different]) == "\n"


def test_template_without_an_end_stops_the_run(notebook, tokenizer, ends):
    """A template without an end token after answers is refused, because the model would never stop."""
    endless = copy.deepcopy(tokenizer)
    endless.chat_template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    row = notebook.encode(endless, CHAT, ends)
    with pytest.raises(notebook.UserError, match="not an end token") as caught:
        notebook.check_row_tokens(endless, CHAT, row, ends)
    assert "chat_template" in caught.value.hint


def test_padding_equal_to_the_end_stops_the_run(notebook, tokenizer):
    """If the padding token is the end token, the run stops, the hint names another token, and `auto` fixes it."""
    same = copy.deepcopy(tokenizer)
    same.pad_token = same.eos_token
    with pytest.raises(notebook.UserError, match="must differ") as caught:
        notebook.check_tokens(same)
    assert "<|endoftext|>" in caught.value.hint
    notebook.set_padding(same, "auto")
    notebook.check_tokens(same)


def test_trained_question_stops_the_run(notebook, tokenizer, ends):
    """Labels that include the question, or only a part of the answer, give an error that shows the trained text."""
    row = notebook.encode(tokenizer, CHAT, ends)
    stop = row.ids.index(ends[0], next(at for at, label in enumerate(row.labels) if label != -100)) + 1
    early = row.ids[:stop] + row.labels[stop:]
    with pytest.raises(notebook.UserError, match="The trained text is more than the answer") as caught:
        notebook.check_row_tokens(tokenizer, CHAT, notebook.Encoded(row.ids, early), ends)
    assert "the questions must be grey" in caught.value.hint
    begun = next(at for at, label in enumerate(row.labels) if label != -100)
    late = [-100] * (begun + 2) + row.labels[begun + 2 :]
    with pytest.raises(notebook.UserError, match="not the whole answer"):
        notebook.check_row_tokens(tokenizer, CHAT, notebook.Encoded(row.ids, late), ends)


FOLDS = (
    "{%- set system = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
    "{%- for m in messages %}"
    "{%- if m['role'] == 'user' %}{{ '[INST] ' + (system + '\n\n' if system and loop.index >= loop.length - 1 else '') "
    "+ m['content'] + '[/INST]' }}"
    "{%- elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + '<|im_end|>' }}{%- endif %}"
    "{%- endfor %}"
)
"""A template that moves the system message into the last question, as Mistral's does."""


def test_system_message_folded_into_the_last_question_is_not_trained(notebook, tokenizer, ends):
    """Only the answers are trained, even if the template moves the system message to another turn."""
    folding = copy.deepcopy(tokenizer)
    folding.chat_template = FOLDS
    chat = [{"role": "system", "content": "Spik Doric."}, *CHAT, {"role": "user", "content": "Ay?"}, CHAT[1]]
    row = notebook.encode(folding, chat, ends)
    notebook.check_row_tokens(folding, chat, row, ends)
    trained = folding.decode([label for label in row.labels if label != -100])
    assert trained == 2 * " Naething, I dinna think.<|im_end|>"
    assert "Spik Doric.\n\nAy?" in folding.decode(row.ids)


def test_template_without_a_system_role_gives_a_clear_error(notebook, tokenizer):
    """For a template without a system role, such as Gemma's, the hint says to remove the system messages."""
    strict = copy.deepcopy(tokenizer)
    strict.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(notebook.UserError, match="System role not supported") as caught:
        notebook.render(strict, [{"role": "system", "content": "Spik Doric."}, *CHAT])
    assert "remove the system messages" in caught.value.hint


def test_row_with_nothing_trained_stops_the_run(notebook, tokenizer, ends):
    """A row without any trained token is refused."""
    row = notebook.encode(tokenizer, CHAT, ends)
    with pytest.raises(notebook.UserError, match="no trained token"):
        notebook.check_row_tokens(tokenizer, CHAT, replace(row, labels=[-100] * len(row.ids)), ends)


def test_doubled_first_token_stops_the_run(notebook, tokenizer, ends):
    """Tokens that differ from those of the template, for example a second start token, are refused."""
    row = notebook.encode(tokenizer, CHAT, ends)
    double = replace(row, ids=[tokenizer.bos_token_id, *row.ids], labels=[-100, *row.labels])
    with pytest.raises(notebook.UserError, match="template"):
        notebook.check_row_tokens(tokenizer, CHAT, double, ends)


def test_coloured_row_shows_every_letter_once(notebook, tokenizer, ends):
    """The coloured pieces of a row, joined together, are its text, and no character is split."""
    chat = [CHAT[0], {"role": "assistant", "content": "Aye – “fairly” 🐑, naïve café."}]
    row = notebook.encode(tokenizer, chat, ends)
    assert "".join(text for text, _ in notebook.pieces(tokenizer, row)) == tokenizer.decode(row.ids)


# ---- packing


@pytest.fixture
def tiny(notebook):
    """A Llama with two small layers, random weights and SmolLM2's vocabulary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(**shape, vocab_size=49152, initializer_range=0.2, pad_token_id=0))


def test_packed_rows_do_not_see_each_other(notebook, tokenizer, tiny):
    """In a batch of the trainer, the model predicts the same for a packed row as for a separate row."""
    found = notebook.leak(tiny, notebook.packed_batch(tokenizer, "trl"), [5, 6, 7, 8], [9, 10, 11, 12], [20, 21, 22])
    notebook.check_leak(found)
    assert found["change"] < 1e-4


def test_leaking_pack_stops_the_run(notebook, tiny):
    """If one attention mask covers the whole pack, a row can see the row before it, and the run stops."""
    import torch

    def one_mask(parts):
        ids = torch.tensor([[token for part in parts for token in part]])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    found = notebook.leak(tiny, one_mask, [5, 6, 7, 8], [9, 10, 11, 12], [20, 21, 22])
    with pytest.raises(notebook.UserError, match="see each other") as caught:
        notebook.check_leak(found)
    assert "PACKING to off" in caught.value.hint


def test_packing_loses_no_token(notebook):
    """Packing keeps every token, and the run stops if a token is lost."""
    coded = [notebook.Encoded(list(range(size)), list(range(size))) for size in (5, 9, 30, 12, 7, 21)]
    packs = notebook.packed(coded, 32)
    assert max(map(sum, packs)) <= 32
    notebook.check_packing(coded, packs)
    with pytest.raises(notebook.UserError, match="lost"):
        notebook.check_packing(coded, packs[1:])


# ---- training


def test_nan_or_infinite_loss_stops_the_run(notebook):
    """If the training loss or the held-out loss is NaN or infinite, the run stops with a hint."""
    notebook.check_loss({"loss": 2.0}, 1)
    for logs in ({"loss": math.nan}, {"eval_loss": math.inf}):
        with pytest.raises(notebook.UserError, match="at step 3") as caught:
            notebook.check_loss(logs, 3)
        assert "LEARNING_RATE" in caught.value.hint


def test_trainer_that_changes_the_rows_is_caught(notebook):
    """The trainer must use the rows and labels that were checked, and must pack them if PACKING is on."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    def trainer(held, **more):
        return SimpleNamespace(train_dataset=held, data_collator=DataCollatorForLanguageModeling(0, **more))

    row, other = notebook.Encoded([1, 2, 3], [-100, 2, 3]), notebook.Encoded([4, 5], [-100, 5])
    whole = notebook.as_dataset([row, other])
    notebook.check_labels(trainer(whole), [row, other], packing=False)
    unmasked = notebook.as_dataset([replace(row, labels=row.ids), other])
    with pytest.raises(notebook.UserError, match="changed the rows"):
        notebook.check_labels(trainer(unmasked), [row, other], packing=False)
    with pytest.raises(notebook.UserError, match="did not pack"):
        notebook.check_labels(trainer(whole), [row, other], packing=True)
    with pytest.raises(notebook.UserError, match="joins the rows of a batch") as caught:
        notebook.check_labels(trainer(whole, padding_free=True), [row, other], packing=False)
    assert "padding_free=False" in caught.value.hint


def test_rows_of_a_batch_stay_separate(notebook, plan, tmp_path):
    """padding_free is explicitly False, because Unsloth would otherwise join the rows of a batch."""
    assert notebook.training_settings(plan, tmp_path, 1).padding_free is False


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
def test_incomplete_checkpoint_is_skipped(notebook, tmp_path, capsys, name, left):
    """An incomplete checkpoint is skipped with a note, and the previous checkpoint is used."""
    checkpoints, mark = tmp_path / "checkpoints", {"rate": 0.1}
    assert notebook.start_from(checkpoints, mark, resume=True) is None
    for step in (5, 10):
        written(checkpoints / f"checkpoint-{step}")
    broken = checkpoints / "checkpoint-10" / name
    if left is None:
        broken.unlink()
    else:
        whole = b'{"log_history": [' + bytes(100) if name == "trainer_state.json" else broken.read_bytes()
        broken.write_bytes(whole[:left])
    assert notebook.start_from(checkpoints, mark, resume=True) == str(checkpoints / "checkpoint-5")
    assert "checkpoint-10 is incomplete and is skipped" in capsys.readouterr().out


def test_resumed_run_keeps_its_batch_and_number_format(notebook, plan, tmp_path):
    """If less memory is free than at the first start, the resumed run keeps the original batch and number format."""
    names = {"RESUME": True, "BATCH": 0, "ACCUMULATION": 0}
    began = replace(plan, batch=4, accumulation=1, dtype="bfloat16")
    notebook.start_from(tmp_path / "checkpoints", notebook.fingerprint(began, {}), resume=True)
    written(tmp_path / "checkpoints" / "checkpoint-5")
    now = replace(plan, batch=1, accumulation=4, dtype="float32")
    later = notebook.as_before(now, names, tmp_path)
    assert notebook.start_from(tmp_path / "checkpoints", notebook.fingerprint(later, {}), resume=True)
    asked = notebook.as_before(replace(now, batch=2), {**names, "BATCH": 2}, tmp_path)
    assert asked.batch == 2
    assert notebook.as_before(now, {**names, "RESUME": False}, tmp_path) == now


def test_checkpoints_of_another_run_are_not_used(notebook, tmp_path):
    """A run resumes from checkpoints only with the same settings, and without RESUME it starts again."""
    checkpoints, mark = tmp_path / "checkpoints", {"rate": 0.1}
    assert notebook.start_from(checkpoints, mark, resume=True) is None
    written(checkpoints / "checkpoint-5")
    assert notebook.start_from(checkpoints, mark, resume=True) == str(checkpoints / "checkpoint-5")
    with pytest.raises(notebook.UserError, match="other settings: rate") as caught:
        notebook.start_from(checkpoints, {"rate": 0.2}, resume=True)
    assert "RUN_NAME" in caught.value.hint
    assert notebook.start_from(checkpoints, {"rate": 0.2}, resume=False) is None
    assert not checkpoints.exists()


TRAIN = '''
import json, os, runpy, signal, sys
from pathlib import Path
nb = runpy.run_path({conftest!r})["notebook_functions"]()
folder, die_at = Path(sys.argv[1]), int(sys.argv[2])
import torch
from dataclasses import replace
from transformers import LlamaConfig, LlamaForCausalLM, AutoTokenizer
torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained({smollm2!r})
shape = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
model = LlamaForCausalLM(LlamaConfig(**shape, vocab_size=49152, pad_token_id=0))
coded = [nb.Encoded(list(range(n, n + 9)), [-100] * 3 + list(range(n + 3, n + 9))) for n in range(5, 65)]
machine = nb.Machine("cpu", "CPU", 16.0, 2, "float32", "CPU")
plan = nb.Plan(
    "tiny", "trl", "cpu", "float32", False, 8, 8, 0.0, ("q_proj", "v_proj"), 0.01, "cosine", 0.1, 1.0, 10, 4, 1,
    64, False, 7, 8,
)
class Dies(nb.Watch):
    def on_step_end(self, args, state, control, **more):
        super().on_step_end(args, state, control, **more)
        if state.global_step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
    def update(self, history):
        """Without a notebook there is nothing to draw."""
watch = Dies(nb.curves(36.0))
checkpoints = folder / "checkpoints"
resumed = nb.start_from(checkpoints, nb.fingerprint(plan, {{"train": coded}}), True)
trainer = nb.make_trainer(nb.add_adapter(model, plan), tokenizer, plan, coded, coded[:8], checkpoints, 2, watch)
nb.check_labels(trainer, coded, False)
nb.train(trainer, resumed, plan.steps)
nb.finish(trainer, watch)
log = [(one["step"], one["loss"]) for one in trainer.state.log_history if "loss" in one]
weights = sum(float(each.abs().sum()) for each in trainer.model.parameters() if each.requires_grad)
done = {{"steps": trainer.state.global_step, "log": log, "taken": len(watch.seconds), "weights": weights}}
(folder / "log.json").write_text(json.dumps(done))
'''


def train_apart(folder, smollm2, die_at):
    """Train ten steps in a separate process, which kills itself at step `die_at`. Returns its exit status."""
    folder.mkdir(exist_ok=True)
    script = TRAIN.format(conftest=str(Path(__file__).with_name("conftest.py").resolve()), smollm2=str(smollm2))
    command = [sys.executable, "-W", "ignore", "-c", script, str(folder), str(die_at)]
    return subprocess.run(command, check=False).returncode


def test_killed_training_resumes_with_the_same_losses(notebook, smollm2, tmp_path):
    """A run that is killed at step 7 and started again has the same steps and losses as an uninterrupted run."""
    assert train_apart(tmp_path / "whole", smollm2, die_at=0) == 0
    assert train_apart(tmp_path / "killed", smollm2, die_at=7) == -signal.SIGKILL
    assert train_apart(tmp_path / "killed", smollm2, die_at=0) == 0
    whole, killed = (json.loads((tmp_path / name / "log.json").read_text()) for name in ("whole", "killed"))
    assert killed["steps"] == whole["steps"] == 10
    assert [step for step, _ in killed["log"]] == list(range(1, 11))
    assert [loss for _, loss in killed["log"]] == pytest.approx([loss for _, loss in whole["log"]], rel=1e-4)


def test_finished_run_started_again_trains_no_further_step(notebook, smollm2, tmp_path):
    """If a run is finished, it is loaded with the same steps, losses and weights, and no further step is trained."""
    assert train_apart(tmp_path / "run", smollm2, die_at=0) == 0
    first = json.loads((tmp_path / "run" / "log.json").read_text())
    assert train_apart(tmp_path / "run", smollm2, die_at=0) == 0
    again = json.loads((tmp_path / "run" / "log.json").read_text())
    assert (first["taken"], again["taken"]) == (10, 0)
    assert again["weights"] == pytest.approx(first["weights"], rel=1e-6)
    assert (again["steps"], again["log"]) == (first["steps"], first["log"])


# ---- saved models


ROWS = [([1, 5, 6, 7, 8, 2], [-100, -100, 6, 7, 8, 2]), ([1, 9, 10, 11, 2], [-100, -100, 10, 11, 2])]
GOOD = {"eos": True, "template": True, "file": ""}


def test_wrong_merged_model_stops_the_run(notebook, tiny):
    """A merged model with other weights fails the comparison, and the run stops with a hint."""
    import torch

    reference = notebook.token_log_probs(tiny, ROWS)
    assert notebook.compare(reference, reference) == {"top1": 1.0, "kl": 0.0}
    other = copy.deepcopy(tiny)
    with torch.no_grad():
        other.lm_head.weight.mul_(-1)
    found = notebook.compare(reference, notebook.token_log_probs(other, ROWS))
    result = {"form": "merged", **found, **GOOD}
    assert notebook.verdicts([result], four_bit=False)[0][""] == "FAIL"
    with pytest.raises(notebook.UserError, match=r"saved model \(merged\) differs from the trained model") as caught:
        notebook.check_parity([result], {"top1": 0.1, "kl": 9.0}, four_bit=False)
    assert "adapter" in caught.value.hint


@pytest.mark.parametrize("lost", ["eos", "template"])
def test_saved_model_with_another_end_or_template_stops_the_run(notebook, lost):
    """A merged model with another end token or template fails, even if its weights are correct."""
    result = {"form": "merged", "top1": 1.0, "kl": 0.0, **GOOD, lost: False}
    with pytest.raises(notebook.UserError, match="differs from the trained model"):
        notebook.check_parity([result], {"top1": 0.1, "kl": 9.0}, four_bit=False)


def test_training_that_changed_nothing_stops_the_run(notebook):
    """If the trained model differs from the base model only by rounding errors, the run stops."""
    result = {"form": "merged", "top1": 0.99, "kl": 0.004, **GOOD}
    with pytest.raises(notebook.UserError, match="as close to the base model"):
        notebook.check_parity([result], {"top1": 0.99, "kl": 0.005}, four_bit=False)


def test_format_that_was_not_checked_does_not_stop_the_run(notebook):
    """If a saved model does not fit into memory, the table shows `not checked` with the reason."""
    fine = {"form": "adapter", "top1": 1.0, "kl": 0.0, **GOOD}
    results = [fine, {"form": "merged", "file": "", "skipped": ["loading it takes 99 GB", "Elsewhere."]}]
    lines = notebook.verdicts(results, four_bit=False)
    assert [line[""] for line in lines] == ["pass", "not checked"]
    assert lines[1]["why"] == "loading it takes 99 GB"
    notebook.check_parity(results, {"top1": 0.1, "kl": 9.0}, four_bit=False)


def test_free_memory_is_checked_before_loading(notebook, smollm2, monkeypatch):
    """The size of a model comes from its configuration, and it is loaded only on a device with enough memory."""
    where = {"base": str(smollm2)}
    assert notebook.weight_bytes(where, "float32")["cpu"] == 4 * 134_515_008
    for cuda, cpu, device in ((8e9, 8e9, "cuda"), (5e8, 8e9, "cpu")):
        monkeypatch.setattr(notebook, "free_bytes", lambda free={"cuda": cuda, "cpu": cpu}: free)
        assert notebook.room_for(where, "bfloat16") == device
    monkeypatch.setattr(notebook, "free_bytes", lambda: {"cuda": 0, "cpu": 1e8})
    with pytest.raises(MemoryError, match=r"takes 0\.3 GB, but only 0\.1 GB are free"):
        notebook.load_saved(where, "bfloat16")
    looked = notebook.look({"rows": ROWS}, "merged", where, "bfloat16", None)
    assert looked == {
        "form": "merged",
        "file": "",
        "skipped": ["loading it takes 0.3 GB, but only 0.1 GB are free", ANY],
    }


def test_failed_format_does_not_affect_the_others(notebook, tmp_path, monkeypatch):
    """If the GGUF process fails, the merged model and its result stay, and no GGUF is made without a merged model."""

    def apart(job, folder):
        if job["form"] == "q8_0":
            (folder / "unfinished.gguf").touch()
            raise notebook.UserError("It was killed.", "Try again.")
        return [{"form": job["form"], "top1": 1.0, "kl": 0.0, **GOOD}]

    monkeypatch.setattr(notebook, "run_apart", apart)
    results = notebook.make_forms({}, tmp_path, ["adapter", "merged", "q8_0"])
    assert [one["form"] for one in results] == ["adapter", "merged", "q8_0"]
    assert results[-1] == {"form": "q8_0", "file": "", "failed": ["It was killed.", "Try again."]}
    assert notebook.verdicts(results, four_bit=False)[-1][""] == "not made"
    assert list(tmp_path.iterdir()) == []
    failed = [{"form": "merged", "file": "", "failed": ["not enough memory", "x"]}]
    monkeypatch.setattr(notebook, "run_apart", lambda job, folder: failed)
    assert notebook.make_forms({}, tmp_path, ["merged", "q8_0"])[-1]["failed"][0] == "there is no merged model"


def test_gguf_file_that_could_not_be_loaded_is_kept(notebook, tmp_path, monkeypatch, capsys):
    """A GGUF file that was written but could not be checked is kept with a warning."""

    def apart(job, folder):
        (folder / "doric-q8_0.gguf").touch()
        raise notebook.UserError("GGUF model with architecture x is not supported yet.", "Try again.")

    monkeypatch.setattr(notebook, "run_apart", apart)
    results = notebook.make_forms({}, tmp_path, ["q8_0"])
    assert notebook.verdicts(results, four_bit=False)[0][""] == "not checked"
    assert notebook.usable_gguf(results, tmp_path, four_bit=False) == tmp_path / "doric-q8_0.gguf"
    assert "before you rely on it" in capsys.readouterr().out


def test_saved_tokenizer_is_compared_with_the_base_models(notebook, smollm2, tokenizer, tmp_path):
    """An end token or a template that differs from that of the base model is found."""
    tokenizer.save_pretrained(tmp_path)
    ends = [tokenizer.eos_token_id]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    assert notebook.same_tokens(str(smollm2), str(tmp_path), ends) == {"eos": True, "template": True}
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 0}')
    assert notebook.same_tokens(str(smollm2), str(tmp_path), ends) == {"eos": False, "template": True}
    other = copy.deepcopy(tokenizer)
    other.chat_template = "{{ messages[0]['content'] }}"
    other.save_pretrained(tmp_path)
    assert notebook.same_tokens(str(smollm2), str(tmp_path), ends)["template"] is False


def test_gguf_vocabulary_must_tokenize_doric_as_the_tokenizer_does(notebook, tokenizer):
    """A GGUF file whose merges have another order tokenizes Doric differently and is rejected."""
    spec = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    words = sorted(spec["vocab"], key=spec["vocab"].get)
    merges = [one if isinstance(one, str) else " ".join(one) for one in spec["merges"]]
    assert notebook.same_cuts(tokenizer, words, merges)
    assert not notebook.same_cuts(tokenizer, words, merges[::-1])


def test_large_files_are_not_written_to_google_drive(notebook, tmp_path, capsys):
    """With KEEP_ON_DRIVE merged model and GGUF file stay on the machine, otherwise they are in the run's folder."""
    drive, project = tmp_path / "drive" / "doric", tmp_path / "project"
    assert notebook.export_folder(project, drive, "doric", drive=False) == drive / "export"
    local = notebook.export_folder(project, drive, "doric", drive=True)
    assert local == project / "finetune_notebook/runs/doric/export"
    assert "on this machine only" in capsys.readouterr().out


def test_failed_gguf_keeps_the_merged_model(notebook, tmp_path, capsys):
    """If the GGUF file is missing or gives other answers, the merged model stays and the next step is printed."""
    (tmp_path / "doric-q8_0.gguf").touch()
    fine = {"form": "q8_0", "top1": 0.99, "kl": 0.001, **GOOD, "file": "doric-q8_0.gguf"}
    assert notebook.usable_gguf([fine], tmp_path, four_bit=False) == tmp_path / "doric-q8_0.gguf"
    failed = {"form": "q8_0", "failed": ["No converter.", "Set LLAMA_CPP."]}
    assert notebook.usable_gguf([failed], tmp_path, four_bit=False) is None
    assert "Next step: Set LLAMA_CPP." in capsys.readouterr().out
    assert notebook.usable_gguf([{**fine, "top1": 0.2}], tmp_path, four_bit=False) is None
    assert (tmp_path / "do-not-use-doric-q8_0.gguf").exists()


def test_missing_converter_gives_a_clear_error(notebook, tmp_path, monkeypatch):
    """If LLAMA_CPP names a folder without the converter, the run ends with an error."""
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    with pytest.raises(RuntimeError, match="no convert_hf_to_gguf"):
        notebook.gguf_converter(tmp_path, notebook.CONVERTER)


def test_only_the_converters_own_package_is_downloaded_as_source(notebook, tmp_path, monkeypatch):
    """Only the converter's package is downloaded as source, not its build tools, and a failure gives a hint."""
    calls = []
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    run = lambda command, **more: (calls.append(command), SimpleNamespace(returncode=1))[1]  # noqa: E731
    monkeypatch.setattr(notebook.subprocess, "run", run)
    with pytest.raises(RuntimeError, match="could not be downloaded"):
        notebook.gguf_converter(tmp_path, notebook.CONVERTER)
    assert calls[0][calls[0].index("--no-binary") + 1] == "llama-cpp-python"


def test_card_has_the_metadata_for_the_hub(notebook, plan):
    """The model card has the base model, the licence, the library and the scores."""
    card = notebook.model_card(
        replace(plan, base="Qwen/Qwen3-4B-Instruct-2507"),
        {"data": "3 chats"},
        [("substrate", 0.01, 0.3)],
        ("Ay?", "Aye."),
    )
    head = card.split("---")[1]
    assert "base_model: Qwen/Qwen3-4B-Instruct-2507" in head
    assert "license: apache-2.0" in head
    assert "library_name: peft" in head
    assert "| substrate | 1.0% | 30.0% |" in card
    merged = notebook.model_card(plan, {}, [], ("Ay?", "Aye."), notebook.LIBRARIES[""])
    assert "library_name: transformers" in merged


def test_model_is_pushed_private(notebook, monkeypatch, tmp_path, capsys):
    """Every repository is created with an explicit private flag, and its visibility is printed."""
    import huggingface_hub

    made = []
    monkeypatch.setenv("HF_TOKEN", "not-a-token")
    create = lambda self, repo, **more: made.append((repo, more["private"]))  # noqa: E731
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create)
    sent = []
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", lambda self, **more: sent.append(more["repo_id"]))
    file = lambda self, **more: sent.append((more["repo_id"], more["path_in_repo"]))  # noqa: E731
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_file", file)
    private = {"me/doric-lora": True, "me/doric": True, "me/doric-gguf": True}
    info = lambda self, repo, **more: SimpleNamespace(private=private[repo])  # noqa: E731
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", info)
    (tmp_path / "doric-q8_0.gguf").touch()
    saved = {"-lora": tmp_path, "": tmp_path, "-gguf": tmp_path / "doric-q8_0.gguf"}
    cards = dict.fromkeys(saved, "a card")
    notebook.push_model(saved, cards, "me/doric", True)
    assert made == [("me/doric-lora", True), ("me/doric", True), ("me/doric-gguf", True)]
    assert capsys.readouterr().out.count("(private)") == 3
    assert ("me/doric-gguf", "doric-q8_0.gguf") in sent
    sent.clear()
    private["me/doric"] = False
    with pytest.raises(notebook.UserError, match="me/doric is public"):
        notebook.push_model({"": tmp_path}, cards, "me/doric", True)
    assert sent == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"HUB_NAME": "your-name/doric"}, "HUB_NAME is"),
        ({"HUB_NAME": "no slash"}, "HUB_NAME is"),
        ({"HUB_NAME": "else/doric"}, "cannot write to else"),
        ({"HUB_NAME": "me/reads"}, "has read access only"),
        ({"HUB_NAME": "me/seen"}, "me/seen-chats is public"),
    ],
    ids=["not chosen", "no name", "another's", "token that reads", "public already"],
)
def test_upload_that_would_fail_is_refused_before_training(notebook, monkeypatch, names, message):
    """If an upload is ticked, name, token and visibility are checked before training."""
    import huggingface_hub

    role = "read" if "reads" in names["HUB_NAME"] else "write"
    who = {"name": "me", "orgs": [{"name": "club"}], "auth": {"accessToken": {"role": role}}}
    monkeypatch.setenv("HF_TOKEN", "not-a-token")
    monkeypatch.setattr(huggingface_hub.HfApi, "whoami", lambda self: who)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_exists", lambda self, repo, **more: "seen-chats" in repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", lambda self, repo, **more: SimpleNamespace(private=False))
    ticked = {"UPLOAD_MODEL": True, "UPLOAD_DATASET": True, "HUB_PRIVATE": True}
    with pytest.raises(notebook.UserError, match=message):
        notebook.check_hub({**ticked, **names})
    if role == "write":
        notebook.check_hub({**ticked, "HUB_NAME": "club/doric"})


def test_upload_without_a_token_gives_a_clear_error(notebook, monkeypatch):
    """If an upload has no token, the error says where to set the token."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(notebook.UserError, match="no Hugging Face token"):
        notebook.hub_token()


# ---- answers


def test_scores_separate_doric_from_english(notebook):
    """Doric answers get high scores and pass the gates, and English answers do not."""
    prompts = [one for one in held_out_prompts() if one.bucket == "core"][:1]
    doric = (
        "Tak the jar an haud it aneth het watter for a file, bit dinna burn yersel. Syne gie the lid a chap wi a "
        "speen, an it'll come lowse gey quick. Gin it's still ticht, eese a cloot tae get a better grip o't."
    )
    good = notebook.measure(prompts, [notebook.Reply(doric, stopped=True)])
    english = "You should hold the jar under hot water for a while and then tap the lid with a spoon until it opens."
    bad = notebook.measure(prompts, [notebook.Reply(english, stopped=False)])
    assert good["substrate"] > 0.25
    assert good["north_east"] > 0.02
    assert good["pass the gates"] == good["stop by themselves"] == 1
    assert bad["substrate"] < 0.02
    assert bad["pass the gates"] == bad["stop by themselves"] == 0


def test_repeated_word_counts_once(notebook):
    """An answer that only repeats one Scots word does not count as Scots."""
    prompts = [one for one in held_out_prompts() if one.bucket == "core"][:2]
    english = (
        "You should hold the jar under hot water for a while and then tap the lid with a spoon until it opens. " * 5
    )
    replies = [notebook.Reply("Aye, aye, aye! " * 60, stopped=False), notebook.Reply(english, stopped=True)]
    assert notebook.measure(prompts, replies)["substrate"] < 0.02


def test_prompts_cover_every_bucket(notebook):
    """Each bucket gives the same number of prompts, and harmless prompts are included beside harmful prompts."""
    chosen = notebook.choose_prompts(3, ["core", "multi", "adv", "safety"])
    assert [(one.bucket, one.benign) for one in chosen[::3]] == [
        ("core", False), ("multi", False), ("adv", False), ("safety", False), ("safety", True),
    ]  # fmt: skip
    assert chosen == notebook.choose_prompts(3, ["core", "multi", "adv", "safety"])


# ---- other libraries


def test_unsloth_reads_the_file_unchanged(notebook):
    """standardize_data_formats of the installed Unsloth maps the roles in the project's file without any options."""
    from importlib.metadata import distribution

    from datasets import Dataset, IterableDataset

    source = next(file for file in distribution("unsloth_zoo").files if str(file) == "unsloth_zoo/dataset_utils.py")
    tree = ast.parse(source.locate().read_text("utf-8"))
    wanted = ("standardize_data_formats", "_normalize_role_alias", "_ROLE_KEY_NAMES")
    parts = [
        node for node in tree.body
        if getattr(node, "name", "") in wanted or (isinstance(node, ast.Assign) and node.targets[0].id in wanted)
    ]  # fmt: skip
    names = {"IterableDataset": IterableDataset, "get_dataset_num_proc": lambda asked: None}
    code = ast.unparse(ast.Module(parts, [])).replace("from .dataset_num_proc import get_dataset_num_proc", "pass")
    exec(code, names)
    data = Dataset.from_list([sharegpt(("human", "Fit like?"), ("gpt", "Nae bad."), topic="x", kind="core")] * 3)
    chat = names["standardize_data_formats"](data)[0]["conversations"]
    assert chat == [{"role": "user", "content": "Fit like?"}, {"role": "assistant", "content": "Nae bad."}]


def test_trl_renames_keys_but_not_roles_so_the_notebook_maps_them(notebook):
    """TRL does not change the roles human and gpt, which chat templates refuse, so the notebook maps them."""
    from trl import maybe_convert_to_chatml

    row = sharegpt(("human", "Fit like?"), ("gpt", "Nae bad."))
    assert [turn["role"] for turn in maybe_convert_to_chatml(copy.deepcopy(row))["messages"]] == ["human", "gpt"]
    assert [turn["role"] for turn in notebook.as_example(row, "test").messages] == ["user", "assistant"]


def test_reporting_is_off_without_a_key(notebook, monkeypatch):
    """Weights & Biases and trackio are not used if their keys are missing."""
    for name in ("WANDB_API_KEY", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    assert notebook.reporters() == ["none"]
    assert os.environ.get("WANDB_API_KEY") is None
