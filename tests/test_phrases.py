"""The authored sentences: complete, in Doric and without duplicates."""

import functools
import itertools
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from doric.core.text import fold
from doric.data import FOLDER as DATA
from doric.dataset.phrases import PARTS, authored_topics, general_sentences, theme_of
from doric.dialect.scores import score
from doric.topics.lists import by_group, read_topics

ROOT = Path(__file__).parent.parent
TOPICS = read_topics(ROOT / "topics.json")
PLAIN = read_topics(ROOT / "topics.txt")
LANGUAGES = {"es", "fr", "de", "it", "pt", "nl", "sv", "da", "pl", "el", "tr", "ar", "hi", "zh"}
ENGLISH_LEFT = 0.001
"""The highest share of words that a Scots writer would replace: one quotation or mistake per thousand words."""


def files():
    """The parsed content of each phrase file."""
    return [tomllib.loads(path.read_text("utf-8")) for path in sorted((DATA / "phrases").iterdir())]


THEMES = [theme for spec in files() for theme in spec["themes"]]


def advice():
    """Every authored sentence of the themes and their topics."""
    for theme in THEMES:
        for part in PARTS:
            yield from theme[part]
        for topic in theme["topics"]:
            yield from (*topic["answers"], *topic.get("more", ()))


def everything():
    """Every authored Doric sentence, with its slots removed."""
    yield from advice()
    for lines in (*general_sentences().values(), *tomllib.loads((DATA / "holds.toml").read_text("utf-8")).values()):
        yield from (line.replace("{topic}", "") for line in lines)
    refusals = tomllib.loads((DATA / "refusals.toml").read_text("utf-8"))
    yield from refusals["refusals"]
    for one in (one for category in refusals["category"] for one in (category, *category.get("some", ()))):
        yield from (*one.get("whys", ()), *one.get("offers", ()))


@functools.cache
def measured():
    """Each authored sentence, and its scores."""
    return [(line, score(line)) for line in everything()]


def test_enough_topics_in_enough_groups():
    """topics.json has at least 480 different topics in 16 groups, and topics.txt has at least 600 different topics."""
    assert len(TOPICS) >= 480
    assert len(by_group(TOPICS)) == 16
    assert len(PLAIN) >= 600
    assert len({fold(topic.text) for topic in PLAIN}) == len(PLAIN)
    assert len({fold(topic.text) for topic in TOPICS}) == len(TOPICS)


@pytest.mark.parametrize("topics", [TOPICS, PLAIN], ids=["topics.json", "topics.txt"])
def test_every_topic_is_authored(topics):
    """Each topic has a Doric rendering, at least three sentences, and a place in its theme."""
    for topic in topics:
        authored = authored_topics().get(fold(topic.text))
        assert authored, topic.text
        assert len({*authored.answers, *authored.more}) >= 3, topic.text
        assert authored.doric, topic.text


@pytest.mark.parametrize("topics", [TOPICS, PLAIN], ids=["topics.json", "topics.txt"])
def test_every_topic_has_a_title_in_every_language(topics):
    """Each topic has a title in all 14 languages."""
    for topic in topics:
        titles = authored_topics()[fold(topic.text)].titles
        assert titles.keys() == LANGUAGES, topic.text
        assert all(title.strip() and fold(title) != fold(topic.text) for title in titles.values()), topic.text


def test_enough_distinct_sentences():
    """There are at least 600 sentences of advice, and all of them are different."""
    lines = [fold(line) for line in advice()]
    assert len(lines) >= 600
    assert [line for line, times in Counter(lines).items() if times > 1] == []


def test_authored_lines_have_hardly_any_english():
    """At most one word in a thousand is an English word that has a Doric form."""
    left = sum(item.kind == "leak" for _, found in measured() for item in found.evidence)
    assert left <= ENGLISH_LEFT * sum(found.tokens for _, found in measured())


def test_only_fitting_sentences_of_a_theme_stand_beside_a_topic():
    """The sentences that a topic lists as unfit are left out; sentences that fit most topics are common."""
    known = authored_topics()[fold("finding the north star from the back garden")]
    unfit = next(topic for theme in THEMES for topic in theme["topics"] if topic["doric"] == known.doric)["unfit"]
    left = [line for part in known.fitting for line in part]
    every = [line for part in known.theme.parts for line in part]
    assert len(left) == len(every) - len(unfit)
    assert not [line for line in left if line.startswith(tuple(unfit))]
    assert {line for part in known.theme.common for line in part} < {
        line for part in known.theme.parts for line in part
    }


def test_no_sentence_about_a_topic_tells_of_a_life():
    """The voice is a program and says so when it is asked, so it has no kin, house, habits or past of its own."""
    life = re.compile(r"\b(?:[Mm]a ain|[Mm]a (?:mither|fadder|granny|granda|loon|quine|sister|brither|auntie|neebor)|"
                      r"[Ww]ir (?:hoose|dog|table)|I (?:aye|nivver|wis|keep|tak|hae|fand))\b")  # fmt: skip
    lines = {
        line for one in authored_topics().values() for line in (*one.answers, *one.more, *itertools.chain(*one.fitting))
    }
    assert [line for line in lines if life.search(line)] == []


def test_a_topic_that_is_not_authored_finds_its_theme():
    """A topic that is not authored gets the theme that shares its keywords, or no theme."""
    assert theme_of("my router drops the wifi signal").name == "home wifi and broadband"
    assert theme_of("which charger to buy for a new phone").name == "phone batteries and charging"
    assert theme_of("xylophone qwerty zzz") is None
