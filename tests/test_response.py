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


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("stop", "STOP", "eos", "EOS_TOKEN", "end_turn", "end-turn", "endTurn", "stop_sequence", "Complete"), "stop"),
        ((None, "", "null", "None", "FINISH_REASON_UNSPECIFIED", 0, True, [], [None]), "stop"),
        (("length", "max_tokens", "MAX_TOKENS", "maxTokens", "model_length", "FINISH_REASON_MAX_TOKENS"), "length"),
        (("max output tokens", "FinishReason.MAX_TOKENS", "incomplete", ["length"]), "length"),
        (("content_filter", "SAFETY", "safety", "contentFilter", "blocklist", "PROHIBITED_CONTENT"), "content_filter"),
        (("abort", "aborted", "cancelled", "canceled", "ABORT", "client_disconnected"), "abort"),
        (({"type": "stop"}, ["stop"], " Stop\n"), "stop"),
        (("tool_calls",), "tool_calls"),
        (("Quite new", "Quite\x07 new"), "Quite new"),
        (("x" * 100_000,), "x" * 40),
    ],
)
def test_finish_reasons_have_one_word_each(words, reason):
    """Each server's word for a finish reason becomes one word, and an unknown word is kept as it is."""
    for word in words:
        value = {"choices": [{"message": {"content": TEXT}, "finish_reason": word}]}
        assert (read(value).text, read(value).finish) == (TEXT, reason)


def test_a_cancelled_answer_without_text_is_retryable():
    """If the call was cancelled at the server before there was any text, it may be repeated."""
    with pytest.raises(RetryableError, match="broke off"):
        read({"choices": [{"message": {"content": ""}, "finish_reason": "abort"}]})


@pytest.mark.parametrize(
    "choice",
    [
        {"text": TEXT},
        {"delta": {"content": TEXT}},
        {"message": {"content": {"type": "text", "text": TEXT}}},
        {"message": {"content": [{"type": "output_text", "text": {"value": TEXT}}]}},
        {"message": {"content": [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": TEXT}]}},
        {"message": {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, TEXT]}},
    ],
)
def test_the_text_is_found_in_other_shapes_of_a_choice(choice):
    """The text is found where older and other servers write it, and parts with reasoning are no text."""
    assert read({"choices": [choice]}).text == TEXT


def chunk(**delta: object) -> dict:
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


@pytest.mark.parametrize("data", [b"{", b'{"choices":[{"delta":{"content":5}}]}', b'{"choices":[7]}', b'["x"]'])
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


def stream(*chunks: object) -> tuple[str, StreamedCompletion]:
    """The text of the pieces, and the answer, of a stream of chunks in JSON."""
    answer = StreamedCompletion()
    return "".join(answer.add(json.dumps(each).encode()) for each in chunks), answer


END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    "chunks",
    [
        [{"choices": None}, {"choices": [None]}, {"choices": []}, chunk(content=TEXT)],
        [{"choices": [{"delta": None}]}, {"choices": [{}]}, chunk(content=None), chunk(content=TEXT)],
        [None, 0, "", "ping", True, [], {"type": "ping"}, chunk(content=TEXT)],
        [chunk(content=TEXT), {"choices": [{"index": 1, "delta": {"content": "Another answer."}}]}],
        [{"choices": [{"text": TEXT}]}],
        [{"choices": [{"message": {"content": TEXT}}]}],
        [chunk(content=TEXT), {"choices": [{"message": {"content": TEXT}}]}],
        [{"choices": [{"message": {"content": TEXT[:at]}}]} for at in (5, 12, len(TEXT))],
        [chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]), chunk(content=[TEXT])],
        [chunk(content=[{"type": "text", "text": TEXT}]), chunk(content=[])],
        [chunk(content="Haud the "), chunk(content="windae open a wee bittie.")],
    ],
    ids=["null choices", "null deltas", "keep-alives", "second answer", "text", "message", "message at the end",
         "growing message", "reasoning in parts", "text in parts", "plain"],
)  # fmt: skip
def test_chunks_have_several_shapes(chunks):
    """The text is the same in each shape of a chunk, and what has no text is ignored."""
    text, answer = stream(*chunks, END)
    assert text == answer.text == TEXT
    assert read_completion(answer.body(), "").text == TEXT


