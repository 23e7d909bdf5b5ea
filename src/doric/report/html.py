"""A template and what it shows to one page that stands alone: style and script inside, no outside request.

Knows nothing of datasets and scoreboards. Templates lie in `data/report/`.
"""

import functools

import jinja2
from markupsafe import Markup

from doric import data

PAGE, CARD = b'<meta name="generator" content="doric">', b"- north-east-scots"
"""What a page and a card of ours are known by, near their heads."""


@functools.cache
def environment() -> jinja2.Environment:
    """The templates; what goes into HTML is escaped, and a name that is not given is an error."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: data.read_text(f"report/{name}")),
        autoescape=lambda name: bool(name) and name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    made.filters["cell"] = cell
    return made


def cell(text: str) -> str:
    """A text as it may stand in a table of Markdown: on one line, its bars and backslashes escaped.

    >>> print(cell("a | b\\nc"))
    a \\| b c
    """
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")


def page(template: str, **shown: object) -> str:
    """The template `template` filled with `shown`."""
    looks = {
        name: Markup(data.read_text(f"report/{file}"))
        for name, file in (("style", "style.css"), ("script", "script.js"))
    }
    return environment().get_template(template).render(**looks, **shown)
