"""Text made safe for a terminal and for UTF-8, in whatever pieces it arrives."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from doric.core.text import TerminalFilter, printable, replace_surrogates

AWKWARD = st.text(st.sampled_from("\x1b]0;[31mP\\\x07\x9b\x9c\x9d \n\tab\x00\x7f\ud800"), max_size=60)


@given(AWKWARD, st.lists(st.integers(0, 60)))
def test_filtering_does_not_depend_on_the_pieces(text, cuts):
    """However a text arrives, the same comes out, and no control character but newline and tab is in it."""
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    terminal, at_once = TerminalFilter(), TerminalFilter()
    out = "".join(terminal.feed(text[a:b]) for a, b in pairwise(places)) + terminal.rest()
    assert out == at_once.feed(text) + at_once.rest()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", out)


def test_an_endless_sequence_is_shown_and_not_swallowed():
    """A sequence that never ends cannot hide the rest of an answer."""
    assert printable("a\x1b]0;b\nthe rest") == "a]0;b\nthe rest"
    assert printable("\x1b]" + "x" * 5000) == "]" + "x" * 5000


@given(st.text(st.characters(), max_size=20))
def test_text_without_surrogates_can_be_encoded(text):
    """Any text can be encoded as UTF-8 afterwards, and text that could be encoded before is unchanged."""
    assert replace_surrogates(text).encode().decode() == replace_surrogates(text)
    assert replace_surrogates("éë日\U0001f600") == "éë日\U0001f600"
    assert replace_surrogates("a\udcff\ud800b") == "a\ufffd\ufffdb"
