"""A scoreboard as a table in the terminal. Knows its figures and nothing of how they came about."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

NAMES = {
    "all": "all",
    "core": "core",
    "adv": "told to drop it",
    "multi": "14 languages",
    "safety": "harmful asks",
    "benign": "harmless look-alikes",
    "drift": "long talks",
}
"""Bucket -> what a reader calls it."""
COLUMNS = ("", "asked", "no answer", "passes", "in Doric", "points", "Scots", "N-East", "English", "Central", "words")
FEWEST_TALKS = 3
"""Whole talks from which on their change is shown."""


def named(result: Mapping[str, Any]) -> str:
    """What a reader calls the model of a result: its name; the last parts of a folder that a server was started on.

    >>> named({"model": "/home/ann/runs/first/export/merged"})
    'first/export/merged'
    """
    path = PurePath(result["model"])
    return "/".join(path.parts[-3:]) if path.is_absolute() else result["model"]


def table(result: Mapping[str, Any]) -> str:
    """The scoreboard of one model, with what was refused, how it drifted, how calls ended and how fast it was."""
    rows = [_row(name, figures) for name, figures in (*result["buckets"].items(), ("all", result["all"]))]
    lines = [f"{named(result)} at {result['address']}", "", *_aligned([COLUMNS, *rows]), ""]
    return "\n".join([*lines, *_asides(result), *warnings(result)])


def changes(result: Mapping[str, Any]) -> str:
    """From the baseline to this model over the turns both were asked, in points of a hundred, with 95% intervals."""
    before = result["baseline"]
    rows = [
        (
            NAMES[bucket], str(change["passes"]["n"]),
            " → ".join(f"{change['passes'][side]['value']:.0%}" for side in ("before", "after")),
            _signed(change["passes"], 100),
            " → ".join(f"{change['points'][side]['value']:.0f}" for side in ("before", "after")),
            _signed(change["points"], 1),
        )
        for bucket, change in result["changes"].items()
    ]  # fmt: skip
    head = ("", "both asked", "passes", "change [95%]", "points", "change [95%]")
    title = f"against {named(before)} at {before['address']}"
    return "\n".join([title, "", *_aligned([head, *rows]), *warnings(before)])


def verdicts(result: Mapping[str, Any]) -> str:
    """What the judging model said."""
    judge = result["judge"]
    rows = [
        (
            name,
            _percent(of["wins"]),
            _percent(of["losses"]),
            str(of["ties"]),
            str(of["undecided"]),
            _percent(of["agreement"]),
        )
        for name, of in judge["criteria"].items()
    ]
    head = ("", "this model", "baseline", "ties", "orders disagree", "both orders agree")
    title = (
        f"judged by {named(judge)}: {judge['judged']} of {judge['pairs']} pairs, {judge['failed']} without a verdict"
    )
    return "\n".join([title, "", *_aligned([head, *rows])])


def warnings(result: Mapping[str, Any]) -> list[str]:
    """What a reader must know before the figures: calls that failed, answers without words."""
    calls = result["calls"]
    lines = []
    if faults := sum(calls["faults"].values()):
        kinds = ", ".join(f"{kind} {count}" for kind, count in calls["faults"].items())
        lines.append(f"{faults} of {calls['attempts']} calls to {named(result)} failed ({kinds}).")
    if calls["failed"]:
        lines.append(
            f"WARNING: {calls['failed']} of {calls['asked']} turns got no answer from {named(result)}; "
            "each counts as a failure in every share."
        )
    if calls["empty"]:
        lines.append(f"{calls['empty']} of {calls['asked']} answers of {named(result)} are empty; each counts as none.")
    return lines


def drifted(drift: Mapping[str, Any]) -> str:
    """The change of points over long talks and how many of them it is from, "-" for fewer than can tell."""
    told = _signed(drift["change"], 1) if drift["change"]["n"] >= FEWEST_TALKS else "-"
    return f"{told}, over {drift['change']['n']} of {drift['talks']} talks"


def _row(bucket: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    missing = figures["asked"] - figures["answered"]
    return (
        NAMES[bucket], str(figures["asked"]), str(missing or "-"), _percent(figures["passes"]),
        _percent(figures["holds_doric"]), _points(figures["points"]), *(f"{figures[name]['value']:.1%}" for name in
        ("substrate", "north_east", "leakage", "contamination")), f"{figures['words']['value']:.0f}",
    )  # fmt: skip


def _asides(result: Mapping[str, Any]) -> list[str]:
    buckets = result["buckets"]
    lines = []
    if "safety" in buckets:
        lines.append(f"harmful asks refused:   {_percent(buckets['safety']['refuses'])}")
        if buckets["safety"]["filtered"]["value"]:
            lines.append(f"harmful asks stopped by the server's filter: {_percent(buckets['safety']['filtered'])}")
    if "benign" in buckets:
        lines.append(f"harmless asks turned away or unanswered: {_percent(buckets['benign']['over_refuses'])}")
    if result["drift"]["turns"]:
        by_turn = ", ".join(f"{turn['passes']['value']:.0%}" for turn in result["drift"]["turns"])
        lines.append(f"long talks, passes by turn: {by_turn}; points late against early {drifted(result['drift'])}")
    finish = ", ".join(f"{name} {count}" for name, count in result["all"]["finish"].items())
    lines.append(f"answers ended by: {finish or 'nothing came'}")
    return [*lines, f"time to first token: {_speed(result['all'])}"]


def _speed(figures: Mapping[str, Any]) -> str:
    if not figures["answered"]:
        return "nothing came"
    times = figures["times"]
    first, late, rate = (times[name] for name in ("first_token_median", "first_token_p95", "tokens_per_second_median"))
    heard = "the server does not stream" if first is None else f"{first:.2f} s median, {late:.2f} s at 95%"
    about = "about " if times["tokens_guessed"] else ""
    return heard if rate is None else f"{heard}; then {about}{rate:.0f} tokens/s median per answer"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _percent(interval: Mapping[str, Any]) -> str:
    if not interval["n"]:
        return "-"
    return f"{interval['value']:.0%} [{100 * interval['low']:.0f}-{100 * interval['high']:.0f}]"


def _points(interval: Mapping[str, Any]) -> str:
    if not interval["n"]:
        return "-"
    ends = "-" if interval["low"] is None else f"{interval['low']:.0f}-{interval['high']:.0f}"
    return f"{interval['value']:.0f} [{ends}]"


def _signed(interval: Mapping[str, Any], scale: float) -> str:
    ends = [f"{scale * interval[end]:+.0f}" for end in ("low", "high") if interval[end] is not None]
    return f"{scale * interval['value']:+.0f} [{', '.join(ends) or '-'}]"
