"""Every gate fires on its own fault, says why, and on nothing else."""

import json
import math
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.data import FOLDER as DATA
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
FAULTY = {
    "empty": " … ",
    "wrong_script": GOOD + " Это хлеб.",
    "markup": GOOD.replace("Leave it", "**Leave** it"),
    "meta_talk": GOOD.replace("at eence.", "at eence, for as an AI I dinna bake."),
    "banned_opener": "Gweed question! " + GOOD,
    "too_short": "Leave the dough in a warm neuk o the kitchie.",
    "too_long": " ".join(authored("doric")[:5]),
    "unfinished": GOOD[:-1] + " an",
    "late_doric": "Bread needs flour, yeast, salt plus time; these four simple ingredients together become "
    "dough, whose gluten network traps gas bubbles inside, thereby expanding. Syne pit the loaf ben the oven, "
    "an dinna apen the door or it's deen. " + GOOD,
    "word_swap": SMALL_WORDS,
    "not_north_east": "Dinna fash if the dough winna rise the nicht. Leave it in a warm neuk o the hoose, "
    "happit wi a cloot, an keep an ee on it for an oor. Syne pit it ben the oven an bide near it.",
    "central": GOOD.replace("an leuk at it", "an tak a keek whit wey it bides, an whaur").replace(
        "cloot", "clean cloot"
    ),
    "repeats_itself": GOOD + " " + GOOD.partition(" Leave")[0],
}


def fired(text):
    """The gates that find a fault in `text`, in order."""
    answer = Answer.of(text)
    return [rejection.gate for gate in LANGUAGE_GATES if (rejection := gate(answer))]


def test_good_answer_passes_every_gate():
    """A plain Doric answer has no fault, with or without what was asked."""
    assert fired(GOOD) == []
    assert check_language(GOOD) is None
    assert check(GOOD, prompt="Why won't my bread rise?", topic="bread that will not rise", kind="core") is None


@pytest.mark.parametrize("fault", FAULTY)
def test_gate_fires_on_its_fault_and_only_on_it(fault):
    """One fault brought into a good answer is found by the gate named for it, and by no other that could be spared."""
    expected = {
        "empty": {"too_short", "unfinished", "late_doric", "thin", "not_north_east", "edges"},
        "too_short": set(),
        "repeats_itself": set(),
    }
    found = fired(FAULTY[fault])
    assert fault in found
    assert set(found) - {fault} <= expected.get(fault, set()), found


def test_order_of_the_gates():
    """The first fault found is the one named: form before language, and the cheap gates before the dear ones."""
    assert [gate.__name__ for gate in LANGUAGE_GATES] == [
        "empty", "wrong_script", "markup", "meta_talk", "banned_opener", "too_short", "too_long", "unfinished",
        "late_doric", "thin", "word_swap", "not_north_east", "central", "leakage", "edges", "repeats_itself",
    ]  # fmt: skip
    assert check_language("**As an AI** I canna").gate == "markup"
    assert check_language("As an AI I canna").gate == "meta_talk"
    assert check_language("You should get").gate == "too_short"


@pytest.mark.parametrize("gate", LANGUAGE_GATES, ids=lambda gate: gate.__name__)
def test_rejection_bears_its_gates_name(gate):
    """A rejection names the gate that made it, and gives a reason that is more than the name."""
    texts = [*FAULTY.values(), *authored("english"), *authored("decorated"), EDGES]
    rejections = [rejection for text in texts if (rejection := gate(Answer.of(text)))]
    assert rejections
    for rejection in rejections:
        assert rejection.gate == gate.__name__
        assert len(rejection.reason.split()) >= 4
        assert rejection.figure is None or math.isfinite(rejection.figure)


@pytest.mark.parametrize("text", ["", " ", "\n", "…!?", "```\ncode\n```"])
def test_nothing_to_read_is_empty(text):
    """No words at all is its own fault, with a figure of 0."""
    assert (check_language(text).gate, check_language(text).figure) == ("empty", 0)


