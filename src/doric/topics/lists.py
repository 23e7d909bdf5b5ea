"""Topic lists: every accepted shape in, one list of `Topic` out.

JSON: `["topic", …]`, `[{"topic": …, "group": …}, …]`, `{group: [topic, …]}` or `{"groups": {group: [topic, …]}}`.
A file that is not JSON by its name is plain text, one topic a line, with or without a bullet ("- "). Knows nothing of
what a topic is about.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from doric.core.errors import InputError, os_error
from doric.core.files import load_document
from doric.core.text import fold, printable

UNGROUPED = "general"
SHAPES = 'Give ["topic", …], [{"topic": …, "group": …}, …], {group: ["topic", …]} or {"groups": {group: ["topic", …]}}.'

JSON_LINES = (".jsonl", ".ndjson")
MARK = re.compile(r"^[-*](?: |$)")
MARKUP = ("#", "|", ">", "```", "<", "{", "[")
"""What a line of a page, a table or a program begins with, and a topic does not."""
LONGEST_LINE = 200

type Share = tuple[str, list[str]]
"""A group and topics of it, as they stand in a file."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What a chat is about, in plain English, and the group it belongs to."""

    text: str
    group: str = UNGROUPED


def read_topics(path: Path | str, *, as_json: bool | None = None) -> list[Topic]:
    """The topics of a file, in its order, each once; a second copy of a topic is left out.

    `as_json` says whether it is JSON, where its name is not to be trusted. Raises `InputError` that names the file, the
    key or line at fault, and the remedy.
    """
    if not (topics := each_once(_flat(_found(path, as_json)))):
        raise InputError("there is no topic in it", file=path, hint="Put at least one topic in the file.")
    return topics


def read_groups(path: Path | str) -> dict[str, list[str]]:
    """Group -> its topics, both in the order of the file; a topic stands in the first of its groups alone.

    A group without topics is there too. Raises `InputError` as `read_topics` does.
    """
    if not (shares := _found(path)):
        raise InputError("there is no topic and no group in it", file=path, hint="Put at least one topic in the file.")
    return {name: [] for name, _ in shares} | grouped(each_once(_flat(shares)))


def each_once(topics: Iterable[Topic]) -> list[Topic]:
    """The first of each topic, in order; case and white space do not tell two topics apart."""
    firsts: dict[str, Topic] = {}
    for topic in topics:
        firsts.setdefault(fold(topic.text), topic)
    return list(firsts.values())


def grouped(topics: list[Topic]) -> dict[str, list[str]]:
    """Group -> its topics, both in order of first appearance."""
    groups: dict[str, list[str]] = {}
    for topic in topics:
        groups.setdefault(topic.group, []).append(topic.text)
    return groups


def _found(path: Path | str, as_json: bool | None = None) -> list[Share]:
    if as_json is None and Path(path).suffix.lower() in JSON_LINES:
        raise InputError("a file of JSON lines is no topic list", file=path, hint=f"Name it *.json. {SHAPES}")
    text = _read(path)
    as_json = Path(path).suffix.lower() == ".json" if as_json is None else as_json
    return list(_from_json(text, path) if as_json else _from_lines(text, path))


def _read(path: Path | str) -> str:
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise os_error(error, path, "read") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError("not UTF-8 text", file=path, line=line, hint="Save the file as UTF-8.") from error
    if not text.strip():
        raise InputError("the file is empty", file=path, hint="Put at least one topic in it.")
    return text


def _from_lines(text: str, path: Path | str) -> Iterator[Share]:
    for number, line in enumerate(text.splitlines(), 1):
        stripped = " ".join(line.split())
        bare = MARK.sub("", stripped)
        if stripped and (bare.startswith(MARKUP) or len(bare) > LONGEST_LINE or not any(map(str.isalnum, bare))):
            what = f"a line of {len(bare):,} characters" if len(bare) > LONGEST_LINE else f"{stripped[:40]!r}"
            hint = "Give one topic a line, in plain words."
            raise InputError(f"{what} is no topic", file=path, line=number, hint=hint)
        if stripped:
            yield UNGROUPED, [bare]


def _from_json(text: str, path: Path | str) -> Iterator[Share]:
    hint = "Mend it there, or name a plain-text list, *.txt (the generator takes it as --topics)."
    value = load_document(text, path, hint=hint)
    if isinstance(value, list):
        yield from _from_list(value, path)
    elif isinstance(value, dict):
        yield from _from_groups(value, path)
    else:
        _wrong(path, f"{_kind(value)} where a list or an object of groups is wanted")


def _from_list(items: list[Any], path: Path | str) -> Iterator[Share]:
    for at, item in enumerate(items, 1):
        if isinstance(item, dict):
            if "topic" not in item:
                _wrong(path, f"item {at} has no key 'topic'")
            group = _text(item.get("group", UNGROUPED), f"'group' of item {at}", path)
            yield group, [_text(item["topic"], f"'topic' of item {at}", path)]
        else:
            yield UNGROUPED, [_text(item, f"item {at}", path)]


def _from_groups(value: dict[str, Any], path: Path | str) -> Iterator[Share]:
    groups = value.get("groups", value)
    if not isinstance(groups, dict):
        _wrong(path, f"the key 'groups' holds {_kind(groups)}, not an object of lists")
    for group, items in groups.items():
        if not isinstance(items, list):
            _wrong(path, f"the group '{group}' holds {_kind(items)}, not a list of topics")
        name = _text(group, "a group's name", path)
        yield name, [_text(item, f"topic {at} of group '{group}'", path) for at, item in enumerate(items, 1)]


def _flat(shares: Iterable[Share]) -> Iterator[Topic]:
    return (Topic(text, group) for group, texts in shares for text in texts)


def _text(value: object, what: str, path: Path | str) -> str:
    if not isinstance(value, str):
        _wrong(path, f"{what} is {_kind(value)}, not a string")
    if not (stripped := " ".join(value.split())):
        _wrong(path, f"{what} is empty")
    if any("\ud800" <= char <= "\udfff" for char in stripped):
        _wrong(path, f"{what} contains half a character (a lone surrogate)")
    return stripped


def _kind(value: object) -> str:
    kinds = ((dict, "an object"), (list, "a list"), (str, "a string"), (bool, "a boolean"), (int | float, "a number"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _wrong(path: Path | str, what: str) -> NoReturn:
    raise InputError(printable(what), file=path, hint=SHAPES)
