"""Bodies of responses: streams and documents are told apart by their content, and none of them fills the memory."""

import collections
import itertools
import json
import math

import pytest

from doric.core.errors import FatalServerError
from doric.llm.body import END_SECONDS, AnswerBody, ErrorBody, JsonBody, refuse_encoding
from doric.llm.events import Oversized
from doric.llm.response import read_completion

DOCUMENT = json.dumps({"choices": [{"message": {"content": "Aye."}, "finish_reason": "stop"}]}).encode()
STREAM = (
    b'data: {"choices":[{"delta":{"content":"Ay"}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":"e."},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "text/plain", ""])
@pytest.mark.parametrize("start", [b"", b"\n\n ", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("content", [DOCUMENT, STREAM, b": ping\n\n" + STREAM, b"event: m\n" + STREAM])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_stream_and_a_document_are_told_apart_by_their_content(content_type, start, content, size):
    """The answer is the same whether it is streamed or not, and whatever the header says."""
    body, whole = AnswerBody(content_type), start + content
    pieces = [text for at in range(0, len(whole), size) for text in body.feed(whole[at : at + size])]
    pieces += body.end()
    assert read_completion(body.content(), content_type).text == "Aye."
    assert "".join(pieces) == ("Aye." if body.streamed else "")


def test_the_rest_is_waited_for_only_a_moment():
    """After the finish reason, and after [DONE], the connection may stay open; a document has no such end."""
    body = AnswerBody()
    first, second, done = STREAM.split(b"\n\n", 2)
    patience = [body.patience]
    for part in (first, second, done):
        list(body.feed(part + b"\n\n"))
        patience.append(body.patience)
    assert patience[0] == patience[1] == math.inf
    assert math.inf > patience[2] > patience[3]
    assert (body.enough, body.done) == (True, True)


@pytest.mark.parametrize(
    "block",
    [
        b" ", b"\xef\xbb\xbf", b": ping\n\n", b"data:\n\n", b"data: null\n\n", b'data: {"choices":[]}\n\n',
        b'data: {"choices":[{"delta":{}}]}\n\n', b'data: {"choices":[{"delta":{"content":"aye "}}]}\n\n', b"<p>",
        b'data: {"choices":[{"delta":{"reasoning":"hm "}}]}\n\n', b'[{"choices":[', b"data: {\n", b"event: x\n",
    ],
)  # fmt: skip
def test_whatever_does_not_end_is_refused(block):
    """Blanks, keep-alives, empty chunks, text and documents without an end are refused under a limit."""
    body = AnswerBody("text/event-stream")
    blocks = itertools.repeat(block * (1000 // len(block)), 200_000)
    with pytest.raises(Oversized):
        collections.deque((text for each in blocks for text in body.feed(each)), maxlen=0)


def test_a_long_wait_with_keep_alives_is_not_refused():
    """Ten minutes of keep-alives, and then an answer of many chunks with as many keep-alives, are read."""
    body = AnswerBody()
    for _ in range(600):
        list(body.feed(b": PROCESSING\n\n"))
    for _ in range(20_000):
        list(body.feed(b': ping\n\ndata: {"choices":[{"delta":{"content":"aye "}}]}\n\n'))
    assert len(body.answer.text) == 80_000


def test_only_the_beginning_of_an_error_is_kept():
    """An endless error page is cut, and can be used at any time."""
    body = ErrorBody()
    assert (body.enough, body.done) == (True, False)
    for _ in range(1000):
        body.feed(b'{"error": "' * 100)
    assert (body.done, len(body.content())) == (True, 1 << 16)


def test_a_document_above_its_limit_is_refused():
    """The limit of a document counts decoded bytes."""
    body = JsonBody(1 << 20)
    body.feed(b" " * (1 << 20))
    with pytest.raises(Oversized, match="1 MiB"):
        body.feed(b" ")


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "aws-chunked"])
def test_an_encoding_that_was_not_asked_for_is_named(encoding):
    """Not every installation can unpack it; gzip and deflate are always understood."""
    with pytest.raises(FatalServerError, match=encoding.rsplit(", ", 1)[-1]):
        refuse_encoding({"content-encoding": encoding}, "http://x/v1")
    for known in ("identity", "gzip", "deflate", "GZIP, gzip"):
        refuse_encoding({"content-encoding": known}, "http://x/v1")


@pytest.mark.parametrize("encoding", ["none", "UTF-8", "identity, binary", ""])
def test_words_that_are_no_compression_are_ignored(encoding):
    """Some servers write the character set, or nothing sensible, into the header for compression."""
    refuse_encoding({"content-encoding": encoding}, "localhost")


@pytest.mark.parametrize("text", ["Aye.", "{}", "}{", "} {} {"])
def test_a_whole_document_is_used_although_the_connection_stays_open(text):
    """The rest is waited for only a moment once a document is complete, and never before."""
    content = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
    body = AnswerBody("application/json")
    for at in range(len(content)):
        assert (body.enough, body.patience) == (False, math.inf)
        list(body.feed(content[at : at + 1]))
    assert (body.enough, body.patience) == (True, END_SECONDS)
