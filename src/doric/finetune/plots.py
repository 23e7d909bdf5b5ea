"""The pictures of a run, as inline SVG that takes the text colour of the page and fits a narrow screen.

Each function returns a `Picture`, with a text alternative that has the figures.
"""

from __future__ import annotations

import functools
import html
import io
import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from doric.finetune.packing import way_in_use

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from doric.finetune.data import Example
    from doric.finetune.foreign_types import Tokenizer
    from doric.finetune.plan import Plan
    from doric.finetune.split import Split

    type Figure = Any
    type Axes = Any

INK = "#1c2733"
"""Replaced by the text colour of the page."""
BLUE, ORANGE, GREEN, RED, GREY = "#3b82c4", "#c8731e", "#3c8d5a", "#d1493b", "#8a8f98"
"""Readable on white and on black."""
PALE = "#8a8f9860"
BUCKET_COLOURS = {"core": BLUE, "multi": GREEN, "adv": ORANGE, "safety": RED}
WIDE, NARROW = 5.0, 2.45
"""Widths of a chart in inches; two narrow ones fit beside each other on a telephone."""
STYLE: Any = {
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "doric",
}


@dataclass(frozen=True)
class Picture:
    """One or more charts side by side, or below each other on a narrow screen. `alt` says what they show."""

    alt: str
    figures: tuple[Figure, ...]

    def _repr_html_(self) -> str:
        """The HTML that a notebook shows."""
        style = "display:flex;flex-wrap:wrap;gap:8px 28px;align-items:flex-start;margin:8px 0"
        charts = "".join(_svg(figure) for figure in self.figures)
        return f'<div role="img" aria-label="{html.escape(self.alt)}" style="{style}">{charts}</div>'


def _svg(figure: Figure) -> str:
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    drawn = file.getvalue()
    drawn = re.sub(r"\s*<metadata>.*?</metadata>", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)
    width = figure.get_size_inches()[0]
    style = f"flex:1 1 {60 * width:.0f}px;min-width:0;max-width:{88 * width:.0f}px;height:auto;overflow:visible"
    head = re.sub(r'\b(?:width|height)="[^"]*"\s*', "", drawn[: drawn.index(">")])
    return f'{head} style="{style}" aria-hidden="true"{drawn[drawn.index(">") :]}'.replace(INK, "currentColor")


def styled[**P](draw: Callable[P, Picture]) -> Callable[P, Picture]:
    """The function, drawing in `STYLE`."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **more: P.kwargs) -> Picture:
        from matplotlib import rc_context

        with rc_context(STYLE):
            return draw(*args, **more)

    return drawn


def chart(width: float = WIDE, height: float = 2.6) -> tuple[Figure, Axes]:
    """An empty chart; width and height are in inches."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


@styled
def memory_picture(parts: Mapping[str, float], budget: float, title: str, measured: float = 0.0) -> Picture:
    """The estimate as a bar with the budget as a line, and below it the measured peak if there is one; in GB."""
    total = sum(parts.values())
    figure, axes = chart(height=2.6 if measured else 2.2)
    left = 0.0
    for (name, size), colour in zip(parts.items(), (BLUE, GREEN, ORANGE, RED, GREY), strict=True):
        axes.barh("estimate", size, left=left, color=colour, label=f"{name} {size:.2f}", height=0.5)
        left += size
    if measured:
        axes.barh("measured", measured, color=INK, height=0.5, label=f"measured peak {measured:.2f}")
    _draw_budget(axes, budget, max(total, measured))
    axes.set(title=title, xlabel="GB")
    axes.grid(axis="y", visible=False)
    axes.invert_yaxis()
    figure.legend(ncols=2, loc="outside lower left", columnspacing=1.2, handlelength=1.0)
    peak = f", measured peak {measured:.1f} GB" if measured else ""
    parts_said = ", ".join(f"{name} {size:.2f}" for name, size in parts.items())
    return Picture(f"{title}: estimate {total:.1f} GB ({parts_said}), budget {budget:.1f} GB{peak}.", (figure,))


def _draw_budget(axes: Axes, budget: float, most: float) -> None:
    """Draw the budget as a line. A far larger budget is only in the legend: its line would squeeze the bars."""
    far = budget > 3 * most
    axes.set_xlim(0, 1.2 * most if far else 1.1 * max(budget, most))
    label = f"budget {budget:.1f}" + (" (beyond the edge)" if far else "")
    axes.axvline(2 * budget if far else budget, color=RED, linestyle="--", linewidth=1.5, label=label)


