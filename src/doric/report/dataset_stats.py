"""A dataset counted: what is in it, how it was sifted, how Doric it is, which rows are most alike.

Rows in, one `DatasetStats` out. Whatever a row's `meta` does not say counts as "not told".
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from doric.core import conversations as rows
from doric.core.conversations import Row
from doric.dialect.lexicon import house_forms, variants
from doric.dialect.scores import SCOTS
from doric.quality.gates import Answer
from doric.quality.near_duplicates import NearDuplicateIndex

UNTOLD = "not told"
SAMPLE, NEAREST = 20, 12
SHOWN_FROM = 0.5
"""Pairs less alike than this are not looked for."""
STAGES = {
    "the answer came whole": ("filtered", "cut_off", "empty", "unfinished"),
    "plain talk of the right length": (
        "wrong_script", "markup", "meta_talk", "banned_opener", "too_short", "too_long", "repeats_itself",
    ),
    "Doric all through": (
        "late_doric", "thin", "word_swap", "not_north_east", "central", "leakage", "edges",
        "gave_up_doric", "left_doric",
    ),
    "what was asked": ("echoes_prompt", "echoes_topic", "must_refuse", "offers_nothing", "refuses", "held_out"),
    "said for the first time": ("near_duplicate",),
}  # fmt: skip
"""What an answer must be -> the gates that see to it. A gate that stands nowhere counts with the last stage."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One row as a page shows it."""

    kind: str
    group: str
    lang: str
    prompt: str
    answer: str
    substrate: float
    north_east: float


@dataclass(frozen=True, slots=True)
class Alike:
    """Two answers and how alike they are, 0 to 1."""

    similarity: float
    one: str
    other: str


@dataclass(slots=True)
class DatasetStats:
    """The counts. Figures of single rows (`words`, `substrate`, `north_east`, `leakage`) are in the order of rows."""

    kinds: Counter[str] = field(default_factory=Counter)
    groups: dict[str, Counter[str]] = field(default_factory=dict)
    langs: Counter[str] = field(default_factory=Counter)
    writers: Counter[str] = field(default_factory=Counter)
    tries: Counter[int] = field(default_factory=Counter)
    words: list[int] = field(default_factory=list)
    substrate: list[float] = field(default_factory=list)
    north_east: list[float] = field(default_factory=list)
    leakage: list[float] = field(default_factory=list)
    contamination: list[float] = field(default_factory=list)
    forms: Counter[tuple[str, str]] = field(default_factory=Counter)
    outside: Counter[tuple[str, str]] = field(default_factory=Counter)
    sample: list[Shown] = field(default_factory=list)
    nearest: list[Alike] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    rejected_kinds: dict[str, Counter[str]] = field(default_factory=dict)
    examples: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows counted."""
        return len(self.words)

    def funnel(self) -> list[tuple[str, int]]:
        """(stage, answers left after it), from all answers heard to those that were kept."""
        left = self.rows + sum(self.rejected.values())
        steps = [("answers heard", left)]
        known = {gate for gates in STAGES.values() for gate in gates}
        strays = sum(count for gate, count in self.rejected.items() if gate not in known)
        for at, (stage, gates) in enumerate(STAGES.items(), 1):
            left -= sum(self.rejected[gate] for gate in gates) + (strays if at == len(STAGES) else 0)
            steps.append((stage, left))
        return steps


def take(counted: Iterable[Row], rejections: Iterable[Mapping[str, Any]] = (), *, seed: int = 0) -> DatasetStats:
    """Count rows, which `messages` has checked, and the rejections kept beside them."""
    census = DatasetStats()
    draw, near = random.Random(seed), NearDuplicateIndex(SHOWN_FROM)
    answers: dict[str, str] = {}
    for row in counted:
        shown = _count(census, row)
        _draw(census, shown, draw)
        _compare(census, shown.answer, near, answers)
    for entry in rejections:
        _reject(census, entry)
    return census


def messages(row: Row) -> Row:
    """A row of either shape as messages. Raises `InputError` naming the key that is wrong."""
    if "conversations" in row:
        return rows.from_sharegpt(row)
    rows.check_row(row)
    return row


def _count(census: DatasetStats, row: Row) -> Shown:
    said = {
        role: [turn["content"] for turn in row["messages"] if turn["role"] == role] for role in ("user", "assistant")
    }
    answer = Answer.of("\n".join(said["assistant"]))
    meta = row.get("meta", {})
    kind, group, lang = (str(meta.get(key) or UNTOLD) for key in ("kind", "group", "lang"))
    census.kinds[kind] += 1
    census.groups.setdefault(group, Counter())[kind] += 1
    census.langs[lang] += 1
    census.writers[str(meta.get("model") or meta.get("backend") or UNTOLD)] += 1
    if isinstance(meta.get("tries"), int):
        census.tries[meta["tries"]] += 1
    _measure(census, answer)
    measured = answer.scores
    return Shown(kind, group, lang, "\n".join(said["user"]), answer.text, measured.substrate, measured.north_east)


def _measure(census: DatasetStats, answer: Answer) -> None:
    measured = answer.scores
    census.words.append(len(answer.words))
    census.substrate.append(measured.substrate)
    census.north_east.append(measured.north_east)
    census.leakage.append(measured.leakage)
    census.contamination.append(measured.contamination)
    spellings = variants()
    for token, kind, _ in measured.evidence:
        if kind in SCOTS:
            census.forms[token, kind] += 1
            if (house := spellings.get(token, token)).lower() != token:
                census.outside[token, house] += 1
        elif kind.startswith("central"):
            census.outside[token, house_forms().get(token, "")] += 1


def _draw(census: DatasetStats, shown: Shown, draw: random.Random) -> None:
    """Keep a row for the sample so that each row has the same chance, however many are to come."""
    if len(census.sample) < SAMPLE:
        census.sample.append(shown)
    elif (place := draw.randrange(census.rows)) < SAMPLE:
        census.sample[place] = shown


def _compare(census: DatasetStats, answer: str, near: NearDuplicateIndex, answers: dict[str, str]) -> None:
    id = str(census.rows)
    found = near.nearest(answer)
    near.add(id, answer)
    answers[id] = answer
    if found and (len(census.nearest) < NEAREST or found.similarity > census.nearest[-1].similarity):
        census.nearest.append(Alike(found.similarity, answers[found.id], answer))
        census.nearest.sort(key=lambda pair: -pair.similarity)
        del census.nearest[NEAREST:]


def _reject(census: DatasetStats, entry: Mapping[str, Any]) -> None:
    gate = str(entry.get("gate") or UNTOLD)
    census.rejected[gate] += 1
    census.rejected_kinds.setdefault(gate, Counter())[str(entry.get("kind") or UNTOLD)] += 1
    census.examples.setdefault(gate, entry)
