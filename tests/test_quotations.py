"""What counts as a quotation is the same for the house spelling and for the gates."""

import pytest

from doric.dialect.spelling import to_house
from doric.quality.allowances import Allowances

FORMS = ['"{}"', "“{}”", "‘{}’", "'{}'", "«{}»", "„{}“", "„{}”"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("words", ["You and your house", "it's so, and he's not here", "Good morning. How are you?"])
def test_a_quotation_is_neither_rewritten_nor_measured(form, words):
    """English in quotation marks of any language stays as it is, and a gate that allows quotations does not see it."""
    text = f"He says {form.format(words)} tae the loon."
    assert form.format(words) in to_house(text).text
    assert Allowances(quotes=True).measured(text) in ("He says X tae the loon.", "He says X? tae the loon.")


@pytest.mark.parametrize(
    "text", ["Gie's a bit o' breid an' butter, an' ye're weel aff wi' it.", "the loons’ an’ the quines’ ba"]
)
def test_apostrophes_are_no_quotation(text):
    """An apostrophe in a word, or at its end, begins no quotation."""
    assert Allowances(quotes=True).measured(text) == text


def test_a_long_text_in_quotation_marks_is_measured():
    """A whole answer in quotation marks is an answer, not a quotation."""
    text = '"' + "You and your house are here. " * 20 + '"'
    assert Allowances(quotes=True).measured(text) == text
