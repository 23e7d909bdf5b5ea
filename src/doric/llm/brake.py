"""A brake for runs that pay for answers and can use none of them: they stop, and say why the answers were refused."""

from collections import Counter
from collections.abc import Mapping

from doric.core.errors import FatalServerError, ServerError
from doric.llm.response import Completion

DEFAULT_LIMIT = 50
"""Answers refused in a row, with none accepted before, that end a run."""
SILENT, FILTERED = "no words", "filtered"
SOONER: Mapping[str, int] = {SILENT: 8, FILTERED: 20}
"""Of the default limit: so many answers without words, or withheld by a content filter, are enough."""
MOST_GROWTH = 10
"""Each accepted answer raises the limit by its value, up to so many times: a model that can do it has bad spells."""
LISTED = 3
"""The message names so many checks."""
THINKING_HINT = "Turn off the model's reasoning where it is served, or choose another model."
TIMEOUT_HINT = "Give the server more time with --timeout, or make fewer calls at once with --max-concurrency."
UNREADABLE_HINT = "Check the base URL and the server."
HINTS = {
    "refusal": "The model refuses these prompts. Choose another model.",
    "tool_calls": "The model calls tools although it was offered none. Choose another model or chat template.",
    "function_call": "The model calls functions although it was offered none. Choose another model or chat template.",
    "audio": "The model answers with audio. Choose a model that writes text.",
}
"""What to do if the text is in a field other than `content`."""


def has_words(text: str) -> bool:
    """Whether there is a letter in `text`, and not only spaces, digits and signs.

    >>> has_words("Aye."), has_words("… 1. 😊")
    (True, False)
    """
    return any(map(str.isalpha, text))


def silence_hint(completion: Completion) -> str:
    """What to do about an answer without words; it names the field that has the text, if there is one."""
    if completion.finish == "length":
        return "It used up its tokens without text: choose a model that reasons less, or turn its reasoning off."
    where = f"The text is in the field {completion.elsewhere}. " if completion.elsewhere else ""
    return where + HINTS.get(completion.elsewhere, THINKING_HINT)


class Brake:
    """Counts the answers refused in a row, and raises `FatalServerError` when there are too many of them.

    `limit` is the largest number of them while none has been accepted in this run; 0 means that there is no limit.
    `noun` is the plural for what is counted, `see` says where the refused answers can be read, and `flag` is the flag
    that sets the limit.
    """

    def __init__(
        self, limit: int = DEFAULT_LIMIT, *, noun: str = "answers", see: str = "", flag: str = "--max-rejected"
    ) -> None:
        self._limit, self._noun, self._see, self._flag = limit, noun, see, flag
        self._accepted = 0
        self._row: Counter[str] = Counter()
        self._stopped: FatalServerError | None = None

    def accepted(self) -> None:
        """Count an answer that could be used."""
        self._accepted += 1
        self._row.clear()

    def refused(self, completion: Completion, check: str) -> None:
        """Count an answer that `check` refused. Raises `FatalServerError` if it was one too many."""
        withheld, silent = completion.finish == "content_filter", not has_words(completion.text)
        kind = FILTERED if withheld else SILENT if silent else check
        if self._is_last_of(kind):
            self._stop(*self._why(completion))

    def failed(self, error: ServerError) -> None:
        """Count an answer that was paid for and cannot be used because of `error`. Raises as `refused` does."""
        if self._is_last_of(error.fault):
            hint = TIMEOUT_HINT if error.fault == "timeout" else error.hint or UNREADABLE_HINT
            self._stop(f"{self._shares()[0]}; the last one: {error.message}", hint)

    def _is_last_of(self, kind: str) -> bool:
        """Count one of `kind`; whether the run must stop."""
        if self._stopped is not None:  # the answer to a call that was in flight
            raise self._stopped
        self._row[kind] += 1
        growth = min(MOST_GROWTH, 1 + self._accepted)
        most = self._limit * growth
        if not self._limit or self._row.total() >= most:
            return bool(self._limit)
        wordless = self._row[SILENT] + self._row[FILTERED] == self._row.total()
        return wordless and kind in SOONER and self._row[kind] >= self._sooner(kind) * growth

    def _sooner(self, kind: str) -> int:
        return min(self._limit, max(SOONER[kind], SOONER[kind] * self._limit // DEFAULT_LIMIT))

    def _since(self) -> str:
        return "since the last one that was accepted" if self._accepted else "and none was accepted in this run"

    def _why(self, completion: Completion) -> tuple[str, str]:
        """Message and hint; `completion` is the last answer."""
        match self._row.most_common():
            case [(only, _)] if only == SILENT:
                return self._silence(completion)
            case [(only, _)] if only == FILTERED:
                return self._withheld()
            case _:
                return self._shares()

    def _silence(self, completion: Completion) -> tuple[str, str]:
        count = f"{self._row[SILENT]} {self._noun}"
        where = f"; the text is in the field {completion.elsewhere}" if completion.elsewhere else ""
        hint = HINTS.get(completion.elsewhere, THINKING_HINT)
        if completion.finish == "length":
            used = f"used up their token budget ({completion.tokens_out:,} tokens in the last one) without any text"
            reasoning = where or ": reasoning took all of it"
            return f"{count} {used}{reasoning}", "Choose a model that reasons less, or turn its reasoning off."
        finish = f"finish reason '{completion.finish}'"
        return f"{count} in a row have no words in them {self._since()} ({finish}){where}", hint

    def _withheld(self) -> tuple[str, str]:
        through = "let none through" if not self._accepted else "has let none through since the last accepted one"
        message = f"the server's content filter withheld {self._row[FILTERED]} {self._noun} and {through}"
        return message, "Check the account and the filter settings at the provider, or choose another model."

    def _shares(self) -> tuple[str, str]:
        total = self._row.total()
        shares = ", ".join(f"{name} {count} ({count / total:.0%})" for name, count in self._row.most_common(LISTED))
        see = f"Look at {self._see}, then change the model or its settings." if self._see else "Choose another model."
        return f"{total} {self._noun} in a row were refused {self._since()}: {shares}", see

    def _stop(self, message: str, hint: str) -> None:
        hint = f"{hint} {self._flag} 0 goes on anyway ({self._flag} {self._limit} now; accepted answers raise it)."
        self._stopped = FatalServerError(message, hint=hint)
        raise self._stopped
