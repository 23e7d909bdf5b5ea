"""Values without which a file cannot be used: classes, weights, numbers, names of sets, slots, regular expressions."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from doric.lint.slots import SLOT, brace_too_many
from doric.lint.source import Finding, Source

CLASSES = ("context", "na", "ne", "phrase", "scots", "shared")
STRENGTHS = ("strong", "weak")
NEIGHBOURS = ("consonant", "participle")
"""Values of `next` in collisions.toml that name a kind of word instead of a set."""
PATTERN_TABLES = ("markup", "meta", "refusal")
"""The tables of gates.toml whose lists are regular expressions."""

SERVER_PATTERNS = ("daily_quota", "per_minute", "no_system_role")
"""The lists of server_errors.toml that are regular expressions."""

NUMBERS = (*range(1, 21), *range(30, 100, 10), 100, 1000)
"""The numbers whose words make all others."""
JUDGE_SLOTS = ("question", "first", "second")
SENSE_SLOTS = ("task", "question", "answer")
TEXTS: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {
    "instructions.toml": (
        (("system",), ("least", "most")),
        (("again", "text"), ("reason",)),
        (("again", "nothing"), ("reason",)),
        *((("bucket", kind), ()) for kind in ("core", "adv", "safety", "multi")),
    ),
    "judge.toml": ((("question",), JUDGE_SLOTS), (("fence",), ("code",))),
    "sources/questions.toml": ((("system",), ("language", "least", "most")), (("again",), ("reason",))),
    "sources/rewrite.toml": ((("beside",), ("english",)),),
    "sense.toml": (
        (("texts", "question"), SENSE_SLOTS),
        (("texts", "fence"), ("code",)),
        (("tasks", "ask"), ("about",)),
    ),
}
"""File -> (keys of a text, the slots that it must have; it may have no others)."""


def check_values(source: Source) -> Iterator[Finding]:
    """The wrong values of one file, whose form and shape must be right."""
    if check := CHECKS.get(source.name):
        yield from check(source)


def _classes(source: Source) -> Iterator[Finding]:
    return _choices(source, "class", CLASSES)


def _strengths(source: Source) -> Iterator[Finding]:
    return _choices(source, "strength", STRENGTHS)


def _choices(source: Source, column: str, allowed: Iterable[str]) -> Iterator[Finding]:
    for row in source.rows:
        form, value = next(iter(row.cells.values())), row.cells[column]
        if value not in allowed:
            yield source.error(row.line, form, f"unknown {column} '{value}': write one of {', '.join(allowed)}")


def _weights(source: Source) -> Iterator[Finding]:
    for row in source.rows:
        if not _is_weight(weight := row.cells["weight"]):
            reason = f"the weight is '{weight}': write a number above 0 and up to 1"
            yield source.error(row.line, row.cells["english"], reason)


def _is_weight(cell: str) -> bool:
    try:
        return 0 < float(cell) <= 1
    except ValueError:
        return False


def _numbers(source: Source) -> Iterator[Finding]:
    found: set[int] = set()
    for row in source.rows:
        cell = row.cells["number"]
        number = int(cell) if cell.isascii() and cell.isdigit() else 0
        if number not in NUMBERS:
            reason = f"the number is '{cell}': write 1 to 20, a ten up to 90, 100 or 1000 in digits"
            yield source.error(row.line, cell, reason)
        elif number in found:
            yield source.error(row.line, cell, f"{number} is there twice: remove one of them")
        found.add(number)
    if missing := [str(number) for number in NUMBERS if number not in found]:
        last = source.rows[-1].line if source.rows else 1
        yield source.error(last, "", f"there is no row for {', '.join(missing)}: add it, with a tab before the Doric")


def _ids(source: Source) -> Iterator[Finding]:
    known: dict[str, int] = {}
    for row in source.rows:
        name = row.cells["id"]
        if name in known:
            yield source.error(row.line, name, f"duplicate id, first used on line {known[name]}: change one")
        known.setdefault(name, row.line)


def _slots(source: Source) -> Iterator[Finding]:
    """Slots that are missing or unknown in the texts for models."""
    for keys, needed in TEXTS[source.name]:
        text = source.toml
        for key in keys:
            text = text[key]
        found, known = set(SLOT.findall(str(text))), [f"{{{slot}}}" for slot in needed]
        line = source.key_line(keys[-1], source.key_line(keys[0]) - 1)
        for slot in sorted(set(known) - found):
            yield source.error(line, keys[-1], f"{slot} is missing: the program puts a value there")
        for slot in sorted(found - set(known)):
            instead = f"write {' or '.join(known)}" if known else "no slot is allowed here"
            reason = f"unknown slot {slot}: {instead}" if len(slot) > 1 else brace_too_many(slot)
            yield source.error(source.line_with(slot, line - 1) or line, keys[-1], reason)


def _judge(source: Source) -> Iterator[Finding]:
    yield from _slots(source)
    known: dict[str, str] = {}
    for label, words in source.toml["labels"].items():
        for word in words:
            if word != word.lower():
                yield source.error(source.line_of(word), word, f"write it in lower case: {word.lower()}")
            elif known.get(word, label) != label:
                reason = f"'{word}' also means {known[word]}: remove it from one of the two lists"
                yield source.error(source.key_line(label, source.key_line("labels")), word, reason)
            known[word] = label


def _sets(source: Source) -> Iterator[Finding]:
    sets = source.toml["sets"]
    for rule in source.toml["rule"]:
        for key, value in named_sets(rule):
            if value not in sets and not (key == "next" and value in NEIGHBOURS):
                line = source.line_with(f'"{value}"', source.line_of(rule["forms"]) - 1)
                yield source.error(line, value, f"there is no set '{value}': write one of {', '.join(sets)}")


def named_sets(rule: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, name of a set) for each set that a rule of collisions.toml names."""
    for table in (rule, *rule["when"]):
        for key in ("before", "prev", "next", "unless_prev", "unless_next"):
            if isinstance(value := table.get(key), str):
                yield key, value


