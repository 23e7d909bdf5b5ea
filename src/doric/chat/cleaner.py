"""Text made harmless: for a terminal, which escape sequences would command, and for a file, which must be UTF-8."""

import re

STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]{0,2048}"  # OSC, DCS, SOS, PM, APC; longer ones show
CSI = r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}"
SEQUENCE = re.compile(rf"{STRING}(?:\x07|\x1b\\|\x9c)|{CSI}[@-~]|\x1b[ -/]{{0,8}}[0-OQ-WYZ\\`-~]")
UNFINISHED = re.compile(rf"(?:{STRING}\x1b?|{CSI}|\x1b[ -/]{{0,8}})\Z")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Cleaner:
    """Removes escape sequences and control characters but newline and tab, also those that arrive in pieces."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """What may be shown of the text so far; the start of a sequence is held back until its end is known."""
        text = self._held + text
        if not CONTROL.search(text):
            return text
        start = UNFINISHED.search(text)
        text, self._held = (text[: start.start()], start.group()) if start else (text, "")
        return CONTROL.sub("", SEQUENCE.sub("", text))

    def rest(self) -> str:
        """What was held back and never became a sequence, without its control characters."""
        text, self._held = self._held, ""
        return CONTROL.sub("", text)


def clean(text: str) -> str:
    """A whole text made harmless.

    >>> clean("a\\x1b[31mred\\x1b[0m \\x1b]0;title\\x07b\\r\\n\\tc\\x9b2J")
    'ared b\\n\\tc'
    """
    cleaner = Cleaner()
    return cleaner.feed(text) + cleaner.rest()


def mended(text: str) -> str:
    """A text that can be written as UTF-8: a byte that was no text, which Python keeps as a surrogate, is marked.

    >>> mended("a\\udcff")
    'a\ufffd'
    """
    return re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)
