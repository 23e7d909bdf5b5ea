"""One item of a list, without what people and models write around it: bullets, numbers, quotation marks, commas.

Topic files and the answers of models are read with the same functions.
"""

import re

from doric.core.characters import tidy

BULLET = re.compile(
    r"(?:[-*+–—−](?=\s|\Z)|[•◦‣▪▫●○■□►▸▹▶⁃∙·➤➔→✓✔☐☑☒✗✘❏❑]\ufe0f?)\s*|"  # a hyphen needs a blank after it: "-ing words"
    r"(?:--|=>|->|~|[\u2600-\u27bf\U0001f300-\U0001faff]\ufe0f?)\s+"
)
CHECKBOX = re.compile(r"\[[ xX✓✔]?\]\s+")
NUMBER = re.compile(
    r"(?:"
    r"[(\[]\d{1,4}[)\]][.:]?\s*(?=\S)|"  # (3) [3]
    r"\d{1,4}[)\]]\s*|"  # 3)
    r"#?\d{1,4}\.(?:\s+|\Z|(?=[^\W\d_]{2}|[\"“'‘«]))|\d{1,4}\.\)\s*|"  # 3. 3.) but not 3.5
    r"(?i:(?:topic|item|idea|subject|question|q)\s?#?\d{1,4}\s?[:.)–-]\s+|topics?:\s+)|"  # Topic 3: Q3.
    r"#\d{1,4}:?\s+|№\s?\d{1,4}[.:]?\s+|"
    r"\d{1,3}:\s+|"  # 3: but not 1745: a year
    r"\d{1,2}(?:\.\d{1,2}){1,2}[.)]\s+|"  # 1.2. but not 1.5 litres
    r"\d{1,3}\s[-–—]\s+(?!\d)|"  # 3 - but not 2 - 1
    r"\(?[a-z]\)\s+|\([A-Z]\)\s+|[A-Z]\)\s+|"  # a) (a) A)
    r"[a-z]\.\s+|"  # a. but not J. M. Barrie
    r"\(?(?:[ivx]{2,5}|[IVX]{2,5})[.)]\s+|"  # ii. IV)
    r"[\u2460-\u249b\u2776-\u2793]\ufe0f?\s*|"  # ① ⑴ ⒈ ❶
    r"\d{1,3}\ufe0f?\u20e3\s*|\U0001f51f\s*"  # digits on keys
    r")"
)
PAIRS = (
    '""', "''", "``", "“”", "„“", "„”", "””", "‘’", "‚‘", "‚’", "’’", "‛’", "«»", "»«",
    "‹›", "›‹", "「」", "『』", "＂＂", "＇＇", "〝〞",
)  # fmt: skip
"""Quotation marks before and after a text."""
EMPHASIS = ('\\"', '""', "''", "***", "**", "__", "~~", "*", "_")
"""Marks of Markdown on both sides of a text."""
LONE = '"“”„«»＂'
"""Double quotation marks: if only one is there, its partner was lost."""
LONGEST = 1_000
"""A longer text is no item of a list, and is left as it is."""
TRAILING = re.compile(r"[\s,;，；、]+\Z|(?<=[\"”»'’])\.\Z")


def clean_item(text: str) -> str:
    """Tidy `text` without a bullet, a checkbox, a number, the quotation marks around it, and a comma after it.

    Numbers that belong to the text stay.

    >>> [clean_item(text) for text in ('1. “haar rolling in”,', "- [ ] a hard frost;", "2 minute stovies")]
    ['haar rolling in', 'a hard frost', '2 minute stovies']
    """
    if len(text) > LONGEST:
        return text.strip()
    text = unquoted(without_mark(tidy(text).strip()))  # a number may be within the quotation marks
    return unquoted(without_mark(text))


def unquoted(text: str) -> str:
    """`text` without quotation marks or emphasis around all of it, and without a comma or semicolon at its end."""
    before = None if len(text) <= LONGEST else text
    while text != before:
        before, text = text, TRAILING.sub("", text.strip())
        text = _without_pair(text)
        if sum(char in LONE for char in text) == 1:
            text = text.strip(LONE)
    return text


def without_mark(text: str) -> str:
    """A stripped text without the bullet, the checkbox and the number before it."""
    for pattern in (BULLET, CHECKBOX, NUMBER):
        if (found := pattern.match(text)) and found.end() <= len(text):
            text = text[found.end() :]
    return text


def _without_pair(text: str) -> str:
    if text[:1].isalnum():  # so most texts are done
        return text
    for first, last in [*((mark, mark) for mark in EMPHASIS), *PAIRS]:
        inner = text[len(first) : len(text) - len(last)]
        alone = first not in inner and last not in inner  # "a" and "b" is no quotation
        if inner and text.startswith(first) and text.endswith(last) and (alone or (first in "'’" and _closed(inner))):
            return inner
    return text


def _closed(inner: str) -> bool:
    """Whether every apostrophe in `inner` is within a word, as in 'the cat's fur'."""
    return all(inner[at - 1 : at].isalnum() and inner[at + 1 : at + 2].isalnum() for at in _apostrophes(inner))


def _apostrophes(text: str) -> list[int]:
    return [at for at, char in enumerate(text) if char in "'’"]
