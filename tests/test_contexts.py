"""Words that are Doric beside certain words and English beside others."""

import pytest

from doric.dialect.contexts import is_participle, rules
from doric.dialect.lexicon import (
    SCOTS,
    word_class,
)
from doric.dialect.scores import score


def counted(text, *tokens):
    """The Scots classes that `tokens` have in `text`."""
    return {item.kind for item in score(text).evidence if item.token in tokens and item.kind in SCOTS}


# (word, English sentence in which it must not count, Doric sentence in which it must count, its class in the Doric one)
FALSE_FRIENDS = [
    ("fit", "The jacket is a good fit and she keeps fit for work.", "I dinna ken fit ye mean by that.", "ne"),
    ("fit's", "He is fit; the coat's fit's fine.", "Fit's adee wi the wee loon?", "ne"),
    ("fits", "The key fits the lock.", None, None),
    ("far", "It is not far from the far side of town.", "Far are ye fae, if I may speir?", "ne"),
    ("far", "He lives far away, as far as I can tell.", "I dinna ken far they bide noo.", "ne"),
    ("far", "Far awa ower the sea there bides a king.", None, None),
    ("fan", "He is a fan of the band and the fan is on.", "Fan I wis at the skweel we hid nae phone.", "ne"),
    ("fan", "Fan the flames and switch off the fan.", "It's aye better fan it's het up again.", "ne"),
    ("fin", "The fin of the fish is sharp.", "Fin I wis young we gaed tae the kirk.", "ne"),
    ("fa", "Do, re, mi, fa, so is how we sing.", "Fa kens fit wye he did it?", "ne"),
    ("fa's", "The fa's in the scale are flat.", "Fa's that at the door at this time o nicht?", "ne"),
    ("foo", "Set foo to zero and call foo again.", "Foo muckle siller dis it cost ye?", "ne"),
    ("fu", "The kung fu film was full.", "Fu lang hae ye bidden here?", "ne"),
    ("file", "Save the file to the disk.", "I'll see ye in a file ilka day yet.", "ne"),
    ("files", "Close the files on the computer.", "Files ye'll see a seal in the herbour.", "ne"),
    ("fat", "Trim the fat off the fat chop.", "I dinna ken fat ye mean, min.", "ne"),
    ("een", "The een in the poem is archaic.", "That's a gweed een for the winter.", "ne"),
    ("een", "Her een wis like the simmer sky.", "Tak een o the heapies awa.", "ne"),
    ("dee", "We walked along the River Dee with Mr Dee.", "Fit are ye gyaan tae dee aboot it?", "ne"),
    ("dis", "Do not dis him on the show.", "Foo dis it wirk in the caul?", "scots"),
    ("did", "They did the work on time.", "Fit did ye dee wi ma sheen?", "scots"),
    ("deed", "The deed to the house was signed.", "Aye deed, it's a caul day.", "scots"),
    ("die", "They die of cold every year.", None, None),
    ("min", "It takes ten min to boil.", "Come awa ben, min, an tak a seat.", "ne"),
    ("on", "Put it on the table.", None, None),
    ("mine", "This one is mine and that gold mine is theirs.", "I mine fan we hid nae phone.", "ne"),
    ("mine", "A friend of mine called.", "Mine on yer piece the morn.", "ne"),
    ("mind", "Keep it in mind and mind the gap.", None, None),
    ("lug", "He had to lug the bags upstairs.", None, None),
    ("bit", "It was a bit of a mess.", "It's caul the day, bit it's nae weet.", "shared"),
    ("loon", "A loon called across the lake.", "The wee loon his lost his beets.", "ne"),
    ("loons", "The loons nest by the lake.", "Twa strang loons will lift it ower the dyke.", "ne"),
    ("quine", "We read Quine on logic, and quine on sets.", "Ma quine bides in Buckie.", "ne"),
    ("deem", "I deem it fair.", None, None),
    ("tea", "She had tea.", None, None),
    ("tee", "They tee off at noon.", None, None),
    ("his", "He took his coat and his hat.", "I dinna ken foo it his been sae weet.", "shared"),
    ("hid", "She hid the key under the mat.", "It hid taen a lang time tae dry.", "shared"),
    ("hed", "The hed was misspelt.", None, None),
    ("sheen", "The sheen on the steel was bright.", "Pit on yer aul sheen an gyang oot.", "scots"),
    ("seen", "I have seen the film.", "Ye'll seen get eesed wi the caul.", "ne"),
    ("seer", "A seer told the king.", "Mak seer the door is steekit.", "ne"),
    ("at", "She is at home.", None, None),
    ("is", "It is late.", None, None),
    ("nowt", "There's nowt in the fridge.", None, None),
    ("na", "The field holds na or n/a.", "Na, I winna help ye wi that.", "scots"),
    ("deein", "The aul man wis deein.", "Fit are ye deein it for?", "ne"),
    ("wyte", "It wisna the dog's wyte.", "Wyte half a meenit an haud it doon.", "ne"),
    ("gin", "A gin and tonic.", "Gin ye canna sleep, rise an read.", "scots"),
    ("kin", "His kith and kin.", "It's a kin o soup.", "scots"),
    ("an", "She ate an apple.", "Salt an pepper.", "scots"),
]


