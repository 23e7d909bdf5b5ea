"""Reading the dataset, and splitting off the test set."""

import ast
import copy
from dataclasses import replace

import pytest

from doric.core.errors import DoricError
from doric.finetune.data import as_example, read_file
from doric.finetune.hosted import mount_drive, upload_file
from doric.finetune.split import Split, check_split, keep, shared, split_by_topic
from doric.quality.decontamination import held_out_prompts
from finetune_rows import sharegpt


def test_wrong_role_stops_the_run():
    """The error for an unknown role names the line, and the hint says how to fix it."""
    row = sharegpt(("human", "Fit like?"), ("bot", "Nae bad."))
    with pytest.raises(DoricError, match=r"data:7: conversations\[1\]\.from .* 'bot'") as caught:
        as_example(row, "data:7")
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
def test_row_without_an_answer_stops_the_run(turns):
    """Questions and answers must alternate, and none of them may be empty."""
    with pytest.raises(DoricError, match="end with an answer"):
        as_example(sharegpt(*turns), "data:1")


def test_invalid_json_line_is_named(tmp_path):
    """The error for a line that is not JSON has the line number."""
    (tmp_path / "data.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(DoricError, match=r"data\.jsonl:2: "):
        read_file(tmp_path / "data.jsonl")


def examples(count=60, groups=3):
    """Examples for `count` topics in `groups` groups. Each topic has three rows, and one of them is a refusal."""
    made = []
    for at in range(count):
        for turn, kind in enumerate(("core", "core", "safety")):
            row = sharegpt(("human", f"Question {turn} about thing {at}?"), ("gpt", f"Answer {turn}, thing {at}."))
            row["meta"] = {"topic": f"thing {at}", "group": f"group {at % groups}", "kind": kind}
            made.append(as_example(row, "test"))
    return made


def test_test_set_shares_no_topic_and_no_prompt():
    """For every group, whole topics go to the test set, and no test prompt is in the training set."""
    found = examples()
    twin = replace(found[0], topic="another topic", messages=found[-1].messages)
    split = split_by_topic([*found, twin], 0.1, seed=1)
    assert shared(split) == {"prompts": 0, "topics": 0}
    assert {one.group for one in split.test} == {"group 0", "group 1", "group 2"}
    check_split(split)


def test_shared_prompt_stops_the_run():
    """If a prompt is in both sets, the split is refused."""
    found = examples(4)
    with pytest.raises(DoricError, match="share"):
        check_split(Split(found, found[:1]))


def test_held_out_prompts_and_surplus_refusals_are_dropped():
    """Held-out prompts, duplicates, rows of other buckets and excess refusals are dropped and counted."""
    asked = held_out_prompts()[0].prompt
    held = as_example(sharegpt(("human", asked.upper()), ("gpt", "Na."), topic="x", kind="core"), "test")
    found = examples()
    kept, why = keep([*found, found[0], held], ["core", "safety"], 0.05, seed=1)
    assert why["held-out prompt"] == why["duplicate"] == 1
    assert sum(one.bucket == "safety" for one in kept) / len(kept) <= 0.05
    assert keep(found, ["core"], 0.05, seed=1)[1]["another bucket"] == 60


def test_colab_features_give_a_clear_error_elsewhere(tmp_path):
    """Outside Colab, uploading and Google Drive give an error."""
    for call in (lambda: upload_file(tmp_path), mount_drive):
        with pytest.raises(DoricError, match="Colab only"):
            call()


@pytest.mark.usefixtures("finetune_group")
def test_unsloth_reads_the_file_unchanged():
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


@pytest.mark.usefixtures("finetune_group")
def test_trl_renames_keys_but_not_roles_so_the_notebook_maps_them():
    """TRL does not change the roles human and gpt, which chat templates refuse, so the notebook maps them."""
    from trl import maybe_convert_to_chatml

    row = sharegpt(("human", "Fit like?"), ("gpt", "Nae bad."))
    assert [turn["role"] for turn in maybe_convert_to_chatml(copy.deepcopy(row))["messages"]] == ["human", "gpt"]
    assert [turn["role"] for turn in as_example(row, "test").messages] == ["user", "assistant"]
