"""What speakers have checked, as README and each page and card say it. `review_doric.py apply` writes the file."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from doric import data
from doric.core.conversations import stable_id
from doric.core.text import listed_counts

FILE = "review/reviewed.json"
NOBODY = "No native speaker has checked this Doric."
KINDS = {"choice": "choices", "word": "words", "line": "lines", "row": "answers", "pair": "pairs"}
"""Kind of item of the review page -> what it is called."""
UNREADABLE = "Restore it from Git, or delete it and apply the answers again."


def pseudonym(reader: str) -> str:
    """A name for a reader's random id that is the same in all rows and files, and does not give the id away."""
    return f"reader-{stable_id('reader', reader)[:8]}"


def checked_sentence() -> str:
    """Who has checked this Doric, how much of it, and how far they agree. Raises `DataError`."""
    if not (found := reviewed()):
        return NOBODY
    try:
        return sentence(found)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _unreadable("it is not what `review_doric.py apply` writes") from error


def reviewed() -> dict[str, Any]:
    """The readers and their agreement; empty if no review has been applied. Raises `DataError`."""
    if FILE not in data.names("review", ".json"):
        return {}
    try:
        found = json.loads(data.read_text(FILE))
    except ValueError as error:
        raise _unreadable(f"it is not JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("readers"), dict):
        raise _unreadable("it has no readers")
    return found


def sentence(found: Mapping[str, Any]) -> str:
    """The sentence for the content of the file.

    >>> page = {"saved": "2026-11-29", "answers": {"word": 40, "line": 2}}
    >>> reader = {"region": "Buchan", "native": True, "pages": {"p": page}}
    >>> sentence({"readers": {"reader-1": reader}, "agreement": {}})
    '1 native speaker has checked a part of this Doric (Buchan 1) in 40 answers on words and 2 on lines.'
    """
    readers = list(found["readers"].values())
    if not readers:
        return NOBODY
    answers = Counter[str]()
    for reader in readers:
        for page in reader["pages"].values():
            answers.update({str(kind): int(count) for kind, count in page["answers"].items()})
    regions = Counter(reader["region"] for reader in readers if reader["region"])
    where = f" ({listed_counts(regions)})" if regions else ""
    amounts = _amounts({name: answers[kind] for kind, name in KINDS.items() if answers[kind]})
    return f"{_who(readers)} checked a part of this Doric{where} in {amounts}{_agreement(found['agreement'])}."


def _who(readers: list[Mapping[str, Any]]) -> str:
    count, native = len(readers), sum(reader["native"] is True for reader in readers)
    noun, verb = ("speaker", "has") if count == 1 else ("speakers", "have")
    if native == count:
        return f"{count} native {noun} {verb}"
    known = "at least " if any(reader["native"] is None for reader in readers) else ""
    return f"{count} {noun}, {known}{native} of them native, {verb}" if native else f"{count} {noun} {verb}"


def _agreement(found: Mapping[str, Mapping[str, float]]) -> str:
    each = (
        f"{KINDS[kind]} {one['alpha']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"
        for kind, one in sorted(found.items(), key=lambda item: list(KINDS).index(item[0]))
    )
    return f"; Krippendorff's alpha {', '.join(each)}" if found else ""


def _amounts(answers: Mapping[str, int]) -> str:
    (name, count), *others = answers.items()
    *most, last = [
        f"{count:,} {'answer' if count == 1 else 'answers'} on {name}",
        *(f"{more:,} on {what}" for what, more in others),
    ]
    return f"{', '.join(most)} and {last}" if most else last


def _unreadable(reason: str) -> data.DataError:
    return data.DataError(f"{data.shown(FILE)}: {reason}. {UNREADABLE}")
