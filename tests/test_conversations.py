"""The two formats of a row, and the conversion between them."""

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doric.core.characters import find_flaw, tidy
from doric.core.conversations import as_messages, check_row, is_plain, make_row, stable_id, to_sharegpt
from doric.core.errors import InputError

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXTS = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="<[`◁&＜]"), min_size=1)
TEXTS = TEXTS.map(tidy).filter(lambda text: text.strip() and not find_flaw(text))
TURNS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": TEXTS}), min_size=1
)
PAIRS = st.lists(
    st.tuples(TEXTS, TEXTS).map(lambda texts: make_row(*texts, {})["messages"]), min_size=1, max_size=3
).map(lambda pairs: [turn for pair in pairs for turn in pair])
OTHERS = {"meta": st.dictionaries(st.text(), st.integers()), "split": st.just("train")}
ROWS = st.fixed_dictionaries({"messages": TURNS | PAIRS}, optional=OTHERS)
USER, ANSWER = {"role": "user", "content": "Fit like?"}, {"role": "assistant", "content": "Nae bad."}
SYSTEM = {"role": "system", "content": "Answer in Doric."}
PLAIN = {"messages": [USER, ANSWER]}
MALFORMED = [
    ([], "a row must be an object"),
    ({}, 'no key "messages"'),
    ({"messages": {}}, "messages must be a list"),
    ({"messages": []}, "messages must be a list of at least one turn"),
    ({"messages": "user"}, "messages must be a list"),
    ({"messages": ["hello"]}, r"messages\[0\] must be an object"),
    ({"messages": [{"content": "x"}]}, r'messages\[0\] has no key "role"'),
    ({"messages": [{"role": "user"}]}, r'messages\[0\] has no key "content"'),
    ({"messages": [{"role": "bard", "content": "x"}]}, r"messages\[0\]\.role must be one of"),
    ({"messages": [{"role": "tool", "content": "x"}]}, r"messages\[0\]\.role must be one of"),
    ({"messages": [{"role": "User", "content": "x"}]}, r"messages\[0\]\.role must be one of"),
    ({"messages": [{"role": None, "content": "x"}]}, r"messages\[0\]\.role must be one of .* not null"),
    ({"messages": [{"role": ["user"], "content": "x"}]}, r"messages\[0\]\.role must be one of"),
    ({"messages": [{"role": "user", "content": None}]}, r"messages\[0\]\.content must be a string, not null"),
    ({"messages": [{"role": "user", "content": {"text": "x"}}]}, r"messages\[0\]\.content must be a string"),
    ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, r'messages\[0\] has an unexpected key "name"'),
    ({"messages": [USER, {"role": "gpt", "content": "x"}]}, r"messages\[1\]\.role"),
    (
        {"messages": [USER, {**ANSWER, "tool_calls": [{"id": "a"}]}]},
        r'messages\[1\] has an unexpected key "tool_calls"',
    ),
    ({"messages": [USER, {**ANSWER, "content": None, "tool_calls": [{}]}]}, r'unexpected key "tool_calls"'),
    ({"messages": [USER, {**ANSWER, "function_call": {"name": "f"}}]}, r'unexpected key "function_call"'),
    ({"messages": [USER, {**ANSWER, "weight": 0}]}, r'messages\[1\] has an unexpected key "weight"'),
    (
        {"messages": [USER, {**ANSWER, "content": [{"type": "image_url", "image_url": "x"}]}]},
        r"content\[0\] must be a part",
    ),
    ({"messages": [USER, {**ANSWER, "content": [{"type": "text"}]}]}, r"messages\[1\]\.content\[0\] must be a part"),
    ({"messages": [USER, {**ANSWER, "content": [{"type": "text", "text": None}]}]}, r"content\[0\] must be a part"),
    ({"messages": [USER, {**ANSWER, "content": [{"type": "text", "text": "a"}, 3]}]}, r"content\[1\] must be a part"),
    ({**PLAIN, "meta": 3}, "meta must be an object"),
    ({**PLAIN, "meta": []}, "meta must be an object"),
    ({"messages": [{"role": "user", "content": "x", "from": "y"}]}, r'messages\[0\] has an unexpected key "from"'),
    ({**PLAIN, "conversations": []}, "both formats"),
    ({"messages": None, "conversations": None}, 'no key "messages"'),
    ({"conversations": [{"from": "human", "value": None}]}, r"conversations\[0\]\.value must be a string, not null"),
    (
        {"conversations": [{"from": None, "value": "x"}]},
        r"conversations\[0\]\.from must be one of 'human', 'gpt', 'system'",
    ),
    ({"conversations": [{"from": "developer", "value": "x"}]}, r"conversations\[0\]\.from must be one of"),
]
NULLS = {
    "meta": {**PLAIN, "meta": None},
    "conversations": {**PLAIN, "conversations": None},
    "messages": {"messages": None, "conversations": to_sharegpt(PLAIN)["conversations"]},
    "keys of a turn": {
        "messages": [
            {**USER, "name": None},
            {**ANSWER, "tool_calls": None, "refusal": None, "weight": None, "audio": None},
        ]
    },
    "empty keys of a turn": {"messages": [USER, {**ANSWER, "tool_calls": [], "annotations": [], "name": ""}]},
    "the weight of a trained answer": {"messages": [USER, {**ANSWER, "weight": 1}]},
    "a part of text": {"messages": [{**USER, "content": [{"type": "text", "text": "Fit like?"}]}, ANSWER]},
    "parts of text": {
        "messages": [{**USER, "content": ["Fit ", {"type": "input_text", "text": "like?", "image_url": None}]}, ANSWER]
    },
    "ShareGPT": to_sharegpt(PLAIN),
}
REASONED = {
    "tags": {**ANSWER, "content": "<think>They want Doric.</think>\nNae bad."},
    "no first tag": {**ANSWER, "content": "They want Doric.</think>\nNae bad."},
    "brackets": {**ANSWER, "content": "[THINK]They want Doric.[/THINK]Nae bad."},
    "channels": {
        **ANSWER,
        "content": "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>final<|message|>Nae bad.",
    },
    "its own key": {**ANSWER, "reasoning_content": "They want Doric."},
    "a part": {**ANSWER, "content": [{"type": "thinking", "thinking": "They"}, {"type": "text", "text": "Nae bad."}]},
}
UNTRAINABLE = {
    "two questions": ([USER, USER, ANSWER], "turns 1 and 2 are both the user's"),
    "two answers": ([USER, ANSWER, ANSWER], "turns 2 and 3 are both the assistant's"),
    "two questions after a system prompt": ([SYSTEM, USER, SYSTEM, USER, ANSWER], "turns 2 and 4 are both the user's"),
    "the answer first": ([ANSWER, USER, ANSWER], "the first turn is the assistant's"),
    "no answer": ([USER], "the last turn is the user's"),
    "a question at the end": ([USER, ANSWER, USER], "the last turn is the user's"),
    "a system prompt at the end": ([USER, ANSWER, SYSTEM], "the last turn is the system's"),
    "a system prompt only": ([SYSTEM], "there is only a system prompt"),
    "an empty answer": ([USER, {**ANSWER, "content": ""}], "turn 2, of the assistant, is empty"),
    "a blank question": ([{**USER, "content": " \n\t"}, ANSWER], "turn 1, of the user, is empty"),
    "an empty system prompt": ([{**SYSTEM, "content": ""}, USER, ANSWER], "turn 1, of the system, is empty"),
    "a zero-width answer": ([USER, {**ANSWER, "content": "\u200b\ufeff\u2060"}], "turn 2, of the assistant, is empty"),
    "a soft hyphen": ([USER, {**ANSWER, "content": "\u00ad\ufe0f"}], "turn 2, of the assistant, is empty"),
    "a Hangul filler": ([USER, {**ANSWER, "content": "\u3164"}], "turn 2, of the assistant, is empty"),
    "an end mark": (
        [USER, {**ANSWER, "content": "Nae bad.<|im_end|>"}],
        "turn 2 cannot be trained: it has the mark '<|im_end|>'",
    ),
    "a mark in a question": (
        [{**USER, "content": "Fit </s> like?"}, ANSWER],
        "turn 1 cannot be trained: it has the mark '</s>'",
    ),
    "a thought in a question": (
        [{**USER, "content": "<think>a</think> like?"}, ANSWER],
        "turn 1 cannot be trained: it has the mark '<think>'",
    ),
    "a mark in a system prompt": (
        [{**SYSTEM, "content": "[INST] x"}, USER, ANSWER],
        "turn 1 cannot be trained: it has the mark '[INST]'",
    ),
}


