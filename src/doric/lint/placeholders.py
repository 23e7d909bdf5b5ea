"""Slots that nothing fills: a text with `{topic}` that the program uses as it is would show the braces."""

import re
from collections.abc import Iterator
from typing import Any

from doric.lint.source import Finding, Source
from doric.lint.values import TEXTS
from doric.lint.words import Sources

PLACEHOLDER = re.compile(r"\{+ *[A-Za-z_]\w* *\}+")
"""A slot, also one with spaces or with more than one brace. Neither JSON nor the counts of a pattern look like this."""
FILLED = {
    "prompts.toml": (r"(core|adv|safety)\.text", r"multi\.\w+\.frames(\.text)?"),
    "general.toml": ("answers",),
    "followups.toml": (r"(advice|ask)\.(says|doric)", r"adv\.says"),
    "asks/": ("instruction", r"pairs\.(asks|parts)"),
    **{name: tuple(map(re.escape, map(".".join, (keys for keys, _ in texts)))) for name, texts in TEXTS.items()},
}
"""File or folder -> the keys of its texts that have slots. Other checks know which slots these are."""


def check_placeholders(sources: Sources) -> Iterator[Finding]:
    """Slots in texts that are used as they are."""
    for source in sources.values():
        filled = [keys for name, every in FILLED.items() if source.name.startswith(name) for keys in every]
        for keys, line, text in _texts(source):
            if "{" in text and not any(re.fullmatch(one, ".".join(keys)) for one in filled):
                for found in PLACEHOLDER.findall(text):
                    yield source.error(line, text, f"unknown slot {found}: no slot is allowed here")


def _texts(source: Source) -> Iterator[tuple[tuple[str, ...], int, str]]:
    """(keys, line, text) of each text of a TOML file, a table or a JSON Lines file."""
    for keys, text in _leaves(source.toml):
        yield keys, source.line_of(text) if "{" in text else 0, text
    if not source.toml and not source.name.endswith(".txt"):
        for row in source.rows:
            for keys, text in _leaves(row.cells):
                yield keys, row.line, text


def _leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:  # noqa: ANN401 - any JSON
    """(keys, text) of each text in a value. The entries of a list have the keys of the list."""
    if isinstance(value, str):
        yield keys, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*keys, str(key)))
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, keys)
