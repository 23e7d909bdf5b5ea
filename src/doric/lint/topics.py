"""The rules of the lists of topics of this project, topics.json and topics.txt: the language data must cover them."""

from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from doric.core import text as texts
from doric.core.errors import InputError
from doric.dataset.plan import Mix, Plan
from doric.lint.source import Finding
from doric.lint.words import Sources
from doric.quality.decontamination import find_match
from doric.topics.filters import check_topic
from doric.topics.lists import UNGROUPED, Topic, read_topics

TOPIC_WORDS = (5, 12)
MOST_REJECTED = 0.02
"""At most this share of a list would be rejected if a model suggested it: the rules for suggestions are stricter."""


def check_topic_lists(paths: Sequence[Path], sources: Sources) -> Iterator[Finding]:
    """Topics that are too short or long, not in phrases/ with the same group, or close to an evaluation prompt."""
    read: dict[Topic, Path] = {}
    for path in paths:
        try:
            topics = read_topics(path)
        except InputError as error:
            yield Finding(str(path), 0, "", error.message.removeprefix(f"{path}: "), True)
            continue
        yield from _list(path, topics, sources)
        read |= {Topic(topic.text): path for topic in topics if Topic(topic.text) not in read}
    yield from _unlisted({texts.fold(topic.text) for topic in read}, sources)
    for job in Plan(list(read), Mix()) if read else ():
        if held := find_match(job.prompt.text):
            path = read[job.topic]
            reason = f"the prompt '{job.prompt.text}' repeats the evaluation prompt {held.id} of heldout.jsonl"
            yield Finding(str(path), _line(_lines(path), job.topic), job.topic.text, reason, True)


def _unlisted(listed: Container[str], sources: Sources) -> Iterator[Finding]:
    """Topics of phrases/ that no list has, so no dataset has their sentences."""
    for name, source in sources.items():
        themes = source.toml["themes"] if listed and name.startswith("phrases/") else []
        for topic in (topic["topic"] for theme in themes for topic in theme["topics"]):
            if texts.fold(topic) not in listed:
                where = f"topics.json, in the group '{source.toml['group']}', and to topics.txt"
                reason = f"no list of topics has it, so no dataset has its sentences: add it to {where}"
                yield source.error(source.line_of(topic), topic, reason)


def _list(path: Path, topics: Sequence[Topic], sources: Sources) -> Iterator[Finding]:
    groups = {
        texts.fold(topic["topic"]): source.toml["group"]
        for name, source in sources.items()
        if name.startswith("phrases/")
        for theme in source.toml["themes"]
        for topic in theme["topics"]
    }
    lines = _lines(path)
    for topic in topics:
        if reason := _fault(topic, groups):
            yield Finding(str(path), _line(lines, topic), topic.text, reason, True)
    yield from _rejected(path, topics)


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").split("\n")


def _line(lines: Sequence[str], topic: Topic) -> int:
    return next((at for at, line in enumerate(lines, 1) if topic.text in line), 0)


def _fault(topic: Topic, groups: dict[str, str]) -> str:
    group = groups.get(texts.fold(topic.text))
    count = len(topic.text.split())
    if not TOPIC_WORDS[0] <= count <= TOPIC_WORDS[1]:
        return f"{count} words: a topic has {TOPIC_WORDS[0]} to {TOPIC_WORDS[1]}"
    if group is None:
        return "no file in phrases/ has this topic: write it there exactly as here, with its Doric name and answers"
    if topic.group not in (UNGROUPED, group):
        return f"it is in the group '{group}' in phrases/: write the same group in both"
    return ""


def _rejected(path: Path, topics: Sequence[Topic]) -> Iterator[Finding]:
    rejected = [topic.text for topic in topics if check_topic(topic.text)]
    if len(rejected) > MOST_REJECTED * len(topics):
        reason = f"topic_rules.toml would reject {len(rejected)} of these topics, for instance '{rejected[0]}'"
        yield Finding(str(path), 0, "", reason, True)
