"""The gates of the later answers of a chat: they stay in Doric, and they repeat nothing."""

from collections.abc import Sequence

from doric.core.text import fold, sentences
from doric.quality.allowances import allowances
from doric.quality.answer import Answer, Rejection, threshold

SHORTEST_REPEAT = 4
"""A sentence with fewer words, such as "Nae bother.", may occur again in a chat."""


def check_later(answer: Answer, earlier: Sequence[Answer], *, ask: str = "") -> Rejection | None:
    """The first rejection of an answer because of the `earlier` answers of its chat, oldest first, or None.

    An answer to an `ask` that allows English in it, such as a translation, is not compared with the first answer.
    """
    if not earlier:
        return None
    return repeats_chat(answer, earlier) or (None if allowances(ask) else drifts(answer, earlier[0]))


def repeats_chat(answer: Answer, earlier: Sequence[Answer]) -> Rejection | None:
    """Rejects a sentence that an earlier answer of the chat has."""
    said = {fold(line) for one in earlier for line in sentences(one.text)}
    for line in sentences(answer.text):
        if fold(line) in said and len(line.split()) >= SHORTEST_REPEAT:
            return Rejection("repeats_chat", f"it says again what was said before ('{line[:40]}'): say something new")
    return None


def drifts(answer: Answer, first: Answer) -> Rejection | None:
    """Rejects a later answer that has left Doric step by step: it has far fewer Scots words than the first answer.

    Short answers are not compared, because their shares say little.
    """
    if min(len(answer.words), len(first.words)) < threshold("drift_words"):
        return None
    now, then = answer.scores.substrate, first.scores.substrate
    if now >= threshold("drift_substrate") or now >= then * threshold("drift"):
        return None
    reason = f"only {now:.0%} of the words are Scots, after {then:.0%} in the first answer: keep to Doric as thick"
    return Rejection("drifts", reason, now / then)
