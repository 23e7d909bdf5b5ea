"""A parsed HTML page, for the tests of the reports."""

from html.parser import HTMLParser
from pathlib import Path

VOID = frozenset({"meta", "link", "br", "hr", "img", "input"})
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> & <b>fit</b> {{ 7*7 }} {% raw %}"
"""If a page does not escape this text, the text breaks out of its element."""


class Page(HTMLParser):
    """The elements and the text of a page. Each element must be closed in the right place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    @classmethod
    def read(cls, path: Path) -> "Page":
        """Read and parse a page from a file."""
        return cls(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("path", "rect", "circle") and self.open[-1] != tag:
            return
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        """The text that a reader sees, with a space between elements."""
        return " ".join(" ".join(self.words).split())

    @property
    def joined_text(self) -> str:
        """The text that a reader sees, without a space between elements."""
        return " ".join("".join(self.words).split())

    def tags(self, tag: str) -> list[dict[str, str]]:
        """The attributes of each element with this tag."""
        return [attrs for name, attrs in self.elements if name == tag]

    def with_class(self, css: str) -> list[dict[str, str]]:
        """The attributes of each element with this CSS class."""
        return [attrs for _, attrs in self.elements if css in attrs.get("class", "").split()]
