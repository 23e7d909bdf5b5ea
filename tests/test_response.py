"""Reading completions: the formats of different servers, streamed chunks, and the lines of an event stream."""

import json

import pytest

from doric.core.errors import RetryableError
from doric.llm.response import (
    Completion,
    ErrorInBody,
    StreamedCompletion,
    estimate_tokens,
    read_completion,
)

TEXT = "Haud the windae open a wee bittie."


def read(value: object) -> Completion:
    return read_completion(json.dumps(value).encode(), "application/json")


def with_message(message: dict, **fields) -> dict:
    return {"choices": [{"message": message, "finish_reason": "stop"}], **fields}


def test_a_completion_is_read():
    """Text, finish reason and tokens come from the first choice and from the usage."""
    value = with_message({"content": f" {TEXT}\n"}, usage={"prompt_tokens": 12, "completion_tokens": 9})
    assert read(value) == Completion(TEXT, "stop", 12, 9)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "Haud "}, {"type": "text", "text": "it."}], "Haud it."),
        (["Haud ", "it."], "Haud it."),
        ([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Haud it."}], "Haud it."),
        (None, ""),
        ("Haud \ud83d it.", "Haud  it."),
        ("Haud \ud83d\ude00 it.", "Haud \U0001f600 it."),
    ],
    ids=["parts", "strings", "reasoning part", "null", "lone surrogate", "surrogate pair"],
)
def test_content_has_several_shapes(content, text):
    """Content may be text, a list of parts or null, and half of an emoji is dropped."""
    assert read(with_message({"content": content})).text == text


@pytest.mark.parametrize(
    "value",
    [
        with_message({"content": TEXT, "reasoning_content": "hm"}),
        with_message({"content": TEXT, "reasoning": "hm"}),
        with_message({"content": f"<think>hm</think>{TEXT}"}),
        with_message({"content": [{"thinking": "hm"}, {"text": TEXT}]}),
        with_message({"content": TEXT}, usage={"completion_tokens_details": {"reasoning_tokens": 5}}),
        {"choices": [{"message": {"content": ""}, "finish_reason": "length"}]},
    ],
    ids=["reasoning_content", "reasoning", "tags", "part", "tokens", "no answer within the limit"],
)
def test_signs_of_reasoning(value):
    """A model is known to reason by its text, its fields, its token counts, or an empty answer at the limit."""
    assert read(value).reasoned
    assert not read(with_message({"content": TEXT})).reasoned


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"content": None, "reasoning_content": "hm"}, "reasoning_content"),
        ({"content": "", "reasoning": "hm"}, "reasoning"),
        ({"content": None, "refusal": "I canna dee that."}, "refusal"),
        ({"content": None, "tool_calls": [{"function": {"name": "look"}}]}, "tool_calls"),
        ({"content": [{"type": "thinking", "thinking": "hm"}]}, "content, as a part of type thinking"),
        ({"content": "<think>hm</think>"}, "content, as reasoning"),
        ({"content": "", "refusal": None, "tool_calls": []}, ""),
        ({"content": TEXT, "reasoning_content": "hm", "refusal": ""}, ""),
    ],
)
def test_the_field_that_was_filled_instead_is_named(message, field):
    """If a message has no text, the completion names the field that the model filled instead."""
    assert read(with_message(message)).elsewhere == field


@pytest.mark.parametrize("count", [-1, 10**12, "9", None, float("nan")])
def test_impossible_token_counts_are_zero(count):
    """An impossible token count is treated as missing, so that the tokens are estimated."""
    found = read_completion(
        json.dumps(with_message({"content": TEXT}, usage={"prompt_tokens": count})).encode(), "application/json"
    )
    assert found.tokens_in == 0


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ({"error": {"code": 429}}, 429),
        ({"error": {"type": "insufficient_quota"}}, 429),
        ({"error": "overloaded"}, 502),
        ({"choices": [{"error": {"code": "503"}}]}, 503),
        ({"choices": [{"finish_reason": "error", "message": {"content": "x"}}]}, 502),
    ],
)
def test_an_error_with_status_200(value, status):
    """An error in a response with status 200 gets the status that its code means, otherwise 502."""
    with pytest.raises(ErrorInBody) as caught:
        read(value)
    assert caught.value.status == status


