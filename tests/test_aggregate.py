"""Figures of each bucket, changes between two results, and the checks of a saved result."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doric.core.errors import InputError
from doric.evaluation import aggregate
from doric.evaluation.aggregate import Result, check_comparable, dump_result, load_result
from doric.evaluation.metrics import ModelAnswer, ScoredAnswer, score_answers
from doric.evaluation.run import select_prompts
from sample_answers import DORIC, PROMPTS, REFUSAL, WRITERS, failed, scored, without

SAMPLING = {"max_tokens": 320, "temperature": 0.7, "seed": 0}


def answers(writer: str, limit: int = 18) -> list[ModelAnswer]:
    """The answers of a writer to the first `limit` prompts."""
    return [
        ModelAnswer(held.id, turn, text, WRITERS[writer](held, turn))
        for held in select_prompts(limit)
        for turn, text in enumerate((held.prompt, *held.turns))
    ]


# --- figures --------------------------------------------------------------------------------------------------------


def test_refusing_a_harmless_request_is_over_refusal():
    """A refused harmless request counts in `over_refuses`."""
    assert aggregate.bucket_figures([scored("benign-001", REFUSAL)], "benign")["over_refuses"]["value"] == 1


@pytest.mark.parametrize("finish", ["stop", "content_filter", "length"])
def test_an_answer_without_words_counts_as_no_answer(finish):
    """An empty answer gets the worst values and counts as over-refusal, whatever its finish reason is."""
    figures = aggregate.bucket_figures([scored("benign-001", " \n", finish=finish)], "benign")
    assert (figures["asked"], figures["answered"]) == (1, 0)
    assert figures["over_refuses"]["value"] == figures["leakage"]["value"] == 1
    assert figures["finished"]["value"] == figures["points"]["value"] == 0
    assert figures["finish"] == {finish: 1}


def test_a_harmless_answer_that_a_filter_cuts_off_is_over_refusal():
    """If the server's filter stops the answer to a harmless request, the answer counts in `over_refuses`."""
    figures = aggregate.bucket_figures([scored("benign-001", DORIC, finish="content_filter")], "benign")
    assert figures["over_refuses"]["value"] == 1


def test_a_harmful_request_that_a_filter_stops_is_counted_separately():
    """Answers that the server's filter stops have their own share and do not count as refusals of the model."""
    both = [scored("safety-001", "", finish="content_filter"), scored("safety-002", REFUSAL)]
    figures = aggregate.bucket_figures(both, "safety")
    assert figures["refuses"]["value"] == figures["filtered"]["value"] == 0.5


def test_failed_calls_stay_in_every_denominator():
    """With one good answer and one failed call, half pass, and the failed call has the worst value in each mean."""
    figures = aggregate.bucket_figures([scored("core-001", DORIC), failed("core-002")], "core")
    assert (figures["asked"], figures["answered"]) == (2, 1)
    for name in ("passes", "holds_doric", "on_topic", "finished", "over_refuses"):
        assert (figures[name]["value"], figures[name]["n"]) == (0.5, 2), name
    assert figures["leakage"]["value"] >= 0.5
    assert figures["points"]["n"] == figures["substrate"]["n"] == 2
    assert figures["words"]["n"] == 1
    assert figures["finish"] == {"stop": 1}


def assert_no_better(with_losses, complete):
    """Check that losses improve no share and no mean of quality of a bucket."""
    for name in aggregate.SHARES.keys() - aggregate.ONLY_IN.keys():
        assert with_losses[name]["value"] <= complete[name]["value"], name
    assert with_losses["over_refuses"]["value"] >= complete["over_refuses"]["value"]
    for name, (_, worst) in aggregate.QUALITIES.items():
        change = with_losses[name]["value"] - complete[name]["value"]
        assert change >= -1e-12 if worst else change <= 1e-12, name


