"""All faults of an answer in one reason, with the words that are at fault and what to write instead.

A model that is told one fault at a time needs a try for each. The reason quotes at most a few words of the answer.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from doric.core import text as texts
from doric.dialect.lexicon import SCOTS, function_words, house_forms
from doric.dialect.render import rendering
from doric.dialect.scores import classify
from doric.dialect.spelling import to_house
from doric.quality.allowances import allowances
from doric.quality.answer import Answer, Rejection

MOST_CHARACTERS = 600
"""The reason is at most so long."""
ENGLISH = {
    "thin": "too few of the words are Scots",
    "english": "too few of the words are Scots",
    "leakage": "too many of the small words are English",
    "word_swap": "only the small words are Scots, the nouns and verbs are English",
    "edges": "some sentences are in Doric and others are not",
    "late_doric": "it does not begin in Doric",
    "gave_up_doric": "though told not to, it must stay in Doric from the first word to the last",
    "left_doric": "though asked in another tongue, it must be in Doric from the first word to the last",
}
"""Gate -> what it found. The words to change are named once, for all of them together."""
DIALECT = {
    "not_north_east": "too few of the words have their North-East form",
    "central": "it has forms of Central Scots",
}
SAID_BY_THIN = frozenset({"leakage", "word_swap"})
"""Gates that find no more than `thin` has said."""
MOST_WORDS, MOST_FORMS, MOST_SENTENCES = 14, 8, 3
"""The most words that are named with their renderings, forms with the house form, and sentences that are quoted."""
QUOTED_WORDS, LEAST_WORDS = 5, 4
"""The words of a sentence that are quoted, and the fewest that a sentence without Scots has if it is quoted."""
LONGEST_WORD = 24


def combined(answer: Answer, faults: Sequence[Rejection], *, ask: str = "") -> Rejection | None:
    """One rejection for all `faults` of an answer: the gate and the figure of the first, and the reasons of all.

    None without faults. Of a damaged text only the damage is told: what else is found in it means nothing.
    """
    if not faults:
        return None
    first = faults[0]
    if damage := next((fault for fault in faults if fault.gate == "garbled"), None):
        return first if first is damage else replace(first, reason=_joined(fault.reason for fault in (first, damage)))
    gates = {fault.gate for fault in faults}
    told = [fault for fault in faults if "thin" not in gates or fault.gate not in SAID_BY_THIN]
    parts = [*dict.fromkeys(_said(fault) for fault in told)]
    allowed = allowances(ask)
    text = (allowed.measured(answer.text) if allowed else answer.text)[: texts.MAX_CHARACTERS]
    if gates & (ENGLISH.keys() | DIALECT.keys()):
        parts += _named(text, gates)
    return Rejection(first.gate, _joined(parts), first.figure)


def _said(fault: Rejection) -> str:
    return (ENGLISH | DIALECT).get(fault.gate, fault.reason)


def _joined(parts: Iterable[str]) -> str:
    """As many parts as there is room for, in order."""
    reason = ""
    for part in parts:
        longer = f"{reason}; {part}" if reason else part[:MOST_CHARACTERS]
        reason = longer if len(longer) <= MOST_CHARACTERS else reason
    return reason


def _named(text: str, gates: set[str]) -> Iterator[str]:
    """What to write for which words, and where no word is Scots."""
    english, forms, bare = _words(text)
    if gates & ENGLISH.keys():
        if english:
            yield f"write {_pairs(english, MOST_WORDS)}"
        if bare and gates & {"edges", "late_doric", "thin", "gave_up_doric", "left_doric", "word_swap"}:
            yield f"no word is Scots in {', '.join(bare[:MOST_SENTENCES])}"
    if forms:
        yield f"the North-East form is {_pairs(forms, MOST_FORMS)}"


def _pairs(found: dict[str, str], most: int) -> str:
    """Words with what to write instead, content words first, because writers replace the others by themselves."""
    words = sorted(found, key=lambda word: word in house_forms() or word in function_words())
    half = [word for word in words if word in house_forms()][: most // 2]
    chosen = [word for word in words if word not in half][: most - len(half)] + half
    return ", ".join(f"{word} -> {found[word]}" for word in chosen)


def _words(text: str) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """(English word -> Doric word, other Scots form -> North-East form, sentences without any Scots word)."""
    english: dict[str, str] = {}
    forms: dict[str, str] = {}
    bare: list[str] = []
    for sentence in texts.sentences(texts.prose(text)):
        words = texts.surface_tokens(sentence)
        tokens, kinds = classify(sentence)
        for at, (word, token, kind) in enumerate(zip(words, tokens, kinds, strict=True)):
            if kind in ("central", "central_weak"):
                forms |= _house(token, house_forms().get(token, ""))
            elif kind not in SCOTS and not (at and word[0].isupper()):
                english |= _house(token, house_forms().get(token) or rendering(token))
        spoken = [token for token in tokens if token[0].isalnum()]
        if len(spoken) >= LEAST_WORDS and not any(kind in SCOTS for kind in kinds):
            bare.append(f"'{' '.join(word[:LONGEST_WORD] for word in words[:QUOTED_WORDS])}…'")
    for old, new in to_house(text, english=False).changes:
        forms |= _house(old.lower(), new.lower()) if old.lower() not in english else {}
    return english, forms, bare


def _house(word: str, house: str) -> dict[str, str]:
    return {word: house} if house and house.lower() != word and len(word) <= LONGEST_WORD else {}