NEVER = [
    "feel",
    "peel",
    "reef",
    "steel",
    "teem",
    "teen",
    "breed",
    "wall",
    "row",
    "men",
    "fun",
    "stew",
    "park",
    "piece",
    "press",
    "messages",
    "dock",
    "hale",
    "burn",
    "close",
    "gate",
    "hotter",
    "wither",
    "winner",
    "bar",
    "greet",
    "lift",
    "tea",
    "tee",
    "mind",
    "mend",
]


@pytest.mark.parametrize(("word", "english", "doric", "kind"), FALSE_FRIENDS)
def test_false_friend_counts_only_in_its_doric_place(word, english, doric, kind):
    """A word that is also English counts only if its neighbours make it Doric."""
    assert counted(english, word) == set()
    if doric:
        assert counted(doric, word) == {kind}


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("I dinna ken fit tae dee aboot it ava.", 1),
        ("Speir at her fit wye she gaed.", 1),
        ("Fit tae dee fan the pooer gings aff.", 1),
        ("It's fit I wid dee masel.", 1),
        ("Fit a shocker that wis for the bairns.", 1),
        ("Tae fit a new tap ye'll need a spanner an a rag.", 0),
        ("That jaiket winna fit ye noo, ye're ower muckle.", 0),
        ("He wis fair fit for a man o echty.", 0),
        ("The watter isna fit for the bairns tae drink.", 0),
        ("At the fit o the brae ye'll see a yett.", 0),
        ("It wis sax fit lang an twa fit wide.", 0),
        ("The win wis fit tae tak yer heid aff.", 0),
    ],
)
def test_fit_is_what_and_not_suitable_or_foot(text, times):
    """In a Doric sentence fit counts if it means "what", but not as a verb, adjective, foot or unit of length."""
    assert sum(item.token == "fit" for item in score(text).evidence) == times


@pytest.mark.parametrize("word", NEVER)
def test_some_words_never_count_alone(word):
    """A word never counts if its neighbours cannot show whether it is Scots or English."""
    assert counted(f"They saw the {word} that day.", word) == set()
    assert counted(f"Ye canna {word} it, bit the {word} is affa gweed the day.", word) == set()


def test_nae_is_north_east_only_when_it_means_not():
    """nae counts as North-East if it means "not", and as Scots if it means "no"."""
    assert counted("I'm nae weel the day.", "nae") == {"ne"}
    assert counted("It's nae affa far.", "nae") == {"ne"}
    assert counted("We're nae gaan tae the shops.", "nae") == {"ne"}
    assert counted("Ye'll nae get in withoot a ticket.", "nae") == {"ne"}
    assert counted("It's nae bother ava.", "nae") == {"scots"}
    assert counted("There's nae breid an nae milk.", "nae") == {"scots"}
    assert counted("I'll gang nae mair tae yon toon.", "nae") == {"scots"}


def test_central_no_contaminates():
    """no counts as Central Scots if it means "not", but not if it is English "no"."""
    central = {item.token for item in score("I'm no gaun, for it's no weel.").evidence if item.kind == "central"}
    assert central == {"no"}
    assert score("There is no milk and no bread.").contamination == 0


def test_glasgow_ae_contaminates():
    """ae counts as Central Scots if it means "of", but not before a noun."""
    assert score("Get rid ae the aul een.").tokens_of("central") == ("ae",)
    assert score("Ae day we gaed tae Banff.").tokens_of("central") == ()


def test_participles_are_recognised_by_their_ending():
    """Scots and English participles are recognised, and English words with the same ending are not."""
    assert all(map(is_participle, ["gotten", "keepit", "wirkin", "made-up-ed"]))
    assert not any(map(is_participle, ["in", "it", "begin", "table"]))


def test_words_with_rules_have_no_class_of_their_own():
    """A word with context rules has no class without context, except a few words that are always Scots."""
    everywhere = {form for form in rules() if word_class(form) in SCOTS}
    assert everywhere == {"nae", "dis", "ae", "fu", "quinie"} & everywhere
