"""The pairwise judge: both orders, agreement, unreadable verdicts, resumption."""

import asyncio
import json

import pytest

from doric.backends import Reply, Request
from doric.errors import BackendError, FatalBackendError, TryLaterError
from doric.jsonl import Journal
from doric.validation import judge
from doric.validation.judge import Court, Pair

PAIRS = [Pair(f"p{at}", f"Question {at}?", f"gweed answer {at}", f"bad answer {at}") for at in range(6)]
TIE = json.dumps(dict.fromkeys(judge.criteria(), "tie"))


def says(pick: str) -> str:
    return json.dumps(dict.fromkeys(judge.criteria(), pick))


def fair(request: Request) -> str:
    """Prefers the good answer wherever it stands."""
    asked = request.messages[-1]["content"]
    return says("A" if asked.index("gweed answer") < asked.index("bad answer") else "B")


def hear(tmp_path, answer, pairs=PAIRS, *, court=None):
    court = court or Court(pairs, max_retries=1)
    heard: list[Request] = []

    async def mouth(request: Request) -> Reply:
        heard.append(request)
        return Reply(answer(request), "stop", 1, 1)

    with Journal(tmp_path / "judge.jsonl", replay=court.replay) as journal:
        court.attach(journal)
        asyncio.run(court.hear(mouth, 3))
    return court.result(), heard


def test_every_pair_is_judged_in_both_orders(tmp_path):
    """A fair judge is asked twice a pair, agrees with itself, and the better side wins."""
    result, heard = hear(tmp_path, fair)
    assert len(heard) == 2 * len(PAIRS)
    assert result["judged"] == 6
    for of in result["criteria"].values():
        assert of["wins"]["value"] == of["agreement"]["value"] == 1
        assert of["picked_first"]["value"] == 0.5


def test_a_judge_that_always_picks_the_first_decides_nothing(tmp_path):
    """Where the order swapped swaps the verdict, nobody wins, and the report shows why."""
    of = hear(tmp_path, lambda request: says("A"))[0]["criteria"]["overall"]
    assert of["wins"]["value"] == of["losses"]["value"] == of["agreement"]["value"] == 0
    assert of["undecided"] == 6
    assert of["picked_first"]["value"] == 1


def test_ties_are_verdicts(tmp_path):
    """A tie in both orders is agreement, and no win."""
    of = hear(tmp_path, lambda request: TIE)[0]["criteria"]["doric"]
    assert of["ties"] == 6
    assert of["agreement"]["value"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "{}",
        '{"overall": "A"}',
        '{"naturalness": "A", "correctness": "A", "doric": "C", "overall": "A"}',
        "{bad}",
    ],
)
def test_an_unreadable_verdict_counts_as_failed(tmp_path, text):
    """It is kept as failed and stays in the denominators."""
    result, heard = hear(tmp_path, lambda request: text)
    assert len(heard) == 2 * len(PAIRS)
    assert (result["judged"], result["failed"]) == (0, 6)
    assert result["criteria"]["overall"]["wins"]["n"] == 6


@pytest.mark.parametrize(
    "around", ["{}", "```json\n{}\n```", "Here it is: {} I hope that helps.", "<think>{{no}}</think>{}"]
)
def test_a_verdict_is_found_in_what_stands_around_it(around):
    """Fences, talk and thoughts around the object do not matter, nor does its case."""
    assert judge.read(around.format(says("a")), swapped=False) == dict.fromkeys(judge.criteria(), "ours")


def test_a_slot_in_an_answer_is_not_filled(tmp_path):
    """An answer that holds the name of a slot is put before the judge as it is."""
    pair = Pair("p", "What is {second}?", "ours {question} {second}", "theirs")
    asked = judge.request(pair, swapped=False).messages[-1]["content"]
    assert "What is {second}?" in asked
    assert "ours {question} {second}" in asked
    assert asked.count("theirs") == 1


def test_a_second_run_judges_only_what_is_open(tmp_path):
    """Verdicts in the journal are not asked for again; failed ones are."""
    hear(tmp_path, lambda request: "" if "Question 0?" in request.messages[-1]["content"] else fair(request))
    result, heard = hear(tmp_path, fair)
    assert len(heard) == 2
    assert result["judged"] == 6


def test_calls_that_fail_for_good_are_failed_verdicts(tmp_path):
    """A pair too long for the judge is left without a verdict; the others are judged."""

    def answer(request: Request) -> str:
        if "Question 3?" in request.messages[-1]["content"]:
            raise BackendError("too long")
        return fair(request)

    result, _ = hear(tmp_path, answer)
    assert (result["judged"], result["failed"]) == (5, 1)


@pytest.mark.parametrize("error", [FatalBackendError("no key"), TryLaterError("busy", fault="http_503")])
def test_a_judge_that_never_answers_ends_the_run(tmp_path, error):
    """No verdict at all is an error with a hint, not a table of nothing."""

    def answer(request: Request) -> str:
        raise error

    with pytest.raises(BackendError):
        hear(tmp_path, answer)
