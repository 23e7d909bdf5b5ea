"""A dataset as one page that opens anywhere, and as a dataset card with the same figures.

Knows what is shown and in what order; the figures come from `census`.
"""

import datetime
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup

from doric.core.errors import InputError
from doric.core.files import atomic_write
from doric.core.jsonl import read_jsonl
from doric.dialect.highlight import highlight, meaning_of
from doric.evaluation.stats import median
from doric.quality import gates
from doric.report import dataset_stats as census
from doric.report.charts import histogram
from doric.report.dataset_stats import UNTOLD, DatasetStats
from doric.report.html import environment, page

KINDS = ("core", "adv", "safety", "multi")
NAMES = {"core": "core", "adv": "told to drop Doric", "safety": "harmful asks", "multi": "other languages"}
MEANINGS = {
    "core": "a question, an answer",
    "adv": "told to drop Doric, it does not",
    "safety": "asked for harm, it says no and offers something harmless",
    "multi": "asked in another language, it answers in Doric",
}
TOP_FORMS, TOP_OUTSIDE, TRIES = 40, 40, 5
WRITERS = {"heuristic": "the embedded voice"}


def write_dataset_report(rows_path: Path, rejected_path: Path | None, out_path: Path) -> None:
    """Count a dataset file of either shape, and the rejections beside it if there are any, and write the page."""
    write_dataset_page(counted(rows_path, rejected_path), Path(rows_path).name, out_path)


def counted(rows_path: Path, rejected_path: Path | None) -> DatasetStats:
    """The census of a dataset file. Raises `InputError` with file and line."""
    refused = read_jsonl(rejected_path) if rejected_path and _holds(rejected_path) else ()
    return census.take(_checked(read_jsonl(rows_path), rows_path), (entry for _, entry in refused))


def write_dataset_page(found: DatasetStats, name: str, out_path: Path) -> None:
    """The page of a census that was taken before."""
    atomic_write(out_path, page("dataset.html", name=name, **_dataset(found)).encode())


def write_card(found: DatasetStats, name: str, out_path: Path) -> None:
    """The same figures as a dataset card for the Hugging Face hub; `name` is the dataset's file."""
    title = Path(name).stem.replace("_", " ").replace("-", " ")
    text = environment().get_template("card.md").render(
        title=title[:1].upper() + title[1:], file=name, size=_size(found.rows), prompt_langs=[*found.langs],
        langs_counted=found.langs.most_common(), meanings=_Names(MEANINGS),
        spreads=list(_spreads(found)), **_dataset(found),
    )  # fmt: skip
    atomic_write(out_path, text.encode())


def _holds(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _checked(found: Iterable[tuple[int, dict[str, Any]]], path: Path) -> Iterator[dict[str, Any]]:
    """Rows, each fault of one told with file and line."""
    for number, row in found:
        try:
            yield census.messages(row)
        except InputError as error:
            raise InputError(error.message, file=path, line=number, hint=error.hint) from error


# ---- a dataset


def _dataset(found: DatasetStats) -> dict[str, Any]:
    order = [kind for kind in (*KINDS, *sorted(found.kinds)) if found.kinds[kind]]
    kinds = [(kind, found.kinds[kind]) for kind in dict.fromkeys(order)]
    groups = sorted(
        ((group, counts, counts.total()) for group, counts in found.groups.items()), key=lambda one: -one[2]
    )
    outside = found.outside.most_common(TOP_OUTSIDE)
    return {
        "census": found,
        "date": _today(),
        "names": _Names(NAMES),
        "writers": ", ".join(WRITERS.get(name, name) for name, _ in found.writers.most_common() if name != UNTOLD),
        "cards": list(_figures(found)),
        "kinds": kinds,
        "groups": groups,
        "most": max(total for _, _, total in groups),
        "langs": found.langs.most_common() if set(found.langs) != {UNTOLD} else [],
        "told": bool(found.tries or found.rejected),
        "funnel": found.funnel(),
        "tries": sorted(found.tries.items())[:TRIES],
        "later": len(found.tries) > TRIES,
        "rejected": [
            (gate, count, found.rejected_kinds[gate].most_common(), found.examples[gate])
            for gate, count in found.rejected.most_common()
        ],
        "charts": list(_distributions(found)),
        "north_east": _top(found, ("ne",)),
        "scots": _top(found, ("scots", "shared", "na")),
        "outside": [(form, house, count) for (form, house), count in outside],
        "outside_total": found.outside.total(),
        "word_total": sum(found.words),
        "sample": [(shown, list(highlight(shown.answer))) for shown in found.sample],
    }


class _Names(dict[str, str]):
    """What buckets are called or mean; one of somebody's own, or a row that tells none, has nothing."""

    def __missing__(self, key: str) -> str:
        return ""


def _figures(found: DatasetStats) -> Iterator[tuple[str, str]]:
    yield f"{found.rows:,}", "rows"
    yield f"{median(found.words) or 0:.0f}", "words an answer, median"
    yield f"{median(found.substrate) or 0:.0%}", "Scots words, median"
    yield f"{median(found.north_east) or 0:.1%}", "North-East words, median"
    if found.tries:
        yield f"{found.tries[1] / found.tries.total():.1%}", "accepted at the first try"
    if found.rejected:
        yield f"{found.rejected.total():,}", "answers refused"


def _distributions(found: DatasetStats) -> Iterator[tuple[str, Markup]]:
    most = max(60.0, -(-max(found.words, default=0) // 20) * 20)
    shown = (
        ("Words an answer", found.words, most, "", None),
        ("Scots words: is it Scots?", found.substrate, 0.8, "%", gates.threshold("substrate")),
        ("North-East words: whose Scots?", found.north_east, 0.4, "%", gates.threshold("north_east")),
    )
    for caption, values, top, unit, limit in shown:
        middle = median(values) or 0
        said = f"{middle:.0%}" if unit else f"{middle:.0f}"
        label = f"{caption}: histogram of {len(values):,} answers, median {said}"
        yield (
            f"{caption} Median {said}" if caption.endswith("?") else f"{caption}, median {said}",
            histogram(values, label, top=top, unit=unit, mark=limit),
        )


def _top(found: DatasetStats, kinds: tuple[str, ...]) -> list[tuple[str, int, str]]:
    forms = ((form, count) for (form, kind), count in found.forms.most_common() if kind in kinds)
    return [(form, count, meaning_of(form)) for (form, count), _ in zip(forms, range(TOP_FORMS), strict=False)]


def _spreads(found: DatasetStats) -> Iterator[tuple[str, str, str, str]]:
    for name, values, shape in (
        ("words", found.words, "{:.0f}"),
        ("Scots words", found.substrate, "{:.1%}"),
        ("North-East words", found.north_east, "{:.1%}"),
        ("leaked English", found.leakage, "{:.1%}"),
        ("forms of Central Scots", found.contamination, "{:.1%}"),
    ):
        ordered = sorted(values) or [0]
        ends = (ordered[round(part * (len(ordered) - 1))] for part in (0.1, 0.5, 0.9))
        low, middle, high = (shape.format(end) for end in ends)
        yield name, low, middle, high


def _size(count: int) -> str:
    steps = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for most, name in steps if count < most), "1M<n<10M")


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
