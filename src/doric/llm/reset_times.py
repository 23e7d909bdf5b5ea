"""When a server will accept calls again: Retry-After, headers and fields about its limits, and its own words.

Servers write such a time as seconds or milliseconds from now, as seconds, milliseconds or nanoseconds since 1970, as a
date (ISO 8601 or HTTP), or as a duration like 8h2m3s. The words for limits per day are in `data/server_errors.toml`.
"""

import email.utils
import functools
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from doric import data

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
WORDS_FOR_UNITS = {
    "milli": "ms", "msec": "ms", "sec": "s", "min": "m", "hour": "h", "hr": "h", "day": "d", "week": "w",
}  # fmt: skip
UNIT = r"(?:milliseconds?|msecs?|millis|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|ns|us|µs|ms|s|m|h|d|w)"
PART = rf"(\d+(?:\.\d+)?)\s*({UNIT})(?=\d|(?![a-z]))"
DURATION = re.compile(rf"{PART}(?:[\s,]*(?:and\s+)?{PART})*", re.IGNORECASE)
PARTS = re.compile(PART, re.IGNORECASE)
ISO_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.IGNORECASE)
CLOCK = r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:\s?(?:z|utc|gmt|[+-]\d\d:?\d\d))?"
ISO_DATE = re.compile(rf"(?<!\d)\d{{4}}-\d\d-\d\d(?:(?:[t ]|,? at ){CLOCK})?(?![\w-])", re.IGNORECASE)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NAMED_DATE = re.compile(
    rf"\b(?:(?P<day>\d{{1,2}})(?:st|nd|rd|th)? )?(?P<month>{'|'.join(MONTHS)})[a-z]*\.? "
    r"(?:(?P<day_after>\d{1,2})(?:st|nd|rd|th)?,? )?(?P<year>\d{4})\b",
    re.IGNORECASE,
)
"""1 December 2026, or Dec 1, 2026."""
EPOCH = re.compile(r"(?<![\d.])\d{10}(?:\d{3})?(?![\d.])")
NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+", re.ASCII)
EPOCHS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3), (1e9, 1.0))
"""From this number on, a number is a time since 1970, in this many parts of a second. A smaller number is a wait."""
ANCHOR = re.compile(
    r"\b(?:retry|try(?: it)? again|resets?|wait|available|renew\w*|refill\w*|replenish\w*|until"
    r"|regain\w*|access again|restored?|lifted|expires?|ends?|comes? back)\b"
)
AFTER_ANCHOR = 60
"""Characters after such a word in which its time stands."""
RESET_FIELD = re.compile(
    r"(?:retry(?:after|delay|in)|wait|.*resets?(?:at|in|on|after|time|delay|date)?)"
    r"(?:ms|s|secs?|seconds?|millis(?:econds)?|timestamp)?"
)
"""The names of JSON fields with such a time, in lower case and without signs between their words."""
LONGEST = 366 * 86400.0
"""Seconds. A later time is a mistake of the server."""
MAX_CHARACTERS = 64
"""A longer text is no time."""
MAX_DEPTH, MAX_FIELDS = 8, 500
SHORT = 120.0
"""Seconds. A wait that is no longer does not end a limit per day, whatever the server says."""
DAY = 86400.0
PERIODS = {
    "hourly": 3600.0, "multi-hour": 23 * 3600.0, "daily": DAY, "weekly": 7 * DAY, "fortnightly": 14 * DAY,
    "monthly": 31 * DAY, "quarterly": 92 * DAY, "yearly": 366 * DAY,
    "multi-day": 366 * DAY,
}  # fmt: skip
"""The periods of long limits, and their seconds. Their words are in the table `long_limits`."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The pause that a server asks for: seconds from now, None if it names no time, and where the time was found.

    `period` is a name of `PERIODS` if the error is about such a limit, which a short wait cannot help.
    """

    seconds: float | None = None
    source: str = ""
    period: str = ""


def seconds_until(value: object, now: float, *, unit: float = 1.0) -> float | None:
    """Seconds from `now` (since 1970) to a time in any of the known forms; None if `value` is none of them.

    `unit` is the length of the unit of small numbers, in seconds. A time in the past is 0.

    >>> [seconds_until(text, 1_000_000_000.0) for text in ("90", "8h2m3s", "1000000060", "1000000060000", "soon")]
    [90.0, 28923.0, 60.0, 60.0, None]
    """
    text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if len(text) > MAX_CHARACTERS:
        return None
    if NUMBER.fullmatch(text):
        return _of_number(float(text), now, unit)
    if text and (duration := DURATION.fullmatch(text)):
        return _capped(_length(duration.group()))
    if len(text) > 2 and (parts := ISO_DURATION.fullmatch(text)):
        return _capped(sum(float(part or 0) * UNITS[name] for part, name in zip(parts.groups(), "dhms", strict=True)))
    return None if (moment := _moment(text)) is None else _capped(moment - now)


