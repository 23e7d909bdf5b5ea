"""The files of answers that the review page and the chat page write: their format, checksum and reader's details."""

import functools
import json
import re
import zlib
from dataclasses import dataclass

from doric import data

FORMAT = "doric-review"
VERSION = 1
SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ReaderChoices:
    """The texts of the menus in which readers describe themselves. `native` are those of native speakers."""

    regions: tuple[str, ...]
    ages: tuple[str, ...]
    learnt: tuple[str, ...]
    native: tuple[str, ...]


@functools.cache
def reader_choices() -> ReaderChoices:
    """The menus of data/review/reader.toml. Raises `DataError`."""
    found = data.read_toml("review/reader.toml")
    return ReaderChoices(*(tuple(found[name]) for name in ("regions", "ages", "learnt", "native")))


def checksum(answers: object) -> str:
    """CRC-32 of the answers as JSON without spaces, 8 hexadecimal digits, as the page computes it."""
    text = json.dumps(answers, ensure_ascii=False, separators=(",", ":"))
    text = SURROGATE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)  # as JSON.stringify writes them
    return f"{zlib.crc32(text.encode()):08x}"
