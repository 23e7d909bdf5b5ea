"""Charts as inline SVG, drawn from numbers: nothing to load, sharp at any size, colours left to the page.

Knows geometry only. Every chart says in words what it shows, for those who do not see it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 180
LEFT, RIGHT, TOP, BOTTOM = 40, 22, 12, 26


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a line chart: its name, its CSS class, values with the ends of their intervals, in shares."""

    name: str
    css: str
    points: Sequence[tuple[float, float, float]]


def histogram(
    values: Sequence[float], label: str, *, top: float, bins: int = 24, unit: str = "", mark: float | None = None
) -> Markup:
    """How many values fall in each of `bins` equal steps from 0 to `top`, larger ones in the last; `mark` a limit."""
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, int(value / top * bins)))] += 1
    most = max([1, *counts])
    step = (WIDTH - LEFT - RIGHT) / bins
    bars = []
    for at, count in enumerate(counts):
        height = (HEIGHT - TOP - BOTTOM) * count / most
        low, high = _number(top * at / bins, unit), _number(top * (at + 1) / bins, unit)
        reach = f"{low} and more" if at == bins - 1 else f"{low} to {high}"
        bars.append(
            Markup(
                '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}: {:,}</title></rect>'
            ).format(LEFT + at * step + 0.5, HEIGHT - BOTTOM - height, step - 1, height, reach, count)
        )
    return _svg(label, Markup("").join([*_grid(most, top, unit), *bars, *_limit(mark, top, unit)]))


def lines(series: Sequence[Line], names: Sequence[str], label: str) -> Markup:
    """Shares from 0 to 1 over a handful of named steps, each with its interval as a whisker."""
    if not names:
        return Markup("")
    step = (WIDTH - LEFT - RIGHT) / max(1, len(names))
    drawn = list(_grid_shares())
    for at, name in enumerate(names):
        drawn.append(_text(LEFT + (at + 0.5) * step, HEIGHT - BOTTOM + 16, name, "middle"))
    for number, one in enumerate(series):
        drawn += _series(one, step, 5 * (number - (len(series) - 1) / 2))
    return _svg(label, Markup("").join(drawn))


def _series(one: Line, step: float, aside: float) -> list[Markup]:
    """A line with its points; `aside` moves it a little so that whiskers of two lines stand beside each other."""
    places = [(LEFT + (at + 0.5) * step + aside, *map(_height, point)) for at, point in enumerate(one.points)]
    path = " ".join(f"{'M' if not at else 'L'}{x:.1f} {y:.1f}" for at, (x, y, _, _) in enumerate(places))
    drawn = [Markup('<path class="line {}" d="{}"/>').format(one.css, path)]
    for (x, y, low, high), (value, _, _) in zip(places, one.points, strict=True):
        drawn.append(Markup('<path class="whisker {}" d="M{:.1f} {:.1f}V{:.1f}"/>').format(one.css, x, low, high))
        drawn.append(
            Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="4"><title>{}: {:.0%}</title></circle>').format(
                one.css, x, y, one.name, value
            )
        )
    return drawn


def _height(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(1.0, max(0.0, share)))


def _grid(most: int, top: float, unit: str) -> list[Markup]:
    floor = HEIGHT - BOTTOM
    drawn = [Markup('<path class="axis" d="M{} {}H{}"/>').format(LEFT, floor, WIDTH - RIGHT)]
    drawn += [_text(LEFT - 6, TOP + 9, f"{most:,}", "end"), _text(LEFT - 6, floor, "0", "end")]
    for part in range(5):
        x = LEFT + (WIDTH - LEFT - RIGHT) * part / 4
        drawn.append(_text(x, floor + 16, _number(top * part / 4, unit) + ("+" if part == 4 else ""), "middle"))
    return drawn


def _grid_shares() -> list[Markup]:
    drawn = []
    for share in (0.0, 0.5, 1.0):
        y = _height(share)
        drawn.append(Markup('<path class="axis" d="M{} {:.1f}H{}"/>').format(LEFT, y, WIDTH - RIGHT))
        drawn.append(_text(LEFT - 6, y + 4, f"{share:.0%}", "end"))
    return drawn


def _limit(mark: float | None, top: float, unit: str) -> list[Markup]:
    if mark is None:
        return []
    x = LEFT + (WIDTH - LEFT - RIGHT) * mark / top
    line = Markup('<path class="limit" d="M{:.1f} {}V{}"><title>limit of the gates: {}</title></path>')
    return [line.format(x, TOP, HEIGHT - BOTTOM, _number(mark, unit))]


def _number(value: float, unit: str) -> str:
    return f"{100 * value:.3g}%" if unit == "%" else f"{value:.0f}"


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _svg(label: str, inside: Markup) -> Markup:
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        WIDTH, HEIGHT, escape(label)
    )
    return head + inside + Markup("</svg>")
