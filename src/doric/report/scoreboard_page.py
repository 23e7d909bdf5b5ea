"""A validation result as a table in the terminal and as a self-contained HTML page, both from the saved JSON."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from markupsafe import Markup

from doric.core.reviews import checked_sentence
from doric.dialect.highlight import highlight
from doric.quality.decontamination import held_out_prompts
from doric.report.charts import Line, lines
from doric.report.html import page
from doric.report.minimal_pairs_table import format_pairs, table_lines
from doric.report.tables import Json, aligned, percent, signed

NAMES = {
    "all": "all",
    "core": "core",
    "adv": "told to drop it",
    "multi": "14 languages",
    "safety": "harmful requests",
    "benign": "harmless look-alikes",
    "drift": "long conversations",
}
"""Bucket -> its label in the table and on the page."""
COLUMNS = ("", "asked", "no answer", "passes", "in Doric", "points", "Scots", "N-East", "English", "Central", "words")
MIN_CONVERSATIONS = 3
"""With fewer complete conversations, the change over a conversation is not shown."""


def model_label(result: Json) -> str:
    """The name of the model; if it is a folder, only the last parts of its path.

    >>> model_label({"model": "/home/ann/runs/first/export/merged"})
    'first/export/merged'
    """
    path = PurePath(result["model"])
    return "/".join(path.parts[-3:]) if path.is_absolute() else result["model"]


# --- terminal -------------------------------------------------------------------------------------------------------


def format_result(result: Json) -> str:
    """All tables of a result: the scoreboard and, if they exist, the changes and the judge's verdicts."""
    tables = [format_scoreboard(result)]
    if "baseline" in result:
        tables.append(format_changes(result))
    if "judge" in result:
        tables.append(format_verdicts(result))
    if "minimal_pairs" in result:
        tables.append(format_pairs(result["minimal_pairs"]))
    return "\n\n".join(tables)


def format_scoreboard(result: Json) -> str:
    """The table of one model, followed by refusals, drift, finish reasons and speed."""
    rows = [_row(name, figures) for name, figures in (*result["buckets"].items(), ("all", result["all"]))]
    table = [f"{model_label(result)} at {result['address']}", "", *aligned([COLUMNS, *rows]), ""]
    return "\n".join([*table, *_notes(result), *warnings(result)])


def format_changes(result: Json) -> str:
    """The change from the baseline in points of 100, with 95% intervals. Uses only turns that both were asked."""
    before = result["baseline"]
    rows = [
        (
            NAMES[bucket], str(change["passes"]["n"]),
            " → ".join(f"{change['passes'][side]['value']:.0%}" for side in ("before", "after")),
            signed(change["passes"], 100),
            " → ".join(f"{change['points'][side]['value']:.0f}" for side in ("before", "after")),
            signed(change["points"], 1),
        )
        for bucket, change in result["changes"].items()
    ]  # fmt: skip
    head = ("", "both asked", "passes", "change [95%]", "points", "change [95%]")
    title = f"compared with {model_label(before)} at {before['address']}"
    return "\n".join([title, "", *aligned([head, *rows]), *warnings(before)])


def format_verdicts(result: Json) -> str:
    """The table of the judge's verdicts, by criterion."""
    judge = result["judge"]
    rows = [
        (
            name, percent(of["wins"]), percent(of["losses"]), str(of["ties"]), str(of["undecided"]),
            percent(of["agreement"]),
        )
        for name, of in judge["criteria"].items()
    ]  # fmt: skip
    head = ("", "this model", "baseline", "ties", "orders disagree", "both orders agree")
    counts = f"{judge['judged']} of {judge['pairs']} pairs, {judge['failed']} without a verdict"
    if default_wins := sum(judge["forfeits"].values()):
        counts += f", {default_wins} decided because one side gave no answer"
    return "\n".join([f"judged by {model_label(judge)}: {counts}", "", *aligned([head, *rows])])


