"""The check of whether an answer shares a word with its question."""

import pytest

from doric.dataset.plan import Job
from doric.dataset.prompts import Prompt
from doric.dataset.relevance import can_tell, is_off_topic, is_off_topic_without
from doric.topics.lists import Topic

SHOPPING = (
    "Mak a list afore ye gyang tae the shop, an dinna gyang fan ye're hungry. Leuk at the price for the kilo, for a "
    "muckle pack isna aye the chaip een, an tak yer ain pyoke wi ye."
)
PASSWORDS = "Tak fower wirds that hiv naething tae dee wi ither, an string them thegither. A lang een bides safe."


def job(topic: str, kind: str = "core", ask: str = "") -> Job:
    """A question about a topic."""
    return Job("0" * 16, Topic(topic, "technology"), kind, Prompt(f"{topic}?", "en", ask=ask), 0, 0)


@pytest.mark.parametrize("check", [is_off_topic, is_off_topic_without])
def test_shopping_advice_is_no_answer_to_a_question_about_crows(check):
    """An answer that shares no word with topic, prompt and theme is found, also by the stricter measure."""
    assert check(job("telling rooks and crows apart"), SHOPPING)


@pytest.mark.parametrize(
    ("topic", "answer"),
    [
        ("making strong passwords you can remember", PASSWORDS),
        ("haggling with a shop over a price", SHOPPING),
        ("choosing comfortable shoes for work", "Try yer sheen on efter denner, fan yer feet's at their braidest."),
    ],
)
def test_an_answer_that_shares_a_word_is_not_flagged(topic, answer):
    """A word of the topic, its Doric or its theme is enough."""
    assert not is_off_topic(job(topic), answer)


def test_only_advice_about_a_known_theme_is_checked():
    """Harmful requests, other asks and topics without a theme say nothing about the words of an answer."""
    known = "making strong passwords you can remember"
    assert can_tell(job(known))
    assert not can_tell(job(known, kind="safety"))
    assert not can_tell(job(known, ask="code"))
    assert not can_tell(job("xyzzy plugh"))
