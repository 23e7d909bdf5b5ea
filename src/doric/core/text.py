"""Words, sentences and case folding, and text made safe for a terminal or a UTF-8 file. Works for any language."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "“": '"', "”": '"'})
# the lengths of an address are limited, because otherwise "@@@@…" would take time cubic in its length
NOT_PROSE = re.compile(r"```.*?```|`[^`\n]*`|https?://\S+|www\.\S+|[^\s@]{1,64}@[^\s@.]{1,64}\.\S+", re.DOTALL)
SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|\n+")
# a' means "all", and "a" is the article: this is the only word whose final apostrophe must be kept
TOKEN = re.compile(r"[aA]'(?![^\W_])|[^\W_]+(?:'[^\W_]+)*|[,;:()—–]")
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
QUOTATION = re.compile(
    r"""
    "[^"\n]{1,1000}" | “[^”\n]{1,1000}” | «[^»\n]{1,1000}» | „[^“”\n]{1,1000}[“”]
    | ‘(?:[^’\n]|’(?=\w)){1,1000}’(?!\w) | (?<![\w'])'[^\W\d_](?:[^'\n]|'(?=\w)){0,1000}'(?!\w)
    """,
    re.VERBOSE,
)
"""Text in quotation marks. A final apostrophe, as in wi', begins no quotation."""
MAX_CHARACTERS = 20_000
"""A longer text is no answer of a chat. It is refused before any pattern is applied to it."""
MOST_NAMES = 8
"""So many names of a list are written out in an error."""
LONGEST_NAME = 80
"""Longer names of a list are cut in an error."""
TAIL_LENGTH = 80
"""What follows the last full stop is looked at only so far, in characters."""
_CLOSERS = r"[\"'”’»›“‘)\]}]"
# a code point of an emoji, with what may follow it; the ranges have signs and pictures, but no letters
_EMOJI = "[\u2190-\u2bff\u3030\u303d\u3297\u3299\ufe0f\ufe0e\u200d\u20e3\U0001f000-\U0001fbff\U000e0020-\U000e007f]"
_NOTE = (
    r"\[\^?\d{1,3}(?:[,–-]\s?\d{1,3}){0,5}\]|【[^】\n]{0,40}】|[¹²³⁰⁴-⁹ⁿ]|[*_~†‡]|</?[a-zA-Z]{1,10}\s?/?>|<!--[^<>]{0,40}-->"
    r"|[\u200b\u2060\ufeff\u00ad]"
)
NOTES = re.compile(rf"(?:\s?(?:{_NOTE}))+(?=(?:\s|{_CLOSERS}|{_EMOJI})*\Z)")
"""Numbers of footnotes, signs of markup and closing tags in what follows the last full stop."""
TAIL = re.compile(rf"[.!?…](?:{_CLOSERS}|{_NOTE}|{_EMOJI}|\s|[:;]['-]?[)(DPp](?!\w))*\Z")
"""The last full stop of a text and what may follow it: closing marks, emoji, smileys, notes; no words."""
LAST_END = re.compile(
    rf"(?<=[^\W\d_])[.!?…]++(?=[A-Z][a-z])|(?<=[a-z])[.!?…]++(?=[A-Z]{{1,4}}\b|THE END|x{{1,3}}\Z)"
    rf"|(?<![.!?…<])[.!?…]++(?![^\W_¹²³⁰⁴-⁹ⁿ]|[,;:](?!['-]?[)(DPp]))(?:{_CLOSERS}|{_NOTE}|{_EMOJI}|[:;]['-]?[)(DPp](?!\w))*"
)
"""An end of a sentence before something else. After a decimal point and in an address, a letter or a digit follows."""

INVISIBLE = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
"""Unicode categories that may control a terminal, reorder a line or show nothing: control, format, private use,
surrogate, separators."""
JOINERS = {"\u200c", "\u200d", *map(chr, range(0xE0020, 0xE0080))}
"""Format characters that are kept: parts of emoji, of flags (also Scotland's) and of some scripts."""
LINE_SEPARATOR = re.compile("[\u2028\u2029\x85]")
SURROGATE = re.compile("[\ud800-\udfff]")
# OSC, DCS, SOS, PM and APC strings. Longer strings than 2048 characters are shown: text must not be held back forever.
_STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f\n]{0,2048}"
_CSI = r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}"
ESCAPE_SEQUENCE = re.compile(rf"{_STRING}(?:\x07|\x1b\\|\x9c)|{_CSI}[@-~]|\x1b[ -/]{{0,8}}[0-OQ-WYZ\\`-~]")
UNFINISHED_SEQUENCE = re.compile(rf"(?:{_STRING}\x1b?|{_CSI}|\x1b[ -/]{{0,8}})\Z")


def straight(text: str) -> str:
    """`text` with straight quotes and apostrophes.

    >>> straight("wi’ “smeddum”"), straight("wi`"), straight("Aye")
    ('wi\\' "smeddum"', "wi'", 'Aye')
    """
    return text if text.isascii() and "`" not in text else text.translate(QUOTES)  # most texts need no slow search


def prose(text: str) -> str:
    """`text` with straight quotes and without code, e-mail addresses and links."""
    if "`" in text or "/" in text or "@" in text or "www" in text:
        text = NOT_PROSE.sub(" ", text)  # first, because a lone backtick is read as an apostrophe
    return straight(text)


def sentences(text: str) -> list[str]:
    """The sentences of `text`, in order, stripped. Line breaks and . ! ? … end a sentence.

    >>> sentences("Aye. Fit like?\\nNae bad")
    ['Aye.', 'Fit like?', 'Nae bad']
    """
    return [piece for part in SENTENCE_END.split(text) if (piece := part.strip())]


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "word"), counted(1200, "word")
    ('1 word', '1200 words')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed_counts(counts: Mapping[str, int]) -> str:
    """Names with their counts, the largest count first.

    >>> listed_counts({"fit": 2, "far": 1200, "foo": 2})
    'far 1,200, fit 2, foo 2'
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count:,}" for name, count in ordered)


def first_names(names: Sequence[str], like: str = "") -> str:
    """The first names of a list, at most `MOST_NAMES`, and how many more there are. Those most `like` one come first.

    >>> first_names([*"abcdefghij"])
    'a, b, c, d, e, f, g, h and 2 more'
    >>> first_names(["whisper", "gpt-mini"], like="gtp-mini")
    'gpt-mini, whisper'
    """
    if like:
        import difflib  # here, because only errors need it

        matcher = difflib.SequenceMatcher(b=like.lower())
        nearness: dict[str, float] = {}
        for name in names:
            matcher.set_seq1(name[:LONGEST_NAME].lower())
            nearness[name] = matcher.ratio()
        names = sorted(names, key=lambda name: -nearness[name])
    written = ", ".join(" ".join(name.split())[:LONGEST_NAME] for name in names[:MOST_NAMES])
    return written + (f" and {more:,} more" if (more := len(names) - MOST_NAMES) > 0 else "")


def words(text: str) -> list[str]:
    """Lower-case words. Apostrophes inside a word are kept; apostrophes at its start and end are dropped.

    >>> words("Wi’ the Quine's o' 2 boaties!")
    ['wi', 'the', "quine's", 'o', '2', 'boaties']
    """
    return WORD.findall(prose(text).lower())


def surface_tokens(sentence: str) -> list[str]:
    """Words as written, and the punctuation that separates clauses, in order."""
    return TOKEN.findall(sentence)


def fold(text: str) -> str:
    """The form in which two texts are compared: NFKC, lower case, single blanks as white space.

    >>> fold("  Fit\\n LIKE ")
    'fit like'
    """
    return " ".join(unicodedata.normalize("NFKC", text).split()).lower()


def ends_sentence(text: str) -> bool:
    """Whether `text` ends with . ! ? or …, possibly followed by closing marks, emoji or notes such as [1].

    >>> ends_sentence("Aye.»"), ends_sentence("Aye.😊"), ends_sentence("Aye, an")
    (True, True, False)
    """
    return TAIL.search(text, max(0, len(text.rstrip()) - TAIL_LENGTH)) is not None


def whole_sentences(text: str) -> str:
    """`text` up to the end of its last whole sentence, without notes and signs of markup after it.

    Only stripped if there is no end of a sentence.

    >>> whole_sentences("Keep it dry. An dinna"), whole_sentences("Keep it dry. Aye.[1]")
    ('Keep it dry.', 'Keep it dry. Aye.')
    """
    text = text.strip()
    if not ends_sentence(text):
        ends = [found.end() for found in LAST_END.finditer(text)]
        if not ends:
            return text
        text = text[: ends[-1]]
    start = max(0, len(text) - TAIL_LENGTH)
    return text[:start] + NOTES.sub("", text[start:]).rstrip()


def printable(text: str) -> str:
    """`text` without anything that could control a terminal; newlines and tabs are kept.

    Other line separators become newlines. Removes whole escape sequences, control characters (also \\r), bidirectional
    and other format characters.

    >>> printable("a\\x1b[31mred\\x1b[0m \\x1b]0;title\\x07b\\u202e\\r\\n\\tc\\x9b2J")
    'ared b\\n\\tc'
    """
    return text if text.isprintable() else _visible(ESCAPE_SEQUENCE.sub("", text))


class TerminalFilter:
    """`printable` for text that arrives in pieces. An escape sequence may be split across several pieces."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """The text that may be shown now. The start of an escape sequence is held back until its end arrives."""
        text = self._held + text
        if text.isprintable():
            return text
        start = UNFINISHED_SEQUENCE.search(text)
        text, self._held = (text[: start.start()], start.group()) if start else (text, "")
        return printable(text)

    def rest(self) -> str:
        """The text that was held back but is no complete escape sequence, without its control characters."""
        text, self._held = self._held, ""
        return _visible(text)


BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and signs that look like a blank."""


def has_text(text: str) -> bool:
    """Whether a reader sees anything: white space, control, format and combining characters are invisible alone.

    >>> has_text("\\u200b \\n"), has_text("…")
    (False, True)
    """
    return any(unicodedata.category(char)[0] in "LNPS" and char not in BLANKS for char in text)


def replace_surrogates(text: str) -> str:
    """`text` with each lone surrogate (an undecodable byte) replaced by U+FFFD, so that UTF-8 can encode it.

    >>> replace_surrogates("a\\udcff")
    'a\ufffd'
    """
    return SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def _visible(text: str) -> str:
    text = LINE_SEPARATOR.sub("\n", text)
    return "".join(char for char in text if char.isprintable() or _is_kept(char))


def _is_kept(char: str) -> bool:
    return char in "\n\t" or char in JOINERS or unicodedata.category(char) not in INVISIBLE
