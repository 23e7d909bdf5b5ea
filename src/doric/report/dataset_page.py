"""A dataset as a self-contained HTML page, and as a dataset card for the Hugging Face hub with the same figures."""

import datetime
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from doric.core.conversations import as_messages
from doric.core.jsonl import read_jsonl
from doric.core.reviews import checked_sentence
from doric.core.text import counted, printable
from doric.dataset.asks import ADVICE, CORE, asks
from doric.dataset.plan import FIRST_TURNS
from doric.dataset.sense import HIGH, LOW, criteria
from doric.dialect.highlight import highlight, meaning_of
from doric.report.charts import histogram
from doric.report.dataset_stats import UNKNOWN, DatasetStats, collect_stats, gate_limit, shown
from doric.report.html import page, render

BUCKETS = ("core", "adv", "safety", "multi")
NAMES = {"core": "core", "adv": "told to drop Doric", "safety": "harmful requests", "multi": "other languages"}
DESCRIPTIONS = {
    "core": "a question and an answer",
    "adv": "told to drop Doric; the answer stays in Doric",
    "safety": "a harmful request; the answer refuses and offers something harmless",
    "multi": "asked in another language; the answer is in Doric",
}
ORDERS = "orders"
"""The adv rows that are no ask of a kind."""
TOP_FORMS, TOP_OUTSIDE, TOP_TRIES = 40, 40, 5
MALFORMED_LINE = {"line", "reason", "text"}
WRITERS = {"heuristic": "the embedded voice"}


def load_stats(rows_path: Path, rejected_path: Path | None) -> DatasetStats:
    """The figures of a dataset file in either format, and of its rejections if there is a file of these.

    Raises `InputError` with file and line.
    """
    has_rejections = rejected_path and rejected_path.is_file() and rejected_path.stat().st_size > 0
    rejections = read_jsonl(rejected_path) if rejected_path and has_rejections else ()
    rows = read_jsonl(rows_path, convert=as_messages)
    # earlier versions of the converter wrote malformed lines to a file with this name
    return collect_stats((row for _, row in rows), (entry for _, entry in rejections if entry.keys() != MALFORMED_LINE))


def dataset_page(stats: DatasetStats, name: str) -> str:
    """The HTML page of a dataset; `name` is the dataset's file."""
    return page("dataset.html", name=printable(name), **_values(stats))


def dataset_card(stats: DatasetStats, name: str) -> str:
    """The same figures as a dataset card for the Hugging Face hub, in Markdown; `name` is the dataset's file."""
    name = printable(name)
    title = Path(name).stem.replace("_", " ").replace("-", " ")
    return render(
        "card.md",
        title=title[:1].upper() + title[1:], file=name, size=_size_category(stats.rows),
        prompt_langs=[*stats.langs],
        langs_counted=stats.langs.most_common(), descriptions=_Labels(DESCRIPTIONS),
        quantiles=list(_quantiles(stats)), **_values(stats),
    )  # fmt: skip


