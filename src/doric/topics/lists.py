"""Topic lists: reading all accepted formats, and adding topics to a file without changing the old ones.

JSON: `["topic", …]`, `[{"topic": …, "group": …}, …]`, `{group: [topic, …]}` or `{"groups": {group: [topic, …]}}`.
CSV and TSV (*.csv, *.tsv): a header with the column topic, and perhaps group; commas, semicolons or tabs.
A file with another extension is plain text: one topic per line. Bullets, numbers and quotation marks around a topic are
removed in every format. Lines that begin with # or // are comments.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from doric.core.backups import Backups, numbered
from doric.core.characters import find_flaw, tidy
from doric.core.errors import InputError, PlanError, SettingsError, os_error
from doric.core.exact_json import dump_document, load_document
from doric.core.files import atomic_write, check_writable, locked, read_text
from doric.core.regular_files import read_regular
from doric.core.text import fold, printable
from doric.topics.items import clean_item
from doric.topics.tables import has_columns, is_header, read_table

UNGROUPED = "general"
FORMATS = 'Use ["topic", …], [{"topic": …, "group": …}, …], {group: ["topic", …]} or {"groups": {group: ["topic", …]}}.'
JSON_LINES = (".jsonl", ".ndjson")
COMMENT = re.compile(r"#(?![#\d])|//|#+$")
"""Comments in a plain-text list. Two hashes are a heading of Markdown, so the file is no list."""
TABLES = (".csv", ".tsv", ".tab")
MARKUP = ("#", "|", ">", "```", "<", "{", "[")
"""First characters of a line of Markdown, HTML or JSON; no topic begins with them."""
MAX_LINE = 200
"""A line with more characters is not a topic."""

type Groups = Mapping[str, list[str]]
"""Group -> its topics."""


@dataclass(frozen=True, slots=True)
class Topic:
    """The subject of a conversation, in plain English, and the group of the topic."""

    text: str
    group: str = UNGROUPED


def read_topics(path: Path | str, *, as_json: bool | None = None) -> list[Topic]:
    """The topics of a file in file order, without duplicates.

    `as_json` overrides the file's extension. Raises `InputError` with the file, the wrong key or line, and a hint.
    """
    if not (topics := unique_topics(_topics(_read_pairs(path, as_json)))):
        raise InputError("there is no topic in it", file=path, hint="Put at least one topic in the file.")
    return topics


def read_groups(path: Path | str) -> dict[str, list[str]]:
    """Group -> its topics, in file order, with empty groups. A topic counts only in the first of its groups.

    Raises `InputError` as `read_topics` does.
    """
    if not (pairs := _read_pairs(path)):
        raise InputError("there is no topic and no group in it", file=path, hint="Put at least one topic in the file.")
    return {name: [] for name, _ in pairs} | by_group(unique_topics(_topics(pairs)))


def unique_topics(topics: Iterable[Topic]) -> list[Topic]:
    """The topics without duplicates, in order. Topics that differ only in case or white space are duplicates."""
    first: dict[str, Topic] = {}
    for topic in topics:
        first.setdefault(fold(topic.text), topic)
    return list(first.values())


def by_group(topics: Iterable[Topic]) -> dict[str, list[str]]:
    """Group -> its topics, both in order of first appearance."""
    groups: dict[str, list[str]] = {}
    for topic in topics:
        groups.setdefault(topic.group, []).append(topic.text)
    return groups


def choose_groups(names: str | None, groups: Groups, file: Path) -> list[str]:
    """The groups of `file` named in `names` (comma-separated), in file order; all if it is None.

    Raises `InputError` for an unknown group, and `SettingsError` if `names` has no name.
    """
    if names is None:
        return list(groups)
    parts, known = names.split(","), {_spaced(name): name for name in groups}
    chosen: list[str] = []
    at = 0
    while at < len(parts):
        # the longest match first, because a name may contain commas
        ends = [end for end in range(len(parts), at, -1) if _spaced(",".join(parts[at:end])) in known]
        end = ends[0] if ends else at + 1
        name = " ".join(",".join(parts[at:end]).split())
        if not ends and name:
            raise InputError(f"there is no group '{name}'", file=file, hint=f"The groups are: {', '.join(groups)}.")
        chosen += [known[_spaced(name)]] if ends else []
        at = end
    if not chosen:
        raise SettingsError("--groups names no group", hint="Give names separated by commas.")
    return [name for name in groups if name in chosen]


class TopicFile:
    """A topic file and the topics to add to it: `output` gets the topics of `source`, and after them the new topics.

    `output` has the format of `source`, converted if one of them is text and the other JSON. If `output` exists, it
    must have all topics of `source`, as after an earlier run; then the new topics are added to it (`resumed`).
    Otherwise `PlanError` is raised. `groups` are the groups that topics can be added to, with empty groups. `topics`
    are all topics of the file. Before the first `write`, the old file is copied (see `Backups`). Call `write` in
    `locked()`. Topics that someone else adds to the file meanwhile are kept.
    """

    def __init__(self, source: Path, output: Path) -> None:
        if source.exists() and not source.is_file() and not source.is_dir():
            hint = "Save it to a file first."
            raise InputError("not a regular file, so it can be read only once", file=source, hint=hint)
        if output.exists() and not output.is_file():
            check_writable(output)
        groups = read_groups(source)
        self.resumed = _has_content(output) and not output.samefile(source)
        self.topics = _all_topics(groups)
        if self.resumed:
            existing = read_groups(output)
            _check_superset(existing, groups, source, output)
            self.topics = _all_topics(existing)
            if _is_json(output) or not _has_groups(source):
                groups = existing
            elif len(groups) == 1:  # a text file has no groups, so the groups of the source are used
                groups = dict.fromkeys(groups, self.topics)
            source = output
        self.groups = groups
        self.source, self.output = source, output
        if _is_table(output):
            hint = "Choose another --output, for instance topics.json."
            raise InputError("topics cannot be added to a table", file=output, hint=hint)
        self._backups = Backups(output)
        self._before = read_regular(source)
        self._same_format = _is_json(source) == _is_json(output) and not _is_table(source)
        self._content = self._read()
        self._backed_up = False
        self._with({})  # raises an error if the file cannot be written again, before a call is paid for

    @contextlib.contextmanager
    def locked(self) -> Generator[None]:
        """In the block, no other run can write the file. Raises `DoricError` if it was changed or cannot be written."""
        with locked(self.output):
            if self._read() != self._content:
                raise PlanError(f"{self.output} has just been changed", hint="Run the same command again.")
            check_writable(self.output)
            yield

    def write(self, added: Groups) -> None:
        """Replace the file in one step by the old topics and all of `added`. Raises `DoricError` if this fails."""
        current = self._read()
        content = self._with(added) if current == self._content else self._merged(current, added)
        if not self._backed_up:
            self._backups.keep(self.output)
        self._backed_up = True
        atomic_write(self.output, content)
        self._content = content

    def lost(self, added: Groups) -> Groups:
        """Those of `added` that are not in the file any more, because another program has changed it meanwhile."""
        try:
            if self._read() == self._content:
                return {}
            known = set(map(fold, _all_topics(read_groups(self.output))))
        except InputError:  # it is no topic list any more
            known = set()
        return {group: [text for text in new if fold(text) not in known] for group, new in added.items()}

    def save_aside(self, topics: Groups) -> Path | None:
        """Save topics that could not be written to the topic file: write them to a new file, one per line.

        Returns the new file. It is beside the topic file, or in the system's folder for temporary files. None if both
        fail.
        """
        for folder in _folders(self.output):
            path = next(path for path in numbered(folder / f"{self.output.name}.found") if not os.path.lexists(path))
            with contextlib.suppress(InputError):
                atomic_write(path, _as_lines(topics), like=self.output if self.output.is_file() else None)
                return path
        return None

    def _read(self) -> bytes | None:
        try:
            return read_regular(self.output)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise os_error(error, self.output, "read") from error

    def _merged(self, current: bytes | None, added: Groups) -> bytes:
        """The file with the changes of other people, and with the topics of `added` that are not in it."""
        if current is None:
            return self._with(added)
        try:
            self.groups = read_groups(self.output)
        except InputError as error:
            hint = "Correct the file, then add the new topics to it."
            raise PlanError(f"{error.message}: the file was changed during this run", hint=hint) from error
        self._before, self._same_format = current, True
        known = set(map(fold, _all_topics(self.groups)))
        return self._with({group: [text for text in new if fold(text) not in known] for group, new in added.items()})

    def _with(self, added: Groups) -> bytes:
        if not self._same_format:
            merged = {group: [*topics, *added.get(group, ())] for group, topics in self.groups.items()}
            return dump_document({"groups": merged}, self.output) if _is_json(self.output) else _as_lines(merged)
        if not _is_json(self.output):
            end = b"" if self._before.endswith(b"\n") else b"\n"
            return self._before + end + _as_lines(added)
        value = load_document(self._before.decode("utf-8-sig"), self.output, hint=FORMATS)
        return dump_document(_extended(value, added), self.output)


# --- reading --------------------------------------------------------------------------------------------------------

type _Pair = tuple[str, list[str]]
"""A group and some of its topics, as they are in a file. A group may occur in several pairs."""


def _read_pairs(path: Path | str, as_json: bool | None = None) -> list[_Pair]:
    if as_json is None and Path(path).suffix.lower() in JSON_LINES:
        raise InputError("a JSON Lines file is not a topic list", file=path, hint=f"Name it *.json. {FORMATS}")
    text = _read_text(path)
    if as_json is None and _is_table(Path(path)) and has_columns(text):
        return list(_from_table(text, path))
    as_json = _is_json(Path(path)) if as_json is None else as_json
    return list(_from_json(text, path) if as_json else _from_lines(text, path))


def _read_text(path: Path | str) -> str:
    text = read_text(path)
    if not text.strip():
        raise InputError("the file is empty", file=path, hint="Put at least one topic in it.")
    return text


def _from_lines(text: str, path: Path | str) -> Iterator[_Pair]:
    lines = text.splitlines()
    if is_header(next((line for line in lines if line.strip()), "")):
        hint = "Name the file *.csv (commas or semicolons) or *.tsv (tabs)."
        raise InputError("this is a table with a header, not one topic per line", file=path, hint=hint)
    for number, line in enumerate(lines, 1):
        stripped = " ".join(tidy(line).split())
        if flaw := find_flaw(stripped):
            raise InputError(flaw, file=path, line=number, hint="Correct this topic.")
        topic = clean_item(stripped)
        if not stripped or COMMENT.match(stripped):
            continue
        is_markup = topic.startswith(MARKUP) or topic.endswith(":")  # a heading
        if is_markup or len(topic) > MAX_LINE or not any(map(str.isalnum, topic)):
            what = f"a line of {len(topic):,} characters" if len(topic) > MAX_LINE else f"{stripped[:40]!r}"
            hint = "Give one topic per line, in plain words."
            raise InputError(f"{what} is not a topic", file=path, line=number, hint=hint)
        yield UNGROUPED, [topic]


def _from_table(text: str, path: Path | str) -> Iterator[_Pair]:
    for number, group, value in read_table(text, path):
        try:
            topic = _topic(value, "the topic", path)
            yield _checked(group, "the group", path) if group else UNGROUPED, [topic]
        except InputError as error:
            message = error.message.removeprefix(f"{path}: ")
            raise InputError(message, file=path, line=number, hint="Correct this row.") from None


def _from_json(text: str, path: Path | str) -> Iterator[_Pair]:
    hint = "Correct it, or give a plain-text list or a table, *.txt or *.csv (--topics in the dataset generator)."
    value = load_document(text, path, hint=hint)
    if isinstance(value, list):
        yield from _from_list(value, path)
    elif isinstance(value, dict):
        yield from _from_groups(value, path)
    else:
        _wrong(path, f"expected a list or an object of groups, not {_kind(value)}")


def _from_list(items: list[Any], path: Path | str) -> Iterator[_Pair]:
    for at, item in enumerate(items, 1):
        if isinstance(item, dict):
            if "topic" not in item:
                _wrong(path, f"item {at} has no key 'topic'")
            group = _checked(item.get("group", UNGROUPED), f"'group' of item {at}", path)
            yield group, [_topic(item["topic"], f"'topic' of item {at}", path)]
        else:
            yield UNGROUPED, [_topic(item, f"item {at}", path)]


def _from_groups(value: dict[str, Any], path: Path | str) -> Iterator[_Pair]:
    groups = value.get("groups", value)
    if not isinstance(groups, dict):
        _wrong(path, f"the key 'groups' holds {_kind(groups)}, not an object of lists")
    for group, items in groups.items():
        if not isinstance(items, list):
            _wrong(path, f"the group '{group}' holds {_kind(items)}, not a list of topics")
        name = _checked(group, "the name of a group", path)
        yield name, [_topic(item, f"topic {at} of group '{group}'", path) for at, item in enumerate(items, 1)]


def _topics(pairs: Iterable[_Pair]) -> Iterator[Topic]:
    return (Topic(text, group) for group, texts in pairs for text in texts)


def _topic(value: object, what: str, path: Path | str) -> str:
    return _checked(clean_item(value) if isinstance(value, str) else value, what, path)


def _checked(value: object, what: str, path: Path | str) -> str:
    if not isinstance(value, str):
        _wrong(path, f"{what} is {_kind(value)}, not a string")
    if not (stripped := " ".join(tidy(value).split())):
        _wrong(path, f"{what} is empty")
    if any("\ud800" <= char <= "\udfff" for char in stripped):
        _wrong(path, f"{what} contains half a character (a lone surrogate)")
    if flaw := find_flaw(stripped):
        raise InputError(f"{what}: {flaw}", file=path, hint="Correct this topic.")
    return stripped


def _kind(value: object) -> str:
    kinds = ((dict, "an object"), (list, "a list"), (str, "a string"), (bool, "a boolean"), (int | float, "a number"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _wrong(path: Path | str, what: str) -> NoReturn:
    raise InputError(printable(what), file=path, hint=FORMATS)


# --- writing --------------------------------------------------------------------------------------------------------


def _check_superset(existing: Groups, wanted: Groups, source: Path, output: Path) -> None:
    """Raise `PlanError` if a topic of `source` is not in `output`, in the same group if both files have groups."""
    grouped = _has_groups(source) == _has_groups(output)

    def key(group: str, topic: str) -> tuple[str, str]:
        return group if grouped else "", fold(topic)

    keys = {key(group, topic) for group, topics in existing.items() for topic in topics}
    pairs = [(group, topic) for group, topics in wanted.items() for topic in topics]
    missing = [f"'{topic}' in the group '{group}'" for group, topic in pairs if key(group, topic) not in keys]
    what = f"does not have {len(missing):,} of the topics of {source}, for example {missing[0]}" if missing else ""
    if grouped and not missing and (groups := [group for group in wanted if group not in existing]):
        what = f"does not have the group '{groups[0]}' of {source}"
    if what:
        hint = f"Expand that list (--input {output} --in-place), or choose another --output."
        raise PlanError(f"{output} exists and {what}", hint=hint)


def _extended(value: Any, added: Groups) -> Any:  # noqa: ANN401 - JSON in any of the accepted formats
    if isinstance(value, list):
        objects = any(isinstance(item, dict) for item in value)
        for group, topics in added.items():
            value += [{"topic": topic, "group": group} if objects else topic for topic in topics]
        return value
    lists = value.get("groups", value)
    names = {" ".join(name.split()): name for name in lists}
    for group, topics in added.items():
        lists.setdefault(names.get(group, group), []).extend(topics)
    return value


def _folders(output: Path) -> Iterator[Path]:
    yield output.parent
    with contextlib.suppress(FileNotFoundError):  # there may be no usable folder for temporary files
        yield Path(tempfile.gettempdir())


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _all_topics(groups: Groups) -> list[str]:
    return [topic for topics in groups.values() for topic in topics]


def _as_lines(groups: Groups) -> bytes:
    return "".join(f"{topic}\n" for topic in _all_topics(groups)).encode()


def _has_groups(path: Path) -> bool:
    """Whether the format of a file has groups."""
    return _is_json(path) or _is_table(path)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in TABLES


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _spaced(name: str) -> str:
    """The name of a group with one blank after each comma."""
    return ", ".join(" ".join(part.split()) for part in name.split(","))
