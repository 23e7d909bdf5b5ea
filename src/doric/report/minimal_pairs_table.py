"""The accuracy of a model on the minimal pairs, as a table for the terminal."""

from doric.report.tables import Json, aligned, percent, signed

SUBJECTS = {"all": "all pairs", "sourced": "sourced, without doubt"}


def format_pairs(result: Json) -> str:
    """The accuracy for each phenomenon with 95% intervals, and the change from a baseline if there is one."""
    head = ["phenomenon", "pairs", "accuracy [95%]", "per token", "per character"]
    before = result.get("baseline")
    if before:
        head += ["baseline", "change [95%]"]
    rows = [_row(name, accuracy, result, before) for name, accuracy in accuracies(result)]
    title = f"{result['model']}: how often is the right sentence more probable than the wrong one?"
    if result.get("control"):
        title += f" Control: {result['control']} at random."
    return "\n".join([title, "", *aligned([head, *rows])])


def accuracies(result: Json) -> list[tuple[str, Json]]:
    """(label, accuracies by measure) for each phenomenon, for the pairs with a source, and for all pairs."""
    return [*result["phenomena"].items(), *((label, result[name]) for name, label in SUBJECTS.items())]


def _row(name: str, accuracy: Json, result: Json, before: Json | None) -> list[str]:
    row = [name, str(accuracy["sum"]["n"]), percent(accuracy["sum"])]
    row += [percent(accuracy[measure]).partition(" ")[0] for measure in ("per_token", "per_character")]
    if before:
        earlier, change = (
            dict(accuracies(before)).get(name),
            result["changes"].get("all" if name == SUBJECTS["all"] else name),
        )
        row += [percent(earlier["sum"]).partition(" ")[0] if earlier else "-", signed(change, 100) if change else "-"]
    return row
