"""What a model server's refusal means: its words to one well-named error, the key never among them.

Knows statuses, error bodies and the words that servers use in them, and nothing of sending requests.
"""

import email.utils
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.llm.secrets import without

QUOTA = ("exceeded your current quota", "credit balance", "insufficient credits")
SOON = ("rate_limit", "rate limit", "retry in", "try again in", "per minute")
FILTERED = ("content_filter", "content_policy", "content management policy", "responsible ai", "flagged_input")
FILTERED_400 = (*FILTERED, "moderation", "flagged")
FILTERED_403 = (*FILTERED, "input was flagged", "prompt was flagged")
"""A 403 that says no more than "flagged" may mean the account, which no other question would mend."""
FILTER_CODES = ("content_filter", "content_policy_violation", "moderation_blocked")
UNSUPPORTED = (
    "unsupported", "not support", "unrecognized", "unknown", "unexpected", "not permitted", "not allowed",
    "extra input", "instead",
)  # fmt: skip
NUMBER = re.compile(r"(?<![\w.-])\d[\d,]*(?![\w-])")
LEAST_LIMIT = 16
"""Tokens: a limit below this holds no answer, and a number below it in a complaint means something else."""
LONGEST_WAIT = 600.0
"""Seconds that a run waits when a server asks it to; whoever asks for more is asked again by a later run."""
TOO_LONG = ("context_length", "context length", "context size", "context window", "maximum context")
NO_MODEL = ("not exist", "not found", "unknown", "invalid model", "not a valid model")
LATER = (408, 409, 425, 429)
SHOWN = 200
"""Characters of a server's own words that a message quotes."""


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A status that is no answer, and what the server said with it: `words` for people, `all` of it in lower case."""

    status: int
    words: str
    param: str
    all: str
    after: float | None
    code: str = ""

    @classmethod
    def read(cls, status: int, body: bytes, headers: Mapping[str, str], *, key: str, asked: Sequence[str] = ()) -> Self:
        """Read a response. The key and what was `asked` are cut out of whatever the server said, for some quote them.

        A key must not be shown, and a question about fridge temperatures is no complaint about a temperature.
        """
        text = body.decode("utf-8", "replace")
        told = _told(text)
        words = str(told.get("message") or told.get("detail") or (told if told else text))
        for quoted in (key, *asked):  # words are cut after decoding: JSON may write one character as several
            text, words = without(without(text, quoted), json.dumps(quoted)[1:-1]), without(words, quoted)
        one_line = " ".join(words.split())
        param, code = (str(told.get(name) or "") for name in ("param", "code"))
        return cls(status, one_line[:SHOWN], param, text.lower(), retry_after(headers), code.lower())

    @property
    def filtered(self) -> bool:
        """Whether a content filter withheld the answer."""
        if self.status not in (400, 403, 422):
            return False
        return self.code in FILTER_CODES or self._says(FILTERED_403 if self.status == 403 else FILTERED_400)

    @property
    def unsupported(self) -> bool:
        """Whether a parameter is not known, rather than its value not liked."""
        return self.code == "unsupported_parameter" or self._says(UNSUPPORTED)

    def parameters(self, sent: Sequence[str]) -> list[str]:
        """Those of the parameters sent that it complains of, the likeliest first."""
        named = [one for one in sent if one == self.param]
        return named + [one for one in sent if one not in named and re.search(rf"\b{one}\b", self.all)]

    def lower_than(self, sent: int) -> int | None:
        """The limit to send in place of one that is too high: the one it names, else half; None when neither helps."""
        numbers = [int(found.replace(",", "")) for found in NUMBER.findall(self.words)]
        if lower := [number for number in numbers if LEAST_LIMIT <= number < sent]:
            return max(lower)
        return sent // 2 if not numbers and sent >= 2 * LEAST_LIMIT else None

    @property
    def too_long(self) -> bool:
        """Whether the request is longer than the model can read."""
        return self.status == 413 or (self.status in (400, 422) and self._says(TOO_LONG))

    @property
    def _quota_gone(self) -> bool:
        # some servers speak of quota and billing in a limit that is over within the minute
        soon = self.after is not None or self._says(SOON)
        return "insufficient_quota" in self.all or (self._says(QUOTA) and not soon)

    def error(
        self, *, address: str, model: str, key_variable: str, key_given: bool, answered: bool = False
    ) -> ServerError:
        """What this means for the run: try later, this call is lost, or stop.

        Where the server has `answered` such requests, one that it does not take is alone at fault.
        """
        status = self.status
        lost = ServerError if answered else FatalServerError
        if status in (401, 403):
            why = f": {self.words}" if status == 403 and self.words else ""  # a 401 often shows a part of the key
            hint = f"{key_variable} is {'set: is it the key for this server?' if key_given else 'not set.'}"
            kind = lost if status == 403 else FatalServerError
            return kind(f"the server refused the key ({status}){why}", hint=hint)
        if status == 402 or (status == 429 and self._quota_gone):
            hint = "Top up the account, then run the same command again: the rows so far are kept."
            return FatalServerError(f"the quota is used up ({status})", hint=hint)
        if status in (400, 404, 422) and "model" in self.all and self._says(NO_MODEL):
            hint = "Check MODEL or --model against the server's list."
            return FatalServerError(f"{address} has no model '{model}' ({status})", hint=hint)
        if self.too_long:
            hint = "Choose a model with a longer context, or serve this one with a longer one."
            return ServerError(f"the request is too long for {model} ({status}): {self.words}", hint=hint)
        if status in LATER or status >= 500:
            if self.after is not None and self.after > LONGEST_WAIT:
                hint = "Nothing is lost: run the same command again then."
                return FatalServerError(
                    f"the server ({status}) asks to be left alone for {_lasting(self.after)}", hint=hint
                )
            fault = "rate_limit" if status == 429 else f"http_{status}"
            return RetryableError(
                f"the server answered {status}", fault=fault, after=self.after, throttled=status == 429
            )
        hint = "Check the model, and that the base URL ends where /chat/completions begins."
        return lost(f"{address} does not take the request ({status}): {self.words}", hint=hint)

    def _says(self, marks: tuple[str, ...]) -> bool:
        return any(mark in self.all for mark in marks)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (seconds or a date); None when neither can be read.

    What is no finite number is as if it were not there.

    >>> retry_after({"retry-after": "1.5"}), retry_after({"retry-after-ms": "20"}), retry_after({"retry-after": "soon"})
    (1.5, 0.02, None)
    """
    if _is_number(milliseconds := headers.get("retry-after-ms", "")):
        return float(milliseconds) / 1000
    value = headers.get("retry-after", "")
    if _is_number(value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal() and text.isascii() and math.isfinite(float(text))


def _lasting(seconds: float) -> str:
    """A long time in words.

    >>> _lasting(86400), _lasting(700)
    ('24 h', '12 min')
    """
    return f"{round(seconds / 3600):,} h" if seconds >= 2 * 3600 else f"{round(seconds / 60)} min"


def _told(text: str) -> Mapping[str, object]:
    """The object in which a server tells what was wrong, empty when there is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    told = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(told, list) and told:
        told = told[0]
    return told if isinstance(told, dict) else {"message": told} if isinstance(told, str) else {}
