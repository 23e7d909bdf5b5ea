"""Texts cut into passages at the ends of sentences. A passage is a part of its text, unchanged."""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from doric import data
from doric.core.text import words

PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
# the next sentence begins with a capital, a digit or a mark, so that "… he said" goes on
END = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s+[^\sa-z])")
BEFORE_STOP = re.compile(r"([\w.]+)\.$")
LEAST_WORDS = 8
"""A last passage with fewer words joins the one before it."""
HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
FENCE = re.compile(r"^ {0,3}(```+|~~~+).*?^ {0,3}\1[`~]*[ \t]*$", re.MULTILINE | re.DOTALL)
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a text under one heading; "" without one."""

    title: str
    text: str


def sections(text: str) -> list[Section]:
    """The parts of a Markdown text: one for each heading, without front matter, comments and blocks of code.

    >>> sections("# Hame\\nAye.\\n\\n## The kye\\nNa.")
    [Section(title='Hame', text='\\nAye.\\n\\n'), Section(title='The kye', text='\\nNa.')]
    """
    found, title, at = [], "", 0
    for left_out in _left_out(text):
        heading = HEADING.fullmatch(left_out.group())
        found.append(Section(title, text[at : left_out.start()]))
        title, at = heading[1] if heading else title, left_out.end()
    return [section for section in (*found, Section(title, text[at:])) if section.text.strip()]


def _left_out(text: str) -> list[re.Match[str]]:
    """What is no running text, in order and without overlaps."""
    found = [match for pattern in (FRONT_MATTER, FENCE, COMMENT) for match in pattern.finditer(text)]
    blocks = [match.span() for match in found]
    found += [match for match in HEADING.finditer(text) if not any(a <= match.start() < b for a, b in blocks)]
    kept: list[re.Match[str]] = []
    for match in sorted(found, key=lambda match: match.start()):
        if not kept or match.start() >= kept[-1].end():
            kept.append(match)
    return kept


def passages(text: str, size: int) -> list[str]:
    """The passages of a text, of about `size` words: whole sentences, unchanged, in order. They do not overlap.

    A passage has more words only if one sentence has, or to take in a short rest. At the end of a paragraph, it ends if
    it has half of the words. All that is left out is white space between passages.

    >>> passages("Aye, Mr. Rae cam hame. He wis gey weet.\\n\\nNa.", 5)
    ['Aye, Mr. Rae cam hame.', 'He wis gey weet.\\n\\nNa.']
    """
    found: list[tuple[int, int, int]] = []
    for start, end in _sentences(text):
        count = len(words(text[start:end]))
        if found and found[-1][2] + count <= size and not _is_full(text, found[-1], start, size):
            first, _, before = found.pop()
            found.append((first, end, before + count))
        else:
            found.append((start, end, count))
    if len(found) > 1 and found[-1][2] < min(LEAST_WORDS, size / 2):
        _, end, count = found.pop()
        first, _, before = found.pop()
        found.append((first, end, before + count))
    return [text[start:end] for start, end, _ in found]


def _is_full(text: str, passage: tuple[int, int, int], start: int, size: int) -> bool:
    """Whether the sentence at `start` is better in a new passage, because it begins a paragraph."""
    _, end, count = passage
    return count >= size / 2 and PARAGRAPH.search(text, end, start) is not None


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each sentence, without the white space around it. A paragraph ends a sentence too."""
    start = 0
    for end in [*_ends(text), len(text)]:
        piece = text[start:end]
        if piece.strip():
            yield start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
        start = end


def _ends(text: str) -> list[int]:
    ends = {match.start() for match in PARAGRAPH.finditer(text)}
    ends |= {match.end() for match in END.finditer(text) if not _is_abbreviation(text, match.start())}
    return sorted(ends)


def _is_abbreviation(text: str, at: int) -> bool:
    """Whether the full stop at `at` belongs to the word before it: a listed abbreviation, or a single letter."""
    found = BEFORE_STOP.search(text[max(0, at - 20) : at + 1])
    if found is None or text[at : at + 2] in ("..", ".…"):
        return False
    word, before = found[1].lower(), text[max(0, at - 20) : at].removesuffix(found[1])
    is_number = word.isdecimal() and len(word) <= 2 and before[-1:] in ("", "\n")  # of an item of a list
    return word in _abbreviations() or (len(word) == 1 and word.isalpha()) or is_number


@functools.cache
def _abbreviations() -> frozenset[str]:
    return data.read_words("sources/abbreviations.txt")