@pytest.mark.parametrize(
    ("usages", "counts"),
    [
        ([None], (0, 0)),
        ([{"prompt_tokens": None, "completion_tokens": None}], (0, 0)),
        ([{"prompt_tokens": "5", "completion_tokens": -1}], (0, 0)),
        ([{"prompt_tokens": 5.0, "completion_tokens": 3.0}], (5, 3)),
        ([[5, 3]], (0, 0)),
        (["none"], (0, 0)),
        ([{"prompt_tokens": 5}], (5, 0)),
        (
            [{"prompt_tokens": 5, "completion_tokens": 3}, {"prompt_tokens": None, "completion_tokens": None}, None],
            (5, 3),
        ),
        ([{"prompt_tokens": 5, "completion_tokens": 1}, {"prompt_tokens": 5, "completion_tokens": 3}], (5, 3)),
        ([{"completion_tokens": [1], "prompt_tokens": {}}], (0, 0)),
    ],
)
def test_token_counts_of_a_stream_may_be_odd(usages, counts):
    """Impossible counts are 0, later counts replace earlier ones, and null replaces nothing."""
    _, answer = stream(chunk(content=TEXT), END, *({"choices": [], "usage": usage} for usage in usages))
    assert answer.counts == counts
    completion = read_completion(answer.body(), "")
    assert (completion.tokens_in, completion.tokens_out) == counts


def test_token_counts_may_be_in_the_choice():
    """Some servers write the counts into the last choice."""
    usage = {"prompt_tokens": 5, "completion_tokens": 3}
    _, answer = stream(chunk(content=TEXT), {"choices": [{"delta": {}, "finish_reason": "stop", "usage": usage}]})
    assert answer.counts == (5, 3)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([rb"\ud83d", rb"\ude00"], "\U0001f600"),
        ([rb"a\ud83d", rb"", rb"\udc80b"], "a\U0001f480b"),
        ([b"\xf0\x9f", b"\x90\x84"], "\U0001f404"),
        ([b"\xf0", b"\x9f", b"\x90", b"\x84 "], "\U0001f404 "),
        ([b"caf\xc3", b"\xa9"], "caf\u00e9"),
        ([rb"\ud83d", b"a"], "a"),
    ],
)
def test_halves_of_a_character_are_joined_in_the_pieces(pieces, text):
    """A character that is split over chunks, as escapes or as bytes, is whole in the pieces; a lone half is dropped."""
    answer = StreamedCompletion()
    shown = [answer.add(b'{"choices":[{"delta":{"content":"' + piece + b'"}}]}') for piece in pieces]
    answer.add(END)
    assert read_completion(answer.body(), "").text == text.strip()
    if len(text) > 1 or ord(text) > 127:
        assert "".join(shown) == text


@pytest.mark.parametrize(
    ("delta", "field"),
    [
        ({"refusal": "I canna dee that."}, "refusal"),
        ({"tool_calls": [{"function": {"name": "look"}}]}, "tool_calls"),
        ({"function_call": {"name": "look"}}, "function_call"),
        ({"reasoning_content": "hm"}, "reasoning_content"),
        ({"reasoning": "hm"}, "reasoning_content"),
        ({"content": "", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, "reasoning_details"),
        ({"audio": {"id": "a"}}, "audio"),
        ({}, ""),
    ],
)
def test_a_stream_without_text_names_the_field_that_was_filled(delta, field):
    """A refusal, a tool call and reasoning are no text, but they are named."""
    _, answer = stream({"choices": [{"delta": delta}]}, END)
    assert (answer.text, answer.elsewhere) == ("", field)
    assert read_completion(answer.body(), "").elsewhere == field


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "EngineCore died", "code": 500}},
        {"error": "EngineCore died"},
        {"object": "error", "message": "EngineCore died", "code": 500},
        {"detail": "EngineCore died"},
        {"choices": [{"delta": {}, "error": {"message": "EngineCore died"}}]},
    ],
)
def test_an_error_before_the_end_counts_and_an_error_after_it_does_not(error):
    """An error in the middle makes the answer unusable, even if an end follows; after the end it changes nothing."""
    _, answer = stream(chunk(content="Haud"), error, END)
    assert b"EngineCore died" in answer.body()
    with pytest.raises(ErrorInBody):
        read_completion(answer.body(), "")
    _, answer = stream(chunk(content=TEXT), END, error)
    assert read_completion(answer.body(), "").text == TEXT


def test_a_stream_may_end_without_a_finish_reason():
    """If the server gives no finish reason but says that the stream is over, the answer is whole."""
    _, answer = stream(chunk(content=TEXT))
    answer.ended = True
    assert (answer.complete, read_completion(answer.body(), "").finish) == (True, "stop")


@pytest.mark.parametrize("late", [{"delta": {"content": "late"}}, {"text": "late"}, {"message": {"content": "late"}}])
def test_text_after_the_end_is_not_part_of_the_answer(late):
    """What a server sends after a finish reason is dropped, and so is all that follows it, with or without a reason."""
    answer = StreamedCompletion()
    answer.add({"choices": [{"delta": {"content": "Aye."}, "finish_reason": "stop"}]})
    assert answer.add({"choices": [late]}) == ""
    assert answer.add({"choices": [{"delta": {"content": " Weel."}, "finish_reason": "stop"}]}) == ""
    assert (answer.text, answer.finish) == ("Aye.", "stop")