@styled
def group_picture(examples: Sequence[Example]) -> Picture:
    """The number of rows of each topic group, by bucket."""
    names = [name for name, _ in Counter(example.group for example in examples).most_common(16)][::-1]
    figure, axes = chart(height=1.1 + 0.26 * max(4, len(names)))
    left, totals = [0] * len(names), Counter(example.bucket for example in examples)
    for bucket in dict.fromkeys([*BUCKET_COLOURS, *sorted(totals)]):
        counts = Counter(example.group for example in examples if example.bucket == bucket)
        sizes = [counts[name] for name in names]
        axes.barh(names, sizes, left=left, label=f"{bucket} {totals[bucket]:,}", color=BUCKET_COLOURS.get(bucket, GREY))
        left = [before + size for before, size in zip(left, sizes, strict=True)]
    axes.set(title="Rows by topic group and bucket", xlabel="rows")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower left", ncols=4, columnspacing=1.0, handlelength=1.0)
    said = ", ".join(f"{bucket} {number:,}" for bucket, number in totals.most_common())
    return Picture(f"Rows by topic group ({len(names)} groups) and bucket: {said}.", (figure,))


@styled
def split_picture(split: Split, tokenizer: Tokenizer) -> Picture:
    """The lengths of questions and answers in tokens, and the number of rows per bucket in each set."""
    everything = [*split.train, *split.test]
    lengths = {
        label: _lengths(everything, role, tokenizer)
        for label, role in (("questions", "user"), ("answers", "assistant"))
    }
    first, axes = chart()
    axes.hist(
        list(lengths.values()), bins=32, histtype="stepfilled", alpha=0.75, color=[GREY, BLUE], label=list(lengths)
    )
    axes.set(title="Length of questions and answers", xlabel="tokens", ylabel="turns")
    axes.legend()
    second, counts = _bucket_bars(split)
    median = {name: sorted(each)[len(each) // 2] for name, each in lengths.items()}
    said = ", ".join(f"{name} {size} tokens" for name, size in median.items())
    return Picture(f"Median length: {said}. Rows by bucket, training and test: {counts}.", (first, second))


def _lengths(examples: Sequence[Example], role: str, tokenizer: Tokenizer) -> list[int]:
    texts = [turn["content"] for one in examples for turn in one.messages if turn["role"] == role]
    return [len(ids) for ids in tokenizer(texts)["input_ids"]]


def _bucket_bars(split: Split) -> tuple[Figure, str]:
    figure, axes = chart()
    buckets = list(dict.fromkeys(one.bucket for one in [*split.train, *split.test]))
    parts = {"training": Counter(one.bucket for one in split.train), "test": Counter(one.bucket for one in split.test)}
    for offset, (name, counts) in enumerate(parts.items()):
        spots = [at + 0.4 * offset for at in range(len(buckets))]
        bars = axes.bar(spots, [counts[one] for one in buckets], 0.38, label=name, color=(BLUE, ORANGE)[offset])
        axes.bar_label(bars, fontsize=11)
    axes.set_xticks([at + 0.2 for at in range(len(buckets))], buckets)
    axes.set_title("Rows by bucket")
    axes.margins(y=0.15)
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside lower left", ncols=2)
    return figure, ", ".join(f"{one} {parts['training'][one]:,} and {parts['test'][one]:,}" for one in buckets)


@styled
def packing_picture(efficiency: Mapping[str, float], plan: Plan, part: Sequence[Example]) -> Picture:
    """The share of tokens that are not padding, and the order of the topics before and after shuffling."""
    used = way_in_use(plan)
    first, axes = chart(height=2.2)
    colours = [GREEN if name == used else PALE for name in efficiency]
    bars = axes.barh(list(efficiency), [100 * value for value in efficiency.values()], color=colours)
    axes.bar_label(bars, fmt=" %.0f %%")
    axes.set(title="Tokens that are not padding", xlim=(0, 122), xlabel="%  (green: used in this run)")
    axes.grid(axis="y", visible=False)
    axes.invert_yaxis()
    said = ", ".join(f"{name} {value:.0%}" for name, value in efficiency.items())
    alt = f"Tokens that are not padding: {said}; this run uses: {used}. Beside it, the topics in the file and shuffled."
    return Picture(alt, (first, _order_stripes(part, plan.seed)))


def _order_stripes(part: Sequence[Example], seed: int) -> Figure:
    groups = list(dict.fromkeys(one.group for one in part))
    orders = [part, random.Random(seed).sample(list(part), len(part))]
    figure, axes = chart(height=2.2)
    stripes = [[groups.index(one.group) % 20 for one in order] for order in orders]
    axes.imshow(stripes, aspect="auto", interpolation="nearest", cmap="tab20")
    axes.set_yticks([0, 1], ["in the file", "shuffled"])
    axes.set(title="Topic groups by row, one colour each", xlabel="row")
    axes.grid(visible=False)
    return figure


@styled
def curve_picture(history: Sequence[Mapping[str, Any]], seconds: Sequence[float], tokens_a_step: float) -> Picture:
    """Losses, learning rate and speed, from the trainer's log and the seconds of each step of this session."""
    figures, said = [], []
    loss_figure, loss = chart()
    for key, colour, label, mark in (("loss", BLUE, "training rows", ""), ("eval_loss", ORANGE, "held-out rows", "o")):
        points = [(one["step"], one[key]) for one in history if key in one]
        if points:
            loss.plot(*zip(*points, strict=True), color=colour, label=label, marker=mark, linewidth=1.8)
            said.append(f"{label} {points[0][1]:.2f} to {points[-1][1]:.2f}")
    loss.set(title="Loss (lower is better)", xlabel="step")
    if loss.lines:
        loss.legend()
    figures.append(loss_figure)
    rates = [(one["step"], one["learning_rate"]) for one in history if "learning_rate" in one]
    figures.append(_line_chart("Learning rate", "step", rates, GREEN))
    speeds = [(at, tokens_a_step / each) for at, each in enumerate(seconds)]
    figures.append(_line_chart("Tokens per second", "step of this session", speeds, GREY))
    return Picture(
        f"Loss by step: {'; '.join(said) or 'no step yet'}. Learning rate. Tokens per second.", tuple(figures)
    )


def _line_chart(title: str, label: str, points: Sequence[tuple[float, float]], colour: str) -> Figure:
    figure, axes = chart(NARROW, 2.0)
    if points:
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.6)
    axes.set(title=title, xlabel=label, ylim=(0, None))
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
    return figure


@styled
def score_picture(before: Mapping[str, float], after: Mapping[str, float], data: Mapping[str, float]) -> Picture:
    """Both dialect scores, with those of the data, and two shares of answers; all from 0 to 1."""
    figures, said = [], []
    for name in before:
        values = {"before": before[name], "after": after[name]} | ({"data": data[name]} if name in data else {})
        figure, axes = chart(NARROW, 2.4)
        bars = axes.bar(
            list(values), [100 * value for value in values.values()], color=[GREY, GREEN, PALE][: len(values)]
        )
        axes.bar_label(bars, fmt="%.1f")
        axes.set(title=name.replace("_", "-"), ylabel="% of words" if name in data else "% of answers")
        axes.set_ylim(0, 115 * max(values.values()) + 0.1 if name in data else 115)
        axes.grid(axis="x", visible=False)
        figures.append(figure)
        said.append(f"{name.replace('_', '-')}: " + ", ".join(f"{when} {value:.1%}" for when, value in values.items()))
    return Picture(f"{'; '.join(said)}.", tuple(figures))


@styled
def probe_picture(probes: Sequence[Mapping[str, Any]]) -> Picture:
    """The probes as pairs of bars, each pair below its name."""
    figure, axes = chart(height=1.0 + 0.75 * len(probes))
    for offset, (when, colour) in enumerate((("before", GREY), ("after", GREEN))):
        spots = [at + 0.3 * offset for at in range(len(probes))]
        bars = axes.barh(spots, [100 * one[when] for one in probes], 0.28, color=colour, label=when)
        axes.bar_label(bars, fmt=" %.0f %%", fontsize=11)
    for at, one in enumerate(probes):
        axes.text(0, at - 0.2, f"{one['probe']} ({one['prompts']})", va="bottom", fontsize=11)
    axes.set_yticks([])
    axes.set(xlabel="% of answers", xlim=(0, 115), ylim=(len(probes) - 0.4, -0.65))
    axes.set_title("Probes (number of questions)")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower left", ncols=2)
    said = (f"{one['probe']}: {one['before']:.0%} before, {one['after']:.0%} after" for one in probes)
    return Picture(f"{'; '.join(said)}.", (figure,))


@styled
def size_picture(sizes: Mapping[str, float]) -> Picture:
    """The size of each saved format, in MB."""
    figure, axes = chart(height=0.8 + 0.4 * len(sizes))
    bars = axes.barh(list(sizes), list(sizes.values()), color=[GREEN, BLUE, ORANGE, GREY][: len(sizes)])
    axes.bar_label(bars, fmt=" %.0f MB")
    axes.set(title="Size of the saved files", xlabel="MB")
    axes.margins(x=0.2)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    return Picture("Size: " + ", ".join(f"{name} {size:,.0f} MB" for name, size in sizes.items()) + ".", (figure,))
