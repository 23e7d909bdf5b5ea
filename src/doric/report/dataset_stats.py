"""The figures of a dataset: its rows by bucket, what the gates rejected, how Doric it is, which answers are similar.

If the `meta` of a row lacks a value, the row is counted as "unknown".
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from doric.core.conversations import Row
from doric.core.text import printable
from doric.dataset.chats import Drift
from doric.dialect.lexicon import SCOTS, house_forms
from doric.dialect.spelling import to_house
from doric.quality.gates import Answer, is_region_unmarked, threshold
from doric.quality.near_duplicates import NearDuplicateIndex

UNKNOWN = "unknown"
SAFETY = "safety"
"""The bucket of harmful requests, and their group. Rows of earlier versions have the group of an unrelated topic."""
SAMPLE, NEAREST = 20, 12
"""The number of rows and of similar pairs that a page shows."""
MEASURED, SHOWN = 20_000, 4_000
"""Characters of a text that are measured, and that a page shows. An answer of the generator has at most 1,500."""
MIN_SIMILARITY = 0.5
"""Pairs with a lower similarity are not searched for."""
STAGES = {
    "complete answers": ("filtered", "broken_off", "cut_off", "empty", "unfinished"),
    "plain text of the right length": (
        "wrong_script", "markup", "meta_talk", "banned_opener", "too_short", "too_long", "repeats_itself",
        "repeats_chat",
    ),
    "Doric throughout": (
        "late_doric", "english", "thin", "word_swap", "other_dialect", "needless_f", "not_north_east", "central",
        "leakage", "edges", "relative_fit", "wrong_agreement", "word_salad", "drifts", "gave_up_doric", "left_doric",
    ),
    "answers to what was asked": (
        "echoes_prompt", "echoes_topic", "must_refuse", "offers_nothing", "refuses", "held_out",
    ),
    "no near-duplicates": ("near_duplicate",),
    "accepted by the judge": ("judge", "no_verdict"),
}  # fmt: skip
"""Stage (named after the answers that pass it) -> its gates. A gate of no stage counts for the last stage."""


JUDGED = "accepted by the judge"
"""The stage that only datasets with a judge have."""


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One row in the form that a page shows."""

    kind: str
    group: str
    lang: str
    prompt: str
    answer: str
    substrate: float
    north_east: float


@dataclass(frozen=True, slots=True)
class SimilarPair:
    """Two answers and their similarity, from 0 to 1."""

    similarity: float
    first: str
    second: str


@dataclass(slots=True)
class DatasetStats:
    """The counts. Lists of figures (`words`, `substrate`, `north_east`, ...) have one entry per row, in row order.

    `asks` counts rows by the kind of ask, `harmful` harmful requests by category. `turns` counts rows by turns: 2 are a
    question and its answer, and each turn more is a follow-up with its answer. `forms` counts (form, class)
    pairs, `outside` (form, house spelling) pairs, `examples` has one rejection per gate.
    `judged` counts the scores of a judge by criterion, `off_topic` the rows that share no word with their question.
    `respelt` counts the rows that the generator put in the house spelling, `respellings` their (old, new) words.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    groups: dict[str, Counter[str]] = field(default_factory=dict)
    asks: Counter[str] = field(default_factory=Counter)
    harmful: Counter[str] = field(default_factory=Counter)
    unmarked: int = 0
    off_topic: int = 0
    judged: dict[str, Counter[int]] = field(default_factory=dict)
    turns: Counter[int] = field(default_factory=Counter)
    drift: Drift = field(default_factory=Drift)
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
    respelt: int = 0
    respellings: Counter[tuple[str, str]] = field(default_factory=Counter)
    sample: list[SampleRow] = field(default_factory=list)
    nearest: list[SimilarPair] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    rejected_kinds: dict[str, Counter[str]] = field(default_factory=dict)
    examples: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def is_judged(self) -> bool:
        """Whether a model has scored answers."""
        return bool(self.judged) or any(self.rejected[gate] for gate in STAGES[JUDGED])

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.words)

    @property
    def answers(self) -> int:
        """The number of answers: one per row, and one more per follow-up."""
        return sum((turns - 1) * rows for turns, rows in self.turns.items())

    def funnel(self) -> list[tuple[str, int]]:
        """(stage, answers left after it), from all received answers to the kept answers."""
        left = self.answers + self.rejected.total()
        steps = [("answers received", left)]
        known = {gate for gates in STAGES.values() for gate in gates}
        others = sum(count for gate, count in self.rejected.items() if gate not in known)
        stages = {stage: gates for stage, gates in STAGES.items() if stage != JUDGED or self.is_judged}
        for number, (stage, gates) in enumerate(stages.items(), 1):
            left -= sum(self.rejected[gate] for gate in gates) + (others if number == len(stages) else 0)
            steps.append((stage, left))
        return steps


def collect_stats(rows: Iterable[Row], rejections: Iterable[Mapping[str, Any]] = (), *, seed: int = 0) -> DatasetStats:
    """The figures of rows in the messages format and of the generator's rejections. `seed` decides the sample."""
    stats = DatasetStats()
    draw, index = random.Random(seed), NearDuplicateIndex(MIN_SIMILARITY)
    answers: dict[str, str] = {}
    for row in rows:
        shown = _add_row(stats, row)
        _add_to_sample(stats, shown, draw)
        _add_to_nearest(stats, shown.answer, index, answers)
    for rejection in rejections:
        _add_rejection(stats, rejection)
    return stats


