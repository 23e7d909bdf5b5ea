"""What the notebook shows, imported as `show`: tables, coloured rows, live curves and commands to copy.

Tables fit a narrow screen, and the colours follow the page, light or dark.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from doric.finetune.masking import pieces
from doric.finetune.plan import PRESETS
from doric.finetune.plots import GREEN, ORANGE, RED, curve_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from doric.finetune.data import Example
    from doric.finetune.foreign_types import Tokenizer
    from doric.finetune.hardware import Machine
    from doric.finetune.masking import Encoded
    from doric.finetune.models import Shape
    from doric.finetune.monitor import History
    from doric.finetune.plan import Plan

VERDICTS = {"pass": GREEN, "yes": GREEN, "FAIL": RED, "no": RED, "not checked": ORANGE, "not made": ORANGE}
LINE = "1px solid rgba(128,136,148,.4)"
STYLE = f"""<style>
.doric-table {{border-collapse:collapse;font-size:14px;line-height:1.45;margin:6px 0;color:inherit;width:auto}}
.doric-table th,.doric-table td {{padding:5px 12px;text-align:left!important;vertical-align:top;border:0;
border-bottom:{LINE};background:none;color:inherit;white-space:normal;max-width:none}}
.doric-table thead th {{background:rgba(128,136,148,.15);font-weight:600}}
.doric-table tbody th {{font-weight:500;opacity:.8}}
@media (max-width:640px) {{
.doric-rows,.doric-rows tbody,.doric-rows tr,.doric-rows td {{display:block;width:100%}}
.doric-rows thead {{display:none}}
.doric-rows tr {{padding:6px 0;border-bottom:{LINE}}} .doric-rows td {{padding:2px 4px;border-bottom:0}}
.doric-rows td[data-name]:not([data-name=""])::before {{content:attr(data-name) ": ";opacity:.7}}
}}
</style>"""


def table(rows: Sequence[Mapping[str, object]], caption: str = "") -> None:
    """Show rows with the same keys. On a narrow screen, each row is a list of "key: value"."""
    head = "".join(f"<th>{html.escape(key)}</th>" for key in rows[0])
    lines = ("".join(_cell(key, value) for key, value in row.items()) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    start = f'{_title(caption)}<table class="doric-table doric-rows">'
    _show(f"{start}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def facts(facts: Mapping[str, object], caption: str = "") -> None:
    """Show names and values, one pair per line."""
    lines = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>{_cell("", value)}</tr>' for name, value in facts.items()
    )
    _show(f'{_title(caption)}<table class="doric-table"><tbody>{lines}</tbody></table>')


def _title(caption: str) -> str:
    return f'<div style="font-weight:600;margin-top:8px">{html.escape(caption)}</div>' if caption else ""


def _cell(name: str, value: object) -> str:
    text = f"{value:,.3g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
    safe = html.escape(text).replace("\n", "<br>")
    colour = VERDICTS.get(text)
    shown = f'<b style="color:{colour}">{safe}</b>' if colour else safe
    return f'<td data-name="{html.escape(name)}">{shown}</td>'


def _show(markup: str) -> None:
    from IPython.display import HTML, display

    display(HTML(STYLE + markup))


def short(text: str, most: int = 320) -> str:
    """The start of a text: at most about `most` characters, cut at a space.

    >>> short("Fit like the day?", 10)
    'Fit like …'
    """
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " …"


def machine(machine: Machine) -> None:
    """Show the machine and the presets, as two tables."""
    free = " free" if machine.device == "cpu" else ""
    about = {"accelerator": machine.name, "memory": f"{machine.memory:.1f} GB{free}", "CPU threads": machine.cores}
    facts({**about, "number format": machine.dtype, "preset": machine.preset}, "This machine")
    table(
        [
            {
                "preset": f"{name} ← this machine" if name == machine.preset else name,
                "model": preset.model,
                "weights": "4-bit" if preset.four_bit else "16-bit",
                "LoRA rank": preset.rank,
                "rows per step": preset.rows_a_step,
                "longest row": f"{preset.length} tokens",
                "training": f"{preset.steps} steps" if preset.steps else "2 epochs",
            }
            for name, preset in PRESETS.items()
        ],
        "The presets",
    )


def plan(plan: Plan, shape: Shape, *, fits: bool) -> None:
    """Show the plan, and advice if it does not fit into memory."""
    facts(
        {
            "model": plan.name,
            "parameters": f"{shape.parameters / 1e6:,.0f} million",
            "batch × accumulation": f"{plan.batch} × {plan.accumulation} = {plan.rows_a_step} rows per step",
            "weights": "4-bit" if plan.four_bit else plan.dtype,
            "trained": "all weights" if plan.method == "full" else f"an adapter of rank {plan.rank}",
            "learning rate": f"{plan.rate:g}, {plan.schedule}",
            "shares of the buckets": plan.weights or "as in the data",
            "fits into memory": "yes" if fits else "no",
        },
        "The plan of this run",
    )
    if not fits:
        print("This will probably run out of memory: lower MAX_LENGTH or BATCH, use 4 bits or a smaller model.")


def rows(tokenizer: Tokenizer, part: Sequence[Example], coded: Sequence[Encoded]) -> None:
    """Show up to three coloured rows, each the first of its bucket."""
    from IPython.display import HTML, display

    first = {example.bucket: at for at, example in reversed(list(enumerate(part)))}
    for bucket, at in list(first.items())[:3]:
        display(HTML(colour_row(tokenizer, coded[at], f"a row of the bucket {bucket}")))


def colour_row(tokenizer: Tokenizer, row: Encoded, title: str) -> str:
    """The row as HTML: trained tokens are green, the others grey; special tokens are bold."""
    marks, spans = set(tokenizer.all_special_tokens), []
    for text, trained in pieces(tokenizer, row):
        style = "background:rgba(60,141,90,.33)" if trained else "background:rgba(128,136,148,.18);opacity:.8"
        bold = ";font-weight:700" if text in marks else ""
        spans.append(f'<span style="{style}{bold};padding:1px 0">{html.escape(text).replace(chr(10), "⏎<br>")}</span>')
    box = f"border:{LINE};border-radius:6px;padding:8px 12px;margin:6px 0;line-height:1.7;overflow-wrap:anywhere"
    head = f"<div><b>{html.escape(title)}</b>: {row.trained} of {len(row.ids)} tokens are trained (green)</div>"
    return f'<div style="{box};font-size:13px;font-family:monospace">{head}{"".join(spans)}</div>'


def checks(checks: Mapping[str, str], what: str) -> None:
    """Show checks that have passed, with their details; `what` is the heading of the first column."""
    table([{what: name, "result": "pass", "details": figure} for name, figure in checks.items()])


def answers(rows: Sequence[Mapping[str, str]]) -> None:
    """Show answers side by side (`evaluate.side_by_side`), each shortened."""
    table([{name: short(text) for name, text in row.items()} for row in rows])


def live_curves(tokens_a_step: float) -> Callable[[History, list[float]], None]:
    """A function for `Watch` that redraws the curves in the output of this cell."""
    from IPython.display import Markdown, display

    handle: Any = display(Markdown("*The curves appear after the first steps.*"), display_id=True)

    def draw(history: History, seconds: list[float]) -> None:
        handle.update(curve_picture(history, seconds, tokens_a_step))

    return draw


def samples(step: int, said: Sequence[tuple[str, str]]) -> None:
    """Show the answers to some questions during the training."""
    table([{"question": question, "answer": answer} for question, answer in said], f"Answers after step {step}")


def markdown(text: str) -> None:
    """Show Markdown."""
    from IPython.display import Markdown, display

    display(Markdown(text))


def commands(commands: Mapping[str, str]) -> None:
    """Show each command as a code block that can be copied, below a title."""
    for title, command in commands.items():
        markdown(f"**{title}**\n\n```bash\n{command}\n```")


def shares(values: Mapping[str, float], caption: str = "") -> None:
    """Show shares from 0 to 1 as percentages."""
    facts({name.replace("_", "-"): f"{value:.1%}" for name, value in values.items()}, caption)


def badge(repository: str) -> None:
    """Show a link that opens this notebook in Colab, if the address of the repository on GitHub is known."""
    name = repository.removeprefix("https://github.com/").removesuffix("/")
    if name and name != repository:
        colab = "https://colab.research.google.com"
        target = f"{colab}/github/{name}/blob/main/finetune_notebook/doric_finetune.ipynb"
        markdown(f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({target})")
