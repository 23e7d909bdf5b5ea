"""What counts as Doric: single words, words in their places, and the scores of a text."""

import tomllib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.data import FOLDER as DATA
from doric.data import read_table as table
from doric.dialect.contexts import is_participle, rules
from doric.dialect.lexicon import (
    SCOTS,
    entries,
    function_words,
    glosses,
    house_forms,
    leak_weights,
    variants,
    word_class,
)
from doric.dialect.scores import classify, score

CLASSES = {"ne", "shared", "scots", "na", "context", "phrase"}


def counted(text, *tokens):
    """The classes as which `tokens` counted as Scots in `text`."""
    return {item.kind for item in score(text).evidence if item.token in tokens and item.kind in SCOTS}


# ---- words that naive counting gets wrong: (word, English that must not count, Doric that must, its class there)

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
    """A word that English has too counts where its neighbours make it Doric, and nowhere else."""
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
    """Inside running Doric, fit counts as "what", and not as a verb, an adjective, a foot or a measure."""
    assert sum(item.token == "fit" for item in score(text).evidence) == times


@pytest.mark.parametrize("word", NEVER)
def test_some_words_never_count_alone(word):
    """A Scots sense that cannot be told from the English one by its neighbours is no evidence at all."""
    assert counted(f"They saw the {word} that day.", word) == set()
    assert counted(f"Ye canna {word} it, bit the {word} is affa gweed the day.", word) == set()


def test_nae_is_north_east_only_where_central_would_write_no():
    """nae for "not" is a sign of the North-East; nae for "no" is any Scots."""
    assert counted("I'm nae weel the day.", "nae") == {"ne"}
    assert counted("It's nae affa far.", "nae") == {"ne"}
    assert counted("We're nae gaan tae the shops.", "nae") == {"ne"}
    assert counted("Ye'll nae get in withoot a ticket.", "nae") == {"ne"}
    assert counted("It's nae bother ava.", "nae") == {"scots"}
    assert counted("There's nae breid an nae milk.", "nae") == {"scots"}
    assert counted("I'll gang nae mair tae yon toon.", "nae") == {"scots"}


def test_central_no_contaminates():
    """no for "not", as Central Scots has it, counts against a text; English "no" does not."""
    central = {item.token for item in score("I'm no gaun, for it's no weel.").evidence if item.kind == "central"}
    assert central == {"no"}
    assert score("There is no milk and no bread.").contamination == 0


def test_glasgow_ae_contaminates():
    """ae for "of" is Central, ae before a noun is not."""
    assert score("Get rid ae the aul een.").tokens_of("central") == ("ae",)
    assert score("Ae day we gaed tae Banff.").tokens_of("central") == ()


@pytest.mark.parametrize("word", ["gie", "tae", "ower", "ken", "aye", "bairn", "dreich"])
def test_pan_scots_words_are_no_sign_of_the_north_east(word):
    """Words of all Scotland count for the substrate alone."""
    assert word_class(word) == "scots"


@pytest.mark.parametrize("name", ["Dee", "Don", "Ken", "Gordon", "Quine", "Min", "Loon", "Fa", "Fit", "Een"])
def test_names_count_for_nothing(name):
    """A capital inside a sentence marks a name."""
    assert counted(f"Yestreen we saa {name} at the skweel.", name.lower()) == set()


def test_code_and_addresses_count_for_nothing():
    """Forms inside code or an address are not read."""
    assert score("See `fit far fan gweed quine` and https://gweed.example/fit.").substrate == 0


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("wi’ the loon an’ the quine", "wi the loon an the quine"),
        ("o' the skweel", "o the skweel"),
        ("gyaan', deein' an' spikkin'", "gyaan, deein an spikkin"),
    ],
)
def test_apostrophe_spelling_counts_as_its_plain_form(written, plain):
    """Apologetic apostrophes, straight or curly, change nothing."""
    assert [item[:2] for item in score(written).evidence] == [item[:2] for item in score(plain).evidence]


# ---- single words


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
    """Each spelling of a family is of the class of its house form."""
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
    """-in, -it, -ie and a 't for "it" make a word Scots, and endings leave a listed word in its class."""
    assert word_class(word) in SCOTS


@pytest.mark.parametrize(
    "word", ["of", "with", "about", "not", "don't", "you", "your", "have", "what", "writing", "spending"]
)
def test_english_function_words_and_ing_forms_leak(word):
    """What a Scots writer renders counts as English left behind."""
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
def test_english_words_with_scots_endings_count_for_nothing(word):
    """An English word is not made Scots by how it ends."""
    assert word_class(word) == ""


def test_participles():
    """A Scots or English participle is one, a word that only ends like it is not."""
    assert all(map(is_participle, ["gotten", "keepit", "wirkin", "made-up-ed"]))
    assert not any(map(is_participle, ["in", "it", "begin", "table"]))


