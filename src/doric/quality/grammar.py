"""Signs that a text is no North-East Scots although its words are: other dialects, wrong f-, wrong constructions.

The forms and patterns are in `data/grammar.toml`. Each function returns what it found, as words that can be quoted, or
an empty tuple.
"""

import functools
import re
from collections.abc import Mapping, Sequence

from doric import data
from doric.core import text as texts
from doric.dialect.lexicon import word_class

F_ENDINGS = ("", "s", "es", "d", "ed", "it", "t", "in", "ing", "er", "y")
"""Endings that a word of `f_words` may have."""
QUOTED_WORDS = 4


@functools.cache
def _spec() -> dict:
    return data.read_toml("grammar.toml")


def other_dialect(tokens: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The name of the dialect with most different forms among the lower-case words, and these forms; ("", ()) for too few."""
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
    forms = (stem.removesuffix("e" if ending[:1] in ("e", "i") else "") + ending for stem in stems for ending in F_ENDINGS)
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
    """Neighbouring words that no sentence has, such as "the o"; empty if there are few. Each sentence is its words."""
    spec = _spec()["salad"]
    total = sum(map(len, sentences))
    found = [f"{one} {two}" for words in sentences for one, two in zip(words, words[1:], strict=False) if (one, two) in _pairs()]
    return _quoted(found) if len(found) >= max(spec["least"], total / spec["words_per_pair"]) else ()


@functools.cache
def _pairs() -> frozenset[tuple[str, str]]:
    return frozenset((one, two) for firsts, seconds in _spec()["salad"]["pairs"] for one in firsts for two in seconds)


@functools.cache
def _pattern(table: str, key: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in _spec()[table][key]), re.MULTILINE)


def _matches(table: str, key: str, text: str) -> tuple[str, ...]:
    return tuple(found.group().strip(" .,;!?") for found in _pattern(table, key).finditer(text))


def _quoted(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))[:QUOTED_WORDS]
