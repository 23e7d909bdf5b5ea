"""Slots in texts: `{topic}` and the like, which the program replaces by a value."""

import difflib
import re
from collections.abc import Collection, Iterator

from doric.lint.source import Finding, Source

SLOT = re.compile(r"\{[^{}]*\}|[{}]")
"""A slot, or a brace that belongs to none."""


def slots(source: Source, line: int, text: str, known: Collection[str]) -> Iterator[Finding]:
    """Words in braces that are not one of the `known` slots, and braces without a partner or beside another one."""
    for found in SLOT.findall(text):
        if found[1:-1] in known and found != "{":
            continue
        near = difflib.get_close_matches(found[1:-1], known, 1) or sorted(known)[:1]
        instead = f"write {{{near[0]}}}" if near else "no slot is allowed here"
        reason = f"unknown slot {found}: {instead}" if len(found) > 1 else brace_too_many(found)
        yield source.error(line, text, reason)


def brace_too_many(brace: str) -> str:
    """The reason for a brace without a partner or beside another one."""
    return f"a brace too many, {brace}: remove it, a slot has one brace on each side"