@pytest.mark.parametrize(
    ("text", "share"), [(GOOD + " 猫", None), (GOOD + " Ελλάδα και η θάλασσα", 0.1), (GOOD + " Café naïve", None)]
)
def test_wrong_script_allows_a_name_or_an_accent(text, share):
    """A letter or two of another script may slip in, and Latin accents are no other script."""
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
    """Headings, lists, code, links, tables, tags, tokens and literal line breaks are markup."""
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
def test_plain_talk_is_no_markup(text):
    """Arithmetic, dashes, prices and line breaks are talk."""
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
    """Talk about being a model, about the tongue or about the answer is found whatever its case."""
    rejection = gates.meta_talk(Answer.of(f"Weel, {said}."))
    assert rejection.gate == "meta_talk"
    assert "'" in rejection.reason


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
    """Words that only resemble meta-talk pass."""
    assert gates.meta_talk(Answer.of(f"Weel, {said}.")) is None


def test_a_topic_that_names_the_tongue_permits_its_name():
    """Talk of Doric is meta-talk, save where the topic itself is about it; talk of being a model never is permitted."""
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
    """A stock way in is found behind quotes, in any case and with curly apostrophes."""
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
def test_banned_opener_wants_whole_words_and_clauses(start):
    """A word that only begins like a stock phrase is no opener, nor is a phrase that the sentence goes on from."""
    assert gates.banned_opener(Answer.of(f"{start} {GOOD}")) is None


def test_every_banned_opener_is_reachable():
    """Each listed opener is found at the head of an answer."""
    listed = tomllib.loads((DATA / "gates.toml").read_text("utf-8"))["openers"]
    for opener in [*listed["clauses"], *listed["beginnings"]]:
        assert gates.banned_opener(Answer.of(f"{opener}, {GOOD}")), opener


def test_length_bounds_are_inclusive():
    """The fewest and the most words named in the data pass, one less and one more do not."""
    least, most = int(threshold("min_words")), int(threshold("max_words"))
    assert gates.too_short(Answer.of("aye " * least)) is None
    assert gates.too_short(Answer.of("aye " * (least - 1))).figure == least - 1
    assert gates.too_long(Answer.of("aye " * most)) is None
    assert gates.too_long(Answer.of("aye " * (most + 1))).figure == most + 1


@pytest.mark.parametrize(
    ("ending", "passes"),
    [(".", True), ("!", True), ("?", True), ("…", True), (".”", True), (".)", True), (",", False), ("", False)],
)
def test_unfinished_sentences_are_found(ending, passes):
    """An answer ends as a sentence does."""
    assert (gates.unfinished(Answer.of(GOOD[:-1] + ending)) is None) == passes


def test_late_doric_counts_the_first_words():
    """Doric that begins only after the first words is found, with how many forms stood there."""
    rejection = gates.late_doric(Answer.of(FAULTY["late_doric"]))
    assert rejection.figure < threshold("first_forms")
    assert "25" in rejection.reason


def test_thin_names_the_english_to_render():
    """Too little Scots is refused with its share and with what to write instead."""
    rejection = gates.thin(
        Answer.of("Put the dough in a warm corner of the house with a clean cloth over it, an leuk at it later.")
    )
    assert rejection.figure < threshold("substrate")
    assert "'of'" in rejection.reason
    assert "'o'" in rejection.reason


@pytest.mark.parametrize("words", [12, 20, 30])
def test_word_swap_is_found_at_every_length(words):
    """English with its small words respelled is found in a short answer as in a long one."""
    assert gates.word_swap(Answer.of(SMALL_WORDS)).figure == 0
    assert gates.word_swap(Answer.of(" ".join(SMALL_WORDS.split()[:words])))


@pytest.mark.parametrize("word", ["haun", "abune", "nane"])
def test_one_central_word_beside_several_of_the_north_east_is_let_pass(word):
    """A neighbour's word is no reason to refuse sure Doric; two such words are, and one in thin Doric."""
    doric = f"Gie the beests a {word} o strae fan the nichts is caul, an dinna gyang oot yersel."
    assert gates.central(Answer.of(doric)) is None
    assert gates.central(Answer.of(f"{doric} Och, dinnae."))
    assert gates.central(Answer.of(f"Gie them a {word} o strae an dinna leave the door open ower lang."))