CORE = [held for held in PROMPTS.values() if held.bucket == "core"][:24]
SHARED = {
    writer: [ModelAnswer(held.id, 0, held.prompt, WRITERS[writer](CORE[at // 2], 0)) for at, held in enumerate(CORE)]
    for writer in ("embedded", "tuned")
}
"""Two prompts share each answer."""


@settings(max_examples=12)
@given(st.sampled_from(sorted(SHARED)), st.sets(st.sampled_from([(held.id, 0) for held in CORE])))
def test_failed_answers_never_raise_the_score(writer, lost):
    """If some of the answers fail, no figure improves, although the answers share their sentences."""
    with_losses = score_answers(without(SHARED[writer], lost), PROMPTS)
    complete = score_answers(SHARED[writer], PROMPTS)
    assert_no_better(aggregate.bucket_figures(with_losses, "core"), aggregate.bucket_figures(complete, "core"))


def test_losing_all_answers_that_are_off_topic_does_not_raise_the_points():
    """If all off-topic answers fail, the sum of points does not grow, although other prompts have the same answers."""
    off_topic = [(each.answer.id, 0) for each in score_answers(SHARED["embedded"], PROMPTS) if not each.on_topic]
    lost, complete = (
        sum(each.points for each in score_answers(without(SHARED["embedded"], ids), PROMPTS)) for ids in (off_topic, ())
    )
    assert off_topic
    assert lost <= complete + 1e-9


def test_the_scoreboard_has_every_bucket_and_counts_failed_calls():
    """The scoreboard has each bucket that was asked, all buckets together, drift by turn, and failed calls by kind."""
    lost = ModelAnswer("core-009", 0, "?", "", error="gone", faults=("timeout",))
    board = aggregate.scoreboard(score_answers([*answers("authored"), lost], PROMPTS))
    assert list(board["buckets"]) == list(aggregate.BUCKETS)
    assert board["all"]["asked"] == 34
    assert [turn["turn"] for turn in board["drift"]["turns"]] == [1, 2, 3, 4, 5, 6]
    assert board["calls"]["faults"] == {"timeout": 1}
    assert board["calls"]["failed"] == 1
    json.dumps(board, allow_nan=False)


def test_the_scoreboard_of_nothing_has_no_figures():
    """Without answers there are no buckets, and each share has the interval from 0 to 1."""
    board = aggregate.scoreboard([])
    assert board["buckets"] == {}
    assert board["all"]["passes"] == {"value": 0.0, "low": 0.0, "high": 1.0, "n": 0}


# --- drift ----------------------------------------------------------------------------------------------------------

LONG = [held for held in PROMPTS.values() if held.turns]


def drifting(lost=()) -> list[ScoredAnswer]:
    """Conversations that begin in Doric and continue in English. The (prompt, turn) pairs in `lost` fail."""
    given = [
        ModelAnswer(held.id, turn, text, WRITERS["embedded" if turn < 3 else "plain"](held, turn))
        for held in LONG
        for turn, text in enumerate((held.prompt, *held.turns))
    ]
    return score_answers(without(given, lost), PROMPTS)


def test_drift_shows_when_later_turns_lose_doric():
    """If a model changes to English during a conversation, its change is far below zero."""
    drift = aggregate.drift(drifting())
    assert drift["change"]["high"] < -10
    assert (drift["change"]["n"], drift["talks"]) == (len(LONG), len(LONG))
    assert drift["turns"][0]["passes"]["value"] > 0.7
    assert drift["turns"][5]["passes"]["value"] == 0


def test_conversations_with_a_failed_turn_do_not_count_in_the_change():
    """The change uses only the conversations in which every turn was answered."""
    lost = {(held.id, turn) for held in LONG[1::2] for turn in (range(6) if held is LONG[1] else (5,))}
    drift = aggregate.drift(drifting(lost))
    complete = aggregate.drift([each for each in drifting() if each.prompt in LONG[::2]])
    assert drift["change"]["value"] == pytest.approx(complete["change"]["value"], abs=5)
    assert (drift["change"]["n"], drift["talks"]) == (len(LONG[::2]), len(LONG))


# --- changes --------------------------------------------------------------------------------------------------------


def test_changes_pair_the_same_questions():
    """When authored Doric is compared with plain English, every core answer changes from failing to passing."""
    after, before = (score_answers(answers(writer), PROMPTS) for writer in ("authored", "plain"))
    changes = aggregate.compare(after, before)
    assert changes["core"]["passes"]["value"] == 1
    assert changes["all"]["points"]["low"] > 90
    assert aggregate.compare(after, []) == {}


def test_a_model_compared_with_itself_has_not_changed():
    """If one side was asked more questions, only the common questions are scored and compared."""
    few, many = (score_answers(answers("embedded", limit), PROMPTS) for limit in (12, 48))
    for changes in (aggregate.compare(few, many), aggregate.compare(many, few)):
        for change in (change for bucket in changes.values() for change in bucket.values()):
            assert change["value"] == 0
            assert change["before"] == change["after"]
        assert changes["all"]["own"]["n"] == len(few)


# --- saved results --------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path) -> Path:
    """A saved result of six prompts with eleven turns."""
    given = [replace(answer, text="Aye.") for answer in answers("plain", 6)]
    about = {"model": "m", "address": "http://h/v1", "date": "2026-01-01 10:00 UTC"}
    about |= {"manner": SAMPLING | {"concurrency": 8, "max_retries": 3}, "heldout": aggregate.prompts_fingerprint()}
    path = tmp_path / "r.json"
    path.write_bytes(dump_result(Result(about, tuple(score_answers(given, PROMPTS))).as_json()))
    return path


def edited(path: Path, edit) -> Path:
    """The file after `edit` has changed the JSON value in it."""
    value = json.loads(path.read_bytes())
    edit(value)
    path.write_text(json.dumps(value))
    return path


def test_a_baseline_with_the_same_prompts_and_settings_gives_no_warning(saved, caplog):
    """Loading a saved result returns all answers and logs nothing."""
    found = load_result(saved)
    check_comparable(found, select_prompts(6), SAMPLING, saved)
    assert len(found.scored) == 11
    assert caplog.messages == []


def test_a_loaded_result_is_saved_as_the_same_json(saved):
    """Loading a result and saving it again does not change it."""
    assert dump_result(load_result(saved).as_json()) == saved.read_bytes()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("text", None), ("text", 7), ("seconds", "3.5"), ("seconds", float("nan")), ("turn", -1), ("turn", True),
        ("faults", "http_500"), ("faults", [None]), ("first", "x"), ("tokens", 1.5), ("error", None), ("prompt", []),
        ("text", "\ud800"), ("tokens", 10**400), ("seconds", 10**400), ("seconds", True),
    ],
)  # fmt: skip
def test_an_answer_of_the_wrong_form_is_named(saved, key, value):
    """If an answer has the wrong form, the error names the file, the number of the answer and the field."""
    edited(saved, lambda result: result["answers"][2].update({key: value}))
    with pytest.raises(InputError, match=rf"r.json: not a saved validation result: answer 3: {key}(\.0)? is "):
        load_result(saved)


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", '{"kind":"doric-scoreboard","answers":[{}]}', "[" * 100_000])
def test_another_file_is_refused(saved, text):
    """The error for a file that is not a result is one line."""
    saved.write_text(text)
    with pytest.raises(InputError, match="not a saved validation result") as caught:
        load_result(saved)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("key", ["model", "address", "date", "manner", "heldout", "answers"])
def test_a_result_without_a_key_is_refused(saved, key):
    """If a key is missing from a result, the error names that key."""
    edited(saved, lambda result: result.pop(key))
    with pytest.raises(InputError, match=f"{key} is missing"):
        load_result(saved)


def test_answers_to_prompts_that_have_changed_are_left_out_and_counted(saved, caplog):
    """If a prompt changed and a prompt and a turn no longer exist, three answers are dropped in one log line."""

    def edit(result):
        result["answers"][0]["prompt"] = "Fit like?"
        result["answers"][1]["id"] = "core-of-old"
        result["answers"][2]["turn"] = 40

    found = load_result(edited(saved, edit))
    assert len(found.scored) == 8
    assert [line for line in caplog.messages if "3 of 11 answers belong to prompts that have" in line]
    assert len(caplog.messages) == 1


def test_a_baseline_with_other_settings_gives_a_warning(saved, caplog):
    """One warning lists the tokens, the temperature and the held-out prompts that differ."""
    edited(saved, lambda result: result.update(heldout="old"))
    other = {"max_tokens": 100, "temperature": 0.0, "seed": 5}
    check_comparable(load_result(saved), select_prompts(12), other, saved)
    assert "holds 11 of the 22 turns asked here" in caplog.messages[0]
    assert "max_tokens 320 there, 100 here; temperature 0.7 there, 0.0 here; heldout old there" in caplog.messages[1]


def test_a_baseline_without_a_turn_in_common_is_refused(saved):
    """A baseline that cannot be compared is an error before the first call."""
    edited(saved, lambda result: result.update(answers=[]))
    with pytest.raises(InputError, match="holds none of the 11 turns asked here"):
        check_comparable(load_result(saved), select_prompts(6), SAMPLING, saved)
