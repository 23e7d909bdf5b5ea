"""Keys and pastes as a terminal sends them, with marks that a connection has lost."""

import pytest
from prompt_toolkit.keys import Keys

from doric.chat import keys
from doric.chat.keys import LOST_SECONDS, PASTE, PASTE_END, KeyParser


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds, which a test moves."""
    now = [100.0]
    monkeypatch.setattr(keys.time, "monotonic", lambda: now[0])
    return now


def pressed(clock, *blocks):
    """The keys in blocks of (seconds since the block before, characters)."""
    found = []
    parser = KeyParser(found.append)
    for seconds, block in blocks:
        clock[0] += seconds
        parser.feed(block)
    return [(key.key, key.data) for key in found]


@pytest.mark.parametrize(
    ("key", "means"), [("\r", Keys.ControlM), ("\x03", Keys.ControlC), ("\x04", Keys.ControlD), ("a", "a")]
)
def test_a_paste_whose_end_is_lost_is_ended_by_the_next_key(clock, key, means):
    """If the end mark of a paste never comes, its text is kept, and the next key does what it always does."""
    found = pressed(clock, (0, f"{PASTE}half a paste"), (LOST_SECONDS + 1, key))
    assert found == [(Keys.BracketedPaste, "half a paste"), (means, key)]


def test_a_slow_paste_is_whole(clock):
    """A paste that arrives in blocks, also with a pause before a large one, is one paste."""
    found = pressed(clock, (0, f"{PASTE}een"), (0.1, "\r"), (9, "twa" * 9), (0.1, f"{PASTE_END}a"))
    assert found == [(Keys.BracketedPaste, "een\r" + "twa" * 9), ("a", "a")]


def test_an_end_mark_without_a_paste_is_ignored(clock):
    """A second end mark, or one that comes after its paste was ended, leaves no characters."""
    found = pressed(clock, (0, f"{PASTE}een{PASTE_END}a{PASTE_END}"), (1, f"{PASTE_END}b{PASTE}twa{PASTE_END}"))
    assert found == [(Keys.BracketedPaste, "een"), ("a", "a"), ("b", "b"), (Keys.BracketedPaste, "twa")]
