"""The pairwise judge: both orders, agreement, unreadable verdicts, resumption."""

import asyncio
import json

import pytest

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.core.jsonl import Journal
from doric.evaluation import judge
from doric.evaluation.judge import Pair, PairwiseJudge
from doric.llm.client import ChatRequest
from doric.llm.response import Completion

PAIRS = [Pair(f"p{at}", f"Question {at}?", f"gweed answer {at}", f"bad answer {at}") for at in range(6)]
TIE = json.dumps(dict.fromkeys(judge.criteria(), "tie"))


def says(pick: str) -> str:
    return json.dumps(dict.fromkeys(judge.criteria(), pick))


def fair(request: ChatRequest) -> str:
    """Prefers the good answer wherever it stands."""
    asked = request.messages[-1]["content"]
    return says("A" if asked.index("gweed answer") < asked.index("bad answer") else "B")


def hear(tmp_path, answer, pairs=PAIRS, *, court=None):
    court = court or PairwiseJudge(pairs, max_retries=1)
    heard: list[ChatRequest] = []

    async def mouth(request: ChatRequest) -> Completion:
        heard.append(request)
        return Completion(answer(request), "stop", 1, 1)

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


@pytest.mark.parametrize(
    "text",
    [
        f"Answer B says {says('B')}, which I ignore. Verdict: {says('A')}",
        f"First {says('B')} and on reflection {says('A')}.",
        json.dumps({"draft": json.loads(says("B")), **json.loads(says("A"))}),
        json.dumps({"quoted": says("B"), **json.loads(says("A")), "why": "it has {braces}"}),
        f'{says("B")} {{"verdict": {says("A")}, "why": {{"x": 1}}}}',
        f"{says('A')} {{broken {{",
    ],
)
def test_the_last_verdict_is_the_one_meant(text):
    """A verdict that is quoted, drafted or nested in the final one does not win over it."""
    assert judge.read(text, swapped=False) == dict.fromkeys(judge.criteria(), "ours")


def test_a_text_of_brackets_is_no_verdict():
    """Objects nested without an end are read as nothing, not as an error."""
    assert judge.read('{"a":' * 3_000, swapped=False) is None


def test_a_side_that_alone_gave_no_answer_loses(tmp_path):
    """It loses without a call and stays in the denominators; what neither side answered is counted apart."""
    pairs = [*PAIRS[:2], Pair("p7", "?", None, "bad answer"), Pair("p8", "?", "gweed answer", None)]
    result, heard = hear(tmp_path, fair, [*pairs, Pair("p9", "?", None, None), Pair("p10", "?", None, "")])
    assert len(heard) == 4
    assert (result["pairs"], result["judged"], result["failed"], result["unanswered"]) == (5, 2, 0, 1)
    assert result["forfeits"] == {"ours": 1, "theirs": 2}
    for of in result["criteria"].values():
        assert (of["wins"]["n"], of["losses"]["n"], of["agreement"]["n"]) == (5, 5, 2)
        assert (of["wins"]["value"], of["losses"]["value"]) == (3 / 5, 2 / 5)


def test_another_wording_is_another_judge(monkeypatch):
    """What the judge is told is part of its plan, so that verdicts asked for in other words do not mix in."""
    before = judge.rubric()
    told = {**judge._spec(), "system": "Be kind."}
    monkeypatch.setattr(judge, "_spec", lambda: told)
    assert judge.rubric() != before


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

    def answer(request: ChatRequest) -> str:
        if "Question 3?" in request.messages[-1]["content"]:
            raise ServerError("too long")
        return fair(request)

    result, _ = hear(tmp_path, answer)
    assert (result["judged"], result["failed"]) == (5, 1)


@pytest.mark.parametrize("error", [FatalServerError("no key"), RetryableError("busy", fault="http_503")])
def test_a_judge_that_never_answers_ends_the_run(tmp_path, error):
    """No verdict at all is an error with a hint, not a table of nothing."""

    def answer(request: ChatRequest) -> str:
        raise error

    with pytest.raises(ServerError):
        hear(tmp_path, answer)