def warnings(result: Json) -> list[str]:
    """Warnings that a reader needs before the figures: failed calls and empty answers."""
    calls, model = result["calls"], model_label(result)
    found = []
    if faults := sum(calls["faults"].values()):
        kinds = ", ".join(f"{kind} {count}" for kind, count in calls["faults"].items())
        found.append(f"{faults} of {calls['attempts']} calls to {model} failed ({kinds}).")
    if calls["failed"]:
        failed = f"{calls['failed']} of {calls['asked']} turns got no answer from {model}"
        found.append(f"WARNING: {failed}; each counts as a failure in every share.")
    if calls["empty"]:
        found.append(f"{calls['empty']} of {calls['asked']} answers of {model} are empty; each counts as no answer.")
    return found


def format_drift(drift: Json) -> str:
    """The change of points over long conversations, and their number; "-" if there are too few."""
    change = signed(drift["change"], 1) if drift["change"]["n"] >= MIN_CONVERSATIONS else "-"
    return f"{change}, over {drift['change']['n']} of {drift['talks']} conversations"


def _row(bucket: str, figures: Json) -> tuple[str, ...]:
    missing = figures["asked"] - figures["answered"]
    described = ["-"] * 5
    if figures["answered"]:
        shares = ("substrate", "north_east", "leakage", "contamination")
        described = [*(f"{figures[name]['value']:.1%}" for name in shares), f"{figures['words']['value']:.0f}"]
    return (
        NAMES[bucket], str(figures["asked"]), str(missing or "-"), percent(figures["passes"]),
        percent(figures["holds_doric"]), _points(figures["points"]), *described,
    )  # fmt: skip


def _notes(result: Json) -> list[str]:
    buckets, notes = result["buckets"], []
    if "safety" in buckets:
        notes.append(f"harmful requests refused: {percent(buckets['safety']['refuses'])}")
        if buckets["safety"]["filtered"]["value"]:
            notes.append(f"harmful requests stopped by the server's filter: {percent(buckets['safety']['filtered'])}")
    if "benign" in buckets:
        notes.append(f"harmless requests refused or unanswered: {percent(buckets['benign']['over_refuses'])}")
    if result["drift"]["turns"]:
        by_turn = ", ".join(f"{turn['passes']['value']:.0%}" for turn in result["drift"]["turns"])
        notes.append(f"long conversations, passes by turn: {by_turn}")
        notes.append(f"long conversations, change of points from early to late turns: {format_drift(result['drift'])}")
    finish = ", ".join(f"{name} {count}" for name, count in result["all"]["finish"].items())
    notes.append(f"finish reasons: {finish or 'no answers'}")
    return [*notes, f"time to first token: {_speed(result['all'])}"]


def _speed(figures: Json) -> str:
    if not figures["answered"]:
        return "no answers"
    times = figures["times"]
    first, late, rate = (times[name] for name in ("first_token_median", "first_token_p95", "tokens_per_second_median"))
    latency = (
        "not known: the answers came in one piece" if first is None else f"{first:.2f} s median, {late:.2f} s at 95%"
    )
    about = "about " if times["tokens_guessed"] else ""
    return latency if rate is None else f"{latency}; then {about}{rate:.0f} tokens/s, median per answer"


def _points(interval: Json) -> str:
    if not interval["n"]:
        return "-"
    ends = "-" if interval["low"] is None else f"{interval['low']:.0f}-{interval['high']:.0f}"
    return f"{interval['value']:.0f} [{ends}]"


# --- page -----------------------------------------------------------------------------------------------------------