def _values(stats: DatasetStats) -> dict[str, Any]:
    """The values for both templates."""
    order = [kind for kind in (*BUCKETS, *sorted(stats.kinds)) if stats.kinds[kind]]
    groups = sorted(((group, counts, counts.total()) for group, counts in stats.groups.items()), key=lambda g: -g[2])
    return {
        "stats": stats,
        "checked": checked_sentence(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "unknown": UNKNOWN,
        "names": _Labels(NAMES),
        "writers": ", ".join(WRITERS.get(name, name) for name, _ in stats.writers.most_common() if name != UNKNOWN),
        "cards": list(_headlines(stats)),
        "kinds": [(kind, stats.kinds[kind]) for kind in dict.fromkeys(order)],
        "groups": groups,
        "most": max(total for _, _, total in groups),
        "bars": list(_bars(stats)),
        "langs": stats.langs.most_common() if set(stats.langs) != {UNKNOWN} else [],
        "has_history": bool(stats.tries or stats.rejected),
        "funnel": stats.funnel(),
        "tries": sorted(stats.tries.items())[:TOP_TRIES],
        "more_tries": len(stats.tries) > TOP_TRIES,
        "rejected": [
            (gate, count, stats.rejected_kinds[gate].most_common(), stats.examples[gate])
            for gate, count in stats.rejected.most_common()
        ],
        "charts": list(_charts(stats)),
        "north_east": _top_forms(stats, ("ne",)),
        "scots": _top_forms(stats, ("scots", "shared", "na")),
        "outside": [(form, house, count) for (form, house), count in stats.outside.most_common(TOP_OUTSIDE)],
        "outside_total": stats.outside.total(),
        "respellings": [(old, new, count) for (old, new), count in stats.respellings.most_common(TOP_OUTSIDE)],
        "word_total": sum(stats.words),
        "sample": [(row, list(highlight(shown(row.answer)))) for row in stats.sample],
    }


class _Labels(dict[str, str]):
    """Labels of buckets; "" for user-defined buckets."""

    def __missing__(self, key: str) -> str:
        return ""


def _bars(stats: DatasetStats) -> Iterator[tuple[str, str, list[tuple[str, str, int]]]]:
    """(title, CSS class, bars) of each bar chart that has a bar; a bar is a name, its description and its rows."""
    kinds = asks()
    about = {name: ask.about for name, ask in kinds.items()} | {
        ADVICE: "advice about a topic", ORDERS: "orders, pleas and mockery; the answer stays in Doric",
    }  # fmt: skip
    for bucket, title in (("core", "Core rows by what is asked"), ("adv", "Rows told to drop Doric, by what is asked")):
        rows = {name: n for name, n in stats.asks.most_common() if _bucket(name) == bucket}
        rest = stats.kinds[bucket] - sum(rows.values())
        if rows and rest and bucket == "adv":
            rows |= {ORDERS: rest}
        if rows:
            yield title, bucket, [(name, about.get(name, ""), n) for name, n in rows.items()]
    if stats.turns.keys() - {FIRST_TURNS}:
        chats = sorted(stats.turns.items())
        drift = f" ({stats.drift})" if stats.drift.later else ""
        yield f"Rows by turns{drift}", "core", [(f"{turns} turns", _follow_ups(turns), n) for turns, n in chats]
    for name, scores in stats.judged.items():
        title = f"Scores of the judge: {criteria().get(name, name)}"
        yield title, "core", [(f"{score} of {HIGH}", "", scores[score]) for score in range(HIGH, LOW - 1, -1)]
    if stats.harmful:
        yield "Harmful requests by category", "safety", [(name, "", n) for name, n in stats.harmful.most_common()]


def _follow_ups(turns: int) -> str:
    return "a question and its answer" + (f", and {counted(turns - FIRST_TURNS, 'follow-up')}" if turns > 2 else "")


def _bucket(ask: str) -> str:
    """The bucket of a kind of ask; core for kinds that are not known."""
    return asks()[ask].bucket if ask in asks() else CORE


def _headlines(stats: DatasetStats) -> Iterator[tuple[str, str]]:
    yield f"{stats.rows:,}", "rows"
    yield f"{_median(stats.words):.0f}", "words per answer, median"
    yield f"{_median(stats.substrate):.0%}", "Scots words, median"
    yield f"{_median(stats.north_east):.1%}", "North-East words, median"
    if stats.unmarked:
        yield f"{stats.unmarked:,}", "rows without a North-East form (short Scots)"
    if stats.off_topic:
        yield f"{stats.off_topic:,}", "rows that share no word with their question"
    if refused := stats.rejected["judge"]:
        yield f"{refused:,}", "answers refused by the judge"
    if stats.tries:
        yield f"{stats.tries[1] / stats.tries.total():.1%}", "accepted at the first try"
    if stats.rejected:
        yield f"{stats.rejected.total():,}", "answers rejected"


def _charts(stats: DatasetStats) -> Iterator[tuple[str, Markup]]:
    longest = max(60.0, -(-max(stats.words, default=0) // 20) * 20)
    shown = (
        ("Words per answer", stats.words, longest, "", None),
        ("Scots words", stats.substrate, 0.8, "%", gate_limit("substrate")),
        ("North-East words", stats.north_east, 0.4, "%", gate_limit("north_east")),
    )
    for caption, values, top, unit, limit in shown:
        median = f"{_median(values):.0%}" if unit else f"{_median(values):.0f}"
        label = f"{caption}: histogram of {len(values):,} answers, median {median}"
        yield f"{caption}, median {median}", histogram(values, label, top=top, unit=unit, limit=limit)


def _top_forms(stats: DatasetStats, kinds: tuple[str, ...]) -> list[tuple[str, int, str]]:
    forms = ((form, count) for (form, kind), count in stats.forms.most_common() if kind in kinds)
    return [(form, count, meaning_of(form)) for (form, count), _ in zip(forms, range(TOP_FORMS), strict=False)]


def _quantiles(stats: DatasetStats) -> Iterator[tuple[str, str, str, str]]:
    """(figure, 10th percentile, median, 90th percentile) of single answers."""
    for name, values, shape in (
        ("words", stats.words, "{:.0f}"),
        ("Scots words", stats.substrate, "{:.1%}"),
        ("North-East words", stats.north_east, "{:.1%}"),
        ("leaked English", stats.leakage, "{:.1%}"),
        ("forms of Central Scots", stats.contamination, "{:.1%}"),
    ):
        ordered = sorted(values) or [0]
        low, middle, high = (shape.format(ordered[round(part * (len(ordered) - 1))]) for part in (0.1, 0.5, 0.9))
        yield name, low, middle, high


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def _size_category(count: int) -> str:
    steps = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for limit, name in steps if count < limit), "1M<n<10M")
