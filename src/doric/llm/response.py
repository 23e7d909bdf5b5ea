"""Chat completions, whole or streamed: the answer without reasoning, the finish reason and the tokens used.

Servers differ in the shape of their answers; this module reads all shapes seen so far.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from doric.core.errors import RetryableError
from doric.core.files import parse_json
from doric.core.markers import cut_end_marks, split_reasoning
from doric.core.text import SURROGATE

UNKNOWN_ERROR = 502
"""The status for an error in a 200 response, if the error has no status."""
STATUSES = {"rate_limit_exceeded": 429, "insufficient_quota": 429, "invalid_api_key": 401, "model_not_found": 404}
CHARACTERS_PER_TOKEN = 3
"""Doric has about 3 characters per token. Its spellings are rare, so tokenizers split them into short pieces."""
NOT_CONTENT = (
    "reasoning_content", "reasoning", "reasoning_details", "thinking",
    "refusal", "tool_calls", "function_call", "audio",
)  # fmt: skip
"""Fields of a message that some servers fill instead of `content`."""
MAX_TOKENS = 10**9
"""A larger count in a response is a mistake of the server."""
STREAM_END = b"[DONE]"


def estimate_tokens(characters: float) -> float:
    """The estimated tokens of a text with so many characters, for forecasts and for servers that do not count tokens.

    >>> estimate_tokens(1200)
    400.0
    """
    return characters / CHARACTERS_PER_TOKEN


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. `finish` is the finish reason: stop, length, content_filter or another word of the server.

    `counted` is False if the tokens are an estimate. `reasoned` is True if the model showed signs of reasoning:
    reasoning text, reasoning tokens, or a token limit used up without an answer. `elsewhere` is empty if there is text.
    If there is none, it names the field of the message that the model filled instead, such as reasoning_content,
    refusal or tool_calls.
    """

    text: str
    finish: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    counted: bool = True
    reasoned: bool = False
    elsewhere: str = ""


@dataclass(frozen=True, slots=True)
class TimedCompletion:
    """A completion and its times in seconds since the request: to the first token and to the end.

    `first_token` is the time of the first token of any kind, also of reasoning; it is None if the answer came in one
    piece. The completion has no token counts if the server did not send them.
    """

    completion: Completion
    first_token: float | None
    seconds: float


class ErrorInBody(Exception):
    """An error in a response with status 200; `status` is the status that fits the error."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


def read_completion(content: bytes, content_type: str, *, prompt_characters: int = 0) -> Completion:
    """The completion in a response body. Tokens of an unreadable answer are estimated from `prompt_characters`.

    Raises `ErrorInBody`, or `RetryableError` with the tokens that the unreadable answer used.
    """
    value = _object(content, content_type or "no content type", prompt_characters)
    usage: dict[str, Any] = found if isinstance(found := value.get("usage"), dict) else {}
    tokens = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    choice, message = _first_choice(value, tokens)
    text = _joined(message.get("content"))
    if text is None:
        raise _unreadable("the message is neither text nor parts with text", *tokens)
    finish = str(choice.get("finish_reason") or "stop")
    without_reasoning = split_reasoning(text).answer
    answer = cut_end_marks(without_reasoning)
    has_marks = without_reasoning != text.strip()
    reasoned = has_marks or (not answer and finish == "length") or _reasoned(message, usage)
    elsewhere = "" if answer else _filled_instead(text if has_marks else "", message)
    return Completion(answer, finish, *tokens, reasoned=reasoned, elsewhere=elsewhere)


def _object(content: bytes, content_type: str, prompt_characters: int) -> dict[str, Any]:
    """The JSON object of a response body. Raises `RetryableError`."""
    try:
        value = _parse(content)
    except (ValueError, RecursionError):
        has_answer = b'"choices"' in content
        sizes = (prompt_characters, len(content)) if has_answer else (0, 0)
        estimated = (int(estimate_tokens(size)) for size in sizes)
        raise _unreadable(f"incomplete JSON ({content_type})", *estimated, counted=False) from None
    if not isinstance(value, dict):
        raise _unreadable(f"not a chat completion ({content_type})")
    return value


def _first_choice(value: Mapping[str, Any], tokens: tuple[int, int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first choice and its message. Raises `ErrorInBody`, or `RetryableError` with the `tokens` used."""
    choices = value.get("choices")
    if not choices and value.get("error"):
        raise ErrorInBody(_status(value["error"]))
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        raise _unreadable("no message in it" if choice else "no choices in it", *tokens)
    if choice.get("error") or choice.get("finish_reason") == "error":
        raise ErrorInBody(_status(choice.get("error")))
    message = choice.get("message")
    if not isinstance(message, dict):
        raise _unreadable("no message in it", *tokens)
    return choice, message