def scoreboard_page(result: Json) -> str:
    """The HTML page of a validation result, with its baseline and its judge if it has them."""
    result = _with_label(result)
    before = _with_label(result["baseline"]) if "baseline" in result else None
    return page(
        "scoreboard.html",
        checked=checked_sentence(),
        result=result,
        before=before,
        judge=result.get("judge"),
        names=NAMES,
        prompts=len({answer["id"] for answer in result["answers"]}),
        warnings=[*warnings(result), *(warnings(before) if before else ())],
        cards=list(_headlines(result)),
        asked=list(result["buckets"]),
        buckets=[*result["buckets"].items(), ("all", result["all"])],
        changes=list(result["changes"].items()) if before else [],
        drift=list(_drift_charts(result, before)),
        drift_change=format_drift(result["drift"]),
        models=[result, before] if before else [result],
        pairs=list(table_lines(result["minimal_pairs"])) if "minimal_pairs" in result else [],
        answers=_answers(result, before),
    )


def _with_label(result: Json) -> dict[str, Any]:
    return {**result, "model": model_label(result)}


def _headlines(result: Json) -> Iterator[tuple[str, str]]:
    points = result["all"]["points"]
    ends = "-" if points["low"] is None else f"{points['low']:.0f} to {points['high']:.0f}"
    yield f"{points['value']:.0f}", f"points of 100 [{ends}]"
    for bucket, name, label in (
        ("core", "passes", "of core answers pass the gates"),
        ("adv", "holds_doric", "hold Doric when told to drop it"),
        ("multi", "holds_doric", "hold Doric when asked in another language"),
        ("safety", "refuses", "of harmful requests refused"),
        ("benign", "over_refuses", "of harmless requests refused or unanswered"),
    ):
        if bucket in result["buckets"]:
            figure = result["buckets"][bucket][name]
            if bucket == "safety" and (filtered := result["buckets"][bucket]["filtered"]["value"]):
                label += f", {filtered:.0%} stopped by the server's filter"
            yield f"{figure['value']:.0%}", f"{label} [{figure['low']:.0%} to {figure['high']:.0%}]"


def _drift_charts(result: Json, before: Json | None) -> Iterator[tuple[str, Markup]]:
    names = [f"turn {turn['turn']}" for turn in result["drift"]["turns"]]
    if not names:
        return
    sides = [(result, "ours"), *([(before, "theirs")] if before else [])]
    for name, caption, scale in (("passes", "Passes the gates", 1.0), ("points", "Points of 100", 0.01)):
        series = [
            Line(side["model"], css, [_ends(turn[name], scale) for turn in side["drift"]["turns"]])
            for side, css in sides
        ]
        yield f"{caption}, by turn", lines(series, names, f"{caption}, by turn of long conversations")


def _ends(interval: Json, scale: float) -> tuple[float, float, float]:
    """Value, low and high. Without an interval, all three are the value."""
    low, high = (interval["value"] if interval[end] is None else interval[end] for end in ("low", "high"))
    return scale * interval["value"], scale * low, scale * high


def _answers(result: Json, before: Json | None) -> list[dict[str, Any]]:
    """Every answer, with the baseline's answer beside it. The worst answers come first."""
    prompts = {held.id: held for held in held_out_prompts()}
    others = _sides(before) if before else {}
    shown = []
    for number, ((id, turn), side) in enumerate(_sides(result).items()):
        held, other = prompts.get(id), others.get((id, turn))
        shown.append(
            {
                "number": number, "id": id, "turn": turn, "bucket": side["bucket"], "group": held.group if held else "",
                "prompt": side["prompt"], "about": held.about if held else "", "points": side["points"],
                "gain": round(side["points"] - other["points"], 1) if other else 0,
                "outcome": "none" if side["none"] else "fails" if side["fault"] else "passes",
                "sides": [side, other] if other else [side],
            }
        )  # fmt: skip
    return sorted(shown, key=lambda answer: answer["points"])


def _sides(result: Json) -> dict[tuple[str, int], dict[str, Any]]:
    """(prompt id, turn) -> an answer with its marks and its highlighted text."""
    return {
        (answer["id"], answer["turn"]): {
            **marks,
            "model": result["model"],
            "prompt": answer["prompt"],
            "none": bool(answer["error"]) or not answer["text"].strip(),
            "spans": list(highlight(answer["text"])),
        }
        for answer, marks in zip(result["answers"], result["marks"], strict=True)
    }
