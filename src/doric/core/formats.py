"""Files in another format than plain text are recognised by their first bytes, whatever their name is.

Sources of the marks: the specifications of the formats, and the list of file signatures of file(1).
"""

from pathlib import Path

from doric.core.errors import InputError

HEAD = 512
"""Bytes at the start of a file in which every mark is."""
UNPACK = "Unpack it first, for instance with: "
EXPORT = "Export it as JSON Lines first, for instance with pandas: "
NOT_A_DATASET = "Is this the right file?"
MARKS = (
    (b"\x1f\x8b", "gzip-compressed", f"{UNPACK}gunzip FILE"),
    *((b"BZh%d" % level, "bzip2-compressed", f"{UNPACK}bunzip2 FILE") for level in range(1, 10)),
    (b"\xfd7zXZ\0", "xz-compressed", f"{UNPACK}unxz FILE"),
    (b"\x5d\0\0", "lzma-compressed", f"{UNPACK}unlzma FILE"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", f"{UNPACK}unzstd FILE"),
    (b"\x04\x22\x4d\x18", "lz4-compressed", f"{UNPACK}unlz4 FILE"),
    (b"\x1f\x9d", "compressed (.Z)", f"{UNPACK}uncompress FILE"),
    (b"PK\x03\x04", "a zip archive", f"{UNPACK}unzip FILE. Save a spreadsheet as text."),
    (b"PK\x05\x06", "an empty zip archive", NOT_A_DATASET),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", f"{UNPACK}7z x FILE"),
    (b"Rar!\x1a\x07", "a RAR archive", f"{UNPACK}unrar x FILE"),
    (b"PAR1", "a Parquet file", f"{EXPORT}read_parquet(FILE).to_json(NEW, orient='records', lines=True)"),
    (b"PARE", "an encrypted Parquet file", "Decrypt it and export it as JSON Lines first."),
    (b"ARROW1\0\0", "an Arrow file", f"{EXPORT}read_feather(FILE).to_json(NEW, orient='records', lines=True)"),
    (b"FEA1", "a Feather file", f"{EXPORT}read_feather(FILE).to_json(NEW, orient='records', lines=True)"),
    (
        b"\xff\xff\xff\xff",
        "an Arrow stream",
        "Export it as JSON Lines first: datasets.Dataset.from_file(FILE).to_json(NEW)",
    ),
    (b"SQLite format 3\0", "an SQLite database", "Export its rows as JSON Lines first."),
    (b"Obj\x01", "an Avro file", "Export it as JSON Lines first."),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "Export its rows as JSON Lines first."),
    (b"\x93NUMPY", "a NumPy file", "Export its rows as JSON Lines first."),
    (b"\x80\x04\x95", "a Python pickle", "Export its rows as JSON Lines first."),
    (b"\x80\x05\x95", "a Python pickle", "Export its rows as JSON Lines first."),
    (b"GGUF", "a GGUF model", NOT_A_DATASET),
    (b"%PDF-", "a PDF document", "Copy its text into a text file first."),
    (b"{\\rtf", "an RTF document", "Save it as plain text first."),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Microsoft Office document", "Save it as plain text first."),
    (b"\x89PNG", "a PNG picture", NOT_A_DATASET),
    (b"\xff\xd8\xff", "a JPEG picture", NOT_A_DATASET),
    (b"\x7fELF", "a program", NOT_A_DATASET),
    (b"version https://git-lfs", "a Git LFS pointer", "Get the file itself first: git lfs pull"),
    (b"\0GITCRYPT\0", "encrypted with git-crypt", "Unlock it first: git-crypt unlock"),
    (b"-----BEGIN PGP MESSAGE", "encrypted with PGP", "Decrypt it first: gpg --decrypt FILE"),
    (b"\xff\xfe\0\0", "UTF-32", "Save the file as UTF-8."),
    (b"\0\0\xfe\xff", "UTF-32", "Save the file as UTF-8."),
    (b"\xff\xfe", "UTF-16", "Save the file as UTF-8."),
    (b"\xfe\xff", "UTF-16", "Save the file as UTF-8."),
)
"""First bytes of a file, what it is, and what to do. A mark comes before a shorter one that begins alike."""
TAR, TAR_AT = b"ustar", 257
SKIPPABLE_ZSTD = tuple(bytes([0x50 + n, 0x2A, 0x4D, 0x18]) for n in range(16))
"""A zstd file may begin with a frame that holds no data (pzstd writes one)."""
WEB_PAGE = (b"<!doctype html", b"<html")


def foreign_format(head: bytes) -> tuple[str, str] | None:
    """What a file that begins with `head` is, and what to do with it. None if it may be plain UTF-8 text.

    >>> foreign_format(b"PAR1")[0]
    'a Parquet file'
    """
    for mark, name, hint in MARKS:
        if head.startswith(mark):
            return name, hint
    if head.startswith(SKIPPABLE_ZSTD):
        return "zstd-compressed", f"{UNPACK}unzstd FILE"
    if head[TAR_AT:].startswith(TAR):
        return "a tar archive", f"{UNPACK}tar -xf FILE"
    if head.lstrip().lower().startswith(WEB_PAGE):
        return "a web page (HTML)", "Download the file itself, not the page that shows it."
    if _is_wide(head):
        return "UTF-16", "Save the file as UTF-8."
    return None


def refuse_foreign_format(head: bytes, file: Path | str) -> None:
    """Raise `InputError` with a hint if `file`, which begins with `head`, is compressed or is not UTF-8 text."""
    if found := foreign_format(head):
        name, hint = found
        if str(file) != "stdin":
            hint = hint.replace("FILE", str(file))
        raise InputError(f"it is {name}, not UTF-8 text", file=file, hint=hint)


def _is_wide(head: bytes) -> bool:
    """Whether the text is UTF-16 without a mark: every second byte of an ASCII character is zero."""
    pairs = head[: len(head) // 2 * 2][:64]
    even, odd = pairs[::2], pairs[1::2]
    return len(pairs) >= 4 and ((not any(even) and all(odd)) or (not any(odd) and all(even)))
