"""What a model server's error response means. It becomes one of three errors, without the API key:

`ServerError`: only this call has failed. `RetryableError`: a retry may succeed. `FatalServerError`: the run must stop.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.llm.rate_limits import read_retry_after

QUOTA = ("exceeded your current quota", "credit balance", "insufficient credits")
RATE_LIMITED = ("rate_limit", "rate limit", "retry in", "try again in", "per minute")
FILTERED = ("content_filter", "content_policy", "content management policy", "responsible ai", "flagged_input")
FILTERED_400 = (*FILTERED, "moderation", "flagged")
FILTERED_403 = (*FILTERED, "input was flagged", "prompt was flagged")
"""Marks of a content filter in a 403. "flagged" alone may mean the account; then every other prompt would fail too."""
FILTER_CODES = ("content_filter", "content_policy_violation", "moderation_blocked")
UNSUPPORTED = (
    "unsupported", "not support", "unrecognized", "unknown", "unexpected", "not permitted", "not allowed",
    "extra input", "instead",
)  # fmt: skip
TOO_LONG = ("context_length", "context length", "context size", "context window", "maximum context")
NO_MODEL = ("not exist", "not found", "unknown", "invalid model", "not a valid model")
RETRYABLE_STATUSES = (408, 409, 425, 429)
NUMBER = re.compile(r"(?<![\w.-])\d[\d,]*(?![\w-])")
MIN_TOKEN_LIMIT = 16
"""Tokens. A smaller limit is useless, and a smaller number in an error message is not a limit."""
MAX_RETRY_AFTER = 600.0
"""Seconds. A longer Retry-After ends the run; the user continues it later."""
MAX_MESSAGE = 200
"""Characters of the server's message that are quoted."""

MIN_REDACTED = 6
"""Characters. Shorter keys are never redacted: the dummy key "x" is in most words."""
MIN_SECRET, MIN_LONG_SECRET = 8, 20
"""Characters. A key is secret if it has at least 8 and a digit, or at least 20. Other keys are dummy words."""


def redact(text: str, secret: str) -> str:
    """`text` with `secret` replaced by an ellipsis; unchanged if `secret` is shorter than 6 characters.

    >>> redact("Incorrect API key provided: sk-4f7a", "sk-4f7a")
    'Incorrect API key provided: …'
    """
    return text.replace(secret, "…") if len(secret) >= MIN_REDACTED else text