def gate_limit(figure: str) -> float:
    """The lower limit of the quality gates for `substrate` or `north_east`."""
    return threshold(figure)


def _add_row(stats: DatasetStats, row: Row) -> SampleRow:
    prompt, text = (_text_of(row, role) for role in ("user", "assistant"))
    answer = Answer.of(text)
    meta = row.get("meta", {})
    kind, group, lang = (str(meta.get(key) or UNKNOWN) for key in ("kind", "group", "lang"))
    stats.kinds[kind] += 1
    stats.groups.setdefault(group, Counter())[kind] += 1
    stats.langs[lang] += 1
    stats.turns[1 + sum(turn["role"] == "assistant" for turn in row["messages"])] += 1
    stats.drift.add(meta)
    if meta.get("ask"):
        stats.asks[str(meta["ask"])] += 1
    if kind == group == SAFETY:
        stats.harmful[str(meta.get("topic") or UNKNOWN)] += 1
    stats.unmarked += is_region_unmarked(answer)
    stats.writers[str(meta.get("model") or meta.get("backend") or UNKNOWN)] += 1
    if isinstance(meta.get("tries"), int):
        stats.tries[meta["tries"]] += 1
    stats.off_topic += meta.get("off_topic") is True
    _add_judged(stats, meta)
    _add_scores(stats, answer)
    _add_respelling(stats, meta.get("original"))
    return SampleRow(kind, group, lang, shown(prompt), text, answer.scores.substrate, answer.scores.north_east)


def _text_of(row: Row, role: str) -> str:
    """All turns of a role, as much of them as is measured."""
    return printable("\n".join(turn["content"] for turn in row["messages"] if turn["role"] == role)[:MEASURED])


def shown(text: str) -> str:
    """As much of a text as a page shows, without control characters.

    >>> shown("a" * 5_000)[-2:], shown("a\x1b[31mb")
    ('a…', 'ab')
    """
    text = printable(text[: SHOWN + 1])
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _add_scores(stats: DatasetStats, answer: Answer) -> None:
    scores = answer.scores
    stats.words.append(len(answer.words))
    stats.substrate.append(scores.substrate)
    stats.north_east.append(scores.north_east)
    stats.leakage.append(scores.leakage)
    stats.contamination.append(scores.contamination)
    outside = Counter((old.lower(), new.lower()) for old, new in to_house(answer.text).changes)
    stats.outside += outside
    for token, kind, _ in scores.evidence:
        if kind in SCOTS:
            stats.forms[token, kind] += 1
        elif kind.startswith("central") and not any(token == old for old, _ in outside):
            stats.outside[token, house_forms().get(token, "")] += 1


def _add_judged(stats: DatasetStats, meta: Mapping[str, Any]) -> None:
    """Count the scores of a judge for each answer of a row."""
    later = meta.get("follow_ups")
    for one in (meta, *(later if isinstance(later, list) else ())):
        scores = one.get("judge") if isinstance(one, Mapping) else None
        for name, score in scores.items() if isinstance(scores, Mapping) else ():
            if type(score) is int:
                stats.judged.setdefault(str(name), Counter())[score] += 1


def _add_respelling(stats: DatasetStats, original: object) -> None:
    """Count what was rewritten in an answer that the generator put in the house spelling."""
    if isinstance(original, str):
        stats.respelt += 1
        changes = to_house(original[:MEASURED]).changes
        stats.respellings.update((old.lower(), new.lower()) for old, new in changes)


def _add_to_sample(stats: DatasetStats, shown: SampleRow, draw: random.Random) -> None:
    """Reservoir sampling: each row has the same chance, for any number of rows."""
    if len(stats.sample) < SAMPLE:
        stats.sample.append(shown)
    elif (place := draw.randrange(stats.rows)) < SAMPLE:
        stats.sample[place] = shown


def _add_to_nearest(stats: DatasetStats, answer: str, index: NearDuplicateIndex, answers: dict[str, str]) -> None:
    id = str(stats.rows)
    found = index.nearest(answer)
    index.add(id, answer)
    answers[id] = answer
    if found and (len(stats.nearest) < NEAREST or found.similarity > stats.nearest[-1].similarity):
        stats.nearest.append(SimilarPair(found.similarity, shown(answers[found.id]), shown(answer)))
        stats.nearest.sort(key=lambda pair: -pair.similarity)
        del stats.nearest[NEAREST:]


def _add_rejection(stats: DatasetStats, rejection: Mapping[str, Any]) -> None:
    gate = str(rejection.get("gate") or UNKNOWN)
    stats.rejected[gate] += 1
    stats.rejected_kinds.setdefault(gate, Counter())[str(rejection.get("kind") or UNKNOWN)] += 1
    if gate not in stats.examples:
        stats.examples[gate] = {
            key: shown(value) if isinstance(value, str) else value for key, value in rejection.items()
        }
