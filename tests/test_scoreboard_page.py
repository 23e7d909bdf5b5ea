"""The result of a validation as a table in the terminal and as a page."""

import re
from pathlib import Path

import pytest

from doric.core.text import printable
from doric.evaluation import aggregate
from doric.evaluation.aggregate import Result
from doric.evaluation.metrics import ModelAnswer, ScoredAnswer, read_answer, score_answers
from doric.evaluation.minimal_pairs import MinimalPair, PairScore, PairsResult, SentenceScore, with_baseline
from doric.evaluation.run import select_prompts
from doric.report.scoreboard_page import (
    format_changes,
    format_drift,
    format_result,
    format_scoreboard,
    scoreboard_page,
)
from parsed_page import HOSTILE, Page
from sample_answers import DORIC, PROMPTS, REFUSAL, WRITERS, scored

# --- terminal -------------------------------------------------------------------------------------------------------


def result_with(answers: list[ScoredAnswer]) -> dict:
    """The parts of a result that the table shows."""
    return {"model": "m", "address": "http://localhost/v1", **aggregate.scoreboard(answers)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tokens": 121, "first": 1.0, "seconds": 1.5}, "1.00 s median, 1.00 s at 95%; then 240 tokens/s"),
        ({"first": 1.0, "seconds": 2.0}, f"then about {len(DORIC) // 3 - 1} tokens/s"),
        ({"tokens": 121, "seconds": 1.5}, "not known: the answers came in one piece\n"),
        ({"error": "gone"}, "no answers\n"),
        ({"text": "", "first": None}, "no answers\n"),
    ],
)
def test_tokens_per_second_are_measured_after_the_first_token(changes, says):
    """Estimated token counts are marked with "about", and without answers the table does not mention streaming."""
    given = {"text": "" if "error" in changes else DORIC, **changes}
    shown = format_scoreboard(result_with([scored("core-001", **given)])) + "\n"
    assert says in shown.split("time to first token: ")[1]


def test_control_characters_in_a_finish_reason_do_not_reach_the_terminal():
    """The finish reason from a server is printed without control characters."""
    shown = printable(format_scoreboard(result_with([scored("core-001", DORIC, finish="\x1b]0;pwned\x07\x9b31mstop")])))
    assert "finish reasons: stop 1\n" in shown


def test_a_mean_without_an_interval_is_shown_with_a_dash():
    """With only one prompt, the points have no interval in the scoreboard and in the changes."""
    single = [scored("core-001", DORIC)]
    assert re.search(r"\d+ \[-\]", format_scoreboard(result_with(single)))
    result = result_with(single) | {"baseline": result_with(single), "changes": aggregate.compare(single, single)}
    assert "+0 [-]" in format_changes(result)


def test_requests_that_a_filter_stops_have_their_own_line():
    """The share of answers that the server's filter stopped is shown."""
    both = [scored("safety-001", "", finish="content_filter"), scored("safety-002", REFUSAL)]
    assert "filter: 50%" in format_scoreboard(result_with(both))


@pytest.mark.parametrize(
    ("complete", "says"), [(12, "-5 [-7, -3], over 12 of 24 conversations"), (2, "-, over 2 of 24 conversations")]
)
def test_the_change_over_conversations_is_shown_with_their_number(complete, says):
    """With fewer than three complete conversations, no figure is shown."""
    change = {"value": -5.0, "low": -7.0, "high": -3.0, "n": complete}
    assert format_drift({"change": change, "talks": 24}) == says


# --- page -----------------------------------------------------------------------------------------------------------


def result_of(writer: str, model: str) -> dict:
    """The result of a writer for twelve prompts, with a failed first call."""
    given = [
        ModelAnswer(held.id, turn, text, WRITERS[writer](held, turn))
        for held in select_prompts(12)
        for turn, text in enumerate((held.prompt, *held.turns))
    ]
    given[0] = ModelAnswer(given[0].id, 0, given[0].prompt, "", "", "the server answered 500", faults=("http_500",) * 4)
    manner = {"max_tokens": 9, "temperature": 0.7, "seed": 0, "concurrency": 8, "max_retries": 3}
    about = {"model": model, "address": "http://localhost:8000/v1", "date": "today", "manner": manner, "heldout": "abc"}
    return Result(about, tuple(score_answers(given, PROMPTS))).as_json()


