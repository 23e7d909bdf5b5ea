"""The list of models, in the shapes of different servers."""

import json

import pytest

from doric.llm.response import ErrorInBody
from doric.llm.served_models import ServedModel, read_model_list


@pytest.mark.parametrize(
    "value",
    [
        {"object": "list", "data": [{"id": "doric"}]},
        [{"id": "doric"}],
        ["doric"],
        {"data": ["doric"]},
        {"models": [{"name": "doric"}]},
        {"models": ["doric"]},
        {"models": [{"model": "doric", "name": None}]},
        {"data": {"doric": {"owned_by": "me"}}},
        {"data": [None, 7, {}, {"id": ""}, {"id": 5}, {"id": "doric"}]},
    ],
)
def test_names_are_found_in_every_shape(value):
    """A list may be bare, have another name, and consist of objects or of strings; what is no model is left out."""
    assert read_model_list(json.dumps(value).encode()) == [ServedModel("doric")]


@pytest.mark.parametrize("value", [{"data": None}, {"data": []}, [], {"models": []}])
def test_a_list_may_be_empty(value):
    """An empty list and null are lists without models."""
    assert read_model_list(json.dumps(value).encode()) == []


@pytest.mark.parametrize("content", [b"<!doctype html><html>", b"", b'"doric"', b"7", b"{"])
def test_what_is_no_list_is_an_error(content):
    """A page or a broken document is no list of models."""
    with pytest.raises(ValueError, match="not a list of models"):
        read_model_list(content)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"error": {"message": "Invalid API key", "code": 401}}', 401), (b'{"error": "busy"}', 502),
        (b'{"detail": "Not Found"}', 502), (b'{"data": [], "error": {"code": "invalid_api_key"}}', 401),
    ],
)  # fmt: skip
def test_an_error_in_the_place_of_a_list_is_that_error(content, status):
    """An error in a response of success has the status of its code."""
    with pytest.raises(ErrorInBody) as caught:
        read_model_list(content)
    assert caught.value.status == status


@pytest.mark.parametrize("window", ["4096", -1, 0, 1.5, None, True, [4096]])
def test_an_impossible_window_is_unknown(window):
    """Only a positive whole number is a context window."""
    assert read_model_list(json.dumps([{"id": "doric", "max_model_len": window}]).encode())[0].window is None


def test_an_adapter_has_the_window_of_its_base():
    """If an adapter has no window of its own, it has that of its base model."""
    cards = [{"id": "base", "max_model_len": 4096}, {"id": "doric", "parent": "base"}]
    assert read_model_list(json.dumps({"data": cards}).encode())[1] == ServedModel("doric", 4096, "base")
