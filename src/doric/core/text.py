"""Words, sentences and folding, the same for every room. Knows no Doric."""

import re
import unicodedata

QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "“": '"', "”": '"'})
NOT_PROSE = re.compile(r"```.*?```|`[^`\n]*`|https?://\S+|www\.\S+|\S+@\S+\.\S+", re.DOTALL)
SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|\n+")
# a' is "all" and no article: the one word whose last apostrophe tells it from another
TOKEN = re.compile(r"[aA]'(?![^\W_])|[^\W_]+(?:'[^\W_]+)*|[,;:()—–]")
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
SPACE = re.compile(r"\s+")
TERMINALS = ".!?…"
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of characters that a terminal may obey, or that turn a line about."""


def prose(text: str) -> str:
    """`text` with straight quotes and without code, addresses and links."""
    if "`" in text or "/" in text or "@" in text or "www" in text:
        text = NOT_PROSE.sub(" ", text)  # first, for a lone backtick is read as an apostrophe
    return text.translate(QUOTES)


def sentences(text: str) -> list[str]:
    """The sentences of `text`, in order, stripped; a line break ends one as well as . ! ? do.

    >>> sentences("Aye. Fit like?\\nNae bad")
    ['Aye.', 'Fit like?', 'Nae bad']
    """
    return [piece for part in SENTENCE_END.split(text) if (piece := part.strip())]


def words(text: str) -> list[str]:
    """Lower-cased words, apostrophes inside a word kept and those at its edges dropped.

    >>> words("Wi’ the Quine's o' 2 boaties!")
    ['wi', 'the', "quine's", 'o', '2', 'boaties']
    """
    return WORD.findall(prose(text).lower())


def surface_tokens(sentence: str) -> list[str]:
    """Words as written, and the punctuation that parts clauses, in order."""
    return TOKEN.findall(sentence)


def fold(text: str) -> str:
    """The form in which two texts are compared: NFKC, lower case, white space folded to single blanks.

    >>> fold("  Fit\\n LIKE ")
    'fit like'
    """
    return SPACE.sub(" ", unicodedata.normalize("NFKC", text)).strip().lower()


def finished(text: str) -> bool:
    """Whether `text` ends as a sentence does, a closing quote or bracket allowed behind the stop."""
    return text.rstrip().rstrip("\"'”’)").endswith(tuple(TERMINALS))


def plain(text: str) -> str:
    """The text as it may reach a terminal: without the control characters that a server's words can bring.

    >>> plain("m\\x1b[2J\\x07\\u202e, one\\n")
    'm[2J, one\\n'
    """
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in UNSEEN)
