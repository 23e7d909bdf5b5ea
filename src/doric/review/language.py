"""Corrections of words and lines in the language data: one draft of all files, and what was not changed and why."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from doric.core import text as texts
from doric.core.errors import InputError
from doric.lint.edits import Draft
from doric.lint.shape import check_shape
from doric.lint.source import Source
from doric.lint.spelling import Line, doric_lines
from doric.lint.swap import swap
from doric.review.decisions import Decision
from doric.review.items import without_slots

CHOICES = "review/choices.toml"
ALONE = re.compile(r"""\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'),?\s*""")
"""A string of a list that is alone on its line."""
SLOT = re.compile(r"\{(\w+)\}")


@dataclass
class Corrections:
    """The files as they will be. `notes` says what is left to a person."""

    sources: dict[str, Source]
    notes: list[str] = field(default_factory=list)

    def lines(self, decision: Decision) -> None:
        """Replace or remove every copy of a line."""
        found = [line for line in doric_lines(self.sources) if without_slots(line.text) == decision.shown]
        if not found:
            self.notes.append(f"Not in the data any more, so not changed: {decision.shown!r}")
        for line in sorted(found, key=lambda line: -line.line):  # from below, so that the numbers stay right
            draft = Draft(self.sources)
            reason = self._replace(draft, line, decision) if decision.wanted else self._remove(draft, line)
            if reason:
                self.notes.append(f"{reason}: {decision.shown!r}")
            else:
                self._take(draft)

    def word(self, decision: Decision, old: str) -> None:
        """Write another form of a word everywhere."""
        if not decision.wanted:
            self.notes.append(f"Nobody says '{old}', and no reader wrote another form: it stays")
            return
        if [texts.words(one) for one in (old, decision.wanted)] != [[old.lower()], [decision.wanted.lower()]]:
            self.notes.append(f"'{old}' to '{decision.wanted}' is more than one word: change it by hand")
            return
        if self._is_another(decision.wanted, old):
            self.notes.append(f"'{decision.wanted}' is another word in the lexicon than '{old}': change it by hand")
            return
        try:
            change = swap(self.sources, old, decision.wanted)
        except InputError as error:
            self.notes.append(f"'{old}' to '{decision.wanted}' was not changed: {error.message}")
            return
        self.notes += change.remarks()
        self._take(change.draft)

    def choice(self, decision: Decision) -> None:
        """Write the form that readers chose instead of the house form."""
        name = decision.item.partition(":")[2]
        source = self.sources[CHOICES]
        raw = next((one for one in source.toml["choice"] if one["id"] == name), None)
        if raw is None:
            self.notes.append(f"The question '{name}' is not asked any more")
        elif raw["house"] != decision.wanted and not raw.get("everywhere"):
            said = f"'{decision.wanted}' instead of '{raw['house']}'"
            self.notes.append(f"{raw['ask']} Readers say {said}: change it by hand, line by line (check_doric --where)")
        elif raw["house"] != decision.wanted:
            before = dict(self.sources)
            self.word(decision, raw["house"])
            if self.sources != before:
                draft = Draft(self.sources)
                line = source.key_line("house", source.line_of(name))
                draft.set_line(CHOICES, line, f"house = {json.dumps(decision.wanted, ensure_ascii=False)}")
                self._take(draft)

    def files(self, before: Mapping[str, Source]) -> dict[str, str]:
        """Name -> new content of each file that differs from `before`."""
        changed = {name: source for name, source in self.sources.items() if source.lines != before[name].lines}
        return {name: "\n".join(source.lines) for name, source in changed.items()}

    def _replace(self, draft: Draft, line: Line, decision: Decision) -> str:
        slots = SLOT.findall(line.text)
        new = decision.wanted
        for slot in slots:
            new = new.replace(f"[{slot}]", f"{{{slot}}}")
        if sorted(SLOT.findall(new)) != sorted(slots):
            return "Not changed, because the better text lacks a [place] of the old one"
        if draft.replace_string(line.source.name, line.line, line.text, new):
            return ""
        return "Not changed, because it was not found on its line"

    def _remove(self, draft: Draft, line: Line) -> str:
        name = line.source.name
        if not line.line or not ALONE.fullmatch(draft.line(name, line.line)):
            return "Called wrong without a better text, and its place needs one: change it by hand"
        draft.set_line(name, line.line, None)
        if list(check_shape(Source(name, draft.files()[name]))):
            return "Called wrong without a better text, and its list would be too short: write another line"
        return ""

    def _is_another(self, new: str, old: str) -> bool:
        """Whether a form has a line of its own in the lexicon, with another meaning than the old form."""
        meanings: dict[str, set[str]] = {}
        for row in self.sources["lexicon.tsv"].rows:
            meanings.setdefault(row.cells["doric"].lower(), set()).add(row.cells["english"])
        return new.lower() in meanings and not meanings[new.lower()] & meanings.get(old.lower(), set())

    def _take(self, draft: Draft) -> None:
        self.sources = {**self.sources, **{name: Source(name, text) for name, text in draft.files().items()}}
