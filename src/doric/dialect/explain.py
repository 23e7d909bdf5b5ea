"""Explains how a text is read: what each word counts as, what to write instead, and why a word does not count."""

from collections.abc import Iterator

from doric.core import text as texts
from doric.dialect.contexts import obstacle, rules
from doric.dialect.highlight import CLASSES, meaning_of
from doric.dialect.lexicon import SCOTS, house_forms, variants, word_class
from doric.dialect.scores import classify


def explain(text: str) -> Iterator[tuple[str, str]]:
    """(word, explanation) for each word of the lists, in order. A word that is read in one way only is given once.

    >>> dict(explain("You ken fit I mean, loon."))["You"]
    'English; write ye'
    """
    seen = set()
    for sentence in texts.sentences(texts.prose(text)):
        words = texts.surface_tokens(sentence)
        tokens, kinds = classify(sentence)
        scots = [word_class(token) in SCOTS for token in tokens]
        for at, (word, kind) in enumerate(zip(words, kinds, strict=True)):
            said = _counted(tokens[at], kind) if kind else _not_counted(words, tokens, scots, at)
            if said and (tokens[at], said) not in seen:
                seen.add((tokens[at], said))
                yield word, said


def _counted(word: str, kind: str) -> str:
    if kind not in SCOTS:
        house = house_forms().get(word)
        return f"{CLASSES[kind]}; write {house}" if house else CLASSES[kind]
    meaning, house = meaning_of(word), variants().get(word, word)
    said = f"{CLASSES[kind]} ({meaning})" if meaning else CLASSES[kind]
    return f"{said}; the main spelling is {house}" if house.lower() != word else said


def _not_counted(words: list[str], tokens: list[str], scots: list[bool], at: int) -> str:
    """Why a word that may be Doric does not count here, or "" for other words."""
    word, alone = tokens[at], word_class(tokens[at])
    if not word[0].isalnum() or (alone not in ("context", *SCOTS) and word not in rules()):
        return ""
    if at and words[at][0].isupper():
        return "not counted here, because the capital letter makes it look like a name"
    if word not in rules():
        return "never counted, because no context shows whether it is Doric or English"
    return f"not counted here, because {obstacle(tokens, scots, at)}"
