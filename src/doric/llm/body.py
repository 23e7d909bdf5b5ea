"""The body of a response, read block by block under a limit: a JSON document, an event stream or an error page.

Feed each block to the body. `done` says that nothing more is needed, and `enough` that the body can be used as it is.
`patience` is how many seconds the rest is waited for; many servers leave the connection open after the end. A limit on
decoded bytes also holds for compressed bodies, because httpx decompresses them in blocks of at most 1 MiB.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping

from doric.core.errors import FatalServerError
from doric.llm.errors import MAX_BODY as MAX_ERROR
from doric.llm.events import BYTE_ORDER_MARK, Event, EventSplitter, Oversized, decode
from doric.llm.response import StreamedCompletion

MAX_BODY = 1 << 20
"""Decoded bytes of a JSON body. An answer of 128,000 tokens has half as many, and 50 concurrent calls take 50 MB."""
MAX_IDLE = 1 << 20
"""Bytes without any text: blanks, comments, keep-alives, empty chunks. One keep-alive has some 20 bytes."""
END_SECONDS = 2.0
"""Wait for the token counts and the end of a stream after its finish reason. Servers send all of them together."""
MAX_CHECKS = 8
"""So often a document is parsed to see whether it is complete. Once is enough, unless its texts have odd braces."""
CLOSE_SECONDS = 0.1
"""Wait for the end of the connection after the end of a stream. A connection that has ended can be used again."""
ERROR_SECONDS = 10.0
"""Wait for the rest of an error page: its status is known, and only its message is missing."""
FIELD = re.compile(rb"(?:data|event|id|retry)?:", re.IGNORECASE)
"""The start of an event stream."""
LONGEST_FIELD = 6
DECODED = ("", "identity", "gzip", "deflate")
"""Encodings that are always understood. Only identity is asked for."""
NO_ENCODING = ("none", "null", "binary", "utf-8", "utf8", "us-ascii", "8bit", "7bit")
"""Words that servers write by mistake for a body that is not compressed."""
BLANK = b" \t\r\n"


class JsonBody:
    """A document that is kept as a whole. `whole` is True once it is a complete JSON object."""

    def __init__(self, limit: int = MAX_BODY) -> None:
        self.whole = False
        self._limit, self._size, self._open, self._checks = limit, 0, 0, MAX_CHECKS
        self._blocks: list[bytes] = []

    def feed(self, block: bytes) -> None:
        """Add a block. Raises `Oversized` above the limit."""
        self._size += len(block)
        if self._size > self._limit:
            raise Oversized(f"the answer has more than {self._limit >> 20} MiB")
        self._blocks.append(block)
        self._open += block.count(b"{") - block.count(b"}")
        if self._open == 0 and self._checks and block.rstrip(BLANK).endswith(b"}"):
            self._checks -= 1
            self.whole = isinstance(decode(self.content()), dict)

    def content(self) -> bytes:
        """The document so far, without a byte order mark."""
        return b"".join(self._blocks).removeprefix(BYTE_ORDER_MARK)


class ErrorBody:
    """The body of an error response. Only its beginning is kept, and it can be used however little has arrived."""

    enough, pieces = True, 0

    def __init__(self) -> None:
        self._content = b""

    @property
    def done(self) -> bool:
        """Whether the part that is read is complete."""
        return len(self._content) >= MAX_ERROR

    @property
    def patience(self) -> float:
        """The seconds that the rest is waited for."""
        return CLOSE_SECONDS if self.done else ERROR_SECONDS

    def feed(self, block: bytes) -> Iterable[str]:
        """Add a block."""
        self._content += block[: MAX_ERROR - len(self._content)]
        return ()

    def end(self) -> Iterable[str]:
        """There are no pieces of text in an error."""
        return ()

    def content(self, prompt_characters: int = 0) -> bytes:
        """The beginning of the body."""
        return self._content


class AnswerBody:
    """The body of a successful response: an event stream or a JSON document, whatever its header says.

    `answer` collects the events of a stream.
    """

    def __init__(self, content_type: str = "", answer: StreamedCompletion | None = None) -> None:
        self.answer = StreamedCompletion() if answer is None else answer
        self.streamed: bool | None = None  # not known before the first bytes
        self._says_stream = "event-stream" in content_type
        self._document, self._splitter = JsonBody(), EventSplitter()
        self._start = b""
        self._idle = 0

    @property
    def done(self) -> bool:
        """Whether the stream has said that nothing follows."""
        return self._splitter.done

    @property
    def enough(self) -> bool:
        """Whether the answer is complete, or will not be."""
        return self._document.whole or self.answer.complete

    @property
    def pieces(self) -> int:
        """The number of chunks with text or reasoning."""
        return self.answer.pieces

    @property
    def patience(self) -> float:
        """The seconds that the rest is waited for."""
        return CLOSE_SECONDS if self.done else END_SECONDS if self.enough else math.inf

    def feed(self, block: bytes) -> Iterator[str]:
        """The pieces of text that a block completes. Raises `Oversized`, and `RetryableError` for what is no chunk."""
        if self.done:
            return
        self._idle += len(block)
        if self.streamed is None:
            self._start = (self._start + block).removeprefix(BYTE_ORDER_MARK).lstrip(BLANK)
            if len(self._start) < LONGEST_FIELD:
                self._check_idle()
                return
            block, self.streamed = self._start, self._is_stream()
        if self.streamed:
            yield from self._add(self._splitter.feed(block))
        else:
            self._document.feed(block)

    def end(self) -> Iterator[str]:
        """The last pieces of text, at the end of the body."""
        if self.streamed is None:
            self.streamed = self._is_stream()
            yield from self._add(self._splitter.feed(self._start) if self.streamed else ())
        if self.streamed:
            yield from self._add(self._splitter.end())

    def content(self, prompt_characters: int = 0) -> bytes:
        """The answer as a JSON document. Raises `RetryableError` if a stream ended before its answer did."""
        if self.streamed:
            return self.answer.body(prompt_characters)
        return self._start if self.streamed is None else self._document.content()

    def _is_stream(self) -> bool:
        return bool(FIELD.match(self._start)) or (self._says_stream and not self._start.startswith((b"{", b"[", b"<")))

    def _add(self, events: Iterable[Event]) -> Iterator[str]:
        for event in events:
            pieces = self.answer.pieces
            if text := self.answer.add(event):
                yield text
            if self.answer.pieces > pieces:
                self._idle = 0
        self.answer.ended |= self._splitter.done
        self._check_idle()

    def _check_idle(self) -> None:
        if self._idle > MAX_IDLE:
            raise Oversized(f"the answer has {MAX_IDLE >> 20} MiB without any text")


def refuse_encoding(headers: Mapping[str, str], address: str) -> None:
    """Raise `FatalServerError` if a body is compressed in a way that not every installation can read."""
    encodings = headers.get("content-encoding", "").lower().replace(" ", "").split(",")
    if foreign := [name for name in encodings if name not in DECODED + NO_ENCODING]:
        message = f"{address} compresses its answers with {', '.join(foreign)}, although this was not asked for"
        raise FatalServerError(message, hint="Turn this off at the server, or at the proxy before it.")


def response_body(status: int, content_type: str) -> AnswerBody | ErrorBody:
    """The body for a response with this status and content type."""
    return AnswerBody(content_type) if status < 300 else ErrorBody()
