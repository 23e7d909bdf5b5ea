"""A saved result as a baseline: what is no result is refused with its place, what cannot be compared is told."""

import json
from pathlib import Path

import pytest

from doric.core.errors import InputError
from doric.evaluation import baseline, exam
from doric.evaluation import run as candidate
from doric.evaluation.exam import Rules
from doric.evaluation.metrics import ModelAnswer, mark
from doric.quality.decontamination import held_out_prompts

RULES = Rules(max_tokens=320, temperature=0.7, seed=0)
ABOUT = {"model": "m", "address": "http://h/v1", "date": "2026-01-01 10:00 UTC", "heldout": exam.fingerprint()}


@pytest.fixture
def result(tmp_path) -> Path:
    """A saved result of six prompts."""
    prompts = exam.chosen(6)
    given = [
        ModelAnswer(held.id, turn, text, "Aye.")
        for held in prompts
        for turn, text in enumerate((held.prompt, *held.turns))
    ]
    known = {held.id: held for held in held_out_prompts()}
    manner = {"max_tokens": 320, "temperature": 0.7, "seed": 0, "concurrency": 8, "max_retries": 3}
    made = candidate.Result({**ABOUT, "manner": manner}, tuple(mark(given, known)))
    candidate.save(made.as_json(), tmp_path / "r.json")
    return tmp_path / "r.json"


def edited(path: Path, edit) -> Path:
    value = json.loads(path.read_bytes())
    edit(value)
    path.write_text(json.dumps(value))
    return path


def test_a_result_that_was_asked_the_same_raises_no_word(result, caplog):
    """Same prompts, same rules: everything is kept and nothing is said."""
    found = baseline.saved(result)
    baseline.compare_with(found, exam.chosen(6), RULES, result)
    assert len(found.marked) == 11
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("text", None), ("text", 7), ("seconds", "3.5"), ("seconds", float("nan")), ("turn", -1), ("turn", True),
        ("faults", "http_500"), ("faults", [None]), ("first", "x"), ("tokens", 1.5), ("error", None), ("prompt", []),
        ("text", "\ud800"), ("tokens", 10**400), ("seconds", 10**400), ("seconds", True),
    ],
)  # fmt: skip
def test_an_answer_of_the_wrong_kind_is_named(result, key, value):
    """The file, the answer's number and the field are told, not a traceback."""
    edited(result, lambda saved: saved["answers"][2].update({key: value}))
    with pytest.raises(InputError) as caught:
        baseline.saved(result)
    assert f"r.json: not a saved validation result: answer 3: {key} is " in caught.value.message


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", '{"kind":"doric-scoreboard","answers":[{}]}', "[" * 100_000])
def test_another_file_is_refused(result, text):
    """What is no result at all is refused in a line."""
    result.write_text(text)
    with pytest.raises(InputError, match="not a saved validation result"):
        baseline.saved(result)


def test_answers_to_other_prompts_are_left_out_and_counted(result, caplog):
    """A prompt since reworded, one since dropped and a turn since cut: three fewer, in one line."""

    def edit(saved):
        saved["answers"][0]["prompt"] = "Fit like?"
        saved["answers"][1]["id"] = "core-of-old"
        saved["answers"][2]["turn"] = 40

    found = baseline.saved(edited(result, edit))
    assert len(found.marked) == 8
    assert [line for line in caplog.messages if "3 of 11 answers are to no prompt of today" in line] == caplog.messages


def test_other_rules_are_told(result, caplog):
    """Tokens, temperature and held-out set that differ stand in one warning."""
    edited(result, lambda saved: saved.update(heldout="old"))
    baseline.compare_with(baseline.saved(result), exam.chosen(12), Rules(100, 0.0, 5), result)
    assert "holds 11 of the 22 turns asked here" in caplog.messages[0]
    assert "max_tokens 320 there, 100 here; temperature 0.7 there, 0.0 here; heldout old there" in caplog.messages[1]


def test_a_baseline_without_a_turn_in_common_is_refused(result):
    """Nothing to compare is an error before anything is asked."""
    edited(result, lambda saved: saved.update(answers=[]))
    with pytest.raises(InputError, match="holds none of the 11 turns asked here"):
        baseline.compare_with(baseline.saved(result), exam.chosen(6), RULES, result)