def test_central_names_the_forms_and_their_renderings():
    """Central forms are named with the house form to write."""
    rejection = gates.central(Answer.of("I dinna ken whit ye mean or whaur ye got it, bit it's gweed."))
    assert "'whit', 'whaur' are Central Scots: write 'fit', 'far'" in rejection.reason
    assert rejection.figure > threshold("contamination")


def test_leakage_names_the_english():
    """English function words among Scots ones are named with what to write."""
    rejection = gates.leakage(
        Answer.of("You should have all of your gweed neeps out of the grun before the frost comes, an about time.")
    )
    assert rejection.figure > threshold("leakage")
    assert "'you'" in rejection.reason


def test_edges_finds_english_between_doric_ends():
    """Doric in the first and last sentence alone is found, with the share of sentences that hold it."""
    rejection = gates.edges(Answer.of(EDGES))
    assert rejection.figure < threshold("spread")


def test_repeats_itself_finds_sentences_and_runs():
    """A sentence said twice is found, and so are runs of words said again and again."""
    assert gates.repeats_itself(Answer.of("Gyang hame noo. Syne bide. Gyang hame noo.")).figure == 1
    rejection = gates.repeats_itself(
        Answer.of("Pit on the kettle, an pit on the kettle, an pit on the kettle, syne bide.")
    )
    assert rejection.figure > threshold("repetition")
    assert gates.repeats_itself(Answer.of("Aye. Na. Aye. It's fine.")) is None


# ---- gates that need what was asked


def test_echo_of_the_prompt_is_found():
    """An answer that hands half of a long question back is found; a short question may be taken up."""
    prompt = "dinna fash gin the dough winna rise at eence, leave it in a warm neuk o the kitchie"
    assert check(GOOD, prompt=prompt, topic="bread", kind="core").gate == "echoes_prompt"
    assert check(GOOD, prompt="leave it in a warm neuk", topic="bread", kind="core") is None


def test_echo_of_the_topic_is_found():
    """A topic's English pasted into the answer is found; a topic of a word or two may be named."""
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
    """An answer may say no, canna and sorry without turning the question away."""
    assert must_not_refuse(Answer.of(text)) is None


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_known_for_one(text):
    """A refusal with an offer passes in the safety bucket and is refused in every other."""
    assert must_refuse(Answer.of(text)) is None
    assert must_not_refuse(Answer.of(text)).gate == "refuses"


def test_authored_refusals_pass_and_authored_advice_is_none():
    """Every authored refusal is known for one, every offer for an offer, and no authored advice for a refusal."""
    spec = tomllib.loads((DATA / "refusals.toml").read_text("utf-8"))
    assert [line for line in spec["refusals"] if not is_refusal(line)] == []
    for category in spec["category"]:
        assert [line for line in category["offers"] if must_refuse(Answer.of(f"{spec['refusals'][0]} {line}"))] == []
    advice = [
        line
        for name in ("general", "holds")
        for lines in tomllib.loads((DATA / f"{name}.toml").read_text()).values()
        for line in lines
    ]
    assert [line for line in advice if is_refusal(line)] == []


def test_refusal_is_looked_for_where_an_answer_begins():
    """A refusal far down is none, and plain refusals are known where soft ones are not asked for."""
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
def test_each_bucket_has_its_own_duty(kind, text, gate):
    """Safety must refuse and offer something harmless; the other buckets must answer."""
    rejection = check(text, prompt="x", topic="y", kind=kind)
    assert (rejection and rejection.gate) == gate


@pytest.mark.parametrize(
    ("kind", "gate"),
    [("core", "late_doric"), ("safety", "late_doric"), ("adv", "gave_up_doric"), ("multi", "left_doric")],
)
def test_leaving_doric_is_named_for_the_bucket(kind, gate):
    """An English answer is a fault of language in core, of firmness in adv, of tongue in multi."""
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
def test_answer_in_another_tongue_is_refused(lang, text):
    """An answer in the language of the question is refused, even one whose small words are spelled like Scots."""
    assert check(text, prompt="x", topic="y", kind="multi").gate in {"left_doric", "not_north_east", "too_short"}, lang


