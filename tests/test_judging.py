"""The one reader of verdicts: scores and choices in the forms in which models write them."""

import json

import pytest

from doric.dataset import sense
from doric.evaluation import judge

SCORES = {"answers": 5, "correct": 4, "doric": 3}
PICKS = {"naturalness": "ours", "correctness": "theirs", "doric": "tie", "overall": "ours"}
LABELS = {"naturalness": "A", "correctness": "B", "doric": "tie", "overall": "A"}


def with_all(value: object) -> str:
    return json.dumps(dict.fromkeys(sense.criteria(), value))


@pytest.mark.parametrize(
    "value",
    [
        "1-5",
        "4-5",
        "4 - 5",
        "1–5",
        "1..5",
        "4,5",
        "5,000",
        "4.5",
        "4.05",
        "4 or 5",
        "1 to 5",
        "4/10",
        "5/50",
        "10/5",
        "45",
        -4,
        4.5,
        [4, 5],
        {"score": 4, "other": {"score": 2}, "value": 5},
        {"min": 1, "max": 5},
    ],
    ids=repr,
)
def test_what_is_not_one_score_is_no_score(value):
    """A range, a decimal number, two numbers and another scale are no score."""
    assert sense.read_verdict(with_all(value)).scores == {}


@pytest.mark.parametrize(
    "value",
    [
        4,
        4.0,
        "4",
        "4.0",
        "4/5",
        "4 / 5",
        "4 out of 5",
        "**4**",
        "4 - fluent",
        "4: fluent",
        "4, but stiff",
        "4 (fluent)",
        "４",
        [4],
        ["4/5"],
        {"score": 4},
        {"score": 4, "max": 5},
        {"rating": "4", "of": 5},
        {"why": "good", "points": 4},
    ],
    ids=repr,
)
def test_a_score_may_be_written_in_many_ways(value):
    """A number with its scale, a reason or an object around it is read."""
    assert sense.read_verdict(with_all(value)).scores == dict.fromkeys(sense.criteria(), 4)


@pytest.mark.parametrize(
    "label",
    [
        "A",
        "a.",
        "[[A]]",
        "Response A",
        "Option A",
        "Assistant A",
        "A wins",
        "A is better",
        "The winner is A",
        "Ａ",
        "“A”",
        "slightly A",
        ["A"],
        [["A"]],
        {"winner": "A", "why": "shorter"},
        {"winner": ["Response A"]},
    ],
    ids=repr,
)
def test_a_choice_may_be_written_in_many_ways(label):
    """A word, a list or an object around a choice, and curly quotation marks, do not hide it."""
    assert judge.read_picks(json.dumps(dict.fromkeys(judge.criteria(), label)), swapped=False) == dict.fromkeys(
        judge.criteria(), "ours"
    )


@pytest.mark.parametrize(
    "label",
    [
        "not A",
        "A or B",
        "A is better than B",
        "A and B",
        "the",
        "is better",
        "",
        ["A", "B"],
        {"A": 5, "B": 3},
        "A, but B is truer",
    ],
    ids=repr,
)
def test_what_is_not_one_choice_is_no_choice(label):
    """Two choices, a denial or no choice are not guessed."""
    assert judge.read_picks(json.dumps(dict.fromkeys(judge.criteria(), label)), swapped=False) is None


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(json.dumps({name: label}) for name, label in LABELS.items()),
        json.dumps([{"criterion": name, "winner": label} for name, label in LABELS.items()]),
        json.dumps([{"name": name.title(), "choice": f"Answer {label}"} for name, label in LABELS.items()]),
        json.dumps(LABELS).replace('"', "”"),
        json.dumps(LABELS, indent=1).replace('"B",', '"B", // it is wrong about the salt'),
        json.dumps({"verdict": LABELS}),
    ],
)
def test_a_verdict_may_have_many_shapes(text):
    """One object for each criterion, curly quotation marks, remarks and wrappers are read."""
    assert judge.read_picks(text, swapped=False) == PICKS


def test_scores_may_be_one_object_for_each_criterion():
    """A list of objects with a name and a score each is a verdict, and the reason may be missing."""
    text = json.dumps([{"criterion": name, "score": score, "max": 5} for name, score in SCORES.items()])
    assert sense.read_verdict(text) == sense.Verdict(SCORES, "")
    assert sense.read_verdict(text.replace('"doric"', '"other"')).scores == {}


@pytest.mark.parametrize("depth", [10, 300, 900, 5000])
def test_a_deep_verdict_is_no_error(depth):
    """Objects and lists in each other, however deep, are read or refused."""
    for opening, closing in (('{"doric": ', "}"), ("[", "]"), ('{"doric": [', "]}")):
        text = '{"answers": 5, "correct": 5, "doric": ' + opening * depth + "4" + closing * depth + "}"
        assert sense.read_verdict(text).scores in ({}, {"answers": 5, "correct": 5, "doric": 4})
