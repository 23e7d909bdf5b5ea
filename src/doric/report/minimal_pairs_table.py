"""The accuracy of a model on the minimal pairs, as a table for the terminal and as rows of the scoreboard."""

from collections.abc import Iterator
from dataclasses import dataclass

from doric.report.tables import Json, aligned, percent, signed

SUBJECTS = {"all": "all pairs", "sourced": "sourced, without doubt"}
"""Figures over several phenomena -> their labels."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: its label, the accuracy by each measure, that of the baseline, and the change from it."""

    label: str
    now: Json
    before: Json | None
    change: Json | None


def table_lines(result: Json) -> Iterator[Line]:
    """One line for each phenomenon, one for the pairs with a source, and one for all pairs."""
    before, changes = result.get("baseline") or {}, result.get("changes") or {}
    for name, accuracy in result["phenomena"].items():
        yield Line(name, accuracy, before.get("phenomena", {}).get(name), changes.get(name))
    for name in ("sourced", "all"):
        yield Line(SUBJECTS[name], result[name], before.get(name), changes.get(name))


def format_pairs(result: Json) -> str:
    """The accuracy for each phenomenon with 95% intervals, and the change from a baseline if there is one."""
    title = f"{result['model']}: how often is the right sentence more probable than the wrong one?"
    if result["control"]:
        title += f" (control: {result['control']} at random)"
    head = ["phenomenon", "pairs", "accuracy [95%]", "per token", "per character"]
    if "baseline" in result:
        head += ["baseline", "change [95%]"]
    rows = [_row(line, "baseline" in result) for line in table_lines(result)]
    return "\n".join([title, "", *aligned([head, *rows])])


def _row(line: Line, compared: bool) -> list[str]:
    row = [line.label, str(line.now["sum"]["n"]), percent(line.now["sum"])]
    row += [_value(line.now[measure]) for measure in ("per_token", "per_character")]
    if compared:
        row += [_value(line.before["sum"]) if line.before else "-", signed(line.change, 100) if line.change else "-"]
    return row


def _value(interval: Json) -> str:
    return f"{interval['value']:.0%}" if interval["n"] else "-"