@dataclass(slots=True)
class StreamedCompletion:
    """One streamed answer so far. Pass each chunk to `add`. `finish` stays empty until the server ends the answer.

    `pieces` counts the chunks with text or reasoning. `error` is the server's error event, None if there was none.
    """

    text: str = ""
    reasoning: str = ""
    finish: str = ""
    pieces: int = 0
    usage: dict[str, Any] | None = None
    error: object = None

    def add(self, chunk: bytes | Mapping[str, Any]) -> str:
        """Add one chunk, as JSON or decoded; returns the text in it. Raises `RetryableError` if it is not a chunk."""
        try:
            value: Any = _parse(chunk) if isinstance(chunk, bytes) else chunk
            self.error = value.get("error") or self.error
            self.usage = value.get("usage") or self.usage
            return "".join([self._add_choice(choice) for choice in value.get("choices") or ()])
        except (ValueError, AttributeError, TypeError, RecursionError):
            raise _unreadable("not a chunk of a completion") from None

    def _add_choice(self, choice: Mapping[str, Any]) -> str:
        self.finish = choice.get("finish_reason") or self.finish
        self.error = choice.get("error") or self.error
        delta = choice.get("delta") or {}
        reasoning, text = delta.get("reasoning_content") or delta.get("reasoning") or "", delta.get("content") or ""
        self.reasoning += reasoning
        self.text += text
        self.pieces += bool(reasoning or text)
        return text

    def body(self) -> bytes:
        """The same answer in the form of a response body that was not streamed, for `read_completion`.

        Raises `RetryableError` if the stream ended before the answer did.
        """
        if self.error and self.finish in ("", "error"):
            return json.dumps({"error": self.error}).encode()
        if not self.finish:
            raise _unreadable("the stream ended before the answer was complete")
        message = {"content": self.text, "reasoning_content": self.reasoning}
        choice = {"message": message, "finish_reason": self.finish}
        return json.dumps({"choices": [choice], "usage": self.usage}).encode()


class EventSplitter:
    """Splits a server-sent event stream into the payloads of its `data:` lines, without the final [DONE]."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, block: bytes) -> list[bytes]:
        """The payloads that this block completes. At the end of the stream, feed a newline."""
        # not str.splitlines, because it also splits at U+2028, which JSON may contain
        *lines, self._rest = re.split(rb"[\r\n]", self._rest + block)
        payloads = (line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:"))
        return [payload for payload in payloads if payload != STREAM_END]


async def event_data(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The payloads of a server-sent event stream, each as soon as its line is complete."""
    splitter = EventSplitter()
    async for block in stream:
        for payload in splitter.feed(block):
            yield payload
    for payload in splitter.feed(b"\n"):
        yield payload


def _parse(content: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return parse_json(content)
    except ValueError:
        return json.loads(content)  # accepts lone surrogates (half of an emoji), which some models produce


def _unreadable(what: str, tokens_in: int = 0, tokens_out: int = 0, *, counted: bool = True) -> RetryableError:
    return RetryableError(
        f"the answer could not be read: {what}",
        fault="malformed",
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        counted=counted,
    )


def _count(value: object) -> int:
    """A count of tokens; 0 if `value` cannot be a count. Then the tokens are estimated, which keeps budgets correct."""
    return int(value) if isinstance(value, int | float) and 0 <= value <= MAX_TOKENS else 0


def _status(error: object) -> int:
    """The HTTP status that fits an error object: its code, if this is a status or a known word."""
    fields = error if isinstance(error, dict) else {}
    code = str(fields.get("code") or fields.get("status") or "")
    if re.fullmatch(r"[45]\d\d", code):
        return int(code)
    return next((STATUSES[word] for word in (code, str(fields.get("type"))) if word in STATUSES), UNKNOWN_ERROR)


def _joined(content: object) -> str | None:
    """A message's text, which may be a string or a list of parts; None if it is neither."""
    if isinstance(content, list):
        parts = [part.get("text") or "" if isinstance(part, dict) else part for part in content]
        content = "".join(parts) if all(isinstance(part, str) for part in parts) else None
    elif content is None:
        content = ""
    if not isinstance(content, str):
        return None
    if SURROGATE.search(content):
        return content.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")  # join pairs, drop lone surrogates
    return content


def _reasoned(message: Mapping[str, Any], usage: Mapping[str, Any]) -> bool:
    """Whether there is reasoning in another field of the message or in the token counts."""
    details = usage.get("completion_tokens_details")
    in_tokens = isinstance(details, dict) and _count(details.get("reasoning_tokens")) > 0
    parts = message.get("content")
    in_parts = isinstance(parts, list) and any(isinstance(part, dict) and part.get("thinking") for part in parts)
    in_field = bool(message.get("reasoning_content") or message.get("reasoning"))
    return in_tokens or in_parts or in_field


def _filled_instead(text: str, message: Mapping[str, Any]) -> str:
    """The field of a message without an answer that the model filled instead; "" if there is none."""
    if named := next((name for name in NOT_CONTENT if message.get(name)), ""):
        return named
    parts = message.get("content")
    if isinstance(parts, list) and (
        kinds := [part["type"] for part in parts if isinstance(part, dict) and "type" in part]
    ):
        return f"content, as a part of type {kinds[0]}"
    return "content, as reasoning" if text.strip() else ""
