"""The word lists, and the class of a single word."""

import pytest

from doric.dialect.lexicon import (
    SCOTS,
    entries,
    glosses,
    variants,
    word_class,
)

CLASSES = {"ne", "shared", "scots", "na", "context", "phrase"}


@pytest.mark.parametrize("word", ["gie", "tae", "ower", "ken", "aye", "bairn", "dreich"])
def test_words_of_all_scotland_are_not_north_east(word):
    """Words that are used in all of Scotland have the class scots."""
    assert word_class(word) == "scots"


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("gweed gwid skweel skweil squeel cweel meen speen aul aal caul caal gyaan gyan gaan gyaun gyang ging", "ne"),
        ("affa affy spik spick spikkin vreet vrite vreetin vrang vrocht fitiver fativer fite fyte cwid", "ne"),
        ("abeen aleen eence steen neen quines fyow wikk wikkeyn eyn tyaave chaav fadder skweels cweelest leems", "ne"),
        ("aa aabody anaa aathing leuk leukin beuk throwe", "shared"),
        ("dinna canna winna widna couldna cwidna hinna hisna isna wisna disna didna maunna divna", "na"),
        ("fae tae wi o ower mair gie ken bairn hoose oot doon noo jist juist nicht richt twa wee", "scots"),
        ("keepit likit wintin boatie hoosie lookin for't on't wi't o't dee't", None),
        (
            "whit whaur wha whae whan hoo wean yin cannae dinnae didnae wisnae youse aw awfy gonnae oan schuil abuin",
            "central",
        ),
        ("thare thaim haes nou leid scrieve stane gonna jings hoots", "central"),
        ("guid frae auld cauld dae ane buik luik awfu ah lassie wheen", "central_weak"),
        ("of with about not don't you your have what because's writing", None),
        ("table phone internet september glass", ""),
    ],
)
def test_word_has_its_class(family, kind):
    """All spellings of a word have the class of its house form."""
    for word in family.split():
        if kind is not None:
            assert word_class(word) == kind, word


@pytest.mark.parametrize(
    "word",
    [
        "keepit",
        "likit",
        "wirkin",
        "boatie",
        "hoosie",
        "lookin",
        "for't",
        "on't",
        "wi't",
        "o't",
        "dee't",
        "bairns",
        "cooncils",
    ],
)
def test_scots_endings_and_enclitics_count(word):
    """The endings -in, -it, -ie and 't for "it" make a word Scots, but a listed word keeps its class with them."""
    assert word_class(word) in SCOTS


@pytest.mark.parametrize(
    "word", ["of", "with", "about", "not", "don't", "you", "your", "have", "what", "writing", "spending"]
)
def test_english_function_words_and_ing_forms_leak(word):
    """English words that a Scots writer would replace have the class leak."""
    assert word_class(word) == "leak"


@pytest.mark.parametrize(
    "word",
    [
        "begin",
        "cabin",
        "robin",
        "login",
        "plugin",
        "selfie",
        "hoodie",
        "cookie",
        "credit",
        "unit",
        "edit",
        "ain't",
        "winter",
        "shelter",
        "sheet",
        "lens",
        "spent",
        "grant",
        "stranger",
        "ginger",
        "shiver",
        "thing",
        "morning",
        "evening",
        "building",
        "ceiling",
        "training",
    ],
)
def test_english_words_with_scots_endings_have_no_class(word):
    """An English word that only ends like a Scots word has no class."""
    assert word_class(word) == ""


def test_variants_lead_to_house_forms():
    """All accepted spellings of a word have the same house form."""
    for spellings in ("gyaan gyan gyaun", "skweel skweil"):
        assert len({variants().get(form, form) for form in spellings.split()}) == 1


def test_every_spelling_has_a_gloss():
    """Every spelling of the lexicon has an English meaning."""
    assert all(glosses()[form] for entry in entries() for form in entry.spellings)


@pytest.mark.parametrize("word", ["dat", "du", "desel", "peerie", "meh"])
def test_forms_of_the_isles_and_of_dundee_are_not_doric(word):
    """Forms from Shetland, Orkney and Dundee count as Central Scots."""
    assert word_class(word) == "central"


@pytest.mark.parametrize("word", ["a'", "wy", "te", "wifey", "thran", "hine", "geed", "ana", "fie"])
def test_local_spellings_are_scots(word):
    """Local spellings that are not used in the dataset count as Scots."""
    assert word_class(word) in SCOTS


def test_eat_and_ate_are_two_words():
    """The house form is aet for "eat" and ett for "ate"."""
    meanings = {entry.doric: entry.english for entry in entries()}
    assert (meanings["aet"], meanings["ett"]) == ("eat", "ate")


def test_synonyms_are_not_respelled():
    """A synonym counts as Scots, has a meaning and is not a variant of the house form."""
    for entry in entries():
        for word in entry.synonyms:
            assert word not in variants()
            assert glosses()[word]
    assert word_class("boxie") == "scots"
    assert {word for entry in entries() for word in (*entry.spellings, *entry.synonyms)}.isdisjoint(
        {"erse", "seelie", "ryve", "moothless"}
    )
