"""How Doric a text is: two scores that are never added together, and what they rest on.

`substrate` asks whether this is Scots at all; `north_east` asks whether that Scots is of the North-East. Leakage,
spread, contamination and depth stand beside them. Knows words and their neighbours, not what an answer should say.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from doric.core import text as texts
from doric.dialect.contexts import class_in_context, counted_once, rules
from doric.dialect.lexicon import SCOTS, entries, function_words, is_guess, leak_weights, word_class

LONG_SENTENCE = 6
"""Words a sentence must have before it counts towards spread."""
ENOUGH_FORMS = 2
"""Scots forms such a sentence must hold."""
SHARED_WEIGHT = 0.5
"""aa, leuk, wir and their like are literary Scots as well: half a sign. So are -na negatives, and none on their own."""
WEAK_WEIGHT = 0.5
"""guid, auld, frae and their like are written in the North-East too: what its own forms outnumber is none."""
ING_WEIGHT = 0.5
"""An -ing form may be an English noun the writer meant."""
ALL = frozenset({"aa", "a'"})
"""Written from Ayr to Shetland: half a sign, and no sign by themselves."""
NAME = "name"
UNCOUNTED = frozenset({NAME, "context"})
SPOKEN_I = frozenset({"Ah", "Ah'm", "Ah'll", "Ah've", "Ah'd"})


class Evidence(NamedTuple):
    """One word that counted: as it was written (lower case), the class it counted as, its place among the words."""

    token: str
    kind: str
    index: int


@dataclass(frozen=True, slots=True)
class Scores:
    """The measures of one text. All but `tokens` and `evidence` are shares from 0 to 1.

    `substrate`: Scots forms among all words. `north_east`: North-East forms among all words. `contamination`: Central
    and Lallans forms among all words. `leakage`: English function words among those and their Scots renderings.
    `spread`: share of sentences of six words or more that hold two or more Scots forms. `depth`: Scots forms among all
    words that are more than the spelling of an English function word, or a guess by the ending of a word.
    """

    tokens: int
    substrate: float
    north_east: float
    leakage: float
    spread: float
    contamination: float
    depth: float
    evidence: tuple[Evidence, ...]

    def tokens_of(self, *kinds: str) -> tuple[str, ...]:
        """The words that counted as one of `kinds`, in order, each once."""
        return tuple(dict.fromkeys(item.token for item in self.evidence if item.kind in kinds))


def score(text: str) -> Scores:
    """Measure `text`; see `Scores`. An empty text measures 0 throughout.

    >>> measured = score("I dinna ken fit like it is, bit it's nae affa caul the day.")
    >>> measured.tokens_of("ne")
    ('fit', 'nae', 'affa', 'caul')
    >>> score("The dog is fit and runs far.").substrate
    0.0
    """
    evidence: list[Evidence] = []
    total = long_sentences = spread_sentences = 0
    for sentence in texts.sentences(texts.prose(text)):
        tokens, kinds = classify(sentence)
        size = forms = 0
        for token, kind in zip(tokens, kinds, strict=True):
            if not token[0].isalnum():
                continue
            if kind:
                evidence.append(Evidence(token, kind, total + size))
                forms += kind in SCOTS
            size += 1
        total += size
        if size >= LONG_SENTENCE:
            long_sentences += 1
            spread_sentences += forms >= ENOUGH_FORMS
    return _scores(total, long_sentences, spread_sentences, tuple(evidence))


def classify(sentence: str) -> tuple[list[str], list[str]]:
    """The tokens of one sentence, lower-cased, clause punctuation among them, and the class of each.

    A capital inside the sentence marks a name, which counts for nothing.
    """
    surface = texts.surface_tokens(sentence)
    tokens = [token.lower() for token in surface]
    alone = [word_class(token) for token in tokens]
    contexts = rules()
    for at, token in enumerate(surface):
        if at and token[0].isupper() and token not in SPOKEN_I and alone[at] != "central":
            alone[at] = NAME
    scots = [kind in SCOTS for kind in alone]
    kinds = [
        class_in_context(tokens, scots, at) or kind if tokens[at] in contexts and kind is not NAME else kind
        for at, kind in enumerate(alone)
    ]
    return tokens, ["" if kind in UNCOUNTED else kind for kind in kinds]


def _scores(total: int, long_sentences: int, spread_sentences: int, evidence: tuple[Evidence, ...]) -> Scores:
    count, leaks, deep = _tally(evidence)
    scots = count["ne"] + count["shared"] + count["scots"] + count["na"]
    half = SHARED_WEIGHT * (count["shared"] + count["na"])
    north_east = count["ne"] + half if any(map(_sure, evidence)) else 0
    weak = max(0, count["central_weak"] - count["ne"])
    words = total or 1
    # a text of short sentences only is spread if it holds as many forms as one long sentence must
    spread = spread_sentences / long_sentences if long_sentences else float(scots >= ENOUGH_FORMS)
    return Scores(
        tokens=total,
        substrate=scots / words,
        north_east=north_east / words,
        leakage=leaks / (leaks + scots) if leaks else 0.0,
        spread=spread,
        contamination=(count["central"] + WEAK_WEIGHT * weak) / words,
        depth=deep / words,
        evidence=evidence,
    )


def _sure(item: Evidence) -> bool:
    """Whether a form says by itself that its Scots is of the North-East."""
    return item.kind == "ne" or (item.kind == "shared" and item.token not in ALL)


def _tally(evidence: tuple[Evidence, ...]) -> tuple[dict[str, int], float, int]:
    """Words by class, the weight of the English leaks, and how many Scots forms are no function words."""
    count = dict.fromkeys(("ne", "shared", "scots", "na", "central", "central_weak", "leak"), 0)
    leaks, weights, small, deep = 0.0, leak_weights(), function_words(), 0
    once, met = counted_once(), set()
    for token, kind, _ in evidence:
        if token in once:
            if token in met:
                continue
            met.add(token)
        count[kind] += 1
        if kind == "leak":
            leaks += weights.get(token, ING_WEIGHT)
        elif kind in SCOTS and token not in small and not is_guess(token):
            deep += 1
    return count, leaks, deep


@functools.cache
def glosses() -> dict[str, str]:
    """Doric word, every spelling of it -> its English, for marking a text."""
    return dict(_glosses())


def _glosses() -> Iterator[tuple[str, str]]:
    for entry in entries():
        for form in (*entry.spellings, *entry.synonyms):
            yield form, entry.english
