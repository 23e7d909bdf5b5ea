"""New topics put into a topic file: what is there stays as it is and where it is, the new ones follow it.

A file keeps its own shape; one of the other kind (text, JSON) is made by way of groups. Knows nothing of what a topic
is about.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doric.errors import PlanError
from doric.ground.files import atomic_write, explain
from doric.text import fold
from doric.topics import Topic, grouped, read_topics

type Groups = Mapping[str, list[str]]


class TopicFile:
    """A topic file as it was read, and where it goes with what is added. `write` may be called again and again.

    Where `output` is there and holds the topics of `source`, as after an earlier run, `output` itself is what is added
    to (`taken_up`); raises `PlanError` when it holds something else. What stood at `output` before the first write is
    kept beside it as `.bak`.
    """

    def __init__(self, source: Path, output: Path) -> None:
        topics = read_topics(source)
        self.taken_up = _holds_something(output) and not output.samefile(source)
        if self.taken_up:
            topics = _holding(topics, source, output)
            source = output
        self.groups = grouped(topics)
        self.source, self.output = source, output
        self.backup = output.with_name(f"{output.name}.bak")
        self._before = source.read_bytes()
        self._same_kind = _is_json(source) == _is_json(output)
        self._backed_up = False

    def write(self, added: Groups) -> None:
        """Replace the file in one step. Raises `InputError` when it cannot be written."""
        content = self._with(added)
        if not self._backed_up:
            self._keep_what_was_there()
            self._backed_up = True
        atomic_write(self.output, content)

    def _keep_what_was_there(self) -> None:
        try:
            before = self.output.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise explain(error, self.output, "read") from error
        atomic_write(self.backup, before)

    def _with(self, added: Groups) -> bytes:
        if not self._same_kind:
            whole = {group: [*topics, *added.get(group, ())] for group, topics in self.groups.items()}
            return _json({"groups": whole}) if _is_json(self.output) else _lines(whole)
        if not _is_json(self.output):
            end = b"" if self._before.endswith(b"\n") else b"\n"
            return self._before + end + _lines(added)
        return _json(_extended(json.loads(self._before.decode("utf-8-sig")), added))


def _holds_something(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _holding(wanted: list[Topic], source: Path, output: Path) -> list[Topic]:
    """The topics of `output`, if all that are `wanted` are among them, each in its group."""
    there = read_topics(output)
    missing = {_key(topic): topic for topic in wanted}.keys() - set(map(_key, there))
    if missing:
        first = next(topic for topic in wanted if _key(topic) in missing)
        raise PlanError(
            f"{output} is there already, and {len(missing):,} of the topics of {source} are not in it, "
            f"such as '{first.text}' in the group '{first.group}'",
            hint=f"Widen it as it is (--input {output} --in-place), or give the list another name (--output).",
        )
    return there


def _key(topic: Topic) -> tuple[str, str]:
    return topic.group, fold(topic.text)


def _extended(value: Any, added: Groups) -> Any:  # noqa: ANN401 - any JSON of the accepted shapes
    if isinstance(value, list):
        objects = any(isinstance(item, dict) for item in value)
        for group, topics in added.items():
            value += [{"topic": topic, "group": group} if objects else topic for topic in topics]
        return value
    lists = value.get("groups", value)
    names = {" ".join(name.split()): name for name in lists}
    for group, topics in added.items():
        lists[names[group]] += topics
    return value


def _json(value: Any) -> bytes:  # noqa: ANN401 - any JSON
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


def _lines(groups: Groups) -> bytes:
    return "".join(f"{topic}\n" for topics in groups.values() for topic in topics).encode()


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"