# ---- the lists themselves


def test_lexicon_rows_are_well_formed():
    """Each row has a form, a gloss, a known class and lower-case spellings without blanks."""
    for entry in entries():
        assert entry.doric, entry
        assert entry.english, entry
        assert entry.kind in CLASSES, entry
        assert all(form == form.strip().lower() and form for form in (*entry.variants, *entry.wider)), entry


def test_no_spelling_is_of_two_entries():
    """A form stands once in the lexicon, as a house form or as a spelling of one."""
    forms = Counter(form for entry in entries() if entry.kind != "phrase" for form in entry.spellings)
    assert [form for form, times in forms.items() if times > 1] == []


def test_no_form_is_both_doric_and_a_fault():
    """No accepted spelling is on the list of Central forms or of English ones."""
    faults = {row["central"] for row in table("central.tsv")} | set(leak_weights())
    accepted = {form for entry in entries() if entry.kind not in ("phrase", "context") for form in entry.spellings}
    assert sorted(accepted & faults) == []


def test_fault_lists_are_sorted_and_weighted():
    """Central forms are strong or weak and stand once each; English ones weigh more than 0 and at most 1."""
    central = list(table("central.tsv"))
    assert {row["strength"] for row in central} == {"strong", "weak"}
    assert len({row["central"] for row in central}) == len(central)
    assert all(0 < weight <= 1 for weight in leak_weights().values())


def test_house_forms_are_themselves_no_faults():
    """What a rejection tells a writer to write is not on a list of faults."""
    faults = {row["central"] for row in table("central.tsv") if row["strength"] == "strong"}
    assert sorted(house for house in house_forms().values() if house in faults) == []


def test_variants_lead_to_house_forms():
    """All accepted spellings of a word lead to one of them, whichever the house writes."""
    for spellings in ("gyaan gyan gyaun", "skweel skweil"):
        assert len({variants().get(form, form) for form in spellings.split()}) == 1


def test_every_collision_word_is_a_context_word():
    """A word with places has no class of its own, but for those that are Scots everywhere."""
    everywhere = {form for form in rules() if word_class(form) in SCOTS}
    assert everywhere == {"nae", "dis", "ae", "fu", "quinie"} & everywhere


def test_collision_file_is_well_formed():
    """Every rule names forms, a class and places, and no key is misspelt."""
    spec = tomllib.loads((DATA / "collisions.toml").read_text("utf-8"))
    for rule in spec["rule"]:
        assert rule.keys() <= {"forms", "class", "when", "unless_prev", "unless_next"}, rule["forms"]
        assert rule["forms"], rule
        assert rule["when"], rule
        assert rule["class"] in {"ne", "shared", "scots", "central"}, rule
        for place in rule["when"]:
            assert place.keys() <= {"before", "prev", "next", "initial", "scots", "sentence"}, rule["forms"]


def test_function_words_are_known_words():
    """Every function word has a class in the lists, so that the file holds no stray."""
    assert [word for word in function_words() if word_class(word) not in SCOTS and word not in rules()] == []


def test_glosses_cover_every_spelling():
    """Every spelling of the lexicon has an English gloss."""
    assert all(glosses()[form] for entry in entries() for form in entry.spellings)


# ---- the scores of a text


def test_empty_text_measures_nothing():
    """No words, no scores, no evidence."""
    measured = score("")
    assert (measured.tokens, measured.substrate, measured.north_east, measured.evidence) == (0, 0, 0, ())


def test_evidence_says_which_word_and_where():
    """Evidence names each word that counted, its class and its place among the words."""
    measured = score("Gweed day. I dinna like whit you said.")
    assert [tuple(item) for item in measured.evidence] == [
        ("gweed", "ne", 0), ("dinna", "na", 3), ("whit", "central", 5), ("you", "leak", 6),
    ]  # fmt: skip


def test_scores_are_shares_of_the_words():
    """Each score is the count of its words over all words; leakage is over Scots and leaks together."""
    measured = score("The gweed skweel wi whit you ken.")
    assert measured.tokens == 7
    assert measured.substrate == pytest.approx(4 / 7)
    assert measured.north_east == pytest.approx(2 / 7)
    assert measured.contamination == pytest.approx(1 / 7)
    assert measured.leakage == pytest.approx(1 / 5)
    assert measured.depth == pytest.approx(1 / 7)


def test_shared_forms_are_half_a_sign():
    """Forms that literary Scots has too count half, and -na negatives half and only beside another sign."""
    assert score("Dinna fash, it winna hairm ye.").north_east == 0
    assert score("Leuk at aa the lichts.").north_east == pytest.approx((2 * 0.5) / 5)
    assert score("Dinna leuk at aa the skweels.").north_east == pytest.approx((1 + 3 * 0.5) / 6)


