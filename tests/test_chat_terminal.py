"""Output to a terminal: an answer is wrapped while it streams."""

import io
import re

from hypothesis import given
from hypothesis import strategies as st

from doric.chat.terminal import WrappedOutput


@given(st.lists(st.sampled_from(["a", "b", " ", "\n", "日", "e\u0301"]), max_size=80).map("".join), st.integers(5, 20))
def test_wrapping_keeps_the_text_and_the_width(text, width):
    """Wrapping only replaces spaces with line ends, and no line is wider than the given width."""
    out = io.StringIO()
    WrappedOutput(out, lambda: width).write(text)
    shown = [""]
    for part in re.split(r"(\x1b\[\d+D\x1b\[K|\n)", out.getvalue()):
        if part == "\n":
            shown.append("")
        elif part.startswith("\x1b"):
            cells = int(part[2:-4])
            while cells > 0:
                cells -= {"日": 2, "\u0301": 0}.get(shown[-1][-1], 1)
                shown[-1] = shown[-1][:-1]
        else:
            shown[-1] += part
    assert "".join("".join(shown).split()) == "".join(text.split())
    assert all(sum({"日": 2, "\u0301": 0}.get(char, 1) for char in line) <= width for line in shown)