def _gate_patterns(source: Source) -> Iterator[Finding]:
    lists = (lines for table in PATTERN_TABLES for lines in source.toml[table].values() if isinstance(lines, list))
    for pattern in itertools.chain.from_iterable(lists):
        yield from _pattern(source, pattern)


def _topic_patterns(source: Source) -> Iterator[Finding]:
    for pattern in source.toml["patterns"].values():
        yield from _pattern(source, pattern)


def _damage_patterns(source: Source) -> Iterator[Finding]:
    for pattern in itertools.chain.from_iterable(source.toml["remains"].values()):
        yield from _pattern(source, pattern)


def _server_errors(source: Source) -> Iterator[Finding]:
    lists = [source.toml[key] for key in SERVER_PATTERNS]
    for pattern in itertools.chain(*lists, *source.toml["long_limits"].values()):
        yield from _pattern(source, pattern)
    others = (*SERVER_PATTERNS, "long_limits", "extra_body", "other_names")
    words = [value for key, value in source.toml.items() if key not in others]
    for word in itertools.chain(*words, *source.toml["other_names"].values()):
        if word != word.lower():
            yield source.error(
                source.line_of(word), word, "messages are compared in lower case: write it in lower case"
            )


def _questions(source: Source) -> Iterator[Finding]:
    yield from _slots(source)
    for pattern in source.toml["meta"]["patterns"]:
        yield from _pattern(source, pattern)


def _pattern(source: Source, pattern: str) -> Iterator[Finding]:
    line = source.line_of(pattern)
    try:
        found = re.compile(pattern, re.MULTILINE).search("")
    except re.error as error:
        yield source.error(line, pattern[:60], f"not a valid regular expression: {error}")
        return
    if found and not pattern.startswith("^[^"):
        reason = "this regular expression matches every text: it would reject every answer"
        yield source.error(line, pattern[:60], reason)


CHECKS: dict[str, Callable[[Source], Iterator[Finding]]] = {
    "asks/numbers.tsv": _numbers,
    "heldout.jsonl": _ids,
    "instructions.toml": _slots,
    "judge.toml": _judge,
    "sense.toml": _slots,
    "sources/questions.toml": _questions,
    "sources/rewrite.toml": _slots,
    "lexicon.tsv": _classes,
    "central.tsv": _strengths,
    "leakage.tsv": _weights,
    "collisions.toml": _sets,
    "gates.toml": _gate_patterns,
    "topic_rules.toml": _topic_patterns,
    "characters.toml": _damage_patterns,
    "server_errors.toml": _server_errors,
}
"""File -> the check of its values."""