def test_row_has_exactly_two_turns():
    """make_row returns a user turn, an assistant turn and the meta, in that order."""
    row = make_row("fit like", "Nae bad.", {"kind": "core"})
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
    assert list(row) == ["messages", "meta"]
    check_row(row)


def test_sharegpt_names_the_roles_its_own_way():
    """user becomes human, assistant becomes gpt, system stays system."""
    turns = [{"role": role, "content": role} for role in ("system", "user", "assistant")]
    converted = to_sharegpt({"messages": turns, "meta": {"id": "a"}})
    assert [turn["from"] for turn in converted["conversations"]] == ["system", "human", "gpt"]
    assert [turn["value"] for turn in converted["conversations"]] == ["system", "user", "assistant"]
    assert converted["meta"] == {"id": "a"}


def test_meta_can_be_dropped():
    """drop_meta removes the meta and keeps other keys."""
    row = {"split": "train", **make_row("a", "b", {"kind": "core"})}
    assert to_sharegpt(row, drop_meta=True).keys() == {"split", "conversations"}


@UNTIMED
@given(ROWS)
def test_there_and_back_is_the_same_row(row):
    """Converting a row to ShareGPT and back gives an equal row and does not change the original."""
    before = copy.deepcopy(row)
    assert as_messages(to_sharegpt(row)) == as_messages(row) == row == before


