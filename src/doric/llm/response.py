"""Chat completions, whole or streamed: the answer without reasoning, the finish reason and the tokens used.

Servers differ in the shape of their answers; this module reads all shapes seen so far.
"""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from doric import data
from doric.core.conversations import REASONING_KEYS, REASONING_PARTS
from doric.core.errors import RetryableError
from doric.core.markers import cut_end_marks, split_reasoning
from doric.core.text import SURROGATE, printable
from doric.llm.errors import find_error, is_error, page_title
from doric.llm.events import Event, Oversized, decode

UNKNOWN_ERROR = 502
"""The status for an error in a 200 response, if the error has no status."""
STATUSES = {"rate_limit_exceeded": 429, "insufficient_quota": 429, "invalid_api_key": 401, "model_not_found": 404}
CHARACTERS_PER_TOKEN = 3
"""Doric has about 3 characters per token. Its spellings are rare, so tokenizers split them into short pieces."""
NOT_CONTENT = (*REASONING_KEYS, "refusal", "tool_calls", "function_call", "audio")
"""Fields of a message that some servers fill instead of `content`."""
MAX_TOKENS = 10**9
"""A larger count in a response is a mistake of the server."""
STREAM_OPTIONS = "stream_options"
"""The parameter that asks for token counts at the end of a stream; without it, streamed answers have no counts."""
LONGEST_ANSWER = 1 << 19
"""Characters of one answer with its reasoning. The longest answers of current models are 128,000 tokens long, which are
less than 500,000 characters; whatever sends more does not end."""
CACHED_FIELDS = ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
ABORTED = "abort"
"""The finish reason of an answer that was cancelled at the server."""
BROKEN_OFF = "the server broke off the answer"
NOT_WHOLE = ("length", "content_filter", ABORTED, "error")
"""The finish reasons of answers that are not whole."""
HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]|[\udc80-\udcff]+")
HALF_AT_END = re.compile("(?:[\ud800-\udbff]|[\udc80-\udcff]{1,3}|\ufffd{1,3})\\Z")
"""The first half of a surrogate pair, up to three bytes of a character (as Python's surrogateescape writes them), or
the sign that some servers send for them until the rest of the character follows."""
BROKEN_BYTES = re.compile("[\udc80-\udcff]+")
SHORTEST_REPEAT = 3
"""Characters. A shorter piece of text may by chance be the beginning of the answer."""
LONGEST_REASON = 40
"""Characters of an unknown finish reason, which is shown."""


