"""The project's own rows: how often each authored line and each word of the lexicon is used in them."""

import functools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from doric.core import text as texts
from doric.dataset import asks, heuristic
from doric.dataset.phrases import authored_topics
from doric.dataset.plan import Mix, Plan
from doric.dialect.lexicon import Entry, entries
from doric.lint.form import file_names, load
from doric.lint.source import Source
from doric.lint.spelling import doric_lines
from doric.review.items import OURS, Item, Part, item_id, without_slots
from doric.topics.lists import Topic

PREFIX = 12
"""So many first characters of a line are looked up; a line is compared only where they are the same."""
COVERED = 0.95
"""Part 2 has the words that make up this share of all words of the lexicon in the rows."""
EXAMPLE_WORDS = range(8, 19)


@dataclass(frozen=True, slots=True)
class OwnRow:
    """A row: what the user asks, the answer, its bucket, and where it is from."""

    prompt: str
    answer: str
    bucket: str
    source: dict[str, Any]


@functools.cache
def own_rows(seed: int) -> tuple[OwnRow, ...]:
    """Six rows per authored topic, as the embedded voice writes them at the first attempt."""
    topics = [Topic(text, authored.theme.group) for text, authored in authored_topics().items()]
    return tuple(_row(job, seed) for job in Plan(topics, Mix(), seed=seed))


def _row(job: Any, seed: int) -> OwnRow:  # noqa: ANN401 - a job of the plan
    if job.prompt.ask in asks.asks():
        answer = asks.answer_to(asks.asked(job.prompt.ask, job.prompt.number, seed), 0)
    else:
        asked = job.prompt
        answer = heuristic.answer(
            heuristic.Question(
                job.topic.text, job.kind, asked.length, asked.category, job.slot, seed, asked.case, asked.wants
            )
        )
    return OwnRow(job.prompt.text, answer, job.kind, {"row": job.id})


# --- lines ----------------------------------------------------------------------------------------------------------


def line_items(rows: Sequence[OwnRow], part: Part) -> list[Item]:
    """The authored lines that most rows have, the most used first."""
    sources = {name: source for name in file_names() if isinstance(source := load(name), Source)}
    lines = {line.text: line for line in reversed(list(doric_lines(sources)))}
    counts, examples = reach(list(lines), rows)
    used = sorted((text for text in lines if counts[text]), key=lambda text: (-counts[text], text))
    return [
        Item(
            item_id("line", text), part.number, "line", _shown(text, examples), OURS,
            {"file": lines[text].source.name, "line": lines[text].line, "text": text, "rows": counts[text]},
        )
        for text in used[: part.most]
    ]  # fmt: skip


def _shown(line: str, examples: Mapping[str, str]) -> dict[str, str]:
    """What readers see of a line. One with a slot, or with the beginning of a sentence, needs an example."""
    whole = "{" not in line and line.rstrip("\"'”’").endswith((".", "?", "!"))
    return {"text": without_slots(line), "example": "" if whole else examples[line]}


def reach(lines: Sequence[str], rows: Sequence[OwnRow]) -> tuple[Counter[str], dict[str, str]]:
    """Line -> the rows that have it in a question or an answer, and line -> the shortest sentence with it.

    A line with a slot has to fit up to the slot. Of a question, the sentence is all of it.
    """
    index: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for line in lines:
        start = line.partition("{")[0]
        if len(start) >= PREFIX:
            index[start[:PREFIX]].append((start, line))
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for row in rows:
        found = {line: text for text in (row.answer, row.prompt) for line in _lines_of(text, index)}
        counts.update(found.keys())
        for line, text in found.items():
            sentence = _sentence_with(line.partition("{")[0], text) if text == row.answer else text
            examples[line] = min(examples.get(line, sentence), sentence, key=lambda one: (len(one), one))
    return counts, examples


def _sentence_with(start: str, text: str) -> str:
    """The sentence of a text that has these words, or the text if they are in more than one."""
    return next((sentence for sentence in texts.sentences(text) if start in sentence), text)


def _lines_of(text: str, index: dict[str, list[tuple[str, str]]]) -> Iterator[str]:
    at = 0
    while at >= 0:
        for start, line in index.get(text[at : at + PREFIX], ()):
            if text.startswith(start, at):
                yield line
        at = text.find(" ", at) + 1 or -1


# --- words ----------------------------------------------------------------------------------------------------------


def word_items(rows: Sequence[OwnRow], part: Part) -> list[Item]:
    """The words of the lexicon that make up 95% of its words in the rows, the most used first."""
    counts, examples = _count_words(rows)
    return [_word_item(entry, part, counts[entry], examples.get(entry, "")) for entry in frequent(counts)[: part.most]]


def rare_items(rows: Sequence[OwnRow], part: Part) -> list[Item]:
    """The words of the lexicon that the rows have least, those that they have at all first."""
    counts, examples = _count_words(rows)
    known = set(frequent(counts))
    rest = [entry for entry in entries() if entry not in known]
    rest.sort(key=lambda entry: (not counts[entry], counts[entry], item_id("word", entry.doric, entry.english)))
    return [_word_item(entry, part, counts[entry], examples.get(entry, "")) for entry in rest[: part.most]]


def frequent(counts: Counter[Entry]) -> list[Entry]:
    """The entries that make up 95% of all that is counted, the most used first."""
    ordered = sorted(counts, key=lambda entry: (-counts[entry], entry.doric, entry.english))
    total, sum_before, found = counts.total(), 0, []
    for entry in ordered:
        if sum_before >= COVERED * total:
            break
        found.append(entry)
        sum_before += counts[entry]
    return found


def _count_words(rows: Sequence[OwnRow]) -> tuple[Counter[Entry], dict[Entry, str]]:
    """Entry -> how often the rows have it, and entry -> the shortest sentence with it."""
    known: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries():
        if " " not in entry.doric:
            known[entry.doric.lower()].append(entry)
    counts: Counter[Entry] = Counter()
    examples: dict[Entry, str] = {}
    for sentence in (sentence for row in rows for sentence in texts.sentences(row.answer)):
        tokens = texts.words(sentence)
        for entry in (entry for token in tokens for entry in known.get(token, ())):
            counts[entry] += 1
            best = examples.get(entry)
            if len(tokens) in EXAMPLE_WORDS and (best is None or (len(sentence), sentence) < (len(best), best)):
                examples[entry] = sentence
    return counts, examples


def _word_item(entry: Entry, part: Part, count: int, example: str) -> Item:
    shown = {"text": entry.doric, "gloss": entry.english, "example": example}
    source = {"file": "lexicon.tsv", "text": entry.doric, "count": count}
    return Item(f"word:{entry.doric}\t{entry.english}", part.number, "word", shown, OURS, source)
