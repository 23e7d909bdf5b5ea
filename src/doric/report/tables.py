"""Tables of figures with intervals, for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

type Json = Mapping[str, Any]
"""A saved result or a part of it."""


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines with aligned columns: the first on the left, the others on the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(width) if at else cell.ljust(width) for at, (cell, width) in enumerate(zip(row, widths)))  # noqa: B905
        for row in rows
    ]


def percent(interval: Json) -> str:
    """A share with its interval, such as "83% [71-91]"; "-" without cases."""
    if not interval["n"]:
        return "-"
    return f"{interval['value']:.0%} [{100 * interval['low']:.0f}-{100 * interval['high']:.0f}]"


def signed(interval: Json, scale: float) -> str:
    """A change with its interval, such as "+12 [+3, +20]"."""
    ends = [f"{scale * interval[end]:+.0f}" for end in ("low", "high") if interval[end] is not None]
    return f"{scale * interval['value']:+.0f} [{', '.join(ends) or '-'}]"
