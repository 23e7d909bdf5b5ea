"""The Doriciser: plain English phrases in Doric grammar."""

import pytest

from doric.data import read_table as table
from doric.dataset.phrases import authored_topics
from doric.dialect.lexicon import SCOTS, word_class
from doric.dialect.render import _renderings, render


@pytest.mark.parametrize(
    ("phrase", "doric"),
    [
        ("how to make tea", "foo tae mak tea"),
        ("where to go when it is cold", "far tae gyang fan it is caul"),
        ("what to do with old boots", "fit tae dee wi aul beets"),
        ("why children do not sleep", "fit wye bairns dinna sleep"),
        ("the best way to write home", "the best wye tae vreet hame"),
        ("how much to pay for a house", "foo muckle tae pey for a hoose"),
        ("choosing a good pair of walking shoes", "choosin a gweed pair o walkin sheen"),
        ("looking after your own hands", "leukin efter yer ain hans"),
    ],
)
def test_grammar_is_rendered(phrase, doric):
    """Question words, function words, gerunds and words with a house form come out in Doric."""
    assert render(phrase) == doric


@pytest.mark.parametrize("word", ["king", "spring", "ring", "wing", "bring", "string", "thing"])
def test_ing_that_is_no_ending_stays(word):
    """A word that has -ing in its stem keeps it."""
    assert render(f"a {word}").endswith("ing")


def test_names_and_unknown_words_stay():
    """Names, numbers and words without a house form are left as they are."""
    assert render("a wifi router in Elgin at 50") == "a wifi router in Elgin at 50"
    assert render("the Working Mens Club and the Water Board") == "the Working Mens Club an the Water Board"


def test_capital_at_the_head_stays_a_capital():
    """A capital on a word that is rendered is kept."""
    assert render("How to cook") == "Foo tae cook"
    assert render("What I know") == "Fit I ken"
    assert render("What you do in the New Year") == "Fit ye dee in the New Eer"


@pytest.mark.parametrize("phrase", ["", "…", "3.50", "猫", "{topic}", "a 'quoted' word", "C++ & <b>"])
def test_odd_phrases_do_not_break_it(phrase):
    """What stands around the words is unchanged, whatever it is."""
    assert [char for char in render(phrase) if not char.isalpha()] == [char for char in phrase if not char.isalpha()]


def test_longest_phrase_wins():
    """A phrase of several words is rendered as one before its words are."""
    assert render("instead of a lot of snow") == "instead o a hantle o snaa"


def test_renderings_are_well_formed():
    """Each row of the file has an English side that is a word or a phrase, once, and a Doric side."""
    rows = list(table("renderings.tsv"))
    assert len({row["english"] for row in rows}) == len(rows)
    assert all(row["english"] == row["english"].lower().strip() and row["house"].strip() for row in rows)


def test_dorising_leaves_the_small_words_of_no_topic_in_english():
    """No topic that ships keeps an English of, with, to, and, how or what when it is rendered."""
    small = {"of", "with", "to", "and", "how", "what", "where", "when", "your", "from", "about", "without"}
    assert [topic for topic in authored_topics() if small & set(render(topic).split())] == []


@pytest.mark.parametrize(
    ("phrase", "doric"),
    [
        ("bread as well as cheese", "breid as weel as cheese"),
        ("deciding whether to move", "decidin whether tae meeve"),
        ("when no one is at home", "fan naebody is at hame"),
        ("well water and a well-run shop", "wall watter an a weel-rin shoppie"),
        ("keeping the shutters shut", "keepin the shutters shut"),
        ("how to shut a door", "foo tae steek a door"),
        ("remembering names", "mindin names"),
        ("keeping cattle and sheep", "keepin kye an sheep"),
        ("snowy roads", "snowy roads"),
    ],
)
def test_phrases_that_go_wrong_word_by_word(phrase, doric):
    """What would be wrong word by word is listed as a phrase, or left alone."""
    assert render(phrase) == doric


def test_no_rendering_is_what_the_gates_refuse():
    """No Doric side holds a form of Central Scots, or English that a Scots writer renders."""
    for row in table("renderings.tsv"):
        for word in row["house"].lower().split():
            assert word == row["english"] or word_class(word) not in ("central", "central_weak", "leak"), row


@pytest.mark.parametrize("word", ["gadgie", "teuchter", "geet"])
def test_slighting_words_are_known_and_never_said(word):
    """A word that slights people is read as Scots and rendered for no English word."""
    assert word_class(word) in SCOTS
    assert word not in _renderings().values()