@UNTIMED
@given(ROWS)
def test_a_plain_row_needs_no_checks(row):
    """If is_plain accepts a row, check_row accepts it and as_messages does not change it."""
    if is_plain(row):
        check_row(row)
        assert as_messages(row) == row


@pytest.mark.parametrize(("row", "complaint"), MALFORMED)
def test_malformed_row_is_refused_by_the_key_that_is_wrong(row, complaint):
    """The error for a malformed row names the key as it is in the row, and such a row is never plain."""
    with pytest.raises(InputError, match=complaint):
        as_messages(row)
    assert not is_plain(row)


@pytest.mark.parametrize("case", NULLS)
def test_a_row_with_nulls_or_parts_becomes_plain(case):
    """Null counts as absent, parts of text are joined, and ShareGPT is read: the result is the plain row."""
    found = as_messages(NULLS[case])
    assert found == PLAIN
    assert list(found) == ["messages"]
    assert not is_plain(NULLS[case])


def test_a_developer_prompt_is_a_system_prompt():
    """The role `developer` of newer OpenAI datasets is read as `system`."""
    assert as_messages({"messages": [{**SYSTEM, "role": "developer"}, USER, ANSWER]})["messages"][0] == SYSTEM


def test_other_keys_of_a_row_are_kept():
    """A null in a key that the conversion does not use is kept as it is."""
    assert as_messages({**PLAIN, "split": None, "source": "me"}) == {**PLAIN, "split": None, "source": "me"}


@pytest.mark.parametrize("case", REASONED)
def test_reasoning_is_left_out_and_counted(case):
    """An answer loses its reasoning in every form, and `reasoned` is called once for it."""
    calls = []
    found = as_messages({"messages": [USER, REASONED[case]]}, reasoned=lambda: calls.append(1))
    assert found == PLAIN
    assert calls == [1]
    assert not is_plain({"messages": [USER, REASONED[case]]})


def test_an_answer_of_reasoning_only_is_empty():
    """If nothing is left of an answer without its reasoning, the row cannot be trained."""
    for content in ("<think>They want Doric.", "<think>They want Doric.</think>", "<think>a</think>\u200b"):
        with pytest.raises(InputError, match="turn 2, of the assistant, is empty"):
            check_row(as_messages({"messages": [USER, {**ANSWER, "content": content}]}))


@pytest.mark.parametrize("case", UNTRAINABLE)
def test_a_row_that_cannot_be_trained_is_refused(case):
    """Turns must alternate and end with an answer, none may be empty, and none may contain marks of a template."""
    turns, said = UNTRAINABLE[case]
    with pytest.raises(InputError) as caught:
        check_row({"messages": turns})
    assert caught.value.message.startswith(said)
    assert not is_plain({"messages": turns})


@pytest.mark.parametrize("turns", [[USER, ANSWER], [SYSTEM, USER, ANSWER], [USER, ANSWER, SYSTEM, USER, ANSWER]])
def test_a_row_that_can_be_trained_is_accepted(turns):
    """A system prompt may be before any question."""
    check_row({"messages": turns})


@pytest.mark.parametrize("text", ["I <3 neeps", "a < b > c", "[sic]", "…", "🐄", "x & y", "`code`"])
def test_signs_of_marks_alone_are_text(text):
    """Signs and brackets that are no marks are kept."""
    row = {"messages": [USER, {**ANSWER, "content": text}]}
    assert as_messages(row) == row
    check_row(row)


def test_ids_depend_on_every_part_and_nothing_else():
    """An id has 16 hexadecimal digits, is the same in every run, and differs for different parts."""
    assert stable_id("topic", 3, "core") == "b7b16db1856ad2cb"
    assert len({stable_id("ab", "c"), stable_id("a", "bc"), stable_id("abc"), stable_id("ab", "c", "")}) == 4


@pytest.mark.parametrize("text", ["hens\ue000", "hens \ufffd", "hensĠin winter", "a\u202eb", "a\x00b", "itâ€ s"])
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_damaged_text_is_never_trained(role, text):
    """Characters that no reader can read are refused in questions and answers, with the number of the turn."""
    turns = {"user": "Fit like?", "assistant": "Nae bad.", role: text}
    row = make_row(turns["user"], turns["assistant"], {})
    with pytest.raises(InputError, match=f"turn {1 if role == 'user' else 2} cannot be trained: it has "):
        check_row(as_messages(row))


@pytest.mark.parametrize("key", ["messages", "conversations"])
def test_text_is_tidy_in_every_format(key):
    """Spaces, invisible characters and entities are folded when a row is read."""
    names = ("role", "content", "user", "assistant") if key == "messages" else ("from", "value", "human", "gpt")
    role, text, human, model = names
    turns = [{role: human, text: "\ufeffFit\u202flike?"}, {role: model, text: "Nae&nbsp;bad\u200b, it&#39;s fine."}]
    assert [turn["content"] for turn in as_messages({key: turns})["messages"]] == ["Fit like?", "Nae bad, it's fine."]
