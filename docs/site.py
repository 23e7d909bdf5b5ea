"""Pages of the site that are not in docs/: the READMEs, the changelog, and one page for each package of the library.

    uv run --group docs mkdocs build --strict

MkDocs calls the functions `on_…`.
"""

import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "finetune_notebook/README.md": "notebook.md",
    "modal/README.md": "modal.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the repository that become pages."""
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class Doctests(Extension, Preprocessor):
    """Shows the examples of a docstring as code."""

    def __init__(self) -> None:
        Extension.__init__(self)

    def extendMarkdown(self, md: Markdown) -> None:
        """Register the step before that of fenced code."""
        md.preprocessors.register(self, "doctests", 30)

    def run(self, lines: list[str]) -> list[str]:
        """The lines with a fence around each example."""
        return DOCTEST.sub(lambda found: f"```pycon\n{found.group()}\n```", "\n".join(lines)).split("\n")


def on_config(config: MkDocsConfig) -> None:
    """Read docstrings with `Doctests`."""
    extensions: list[Any] = config.markdown_extensions  # typed as names only, but Markdown takes objects, too
    extensions.append(Doctests())


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from other files."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    for package in sorted(path.parent for path in (ROOT / "src/doric").glob("*/__init__.py")):
        files.append(File.generated(config, f"api/{package.name}.md", content=api_page(package)))
    return files


def api_page(package: Path) -> str:
    """The page of a package: its docstring and those of its modules."""
    modules = [path.stem for path in sorted(package.glob("[!_]*.py"))]
    parts = [f"::: doric.{package.name}\n    options: {{members: false}}"]
    return "\n\n".join([f"# {package.name}", *parts, *(f"::: doric.{package.name}.{name}" for name in modules)]) + "\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links to other pages; a link to a file that the site does not have becomes plain text."""
    uri = page.file.src_uri
    origin = next((source for source, name in PAGES.items() if name == uri), f"docs/{uri}")

    def link(match: re.Match[str], image: bool = False) -> str:
        text, target = match.groups()
        if "://" in target or target.startswith("#"):
            return match.group()
        path, mark, anchor = target.partition("#")
        found = posixpath.normpath(PurePosixPath(origin).parent / path)
        name = PAGES.get(found, found.removeprefix("docs/"))
        if files.get_file_from_path(name) is None:
            return text
        start = posixpath.dirname(uri)
        return f"{'!' * image}[{text}]({posixpath.relpath(name, start or '.')}{mark}{anchor})"

    markdown = LINK.sub(link, markdown)
    return IMAGE.sub(lambda match: link(match, image=True), markdown)