def test_the_tokens_of_an_unreadable_answer_are_estimated():
    """An answer that breaks off was paid for, so its error has a token count estimated from its characters."""
    content = json.dumps(with_message({"content": TEXT})).encode()[:-4]
    with pytest.raises(RetryableError, match="could not be read") as caught:
        read_completion(content, "application/json", prompt_characters=300)
    error = caught.value
    assert (error.tokens_in, error.tokens_out, error.counted) == (100, int(estimate_tokens(len(content))), False)


def chunk(**delta: str) -> dict:
    return {"choices": [{"delta": delta}]}


def test_a_streamed_answer_is_collected():
    """Each chunk, decoded or as JSON, returns its text, and the whole answer equals an answer without streaming."""
    answer = StreamedCompletion()
    chunks = [
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        chunk(reasoning_content="hm"),
        chunk(content="Haud "),
        chunk(content="it."),
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 9}},
    ]
    texts = [answer.add(value if number % 2 else json.dumps(value).encode()) for number, value in enumerate(chunks)]
    assert texts == ["", "", "Haud ", "it.", "", ""]
    assert (answer.text, answer.reasoning, answer.finish, answer.pieces) == ("Haud it.", "hm", "stop", 3)
    assert read_completion(answer.body(), "") == Completion("Haud it.", "stop", 4, 9, reasoned=True)


def test_half_an_emoji_in_each_of_two_chunks():
    """A surrogate pair that is split over two chunks becomes one character."""
    answer = StreamedCompletion()
    answer.add(rb'{"choices":[{"delta":{"content":"\ud83d"}}]}')
    answer.add(rb'{"choices":[{"delta":{"content":"\ude00"},"finish_reason":"stop"}]}')
    assert read_completion(answer.body(), "").text == "\U0001f600"


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"choices":[{"delta":{"content":5}}]}', b'{"choices":[7]}', b'["x"]'])
def test_what_is_not_a_chunk_is_retryable(data):
    """An event that is not a chunk of a completion is a malformed answer."""
    with pytest.raises(RetryableError, match="not a chunk"):
        StreamedCompletion().add(data)


def test_a_stream_without_a_finish_reason_is_incomplete():
    """A stream that ends before the end of the answer is an error, not a short answer."""
    answer = StreamedCompletion()
    answer.add(chunk(content="Haud"))
    with pytest.raises(RetryableError, match="ended before the answer was complete") as caught:
        answer.body(prompt_characters=300)
    assert (caught.value.tokens_in, caught.value.tokens_out, caught.value.counted) == (100, 1, False)


def test_an_error_event_in_a_stream():
    """An error event gives the same error as a response without streaming."""
    answer = StreamedCompletion()
    answer.add(chunk(content="Haud"))
    answer.add({"error": {"message": "out of memory", "code": 503}})
    assert answer.error == {"message": "out of memory", "code": 503}
    with pytest.raises(ErrorInBody) as caught:
        read_completion(answer.body(), "")
    assert caught.value.status == 503


@pytest.mark.parametrize(
    "content",
    [
        f"[THINK]hm[/THINK]{TEXT}",
        f"<thought>hm</thought>{TEXT}<|im_end|>",
        f"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>{TEXT}<|return|>",
        f"hm</think>{TEXT}</s>",
        f"<think></think>{TEXT}",
        [{"type": "text", "text": f"<reasoning>hm</reasoning>{TEXT}"}],
    ],
)
def test_reasoning_and_end_marks_are_cut_from_every_answer(content):
    """All commands get the answer alone, and the model counts as reasoning."""
    completion = read(with_message({"content": content}))
    assert (completion.text, completion.reasoned, completion.elsewhere) == (TEXT, True, "")


@pytest.mark.parametrize("content", ["[THINK]hm", "<|channel|>analysis<|message|>hm<|end|>", "hm</think>"])
def test_an_answer_of_reasoning_only_says_so(content):
    """There is no text, and the reason is named."""
    completion = read(with_message({"content": content}))
    assert (completion.text, completion.reasoned, completion.elsewhere) == ("", True, "content, as reasoning")


def test_an_answer_of_an_end_mark_only_is_empty():
    """An end mark is not reasoning."""
    completion = read(with_message({"content": "<|im_end|>"}))
    assert (completion.text, completion.reasoned, completion.elsewhere) == ("", False, "")
