"""Words, sentences and folding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.core.text import ends_sentence, fold, prose, sentences, surface_tokens, words


def test_words_are_lower_cased_and_lose_apostrophes_at_their_edges():
    """Curly and straight apostrophes inside a word stay, straightened; those at its edges go."""
    assert words("Wi’ the Quine's o' 2 boaties!") == ["wi", "the", "quine's", "o", "2", "boaties"]
    assert words("‘Fit’ dis it’s ʼboutʼ mean") == ["fit", "dis", "it's", "bout", "mean"]


@pytest.mark.parametrize(
    "text",
    [
        "Leuk at `fit = far + een` noo",
        "Leuk at ```\nfit = far\n``` noo",
        "Leuk at https://fit.example/far?een=1 noo",
        "Leuk at www.fit.example noo",
        "Leuk at fan@example.org noo",
    ],
)
def test_code_and_addresses_are_no_words(text):
    """Code spans, code blocks, links and mail addresses are dropped before words are taken."""
    assert words(text) == ["leuk", "at", "noo"]


def test_prose_without_code_is_only_straightened():
    """A slash or an at sign alone takes nothing away."""
    assert prose("Half an oor/hour, “aye”") == 'Half an oor/hour, "aye"'
    assert prose("Send it @ nicht") == "Send it @ nicht"


def test_accents_and_other_scripts_are_words():
    """Letters of any script make words; underscores and punctuation do not."""
    assert words("Café — Ελλάδα, naïve_snake 猫") == ["café", "ελλάδα", "naïve", "snake", "猫"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Aye. Fit like?\nNae bad", ["Aye.", "Fit like?", "Nae bad"]),
        ('He said "Aye." Syne he gaed.', ['He said "Aye.', "Syne he gaed."]),
        ("Wyte… syne gyang!  Noo.", ["Wyte…", "syne gyang!", "Noo."]),
        ("It costs 3.50 poun.", ["It costs 3.50 poun."]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_end_at_stops_and_line_breaks(text, expected):
    """A stop before white space ends a sentence, with the marks behind it, and so does a line break."""
    assert sentences(text) == expected


def test_surface_tokens_keep_capitals_and_clause_marks():
    """Words come as written, with the punctuation that parts clauses and without the stop."""
    assert surface_tokens("Aye, Ah'll gyang (the morn).") == ["Aye", ",", "Ah'll", "gyang", "(", "the", "morn", ")"]


def test_fold_makes_one_key_of_what_reads_the_same():
    """Case, white space and compatibility forms do not part two texts."""
    assert fold("  Ｆit\n LIKE\u00a0 ye ") == fold("fit like ye") == "fit like ye"


@given(st.text())
def test_fold_is_stable(text):
    """Folding what is folded changes nothing."""
    assert fold(fold(text)) == fold(text)


@given(st.text())
def test_sentences_lose_no_word(text):
    """Splitting into sentences keeps every character but white space and the marks behind a stop."""
    kept = "".join("".join(sentences(text)).split())
    assert all(char in "\"')]" or char.isspace() for char in _removed("".join(text.split()), kept))


def _removed(whole, kept):
    left = iter(kept)
    wanted = next(left, None)
    for char in whole:
        if char == wanted:
            wanted = next(left, None)
        else:
            yield char


@pytest.mark.parametrize(
    ("text", "ends"),
    [("Aye.", True), ("Aye!”", True), ("(Aye…)", True), ("Aye?\n", True), ("Aye,", False), ("Aye", False), ("", False)],
)
def test_finished_allows_a_closing_mark_behind_the_stop(text, ends):
    """A text is finished when it ends in a stop, whatever quotes or brackets close behind it."""
    assert ends_sentence(text) is ends
