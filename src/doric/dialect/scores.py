"""How Doric a text is: separate scores that are never added up, and the words that they are based on.

`substrate` measures how much of the text is Scots, `north_east` how much of it is North-East Scots. The other scores
measure English words, Central Scots words, and how evenly and deeply the text is Scots.
"""

from dataclasses import dataclass
from typing import NamedTuple

from doric.core import text as texts
from doric.dialect.contexts import class_in_context, counted_once, rules
from doric.dialect.lexicon import SCOTS, function_words, is_guess, leak_weights, word_class

LONG_SENTENCE = 6
"""Minimum words of a sentence that counts for `spread`."""
ENOUGH_FORMS = 2
"""Minimum Scots words of a sentence that counts as Scots for `spread`."""
SHARED_WEIGHT = 0.5
"""Weight of `shared` and `na` words in `north_east`, because literary Scots uses them too (aa, leuk, wir)."""
WEAK_WEIGHT = 0.5
"""Weight in `contamination` of each `central_weak` word (guid, auld, frae) beyond the number of `ne` words."""
ING_WEIGHT = 0.5
"""Weight of an -ing word in `leakage`: it may be an English noun."""
ALL = frozenset({"aa", "a'"})
"""Shared words that are used all over Scotland. Alone, they do not show that a text is North-East Scots."""
NAME = "name"
UNCOUNTED = frozenset({NAME, "context"})
SPELLINGS_OF_I = frozenset({"Ah", "Ah'm", "Ah'll", "Ah've", "Ah'd"})
"""Words that are not names although they begin with a capital inside a sentence."""


class Evidence(NamedTuple):
    """A word that has a class: the word in lower case, its class, its index among the words of the text."""

    token: str
    kind: str
    index: int


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one text. All but `tokens` (number of words) and `evidence` are shares from 0 to 1.

    `substrate`: the share of words that are Scots. `north_east`: the share of words that are North-East Scots.
    `contamination`: the share of words that are Central Scots. `leakage`: the share of weighted English function words
    in the sum of these and the Scots words. `spread`: of the sentences with at least six words, the share that has at
    least two Scots words. `depth`: the share of words that are Scots, no function words and not guessed from their
    ending.
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
        """The different words of the classes `kinds`, in order of first occurrence."""
        return tuple(dict.fromkeys(item.token for item in self.evidence if item.kind in kinds))


def score(text: str) -> Scores:
    """The scores of `text`. All are 0 for an empty text. Code, links and addresses are left out.

    >>> scores = score("I dinna ken fit like it is, bit it's nae affa caul the day.")
    >>> scores.tokens_of("ne")
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
    """(tokens, classes) of one sentence: lower-cased words and punctuation, and the class of each, "" for none.

    A word with a capital inside the sentence counts as a name and has no class.
    """
    surface = texts.surface_tokens(sentence)
    tokens = [token.lower() for token in surface]
    alone = [word_class(token) for token in tokens]
    contexts = rules()
    for at, token in enumerate(surface):
        if at and token[0].isupper() and token not in SPELLINGS_OF_I and alone[at] != "central":
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
    north_east = count["ne"] + half if any(map(_is_north_east, evidence)) else 0
    weak = max(0, count["central_weak"] - count["ne"])
    words = total or 1
    # Without any long sentence, the whole text counts as one.
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


def _is_north_east(item: Evidence) -> bool:
    """Whether the word alone shows that the text is North-East Scots."""
    return item.kind == "ne" or (item.kind == "shared" and item.token not in ALL)


def _tally(evidence: tuple[Evidence, ...]) -> tuple[dict[str, int], float, int]:
    """(words by class, weighted English words, Scots words that count for `depth`)."""
    count = dict.fromkeys(("ne", "shared", "scots", "na", "central", "central_weak", "leak"), 0)
    leaks, weights, functional, deep = 0.0, leak_weights(), function_words(), 0
    once, seen = counted_once(), set()
    for token, kind, _ in evidence:
        if token in once:
            if token in seen:
                continue
            seen.add(token)
        count[kind] += 1
        if kind == "leak":
            leaks += weights.get(token, ING_WEIGHT)
        elif kind in SCOTS and token not in functional and not is_guess(token):
            deep += 1
    return count, leaks, deep
