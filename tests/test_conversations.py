"""The two formats of a row, and the conversion between them."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doric.core.conversations import check_row, from_sharegpt, make_row, stable_id, to_sharegpt, to_sharegpt_in_place
from doric.core.errors import InputError

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TURNS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": st.text()}), min_size=1
)
ROWS = st.fixed_dictionaries(
    {"messages": TURNS}, optional={"meta": st.dictionaries(st.text(), st.integers()), "split": st.just("train")}
)
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
    ({"messages": [{"role": ["user"], "content": "x"}]}, r"messages\[0\]\.role must be one of"),
    ({"messages": [{"role": "user", "content": None}]}, r"messages\[0\]\.content must be a string"),
    ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, r'messages\[0\] has an unexpected key "name"'),
    ({"messages": [{"role": "user", "content": "x"}, {"role": "gpt", "content": "x"}]}, r"messages\[1\]\.role"),
    ({"messages": [{"role": "user", "content": "x"}], "meta": 3}, "meta must be an object"),
    ({"messages": [{"role": "user", "content": "x"}], "meta": None}, "meta must be an object"),
    ({"messages": [{"role": "user", "content": "x", "from": "y"}]}, r'messages\[0\] has an unexpected key "from"'),
    ({"messages": [{"role": "user", "content": "x"}], "conversations": []}, "both formats"),
]


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
    assert from_sharegpt(to_sharegpt(row)) == row == before


@UNTIMED
@given(ROWS, st.booleans())
def test_in_place_conversion_agrees_with_the_careful_one(row, drop_meta):
    """The fast conversion writes the same keys in the same order."""
    careful = to_sharegpt(row, drop_meta=drop_meta)
    assert json.dumps(to_sharegpt_in_place(row, drop_meta=drop_meta)) == json.dumps(careful)


@pytest.mark.parametrize(("row", "complaint"), MALFORMED)
def test_malformed_row_is_refused_by_the_key_that_is_wrong(row, complaint):
    """The error for a malformed row names the key, and the in-place conversion also refuses the row."""
    with pytest.raises(InputError, match=complaint):
        check_row(row)
    with pytest.raises(InputError):
        to_sharegpt_in_place(copy.deepcopy(row))


def test_malformed_sharegpt_is_refused_in_its_own_words():
    """Errors of from_sharegpt name ShareGPT keys."""
    with pytest.raises(InputError, match=r"conversations\[0\]\.from must be one of 'human', 'gpt', 'system'"):
        from_sharegpt({"conversations": [{"from": "user", "value": "x"}]})


def test_ids_depend_on_every_part_and_nothing_else():
    """An id has 16 hexadecimal digits, is the same in every run, and differs for different parts."""
    assert stable_id("topic", 3, "core") == "b7b16db1856ad2cb"
    assert len({stable_id("ab", "c"), stable_id("a", "bc"), stable_id("abc"), stable_id("ab", "c", "")}) == 4
