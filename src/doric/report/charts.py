"""Charts as inline SVG: sharp at any size, coloured by the page's style sheet. Each has a text alternative."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 360, 180
LEFT, RIGHT, TOP, BOTTOM = 40, 22, 12, 26
"""The margins around the plot, in SVG units."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a line chart: its name, its CSS class, and (value, low, high) for each step, as shares."""

    name: str
    css: str
    points: Sequence[tuple[float, float, float]]


def histogram(
    values: Sequence[float], label: str, *, top: float, bins: int = 24, unit: str = "", limit: float | None = None
) -> Markup:
    """The number of values in each of `bins` equal steps from 0 to `top`. Larger values count in the last step.

    `unit` is "%" for shares. `limit` is drawn as a dashed line. `label` is the text alternative.
    """
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, int(value / top * bins)))] += 1
    bars = [_bar(counts, index, top, unit) for index in range(bins)]
    return _svg(label, [*_axes(max([1, *counts]), top, unit), *bars, *_limit(limit, top, unit)])


def lines(series: Sequence[Line], names: Sequence[str], label: str) -> Markup:
    """Shares from 0 to 1 over a few named steps, each with an interval. `label` is the text alternative."""
    if not names:
        return Markup("")
    step = (WIDTH - LEFT - RIGHT) / len(names)
    parts = _share_axes()
    for index, name in enumerate(names):
        parts.append(_text(LEFT + (index + 0.5) * step, HEIGHT - BOTTOM + 16, name, "middle"))
    for index, line in enumerate(series):
        parts += _series(line, step, 5 * (index - (len(series) - 1) / 2))
    return _svg(label, parts)


def _bar(counts: Sequence[int], index: int, top: float, unit: str) -> Markup:
    bins = len(counts)
    step, height = (WIDTH - LEFT - RIGHT) / bins, (HEIGHT - TOP - BOTTOM) * counts[index] / max([1, *counts])
    low, high = _number(top * index / bins, unit), _number(top * (index + 1) / bins, unit)
    reach = f"{low} and more" if index == bins - 1 else f"{low} to {high}"
    rect = '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}: {:,}</title></rect>'
    place = (LEFT + index * step + 0.5, HEIGHT - BOTTOM - height, step - 1, height)
    return Markup(rect).format(*place, reach, counts[index])


def _series(line: Line, step: float, offset: float) -> list[Markup]:
    """A line with its points; `offset` moves it sideways so that the intervals of two lines do not overlap."""
    places = [(LEFT + (at + 0.5) * step + offset, *map(_height, point)) for at, point in enumerate(line.points)]
    path = " ".join(f"{'M' if not at else 'L'}{x:.1f} {y:.1f}" for at, (x, y, _, _) in enumerate(places))
    parts = [Markup('<path class="line {}" d="{}"/>').format(line.css, path)]
    circle = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="4"><title>{}: {:.0%}</title></circle>')
    for (x, y, low, high), (value, _, _) in zip(places, line.points, strict=True):
        parts.append(Markup('<path class="whisker {}" d="M{:.1f} {:.1f}V{:.1f}"/>').format(line.css, x, low, high))
        parts.append(circle.format(line.css, x, y, line.name, value))
    return parts


def _height(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(1.0, max(0.0, share)))


def _axes(highest: int, top: float, unit: str) -> list[Markup]:
    bottom = HEIGHT - BOTTOM
    parts = [Markup('<path class="axis" d="M{} {}H{}"/>').format(LEFT, bottom, WIDTH - RIGHT)]
    parts += [_text(LEFT - 6, TOP + 9, f"{highest:,}", "end"), _text(LEFT - 6, bottom, "0", "end")]
    for quarter in range(5):
        x = LEFT + (WIDTH - LEFT - RIGHT) * quarter / 4
        parts.append(_text(x, bottom + 16, _number(top * quarter / 4, unit) + ("+" if quarter == 4 else ""), "middle"))
    return parts


def _share_axes() -> list[Markup]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = _height(share)
        parts.append(Markup('<path class="axis" d="M{} {:.1f}H{}"/>').format(LEFT, y, WIDTH - RIGHT))
        parts.append(_text(LEFT - 6, y + 4, f"{share:.0%}", "end"))
    return parts


def _limit(limit: float | None, top: float, unit: str) -> list[Markup]:
    if limit is None:
        return []
    x = LEFT + (WIDTH - LEFT - RIGHT) * limit / top
    line = Markup('<path class="limit" d="M{:.1f} {}V{}"><title>limit of the quality gates: {}</title></path>')
    return [line.format(x, TOP, HEIGHT - BOTTOM, _number(limit, unit))]


def _number(value: float, unit: str) -> str:
    return f"{100 * value:.3g}%" if unit == "%" else f"{value:.0f}"


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _svg(label: str, parts: Sequence[Markup]) -> Markup:
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return head.format(WIDTH, HEIGHT, label) + Markup("").join(parts) + Markup("</svg>")
