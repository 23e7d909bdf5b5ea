"""The rules of asks/: shares, user turns, and answers in Doric, of which every combination must be whole."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from doric.core import text as texts
from doric.dataset.asks import ADVICE, CORE, SLOT, TYPED, asks, most_rows
from doric.dataset.subjects import SLOTS
from doric.dialect.scores import score
from doric.lint.prompts import whole_prompt
from doric.lint.sentences import NOT_IN_A_SENTENCE, doric_findings
from doric.lint.slots import slots
from doric.lint.source import Finding, Source
from doric.lint.words import Sources
from doric.quality import gates
from doric.quality.allowances import CODE
from doric.quality.decontamination import find_match

FOLDER = "asks/"
LINES = "asks/lines.tsv"
RESERVED = (ADVICE, TYPED, "safety", "default", "none", "adv", "core", "multi")
"""Names that mean something else in `--ask-mix` or in a report."""
GATES = (
    *(str(getattr(gate, "__name__", "")) for gate in gates.LANGUAGE_GATES),
    "echoes_prompt",
    "echoes_topic",
    "refuses",
)
"""The gates that an ask may allow to fail."""
NAME = re.compile("[a-z]+")
ROWS = {"core": 8_000, "adv": 1_230}
"""Bucket -> its rows in a dataset with 24 rows per topic, for which each ask needs enough different answers."""
LINE_WORDS = (3, 28)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an answer, as the author wrote it, and its place."""

    source: Source
    line: int
    text: str

    @property
    def doric(self) -> str:
        """The text without slots, and without what may be in English: quotations and code, if the file allows them."""
        spec, text = self.source.toml, self.text
        text = texts.QUOTATION.sub("", text) if spec.get("quotes") else text
        text = CODE.sub("", text) if spec.get("code") else text
        return " ".join(SLOT.sub("", text).split())


def ask_files(sources: Sources) -> Iterator[Source]:
    """The files of asks."""
    return (source for name, source in sources.items() if name.startswith(FOLDER) and name.endswith(".toml"))


def parts(sources: Sources) -> Iterator[Part]:
    """Every part of an answer."""
    for source in ask_files(sources):
        seen: dict[str, int] = {}
        for text in (text for answer in _answers(source) for part in answer["parts"] for text in part):
            yield Part(source, source.line_of(text, seen.get(text, 0)), text)
            seen[text] = seen.get(text, 0) + 1


def turns(source: Source) -> Iterator[str]:
    """Every user turn of a file of asks."""
    for pair in source.toml["pairs"]:
        yield from pair["asks"]
        yield from (text for key in ("says", "doric") for text in pair.get("then", {}).get(key, ()))


def _answers(source: Source) -> Iterator[dict[str, Any]]:
    """The tables of a file that have an answer: each pair, and what follows it."""
    for pair in source.toml["pairs"]:
        yield pair
        if "then" in pair:
            yield pair["then"]


# ---- the files


def check_asks(sources: Sources) -> Iterator[Finding]:
    """Names, shares, lengths and slots of the files, and their user turns."""
    seen: dict[str, str] = {}
    for source in ask_files(sources):
        yield from _file(source)
        for pair in source.toml["pairs"]:
            yield from _slots(source, pair)
        for text in turns(source):
            yield from _turn(source, text, seen)
    files = [source for source in ask_files(sources) if source.toml.get("bucket", CORE) == CORE]
    if (total := sum(source.toml["share"] for source in files)) > 1:
        largest = max(files, key=lambda source: source.toml["share"])
        reason = f"the shares of all asks sum to {total:g}, more than 1: lower some of them"
        yield largest.error(largest.key_line("share"), "share", reason)


def _file(source: Source) -> Iterator[Finding]:
    name, spec = source.name.removeprefix(FOLDER).removesuffix(".toml"), source.toml
    if name in RESERVED or not NAME.fullmatch(name):
        yield source.error(0, name, "rename the file: the name of an ask is one word in small letters, not 'advice'")
    least, most = spec["length"]
    if least > most:
        yield source.error(source.key_line("length"), "length", "the first number is the least: exchange the two")
    for gate in spec.get("allows", ()):
        if gate not in GATES:
            near = difflib.get_close_matches(gate, GATES, 1) or GATES
            yield source.error(source.key_line("allows"), gate, f"there is no gate '{gate}': write {near[0]}")
    line = source.key_line("instruction")
    yield from slots(source, line, spec["instruction"], {"least", "most"})


def _slots(source: Source, pair: dict[str, Any]) -> Iterator[Finding]:
    lower = SLOTS[source.toml.get("from", "")]
    known = {*lower, *(slot.capitalize() for slot in lower)}
    for text in [*pair["asks"], *(text for part in pair["parts"] for text in part)]:
        yield from slots(source, source.line_of(text), text, known)
    then = pair.get("then", {"says": [], "doric": [], "parts": []})
    for text in [*then["says"], *then["doric"], *(text for part in then["parts"] for text in part)]:
        yield from slots(source, source.line_of(text), text, set())
    plain = [text for text in pair["asks"] if not SLOT.search(text)]
    if plain and len(plain) < len(pair["asks"]):
        reason = "other user turns of this pair have slots: write one here too, or make another pair"
        yield source.error(source.line_of(plain[0]), plain[0], reason)
    elif plain:
        for text in (text for part in pair["parts"] for text in part if SLOT.search(text)):
            yield source.error(
                source.line_of(text), text, "the user turns of this pair have no slot: nothing fills this"
            )