def estimate_tokens(characters: float) -> float:
    """The estimated tokens of a text with so many characters, for forecasts and for servers that do not count tokens.

    >>> estimate_tokens(1200)
    400.0
    """
    return characters / CHARACTERS_PER_TOKEN


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. `finish` is the finish reason: stop, length, content_filter, abort or another word of the server.

    `counted` is False if the tokens are an estimate. `reasoned` is True if the model showed signs of reasoning:
    reasoning text, reasoning tokens, or a token limit used up without an answer. `elsewhere` is empty if there is text.
    If there is none, it names the field of the message that the model filled instead, such as reasoning_content,
    refusal or tool_calls. `cached` are the tokens in that the server had in its cache, as far as it says. `tier` is
    the service tier that the server reports.
    """

    text: str
    finish: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    counted: bool = True
    reasoned: bool = False
    elsewhere: str = ""
    cached: int = 0
    tier: str = ""


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
    value = read_object(content, content_type or "no content type", prompt_characters)
    usage: dict[str, Any] = found if isinstance(found := value.get("usage"), dict) else {}
    tokens = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    choice, message = _first_choice(value, tokens)
    if (found := read_content(message.get("content"))) is None:
        raise _unreadable("the message is neither text nor parts with text", *tokens)
    text = SURROGATE.sub("", mark_broken(join_halves(found[0])))
    finish = finish_reason(choice.get("finish_reason")) or "stop"
    without_reasoning = split_reasoning(text).answer
    answer = cut_end_marks(without_reasoning)
    if not answer and finish == ABORTED:
        raise RetryableError(BROKEN_OFF, fault=finish, tokens_in=tokens[0], tokens_out=tokens[1])
    has_marks = without_reasoning != text.strip()
    reasoned = has_marks or (not answer and finish == "length") or _reasoned(message, usage)
    elsewhere = "" if answer else _filled_instead(text if has_marks else "", message)
    cached, tier = min(cached_tokens(usage), tokens[0]), value.get("service_tier")
    return Completion(
        answer, finish, *tokens, reasoned=reasoned, elsewhere=elsewhere, cached=cached,
        tier=tier[:LONGEST_REASON] if isinstance(tier, str) else "",
    )  # fmt: skip


def cached_tokens(usage: Mapping[str, Any]) -> int:
    """The tokens in of a call that its server had in its cache, from any known field of the usage; 0 if none is named.

    OpenAI, vLLM and Google have prompt_tokens_details.cached_tokens, DeepSeek prompt_cache_hit_tokens, Moonshot
    cached_tokens, and Anthropic behind a proxy cache_read_input_tokens.

    >>> cached_tokens({"prompt_tokens_details": {"cached_tokens": 1024}})
    1024
    """
    details = usage.get("prompt_tokens_details")
    named = [details.get("cached_tokens")] if isinstance(details, dict) else []
    return max(map(count, (*named, *map(usage.get, CACHED_FIELDS))))


def read_object(content: bytes, content_type: str, prompt_characters: int = 0) -> dict[str, Any]:
    """The JSON object of a response body. Raises `RetryableError`."""
    value = decode(content)
    if isinstance(value, str):
        if title := page_title(content):
            raise _unreadable(f"a web page ({title})")
        has_answer = b'"choices"' in content
        sizes = (prompt_characters, len(content)) if has_answer else (0, 0)
        estimated = (int(estimate_tokens(size)) for size in sizes)
        what = "incomplete JSON" if content.strip() else "the response is empty"
        raise _unreadable(f"{what} ({content_type})", *estimated, counted=False)
    if isinstance(value, list) and find_error(value):
        value = value[0]
    if not isinstance(value, dict):
        raise _unreadable(f"not a completion ({content_type})")
    return value


def _first_choice(value: Mapping[str, Any], tokens: tuple[int, int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first choice and its message. Raises `ErrorInBody`, or `RetryableError` with the `tokens` used."""
    choices = value.get("choices")
    if not choices and (error := find_error(value)):
        raise ErrorInBody(status_of(error))
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        raise _unreadable("no message in it" if choice else "no choices in it", *tokens)
    if is_error(choice.get("error")) or finish_reason(choice.get("finish_reason")) == "error":
        raise ErrorInBody(status_of(choice.get("error")))
    message = choice.get("message") or choice.get("delta")
    if message is None and "text" in choice:  # the shape of the older completions endpoint
        message = {"content": choice["text"]}
    if not isinstance(message, dict):
        raise _unreadable("no message in it", *tokens)
    return choice, message


