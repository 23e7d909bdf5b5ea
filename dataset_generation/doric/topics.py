"""Topic lists: every accepted shape in, one list of `Topic` out.

JSON: `["topic", …]`, `[{"topic": …, "group": …}, …]`, `{group: [topic, …]}` or `{"groups": {group: [topic, …]}}`.
A file that is not JSON by its name is plain text, one topic a line. Knows nothing of what a topic is about.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from doric.errors import InputError
from doric.ground import document
from doric.ground.files import explain
from doric.text import fold

UNGROUPED = "general"
SHAPES = 'Give ["topic", …], [{"topic": …, "group": …}, …], {group: ["topic", …]} or {"groups": {group: ["topic", …]}}.'


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
    text = _read(path)
    as_json = Path(path).suffix.lower() == ".json" if as_json is None else as_json
    found = _from_json(text, path) if as_json else _from_lines(text)
    if not (topics := each_once(found)):
        raise InputError("there is no topic in it", file=path, hint="Put at least one topic in the file.")
    return topics


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


def _read(path: Path | str) -> str:
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise explain(error, path, "read") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError("not UTF-8 text", file=path, line=line, hint="Save the file as UTF-8.") from error
    if not text.strip():
        raise InputError("the file is empty", file=path, hint="Put at least one topic in it.")
    return text


def _from_lines(text: str) -> Iterator[Topic]:
    for line in text.splitlines():
        if stripped := " ".join(line.split()):
            yield Topic(stripped)


def _from_json(text: str, path: Path | str) -> Iterator[Topic]:
    hint = "Mend it there, or name a plain-text list, *.txt (the generator takes it as --topics)."
    value = document.read(text, path, hint=hint)
    if isinstance(value, list):
        yield from _from_list(value, path)
    elif isinstance(value, dict):
        yield from _from_groups(value, path)
    else:
        _wrong(path, f"{_kind(value)} where a list or an object of groups is wanted")


def _from_list(items: list[Any], path: Path | str) -> Iterator[Topic]:
    for at, item in enumerate(items, 1):
        if isinstance(item, dict):
            if "topic" not in item:
                _wrong(path, f"item {at} has no key 'topic'")
            group = _text(item.get("group", UNGROUPED), f"'group' of item {at}", path)
            yield Topic(_text(item["topic"], f"'topic' of item {at}", path), group)
        else:
            yield Topic(_text(item, f"item {at}", path))


def _from_groups(value: dict[str, Any], path: Path | str) -> Iterator[Topic]:
    groups = value.get("groups", value)
    if not isinstance(groups, dict):
        _wrong(path, f"the key 'groups' holds {_kind(groups)}, not an object of lists")
    for group, items in groups.items():
        if not isinstance(items, list):
            _wrong(path, f"the group '{group}' holds {_kind(items)}, not a list of topics")
        name = _text(group, "a group's name", path)
        for at, item in enumerate(items, 1):
            yield Topic(_text(item, f"topic {at} of group '{group}'", path), name)


def _text(value: object, what: str, path: Path | str) -> str:
    if not isinstance(value, str):
        _wrong(path, f"{what} is {_kind(value)}, not a string")
    if not (stripped := " ".join(value.split())):
        _wrong(path, f"{what} is empty")
    if any("\ud800" <= char <= "\udfff" for char in stripped):
        _wrong(path, f"{what} {document.HALF}")
    return stripped


def _kind(value: object) -> str:
    kinds = ((dict, "an object"), (list, "a list"), (str, "a string"), (bool, "a boolean"), (int | float, "a number"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _wrong(path: Path | str, what: str) -> NoReturn:
    raise InputError(what, file=path, hint=SHAPES)
