"""The rules of the minimal pairs: one difference, the right side in house spelling, nothing that is trained on."""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator

from doric.core import text as texts
from doric.dialect.scores import score
from doric.dialect.spelling import to_house
from doric.evaluation.minimal_pairs import FILE
from doric.lint.sentences import NOT_IN_A_SENTENCE, with_house_forms
from doric.lint.source import Finding, Row, Source
from doric.lint.spelling import doric_lines, what_to_write
from doric.lint.words import Sources
from doric.quality.decontamination import find_match

NAME = re.compile("[a-z]+(-[a-z]+)*")
LEAST = 20
"""With fewer pairs, the interval of a phenomenon is wider than 40 points."""
MOST_WORDS = 20
PUNCTUATION = re.compile(r"[.,?!]+$")


def check_minimal_pairs(sources: Sources) -> Iterator[Finding]:
    """Pairs that differ in more than one thing, are there twice, are not in the house spelling, or are in the data."""
    source = sources[FILE]
    seen: dict[str, tuple[str, int]] = {}
    trained = [(line.source.name, line.line, texts.fold(line.text)) for line in doric_lines(sources)]
    everything = "\n".join(text for _, _, text in trained)
    beside = {pair for _, _, text in trained for pair in itertools.pairwise(text.split())}
    for row in source.rows:
        yield from _form(source, row)
        yield from _language(source, row)
        yield from _repeated(source, row, seen)
        for side in ("right", "wrong"):
            folded = texts.fold(row.cells[side])
            inner = folded.split()[1:-1]  # whole words there too; most pairs of them are in no text, and need no search
            if beside.issuperset(itertools.pairwise(inner)) and folded in everything:
                name, line = next((name, line) for name, line, text in trained if folded in text)
                reason = f"{name}:{line} has the {side} sentence, so models are trained on it: write another"
                yield source.error(row.line, row.cells[side], reason)
    yield from _few(source)


def _form(source: Source, row: Row) -> Iterator[Finding]:
    name, right, wrong = (row.cells[column] for column in ("phenomenon", "right", "wrong"))
    if not NAME.fullmatch(name):
        yield source.error(row.line, name, "a phenomenon is small letters with hyphens, for instance negation-nae")
    for text in (right, wrong):
        if " ".join(text.split()) != text:
            yield source.error(row.line, text, "write one space between words")
        elif not texts.ends_sentence(text):
            yield source.error(row.line, text, "it does not end with . or ! or ?")
        elif len(text.split()) > MOST_WORDS:
            yield source.error(row.line, text, f"it has {len(text.split())} words: write at most {MOST_WORDS}")
        elif found := NOT_IN_A_SENTENCE.search(text):
            yield source.error(row.line, text, f"it has the character {found.group()}: write it with a comma")
    if not differ_in_one(right, wrong):
        reason = "the two must differ in one word, in one word left out, or only in the order of the words"
        yield source.error(row.line, wrong, f"{reason}: the right side is '{right}'")


def differ_in_one(right: str, wrong: str) -> bool:
    """Whether one word is exchanged, one is left out on one side, or the same words are in another order.

    >>> differ_in_one("Fit like?", "Whit like?"), differ_in_one("Fit like?", "Whit lik?")
    (True, False)
    """
    one, other = right.split(), wrong.split()
    if len(one) == len(other):
        if sum(word != second for word, second in zip(one, other, strict=True)) == 1:
            return True
        return right != wrong and _bare(one) == _bare(other)
    longer, shorter = sorted((_words(one), _words(other)), key=len, reverse=True)
    return any(longer[:at] + longer[at + 1 :] == shorter for at in range(len(longer)))


def _words(words: list[str]) -> list[str]:
    """The words in lower case and without the punctuation after them, which moves when the last word is left out."""
    return [PUNCTUATION.sub("", word).lower() for word in words]


def _bare(words: list[str]) -> Counter[str]:
    return Counter(_words(words))


def _language(source: Source, row: Row) -> Iterator[Finding]:
    right = row.cells["right"]
    if changes := to_house(right).changes:
        yield source.error(row.line, right, f"the right side is not in the house spelling: {what_to_write(changes)}")
    scores = score(right)
    if found := [*scores.tokens_of("central", "central_weak"), *scores.tokens_of("leak")]:
        reason = f"the right side has Central Scots or English: {with_house_forms(found)}"
        yield source.error(row.line, right, reason)
    if held := find_match(right):
        yield source.error(row.line, right, f"it repeats the evaluation prompt {held.id} of heldout.jsonl")


def _repeated(source: Source, row: Row, seen: dict[str, tuple[str, int]]) -> Iterator[Finding]:
    """A sentence that another pair has: twice the right one, or right in one pair and wrong in another."""
    for side in ("right", "wrong"):
        first, line = seen.setdefault(texts.fold(row.cells[side]), (side, row.line))
        if line == row.line:
            continue
        if first != side:
            yield source.error(row.line, row.cells[side], f"it is the {first} side of line {line}: correct one of them")
        elif side == "right":
            yield source.error(row.line, row.cells[side], f"line {line} has it already: write another sentence")


def _few(source: Source) -> Iterator[Finding]:
    for name, count in Counter(row.cells["phenomenon"] for row in source.rows).items():
        if count < LEAST:
            line = next(row.line for row in source.rows if row.cells["phenomenon"] == name)
            yield source.warning(line, name, f"it has {count} pairs: its accuracy needs at least {LEAST}")


def changed(row: Row, change: Callable[[str], str]) -> tuple[str, str] | None:
    """Both sides after `change` of the right one; the words of the wrong one that are the same change with it.

    None if the two would no longer differ in one thing, so that a person has to write the pair.
    """
    right, wrong = row.cells["right"], row.cells["wrong"]
    new = change(right)
    if len(new.split()) != len(right.split()):
        return None
    words = {old.lower(): one for old, one in zip(right.split(), new.split(), strict=True) if old != one}
    new_wrong = " ".join(_as(word, words.get(word.lower(), word)) for word in wrong.split())
    return (new, new_wrong) if differ_in_one(new, new_wrong) else None


def _as(old: str, new: str) -> str:
    return new[:1].upper() + new[1:] if old[:1].isupper() else new
