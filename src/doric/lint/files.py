"""Which files of the language data can be used: their form, keys and values. `check` has the rules about their content.

Every command that reads the data starts with this module, so it imports none of the rules.
"""

import functools

from doric import data
from doric.lint.form import check_form, file_names, load
from doric.lint.shape import check_shape
from doric.lint.source import Finding, Source
from doric.lint.values import check_values


def refuse_broken_data() -> None:
    """Raise `DataError` if a file of the language data cannot be used, with the first problem.

    Commands call this before they write or pay for anything. It is what check_doric.py finds in each file by itself.
    """
    if problem := _first_problem(str(data.FOLDER)):
        raise data.DataError(problem)


@functools.cache
def _first_problem(folder: str) -> str:
    """The first problem of the files in `folder`, which is the folder of the data, in one line; "" if there is none."""
    if not (found := read_files()[1]):
        return ""
    first, more = found[0], len(found) - 1
    place = f"{data.shown(first.file)}:{first.line}" if first.line else data.shown(first.file)
    return f"{place}: {first.reason}" + (f" (and {more:,} more)" if more else "")


def read_files() -> tuple[dict[str, Source], list[Finding]]:
    """The files that can be used, by name, and the errors of the others."""
    sources: dict[str, Source] = {}
    found: list[Finding] = []
    for name in file_names():
        source = load(name)
        if problems := check_file(source):
            found += problems
        elif isinstance(source, Source):
            sources[name] = source
    return sources, found


def check_file(source: Source | Finding) -> list[Finding]:
    """The problems that make one file unusable. If its form is wrong, its keys and values are not checked."""
    if isinstance(source, Finding):
        return [source]
    return list(check_form(source)) or list(check_shape(source)) or list(check_values(source))
