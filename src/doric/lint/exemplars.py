"""The rules of exemplars.toml: answers of the wanted length that the gates accept, and user turns that may be shown."""

from collections import Counter
from collections.abc import Iterator

from doric.core import text as texts
from doric.dataset.prompts import KINDS, LENGTHS
from doric.lint.source import Finding, Source
from doric.lint.words import Sources
from doric.quality import gates
from doric.quality.decontamination import find_match

FILE = "exemplars.toml"
LEAST = 4
"""Each bucket has so many exemplars of the lengths that its prompts ask for."""
WANTED = {"core": tuple(LENGTHS)} | {kind: ("medium",) for kind in KINDS if kind != "core"}


def check_exemplars(sources: Sources) -> Iterator[Finding]:
    """Wrong lengths, answers that the gates reject, duplicates, held-out questions, and too few exemplars."""
    source = sources[FILE]
    seen: set[str] = set()
    for raw in source.toml["exemplar"]:
        yield from _answer(source, raw)
        for text in (raw["user"], raw["answer"]):
            line = source.line_of(text)
            if held := find_match(text):
                reason = f"it is too near the held-out prompt {held.id}: write about something else"
                yield source.error(line, text, reason)
            if (folded := texts.fold(text)) in seen:
                yield source.error(line, text, "it is there twice: change or delete one of them")
            seen.add(folded)
    yield from _enough(source)


def _answer(source: Source, raw: dict) -> Iterator[Finding]:
    line, answer = source.line_of(raw["answer"]), raw["answer"]
    least, most = LENGTHS[raw["length"]]
    if not least <= (count := len(texts.words(answer))) <= most:
        reason = f"it has {count} words; a {raw['length']} answer has {least} to {most}"
        yield source.error(line, answer, reason)
    if rejection := gates.check(answer, prompt=raw["user"], topic="", kind=raw["kind"]):
        yield source.error(line, answer, f"the quality gates would reject it: {rejection.reason}")


def _enough(source: Source) -> Iterator[Finding]:
    count = Counter((raw["kind"], raw["length"]) for raw in source.toml["exemplar"])
    for kind, lengths in WANTED.items():
        for length in lengths:
            if (have := count[kind, length]) < LEAST:
                yield source.error(0, f"{kind}, {length}", f"there are {have} of these, at least {LEAST} are needed")