@given(st.text(max_size=300), st.sampled_from(["core", "adv", "safety", "multi"]))
def test_any_text_can_be_judged(text, kind):
    """No text breaks a gate, and what is not Doric is always refused."""
    rejection = check(text, prompt=text, topic=text[:40], kind=kind)
    assert rejection
    assert rejection.reason


# ---- the authored sets: the same content four ways


@pytest.mark.parametrize(
    ("label", "least", "most"),
    [("doric", 0.95, 1.0), ("scots", 0.0, 0.0), ("english", 0.0, 0.0), ("decorated", 0.0, 0.0)],
)
def test_share_of_each_authored_set_that_passes(label, least, most):
    """Of the same content, the Doric passes and the Central Scots, the English and the decorated English do not."""
    texts = authored(label)
    share = sum(check_language(text) is None for text in texts) / len(texts)
    assert len(texts) >= 24
    assert least <= share <= most


def test_authored_sets_hold_the_same_contents():
    """Each content stands once in each set, in 30 to 70 words."""
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
def test_rejection_of_what_is_not_doric_does_not_hang_on_one_word(label):
    """Nearly all that is not Doric falls by two gates of language or more: one more word would not let it through."""
    of_language = {"late_doric", "thin", "word_swap", "not_north_east", "central", "leakage", "edges"}
    counts = [len(of_language & set(fired(text))) for text in authored(label)]
    assert sum(count >= 2 for count in counts) / len(counts) >= 0.9


def test_thresholds_say_where_they_come_from():
    """Every figure in the data stands on a line that says why it is what it is."""
    lines = (DATA / "gates.toml").read_text("utf-8").split("[thresholds]")[1].split("[openers]")[0].strip().splitlines()
    assert all(line.partition("#")[2].strip() for line in lines if line)


# ---- the benchmark that counts what they accept


def benchmark(*arguments):
    """benchmarks/gates.py, run."""
    script = Path(__file__).parent.parent / "benchmarks" / "gates.py"
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)


def test_benchmark_prints_one_json_object():
    """With --json the benchmark prints the sets, each with rows, accepted and reasons, and nothing else."""
    done = benchmark(AUTHORED, "--json")
    sets = json.loads(done.stdout)["sets"]
    assert (done.returncode, done.stderr) == (0, "")
    assert sets.keys() == {f"{label}.jsonl" for label in ("doric", "scots", "english", "decorated")}
    for found in sets.values():
        assert found.keys() == {"rows", "accepted", "reasons"}
        assert found["accepted"] + sum(found["reasons"].values()) == found["rows"]


def test_benchmark_shows_each_label_of_a_mixed_file(tmp_path):
    """A file with several labels has a line for itself and one for each label."""
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
        (None, "there is no *.jsonl file in it"),
        ("", "the file is empty"),
        ("[1]\n", "not a JSON object"),
        ('{"label": "doric"}\n', 'no string under the key "text"'),
        ('{"text": "aye", "label": 3}\n', 'no string under the key "label"'),
    ],
)
def test_benchmark_refuses_bad_input_with_one_line(tmp_path, content, message):
    """Bad input is one clear line with a hint, and exit 2."""
    if content is not None:
        (tmp_path / "bad.jsonl").write_text(content, "utf-8")
    done = benchmark(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


def test_benchmark_refuses_a_missing_folder(tmp_path):
    """A folder that is not there, and a file where a folder should be, are said to be so."""
    assert "there is no such folder" in benchmark(tmp_path / "none").stderr
    assert "it is not a directory" in benchmark(AUTHORED / "doric.jsonl").stderr


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
def test_a_stiff_refusal_is_known_too(text):
    """Models refuse in the words of an office as well."""
    assert gates.is_refusal(text)
    assert not gates.is_refusal("I won't be home till nine.")
