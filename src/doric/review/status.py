"""What is written about the readers of applied reviews: counts, and with their leave the region, never a name."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from doric.core.reviews import FILE, KINDS, NOBODY, reviewed, sentence
from doric.review.agreement import alpha, ratings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from doric.review.answers import Review

README_SENTENCE = re.compile(
    rf"\*\*(?:{re.escape(NOBODY)}|\d+ (?:native )?speakers?\b[^*]* checked a part of [^*]*)\*\*"
)


def changed_files(reviews: Sequence[Review], readme: Path) -> dict[str, str]:
    """Name -> new content of the file of readers and of README, if these reviews change them. Raises `DataError`."""
    old = reviewed()
    found = with_reviews(old, reviews)
    files = {FILE: json.dumps(found, ensure_ascii=False, indent=2) + "\n"} if found != old and found["readers"] else {}
    if readme.is_file():
        text = readme.read_text("utf-8")
        said = README_SENTENCE.sub(lambda _: f"**{sentence(found)}**", text, count=1)
        files |= {str(readme): said} if said != text else {}
    return files


def with_reviews(old: Mapping[str, Any], reviews: Sequence[Review]) -> dict[str, Any]:
    """The content of the file of readers after these reviews. Of two answer files of one page the newer one counts."""
    before: dict[str, Any] = old.get("readers", {})
    readers = dict(before)
    for review in reviews:
        if review.answers:
            readers[review.by] = _with_page(readers.get(review.by, {}), review)
    kept, new = old.get("agreement", {}), _agreement(reviews)
    return {"readers": dict(sorted(readers.items())), "agreement": kept | new if readers != before else new | kept}


def _with_page(old: Mapping[str, Any], review: Review) -> dict[str, Any]:
    pages: dict[str, Any] = old.get("pages", {})
    if pages.get(review.page, {}).get("saved", "") > review.saved:
        return dict(old)
    answers = Counter(answer.kind for answer in review.answers)
    counts = {kind: answers[kind] for kind in KINDS if answers[kind]}
    return {
        "region": review.region if review.may_publish else "",
        "native": review.native if review.may_publish else None,
        "pages": dict(sorted((pages | {review.page: {"saved": review.saved, "answers": counts}}).items())),
    }


def _agreement(reviews: Sequence[Review]) -> dict[str, Any]:
    """Kind -> alpha with its interval, of the kinds of which two readers answered enough.

    If everybody gave one and the same answer to everything, alpha is not defined.
    """
    found: dict[str, Any] = {}
    for kind in KINDS if len(reviews) > 1 else ():
        items = ratings(reviews, kind)
        varied = len({said for one in items.values() for said in one.values()}) > 1
        if varied and (one := alpha(items, kind)):
            numbers = {"alpha": one.value, "low": one.low, "high": one.high}
            found[kind] = {"items": one.items, **{name: round(value, 4) for name, value in numbers.items()}}
    return found
