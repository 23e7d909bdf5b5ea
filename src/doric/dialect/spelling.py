"""Rewrites accepted spellings and plain English function words in the house spelling of `lexicon.tsv`.

Which words are rewritten is listed in `data/spelling.toml`.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from doric import data
from doric.core import text as texts
from doric.dialect.contexts import class_in_context, read_rules, result_of, rules
from doric.dialect.lexicon import CLITIC, SCOTS, Entry, entries, house_forms, leak_weights, word_class

PASSES = 4
"""A text is read again until nothing changes, at most so often: a rewritten word may be the context of another."""
ENGLISH_WORDS, ENGLISH_FORMS = 6, 3
"""A sentence with so many words, so many of them listed, and no Scots word is left as it is: somebody needs English."""
SHORTEST = 4
"""Endings are added to spellings with at least so many letters."""
ENDINGS = {"n": ("s",), "v": ("s", "in", "it")}
"""Part of speech -> the endings of its words."""
INFLECTED = ("s", "in", "it", "ed", "en", "t", "na")
"""A spelling that ends so is probably inflected already, and gets no further ending."""
DOUBLES = re.compile("[^aeiou]*[aeiou][^aeiouwy]")
"""A word that doubles its last letter before an ending, as stan does in stannin."""


@dataclass(frozen=True, slots=True)
class HouseText:
    """A text in the house spelling, and what was changed: (old word, new word) in order."""

    text: str
    changes: tuple[tuple[str, str], ...]


def to_house(text: str, *, leave: Sequence[str] = (), english: bool = True) -> HouseText:
    """`text` in the house spelling. Case, punctuation and clitics are kept, and a second call changes nothing.

    Quotations, code, links, words with a hyphen, names (a capital inside a sentence) and sentences that are English
    throughout are not changed, nor are the words or phrases in `leave`. Without `english`, only Scots spellings change.

    >>> to_house("You gang oot and it's caal, so tak yer aal coat.")
    HouseText(text="Ye gyang oot an it's caul, sae tak yer aul coat.", changes=(('You', 'Ye'), ...))
    >>> to_house('The wird "you" is "ye" wi us.').changes
    ()
    """
    changes: list[tuple[str, str]] = []
    for _ in range(PASSES if _may_need_changes(text, english=english) else 0):
        found = list(_replacements(text, leave, english))
        if not found:
            break
        changes += [(text[start:end], new) for start, end, new in found]
        text = _replaced(text, found)
    return HouseText(text, tuple(changes))


def _may_need_changes(text: str, *, english: bool) -> bool:
    """Whether a text has any listed word. Most texts in the house spelling have none, and this is the fast way."""
    listed = _listed(english)
    words = texts.WORD.findall(texts.straight(text).lower())
    return any(word in listed or ("'" in word and CLITIC.sub("", word) in listed) for word in words)


@functools.cache
def _listed(english: bool) -> frozenset[str]:
    return frozenset(_english().keys() | _rules().keys() if english else _scots().keys())


def _replaced(text: str, found: Sequence[tuple[int, int, str]]) -> str:
    pieces, at = [], 0
    for start, end, new in found:
        pieces += [text[at:start], new]
        at = end
    return "".join([*pieces, text[at:]])


def _replacements(text: str, leave: Sequence[str], english: bool) -> Iterator[tuple[int, int, str]]:
    """(start, end, new word) for each word that is not in the house spelling, in order."""
    straight = texts.straight(text)
    closed = _closed(text, leave)
    at = 0
    for sentence in texts.sentences(straight):
        at = straight.index(sentence, at)
        found = list(texts.TOKEN.finditer(sentence))
        tokens = [token.group().lower() for token in found]
        scots = [word_class(token) in SCOTS for token in tokens]
        if english and _is_english(tokens, scots):
            at += len(sentence)
            continue
        for place, token in enumerate(found):
            start, end = at + token.start(), at + token.end()
            house = _house(tokens, scots, place, english=english)
            if not house or not _may_change(straight, start, end, first=not place, house=house):
                continue
            new = with_case(token.group(), house)
            if new != token.group() and not any(first < end and start < last for first, last in closed):
                yield start, end, new
        at += len(sentence)


def _is_english(tokens: Sequence[str], scots: Sequence[bool]) -> bool:
    """Whether a sentence is English on purpose: it is long, has several English function words and no Scots word."""
    size = sum(token[0].isalnum() for token in tokens)
    return size >= ENGLISH_WORDS and not any(scots) and sum(token in _english() for token in tokens) >= ENGLISH_FORMS


def _closed(text: str, leave: Sequence[str]) -> list[tuple[int, int]]:
    """The spans of a text that are not changed."""
    patterns = [texts.NOT_PROSE, texts.QUOTATION]
    if some := [re.escape(words) for words in leave if words.strip()]:
        patterns.append(re.compile(rf"(?<!\w)(?:{'|'.join(some)})(?!\w)", re.IGNORECASE))
    return [found.span() for pattern in patterns for found in pattern.finditer(text)]


def _may_change(text: str, start: int, end: int, *, first: bool, house: str) -> bool:
    """Whether a word is neither a name nor part of a compound or of an address."""
    if not first and text[start].isupper() and not house[0].isupper():
        return False
    before, after = text[max(0, start - 1) : start], text[end : end + 2]
    return before not in ("-", "_", "#", "@", "{", "/", "\\") and not re.match(r"[-_@/\\}]|\.\w", after)


def with_case(old: str, house: str) -> str:
    """`house` in the case of the word that it replaces."""
    if len(old) > 1 and old.isupper():
        return house.upper()
    return house[:1].upper() + house[1:] if old[0].isupper() else house


def _house(tokens: Sequence[str], scots: Sequence[bool], at: int, *, english: bool) -> str:
    """The house form of `tokens[at]` among its neighbours, or "" if it stays."""
    word = tokens[at]
    if english and word in _rules():
        return result_of(_rules()[word], tokens, scots, at)
    table = _english() if english else _scots()
    if house := table.get(word):
        return house if _reads_well(word, house, tokens, scots, at) else ""
    stem = CLITIC.sub("", word)
    house = table.get(stem, "") if stem != word else ""
    if not house or " " in house or not is_doric_here(tokens, scots, at):
        return ""
    ending = word[len(stem) :]
    return house + ("'" if ending == "'s" and house.endswith("s") else ending)  # children's, bairns'


def is_doric_here(tokens: Sequence[str], scots: Sequence[bool], at: int) -> bool:
    """Whether `tokens[at]` is Doric here. One with a clitic has its own rules, or else those of the word before it."""
    word = next((form for form in (tokens[at], CLITIC.sub("", tokens[at])) if form in rules()), "")
    if not word:
        return True
    return class_in_context([*tokens[:at], word, *tokens[at + 1 :]], scots, at) in SCOTS


def _reads_well(word: str, house: str, tokens: Sequence[str], scots: Sequence[bool], at: int) -> bool:
    """Whether a word with two meanings has the Doric one here."""
    if word in rules():
        return is_doric_here(tokens, scots, at)
    if word in _in_context():
        around = [*tokens[:at], house, *tokens[at + 1 :]]
        return class_in_context(around, scots, at) in SCOTS
    return True


# ---- the lists


@functools.cache
def _spec() -> dict:
    return data.read_toml("spelling.toml")


@functools.cache
def _in_context() -> frozenset[str]:
    return frozenset(_spec()["in_context"])


@functools.cache
def _rules() -> dict:
    return read_rules(_spec()["rule"], "house")


@functools.cache
def _scots() -> dict[str, str]:
    """Scots spelling -> house form."""
    keep = frozenset(_spec()["keep"])
    english = leak_weights()
    found = {form: house for form, house in house_forms().items() if house and form not in english}
    found |= {form: entry.doric for entry in entries() for form in entry.spellings[1:]}
    own = {entry.doric.lower() for entry in entries()}
    inflected = dict(pair for entry in entries() if entry.kind != "phrase" for pair in _inflected(entry, keep))
    found |= {form: house for form, house in inflected.items() if form not in found and form not in own}
    return {form: house for form, house in found.items() if form not in keep and form != house.lower()}


def _inflected(entry: Entry, keep: frozenset[str]) -> Iterator[tuple[str, str]]:
    """(form, house form) for the other spellings of an entry, with the endings of its part of speech."""
    for variant in entry.spellings[1:]:
        if variant not in keep:
            yield from inflected(variant, entry.doric, entry.part_of_speech)


def inflected(form: str, house: str, part_of_speech: str) -> Iterator[tuple[str, str]]:
    """(form, house form) with endings, unless the form is so short, or has such an end, that they would be guesses."""
    if len(form) >= SHORTEST and form.isalpha() and not form.endswith(INFLECTED):
        yield from with_endings(form, house, part_of_speech)


def with_endings(form: str, house: str, part_of_speech: str) -> Iterator[tuple[str, str]]:
    """(form, house form) with each ending that words of this part of speech take.

    >>> list(with_endings("byde", "bide", "v"))
    [('bydes', 'bides'), ('bydin', 'bidin'), ('bydit', 'bidit')]
    """
    for ending in ENDINGS.get(part_of_speech, ()):
        if ending == "s" or not DOUBLES.fullmatch(house):
            yield _joined(form, ending), _joined(house, ending)


def _joined(word: str, ending: str) -> str:
    return (word.removesuffix("e") if ending[0] in "ei" else word) + ending


@functools.cache
def _english() -> dict[str, str]:
    """Scots spelling or English word -> house form. `check_doric` reports a listed word that leakage.tsv lacks."""
    spec, houses = _spec(), house_forms()
    also = {english.lower(): house for english, house in spec["also"].items()}
    listed = {word: houses[word] for word in (*spec["always"], *spec["in_context"]) if word in houses}
    return _scots() | listed | also
