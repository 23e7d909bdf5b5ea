"""A chat completion read: the text without a model's thoughts, why it ended, and the tokens that it took.

Knows the many shapes that servers give an answer in, and nothing of sending requests. What cannot be read was paid for
all the same: its error carries the tokens.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from doric.core.codec import parse
from doric.core.errors import RetryableError

THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
CUT_THINKING = re.compile(r"^.*</think(?:ing)?>|<think(?:ing)?>.*$", re.DOTALL | re.IGNORECASE)
THINKING_TAG = re.compile(r"</?think(?:ing)?>", re.IGNORECASE)
BROKEN = 502
"""The status that an error within a 200 stands for when it names none."""
STATUSES = {"rate_limit_exceeded": 429, "insufficient_quota": 429, "invalid_api_key": 401, "model_not_found": 404}
CHARACTERS_A_TOKEN = 3
"""Of Doric, which is cut small."""
MOST_TOKENS = 10**9
"""No call has more: a larger count is an error of the server's."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `finish` is the server's finish reason: stop, length, content_filter or a word of its own.

    `thought` says that the model was seen to think before it answered, `counted` that the server counted the tokens.
    """

    text: str
    finish: str
    tokens_in: int
    tokens_out: int
    counted: bool = True
    thought: bool = False


class ErrorInside(Exception):
    """A response with status 200 that holds an error in place of an answer; `status` is the one it stands for."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


def read(content: bytes, content_type: str, *, asked: int = 0) -> Reply:
    """The reply in a response; `asked` is the prompt's characters, by which tokens are guessed that nobody counted.

    Raises `ErrorInside`, and `RetryableError` with the tokens it cost when there is nothing to be read.
    """
    try:
        value = _parsed(content)
    except (ValueError, RecursionError):
        sizes = (asked, len(content)) if b'"choices"' in content else (0, 0)  # an answer was made, and broke
        guessed = (size // CHARACTERS_A_TOKEN for size in sizes)
        raise _unreadable(f"no whole JSON ({content_type or 'no type'})", *guessed, counted=False) from None
    if not isinstance(value, dict):
        raise _unreadable(f"not a chat completion ({content_type or 'no type'})")
    usage = value.get("usage") if isinstance(value.get("usage"), dict) else {}
    tokens = _number(usage.get("prompt_tokens")), _number(usage.get("completion_tokens"))
    choices = value.get("choices")
    if not choices and value.get("error"):
        raise ErrorInside(_status(value["error"]))
    choice = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(choice, dict) and (choice.get("error") or choice.get("finish_reason") == "error"):
        raise ErrorInside(_status(choice.get("error")))
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise _unreadable("no message in it" if choice else "no choices in it", *tokens)
    text = _joined(message.get("content"))
    if text is None:
        raise _unreadable("the message is neither text nor parts with text", *tokens)
    finish = str(choice.get("finish_reason") or "stop")
    answer = _without_thinking(text)
    silent = not answer and finish == "length"  # tokens were made, and not one of them shown
    return Reply(answer, finish, *tokens, thought=silent or _thought(text, message, usage))


def _parsed(content: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return parse(content)
    except ValueError:
        return json.loads(content)  # takes half a character (a lone surrogate), which some models make


def _unreadable(what: str, tokens_in: int = 0, tokens_out: int = 0, *, counted: bool = True) -> RetryableError:
    return RetryableError(
        f"the answer could not be read: {what}",
        fault="malformed",
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        counted=counted,
    )


def _number(value: object) -> int:
    """A count of tokens; 0 for what can be none, so that it is guessed and no budget is misled."""
    return int(value) if isinstance(value, int | float) and 0 <= value <= MOST_TOKENS else 0


def _status(error: object) -> int:
    """The status that an error in a body stands for: its code, where that is a status or a known word."""
    told = error if isinstance(error, dict) else {}
    code = str(told.get("code") or told.get("status") or "")
    if re.fullmatch(r"[45]\d\d", code):
        return int(code)
    return next((STATUSES[word] for word in (code, str(told.get("type"))) if word in STATUSES), BROKEN)


def _joined(content: object) -> str | None:
    """A message's text, in one piece or in parts; None when it is neither."""
    if isinstance(content, list):
        parts = [part.get("text") or "" if isinstance(part, dict) else part for part in content]
        content = "".join(parts) if all(isinstance(part, str) for part in parts) else None
    elif content is None:
        content = ""
    if not isinstance(content, str):
        return None
    if any("\ud800" <= char <= "\udfff" for char in content):
        return content.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")  # half an emoji is no loss
    return content


def _thought(text: str, message: Mapping[str, Any], usage: Mapping[str, Any]) -> bool:
    """Whether a model thought before it answered: in the answer, in a field beside it, or only by its tokens."""
    details = usage.get("completion_tokens_details")
    counted = isinstance(details, dict) and _number(details.get("reasoning_tokens")) > 0
    parts = message.get("content")
    apart = isinstance(parts, list) and any(isinstance(part, dict) and part.get("thinking") for part in parts)
    beside = bool(message.get("reasoning_content") or message.get("reasoning"))
    return counted or apart or beside or bool(THINKING_TAG.search(text))


def _without_thinking(text: str) -> str:
    """The answer without a reasoning model's thoughts, finished or cut off."""
    if not THINKING_TAG.search(text):
        return text.strip()
    return CUT_THINKING.sub("", THINKING.sub("", text)).strip()
