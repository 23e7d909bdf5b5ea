"""Fills the page templates in `data/report/`. A page contains its style and script, and makes no network request."""

import functools

import jinja2
from markupsafe import Markup

from doric import data

PAGE, CARD = b'<meta name="generator" content="doric">', b"- north-east-scots"
"""Text near the top of every page and dataset card of this project. Files without it are not overwritten."""


@functools.cache
def environment() -> jinja2.Environment:
    """The templates. Values are escaped in HTML, and a missing value is an error."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: data.read_text(f"report/{name}")),
        autoescape=lambda name: bool(name) and name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    made.filters["cell"] = cell
    return made


def cell(text: str) -> str:
    """A text for a cell of a Markdown table: on one line, with bars and backslashes escaped.

    >>> print(cell("a | b\\nc"))
    a \\| b c
    """
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")


def page(template: str, **values: object) -> str:
    """The template `template` filled with `values`."""
    style, script = (Markup(data.read_text(f"report/{file}")) for file in ("style.css", "script.js"))
    return environment().get_template(template).render(style=style, script=script, **values)