def test_a_finish_reason_with_each_chunk_ends_nothing():
    """Some servers give a finish reason with each chunk; then all of them are the answer."""
    ends = [{"choices": [{"delta": {"content": word}, "finish_reason": "stop"}]} for word in ("Aye", " weel", ".")]
    pieces, answer = stream(*ends[:2], {"choices": [{"delta": {}}], "usage": {}}, ends[2])
    assert ("".join(pieces), answer.finish) == ("Aye weel.", "stop")


def test_an_end_before_any_text_is_none():
    """If a first chunk without text has a finish reason, the answer that follows is not lost, and has its own end."""
    _, answer = stream(END, chunk(content="Aye"))
    assert not answer.complete
    answer.add(chunk(content=" weel."))
    answer.add(END)
    assert (answer.text, answer.complete, answer.finish) == ("Aye weel.", True, "stop")


GROWING = {
    "half an emoji": ["Aye \ud83d", "Aye 😊", "Aye 😊 noo"],
    "sign for the half": ["Aye \ufffd", "Aye \ufffd\ufffd", "Aye 😊", "Aye 😊 noo"],
    "shorter once": ["Aye weel", "Aye", "Aye weel 😊", "Aye weel", "Aye weel 😊 noo"],
    "the same again": ["Aye", "Aye", "Aye noo", "Aye noo"],
}


@pytest.mark.parametrize(
    "shape", [lambda text: {"message": {"content": text}}, lambda text: {"text": text}], ids=["message", "text"]
)
@pytest.mark.parametrize("case", GROWING)
def test_no_text_is_repeated_when_a_message_grows(shape, case):
    """A character that is sent in halves, a shorter message or the same one again repeats nothing, in any shape."""
    pieces, answer = stream(*({"choices": [shape(text)]} for text in GROWING[case]), END)
    assert "".join(pieces) == answer.text == GROWING[case][-1]


def test_pieces_that_begin_alike_are_no_growing_text():
    """Pieces of text that begin with the same letters as the answer are all kept."""
    for pieces in (["H", "Hae", " a", " ha"], ["ha", " ha", " haha"], ["no", "noo", " noo"]):
        _, answer = stream(*({"choices": [{"text": text}]} for text in pieces), END)
        assert answer.text == "".join(pieces)


def test_a_message_that_grows_with_each_chunk_is_read_once():
    """Some servers send the whole message so far again and again, with its reasoning."""
    answer = StreamedCompletion()
    words, thoughts = ["Aye, ", "it's ", "a ", "gran ", "day. ", "😊 "], ["They ", "want ", "Doric."]
    for end in range(1, 4):
        answer.add({"choices": [{"message": {"content": "", "reasoning_content": "".join(thoughts[:end])}}]})
    messages = [{"content": "".join(words[:end]), "reasoning_content": "They want Doric."} for end in range(1, 7)]
    pieces = [answer.add({"choices": [{"message": message}]}) for message in messages]
    assert "".join(pieces) == answer.text == "Aye, it's a gran day. 😊 "
    assert answer.reasoning == "They want Doric."


@pytest.mark.parametrize("word", ["null", "None", "FINISH_REASON_UNSPECIFIED", "in_progress"])
def test_a_word_for_no_reason_does_not_end_a_stream(word):
    """Some servers write a word in every chunk until the answer ends."""
    _, answer = stream({"choices": [{"delta": {"content": "Haud"}, "finish_reason": word}]})
    assert not answer.complete
    answer.add(END)
    assert (answer.complete, answer.finish) == (True, "stop")


@pytest.mark.parametrize("error", [{"code": 0, "message": ""}, {}, [], "", False, 0])
def test_an_empty_error_is_no_error(error):
    """Some servers send the field `error` with every answer and every chunk."""
    _, answer = stream({**chunk(content=TEXT), "error": error}, {**END, "error": error})
    assert read_completion(answer.body(), "").text == TEXT
    assert read({"choices": [{"message": {"content": TEXT}, "error": error}], "error": error}).text == TEXT


def test_the_words_beside_an_error_that_is_true_are_kept():
    """An error may be no more than a sign, with its words in another field."""
    _, answer = stream({"error": True, "message": "oot o memory"})
    assert b"oot o memory" in answer.body()


def test_bytes_that_are_no_character_are_shown_as_damage():
    """No letter disappears in silence: the gates refuse an answer with a replacement character."""
    piece = b'{"choices":[{"index":0,"delta":{"content":"caf\xe9"}}]}'
    answer = StreamedCompletion()
    answer.add(piece)
    answer.add(END)
    damaged = "caf\N{REPLACEMENT CHARACTER}"
    assert (answer.text, read_completion(answer.body(), "").text) == (damaged, damaged)
    whole = b'{"choices":[{"message":{"content":"caf\xe9"}}]}'
    assert read_completion(whole, "").text == damaged
