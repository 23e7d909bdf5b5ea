"""Exchanges words in texts: where a word is Doric, which case it has, and which results a person should look at."""

import re
from collections.abc import Iterator, Mapping, Sequence

from doric.core import text as texts
from doric.dialect.contexts import rules
from doric.dialect.lexicon import CLITIC, SCOTS, word_class
from doric.dialect.scores import score
from doric.dialect.spelling import is_doric_here, with_case

MENTIONED = 2
"""A quotation of at most so many words may be about the words."""
TWICE = re.compile(r"\b(\w+) \1\b", re.IGNORECASE)
ARTICLE = re.compile(r"\ba (?=[aeiou])", re.IGNORECASE)


def swapped(text: str, pairs: Mapping[str, str], *, in_context: bool = False) -> str:
    """`text` with the words of `pairs` exchanged, in the same case. `in_context`: only where they are Doric."""
    if not _may_have(text, pairs):
        return text
    for token in reversed(list(texts.WORD.finditer(text))):
        word = listed(token.group(), pairs)
        if text[: token.start()].endswith("{"):  # the name of a slot
            continue
        if word and (not in_context or is_doric(text, token.start(), word)):
            end = token.start() + len(word)  # a clitic stays
            text = text[: token.start()] + with_case(text[token.start() : end], pairs[word]) + text[end:]
    return text


def listed(word: str, pairs: Mapping[str, str]) -> str:
    """The word of `pairs` that `word` is, perhaps with a clitic, or ""."""
    forms = (word.lower(), CLITIC.sub("", word.lower()))
    return next((form for form in forms if form in pairs), "")


def has_word(text: str, pairs: Mapping[str, str]) -> bool:
    """Whether a text has a word of `pairs`, perhaps with a clitic."""
    return _may_have(text, pairs) and any(listed(word, pairs) for word in texts.words(text))


def _may_have(text: str, pairs: Mapping[str, str]) -> bool:
    lower = text.lower()
    return any(old in lower for old in pairs)


def only_doric(word: str) -> bool:
    """Whether a word is Scots wherever it is, and never English."""
    return word_class(word) in SCOTS and word not in rules()


def is_doric(text: str, start: int, word: str) -> bool:
    """Whether a word that may be English, or another Doric word, has its first Doric meaning here."""
    if word not in rules():
        return True
    at = 0
    for sentence in texts.sentences(text):
        at = text.index(sentence, at)
        tokens = list(texts.TOKEN.finditer(sentence))
        place = next((place for place, token in enumerate(tokens) if at + token.start() == start), None)
        if place is not None:
            lower = [token.group().lower() for token in tokens]
            return is_doric_here(lower, [word_class(token) in SCOTS for token in lower], place)
        at += len(sentence)
    return False


def reads_as_doric(text: str) -> bool:
    """Whether a question is in Doric: it has more Scots words than English ones that a Scots writer would replace.

    >>> reads_as_doric("Naething's gyaan richt wi me."), reads_as_doric("What does gyaan mean to you?")
    (True, False)
    """
    scores = score(re.sub(r"\{\w+\}", "", text))
    return scores.substrate * scores.tokens > len(scores.tokens_of("leak"))


def exchanged_in_english(line: str, pairs: Mapping[str, str]) -> str:
    """An English line for models, with the words of `pairs` exchanged where they are examples of Doric.

    A word that is English too is one if it has its meaning in brackets after it, or stands among Doric words.
    """
    found = list(texts.WORD.finditer(line))
    for at in reversed(range(len(found))):
        token = found[at]
        if not (word := listed(token.group(), pairs)):
            continue
        around = [found[near].group().lower() for near in (at - 1, at + 1) if 0 <= near < len(found)]
        beside = bool(around) and all(word_class(near) in SCOTS or near in rules() for near in around)
        if only_doric(word) or beside or line[token.end() :].startswith(" ("):
            end = token.start() + len(word)
            line = line[: token.start()] + with_case(line[token.start() : end], pairs[word]) + line[end:]
    return line


# ---- results that a person should look at


def doubt(old: str, new: str, pairs: Mapping[str, str], phrases: Sequence[str]) -> str:
    """Why the result of an exchange may be wrong, or "": a word twice, a wrong article, a fixed phrase, a quotation.

    `phrases` are fixed phrases that have one of the words, in lower case.

    >>> doubt("Some says gyan, some gaan.", "Some says gaan, some gaan.", {"gyan": "gaan"}, ())
    "it had 'gaan' already"
    """
    if len(TWICE.findall(new)) > len(TWICE.findall(old)):
        return "a word is there twice"
    if len(ARTICLE.findall(new)) > len(ARTICLE.findall(old)):
        return "'a' before a vowel"
    if re.search(r"\ban (?=[^\W\d_])", old) and _loses_vowel(old, pairs):
        return "'an' may have been the article"
    had = set(texts.words(old))
    if there := next((one for one in pairs.values() if one.lower() in had), ""):
        return f"it had '{there}' already"
    lower = old.lower()
    if phrase := next((one for one in phrases if re.search(rf"(?<!\w){re.escape(one)}(?!\w)", lower)), ""):
        return f"the phrase '{phrase}'"
    quoted = (found for found in texts.QUOTATION.findall(old) if len(found.split()) <= MENTIONED)
    if any(has_word(found, pairs) for found in quoted):
        return "in quotation marks, so it may be about the word"
    return ""


def _loses_vowel(old: str, pairs: Mapping[str, str]) -> bool:
    """Whether a word after "an" begins with a vowel, and its new form does not."""
    for word in re.findall(r"\ban ([aeiou][\w']*)", old.lower()):
        if (one := listed(word, pairs)) and pairs[one][0].lower() not in "aeiou":
            return True
    return False


def phrases_with(pairs: Mapping[str, str], *columns: Sequence[str]) -> Iterator[str]:
    """The phrases of several words, in lower case, that have a word of `pairs`."""
    found = (phrase.lower() for column in columns for phrase in column if " " in phrase and has_word(phrase, pairs))
    yield from dict.fromkeys(found)
