"""What native speakers have checked, as every page and card says it. `review_doric.py apply` writes the file."""

import json
from collections.abc import Mapping
from typing import Any

from doric import data

FILE = "review/reviewed.json"
NOBODY = "No native speaker has checked this Doric."


def checked_sentence() -> str:
    """Who has checked this Doric, how much of it, and how far they agree."""
    known = FILE in data.names("review", ".json")
    return sentence(json.loads(data.read_text(FILE))) if known else NOBODY


def sentence(found: Mapping[str, Any]) -> str:
    """The same of the content of the file."""
    readers = found["readers"].values()
    answers, regions = sum(one["answers"] for one in readers), sorted({one["region"] for one in readers})
    who = "1 native speaker has" if len(readers) == 1 else f"{len(readers)} native speakers have"
    agree = found.get("alpha")
    how = f"; they agree with an alpha of {agree:.2f}" if agree is not None else ""
    return f"{who} checked a part of this Doric ({', '.join(regions)}; {answers:,} answers{how})."
