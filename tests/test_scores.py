"""The scores of a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.dialect.scores import classify, score


@pytest.mark.parametrize("name", ["Dee", "Don", "Ken", "Gordon", "Quine", "Min", "Loon", "Fa", "Fit", "Een"])
def test_names_do_not_count(name):
    """A word with a capital letter inside a sentence is a name and does not count."""
    evidence = score(f"Yestreen we saa {name} at the skweel.").evidence
    assert name.lower() not in [item.token for item in evidence]


def test_code_and_addresses_do_not_count():
    """Words in code or in an address are ignored."""
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
    """Straight or curly apostrophes for letters that Scots never had make no difference."""
    assert [item[:2] for item in score(written).evidence] == [item[:2] for item in score(plain).evidence]


def test_empty_text_has_scores_of_0():
    """A text without words has scores of 0 and no evidence."""
    measured = score("")
    assert (measured.tokens, measured.substrate, measured.north_east, measured.evidence) == (0, 0, 0, ())


def test_evidence_says_which_word_and_where():
    """Evidence has each word with a class, its class, and its index among the words."""
    measured = score("Gweed day. I dinna like whit you said.")
    assert [tuple(item) for item in measured.evidence] == [
        ("gweed", "ne", 0), ("dinna", "na", 3), ("whit", "central", 5), ("you", "leak", 6),
    ]  # fmt: skip


def test_scores_are_shares_of_the_words():
    """Each score is a share of all words, but leakage is a share of the Scots and English function words."""
    measured = score("The gweed skweel wi whit you ken.")
    assert measured.tokens == 7
    assert measured.substrate == pytest.approx(4 / 7)
    assert measured.north_east == pytest.approx(2 / 7)
    assert measured.contamination == pytest.approx(1 / 7)
    assert measured.leakage == pytest.approx(1 / 5)
    assert measured.depth == pytest.approx(1 / 7)


def test_shared_words_have_half_weight():
    """Shared words count half, and so do -na negatives, but only beside other North-East words."""
    assert score("Dinna fash, it winna hairm ye.").north_east == 0
    assert score("Leuk at aa the lichts.").north_east == pytest.approx((2 * 0.5) / 5)
    assert score("Dinna leuk at aa the skweels.").north_east == pytest.approx((1 + 3 * 0.5) / 6)


def test_weak_central_forms_have_half_weight():
    """guid and auld count half as much as whit and wean."""
    assert score("The auld hoose.").contamination == pytest.approx(1 / 6)
    assert score("The wean greets.").contamination == pytest.approx(1 / 3)


def test_spread_is_over_long_sentences():
    """Spread is the share of sentences with two Scots words, counted among sentences of six words or more."""
    long_doric, long_english = "I dinna ken fit ye are at.", "The cat sat on the warm mat today."
    assert score(f"{long_doric} {long_english}").spread == 0.5
    assert score(f"{long_doric} Yes. No way.").spread == 1
    assert score("Aye, fine. Nae bad.").spread == 1
    assert score("Yes. No.").spread == 0


def test_loon_and_quine_count_once():
    """If loon or quine is repeated, the North-East score does not grow."""
    once = score("The wee loon ran tae the toon the nicht.")
    often = score("The wee loon ran tae the wee loon the nicht.")
    assert once.tokens_of("ne") == often.tokens_of("ne") == ("loon",)
    assert once.north_east == pytest.approx(1 / 9)
    assert often.north_east == pytest.approx(1 / 10)


def test_ah_is_not_taken_for_a_name():
    """Ah for "I" counts, although it has a capital letter inside a sentence."""
    assert score("Ah think Ah'll bide, for Ah'm nae weel.").tokens_of("central_weak") == ("ah", "ah'll", "ah'm")


def test_punctuation_is_a_token_without_a_class():
    """Commas and brackets are among the tokens and have no class."""
    tokens, kinds = classify("Aye, fit (like)?")
    assert tokens == ["aye", ",", "fit", "(", "like", ")"]
    assert kinds[1] == kinds[3] == kinds[5] == ""


@given(st.text(max_size=300))
def test_any_text_can_be_scored(text):
    """No text raises an error, and every share is between 0 and 1."""
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
def test_the_best_known_scots_words_give_no_depth(swap):
    """The best-known Scots words do not count for depth."""
    assert score(f"Always check the {swap} before a long journey.").depth == 0


def test_a_guess_by_its_ending_gives_no_depth():
    """A word that is Scots only because of its ending counts for the substrate but not for depth."""
    measured = score("Take the warfarin and keep the plantin dry.")
    assert measured.tokens_of("scots") == ("warfarin", "plantin")
    assert measured.depth == 0
    assert score("He keepit the strae dry.").depth > 0


@pytest.mark.parametrize(("word", "sign"), [("aa", False), ("a'", False), ("aabody", True), ("gweed", True)])
def test_aa_alone_does_not_count_as_north_east(word, sign):
    """aa, which is used in all of Scotland, counts as North-East only beside other North-East words."""
    assert (score(f"Tak {word} o the breid.").north_east > 0) is sign


def test_weak_central_forms_are_outweighed_by_those_of_the_north_east():
    """guid and frae count as contamination only if there are more of them than North-East words."""
    assert score("The quine kens fit affa guid loaf cam frae the aul skweel.").contamination == 0
    assert score("Sic a guid loaf frae that lass.").contamination > 0
