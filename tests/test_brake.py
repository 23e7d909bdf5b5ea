"""The brake: a run that pays for answers and can use none of them stops, and says why."""

import pytest

from doric.core.errors import FatalServerError, RetryableError
from doric.llm.brake import Brake
from doric.llm.response import Completion

ENGLISH = Completion("You should check the tyres.", "stop", 700, 90)
UNREADABLE = RetryableError("it is no JSON", fault="malformed", tokens_in=700, tokens_out=90)
SILENT = Completion("", "stop", 700, 90, elsewhere="reasoning_content")


def refused_until_stopped(brake, completion, check="late_doric", most=10_000):
    """The number of refused answers after which the brake stops the run, and its error."""
    for number in range(1, most + 1):
        try:
            brake.refused(completion, check)
        except FatalServerError as error:
            return number, error
    return most, None


def test_fifty_refused_answers_in_a_row_end_a_run_without_rows():
    """The error names the gates with their shares, where the answers are, and the flag to go on anyway."""
    brake = Brake(see="out.jsonl.rejected.jsonl")
    for _ in range(12):
        brake.refused(ENGLISH, "too_short")
    number, error = refused_until_stopped(brake, ENGLISH)
    assert number == 38
    assert error.message == (
        "50 answers in a row were refused and none was accepted in this run: late_doric 38 (76%), too_short 12 (24%)"
    )
    assert "out.jsonl.rejected.jsonl" in error.hint
    assert "--max-rejected 0 goes on anyway" in error.hint


@pytest.mark.parametrize(("accepted", "limit"), [(1, 100), (2, 150), (9, 500), (1000, 500)])
def test_accepted_answers_raise_the_limit(accepted, limit):
    """A model that has written good answers may fail more often in a row, but not for ever."""
    brake = Brake()
    for _ in range(accepted):
        brake.accepted()
    number, error = refused_until_stopped(brake, ENGLISH)
    assert number == limit
    assert "since the last one that was accepted" in error.message


def test_an_accepted_answer_starts_the_count_again():
    """Only answers in a row count."""
    brake = Brake(10)
    for _ in range(20):
        assert refused_until_stopped(brake, ENGLISH, most=9) == (9, None)
        brake.accepted()


@pytest.mark.parametrize("completion", [ENGLISH, SILENT, Completion("", "content_filter"), Completion("", "length")])
def test_a_limit_of_zero_never_stops(completion):
    """With `--max-rejected 0` the run goes on, whatever the answers are."""
    brake = Brake(0)
    assert refused_until_stopped(brake, completion, most=1000) == (1000, None)
    for _ in range(1000):
        brake.failed(UNREADABLE)


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ("reasoning_content", "Turn off the model's reasoning"),
        ("reasoning", "Turn off the model's reasoning"),
        ("thinking", "Turn off the model's reasoning"),
        ("refusal", "refuses these prompts"),
        ("tool_calls", "calls tools"),
        ("function_call", "calls functions"),
        ("some_new_field", "choose another model"),
    ],
)
@pytest.mark.parametrize("finish", ["stop", "tool_calls", "eos", "length"])
def test_eight_answers_without_words_are_enough(field, hint, finish):
    """The error names the field that holds the text, whatever the finish reason is."""
    number, error = refused_until_stopped(Brake(), Completion("", finish, 700, 90, elsewhere=field), "empty")
    assert number == 8
    assert f"the text is in the field {field}" in error.message
    if finish != "length":
        assert hint in error.hint
        assert f"finish reason '{finish}'" in error.message


def test_an_answer_of_signs_only_has_no_words():
    """Dots, digits and emoji are no words."""
    assert refused_until_stopped(Brake(), Completion("… 1. 😊", "stop"), "empty")[0] == 8


def test_empty_answers_with_no_other_field_are_named_as_empty():
    """If no field holds a text, the error does not name one."""
    error = refused_until_stopped(Brake(), Completion("", "stop", 700, 1), "empty")[1]
    assert "8 answers in a row have no words in them" in error.message
    assert "field" not in error.message


def test_answers_used_up_by_reasoning():
    """If the token budget is used up without a word, the error says so, with the tokens of the last answer."""
    error = refused_until_stopped(Brake(), Completion("", "length", 700, 16384), "empty")[1]
    assert "8 answers used up their token budget (16,384 tokens in the last one)" in error.message


def test_twenty_filtered_answers_are_enough():
    """The error names the content filter."""
    number, error = refused_until_stopped(Brake(), Completion("", "content_filter"), "filtered")
    assert number == 20
    assert "content filter withheld 20 answers" in error.message


def test_silent_answers_between_others_count_as_refused_answers():
    """The lower limit is only for a model that writes no words at all."""
    brake = Brake()
    for _ in range(25):
        brake.refused(ENGLISH, "late_doric")
    number, error = refused_until_stopped(brake, SILENT, "empty")
    assert number == 25
    assert "no words 25 (50%)" in error.message


@pytest.mark.parametrize(
    ("limit", "silent", "filtered"), [(1, 1, 1), (5, 5, 5), (20, 8, 20), (50, 8, 20), (500, 80, 200)]
)
def test_a_larger_limit_raises_all_limits(limit, silent, filtered):
    """`--max-rejected` sets one limit, and the limits for silent and filtered answers follow it."""
    assert refused_until_stopped(Brake(limit), SILENT, "empty")[0] == silent
    assert refused_until_stopped(Brake(limit), Completion("", "content_filter"), "filtered")[0] == filtered


def test_answers_that_were_paid_for_and_cannot_be_read_count():
    """Fifty unreadable answers in a row end the run."""
    brake = Brake()
    for _ in range(49):
        brake.failed(UNREADABLE)
    with pytest.raises(FatalServerError, match=r"malformed 50 \(100%\); the last one: it is no JSON") as stopped:
        brake.failed(UNREADABLE)
    assert "Check the base URL" in stopped.value.hint


def test_answers_that_never_come_in_time_name_the_flag():
    """Fifty timeouts in a row end the run with a hint about --timeout."""
    brake = Brake()
    late = RetryableError("no answer within 600 s (--timeout)", fault="timeout", tokens_in=700)
    for _ in range(49):
        brake.failed(late)
    with pytest.raises(FatalServerError, match=r"timeout 50 \(100%\)") as stopped:
        brake.failed(late)
    assert "--timeout" in stopped.value.hint


def test_answers_after_the_stop_do_not_change_the_error():
    """The calls in flight end after the stop; the error keeps its number."""
    brake = Brake()
    first = refused_until_stopped(brake, SILENT, "empty")[1]
    assert refused_until_stopped(brake, ENGLISH)[1] is first
