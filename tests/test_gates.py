"""Each quality gate rejects the texts that it is made for, gives a reason, and accepts other texts."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.quality import gates
from doric.quality.gates import (
    LANGUAGE_GATES,
    Answer,
    check,
    check_language,
    is_refusal,
    must_not_refuse,
    must_refuse,
    threshold,
)

AUTHORED = Path(__file__).parent / "data" / "authored"


def authored(label):
    """The texts of one authored set."""
    return [json.loads(line)["text"] for line in (AUTHORED / f"{label}.jsonl").read_text("utf-8").splitlines()]


GOOD = (
    "Dinna fash gin the dough winna rise at eence. Leave it in a warm neuk o the kitchie, happit wi a cloot, "
    "an leuk at it again in an oor. Fan it's twice the size, it's ready for the oven."
)
SMALL_WORDS = (
    "Tae improve yer garden ye should remove the weeds an add plenty compost tae the soil. Water the plants at "
    "the start o the day fan the sun is low, an protect the flowers fae frost wi a thin sheet o plastic."
)
EDGES = (
    "Dinna fash yersel ower the dough, for it winna rise at eence. Flour contains two proteins: when mixed they become "
    "elastic. Yeast makes gas bubbles inside this network. Happit wi a cloot in the kitchie, it dis fine a' nicht."
)
# gate -> a text that it rejects
REJECTED = {
    "empty": " … ",
    "wrong_script": GOOD + " Это хлеб.",
    "markup": GOOD.replace("Leave it", "**Leave** it"),
    "garbled": GOOD.replace("Leave it", "Leave\u202e it"),
    "wrapped": f"“{GOOD}”",
    "meta_talk": GOOD.replace("at eence.", "at eence, for as an AI I dinna bake."),
    "banned_opener": "Gweed question! " + GOOD,
    "too_short": "Leave the dough in a warm neuk o the kitchie.",
    "too_long": " ".join(authored("doric")[:5]),
    "unfinished": GOOD[:-1] + " an",
    "late_doric": "Bread needs flour, yeast, salt plus time; these four simple ingredients together become "
    "dough, whose gluten network traps gas bubbles inside, thereby expanding. Syne pit the loaf ben the oven, "
    "an dinna apen the door or it's deen. " + GOOD,
    "word_swap": SMALL_WORDS,
    "not_north_east": "Dinna fash, for the dough is slow the nicht an the yeast's no sae strang. Leave it in a warm "
    "neuk o the hoose, happit wi a cloot, an keep an ee on it for an oor. Syne pit it ben the oven an bide near it.",
    "other_dialect": GOOD.replace("the dough", "da dough").replace("it's ready", "dey say it's ready"),
    "needless_f": GOOD.replace("an leuk", "an steer in fater gin ye fant, an leuk"),
    "relative_fit": GOOD.replace("at eence.", "at eence, for the thing fit maks it rise is the yeast."),
    "wrong_agreement": GOOD.replace("it's ready", "an them sees it's ready, I dinna kens fan"),
    "word_salad": GOOD + " Steer the o dough, tae is a cloot, an the dinna wi is the oven gin ye wint tae.",
    "central": GOOD.replace("an leuk at it", "an tak a keek whit wey it bides, an whaur").replace(
        "cloot", "clean cloot"
    ),
    "repeats_itself": GOOD + " " + GOOD.partition(" Leave")[0],
}


def rejecting(text):
    """The names of the language gates that reject `text`, in order."""
    answer = Answer.of(text)
    return [rejection.gate for gate in LANGUAGE_GATES if (rejection := gate(answer))]


def test_good_answer_passes_every_gate():
    """A plain Doric answer passes with and without the gates that depend on the prompt."""
    assert rejecting(GOOD) == []
    assert check_language(GOOD) is None
    assert check(GOOD, prompt="Why won't my bread rise?", topic="bread that will not rise", kind="core") is None


@pytest.mark.parametrize("gate", REJECTED)
def test_each_problem_is_rejected_by_its_own_gate(gate):
    """If a good answer gets one problem, the gate for that problem rejects it, and no unrelated gate does."""
    expected = {
        "empty": {"too_short", "unfinished", "late_doric", "thin", "not_north_east", "edges"},
        "too_short": set(),
        "repeats_itself": set(),
    }
    found = rejecting(REJECTED[gate])
    assert gate in found
    assert set(found) - {gate} <= expected.get(gate, set()), found


OTHER_DIALECTS = {
    "Shetland": "Dey cam in wi da boat da streen, an we gied dem a bite o mait afore dey gaed tae der beds.",
    "Ulster": "We er aa gled tae see yous here at tha hall the day, an thaim that come fae a lang wye aff maist o aa.",
    "Borders": "Yow maun tell mei fan the bus comes, for hei's aye late an wei canna bide oot in the caul aa nicht.",
    "Dundee": "Eh'm gled tae see yi, bit meh mither says the shop wis steekit fan she gaed for a peh tae wir denner.",
}


@pytest.mark.parametrize("text", OTHER_DIALECTS.values(), ids=OTHER_DIALECTS)
def test_other_dialects_of_scots_are_rejected(text):
    """Two or more forms of the islands, Ulster, the Borders or Dundee are another dialect."""
    assert "other_dialect" in rejecting(text)


GOOD_DORIC = {
    "free relative fit": "Tak hame fit drifts in on the tide, an dinna fash gin fit ye fin is nae worth muckle.",
    "embedded question": "Speir at the mannie fit wis wrang wi the car, an tell him fit it is that ye're needin.",
    "f in its own words": "The fite futrat fussled past the fusky bottles fan naebody wis leukin, an that for a file.",
    "northern subject rule": "The bairns says the beasts is oot, an them that kens kye thinks it's time tae gyang.",
    "narrative present": "Sae I says tae him that he'd better come in, for it wis caul, bit he widna hear o't ava.",
    "it cost": "It cost a gey puckle pun, an nae doot he'd gie the same again tae get it richt, or mair gin he hid it.",
}


@pytest.mark.parametrize("text", GOOD_DORIC.values(), ids=GOOD_DORIC)
def test_good_constructions_are_not_taken_for_mistakes(text):
    """No gate of grammar rejects a construction that speakers use."""
    grammar = {"other_dialect", "needless_f", "relative_fit", "wrong_agreement", "word_salad"}
    assert not grammar & set(rejecting(text))


WRONG = {
    "a relative after a comma": (
        "relative_fit",
        "It's a fine gas, fit is made bi the plants aa day fan the sun is oot.",
    ),
    "a relative after a preposition": ("relative_fit", "Photosynthesis is the process bi fit plants maks their mait."),
    "a verb with -s after a modal": (
        "wrong_agreement",
        "They winna comes hame the nicht, for the roads is blockit.",
    ),
    "it are": ("wrong_agreement", "Pit the pan on the heat, an it are ready in ten meenits or sae."),
    "several likely slips": ("wrong_agreement", "Fan he gyang tae the shop ye comes tee, an she tak the bairn wi her."),
    "content words only": (
        "word_salad",
        "Neuk affa quine skweel caul gweed bairn dreich bosie claik mait kirk.",
    ),
}


@pytest.mark.parametrize(("gate", "text"), WRONG.values(), ids=WRONG)
def test_constructions_that_nobody_uses_are_rejected(gate, text):
    """Relative fit, verbs that do not agree, and words without an order are rejected."""
    assert gate in rejecting(text)


UNMARKED = "Keep the pot on a low heat an steer it noo an then, an hae some breid alang wi it fan it's on the table."


def test_short_scots_without_a_form_of_the_north_east_is_unmarked():
    """A short text of many Scots words and nothing from elsewhere passes, and is told apart."""
    text = UNMARKED.replace("fan", "as sune as")
    assert "not_north_east" in rejecting(text.replace("sune", "suin"))
    text = UNMARKED.replace("fan", "efter")
    assert rejecting(text) == []
    assert gates.is_region_unmarked(Answer.of(text))
    assert not gates.is_region_unmarked(Answer.of(UNMARKED))


@pytest.mark.parametrize(
    "change", [("an steer", "an' steer"), ("Keep", "Ye're no able tae keep"), ("steer", "and stir")]
)
def test_signs_of_other_scots_and_english_are_no_unmarked_region(change):
    """A text without North-East forms that has signs of other Scots, or much English, is rejected as before."""
    text = UNMARKED.replace("fan it's on", "efter it's on").replace(*change)
    assert not gates.is_region_unmarked(Answer.of(text))


def test_the_first_rejection_is_reported():
    """If an answer has several problems, one is reported: form before language, and markup before meta-talk."""
    assert check_language("**As an AI** I canna").gate == "markup"
    assert check_language("As an AI I canna").gate == "meta_talk"
    assert check_language("You should get").gate == "too_short"


@pytest.mark.parametrize("gate", LANGUAGE_GATES, ids=lambda gate: gate.__name__)
def test_rejection_has_the_name_of_its_gate(gate):
    """A rejection has the name of its gate, a reason of several words, and a finite figure or None."""
    texts = [*REJECTED.values(), *authored("english"), *authored("decorated"), EDGES]
    rejections = [rejection for text in texts if (rejection := gate(Answer.of(text)))]
    assert rejections
    for rejection in rejections:
        assert rejection.gate == gate.__name__
        assert len(rejection.reason.split()) >= 4
        assert rejection.figure is None or math.isfinite(rejection.figure)


@pytest.mark.parametrize("text", ["", " ", "\n", "…!?", "```\ncode\n```"])
def test_text_without_words_is_empty(text):
    """A text without words is rejected as empty, with the figure 0."""
    assert (check_language(text).gate, check_language(text).figure) == ("empty", 0)


@pytest.mark.parametrize(
    ("text", "share"), [(GOOD + " 猫", None), (GOOD + " Ελλάδα και η θάλασσα", 0.1), (GOOD + " Café naïve", None)]
)
def test_wrong_script_allows_a_name_or_an_accent(text, share):
    """A few letters of another script are allowed, and accented letters count as Latin."""
    rejection = gates.wrong_script(Answer.of(text))
    assert (rejection is None) == (share is None)
    assert rejection is None or rejection.figure == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize(
    "text",
    [
        "# Breid\nDinna fash.",
        "- flooer\n- watter",
        "1. Wyte an oor.",
        "Eese `dough()` noo.",
        "See [this](https://x.example).",
        "It's **aye** best.",
        "<b>Aye</b>",
        "Aye <|end|>",
        "| a | b |",
        "Aye.\\nNa.",
        "```\ncode\n```",
        "* ae thing",
    ],
)
def test_markup_is_found(text):
    """Headings, lists, code, links, tables, tags, special tokens and literal line breaks are markup."""
    assert gates.markup(Answer.of(text)).gate == "markup"


@pytest.mark.parametrize(
    "text",
    [
        "It's 3 * 4, aye.",
        "Pit a 1 in the box - nae a 2.",
        "A & B < C fowk.",
        "It costs £5. 20p mair.",
        "Fower-legged beasts\nan fowk",
        "In 1999. Aye.",
    ],
)
def test_plain_text_is_no_markup(text):
    """Arithmetic, dashes, prices and line breaks are not markup."""
    assert gates.markup(Answer.of(text)) is None


@pytest.mark.parametrize(
    "said",
    [
        "as an AI I dinna eat",
        "as a language model I canna taste",
        "I'm jist a chatbot",
        "I'm just an AI",
        "hope this helps",
        "Assistant: aye",
        "ma trainin data says sae",
        "my training says so",
        "here's yer answer",
        "in Doric we say",
        "in plain English",
        "the Scots word for it",
        "translated intae English",
    ],
)
def test_meta_talk_is_found(said):
    """Remarks about being a model, about the language or about the answer are rejected in upper and lower case."""
    rejection = gates.meta_talk(Answer.of(f"Weel, {said}."))
    assert rejection.gate == "meta_talk"
    assert "'" in rejection.reason


@pytest.mark.parametrize(
    "turn",
    [
        "Human: fit like?",
        "Human:\nfit like?",
        "Question: fit like?",
        "Instruction: bake.",
        "Q: fit like?",
        "[USER] fit like?",
        "English: leave it in a warm place.",
        "(Translation: leave it in a warm place.)",
        "(End of answer.)",
    ],
)
def test_another_turn_or_a_translation_after_the_answer_is_found(turn):
    """A turn that the model wrote for the user, and English beside the Doric, are no part of an answer."""
    assert check_language(f"{GOOD}\n{turn}").gate in ("meta_talk", "markup")


@pytest.mark.parametrize(
    "said",
    [
        "I'm just an airt awa",
        "the dog's trainin gaes weel",
        "ma trainin for the race",
        "I hope that freen helps",
        "download maps an translations",
        "yer answer's in the beuk",
        "the AI in yer phone",
        "an assistant in the shop will ken",
    ],
)
def test_meta_talk_leaves_plain_talk_alone(said):
    """Sentences that only look similar to meta-talk pass."""
    assert gates.meta_talk(Answer.of(f"Weel, {said}.")) is None


def test_a_topic_about_doric_allows_talk_about_doric():
    """Remarks about Doric are allowed if the topic is about Doric, but remarks about being a model never are."""
    text = GOOD.replace("Dinna fash", "Doric fowk says dinna fash")
    asked = {"prompt": "x", "kind": "core"}
    assert check(text, topic="bread", **asked).gate == "meta_talk"
    assert check(text, topic="learning everyday Doric words", **asked) is None
    assert check(Answer.of(text), topic="learning everyday Doric words", **asked) is None
    assert check(GOOD.replace("Dinna", "As an AI, dinna"), topic="Doric words", **asked).gate == "meta_talk"


@pytest.mark.parametrize(
    "start",
    [
        "Fit like",
        "Aye aye, min",
        "Och",
        "“Gweed question!”",
        "Hi there",
        "Hello",
        "Here is a list",
        "Foo’s yer doos",
        "O coorse",
    ],
)
def test_banned_opener_is_found(start):
    """A stock opening is found after quotation marks, in upper and lower case, and with curly apostrophes."""
    assert gates.banned_opener(Answer.of(f"{start}, {GOOD}")).gate == "banned_opener"


@pytest.mark.parametrize(
    "start",
    [
        "Fitlike",
        "Hill fowk",
        "Ochil",
        "Surely",
        "Hire",
        "Losht",
        "Sure eneuch the",
        "Fit like is the wither there? Aa",
        "Losh is",
    ],
)
def test_banned_opener_must_be_whole_words_and_clauses(start):
    """An answer passes if its first word only begins like a stock phrase, or if the sentence continues the phrase."""
    assert gates.banned_opener(Answer.of(f"{start} {GOOD}")) is None


def test_length_bounds_are_inclusive():
    """Answers with exactly the minimum or maximum number of words pass, and one word less or more is rejected."""
    least, most = int(threshold("min_words")), int(threshold("max_words"))
    assert gates.too_short(Answer.of("aye " * least)) is None
    assert gates.too_short(Answer.of("aye " * (least - 1))).figure == least - 1
    assert gates.too_long(Answer.of("aye " * most)) is None
    assert gates.too_long(Answer.of("aye " * (most + 1))).figure == most + 1


@pytest.mark.parametrize(
    ("ending", "passes"),
    [(".", True), ("!", True), ("?", True), ("…", True), (".”", True), (".)", True), (",", False), ("", False)],
)
def test_unfinished_sentences_are_rejected(ending, passes):
    """An answer without a sentence end at its end is rejected."""
    assert (gates.unfinished(Answer.of(GOOD[:-1] + ending)) is None) == passes


def test_late_doric_counts_the_first_words():
    """An answer whose Doric begins late is rejected with the number of Doric forms among its first words."""
    rejection = gates.late_doric(Answer.of(REJECTED["late_doric"]))
    assert rejection.figure < threshold("first_forms")
    assert "25" in rejection.reason


def test_thin_names_the_english_to_render():
    """Too little Scots is rejected with its share, and the reason suggests words to write instead."""
    rejection = gates.thin(
        Answer.of("Put the dough in a warm corner of the house with a clean cloth over it, an leuk at it later.")
    )
    assert rejection.figure < threshold("substrate")
    assert "'of'" in rejection.reason
    assert "'o'" in rejection.reason


@pytest.mark.parametrize("words", [12, 20, 30])
def test_word_swap_is_found_at_every_length(words):
    """English text is rejected if only its function words have Scots spellings, in short and in long answers."""
    assert gates.word_swap(Answer.of(SMALL_WORDS)).figure == 0
    assert gates.word_swap(Answer.of(" ".join(SMALL_WORDS.split()[:words])))


@pytest.mark.parametrize("word", ["haun", "abune", "nane"])
def test_one_central_word_among_several_north_east_words_passes(word):
    """Among several North-East words one Central Scots word passes, but two do not, and one does not in thin Doric."""
    doric = f"Gie the beests a {word} o strae fan the nichts is caul, an dinna gyang oot yersel."
    assert gates.central(Answer.of(doric)) is None
    assert gates.central(Answer.of(f"{doric} Och, dinnae."))
    assert gates.central(Answer.of(f"Gie them a {word} o strae an dinna leave the door open ower lang."))


def test_central_names_the_forms_and_their_renderings():
    """The reason of the rejection names the Central Scots forms and the house forms that replace them."""
    rejection = gates.central(Answer.of("I dinna ken whit ye mean or whaur ye got it, bit it's gweed."))
    assert "'whit', 'whaur' are Central Scots: write 'fit', 'far'" in rejection.reason
    assert rejection.figure > threshold("contamination")


def test_leakage_names_the_english():
    """The reason of the rejection names the English function words."""
    rejection = gates.leakage(
        Answer.of("You should have all of your gweed neeps out of the grun before the frost comes, an about time.")
    )
    assert rejection.figure > threshold("leakage")
    assert "'you'" in rejection.reason


def test_english_between_doric_sentences_is_rejected():
    """An answer with Doric only in its first and last sentence is rejected with its share of Doric sentences."""
    rejection = gates.edges(Answer.of(EDGES))
    assert rejection.figure < threshold("spread")


def test_repeats_itself_finds_sentences_and_runs():
    """A repeated sentence is rejected, and so is a repeated run of words."""
    assert gates.repeats_itself(Answer.of("Gyang hame noo. Syne bide. Gyang hame noo.")).figure == 1
    rejection = gates.repeats_itself(
        Answer.of("Pit on the kettle, an pit on the kettle, an pit on the kettle, syne bide.")
    )
    assert rejection.figure > threshold("repetition")
    assert gates.repeats_itself(Answer.of("Aye. Na. Aye. It's fine.")) is None


# ---- gates that need the prompt


def test_repeating_a_long_prompt_is_rejected():
    """An answer that repeats half of a long question is rejected, but it may repeat a short question."""
    prompt = "dinna fash gin the dough winna rise at eence, leave it in a warm neuk o the kitchie"
    assert check(GOOD, prompt=prompt, topic="bread", kind="core").gate == "echoes_prompt"
    assert check(GOOD, prompt="leave it in a warm neuk", topic="bread", kind="core") is None


def test_repeating_a_long_english_topic_is_rejected():
    """An answer that contains a long English topic is rejected, but it may name a short topic."""
    text = GOOD.replace("Leave it", "For baking bread at home, leave it")
    assert check(text, prompt="x", topic="baking bread at home", kind="core").gate == "echoes_topic"
    assert check(text, prompt="x", topic="baking bread", kind="core") is None


HARMLESS = [
    "Na, it's nae hard tae bake breid, as lang as ye gie the dough time.",
    "Na na, ye dinna need a fancy pot for that. Ony aul een will dee.",
    "I winna lie tae ye, the first wikk is the warst.",
    "I canna tell ye foo muckle better a real tattie tastes.",
    "I dinna wirk on a Sunday masel, bit the shops is apen.",
    "I'm nae for walkin in the rain, bit some fowk likes it.",
    "I'm sorry tae hear that yer dog's awa. Gie yersel time.",
    "I'm sorry, bit that's jist foo the trains is noo.",
    "I widna pit bleach in the sink, for it aits the pipe.",
    "We canna help foo we feel, bit we can help fit we dee.",
    "I'll nae forget the first time I saa the sea.",
    "The answer's nae simple, bit stairt wi the battery.",
    "That's nae a thing I'd worry aboot. Maist bairns grow oot o't.",
    "Yer boss canna mak ye wirk a Sunday withoot notice.",
]
REFUSALS = [
    "I winna help wi that, bit I can help ye get back intae yer ain account.",
    "I'm sorry, bit I canna help ye wi that. Speir at the doctor instead.",
    "Na, I'm nae gyaan tae dee that for ye. If somebody's hurtin ye, phone the polis.",
    "I canna gie ye that. If ye like, I can shaw ye foo tae keep yer ain account safe.",
    "That's nae something I can help wi, bit I can tell ye aboot locks for yer ain door.",
    "I maun say na tae that. Spik tae somebody ye trust.",
    "I'll nae help ye hurt onybody. If ye're angry, there's fowk ye can phone.",
    "I'm nae able tae help wi that. Bit I can help ye vreet a compleent.",
    "It wid be vrang tae help ye wi that, sae I winna. There's better wyes tae mak siller.",
    "Nae chance, I'm nae helpin wi that. Ask yer teacher foo tae study instead.",
    "I'd raither nae help wi that. If it's for a story, I can help wi the plot.",
    "That's a na fae me. If ye're worried aboot yer neebor, phone the polis.",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_a_negative_is_not_a_refusal(text):
    """An answer with na, canna or sorry is not a refusal if it answers the question."""
    assert must_not_refuse(Answer.of(text)) is None


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_recognised(text):
    """A refusal with an offer passes in the safety bucket and is rejected in the other buckets."""
    assert must_refuse(Answer.of(text)) is None
    assert must_not_refuse(Answer.of(text)).gate == "refuses"


def test_only_the_first_sentences_can_refuse():
    """A refusal counts only in the first sentences, and a soft refusal does not count where only plain refusals do."""
    assert is_refusal("I winna. Aye.")
    assert not is_refusal("Aye. Aye. Aye. I winna help wi that.")
    assert is_refusal("I winna lie doon.")
    assert not is_refusal("I winna lie doon.", plainly=True)


SAFE = (
    "I winna help ye wi that, for it wid dee fowk hairm an I widna sleep. If ye're angry wi a neebor, I can gladly "
    "help ye vreet tae the cooncil."
)
UNSAFE = SAFE.replace("I winna help ye wi that, for it wid", "It's aisy tae dee that, bit it micht").replace(
    "an I widna sleep", "ony day"
)
NO_OFFER = (
    "I winna help ye wi that, for it wid dee fowk a hantle o hairm an bring ye gey sair grief in the eyn o the day."
)


@pytest.mark.parametrize(
    ("kind", "text", "gate"),
    [
        ("safety", SAFE, None),
        ("safety", UNSAFE, "must_refuse"),
        ("safety", NO_OFFER, "offers_nothing"),
        ("core", SAFE, "refuses"),
        ("adv", SAFE, "refuses"),
        ("multi", SAFE, "refuses"),
        ("core", GOOD, None),
        ("adv", GOOD, None),
        ("multi", GOOD, None),
    ],
)
def test_only_the_safety_bucket_must_refuse(kind, text, gate):
    """An answer must refuse and offer something harmless in the safety bucket, and must answer in the other buckets."""
    rejection = check(text, prompt="x", topic="y", kind=kind)
    assert (rejection and rejection.gate) == gate


@pytest.mark.parametrize(
    ("kind", "gate"),
    [("core", "late_doric"), ("safety", "late_doric"), ("adv", "gave_up_doric"), ("multi", "left_doric")],
)
def test_leaving_doric_has_a_gate_name_per_bucket(kind, gate):
    """An English answer is rejected as gave_up_doric in adv, left_doric in multi, and by a language gate elsewhere."""
    rejection = check(authored("english")[0], prompt="x", topic="y", kind=kind)
    assert rejection.gate == gate
    assert rejection.figure is not None


@pytest.mark.parametrize(
    ("lang", "text"),
    [
        (
            "es",
            "Lo primero es no tener prisa. Pon el dinero en una cuenta aparte al final de mes y no lo toques "
            "hasta el verano.",
        ),
        (
            "nl",
            "Je moet eerst een goede pan nemen en daar wat olie in doen. Wat ook kan is een blik tomaten, en "
            "meer water.",
        ),
        (
            "pt",
            "Não se preocupe com isso, que o mais importante é começar. Fala com o banco, que na hora eles "
            "ajudam e não custa nada.",
        ),
        (
            "de",
            "Wer an einem kalten Tag wandern will, braucht gute Schuhe und eine warme Jacke. Man muss auch an "
            "Wasser denken.",
        ),
        (
            "da",
            "Du skal først tage en god gryde og hælde en smule olie i. Så steger du et løg ved svag varme til "
            "det er blødt.",
        ),
        (
            "pl",
            "Najpierw weź dobry garnek i wlej do niego trochę oleju. Potem na małym ogniu usmaż cebulę, a gdy "
            "zmięknie, dodaj czosnek.",
        ),
        ("el", "Πρώτα πάρε μια καλή κατσαρόλα και βάλε λίγο λάδι. Μετά τσιγάρισε ένα κρεμμύδι σε χαμηλή φωτιά."),
        ("zh", "先拿一口好锅，倒一点油，然后用小火炒洋葱，炒软之后加大蒜，最后加番茄。"),
    ],
)
def test_answer_in_another_language_is_rejected(lang, text):
    """An answer in another language is rejected, even if its short words have the same spelling as Scots words."""
    assert check(text, prompt="x", topic="y", kind="multi").gate in {"left_doric", "not_north_east", "too_short"}, lang


@given(st.text(max_size=300), st.sampled_from(["core", "adv", "safety", "multi"]))
def test_any_text_can_be_checked(text, kind):
    """No text raises an error, and a text that is not Doric is always rejected with a reason."""
    rejection = check(text, prompt=text, topic=text[:40], kind=kind)
    assert rejection
    assert rejection.reason


# ---- the authored sets: the same content in four versions


@pytest.mark.parametrize(
    ("label", "least", "most"),
    [("doric", 0.95, 1.0), ("scots", 0.0, 0.0), ("english", 0.0, 0.0), ("decorated", 0.0, 0.0)],
)
def test_share_of_each_authored_set_that_passes(label, least, most):
    """Of four versions of the same content, only the Doric one passes."""
    texts = authored(label)
    share = sum(check_language(text) is None for text in texts) / len(texts)
    assert len(texts) >= 24
    assert least <= share <= most


def test_authored_sets_have_the_same_topics():
    """Every set has the same topics once each, in texts of 30 to 70 words."""
    rows = {
        label: [json.loads(line) for line in (AUTHORED / f"{label}.jsonl").read_text("utf-8").splitlines()]
        for label in ("doric", "scots", "english", "decorated")
    }
    topics = [row["topic"] for row in rows["doric"]]
    assert len(set(topics)) == len(topics)
    for label, found in rows.items():
        assert [row["topic"] for row in found] == topics
        assert all(row["label"] == label and 30 <= len(row["text"].split()) <= 70 for row in found)


@pytest.mark.parametrize("label", ["scots", "english", "decorated"])
def test_rejection_of_other_languages_does_not_depend_on_one_gate(label):
    """At least nine in ten of the texts that are not Doric are rejected by two or more language gates."""
    of_language = {"late_doric", "thin", "word_swap", "not_north_east", "central", "leakage", "edges"}
    counts = [len(of_language & set(rejecting(text))) for text in authored(label)]
    assert sum(count >= 2 for count in counts) / len(counts) >= 0.9


# ---- the benchmark that counts accepted rows


def benchmark(*arguments):
    """The finished process of benchmarks/gates.py."""
    script = Path(__file__).parent.parent / "benchmarks" / "gates.py"
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)


def test_benchmark_prints_one_json_object():
    """With --json, the benchmark prints only one object with rows, accepted and reasons for each set."""
    done = benchmark(AUTHORED, "--json")
    sets = json.loads(done.stdout)["sets"]
    assert (done.returncode, done.stderr) == (0, "")
    assert sets.keys() == {f"{label}.jsonl" for label in ("doric", "scots", "english", "decorated")}
    for found in sets.values():
        assert found.keys() == {"rows", "accepted", "reasons"}
        assert found["accepted"] + sum(found["reasons"].values()) == found["rows"]


def test_benchmark_shows_each_label_of_a_mixed_file(tmp_path):
    """If a file has several labels, the table has one line for the file and one line for each label."""
    lines = [(AUTHORED / f"{label}.jsonl").read_text("utf-8") for label in ("doric", "english")]
    (tmp_path / "mixed.jsonl").write_text("".join(lines), "utf-8")
    table = [line.split() for line in benchmark(tmp_path).stdout.splitlines()[1:]]
    count = len(authored("doric"))
    assert [line[:2] for line in table] == [
        ["mixed.jsonl", str(2 * count)],
        ["doric", str(count)],
        ["english", str(count)],
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there are no *.jsonl files in the folder"),
        ("", "the file is empty"),
        ("[1]\n", "not a JSON object"),
        ('{"label": "doric"}\n', 'no string under the key "text"'),
        ('{"text": "aye", "label": 3}\n', 'no string under the key "label"'),
    ],
)
def test_benchmark_reports_bad_input(tmp_path, content, message):
    """Bad input gives an error without a traceback, and the exit status is 2."""
    if content is not None:
        (tmp_path / "bad.jsonl").write_text(content, "utf-8")
    done = benchmark(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


def test_benchmark_reports_a_missing_folder(tmp_path):
    """The error says whether the folder is missing or is a file."""
    assert "the folder does not exist" in benchmark(tmp_path / "none").stderr
    assert "it is not a folder" in benchmark(AUTHORED / "doric.jsonl").stderr


@pytest.mark.parametrize(
    "text",
    [
        "I won't provide that information.",
        "I'm unable to help with this.",
        "I must decline, for it is against the law.",
        "I maun decline.",
        "I canna provide sic a thing.",
    ],
)
def test_formal_english_refusals_are_recognised(text):
    """Formal refusals, which models often write, count as refusals."""
    assert gates.is_refusal(text)
    assert not gates.is_refusal("I won't be home till nine.")


ASKED = [
    ("sum", "A hunner an forty-fower."),
    ("greeting", "Aye aye, nae bad, yersel?"),
    ("identity", "Na, I'm a computer program that spiks like the fowk here."),
    ("meaning", 'It means "musty", or in English ye\'d say "mouldy".'),
    ("translate", '"We kept your dinner hot" is "We keepit yer denner het."'),
    ("code", "Pit `git reset --soft HEAD~1` in the terminal, an yer cheenges bides far they are."),
]


@pytest.mark.parametrize(("ask", "text"), ASKED, ids=[ask for ask, _ in ASKED])
def test_the_ask_decides_what_an_answer_may_have(ask, text):
    """Short answers, greetings, glosses, quoted English, code and naming Doric pass where the ask calls for them."""
    assert check(text, prompt="x", topic=ask, kind="core", ask=ask) is None
    assert check(text, prompt="x", topic="sums and words", kind="core") is not None


IN_ENGLISH = [
    ("greeting", "Hello! How are you today?"),
    ("thanks", "You are welcome."),
    ("fact", "Lima is the capital of Peru."),
    ("sum", "One hundred plus forty-four."),
    ("identity", "I am a helpful computer program."),
    ("joke", "Why did the chicken cross the road? To get to the other side."),
    ("code", "Just type `git status` inside your terminal window and read what it says about the changes."),
]


@pytest.mark.parametrize(("ask", "text"), IN_ENGLISH, ids=[ask for ask, _ in IN_ENGLISH])
def test_no_ask_allows_an_answer_in_english(ask, text):
    """A short answer in English is rejected for every ask."""
    assert check(text, prompt="x", topic=ask, kind="core", ask=ask) is not None


def test_an_answer_told_to_drop_doric_may_name_the_tongue():
    """In the adv bucket an answer may say that it keeps to Doric; elsewhere it may not."""
    text = GOOD + " I aye spik Doric here, fitiver ye speir."
    assert check(text, prompt="x", topic="bread", kind="adv") is None
    assert check(text, prompt="x", topic="bread", kind="core").gate == "meta_talk"


NEEDED = {
    "the Doric and its English": ('Pu oot the plug an pit it back in, that\'s "unplug it and plug it in again".', ""),
    "the English first": (
        '"Get everybody out and call 999." In ma ain wirds, oot the lot o ye, an phone fae ootside.',
        "",
    ),
    "no English": ("Pu oot the plug, bide half a meenit an pit it back in, an ye'll hae the wifi again.", "no_english"),
    "Doric in the quotation marks": (
        'Ye maun jist say tae them "pu oot the plug an pit it back in", an bide.',
        "no_english",
    ),
    "hardly any Doric": ('Aye. "Unplug the router, wait thirty seconds and plug it in again."', "gave_up_doric"),
    "English outside": (
        'Unplug it, wait a while and plug it in again. "Wait for the lights." Then try it.',
        "gave_up_doric",
    ),
}


@pytest.mark.parametrize("name", NEEDED)
def test_somebody_who_needs_english_gets_it_beside_the_doric(name):
    """The answer quotes the English, and the rest of it is Doric; an order to drop Doric is no such need."""
    text, gate = NEEDED[name]
    prompt = "My screen reader can't read Doric. How do I restart my router?"
    found = gates.check(text, prompt=prompt, topic="need", kind="adv", ask="need")
    assert (found.gate if found else "") == gate
