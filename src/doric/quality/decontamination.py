"""Prompts that no model of ours may ever be trained on, and the guard that knows them again.

They lie in `data/heldout.jsonl`. A text matches when it holds, close together, most of the words that one of them is
about: the words of `data/common_words.txt` do not count, the others the more the longer they are and the fewer
held-out prompts share them. What one in another language asks is guarded in English too, and all of it as the house
puts it into Doric. Case, punctuation, accents, endings and word order make no difference. Needs nothing beyond Python.
"""

import functools
import json
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from doric import data
from doric.dialect.render import render

BUCKETS = ("core", "adv", "safety", "multi", "drift")
WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")
ASCII_WORD = re.compile(r"[a-z0-9]+")
HYPHEN = re.compile(r"[-'’‐‑]")
ENDING = re.compile(r"(?:ing|in|ed|es|s|e)$")
STEM, LEAST_STEM = 6, 3
NEAR = 0.60
"""Share of a prompt's weight from which a text matches: of 61,440 prompts that the generator made, none came so far."""
LEAST_WORDS, LEAST_LATER = 2, 3
"""Words that must be shared; and words a later turn must have to be guarded: "And in winter?" may stand in any talk."""
FEW_NEAR = 0.5
"""Share of all its words, common ones too, that must be there when no more than `LEAST_WORDS` of the others are."""
REACH = 1.5
"""How many lengths of the prompt may lie between the first of those words and the last."""


@dataclass(frozen=True, slots=True)
class HeldOutPrompt:
    """One held-out prompt. `turns` are the user's later turns; `benign` marks a harmless ask that looks harmful.

    `about` is the prompt in English where it is in another language than English or Doric.
    """

    id: str
    bucket: str
    lang: str
    group: str
    prompt: str
    turns: tuple[str, ...] = ()
    benign: bool = False
    about: str = ""


@functools.cache
def held_out_prompts() -> tuple[HeldOutPrompt, ...]:
    """All of them, in file order."""
    lines = data.read_text("heldout.jsonl").splitlines()
    return tuple(_read(json.loads(line)) for line in lines if line)


def find_match(text: str) -> HeldOutPrompt | None:
    """The held-out prompt that `text` is, nearly is, or holds; None when there is none.

    >>> find_match("HOW does a pawn-broker earn his living").id
    'core-027'
    >>> find_match("How does a baker earn a living?")
    """
    stems = _stems(text)
    index = _index()
    shares: dict[int, float] = {}
    for stem in index.keys() & set(stems):
        for number, share in index[stem]:
            shares[number] = shares.get(number, 0.0) + share
    near = [number for number, share in shares.items() if share >= NEAR]
    near.sort(key=shares.__getitem__, reverse=True)
    return next((_guarded()[number].held for number in near if _guarded()[number].stands_in(stems)), None)


def content_stems(text: str) -> frozenset[str]:
    """The stems of the words that say what `text` is about.

    >>> sorted(content_stems("How do bats catch moths?"))
    ['bat', 'moth']
    """
    return frozenset(_stems(text)) - _common()


def _read(raw: dict) -> HeldOutPrompt:
    return HeldOutPrompt(
        raw["id"], raw["bucket"], raw["lang"], raw["group"], raw["prompt"],
        tuple(raw.get("turns", ())), raw.get("benign", False), raw.get("about", ""),
    )  # fmt: skip


def _stems(text: str) -> list[str]:
    """The stem of every word of `text`, in order; a Han character is a word."""
    if text.isascii():  # most are, and the guard stands in front of every row
        return [*map(_stem, ASCII_WORD.findall(text.lower().replace("-", "").replace("'", "")))]
    parted = unicodedata.normalize("NFKD", text)
    bare = "".join(char for char in parted if unicodedata.category(char)[0] != "M")
    return [*map(_stem, WORD.findall(HYPHEN.sub("", bare.lower())))]


@functools.lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    bare = ENDING.sub("", word)
    return (bare if len(bare) >= LEAST_STEM else word)[:STEM]


@functools.cache
def _common() -> frozenset[str]:
    return frozenset(stem for word in data.read_words("common_words.txt") for stem in _stems(word))


@dataclass(frozen=True, slots=True)
class _Guarded:
    """One guarded text: the prompt it is of, all its stems, those that count with their shares, its length in words."""

    held: HeldOutPrompt
    stems: frozenset[str]
    shares: dict[str, float]
    length: int

    def stands_in(self, stems: list[str]) -> bool:
        """Whether enough of it stands together in a text, as in a rewording, and is not scattered over a page."""
        reach = round(REACH * self.length)
        return any(self._enough(set(stems[at : at + reach])) for at in range(max(1, len(stems) - reach + 1)))

    def _enough(self, near: set[str]) -> bool:
        shared = self.shares.keys() & near
        if len(shared) < LEAST_WORDS or sum(map(self.shares.__getitem__, shared)) < NEAR:
            return False
        return len(shared) > LEAST_WORDS or len(self.stems & near) >= FEW_NEAR * len(self.stems)


@functools.cache
def _guarded() -> tuple[_Guarded, ...]:
    texts = [(held, [_stems(text) for text in _ways(held)]) for held in held_out_prompts()]
    holders = Counter(stem for _, all_stems in texts for stem in set().union(*all_stems))
    return tuple(
        _weighed(held, stems, holders)
        for held, all_stems in texts
        for turn, stems in enumerate(all_stems)
        if turn == 0 or len(set(stems) - _common()) >= (LEAST_LATER if turn <= len(held.turns) else LEAST_WORDS)
    )


def _ways(held: HeldOutPrompt) -> tuple[str, ...]:
    """The texts of a held-out prompt: itself, its later turns, what it asks in English, and that in house Doric."""
    return held.prompt, *held.turns, held.about, render(held.about or held.prompt)


def _weighed(held: HeldOutPrompt, stems: list[str], holders: Counter[str]) -> _Guarded:
    weights = {stem: len(stem) / holders[stem] for stem in set(stems) - _common()}
    whole = sum(weights.values())
    return _Guarded(held, frozenset(stems), {stem: weight / whole for stem, weight in weights.items()}, len(stems))


@functools.cache
def _index() -> dict[str, tuple[tuple[int, float], ...]]:
    """Stem -> (number of a guarded text that holds it, its share there), for each of them."""
    index: dict[str, list[tuple[int, float]]] = {}
    for number, one in enumerate(_guarded()):
        for stem, share in one.shares.items():
            index.setdefault(stem, []).append((number, share))
    return {stem: tuple(where) for stem, where in index.items()}