def test_accepted_spellings_contaminate_half():
    """guid, auld and their like weigh half of what whit and wean do."""
    assert score("The auld hoose.").contamination == pytest.approx(1 / 6)
    assert score("The wean greets.").contamination == pytest.approx(1 / 3)


def test_spread_is_over_long_sentences():
    """Of the sentences of six words or more, those with two Scots forms count; short ones do not matter."""
    long_doric, long_english = "I dinna ken fit ye are at.", "The cat sat on the warm mat today."
    assert score(f"{long_doric} {long_english}").spread == 0.5
    assert score(f"{long_doric} Yes. No way.").spread == 1
    assert score("Aye, fine. Nae bad.").spread == 1
    assert score("Yes. No.").spread == 0


def test_loon_and_quine_count_once():
    """A text does not become North-East by calling everybody loon and quine."""
    once = score("The wee loon ran tae the toon the nicht.")
    often = score("The wee loon ran tae the wee loon the nicht.")
    assert once.tokens_of("ne") == often.tokens_of("ne") == ("loon",)
    assert once.north_east == pytest.approx(1 / 9)
    assert often.north_east == pytest.approx(1 / 10)


def test_ah_counts_even_in_mid_sentence():
    """Ah for I, capital as it is, is no name."""
    assert score("Ah think Ah'll bide, for Ah'm nae weel.").tokens_of("central_weak") == ("ah", "ah'll", "ah'm")


def test_punctuation_parts_clauses_but_is_no_word():
    """Commas and brackets stand among the tokens with no class."""
    tokens, kinds = classify("Aye, fit (like)?")
    assert tokens == ["aye", ",", "fit", "(", "like", ")"]
    assert kinds[1] == kinds[3] == kinds[5] == ""


@given(st.text(max_size=300))
def test_any_text_can_be_measured(text):
    """No text breaks the measure, and every share stays between 0 and 1."""
    measured = score(text)
    shares = (
        measured.substrate,
        measured.north_east,
        measured.leakage,
        measured.spread,
        measured.contamination,
        measured.depth,
    )
    assert all(0 <= share <= 1 for share in shares)
    assert all(0 <= item.index < measured.tokens for item in measured.evidence)


SWAPS = "affa ain fowk een richt hoose gyang gey bit wird wirk forby nicht bairns loon quine min mine anaa"


@pytest.mark.parametrize("swap", SWAPS.split())
def test_words_that_open_every_list_give_no_depth(swap):
    """Words that everybody who knows a little Scots knows do not make English Scots."""
    assert score(f"Always check the {swap} before a long journey.").depth == 0


def test_a_guess_by_its_ending_gives_no_depth():
    """A word that is Scots by its ending alone counts towards the substrate, and not towards depth."""
    measured = score("Take the warfarin and keep the plantin dry.")
    assert measured.tokens_of("scots") == ("warfarin", "plantin")
    assert measured.depth == 0
    assert score("He keepit the strae dry.").depth > 0


@pytest.mark.parametrize(("word", "sign"), [("aa", False), ("a'", False), ("aabody", True), ("gweed", True)])
def test_aa_alone_is_no_sign_of_the_north_east(word, sign):
    """aa is written in all of Scotland: only beside a surer form does it count."""
    assert (score(f"Tak {word} o the breid.").north_east > 0) is sign


@pytest.mark.parametrize("word", ["dat", "du", "desel", "peerie", "meh"])
def test_forms_of_the_isles_and_of_dundee_contaminate(word):
    """Shetland, Orkney and Dundee have forms of their own."""
    assert word_class(word) == "central"


@pytest.mark.parametrize("word", ["a'", "wy", "te", "wifey", "thran", "hine", "geed", "ana'", "fie"])
def test_spellings_of_the_villages_are_scots(word):
    """Spellings that are not the house's are read as what they are."""
    assert word_class(word) in SCOTS


def test_weak_central_forms_are_outweighed_by_those_of_the_north_east():
    """guid and frae beside as many forms of the North-East are no contamination; alone they are."""
    assert score("The quine kens fit affa guid loaf cam frae the aul skweel.").contamination == 0
    assert score("Sic a guid loaf frae that lass.").contamination > 0


def test_eat_and_ate_are_two_words():
    """The house writes aet for eat and ett for ate."""
    meanings = {entry.doric: entry.english for entry in entries()}
    assert (meanings["aet"], meanings["ett"]) == ("eat", "ate")


def test_synonyms_are_no_spellings():
    """Another word of the same meaning is Scots and has a gloss, and no house spelling is urged on it."""
    for entry in entries():
        for word in entry.synonyms:
            assert word not in variants()
            assert glosses()[word]
    assert word_class("boxie") == "scots"
    assert {word for entry in entries() for word in (*entry.spellings, *entry.synonyms)}.isdisjoint(
        {"erse", "seelie", "ryve", "moothless"}
    )
