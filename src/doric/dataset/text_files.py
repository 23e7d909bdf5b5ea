"""Texts that people wrote: .txt and .md in the encodings that editors save, and .docx."""

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from doric.core.characters import NEWLINE
from doric.core.errors import InputError, SettingsError, os_error
from doric.core.formats import HEAD, foreign_format
from doric.core.regular_files import open_regular

TEXT, MARKDOWN, WORD = (".txt",), (".md", ".markdown"), (".docx",)
ENDINGS = (*TEXT, *MARKDOWN, *WORD)
MOST_BYTES = 50_000_000
"""A larger file is no text that one person wrote; of a .docx, this is the size of its unpacked text."""
DOCUMENT = "word/document.xml"
SAVE = "Save the file as UTF-8."
SAVE_AGAIN = "Open it in a word processor and save it again as .docx, or save it as .txt."
BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
"""Byte-order marks and their encodings. A mark comes before a shorter one that begins alike."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph of a document. `is_heading` as its style says."""

    text: str
    is_heading: bool = False


def text_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The text files in a folder and below it, sorted, and the files that are none. A file may be given instead.

    Hidden files and the lock files of word processors (~$…) are in neither. Links to folders are not followed, and of
    links to the same file only the first is listed. Raises `InputError` if there is no such folder or file.
    """
    if not os.path.lexists(folder):
        raise InputError("the file or folder does not exist", file=folder, hint="Give the folder with the texts.")
    if not folder.is_dir():
        return [folder], []
    found, others, seen = [], [], set()
    for path in _walk(folder):
        if path.suffix.lower() not in ENDINGS:
            others.append(path)
        elif (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            found.append(path)
    return found, others


def _walk(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise os_error(error, error.filename or folder, "read") from error

    for place, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith((".", "~$")))


def read_any_text(path: Path) -> tuple[str, str]:
    """(text, encoding) of a file: UTF-8, UTF-16 or UTF-32 with a byte-order mark, else Windows-1252.

    Ends of lines become a newline. Raises `InputError` for another format, damaged UTF-8 and a file that is too large.
    """
    content = _content(path)
    encoding = next((name for mark, name in BOMS if content.startswith(mark)), "")
    if not encoding and (found := foreign_format(content[:HEAD])):
        raise InputError(f"it is {found[0]}, not text", file=path, hint=found[1].replace("FILE", str(path)))
    try:
        text, encoding = content.decode(encoding or "utf-8"), encoding or "utf-8"
    except UnicodeDecodeError as error:
        text, encoding = _windows(content, error, path, encoding), "cp1252"
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError("it has NUL characters, so it is no text", file=path, line=line, hint=SAVE)
    return NEWLINE.sub("\n", text), encoding


def _windows(content: bytes, error: UnicodeDecodeError, path: Path, encoding: str) -> str:
    """The text in Windows-1252, unless the file is mostly UTF-8: then a few of its bytes are damaged."""
    line = content[: error.start].count(b"\n") + 1
    damaged = InputError(f"not {encoding or 'UTF-8'} text", file=path, line=line, hint=SAVE)
    if encoding or not content.decode("utf-8", "ignore").isascii():
        raise damaged from error
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        raise damaged from error


def read_docx(path: Path) -> list[Paragraph]:
    """The paragraphs of a .docx that have words, without tables, headers and notes.

    Raises `InputError` if it is damaged, and `SettingsError` if python-docx is not installed.
    """
    try:
        import docx
    except ImportError as error:
        hint = "Install it with: uv sync --group texts. Or save the document as .txt."
        raise SettingsError("python-docx, which reads .docx files, is not installed", hint=hint) from error
    try:
        with open_regular(path) as file:
            _check_docx(file, path)
            document = docx.Document(file)
            found = [Paragraph(NEWLINE.sub("\n", one.text), _is_heading(one)) for one in document.paragraphs]
    except OSError as error:
        raise os_error(error, path, "read") from error
    except (InputError, MemoryError):
        raise
    except Exception as error:  # python-docx, lxml and zipfile raise errors of many kinds for a damaged file
        raise InputError("it is damaged or no .docx document", file=path, hint=SAVE_AGAIN) from error
    return [one for one in found if one.text.strip()]


def _check_docx(file: IO[bytes], path: Path) -> None:
    """Raise `InputError` for an old or encrypted document, and for one whose text is too large once unpacked."""
    head = file.read(8)
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        hint = "Remove the password, or save it again as .docx."
        raise InputError("it is an old or an encrypted Word document", file=path, hint=hint)
    if not head.strip():
        raise InputError("the file is empty", file=path, hint="Remove it, or save the document again.")
    with zipfile.ZipFile(file) as parts:
        if parts.getinfo(DOCUMENT).file_size > MOST_BYTES:
            raise _too_large(path)
    file.seek(0)


def _is_heading(paragraph: object) -> bool:
    style = getattr(paragraph, "style", None)
    name = getattr(style, "name", None) or ""
    return name.startswith(("Heading", "Title"))


def _content(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise os_error(error, path, "read") from error
    if len(content) > MOST_BYTES:
        raise _too_large(path)
    return content


def _too_large(path: Path) -> InputError:
    return InputError(f"it has more than {MOST_BYTES // 1_000_000} MB", file=path, hint="Split it into smaller files.")
