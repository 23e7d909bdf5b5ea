"""The files of batches: JSON Lines of requests, cut at the provider's limits, and of answers in any order.

The format is https://developers.openai.com/api/docs/guides/batch, which `vllm run-batch` reads and writes too.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from doric.core.errors import InputError, os_error
from doric.core.files import atomic_write, encode_json, parse_object
from doric.core.jsonl import open_lines
from doric.core.text import printable
from doric.core.torn import is_torn
from doric.llm.batches import ENDPOINT
from doric.llm.response import cached_tokens, count

MOST_REQUESTS, MOST_BYTES = 50_000, 200_000_000
"""The limits of one file (OpenAI's guide to batches)."""
ANSWERED, FAILED, MISSING = "answered", "failed", "missing"
UNKNOWN, REPEATED, UNREADABLE, CUT = "unknown", "repeated", "unreadable", "cut off"


@dataclass(slots=True)
class RequestFile:
    """The requests of one part: their lines, their bytes together, and the most tokens that they may use."""

    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def has_room(self, line: bytes) -> bool:
        """Whether a line can be added."""
        return len(self.lines) < MOST_REQUESTS and self.size + len(line) <= MOST_BYTES

    def add(self, line: bytes, tokens_in: int, tokens_out: int) -> None:
        """Add a line that may use so many tokens."""
        self.lines.append(line)
        self.size += len(line)
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out

    def write(self, path: Path) -> str:
        """Write the file in one step; a mark of its content. Raises `InputError`."""
        content = b"".join(self.lines)
        atomic_write(path, content)
        self.lines = [b""] * len(self.lines)  # only their number is needed from now on
        return hashlib.sha256(content).hexdigest()[:16]


def request_line(id: str, body: Mapping[str, Any]) -> bytes:
    """One request.

    >>> request_line("1f#1", {"model": "m"})
    b'{"custom_id":"1f#1","method":"POST","url":"/v1/chat/completions","body":{"model":"m"}}\\n'
    """
    return encode_json({"custom_id": id, "method": "POST", "url": ENDPOINT, "body": dict(body)}) + b"\n"


def ids_in(path: Path) -> list[str]:
    """The ids of the requests of a part. Raises `InputError`."""
    with open_lines(path) as lines:
        return [str(parse_object(line, file=path, number=at).get("custom_id")) for at, line in enumerate(lines, 1)]


@dataclass(slots=True)
class Answers:
    """Where the answers to requests are: id -> file and offset of its line. Only one line is in memory at a time.

    `found` counts the lines by what they are, and `why` the failed ones by their reason. The tokens are those that
    the server has counted; `uncounted` is the number of the other answers.
    """

    places: dict[str, tuple[Path, int]] = field(default_factory=dict)
    found: Counter[str] = field(default_factory=Counter)
    why: Counter[str] = field(default_factory=Counter)
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    uncounted: int = 0

    @classmethod
    def read(cls, files: Iterable[Path], expected: Iterable[str]) -> "Answers":
        """The answers in those of the files that exist. Raises `InputError` if a file cannot be read."""
        answers, wanted, failed = cls(), frozenset(expected), set[str]()
        for path in filter(Path.exists, files):
            for offset, line in answers._lines(path):
                answers._add(line, (path, offset), wanted, failed)
        answers.found[FAILED] += len(failed - answers.places.keys())
        answers.found[MISSING] += len(wanted - answers.places.keys() - failed)
        answers.found = +answers.found
        return answers

    def response(self, id: str) -> tuple[int, bytes] | None:
        """The status and the body of the answer with an id, None if there is none. Raises `InputError`."""
        if (place := self.places.get(id)) is None:
            return None
        path, offset = place
        try:
            with path.open("rb") as lines:
                return _response(_object_at(lines, offset))
        except OSError as error:
            raise os_error(error, path, "read") from error

    def _lines(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """The offset and the object of each line that is one."""
        with open_lines(path) as lines:
            offset = lines.tell()
            for line in lines:
                start, offset = offset, offset + len(line)
                if not line.strip():
                    continue
                try:
                    yield start, parse_object(line)
                except InputError:
                    self.found[CUT if is_torn(line) else UNREADABLE] += 1

    def _add(self, line: dict[str, Any], place: tuple[Path, int], wanted: frozenset[str], failed: set[str]) -> None:
        id = line.get("custom_id")
        if not isinstance(id, str) or id not in wanted:
            self.found[UNKNOWN] += 1
        elif id in self.places or (id in failed and _response(line) is None):
            self.found[REPEATED] += 1
        elif (response := _response(line)) is None:
            failed.add(id)
            self.why[_reason(line)] += 1
        else:
            self.places[id] = place
            self.found[ANSWERED] += 1
            if response[0] != 200:
                self.why[f"status {response[0]}"] += 1
            elif not self._count(line["response"]["body"]):
                self.uncounted += 1

    def _count(self, body: object) -> bool:
        """Add the tokens of an answer; False if the server has not counted them."""
        usage = body.get("usage") if isinstance(body, dict) else None
        if not isinstance(usage, dict):
            return False
        into, out = (count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens"))
        self.tokens_in += into
        self.tokens_out += out
        self.cached += cached_tokens(usage)
        return into + out > 0


def _object_at(lines: IO[bytes], offset: int) -> dict[str, Any]:
    lines.seek(offset)
    return parse_object(lines.readline())


def _response(line: Mapping[str, Any]) -> tuple[int, bytes] | None:
    """The status and the body of a line; None if the request was not answered."""
    response = line.get("response")
    if not isinstance(response, dict) or response.get("body") is None:
        return None
    status = response.get("status_code")
    return status if isinstance(status, int) else 200, encode_json(response["body"])


def _reason(line: Mapping[str, Any]) -> str:
    """Why a request was not answered, in a few words of the server."""
    error = line.get("error")
    said = error.get("code") or error.get("message") if isinstance(error, dict) else error
    return " ".join(printable(str(said or "no answer")[:60]).split())
