"""The house spelling: what is rewritten in a text, and what is left alone."""

import pytest

from doric import data
from doric.dialect.spelling import to_house


@pytest.mark.parametrize(
    ("text", "house"),
    [
        ("You gang oot and it's caal, so tak yer aal coat.", "Ye gyang oot an it's caul, sae tak yer aul coat."),
        ("If it's easy, open the windae on Monday.", "Gin it's aisy, apen the windae on Monanday."),
        ("It gyangs faister than the rest o the trains.", "It gings faister nor the lave o the trains."),
        ("It wis frae ma auld faither's faimly.", "It wis fae ma aul fadder's faimily."),
        ("So wi’ the loon’s coat, and so on", "Sae wi’ the loon’s coat, an sae on"),
        ("The bairns' mither and the children's beuk.", "The bairns' mither an the bairns' beuk."),
        ("AND SO. And so!", "AN SO. An sae!"),
        ("Byde here; he bydes there, gedderin oo.", "Bide here; he bides there, gaitherin oo."),
    ],
)
def test_accepted_spellings_and_english_words_become_house_forms(text, house):
    """Variants, Central Scots and English function words are rewritten; case, punctuation and clitics stay."""
    assert to_house(text).text == house


@pytest.mark.parametrize(
    "text",
    [
        'In English ye wid say "so you and me", nae "sae".',
        "The wird ‘and so’ is English, an 'you and me' is tee.",
        "“You and your dog” is the name o’t.",
        "Rin `if x and y: open(file)` an leuk.",
        "```\nif you and me:\n    open()\n```\nThat's aa.",
        "Vreet tae you.and@so.com or https://and.so/if-you.",
        "The firm o Smith And Son an the Open University are there.",
        "A so-and-so wi a well-kent face is twenty-two.",
        "Pit {topic} an {open} there.",
        "Cheerio than, an that's aa richt than.",
        "I'll gie it in English tee. Call for help now and tell them where you are, if you can.",
    ],
)
def test_quotations_code_links_and_names_stay(text):
    """Quoted English, code, addresses, slots, compounds and names are not rewritten."""
    assert to_house(text).text == text


@pytest.mark.parametrize(
    ("text", "house"),
    [
        ("When ye come hame, ye'll ken what ye ken.", "Fan ye come hame, ye'll ken fit ye ken."),
        ("That dog is mine. I mind fan we wis young.", "That dog is mine. I mine fan we wis young."),
        ("A second coat taks a second.", "A secont coat taks a second."),
        ("Oor eens bides an oor in oor hoose.", "Wir eens bides an oor in wir hoose."),
        ("The fat's in the fire.", "The fat's in the fire."),
        ("Tak the rest ye need, an save the rest o the cake.", "Tak the rest ye need, an save the lave o the cake."),
        ("Hae a go, syne go hame.", "Hae a go, syne gyang hame."),
        ("Awa ye go, than! That's you sorted, an you ken it.", "Awa ye go, than! That's you sorted, an ye ken it."),
        ("A kind wifie gied us a kind o cake.", "A kind wifie gied us a kin o cake."),
        ("The well is deep, an it wirks well.", "The well is deep, an it wirks weel."),
        ("It's nae but ae thing, but it's gweed.", "It's nae but ae thing, bit it's gweed."),
        ("Dinna play in the stour at the dune.", "Dinna play in the stour at the dune."),
    ],
)
def test_words_with_two_meanings_need_their_neighbours(text, house):
    """A word with a second meaning is rewritten only where its neighbours show the Doric one."""
    assert to_house(text).text == house


def test_words_that_are_explained_can_be_left_alone():
    """`leave` protects words and phrases in any case; without `english` only Scots spellings are rewritten."""
    text = "Easy is aisy, and so on in caal days."
    assert to_house(text, leave=("easy", "And so on")).text == "Easy is aisy, and so on in caul days."
    assert to_house(text, english=False).text == "Easy is aisy, and so on in caul days."
    assert to_house(text, leave=("", " ")).text == "Aisy is aisy, an sae on in caul days."


def test_changes_are_listed_in_order():
    """Every change is a pair of the old and the new word."""
    assert to_house("So you and I.").changes == (("So", "Sae"), ("you", "ye"), ("and", "an"))
    assert to_house("").changes == ()


def test_every_rewritten_word_stays_as_it_is_the_second_time():
    """The house spelling of each listed word, and of the evaluation prompts, is not changed again."""
    spec = data.read_toml("spelling.toml")
    words = [
        *spec["always"],
        *spec["in_context"],
        *spec["also"],
        *(form for rule in spec["rule"] for form in rule["forms"]),
    ]
    words += [row["central"] for row in data.read_table("central.tsv")]
    words += [form for row in data.read_table("lexicon.tsv") for form in f"{row['variants']};{row['wider']}".split(";")]
    once = to_house(" ".join(words) + ". " + ". ".join(f"I ken {word} that ye wint" for word in words)).text
    assert to_house(once).changes == ()


@pytest.mark.parametrize("text", ["‘a", "'a ", '"', "and ", "so-", "`", "«", "a'", "(if", "{so}"])
def test_a_very_long_answer_is_read_in_linear_time(text):
    """20,000 characters of any kind are rewritten, and the rewritten text is not changed again."""
    once = to_house(text * (20_000 // len(text))).text
    assert to_house(once).changes == ()
