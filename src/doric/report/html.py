"""Fills the page templates in `data/report/`. A page contains its style and script, and makes no network request."""

import functools
import hashlib
import traceback
from pathlib import Path

import jinja2
from markupsafe import Markup

from doric import data
from doric.core.backups import Backups
from doric.core.files import atomic_write

PAGE, CARD = b'<meta name="generator" content="doric">', b"- north-east-scots"
"""Text near the top of every page and dataset card of this project. Files without it are not overwritten."""


SEAL = b"<!-- the content above has the hash %s -->\n"
"""The last line of a page. If the hash is another one, somebody has edited the page."""


@functools.cache
def environment() -> jinja2.Environment:
    """The templates. Values are escaped in HTML, and a missing value is an error."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (data.read_text(f"report/{name}"), _file(name), None)),
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
    return render(template, style=style, script=script, **values)


def render(template: str, **values: object) -> str:
    """The template `template` filled with `values` alone. Raises `DataError` if there is a mistake in it."""
    try:
        return environment().get_template(template).render(**values)
    except jinja2.TemplateError as error:
        raise data.DataError(f"{_place(error, template)}: mistake in the template: {error.message}") from error


def _place(error: jinja2.TemplateError, template: str) -> str:
    """The file and the line of a mistake in a template."""
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"{error.filename}:{error.lineno}"
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename.startswith(_file(""))]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else _file(template)


def _file(template: str) -> str:
    return data.shown(f"report/{template}")


def write_page(path: Path, text: str) -> None:
    """Replace a page or a card in one step. If somebody has edited the old one, a copy of it is kept (`Backups`)."""
    if path.is_file() and not _is_sealed(path.read_bytes()):
        Backups(path).keep(path)
    content = text.encode()
    atomic_write(path, content + _seal(content))


def _seal(content: bytes) -> bytes:
    return SEAL % hashlib.sha256(content).hexdigest()[:16].encode()


def _is_sealed(page: bytes) -> bool:
    length = len(_seal(b""))
    return page[-length:] == _seal(page[:-length])