def read_retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after`; None if neither has a time.

    >>> read_retry_after({"retry-after": "1.5"}), read_retry_after({"retry-after-ms": "20"})
    (1.5, 0.02)
    >>> read_retry_after({"retry-after": "soon"}) is None
    True
    """
    now = _server_time(headers) if now is None else now
    exact = seconds_until(headers.get("retry-after-ms", ""), now, unit=1e-3)
    return seconds_until(headers.get("retry-after", ""), now) if exact is None else exact


def read_pause(headers: Mapping[str, str], body: str, words: str, *, limited: bool = True) -> Pause:
    """The pause that an error response asks for. `body` is its whole text, `words` its message for people.

    `limited` is False if the error may have another cause than a limit. Then the headers about limits say nothing.

    Retry-After counts first, then a field of the body, then the words, then the headers about limits that are used up.
    """
    now = _server_time(headers)
    fields = list(_fields(body))
    inner = {name.lower(): str(value) for name, value in fields}
    known = [
        ("Retry-After", read_retry_after(headers, now)),
        ("Retry-After", read_retry_after(inner, now)),
        ("answer", _in_fields(fields, now)),
        ("answer", _in_words(words.lower(), now)),
        ("header", _in_headers({**inner, **headers}, now) if limited else None),
    ]
    found = [(source, seconds) for source, seconds in known if seconds is not None]
    text = f"{body}\n{words}".lower()
    long = _is_long(text, min((seconds for _, seconds in found), default=None))
    if not found:
        return Pause(period=_period(text, 0.0) if long else "")
    source, seconds = max(found, key=lambda each: each[1]) if long else found[0]
    return Pause(seconds, source, _period(text, seconds) if long else "")


def in_words(seconds: float) -> str:
    """A wait in words.

    >>> in_words(86400), in_words(700), in_words(42)
    ('24 h', '12 min', '42 s')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{round(seconds / 3600):,} h" if seconds >= 2 * 3600 else f"{round(seconds / 60)} min"


def clock_time(seconds: float, *, date: bool = True) -> str:
    """The local time in so many seconds, as "2026-11-28 21:05 UTC", or without `date` as "21:05:09"."""
    local = datetime.fromtimestamp(time.time() + seconds).astimezone()
    return local.strftime("%Y-%m-%d %H:%M %Z" if date else "%H:%M:%S")


# --- forms of a time ------------------------------------------------------------------------------------------------


def _of_number(number: float, now: float, unit: float) -> float | None:
    if not math.isfinite(number):
        return None
    for least, parts in EPOCHS:
        if number >= least:
            return _capped(number / parts - now)
    return _capped(number * unit)


def _length(text: str) -> float:
    """The seconds of a duration such as 1h30m or "2 minutes and 3.5 seconds"."""
    return sum(float(number) * UNITS[_unit(name.lower())] for number, name in PARTS.findall(text))


def _unit(name: str) -> str:
    return name if name in UNITS else next(unit for word, unit in WORDS_FOR_UNITS.items() if name.startswith(word))


def _moment(text: str) -> float | None:
    """Seconds since 1970 of a date. A date without a time zone is in UTC."""
    try:
        moment = datetime.fromisoformat(re.sub(r"\s?(?:UTC|GMT)$", "+00:00", text, flags=re.IGNORECASE))
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError):
            return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except OverflowError:
        return None


def _capped(seconds: float) -> float:
    return min(max(0.0, seconds), LONGEST)


def _server_time(headers: Mapping[str, str]) -> float:
    """The time of the server, so that a wrong clock here does no harm; the time here if it does not say its own."""
    moment = _moment(headers.get("date", ""))
    return time.time() if moment is None else moment


# --- where servers write it -----------------------------------------------------------------------------------------


def _in_headers(headers: Mapping[str, str], now: float) -> float | None:
    """From headers like `x-ratelimit-reset-requests`: the latest of the limits that are used up, else the earliest."""
    used_up: list[float] = []
    others: list[float] = []
    for name, value in headers.items():
        squeezed = re.sub(r"[-_]", "", name)
        if "ratelimit" not in squeezed:
            continue
        if squeezed == "ratelimit":  # RateLimit: "default";r=0;t=50, or limit=100, remaining=0, reset=50
            rest, reset = (re.search(rf"\b(?:{key})=(\d+)", value) for key in ("r|remaining", "t|reset"))
            remaining, seconds = rest and rest[1], seconds_until(reset[1], now) if reset else None
        elif "reset" in squeezed:
            remaining = headers.get(re.sub("reset(?:[-_]after)?", "remaining", name))
            seconds = seconds_until(value, now, unit=1e-3 if squeezed.endswith("ms") else 1.0)
        else:
            continue
        left = remaining is not None and not _is_zero(remaining)
        if seconds is not None and not (left and seconds > SHORT):  # another limit must be the cause
            (used_up if remaining is not None and _is_zero(remaining) else others).append(seconds)
    return max(used_up) if used_up else min(others, default=None)


def _is_zero(text: str) -> bool:
    return bool(re.fullmatch(r"-\d+(?:\.\d+)?|0+(?:\.0*)?", text.strip()))


def _fields(body: str) -> Iterator[tuple[str, str | int | float]]:
    """The texts and numbers of a JSON body with their names, however deep, also in JSON inside a text."""
    waiting: list[tuple[int, str, object]] = [(0, "", body)]
    for _ in range(MAX_FIELDS):
        if not waiting:
            return
        depth, name, value = waiting.pop(0)
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            try:
                value = json.loads(value, strict=False)
            except (ValueError, RecursionError):
                continue
        if isinstance(value, dict | list) and depth < MAX_DEPTH:
            items = value.items() if isinstance(value, dict) else ((name, item) for item in value)
            waiting += [(depth + 1, str(key), item) for key, item in items]
        elif isinstance(value, str | int | float) and not isinstance(value, bool) and name:
            yield name, value


def _in_fields(fields: list[tuple[str, str | int | float]], now: float) -> float | None:
    """From fields like `retryDelay`, else from fields like `resets_at`."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for name, value in fields:
        squeezed = re.sub(r"[^a-z]", "", name.lower())
        if "ratelimit" not in squeezed and RESET_FIELD.fullmatch(squeezed):
            seconds = seconds_until(value, now, unit=1e-3 if re.search(r"ms$|milli", squeezed) else 1.0)
            if seconds is not None:
                found["reset" not in squeezed].append(seconds)
    return max(found[True] or found[False], default=None)


def _in_words(words: str, now: float) -> float | None:
    """From a message such as "try again in 7m12s" or "resets at 2026-11-29T00:00:00Z"."""
    for anchor in ANCHOR.finditer(words):
        near = words[anchor.end() : anchor.end() + AFTER_ANCHOR]
        if (moment := _date_in(near)) is not None:
            return _capped(moment - now)
        if epoch := EPOCH.search(near):
            return _of_number(float(epoch.group()), now, 1.0)
        if duration := DURATION.search(near):
            return _capped(_length(duration.group()))
        if "midnight utc" in near or "midnight gmt" in near:
            return 86400.0 - now % 86400.0
    return None


def _date_in(text: str) -> float | None:
    """Seconds since 1970 of the first date in a text in lower case. A date without a time is its beginning in UTC."""
    if date := ISO_DATE.search(text):
        return _moment(re.sub(",? AT ", " ", date.group().upper()))
    if (date := NAMED_DATE.search(text)) and (day := date["day"] or date["day_after"]):
        return _moment(f"{date['year']}-{MONTHS.index(date['month'].lower()) + 1:02}-{int(day):02}")
    return None


@functools.cache
def _patterns(name: str) -> re.Pattern[str]:
    """One pattern for a list of `data/server_errors.toml`. The name of a list in a table is "table.list"."""
    table, _, key = name.rpartition(".")
    lists = data.read_toml("server_errors.toml")
    return re.compile("|".join(f"(?:{pattern})" for pattern in (lists[table] if table else lists)[key]))


def _mentioned(body: str) -> list[str]:
    """The periods of the limits that an error mentions, the shortest first."""
    return [name for name in PERIODS if _patterns(f"long_limits.{name}").search(body)]


def _is_long(body: str, seconds: float | None) -> bool:
    """Whether an error is about a limit that lasts for days. Some errors about a limit per minute mention one too.

    `seconds` is the shortest wait that the error names.
    """
    if _patterns("daily_quota").search(body):
        return True
    if not (mentioned := _mentioned(body)):
        return False
    per_minute = _patterns("per_minute").search(body) is not None
    if seconds is not None and seconds > SHORT:
        return True
    if max(PERIODS[name] for name in mentioned) < DAY:  # a limit per hour may end soon
        return seconds is None and not per_minute
    return seconds is None or not per_minute


def _period(body: str, seconds: float) -> str:
    """The period of a long limit that ends in so many seconds. An error may mention more than one."""
    mentioned = _mentioned(body) or ["daily"]
    return next((name for name in mentioned if seconds <= PERIODS[name]), mentioned[-1])
