"""Renders a short English phrase in Doric: question words, function words, endings and words of the lexicon.

It is for topics that users give. The result is put into an authored Doric sentence. This is no translator: unknown
words are not changed.
"""

import functools
import re

from doric import data
from doric.dialect.lexicon import SCOTS, entries


def render(phrase: str) -> str:
    """`phrase` in Doric spelling and grammar. Names and unknown words are not changed.

    >>> render("choosing a good pair of walking shoes for cold weather")
    'choosin a gweed pair o walkin sheen for caul wither'
    >>> render("how to speak to your children about money")
    'foo tae spik tae yer bairns aboot siller'
    """
    return _pattern().sub(lambda found: _rendered(found.group(), first=not found.start()), phrase)


def rendering(word: str) -> str:
    """The Doric word for one lower-case English word, or "" if the lists have none or the same.

    >>> rendering("garden"), rendering("table")
    ('gairden', '')
    """
    house = _renderings().get(word, "")
    return house if house.lower() != word else ""


def _rendered(word: str, *, first: bool) -> str:
    # A capital inside the phrase marks a name. Exceptions are "I" and listed phrases such as "New Year".
    if word[0].isupper() and not first and len(word) > 1 and " " not in word:
        return word
    rendered = _renderings().get(word.lower())
    if rendered is None and word.endswith("ing") and len(word) > 4:
        rendered = word[:-1]
    if rendered is None:
        return word
    return rendered[:1].upper() + rendered[1:] if word[0].isupper() else rendered


@functools.cache
def _renderings() -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries():
        for gloss in entry.english.split("; "):
            if gloss.isalpha() and gloss.islower() and entry.doric.islower() and entry.kind in SCOTS:
                found.setdefault(gloss, entry.doric)
    # The file takes precedence: the lexicon may have several words, or a word that does not suit topics.
    return found | {row["english"]: row["house"] for row in data.read_table("renderings.tsv")}


@functools.cache
def _pattern() -> re.Pattern[str]:
    phrases = sorted(
        (re.escape(english) for english in _renderings() if re.search("[ -]", english)), key=len, reverse=True
    )
    return re.compile(rf"\b(?:{'|'.join(phrases)})\b|[A-Za-z]+(?:'[a-z]+)*", re.IGNORECASE)
