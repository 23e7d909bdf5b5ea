"""All faults of an answer in one reason."""

import pytest

from doric.quality import faults, gates
from doric.quality.answer import Answer, Rejection

ENGLISH = "You should water the garden every morning and look after the young plants in the cold weather."
CENTRAL = "Ye dinnae ken whit the wean wis at, an the auld wifie wisnae gaun tae tell ye onything aboot it."
HALF = (
    "Ye maun keep the claes oot o the weet an dry them weel afore ye pit them by in the press. "
    "The machine uses less power on a cooler setting."
)
GOOD = "Pit the claes oot tae dry fan the win's bonnie, an tak them in afore the dew fa's at nicht."


def told(text: str, *, kind: str = "core", ask: str = "") -> Rejection | None:
    answer = Answer.of(text)
    found = [*gates.faults(answer, prompt="How?", topic="claes", kind=kind, ask=ask)]
    return faults.combined(answer, found, ask=ask)


def reason(text: str, *, kind: str = "core", ask: str = "") -> str:
    rejection = told(text, kind=kind, ask=ask)
    assert rejection is not None
    return rejection.reason


def test_a_good_answer_has_no_faults():
    """An answer that passes the gates has no combined rejection."""
    assert told(GOOD) is None


def test_the_gate_is_that_of_the_first_fault():
    """The gate and the figure are those that `check` reports."""
    rejection, first = told(ENGLISH), gates.check(ENGLISH, prompt="How?", topic="claes", kind="core")
    assert rejection is not None
    assert first is not None
    assert (rejection.gate, rejection.figure) == (first.gate, first.figure)


def test_english_words_are_named_with_their_renderings():
    """Content words and function words of an English answer are named with the Doric to write."""
    assert all(pair in reason(ENGLISH) for pair in ("garden -> gairden", "every -> ilka", "you -> ye", "cold -> caul"))


def test_central_forms_are_named_with_the_house_form():
    """Forms of Central Scots are named with the North-East form."""
    assert all(pair in reason(CENTRAL) for pair in ("whit -> fit", "dinnae -> dinna", "auld -> aul"))


def test_a_sentence_without_scots_is_quoted():
    """The first words of a sentence without any Scots are quoted."""
    assert "'The machine uses less power…'" in reason(HALF)


def test_all_kinds_of_faults_are_told():
    """Faults of language and of content stand in one reason."""
    refused = f"I canna help ye wi that. {CENTRAL}"
    assert "whit -> fit" in reason(refused)
    assert "turns away a harmless question" in reason(refused)


@pytest.mark.parametrize("text", [ENGLISH * 12, CENTRAL * 12, "x" * 5_000, "y" * 90_000, f"{HALF} {'z' * 900} is it."])
def test_the_reason_stays_short(text: str):
    """The reason has at most 600 characters, whatever the answer is."""
    assert len(reason(text)) <= faults.MOST_CHARACTERS


def test_quotations_that_an_ask_allows_are_not_named():
    """English that a translation quotes is not given to render."""
    assert "garden" not in reason('The wean dinnae ken whit "the garden" is, bit the auld wifie dis.', ask="translate")


def test_the_bucket_is_told():
    """An answer in English to a request to leave Doric is told to stay in Doric, and with which words."""
    said = reason(ENGLISH, kind="adv")
    assert "must stay in Doric" in said
    assert "garden -> gairden" in said