def is_secret(key: str) -> bool:
    """Whether `key` is a real key. Local servers also accept any placeholder word, which is not secret.

    >>> is_secret("sk-proj-4f7a"), is_secret("ollama"), is_secret("not-needed"), is_secret("")
    (True, False, False, False)
    """
    return len(key) >= MIN_LONG_SECRET or (len(key) >= MIN_SECRET and any(char.isdigit() for char in key))


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error response: `message` is for people, `text` is the whole body in lower case, for searching.

    `param` and `code` are the fields of OpenAI's error object; `retry_after` is in seconds, None if not given.
    """

    status: int
    message: str
    param: str
    text: str
    retry_after: float | None
    code: str = ""

    @classmethod
    def read(
        cls, status: int, body: bytes, headers: Mapping[str, str], *, key: str, prompts: Sequence[str] = ()
    ) -> Self:
        """Read a response. The key and the `prompts` of the request are redacted, because some servers quote them.

        Otherwise a quoted prompt about fridge temperatures would look like an error about the parameter `temperature`.
        """
        text = body.decode("utf-8", "replace")
        error = _error_object(text)
        message = str(error.get("message") or error.get("detail") or (error if error else text))
        for secret in (key, *prompts):  # in the raw body, characters of the secret may be escaped as in JSON
            text, message = redact(redact(text, secret), json.dumps(secret)[1:-1]), redact(message, secret)
        one_line = " ".join(message.split())
        param, code = (str(error.get(name) or "") for name in ("param", "code"))
        return cls(status, one_line[:MAX_MESSAGE], param, text.lower(), read_retry_after(headers), code.lower())

    @property
    def filtered(self) -> bool:
        """Whether a content filter blocked the prompt or the answer."""
        if self.status not in (400, 403, 422):
            return False
        return self.code in FILTER_CODES or self._mentions(FILTERED_403 if self.status == 403 else FILTERED_400)

    @property
    def unsupported(self) -> bool:
        """Whether the parameter itself is not supported, and not only its value."""
        return self.code == "unsupported_parameter" or self._mentions(UNSUPPORTED)

    @property
    def too_long(self) -> bool:
        """Whether the request exceeds the model's context length."""
        return self.status == 413 or (self.status in (400, 422) and self._mentions(TOO_LONG))

    def refused_parameters(self, sent: Sequence[str]) -> list[str]:
        """The parameters in `sent` that the error mentions, the most likely first."""
        named = [name for name in sent if name == self.param]
        return named + [name for name in sent if name not in named and re.search(rf"\b{name}\b", self.text)]

    def lower_limit(self, sent: int) -> int | None:
        """The token limit to send instead of `sent`: the largest lower number in the message, else half of `sent`.

        None if the message names only numbers that do not help, or if half would be below `MIN_TOKEN_LIMIT`.
        """
        numbers = [int(found.replace(",", "")) for found in NUMBER.findall(self.message)]
        if lower := [number for number in numbers if MIN_TOKEN_LIMIT <= number < sent]:
            return max(lower)
        return sent // 2 if not numbers and sent >= 2 * MIN_TOKEN_LIMIT else None

    def to_error(
        self, *, address: str, model: str, key_variable: str, key_given: bool, answered: bool = False
    ) -> ServerError:
        """The error to raise. `answered`: the server has answered such requests, so a refusal does not stop the run."""
        status = self.status
        if status in (401, 403):
            return self._key_rejected(key_variable, key_given, answered)
        if status == 402 or (status == 429 and self._quota_exhausted):
            hint = "Top up the account, then run the same command again: finished rows are kept."
            return FatalServerError(f"the quota is used up ({status})", hint=hint)
        if status in (400, 404, 422) and "model" in self.text and self._mentions(NO_MODEL):
            hint = "Check MODEL or --model against the server's list of models."
            return FatalServerError(f"{address} has no model '{model}' ({status})", hint=hint)
        if self.too_long:
            hint = "Choose a model with a longer context, or serve this model with a longer context."
            return ServerError(f"the request is too long for {model} ({status}): {self.message}", hint=hint)
        if status in RETRYABLE_STATUSES or status >= 500:
            return self._retry_later()
        hint = "Check the model, and that the base URL is the part before /chat/completions."
        kind = ServerError if answered else FatalServerError
        return kind(f"{address} rejected the request ({status}): {self.message}", hint=hint)

    def _key_rejected(self, key_variable: str, key_given: bool, answered: bool) -> ServerError:
        # the message of a 401 is not quoted, because it often contains a part of the key
        reason = f": {self.message}" if self.status == 403 and self.message else ""
        hint = f"{key_variable} is {'set. Is it the key for this server?' if key_given else 'not set.'}"
        kind = ServerError if answered and self.status == 403 else FatalServerError
        return kind(f"the server rejected the key ({self.status}){reason}", hint=hint)

    def _retry_later(self) -> ServerError:
        status, wait = self.status, self.retry_after
        if wait is not None and wait > MAX_RETRY_AFTER:
            message = f"the server answered {status}, and its Retry-After is {_duration(wait)}"
            return FatalServerError(message, hint="Run the same command again after that time. Nothing is lost.")
        fault = "rate_limit" if status == 429 else f"http_{status}"
        return RetryableError(f"the server answered {status}", fault=fault, after=wait, throttled=status == 429)

    @property
    def _quota_exhausted(self) -> bool:
        # some servers mention quota and billing even in a rate limit that ends within a minute
        temporary = self.retry_after is not None or self._mentions(RATE_LIMITED)
        return "insufficient_quota" in self.text or (self._mentions(QUOTA) and not temporary)

    def _mentions(self, phrases: tuple[str, ...]) -> bool:
        return any(phrase in self.text for phrase in phrases)


def _duration(seconds: float) -> str:
    """A long time in words.

    >>> _duration(86400), _duration(700)
    ('24 h', '12 min')
    """
    return f"{round(seconds / 3600):,} h" if seconds >= 2 * 3600 else f"{round(seconds / 60)} min"


def _error_object(text: str) -> Mapping[str, object]:
    """The error object in a response body, in any of the known shapes; empty if there is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    error = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(error, list) and error:
        error = error[0]
    return error if isinstance(error, dict) else {"message": error} if isinstance(error, str) else {}
