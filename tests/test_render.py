"""Rendering short English phrases in Doric."""

import pytest

from doric.data import read_table as table
from doric.dialect.lexicon import SCOTS, entries, word_class
from doric.dialect.render import render


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
        ("an old-fashioned hat with home-made buttons", "an aul-farrant hat wi hame-made buttons"),
        ("looking after your own hands", "leukin efter yer ain hans"),
    ],
)
def test_grammar_is_rendered(phrase, doric):
    """Question words, function words, gerunds and words with a house form are rendered in Doric."""
    assert render(phrase) == doric


@pytest.mark.parametrize("word", ["king", "spring", "ring", "wing", "bring", "string", "thing"])
def test_ing_in_a_stem_stays(word):
    """A word keeps its -ing if the -ing belongs to the stem."""
    assert render(f"a {word}").endswith("ing")


def test_names_and_unknown_words_stay():
    """Names, numbers and words without a house form do not change."""
    assert render("a wifi router in Elgin at 50") == "a wifi router in Elgin at 50"
    assert render("the Working Mens Club and the Water Board") == "the Working Mens Club an the Water Board"


def test_a_capital_stays_a_capital():
    """The rendered word has a capital letter if the English word has one."""
    assert render("How to cook") == "Foo tae cook"
    assert render("What I know") == "Fit I ken"
    assert render("What you do in the New Year") == "Fit ye dee in the New Eer"


@pytest.mark.parametrize("phrase", ["", "…", "3.50", "猫", "{topic}", "a 'quoted' word", "C++ & <b>"])
def test_characters_around_words_stay(phrase):
    """All characters except letters stay unchanged."""
    assert [char for char in render(phrase) if not char.isalpha()] == [char for char in phrase if not char.isalpha()]


def test_listed_phrases_come_before_words():
    """A listed phrase of several words is rendered as a whole."""
    assert render("instead of a lot of snow") == "instead o a hantle o snaa"


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
    """A phrase that would be wrong word by word is in the list of phrases or stays unchanged."""
    assert render(phrase) == doric


@pytest.mark.parametrize("word", ["gadgie", "teuchter", "geet"])
def test_words_that_insult_are_recognised_but_never_written(word):
    """A word that insults people counts as Scots, and no English word is rendered as it."""
    assert word_class(word) in SCOTS
    assert word not in {row["house"] for row in table("renderings.tsv")}
    english = {gloss for entry in entries() for gloss in entry.english.split("; ")}
    assert [gloss for gloss in english if word in render(gloss).split()] == []
