"""A validation result as one page: the scoreboard, before and after, and every answer side by side, worst first.

Knows what is shown and in what order; the figures come from the result as it is saved.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from doric.core.files import atomic_write
from doric.dialect.highlight import highlight
from doric.quality.decontamination import held_out_prompts
from doric.report import scoreboard_table as table
from doric.report.charts import Line, lines
from doric.report.html import page


def write_scoreboard_report(result: Mapping[str, Any], out_path: Path) -> None:
    """The page of a validation result, with its baseline and its judge where it has them."""
    result = _called(result)
    before = _called(result["baseline"]) if "baseline" in result else None
    shown = page(
        "scoreboard.html",
        result=result,
        before=before,
        judge=result.get("judge"),
        names=table.NAMES,
        prompts=len({one["id"] for one in result["answers"]}),
        warnings=[*table.warnings(result), *(table.warnings(before) if before else ())],
        cards=list(_headlines(result)),
        asked=list(result["buckets"]),
        buckets=[*result["buckets"].items(), ("all", result["all"])],
        changes=list(result["changes"].items()) if before else [],
        drift=list(_drift(result, before)),
        drifted=table.drifted(result["drift"]),
        models=[result, before] if before else [result],
        answers=_answers(result, before),
    )
    atomic_write(out_path, shown.encode())


def _called(result: Mapping[str, Any]) -> dict[str, Any]:
    return {**result, "model": table.named(result)}


def _headlines(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    points = result["all"]["points"]
    ends = "-" if points["low"] is None else f"{points['low']:.0f} to {points['high']:.0f}"
    yield f"{points['value']:.0f}", f"points of 100 [{ends}]"
    for bucket, name, label in (
        ("core", "passes", "of core answers pass the gates"),
        ("adv", "holds_doric", "hold Doric when told to drop it"),
        ("multi", "holds_doric", "hold Doric when asked in another language"),
        ("safety", "refuses", "of harmful asks refused"),
        ("benign", "over_refuses", "of harmless asks turned away or unanswered"),
    ):
        if bucket in result["buckets"]:
            one = result["buckets"][bucket][name]
            if bucket == "safety" and (stopped := result["buckets"][bucket]["filtered"]["value"]):
                label += f", {stopped:.0%} stopped by the server's filter"
            yield f"{one['value']:.0%}", f"{label} [{one['low']:.0%} to {one['high']:.0%}]"


def _drift(result: Mapping[str, Any], before: Mapping[str, Any] | None) -> Iterator[tuple[str, Markup]]:
    names = [f"turn {turn['turn']}" for turn in result["drift"]["turns"]]
    sides = [(result, "ours"), *([(before, "theirs")] if before else [])]
    for name, caption, scale in (("passes", "Passes the gates", 1.0), ("points", "Points of 100", 0.01)):
        series = [
            Line(one["model"], css, [_ends(turn[name], scale) for turn in one["drift"]["turns"]]) for one, css in sides
        ]
        if names:
            yield f"{caption}, by turn", lines(series, names, f"{caption} by turn of long talks")


def _ends(interval: Mapping[str, Any], scale: float) -> tuple[float, float, float]:
    """Value and ends; too few cases have no interval, and are drawn without a bar."""
    low, high = (interval["value"] if interval[end] is None else interval[end] for end in ("low", "high"))
    return scale * interval["value"], scale * low, scale * high


def _answers(result: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Every answer with its baseline beside it, worst first."""
    prompts = {held.id: held for held in held_out_prompts()}
    others = _sides(before) if before else {}
    shown = []
    for (id, turn), side in _sides(result).items():
        held, other = prompts.get(id), others.get((id, turn))
        shown.append(
            {
                "id": id, "turn": turn, "bucket": side["bucket"], "group": held.group if held else "",
                "prompt": side["prompt"], "about": held.about if held else "", "points": side["points"],
                "gain": round(side["points"] - other["points"], 1) if other else 0,
                "fate": "none" if side["none"] else "fails" if side["fault"] else "passes",
                "sides": [side, other] if other else [side],
            }
        )  # fmt: skip
    return sorted(shown, key=lambda one: one["points"])


def _sides(result: Mapping[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    both: Sequence[tuple[Any, Any]] = list(zip(result["answers"], result["marks"], strict=True))
    return {
        (given["id"], given["turn"]): {
            **marks,
            "model": result["model"],
            "prompt": given["prompt"],
            "none": bool(given["error"]) or not given["text"].strip(),
            "pieces": list(highlight(given["text"])),
        }
        for given, marks in both
    }
