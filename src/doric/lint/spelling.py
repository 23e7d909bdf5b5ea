"""The house spelling: the rules of spelling.toml, and authored lines in another spelling than the house's."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from doric.core import text as texts
from doric.dataset.phrases import PARTS
from doric.dialect.spelling import HouseText, to_house
from doric.lint import asks, exemplars, followups
from doric.lint.sentences import authored
from doric.lint.source import Finding, Source
from doric.lint.words import Sources, spellings

DORIC_VOICES = ("doric", "mixed")
PROMPTS = ("asks/", "prompts.toml", "followups.toml", "exemplars.toml")
"""The files with what users say (beginnings of names)."""
BEGINNINGS = ("mistakes", "order", "unfit")
"""The lists of a topic that have the beginnings of sentences instead of sentences."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of Doric that the project has written, and its place. If it is `mixed`, its English words are meant.

    `sentence` is the whole sentence if `text` is only its beginning, as in the lists of a topic.
    """

    source: Source
    line: int
    text: str
    mixed: bool = False
    sentence: str = ""

    def in_house_spelling(self) -> HouseText:
        """The line in the house spelling."""
        found: list[tuple[str, str]] = []

        def in_house(text: str) -> str:
            house = to_house(text, english=not self.mixed)
            found.extend(house.changes)
            return house.text

        text = self.changed(in_house)
        return HouseText(text, tuple(found) if text != self.text else ())

    def changed(self, change: Callable[[str], str]) -> str:
        """The line after `change`. A beginning is changed as in its sentence, whose other words decide its meaning."""
        if not self.sentence:
            return change(self.text)
        old, new, words = self.sentence.split(), change(self.sentence).split(), self.text.split()
        count = len(words)
        if len(old) != len(new):
            return change(self.text)
        if new[count - 1] != old[count - 1]:  # the last word is written whole, for the beginning may end inside it
            return " ".join(new[:count])
        return " ".join([*new[: count - 1], words[-1]])


def doric_lines(sources: Sources) -> Iterator[Line]:
    """Every authored line: sentences, Doric names of topics, and the user prompts in Doric."""
    for sentence in authored(sources):
        yield Line(sentence.source, sentence.line, sentence.text)
    for name, source in sources.items():
        if name.startswith("phrases/"):
            seen: Counter[str] = Counter()
            for theme in source.toml["themes"]:
                for topic in theme["topics"]:
                    yield Line(source, source.line_of(topic["doric"]), topic["doric"])
                    yield from _beginnings(source, theme, topic, seen)
    if source := sources.get("prompts.toml"):
        yield from _prompts(source)
    for part in asks.parts(sources):
        yield Line(part.source, part.line, part.text)
    if source := sources.get(followups.FILE):
        for text in followups.doric_lines(source):
            yield Line(source, source.line_of(text), text)
    if source := sources.get(exemplars.FILE):
        for raw in source.toml["exemplar"]:
            yield Line(source, source.line_of(raw["answer"]), raw["answer"])
    if source := sources.get(asks.LINES):
        for row in source.rows:
            yield Line(source, row.line, row.cells["doric"])


def _beginnings(source: Source, theme: dict, topic: dict, seen: Counter[str]) -> Iterator[Line]:
    for key in BEGINNINGS:
        whole = _sentences(theme, topic, key)
        for beginning in topic.get(key, []):
            sentence = next((one for one in whole if one.startswith(beginning)), "")
            yield Line(source, source.line_of(beginning, seen[beginning]), beginning, sentence=sentence)
            seen[beginning] += 1


def user_turns(sources: Sources) -> Iterator[Line]:
    """The other texts of the files of questions: what users say in any language, which may have any spelling."""
    known = {(line.source.name, line.text) for line in doric_lines(sources)}
    for name, source in sources.items():
        if name.startswith(PROMPTS) and name.endswith(".toml"):
            lines = (Line(source, number, text) for number, text in source.strings)
            yield from (line for line in lines if (name, line.text) not in known)


def _sentences(theme: dict, topic: dict, key: str) -> list[str]:
    """The sentences whose beginnings a list of a topic has."""
    if key == "unfit":
        return [line for part in PARTS for line in theme[part]]
    return [*topic["answers"], *topic.get("more", ())]


def _prompts(source: Source) -> Iterator[Line]:
    for frame in source.toml["core"]:
        if (voice := frame.get("voice")) in DORIC_VOICES:
            yield Line(source, source.line_of(frame["text"]), frame["text"], mixed=voice == "mixed")
    for request in source.toml["safety"]:
        if request.get("lang") == "sco":
            yield Line(source, source.line_of(request["text"]), request["text"])


def check_house_spelling(sources: Sources) -> Iterator[Finding]:
    """A warning for each authored line outside the house spelling, with the forms to write."""
    for line in doric_lines(sources):
        if changes := line.in_house_spelling().changes:
            yield line.source.warning(line.line, line.text, f"not in the house spelling: {what_to_write(changes)}")
    for row in sources["renderings.tsv"].rows:
        house = row.cells["house"]
        if (changes := to_house(house).changes) and not to_house(house, english=False).changes:  # those are errors
            reason = f"not in the house spelling: {what_to_write(changes)}"
            yield sources["renderings.tsv"].warning(row.line, house, reason)


def what_to_write(changes: tuple[tuple[str, str], ...]) -> str:
    """The changes in words.

    >>> what_to_write((("so", "sae"), ("caal", "caul"), ("so", "sae")))
    'write sae for so, caul for caal'
    """
    return "write " + ", ".join(f"{new} for {old}" for old, new in dict.fromkeys(changes))


# ---- spelling.toml


def check_spelling(sources: Sources) -> Iterator[Finding]:
    """spelling.toml: words that no table has, words in two lists, and house forms that would be changed again."""
    source = sources["spelling.toml"]
    spec = source.toml
    leaks = {row.cells["english"] for row in sources["leakage.tsv"].rows}
    accepted = {row.cells["central"] for row in sources["central.tsv"].rows} | {
        form for row in sources["lexicon.tsv"].rows for form in (*spellings(row, "variants"), *spellings(row, "wider"))
    }
    known = {
        "keep": (accepted, "lexicon.tsv or central.tsv"),
        "always": (leaks, "leakage.tsv"),
        "in_context": (leaks, "leakage.tsv"),
    }
    seen: dict[str, str] = {}
    for key, (words, where) in known.items():
        for word in spec[key]:
            line = source.line_with(f'"{word}"', source.key_line(key) - 1)
            if word not in words:
                yield source.error(line, word, f"not in {where}: correct its spelling or delete it here")
            yield from _twice(source, line, word, key, seen)
    for word in spec["also"]:
        line = source.key_line(word)
        if word in leaks:
            yield source.error(line, word, "leakage.tsv has it: write it in `always` or `in_context` instead")
        yield from _twice(source, line, word.lower(), "also", seen)
    yield from _houses(source)


def _twice(source: Source, line: int, word: str, key: str, seen: dict[str, str]) -> Iterator[Finding]:
    if (first := seen.setdefault(word, key)) != key:
        yield source.error(line, word, f"the list `{first}` has it too: keep it in one of the two")


def _houses(source: Source) -> Iterator[Finding]:
    named = [(source.key_line(word), house) for word, house in source.toml["also"].items()]
    rules = [rule for rule in source.toml["rule"] if rule["house"] not in rule["forms"]]  # the others forbid a change
    named += [(source.line_of(rule["forms"]), rule["house"]) for rule in rules]
    for line, house in named:
        if changes := to_house(house).changes:
            yield source.error(line, house, f"not in the house spelling: {what_to_write(changes)}")
    for rule in source.toml["rule"]:
        for form in rule["forms"]:
            if texts.words(form) != [form]:
                yield source.error(source.line_of(form), form, "not one word in lower case, so no text can have it")
