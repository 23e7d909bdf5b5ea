"""Signs that a text is no North-East Scots although its words are: other dialects, wrong f-, wrong constructions.

The forms and patterns are in `data/grammar.toml`. Each function returns what it found, as words that can be quoted, or
an empty tuple.
"""

import functools
import itertools
import re
from collections.abc import Mapping, Sequence

from doric import data
from doric.dialect.lexicon import function_words, leak_weights, word_class
from doric.quality.answer import pattern

F_ENDINGS = ("", "s", "es", "d", "ed", "it", "t", "in", "ing", "er", "y")
"""Endings that a word of `f_words` may have."""
QUOTED_WORDS = 4


@functools.cache
def _spec() -> dict:
    return data.read_toml("grammar.toml")


def other_dialect(tokens: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The dialect with most different forms among the lower-case words, and these forms; ("", ()) for too few."""
    found = {name: dict.fromkeys(token for token in tokens if token in forms) for name, forms in _dialects().items()}
    name, forms = max(found.items(), key=lambda item: len(item[1]))
    return (name, _quoted(tuple(forms))) if len(forms) >= _spec()["other_dialects"]["least"] else ("", ())


@functools.cache
def _dialects() -> Mapping[str, frozenset[str]]:
    lists = _spec()["other_dialects"]
    return {name: frozenset(forms) for name, forms in lists.items() if isinstance(forms, list)}


def needless_f(tokens: Sequence[str]) -> tuple[str, ...]:
    """Words with f- for a wh- or w- that the North-East keeps, such as "fater"; empty for too few."""
    found = [token for token in tokens if token in _f_forms()]
    return _quoted(found) if len(found) >= _spec()["f_words"]["least"] else ()


@functools.cache
def _f_forms() -> frozenset[str]:
    stems = (re.sub("^wh?", "f", word) for word in _spec()["f_words"]["words"])
    forms = (
        stem.removesuffix("e" if ending[:1] in ("e", "i") else "") + ending for stem in stems for ending in F_ENDINGS
    )
    return frozenset(form for form in forms if not word_class(form) or form.endswith(("in", "it")))


def relative_fit(text: str) -> tuple[str, ...]:
    """The places of a lower-case text where "fit" is a relative pronoun."""
    return _matches("relative_fit", "patterns", text)[:QUOTED_WORDS]


def wrong_agreement(text: str) -> tuple[str, ...]:
    """The places of a lower-case text where a verb does not agree with its subject; empty if they may be a slip."""
    certain, likely = (_matches("agreement", key, text) for key in ("certain", "likely"))
    found = (*certain, *likely)
    return found[:QUOTED_WORDS] if certain or len(found) > 1 else ()


def word_salad(sentences: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Neighbouring words that no sentence has, such as "the o", or words in a row without any function word.

    Each sentence is its lower-case words and punctuation. Empty if there are few such neighbours and no such row.
    """
    spec = _spec()["salad"]
    total = sum(map(len, sentences))
    neighbours = (pair for words in sentences for pair in itertools.pairwise(words))
    found = [" ".join(pair) for pair in neighbours if pair in _pairs()]
    if len(found) >= max(spec["least"], total / spec["words_per_pair"]):
        return _quoted(found)
    rows = (tuple(row) for words in sentences for content, row in itertools.groupby(words, _is_content) if content)
    return next(((" ".join(row[:QUOTED_WORDS]),) for row in rows if len(row) >= spec["longest_run"]), ())


def _is_content(token: str) -> bool:
    return token.isalpha() and token not in _small_words()


@functools.cache
def _small_words() -> frozenset[str]:
    salad = _spec()["salad"]
    return (function_words() | leak_weights().keys() | frozenset(salad["small_words"])) - frozenset(salad["content"])


@functools.cache
def _pairs() -> frozenset[tuple[str, str]]:
    return frozenset((one, two) for firsts, seconds in _spec()["salad"]["pairs"] for one in firsts for two in seconds)


def _matches(table: str, key: str, text: str) -> tuple[str, ...]:
    return tuple(found.group().strip(" .,;!?") for found in pattern(table, key, file="grammar.toml").finditer(text))


def _quoted(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))[:QUOTED_WORDS]
