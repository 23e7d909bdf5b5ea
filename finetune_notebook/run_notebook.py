"""Run the fine-tuning notebook without a browser and save it with its outputs.

    uv run --group finetune python finetune_notebook/run_notebook.py --set MAX_STEPS=170 --set RUN_NAME=first

Every setting of the notebook's forms can be changed with --set. The executed notebook and an HTML page of it are saved
in finetune_notebook/runs/ (or as --out). If a check of the notebook fails, the exit status is 2, and the error and a
hint are printed.
"""

import argparse
import ast
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup
    from nbclient.exceptions import CellExecutionError
    from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
NOTEBOOK = HERE / "doric_finetune.ipynb"
WORDS = {"true": True, "false": False}
BADGE = re.compile(r"\[!\[([^]]*)\]\(https?://[^)]*\)\]")
BODY = """{% extends 'index.html.j2' %}
{% block input_group %}
<details><summary>{{ cell.source | sentence | e }}</summary><pre><code>{{ cell.source | e }}</code></pre></details>
{% endblock %}"""
"""The template of the page's body. The code of each cell is folded below its first sentence."""
MOST_SECONDS = 366 * 86400


def seconds(text: str) -> float:
    """The value of --timeout. Raises `ArgumentTypeError` if it is no time that a clock can wait for."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text[:40]} is not a number of seconds above 0 and at most {MOST_SECONDS:,}")
    return value


def setting(text: str) -> tuple[str, Any]:
    """The name and the value in `NAME=VALUE`. Numbers, booleans and quoted strings are parsed; the rest is plain text.

    Raises ArgumentTypeError if the text is not NAME=VALUE.

    >>> setting("MAX_STEPS=3"), setting("RESUME=false"), setting("BASE_MODEL=models/smol")
    (('MAX_STEPS', 3), ('RESUME', False), ('BASE_MODEL', 'models/smol'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    if value.lower() in WORDS:
        return name, WORDS[value.lower()]
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def sentence(source: str) -> str:
    """The sentence in the first line of a code cell.

    >>> sentence("# @title Choose how to train.\\nSEED = 7")
    'Choose how to train.'
    """
    return source.partition("\n")[0].lstrip("# ").removeprefix("@title ").partition(" {")[0]


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--set", metavar="NAME=VALUE", type=setting, action="append", default=[], help="change a setting; repeatable"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="the executed notebook (default: runs/RUN_NAME.ipynb)")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="time limit per cell in seconds (default: none)")
    return parser.parse_args(argv)


class Progress:
    """Prints a line to standard error when a code cell starts: its number, the time so far, its first sentence."""

    def __init__(self, cells: Sequence["NotebookNode"]) -> None:
        self.code = [at for at, cell in enumerate(cells) if cell.cell_type == "code"]
        self.begun = time.monotonic()

    def __call__(self, *, cell: "NotebookNode", cell_index: int) -> None:
        """Called by nbclient before each cell."""
        seconds = time.monotonic() - self.begun
        if cell.cell_type == "code":
            place = f"[{self.code.index(cell_index) + 1:>2}/{len(self.code)}]"
            print(f"{place} {seconds:6.0f} s  {sentence(cell.source)}", file=sys.stderr, flush=True)


def execute(notebook: "NotebookNode", settings: dict[str, Any], timeout: float | None) -> "CellExecutionError | None":
    """Run every cell and store the outputs in `notebook`; the error of the cell that failed, or None."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    os.environ["DORIC_NB_OVERRIDES"] = json.dumps(settings)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # silences a warning of the kernel's debugger
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # silences a warning about the kernel's default socket
        resources={"metadata": {"path": str(HERE)}},
        on_cell_start=Progress(notebook.cells),
    )
    try:
        client.execute()
    except CellExecutionError as error:
        return error
    return None


def without_badges(notebook: "NotebookNode") -> "NotebookNode":
    """A copy with plain links instead of linked images, so that the page loads nothing from the network."""
    copy = deepcopy(notebook)
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = BADGE.sub(r"[\1]", cell.source)
        for output in cell.get("outputs", []):
            if "text/markdown" in output.get("data", {}):
                output.data["text/markdown"] = BADGE.sub(r"[\1]", output.data["text/markdown"])
    return copy


def save(notebook: "NotebookNode", out: Path) -> Path:
    """Write the executed notebook and, beside it, an HTML page that works offline; the path of the page."""
    import nbformat

    from doric.report.html import page, write_page

    out.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, out)
    title, body = split_title(page_body(without_badges(notebook)))
    write_page(out.with_suffix(".html"), page("notebook.html", title=title, body=body))
    return out.with_suffix(".html")


def page_body(notebook: "NotebookNode") -> str:
    """The cells as HTML, without prompts; the code is folded."""
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic",
        template_file="body.html.j2",
        extra_loaders=[DictLoader({"body.html.j2": BODY})],
        filters={"sentence": sentence},
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        embed_images=True,
    )
    # pygments marks blanks of commands with a class that the page's style uses for words with a note
    return exporter.from_notebook_node(notebook)[0].replace('<span class="w">', "<span>")


def split_title(body: str) -> tuple[str, "Markup"]:
    """The text of the first heading of level 1, and the HTML without it."""
    from markupsafe import Markup

    found = re.search(r"<h1[^>]*>(.*?)(?:<a[^>]*>.*?</a>)?</h1>", body, re.DOTALL)
    if not found:
        return "Doric fine-tuning", Markup(body)
    return Markup(found[1]).striptags(), Markup(body[: found.start()] + body[found.end() :])


def report_error(error: "CellExecutionError", notebook: "NotebookNode") -> int:
    """Print which cell failed and why; the exit status: 2 for an error that the user can fix, 1 for any other error."""
    outputs = ((cell, output) for cell in notebook.cells for output in cell.get("outputs", []))
    failed, said = next((cell, output) for cell, output in outputs if output.output_type == "error")
    stopped, _, hint = "\n".join(said.traceback).partition("\nWhat to do: ")  # what a DoricError shows in a notebook
    fixable = stopped.startswith("Stopped: ")
    message = stopped.removeprefix("Stopped: ")
    if not fixable:
        message = f"{error.ename}: {error.evalue.strip().rpartition('\n')[2]}"
        hint = "the traceback is in the HTML page"
    print(f"error: {sentence(failed.source)} {message}\nhint: {hint.strip()}", file=sys.stderr)
    return 2 if fixable else 1


def run(args: argparse.Namespace) -> int:
    """Run the notebook, save it, print the result; the exit status."""
    try:
        import nbformat
    except ModuleNotFoundError:
        hint = "start it with: uv run --group finetune python finetune_notebook/run_notebook.py"
        print(f"error: the packages for fine-tuning are not installed\nhint: {hint}", file=sys.stderr)
        return 2

    from doric.core.errors import DoricError
    from doric.finetune.config import Settings, with_values

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    settings = dict(args.set)
    try:
        with_values(Settings(), settings)  # here, because the packages take a minute before the first cell that looks
    except DoricError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_status
    out = args.out or HERE / "runs" / f"{settings.get('RUN_NAME', 'doric')}.ipynb"
    try:
        error = execute(notebook, settings, args.timeout)
    finally:
        page = save(notebook, out)
    print(page)
    return report_error(error, notebook) if error else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the notebook; the exit status."""
    try:
        return run(parse_args(argv))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
