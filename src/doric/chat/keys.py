"""The keys of a terminal, with pastes whose marks a connection has lost."""

import time

from prompt_toolkit.input import Input, create_input
from prompt_toolkit.input.vt100_parser import Vt100Parser

PASTE, PASTE_END = "\x1b[200~", "\x1b[201~"
"""The marks that a terminal sends around a pasted text."""
LOST_SECONDS = 0.5
"""If no key arrives for so long in the middle of a paste, its end is lost, and what follows is typed."""
TYPED = 8
"""The most characters that one press of a key sends."""


class KeyParser(Vt100Parser):
    """Reads keys. A paste without an end mark is ended by the next key, which would otherwise be a part of it for ever.

    An end mark outside a paste is ignored.
    """

    _last = 0.0

    def feed(self, data: str) -> None:
        """Read keys."""
        now, before = time.monotonic(), self._last
        self._last = now
        if self._in_bracketed_paste and 0 < len(data) <= TYPED and now - before > LOST_SECONDS:
            super().feed(PASTE_END)
        if not self._in_bracketed_paste and PASTE_END in data:
            typed, mark, pasted = data.partition(PASTE)
            data = typed.replace(PASTE_END, "") + mark + pasted
        super().feed(data)


def keyboard() -> Input:
    """The standard input as keys."""
    found = create_input()
    parser = getattr(found, "vt100_parser", None)  # Windows has none
    if isinstance(parser, Vt100Parser):
        found.vt100_parser = KeyParser(parser.feed_key_callback)  # ty: ignore[missing-attribute]
    return found
