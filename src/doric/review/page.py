"""The review page, one HTML file without any label, and the key that says what each of its texts is."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from doric import data
from doric.core.files import encode_json
from doric.core.review_files import VERSION, reader_choices
from doric.report.html import render
from doric.review.answers import KEY_FORMAT
from doric.review.items import Item, Part

ID_DIGITS = 16
ESCAPED = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})
"""In JSON inside a script element: no text can end the element, or a line of a script."""


def page_id(items: Sequence[Item]) -> str:
    """16 hexadecimal digits that depend on everything that readers see."""
    content = json.dumps([item.for_page() for item in items], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:ID_DIGITS]


def embedded_json(value: Any) -> Markup:  # noqa: ANN401 - any JSON
    """The JSON of a value, for a script element.

    >>> str(embedded_json({"text": "</script>"}))
    '{"text":"\\\\u003c/script\\\\u003e"}'
    """
    return Markup(json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(ESCAPED))


def review_page(items: Sequence[Item], parts: Sequence[Part], sender: str = "") -> str:
    """The HTML of the page. `sender` is to whom readers send their answers, in words for them."""
    asked = {item.part for item in items}
    listed = [
        {"number": part.number, "title": part.title, "about": part.about, "minutes": part.minutes}
        for part in parts
        if part.number in asked
    ]
    content = {
        "page": page_id(items),
        "sender": sender,
        "parts": listed,
        "items": [item.for_page() for item in items],
        "choices": _choices(),
    }
    style, store, script = (Markup(data.read_text(f"report/review{name}")) for name in (".css", "_store.js", ".js"))
    return render("review.html", style=style, script=store + script, content=embedded_json(content))


def _choices() -> dict[str, tuple[str, ...]]:
    """The menus in which readers describe themselves."""
    found = reader_choices()
    return {"regions": found.regions, "ages": found.ages, "learnt": found.learnt}


def review_key(items: Sequence[Item]) -> bytes:
    """The JSON file with the origin of each item. Readers never get it."""
    key = {"kind": KEY_FORMAT, "format": KEY_FORMAT, "version": VERSION, "page": page_id(items)}
    return encode_json({**key, "items": {item.id: item.for_key() for item in items}})
