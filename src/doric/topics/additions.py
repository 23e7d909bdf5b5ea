"""New topics put into a topic file: what is there stays as it is and where it is, the new ones follow it.

A file keeps its own shape; one of the other kind (text, JSON) is made by way of groups. Knows nothing of what a topic
is about.
"""

import contextlib
import itertools
import os
import tempfile
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from doric.core.errors import InputError, PlanError, os_error
from doric.core.files import atomic_write, check_writable, dump_document, load_document, locked
from doric.core.text import fold
from doric.topics.lists import SHAPES, read_groups

type Groups = Mapping[str, list[str]]


class TopicFile:
    """A topic file as it was read, and where it goes with what is added. `write` may be called again and again.

    Where `output` is there and holds the topics of `source`, as after an earlier run, `output` itself is what is added
    to (`taken_up`); raises `PlanError` when it holds something else. `groups` are those that may be widened, empty ones
    too, and `known` all topics that are there. What stood at `output` before the first write is
    kept beside it as `.bak`. Write while the file is `held`, so that no other run does; what somebody else has put into
    it meanwhile stays.
    """

    def __init__(self, source: Path, output: Path) -> None:
        if source.exists() and not source.is_file() and not source.is_dir():
            raise InputError(
                "not a regular file, so it can be read only once", file=source, hint="Save it in one first."
            )
        if output.exists() and not output.is_file():
            check_writable(output)
        groups = read_groups(source)
        self.taken_up = _holds_something(output) and not output.samefile(source)
        self.known = _all(groups)
        if self.taken_up:
            there = read_groups(output)
            _check_holding(there, groups, source, output)
            self.known = _all(there)
            if _is_json(output) or not _is_json(source):
                groups = there
            elif len(groups) == 1:  # a text file knows no groups: those of the source are what may be chosen from
                groups = dict.fromkeys(groups, self.known)
            source = output
        self.groups = groups
        self.source, self.output = source, output
        self.backup = output.with_name(f"{output.name}.bak")
        self._before = source.read_bytes()
        self._same_kind = _is_json(source) == _is_json(output)
        self._there = self._read()
        self._backed_up = False
        self._with({})  # what cannot be written again is complained of before anything is paid for

    @contextlib.contextmanager
    def held(self) -> Generator[None]:
        """Keep other runs off the file. Raises `DoricError` when one has changed it, or it cannot be written."""
        with locked(self.output):
            if self._read() != self._there:
                raise PlanError(f"{self.output} has just been changed", hint="Run the same command again.")
            for path in (self.output, self.backup):
                check_writable(path)
            yield

    def write(self, added: Groups) -> None:
        """Replace the file in one step. Raises `DoricError` when it cannot be written."""
        there = self._read()
        content = self._with(added) if there == self._there else self._joined(there, added)
        if not self._backed_up and there is not None:
            atomic_write(self.backup, there, like=self.output)
        self._backed_up = True
        atomic_write(self.output, content)
        self._there = content

    def save_aside(self, rest: Groups) -> Path | None:
        """Write topics that cannot go into the file beside it, else where the system keeps what is temporary.

        One topic a line, in a new file: nothing that is there is replaced. None where it cannot be written either.
        """
        for folder in _folders(self.output):
            aside = next(path for path in _numbered(folder / f"{self.output.name}.found") if not os.path.lexists(path))
            with contextlib.suppress(InputError):
                atomic_write(aside, _lines(rest), like=self.output if self.output.is_file() else None)
                return aside
        return None

    def _read(self) -> bytes | None:
        try:
            return self.output.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise os_error(error, self.output, "read") from error

    def _joined(self, there: bytes | None, added: Groups) -> bytes:
        """What somebody else made of the file meanwhile, and what is added and not in it."""
        if there is None:
            return self._with(added)
        try:
            self.groups = read_groups(self.output)
        except InputError as error:
            hint = "Mend it, and add the new topics to it."
            raise PlanError(f"{error.message}: it was changed while this run added to it", hint=hint) from error
        self._before, self._same_kind = there, True
        known = set(map(fold, _all(self.groups)))
        return self._with({group: [one for one in new if fold(one) not in known] for group, new in added.items()})

    def _with(self, added: Groups) -> bytes:
        if not self._same_kind:
            whole = {group: [*topics, *added.get(group, ())] for group, topics in self.groups.items()}
            return dump_document({"groups": whole}, self.output) if _is_json(self.output) else _lines(whole)
        if not _is_json(self.output):
            end = b"" if self._before.endswith(b"\n") else b"\n"
            return self._before + end + _lines(added)
        value = load_document(self._before.decode("utf-8-sig"), self.output, hint=SHAPES)
        return dump_document(_extended(value, added), self.output)


def _folders(output: Path) -> Iterator[Path]:
    yield output.parent
    with contextlib.suppress(FileNotFoundError):  # there need not be a folder for temporary files that can be used
        yield Path(tempfile.gettempdir())


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    yield from (path.with_name(f"{path.name}.{number}") for number in itertools.count(2))


def _holds_something(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _check_holding(there: Groups, wanted: Groups, source: Path, output: Path) -> None:
    """Raise `PlanError` unless all that is `wanted` is `there`, in its group where both kinds of file have groups."""
    by_group = _is_json(source) == _is_json(output)

    def key(group: str, topic: str) -> tuple[str, str]:
        return group if by_group else "", fold(topic)

    keys = {key(group, topic) for group, topics in there.items() for topic in topics}
    pairs = [(group, topic) for group, topics in wanted.items() for topic in topics]
    missing = [f"'{topic}' in the group '{group}'" for group, topic in pairs if key(group, topic) not in keys]
    what = f"{len(missing):,} of the topics of {source} are not in it, such as {missing[0]}" if missing else ""
    if by_group and not missing and (groups := [group for group in wanted if group not in there]):
        what = f"the group '{groups[0]}' of {source} is not in it"
    if what:
        hint = f"Widen it as it is (--input {output} --in-place), or give the list another name (--output)."
        raise PlanError(f"{output} is there already, and {what}", hint=hint)


def _all(groups: Groups) -> list[str]:
    return [topic for topics in groups.values() for topic in topics]


def _extended(value: Any, added: Groups) -> Any:  # noqa: ANN401 - any JSON of the accepted shapes
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


def _lines(groups: Groups) -> bytes:
    return "".join(f"{topic}\n" for topics in groups.values() for topic in topics).encode()


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"