def page_of(tmp_path, **changes) -> Page:
    """The page of a result."""
    (tmp_path / "page.html").write_text(scoreboard_page(result_of("authored", "tuned") | changes), "utf-8")
    return Page.read(tmp_path / "page.html")


def test_the_page_shows_every_answer_worst_first(tmp_path):
    """Each answer is on the page with its bucket and outcome, for the filters, and the worst answer comes first."""
    answers = page_of(tmp_path).with_class("entry")
    assert len(answers) == 22
    points = [float(answer["data-points"]) for answer in answers]
    assert points == sorted(points)
    assert answers[0]["data-outcome"] == "none"
    assert {answer["data-bucket"] for answer in answers} == set(aggregate.BUCKETS)


def test_the_page_can_sort_answers_as_asked(tmp_path):
    """Each answer has the number of its position in the result."""
    numbers = [int(answer["data-number"]) for answer in page_of(tmp_path).with_class("entry")]
    assert sorted(numbers) == list(range(22))
    assert numbers != sorted(numbers)


def test_the_page_warns_of_failed_calls(tmp_path):
    """The warning is above the figures."""
    text = page_of(tmp_path).text
    assert "1 of 22 turns got no answer from tuned; each counts as a failure in every share." in text
    assert text.index("got no answer") < text.index("What the columns mean")


def test_a_model_that_is_a_folder_is_named_by_its_last_parts(tmp_path):
    """If a server uses a path as the name of its model, the page does not show the whole path."""
    before = result_of("plain", "/home/ann/models/small/base")
    page = page_of(tmp_path, model="/home/ann/runs/first/export/merged", baseline=before, changes={})
    assert "How good is the Doric of first/export/merged?" in page.text
    assert "models/small/base (baseline)" in page.text
    assert "/home/ann" not in page.text


def test_with_a_baseline_the_page_compares_both(tmp_path):
    """Each answer is shown beside the baseline's answer, and each bucket has a change."""
    before = result_of("plain", "base")
    both = [
        score_answers([read_answer(answer) for answer in side["answers"]], PROMPTS)
        for side in (result_of("authored", "tuned"), before)
    ]
    page = page_of(tmp_path, baseline=before, changes=aggregate.compare(*both))
    assert "Before and after" in page.text
    assert page.text.count("base (baseline)") == 2
    assert any(float(answer["data-gain"]) > 90 for answer in page.with_class("entry"))


def test_a_model_cannot_break_out_of_the_page(tmp_path):
    """The name of the model and its answers are displayed as text."""
    result = result_of("authored", HOSTILE)
    result["answers"][1]["text"] = HOSTILE
    (tmp_path / "page.html").write_text(scoreboard_page(result), "utf-8")
    page = Page.read(tmp_path / "page.html")
    assert len(page.tags("script")) == 1
    assert not page.tags("img")


def test_the_page_shows_minimal_pairs_and_their_change():
    """A result of minimal pairs has its own section and table: each phenomenon, and with a baseline the change."""
    pair = MinimalPair("negation-nae", f"It's nae {HOSTILE}.", f"It's no {HOSTILE}.")
    about = {"model": HOSTILE, "address": "", "date": "d", "start": "BOS", "control": "", "pairs_hash": "h"}
    right, wrong = SentenceScore(-1.0, 3), SentenceScore(-2.0, 3)
    now, before = (PairsResult(about, (PairScore(pair, *two),)) for two in ((right, wrong), (wrong, right)))
    result = result_of("authored", "tuned")
    for pairs, says in ((now, "100%"), (with_baseline(now, before, Path("b")), "+100")):
        shown = result | {"minimal_pairs": pairs.summary()}
        html = scoreboard_page(shown)
        section = html.partition('<section id="pairs">')[2].partition("</section>")[0]
        assert "negation-nae" in section
        assert says in section
        assert HOSTILE not in section
        assert "negation-nae" in format_result(shown)
    assert 'id="pairs"' not in scoreboard_page(result)