@dataclass(slots=True)
class StreamedCompletion:
    """One streamed answer so far. Pass each event to `add`. `finish` stays empty until the server ends the answer.

    `pieces` counts the chunks with text or reasoning. `error` is the server's error event, None if there was none.
    `ended` is True once the stream has said that nothing follows; some servers give no finish reason. `tier` is the
    service tier that the server reports.
    """

    finish: str = ""
    pieces: int = 0
    usage: dict[str, Any] | None = None
    error: object = None
    ended: bool = False
    tier: str = ""
    _text: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _characters: int = 0
    _length: int = 0  # characters of the text
    _filled: str = ""  # the first field with something that is neither text nor reasoning
    _half: str = ""  # the first half of a character, whose second half the next chunk may have
    _is_closed: bool = False  # whether text after the end was dropped, so that no later text belongs to the answer

    def add(self, chunk: Event | bytes | Mapping[str, Any]) -> str:
        """Add one chunk, as an event, as JSON or decoded; returns the text in it.

        Raises `RetryableError` if it is not a chunk, and `Oversized` if the answer is longer than any answer.
        """
        event = chunk if isinstance(chunk, Event) else Event(decode(chunk) if isinstance(chunk, bytes) else chunk)
        value = event.data
        error = None if isinstance(value, dict) and value.get("choices") else find_error(value)
        if error or event.name == "error":
            self._note_error(error or value or "no reason given")
            return ""
        if value == []:
            return ""  # a keep-alive
        if value is None or isinstance(value, int | float) or (isinstance(value, str) and value[:1] not in ("{", "[")):
            return ""  # a keep-alive, such as "ping"
        try:
            self._note_error(value.get("error"))
            self._add_usage(value.get("usage"))
            self.tier = value.get("service_tier") or self.tier
            text = "".join([self._add_choice(choice) for choice in value.get("choices") or () if _is_first(choice)])
        except (AttributeError, TypeError):
            raise _unreadable("not a chunk of a completion") from None
        if self._characters > LONGEST_ANSWER:
            raise Oversized(f"the answer has more than {LONGEST_ANSWER:,} characters")
        return text

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text) + mark_broken(self._half)

    @property
    def reasoning(self) -> str:
        """The reasoning so far that came in a field of its own."""
        return "".join(self._reasoning)

    @property
    def complete(self) -> bool:
        """Whether the answer has ended: with a finish reason, or, as some servers do, only with the stream."""
        return bool(self.finish) or (self.ended and self.pieces > 0)

    @property
    def elsewhere(self) -> str:
        """The field that the model filled instead of the text, as in `Completion`; "" if there is text."""
        return "" if self.text.strip() else _filled_instead("", self._message())

    @property
    def counts(self) -> tuple[int, int]:
        """The server's counts of tokens in and out; 0 if it has not sent a possible count."""
        usage = self.usage or {}
        return count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))

    def _note_error(self, error: object) -> None:
        """Keep an error; after the end of a good answer, it does not matter any more."""
        if is_error(error) and self.finish in ("", "error") and not self.ended:
            self.error = error

    def _add_usage(self, usage: object) -> None:
        """Keep the counts of `usage`. A later null does not replace an earlier count."""
        if isinstance(usage, dict):
            self.usage = {**(self.usage or {}), **{name: count for name, count in usage.items() if count is not None}}

    def _add_choice(self, choice: Mapping[str, Any]) -> str:
        had_ended, finish = bool(self.finish), finish_reason(choice.get("finish_reason"))
        self.finish = finish or self.finish
        self._note_error(choice.get("error"))
        self._add_usage(choice.get("usage"))
        delta = choice.get("delta") or choice.get("message") or {}
        found = read_content(delta.get("content") or choice.get("text"))
        if had_ended and self.pieces and (self._is_closed or not finish):
            self._is_closed |= found != ("", "")
            return ""  # text after the end is not the answer's, but some servers send a finish reason with each chunk
        if found is None:
            raise TypeError(delta)
        text, reasoning = found
        reasoning = reasoning or next(filter(None, (_text(delta.get(name)) for name in REASONING_FIELDS)), "")
        if had_ended and not finish and (text or reasoning):
            self.finish = ""  # the end before any text was none
        if not choice.get("delta"):
            text = self._new_text(text, is_message=bool(choice.get("message")))
            reasoning = _new_part(reasoning, self._reasoning, self._characters - self._length)
        self._filled = self._filled or _filled_instead("", {**delta, "content": None})
        self.pieces += bool(reasoning or text)
        text = self._whole_characters(text)
        self._length += len(text)
        self._characters += len(text) + len(reasoning)
        for parts, part in ((self._text, text), (self._reasoning, reasoning)):
            if part:
                parts.append(part)
        return text

    def _new_text(self, text: str, *, is_message: bool) -> str:
        """What is new in a text that may repeat all of the answer so far."""
        new = _new_part(text, self._text, self._length, least=1 if is_message else SHORTEST_REPEAT)
        if new is text:
            return text
        self._half = ""  # it comes again
        return new

    def _whole_characters(self, text: str) -> str:
        """`text` with the half of a character that was held back; a half at its end is held back in turn."""
        text, self._half = join_halves(self._half + text), ""
        if half := HALF_AT_END.search(text):
            text, self._half = text[: half.start()], half.group()
        return mark_broken(text)

    def _message(self) -> dict[str, Any]:
        filled = {self._filled: True} if self._filled else {}
        return {**filled, "content": self.text, "reasoning_content": self.reasoning}

    def body(self, prompt_characters: int = 0) -> bytes:
        """The same answer in the form of a response body that was not streamed, for `read_completion`.

        Raises `RetryableError` if the stream ended before the answer did. Then its tokens are estimated.
        """
        if self.error:
            return json.dumps({"error": self.error}).encode()
        if not self.complete:
            sizes = (prompt_characters, self._characters) if self.pieces else (0, 0)
            estimated = [int(estimate_tokens(size)) for size in sizes]
            raise _unreadable("the stream ended before the answer was complete", *estimated, counted=False)
        choice = {"message": self._message(), "finish_reason": self.finish}
        return json.dumps({"choices": [choice], "usage": self.usage, "service_tier": self.tier}).encode()


@functools.cache
def _finish_reasons() -> dict[str, str]:
    words = data.read_toml("finish_reasons.toml")
    return {_letters(word): "" if reason == "none" else reason for reason, others in words.items() for word in others}


