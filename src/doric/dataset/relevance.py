"""A cheap check, without a model, of whether an answer is about its question at all.

It compares the words of the answer with those of the topic, of its Doric and of its theme. Doric words count as their
English meaning too. `benchmarks/off_topic.py` measures it: it finds about a third of the answers to another question,
and hardly ever a good one, so it is no proof that an answer is about its question.
"""

import functools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from doric import data
from doric.core.text import sentences, words
from doric.dataset.asks import ADVICE
from doric.dataset.phrases import Theme, authored, authored_topics, theme_of
from doric.dataset.plan import Job
from doric.dataset.prompts import in_doric
from doric.dialect.lexicon import function_words, glosses
from doric.dialect.render import render

OFF_TOPIC = "off_topic"
"""The key of `meta` of an answer that shares no word with its question; other answers do not have it."""
MOST_THEMES = 30
"""A word that is used in more themes than this says little about any of them."""
LEAST_LETTERS = 3
PREFIX = 4
"""Two words that begin with so many equal letters count as one: compounds, and endings that are not listed."""
ENDINGS = ("ings", "ing", "ins", "in", "ers", "er", "est", "ed", "it", "es", "s", "ly", "t")
ENGLISH = ("en", "doric", "")


def can_tell(job: Job) -> bool:
    """Whether the check suits the question: advice about a topic whose theme is known."""
    advice = job.kind != "safety" and not job.prompt.subject and job.prompt.ask in ("", ADVICE)
    return advice and _theme(job.topic.text) is not None


def is_off_topic(job: Job, answer: str) -> bool:
    """Whether an answer shares no word with its question, its topic or the sentences of its theme."""
    return can_tell(job) and not shares_words(job, answer) and not _shares_theme(job.topic.text, answer)


def shares_words(job: Job, answer: str) -> bool:
    """Whether an answer shares a word with its topic, the topic in Doric, the keywords of the theme or the prompt."""
    topic, theme = job.topic.text, _theme(job.topic.text)
    keywords = " ".join(sorted(theme.keywords)) if theme else ""
    prompt = job.prompt.text if job.prompt.lang in ENGLISH else ""
    asked = concepts(" ".join((topic, in_doric(topic), render(topic), keywords, render(keywords), prompt)))
    given = concepts(answer)
    return bool(asked & given) or bool(_prefixes(asked) & _prefixes(given))


def is_off_topic_without(job: Job, answer: str) -> bool:
    """The same, but sentences of the answer and those of its topic do not count as sentences of the theme.

    It is for measuring with authored answers, which are made of these sentences.
    """
    if not can_tell(job) or shares_words(job, answer):
        return False
    known, theme = authored(job.topic.text), _theme(job.topic.text)
    left_out = {*sentences(answer), *((*known.answers, *known.more) if known else ())}
    kept = (line for line in _lines()[theme.number] if line not in left_out) if theme else ()
    return not concepts(answer) & _telling(kept)


def concepts(text: str) -> frozenset[str]:
    """The stems of the words of a text, and of their English meanings, without words that say little."""
    return frozenset().union(*map(_concepts_of, set(words(text))))


@functools.lru_cache(maxsize=1 << 15)
def _concepts_of(word: str) -> frozenset[str]:
    meanings = words(f"{glosses().get(word, '')} {glosses().get(word.removesuffix('s'), '')}")
    if _says_little(word):
        return frozenset()
    return frozenset(_stem(one) for one in (word, *meanings) if not _says_little(one))


def _says_little(word: str) -> bool:
    return len(word) < LEAST_LETTERS or word in _small_words()


@functools.cache
def _small_words() -> frozenset[str]:
    return data.read_words("little_words.txt") | function_words()


def _stem(word: str) -> str:
    word = word.split("'")[0]
    if word.endswith(("ies", "ied")) and len(word) > 4:
        return word[:-3] + "y"
    ending = next((one for one in ENDINGS if word.endswith(one) and len(word) - len(one) >= LEAST_LETTERS), "")
    if ending:
        word = word.removesuffix(ending)
        word = word[:-1] if len(word) > LEAST_LETTERS and word[-1] == word[-2] else word
    return word.rstrip("e")


def _prefixes(stems: Iterable[str]) -> set[str]:
    return {stem[:PREFIX] for stem in stems if len(stem) >= PREFIX}


def _theme(topic: str) -> Theme | None:
    known = authored(topic)
    return known.theme if known else theme_of(topic)


def _shares_theme(topic: str, answer: str) -> bool:
    theme = _theme(topic)
    return theme is None or bool(concepts(answer) & _theme_words(theme.number))


@functools.cache
def _theme_words(number: int) -> frozenset[str]:
    return _telling(_lines()[number])


def _telling(lines: Iterable[str]) -> frozenset[str]:
    """The words of sentences that are used in few themes."""
    themes = _themes_of_words()
    return frozenset(stem for line in lines for stem in concepts(line) if themes[stem] <= MOST_THEMES)


@functools.cache
def _lines() -> dict[int, tuple[str, ...]]:
    """The number of a theme -> its sentences and those of its topics."""
    found: dict[int, dict[str, None]] = {}
    for topic in authored_topics().values():
        lines = found.setdefault(topic.theme.number, dict.fromkeys(_of_parts(topic.theme.parts)))
        lines.update(dict.fromkeys((*topic.answers, *topic.more)))
    return {number: tuple(lines) for number, lines in found.items()}


def _of_parts(parts: Collection[Collection[str]]) -> Iterator[str]:
    return (line for part in parts for line in part)


@functools.cache
def _themes_of_words() -> Counter[str]:
    """In how many themes each word is used."""
    found: Counter[str] = Counter()
    for lines in _lines().values():
        found.update({stem for line in lines for stem in concepts(line)})
    return found