def _turn(source: Source, text: str, seen: dict[str, str]) -> Iterator[Finding]:
    line = source.line_of(text)
    yield from whole_prompt(source, line, text, ends=False)
    if first := seen.get(texts.fold(text)):
        yield source.error(source.line_of(text, 1), text, f"duplicate of {first}: change or delete one of them")
    seen.setdefault(texts.fold(text), f"{source.name}:{line}")
    if held := find_match(SLOT.sub("", text)):
        yield source.error(line, text, f"it repeats the evaluation prompt {held.id} of heldout.jsonl")


# ---- answers


def check_answers(sources: Sources) -> Iterator[Finding]:
    """Parts that are not Doric, and answers that are not whole, or too short or long, or too few."""
    for part in parts(sources):
        yield from _part(part)
    for source in ask_files(sources):
        for answer in _answers(source):
            yield from _whole_answers(source, answer)


def _part(part: Part) -> Iterator[Finding]:
    text, spec = part.text, part.source.toml
    if " ".join(text.split()) != text:
        yield part.source.error(part.line, text, "write one space between words, and none at the start or end")
    plain = CODE.sub("", text) if spec.get("code") else text
    if found := NOT_IN_A_SENTENCE.search(plain):
        reason = f"it has the character {found.group()}: write it with a comma, or as two sentences"
        yield part.source.error(part.line, text, reason)
    if part.doric:
        yield from doric_findings(part.source, part.line, text, score(part.doric))
    if held := find_match(SLOT.sub("", text)):
        yield part.source.error(part.line, text, f"it repeats the evaluation prompt {held.id} of heldout.jsonl")


def _whole_answers(source: Source, pair: dict[str, Any]) -> Iterator[Finding]:
    first, last = pair["parts"][0], pair["parts"][-1]
    for text in last:
        if not texts.ends_sentence(SLOT.sub("x", text)):
            yield source.error(source.line_of(text), text, "it ends an answer, but not with . or ! or ?")
    for text in first if pair.get("english_first") else ():
        if not text.startswith('"'):
            reason = "this pair has `english_first`: begin with the English, in quotation marks"
            yield source.error(source.line_of(text), text, reason)
    for text in first:
        start = text.lstrip("\"'`")[:1]
        if start.isalpha() and not start.isupper():
            yield source.error(source.line_of(text), text, "it begins an answer: begin with a capital letter")
    for part in pair["parts"]:
        if double := next((text for text in part if part.count(text) > 1), ""):
            yield source.error(source.line_of(double, 1), double, "it is in the same list twice: delete one of them")
    if "asks" not in pair:  # what follows a question is answered in as many words as it needs
        return
    least, most = source.toml["length"]
    for choose, wrong in ((min, lambda count: count < least), (max, lambda count: count > most)):
        lines = [choose(part, key=lambda text: len(text.split())) for part in pair["parts"]]
        if wrong(count := sum(len(line.split()) for line in lines)):
            reason = f"an answer has {count} words, with '{lines[0][:30]}': `length` says {least} to {most}"
            yield source.error(source.line_of(lines[0]), lines[0], reason)


def check_enough(sources: Sources) -> Iterator[Finding]:
    """Asks with too few different answers for their share of a dataset with 24 rows per topic."""
    for source in ask_files(sources):
        name, share = source.name.removeprefix(FOLDER).removesuffix(".toml"), source.toml["share"]
        bucket = source.toml.get("bucket", CORE)
        if name in asks() and (most := most_rows(name)) < (rows := round(share * ROWS[bucket])):
            every = f"{ROWS[bucket]:,} {bucket} rows"
            reason = f"only {most} rows can have different answers, and its share of {every} is {rows}"
            yield source.warning(source.key_line("share"), "share", reason)


# ---- tables


def check_tables(sources: Sources) -> Iterator[Finding]:
    """lines.tsv: whole lines of Doric with their English, each once."""
    source, seen = sources[LINES], {}
    for row in source.rows:
        doric, english = row.cells["doric"], row.cells["english"]
        yield from doric_findings(source, row.line, doric, score(doric))
        for text in (doric, english):
            if not texts.ends_sentence(text):
                yield source.error(row.line, text, "it does not end with . or ! or ?")
            elif not LINE_WORDS[0] <= len(text.split()) <= LINE_WORDS[1]:
                yield source.error(row.line, text, f"write {LINE_WORDS[0]} to {LINE_WORDS[1]} words")
            if (first := seen.setdefault(texts.fold(text), row.line)) != row.line:
                yield source.error(row.line, text, f"duplicate of line {first}: delete one of them")
            if held := find_match(text):
                yield source.error(row.line, text, f"it repeats the evaluation prompt {held.id} of heldout.jsonl")
