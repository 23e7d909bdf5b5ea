"""Text made harmless: whatever comes, and however it comes."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from doric.chat.cleaner import Cleaner, clean, mended

AWKWARD = st.text(st.sampled_from("\x1b]0;[31mP\\\x07\x9b\x9c\x9d \n\tab\x00\x7f\ud800"), max_size=60)


@given(AWKWARD, st.lists(st.integers(0, 60)))
def test_cleaning_does_not_depend_on_the_pieces(text, cuts):
    """However a text arrives, the same comes out, and no control character but newline and tab is in it."""
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    cleaner = Cleaner()
    out = "".join(cleaner.feed(text[a:b]) for a, b in pairwise(places)) + cleaner.rest()
    assert out == clean(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", out)


def test_an_endless_sequence_is_shown_and_not_swallowed():
    """A sequence that never ends cannot hide the rest of an answer."""
    assert clean("a\x1b]0;b\nthe rest") == "a]0;b\nthe rest"
    assert clean("\x1b]" + "x" * 5000) == "]" + "x" * 5000


@given(st.text(st.characters(), max_size=20))
def test_mended_text_can_be_written(text):
    """Whatever was pasted is UTF-8 afterwards, and what was UTF-8 already stays as it was."""
    assert mended(text).encode().decode() == mended(text)
    assert mended("éë日\U0001f600") == "éë日\U0001f600"
    assert mended("a\udcff\ud800b") == "a\ufffd\ufffdb"