def finish_reason(word: object) -> str:
    """The finish reason in this project's words (`data/finish_reasons.toml`); an unknown word as it is, "" for none.

    >>> finish_reason("EOS"), finish_reason("maxTokens"), finish_reason("null"), finish_reason("tool_calls")
    ('stop', 'length', '', 'tool_calls')
    """
    if isinstance(word, list):
        word = next(iter(word), None)
    if isinstance(word, dict):
        word = word.get("type")
    text = printable(word).strip() if isinstance(word, str) else ""
    return _finish_reasons().get(_letters(text).removeprefix("finishreason"), text[:LONGEST_REASON])


def _letters(word: str) -> str:
    return re.sub("[^a-z]", "", word.lower())


def read_content(content: object) -> tuple[str, str] | None:
    """The text and the reasoning in a message's content: a string, null, or a list of parts. None for anything else."""
    if content is None or isinstance(content, str):
        return content or "", ""
    parts = content if isinstance(content, list) else [content]
    texts, reasoning = [], []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif not isinstance(part, dict):
            return None
        elif part.get("type") in REASONING_PARTS or part.get("thinking"):
            reasoning.append(_text(part.get("thinking")) or _text(part.get("text")))
        elif not isinstance(part.get("text"), str | dict | None):
            return None
        else:
            texts.append(_text(part.get("text")))
    return "".join(texts), "".join(reasoning)


def join_halves(text: str) -> str:
    """`text` with each pair of surrogates, and each run of escaped UTF-8 bytes, joined to the characters they mean."""
    if text.isprintable():  # surrogates are not printable
        return text
    return HALVES.sub(_join, text)


def mark_broken(text: str) -> str:
    """`text` with the replacement character for each run of escaped bytes that is no character."""
    return BROKEN_BYTES.sub("\N{REPLACEMENT CHARACTER}", text)


def _join(halves: re.Match[str]) -> str:
    if halves.group()[0] < "\udc00":
        return halves.group().encode("utf-16", "surrogatepass").decode("utf-16")
    return halves.group().encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _text(value: object) -> str:
    """A text that may be wrapped: in parts with text, or as the value of an object; "" for anything else."""
    if isinstance(value, list):
        return "".join(map(_text, value))
    if isinstance(value, dict):
        return _text(value.get("text") or value.get("value"))
    return value if isinstance(value, str) else ""


def _new_part(message: str, parts: list[str], length: int, least: int = 1) -> str:
    """What is new in `message`: some servers send all of the answer so far again, `parts`, of `length` characters.

    Fewer characters than `least` may begin by chance like the answer so far. A part of it that comes again is nothing
    new either.
    """
    if length < least:
        return message
    if length <= len(message):
        return message[length:] if message.startswith("".join(parts)) else message
    return "" if len(message) >= SHORTEST_REPEAT and "".join(parts).startswith(message) else message


def _is_first(choice: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether a choice in a chunk belongs to the first answer. Some servers send others, or null."""
    return choice is not None and choice.get("index") in (None, 0, "0")


def _unreadable(what: str, tokens_in: int = 0, tokens_out: int = 0, *, counted: bool = True) -> RetryableError:
    return RetryableError(
        f"the answer could not be read: {what}",
        fault="malformed",
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        counted=counted,
    )


def count(value: object) -> int:
    """A count of tokens; 0 if `value` cannot be a count. Then the tokens are estimated, which keeps budgets correct."""
    return int(value) if isinstance(value, int | float) and 0 <= value <= MAX_TOKENS else 0


def status_of(error: object) -> int:
    """The HTTP status that fits an error object: its code, if this is a status or a known word."""
    fields = error if isinstance(error, dict) else {}
    code = str(fields.get("code") or fields.get("status") or "")
    if re.fullmatch(r"[45]\d\d", code):
        return int(code)
    return next((STATUSES[word] for word in (code, str(fields.get("type"))) if word in STATUSES), UNKNOWN_ERROR)


def _reasoned(message: Mapping[str, Any], usage: Mapping[str, Any]) -> bool:
    """Whether there is reasoning in another field of the message or in the token counts."""
    details = usage.get("completion_tokens_details")
    in_tokens = isinstance(details, dict) and count(details.get("reasoning_tokens")) > 0
    parts = message.get("content")
    in_parts = isinstance(parts, list) and bool((read_content(parts) or ("", ""))[1])
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
