"""Keeps evaluation prompts out of training data: the held-out prompts, and a search for texts that repeat them.

The prompts are in `data/heldout.jsonl`. A text matches a prompt if it contains most of the prompt's content words close
together. Words of `data/common_words.txt` do not count. The other words have weights: longer words, and words that are
in fewer held-out prompts, have a higher weight. The English of a prompt in another language is protected too, and the
Doric that `render` makes of each prompt. Case, punctuation, accents, endings and word order do not matter.
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
"""Maximum and minimum letters of a stem."""
ENOUGH_WEIGHT = 0.60
"""A text matches if it has at least this share of a prompt's weight. None of 61,440 generated prompts reached it."""
LEAST_SHARED, LEAST_LATER = 2, 3
"""Minimum content words: in a match, and in a later turn that is protected ("And in winter?" has too few)."""
ENOUGH_WORDS = 0.5
"""If only `LEAST_SHARED` words match, this share of all words of the prompt must match, common words included."""
WINDOW = 1.5
"""The shared words must be within a part of the text that is at most this many times as long as the prompt."""


@dataclass(frozen=True, slots=True)
class HeldOutPrompt:
    """A prompt that is used for evaluation only.

    `turns` are later user turns. `benign`: a harmless request that looks harmful. `about`: the prompt in English, if
    the prompt is neither English nor Doric. `ask` is the kind of ask, if its answers may have what others may not.
    """

    id: str
    bucket: str
    lang: str
    group: str
    prompt: str
    turns: tuple[str, ...] = ()
    benign: bool = False
    about: str = ""
    ask: str = ""


@functools.cache
def held_out_prompts() -> tuple[HeldOutPrompt, ...]:
    """All held-out prompts, in file order."""
    lines = data.read_text("heldout.jsonl").splitlines()
    return tuple(_read(json.loads(line)) for line in lines if line.strip())


def find_match(text: str) -> HeldOutPrompt | None:
    """The held-out prompt that `text` repeats, rewords or contains, or None.

    >>> find_match("HOW does a pawn-broker earn his living").id
    'core-027'
    >>> find_match("How does a baker earn a living?")
    """
    stems = _stems(text)
    index, protected = _index(), _protected()
    shares: dict[int, float] = {}
    for stem in index.keys() & set(stems):
        for number, share in index[stem]:
            shares[number] = shares.get(number, 0.0) + share
    likely = [number for number, share in shares.items() if share >= ENOUGH_WEIGHT]
    likely.sort(key=shares.__getitem__, reverse=True)
    return next((protected[number].prompt for number in likely if protected[number].occurs_in(stems)), None)


def content_stems(text: str) -> frozenset[str]:
    """The stems of the content words of `text`.

    >>> sorted(content_stems("How do bats catch moths?"))
    ['bat', 'moth']
    """
    return frozenset(_stems(text)) - _common()


def topic_stems(text: str) -> frozenset[str]:
    """The stems of the content words of an English text and of its rendering in Doric."""
    return content_stems(text) | content_stems(render(text))


def _read(raw: dict) -> HeldOutPrompt:
    return HeldOutPrompt(
        raw["id"], raw["bucket"], raw["lang"], raw["group"], raw["prompt"],
        tuple(raw.get("turns", ())), raw.get("benign", False), raw.get("about", ""), raw.get("ask", ""),
    )  # fmt: skip


def _stems(text: str) -> list[str]:
    """The stem of every word of `text`, in order. Each Han character counts as a word."""
    if text.isascii():  # faster; most texts are ASCII
        return [*map(_stem, ASCII_WORD.findall(text.lower().replace("-", "").replace("'", "")))]
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(char for char in decomposed if unicodedata.category(char)[0] != "M")
    return [*map(_stem, WORD.findall(HYPHEN.sub("", plain.lower())))]


@functools.lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    bare = ENDING.sub("", word)
    return (bare if len(bare) >= LEAST_STEM else word)[:STEM]


@functools.cache
def _common() -> frozenset[str]:
    return frozenset(stem for word in data.read_words("common_words.txt") for stem in _stems(word))


@dataclass(frozen=True, slots=True)
class _Protected:
    """One text of a held-out prompt: all its stems, the stems that count with their shares of the weight, its words."""

    prompt: HeldOutPrompt
    stems: frozenset[str]
    shares: dict[str, float]
    length: int

    def occurs_in(self, stems: list[str]) -> bool:
        """Whether one window of a text contains enough of it."""
        window = round(WINDOW * self.length)
        return any(self._enough(set(stems[at : at + window])) for at in range(max(1, len(stems) - window + 1)))

    def _enough(self, near: set[str]) -> bool:
        shared = self.shares.keys() & near
        if len(shared) < LEAST_SHARED or sum(map(self.shares.__getitem__, shared)) < ENOUGH_WEIGHT:
            return False
        return len(shared) > LEAST_SHARED or len(self.stems & near) >= ENOUGH_WORDS * len(self.stems)


@functools.cache
def _protected() -> tuple[_Protected, ...]:
    """The protected texts of all held-out prompts. Later turns and translations with few content words are left out."""
    texts = [(prompt, [_stems(text) for text in _texts_of(prompt)]) for prompt in held_out_prompts()]
    holders = Counter(stem for _, all_stems in texts for stem in set().union(*all_stems))
    return tuple(
        _weighted(prompt, stems, holders)
        for prompt, all_stems in texts
        for turn, stems in enumerate(all_stems)
        if turn == 0 or len(set(stems) - _common()) >= (LEAST_LATER if turn <= len(prompt.turns) else LEAST_SHARED)
    )


def _texts_of(prompt: HeldOutPrompt) -> tuple[str, ...]:
    """The prompt, its later turns, its English, and its rendering in Doric."""
    return prompt.prompt, *prompt.turns, prompt.about, render(prompt.about or prompt.prompt)


def _weighted(prompt: HeldOutPrompt, stems: list[str], holders: Counter[str]) -> _Protected:
    weights = {stem: len(stem) / holders[stem] for stem in set(stems) - _common()}
    whole = sum(weights.values())
    return _Protected(prompt, frozenset(stems), {stem: weight / whole for stem, weight in weights.items()}, len(stems))


@functools.cache
def _index() -> dict[str, tuple[tuple[int, float], ...]]:
    """Stem -> (index in `_protected`, share of the weight) for each protected text that has the stem."""
    index: dict[str, list[tuple[int, float]]] = {}
    for number, protected in enumerate(_protected()):
        for stem, share in protected.shares.items():
            index.setdefault(stem, []).append((number, share))
    return {stem: tuple(where) for stem, where in index.items()}
