"""When a server will answer again: every form of a time, wherever a server writes it, and limits per day."""

import email.utils
import json
import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from doric.core.errors import FatalServerError, RetryableError
from doric.llm.errors import ErrorResponse
from doric.llm.reset_times import clock_time, in_words, read_pause, read_retry_after, seconds_until

NOW = 1_795_860_000.0  # 2026-11-28 10:00:00 UTC
HOURS = 9 * 3600.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("90", 90),
        (90.5, 90.5),
        ("1.5", 1.5),
        ("0", 0),
        ("8h2m3s", 28923),
        ("7m12s", 432),
        ("2m59.56s", 179.56),
        ("6ms", 0.006),
        ("1d2h", 93600),
        ("37.660498s", 37.660498),
        ("5 minutes", 300),
        ("1 hour, 2 minutes and 3 seconds", 3723),
        ("PT8H2M3S", 28923),
        ("P1D", 86400),
        (str(int(NOW + HOURS)), HOURS),
        (int(NOW + HOURS) + 1, HOURS + 1),
        (NOW + HOURS, HOURS),
        (str(int(NOW + HOURS) * 1000), HOURS),
        (str(int(NOW + HOURS) * 10**9), HOURS),
        ("2026-11-28T19:00:00Z", HOURS),
        ("2026-11-28T19:00:00.123Z", HOURS + 0.123),
        ("2026-11-28T20:00:00+01:00", HOURS),
        ("2026-11-28 19:00:00 UTC", HOURS),
        ("2026-11-28T19:00:00", HOURS),
        ("Sat, 28 Nov 2026 19:00:00 GMT", HOURS),
        ("2026-11-28T01:00:00Z", 0),
        (str(int(NOW - 60)), 0),
    ],
)
def test_every_form_of_a_time_is_read(value, seconds):
    """Seconds, milliseconds, durations, epochs and dates give the seconds from now; a time in the past gives 0."""
    assert seconds_until(value, NOW) == pytest.approx(seconds, abs=1e-3)


@pytest.mark.parametrize("value", ["", "soon", "9" * 400, "1e999", "nan", "-5", None, True, [], "5 apples", "a" * 9000])
def test_what_is_no_time_is_not_read(value):
    """Everything else counts as absent."""
    assert seconds_until(value, NOW) is None


def test_a_time_is_never_more_than_a_year_away():
    """A mistake of the server cannot make a time that no clock shows."""
    assert clock_time(seconds_until("9" * 30, NOW))


def daily_of(value: str) -> ErrorResponse:
    """A 429 with this X-RateLimit-Reset and no word about a day."""
    headers = {"x-ratelimit-limit": "50", "x-ratelimit-remaining": "0", "x-ratelimit-reset": value}
    return ErrorResponse.read(429, b'{"error": {"message": "Rate limit exceeded"}}', headers, key="")


def error_of(response: ErrorResponse):
    return response.to_error(address="http://h/v1", model="m", key_variable="K", key_given=True, answered=True)


def soon(seconds: float) -> float:
    return time.time() + seconds


FORMS = {
    "seconds": lambda wait: str(int(wait)),
    "epoch seconds": lambda wait: str(int(soon(wait))),
    "epoch milliseconds": lambda wait: str(int(soon(wait) * 1000)),
    "ISO date": lambda wait: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(soon(wait))),
    "HTTP date": lambda wait: email.utils.formatdate(soon(wait), usegmt=True),
    "Go duration": lambda wait: f"{int(wait) // 3600}h{int(wait) % 3600 // 60}m{int(wait) % 60}s",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_reset_hours_away_stops_the_run_with_the_time(form):
    """Whatever the form of X-RateLimit-Reset, the error has the clock time."""
    error = error_of(daily_of(FORMS[form](HOURS)))
    assert isinstance(error, FatalServerError)
    assert "9 h, until " in error.message
    assert clock_time(HOURS)[:13] in error.message or clock_time(HOURS - 60)[:13] in error.message
    assert "Run the same command again after that time" in error.hint


@pytest.mark.parametrize("form", FORMS)
def test_a_reset_within_a_minute_is_waited_for(form):
    """A limit per minute costs a wait of the right length and not the run."""
    error = error_of(daily_of(FORMS[form](40)))
    assert isinstance(error, RetryableError)
    assert 37 <= error.after <= 40.5


WORDS = [
    "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
    "You have reached your daily limit.",
    "Daily quota exceeded",
    "Rate limit reached for gpt-4 on requests per day (RPD): Limit 200. Please try again in 7m12s.",
    "Rate limit reached on tokens per day (TPD): Limit 100000, Used 99900. Please try again in 18m43.2s",
    "Limit of 200 requests/day exceeded",
    "Limit\nper\nday reached",
    "You have used all your requests for today",
    "You have exhausted your weekly allowance",
    "monthly usage limit reached",
    "You exceeded your weekly_quota",
    "Too many requests in 24 hours",
    "Quota will be available again tomorrow",
    "dailyLimitExceeded",
    "insufficient_quota: the daily free quota is used up",
]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("shape", ["error", "detail", "text"])
def test_a_daily_limit_stops_the_run(words, shape):
    """A limit per day, in any words and any shape of the body, stops the run although no header names a time."""
    body = {"error": {"error": {"message": words, "code": 429}}, "detail": {"detail": words}, "text": words}[shape]
    content = body if isinstance(body, str) else json.dumps(body)
    error = error_of(ErrorResponse.read(429, content.encode(), {}, key=""))
    assert isinstance(error, FatalServerError)
    period = next((name for name in ("weekly", "monthly") if name in words), "daily")
    assert error.message.startswith(f"the {period} limit is used up")
    assert " ".join(words.split())[:40].rstrip(".") in error.message


@pytest.mark.parametrize(
    ("words", "period"),
    [
        ("Limit of 1000 requests per month reached", "monthly"),
        ("Your plan allows 500 calls/month", "monthly"),
        ("No tokens are left this month. Your limit resets next month", "monthly"),
        ("usage exceeded: monthlyRequests", "monthly"),
        ("Quota: 50 per-week", "weekly"),
        ("Limit of 70 requests/week, 10 per day", "daily"),
        ("Limits: daily 10, weekly 50. Resets in 3 days", "weekly"),
        ("Limits: daily 10, monthly 100. Resets in 12 days", "monthly"),
        ("Daily limit. Resets in 3 days", "daily"),
        ("You have hit your 7-day usage limit", "weekly"),
        ("50 requests per 7 days", "weekly"),
        ("RPW limit reached", "weekly"),
        ("You get 50 messages every week", "weekly"),
        ("Your limit for the week is used up", "weekly"),
        ("Quota exceeded: RequestsPerWeekPerUser", "weekly"),
        ("Limit of 100 requests every two weeks", "fortnightly"),
        ("Too many requests in the last 14 days: rolling 14 days", "fortnightly"),
        ("Your 30-day quota is used up: no credits for the month", "monthly"),
        ("Quota exceeded: RequestsPerMonthPerUser", "monthly"),
        ("You have used all requests of this billing cycle", "monthly"),
        ("Yearly limit reached", "yearly"),
        ("Your annual quota of calls is used up", "yearly"),
        ("3-day limit of 100 requests", "multi-day"),
        ("You have reached your 5-hour usage limit. Resets at 22:00", "multi-hour"),
        ("Limit: 100 requests per 3 hours", "multi-hour"),
        ("hourly limit reached", "hourly"),
        ("1000 requests per hour", "hourly"),
        ("requests per rolling 24h", "daily"),
        ("You can try again next Monday", "weekly"),
        ("bi-weekly limit", "fortnightly"),
        ("You have hit the cap for this quarter", "quarterly"),
        ("no more than 90 requests per 5 days", "multi-day"),
    ],
)
def test_a_long_limit_has_its_name(words, period):
    """The error names the period of the limit; if several are mentioned, the one that the wait fits."""
    error = error_of(ErrorResponse.read(429, words.encode(), {}, key=""))
    assert isinstance(error, FatalServerError)
    assert error.message.startswith(f"the {period} limit is used up")
    assert "midnight" not in error.hint or period == "daily"


@pytest.mark.parametrize(
    "words",
    [
        "Rate limit exceeded: free-models-per-min.",
        "Rate limit reached on tokens per minute (TPM): Limit 6000, Used 5900. Please try again in 7.66s.",
        "Rate limit reached on requests per minute (RPM): Limit 3. Please try again in 20s. Limit per day (RPD): 200",
        "Too many requests",
        "Slow down",
    ],
)
def test_a_limit_per_minute_is_waited_for(words):
    """A limit per minute is retried, also if the message mentions the daily limit."""
    assert isinstance(error_of(ErrorResponse.read(429, words.encode(), {}, key="")), RetryableError)


GOOGLE = [
    {
        "error": {
            "code": 429,
            "message": "You exceeded your current quota, please check your plan. Please retry in 37.66s.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [{"quotaId": "GenerateRequestsPer{}PerProjectPerModel-FreeTier", "quotaValue": "20"}],
                },
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"},
            ],
        }
    }
]


@pytest.mark.parametrize(("period", "kind"), [("Day", FatalServerError), ("Minute", RetryableError)])
def test_googles_quota_id_says_which_limit_it_is(period, kind):
    """Google sends a short retryDelay for a limit per day, too; only quotaId says which limit is used up."""
    error = error_of(ErrorResponse.read(429, json.dumps(GOOGLE).replace("{}", period).encode(), {}, key=""))
    assert isinstance(error, kind)
    if isinstance(error, RetryableError):
        assert error.after == pytest.approx(37, abs=0.1)


RESET = int(NOW + HOURS) * 1000
FIELDS = [
    {"error": {"message": "x", "metadata": {"headers": {"X-RateLimit-Reset": str(RESET)}}}},
    {"error": {"message": "x", "metadata": {"raw": json.dumps({"error": {"retry_after": HOURS}})}}},
    {"error": {"message": "x", "metadata": {"headers": {"Retry-After": str(int(HOURS))}}}},
    {"error": {"type": "usage_limit_reached", "resets_in_seconds": HOURS}},
    {"error": {"resets_at": int(NOW + HOURS)}},
    {"detail": {"msg": "x", "reset_time": "2026-11-28T19:00:00Z"}},
    {"error": {"details": [{"retryDelay": "32400s"}]}},
    {"error": {"details": [{"metadata": {"quotaResetDelay": "9h0m0s"}}]}},
    {"retryAfterMs": HOURS * 1000},
    {"message": "Your limit resets at 2026-11-28T19:00:00Z."},
    {"message": f"Limit exceeded, reset at {int(NOW + HOURS)}"},
    {"message": "Please try again in 9 hours."},
    {"message": "Your quota will reset after 9h0m0s."},
    {"message": "retry after 32400 seconds"},
]


@pytest.mark.parametrize("body", FIELDS)
def test_a_time_in_the_body_is_found(body):
    """The time may be in a field of any depth, in JSON inside a text, or in the words."""
    headers = {"date": "Sat, 28 Nov 2026 10:00:00 GMT"}
    words = body.get("message", "x")
    assert read_pause(headers, json.dumps(body), words).seconds == pytest.approx(HOURS, abs=1)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-reset-requests": "9h0m0s", "x-ratelimit-remaining-requests": "0"}, HOURS),
        (
            {
                "x-ratelimit-reset-requests": "9h",
                "x-ratelimit-remaining-requests": "3",
                "x-ratelimit-reset-tokens": "6s",
            },
            6,
        ),
        ({"anthropic-ratelimit-requests-reset": "2026-11-28T19:00:00Z"}, HOURS),
        ({"x-rate-limit-reset": "40"}, 40),
        ({"ratelimit-reset": "40", "ratelimit-remaining": "0"}, 40),
        ({"ratelimit": '"default";r=0;t=50'}, 50),
        ({"ratelimit": "limit=100, remaining=0, reset=50"}, 50),
        ({"x-ratelimit-reset-after": "3.5", "x-ratelimit-remaining": "0"}, 3.5),
        ({"retry-after": "5", "x-ratelimit-reset": str(RESET)}, 5),
        ({"retry-after-ms": "500", "retry-after": "1"}, 0.5),
        ({"x-ratelimit-reset-requests": "9h0m0s", "x-ratelimit-remaining-requests": "30"}, None),
        ({"x-ratelimit-limit": "50"}, None),
    ],
)
def test_headers_about_limits_are_read(headers, seconds):
    """Retry-After counts first, then the limit that is used up, and a limit with calls left is no reason to wait."""
    found = read_pause({"date": "Sat, 28 Nov 2026 10:00:00 GMT", **headers}, "{}", "").seconds
    assert found == (None if seconds is None else pytest.approx(seconds, abs=1))


def test_the_clock_of_the_server_counts():
    """If the clock here is wrong, the wait is still right, because the server sends its own time."""
    headers = {"date": "Thu, 01 Jan 2026 00:00:00 GMT", "retry-after": "Thu, 01 Jan 2026 00:01:00 GMT"}
    assert read_retry_after(headers) == 60


def test_an_endless_error_body_is_read_in_no_time():
    """A body that is made to be slow to read does not hold up the run."""
    began = time.process_time()
    for body in (
        "[" * 50_000,
        '{"a":' * 10_000,
        "reset " * 10_000,
        '{"reset_at": "' + "1s" * 30_000 + '"}',
        "1h" * 30_000,
    ):
        read_pause({}, body, body)
    assert time.process_time() - began < 2


def test_a_403_about_a_daily_limit_is_not_a_wrong_key():
    """Some servers answer 403 when the daily limit is used up."""
    body = b'{"error": {"errors": [{"reason": "dailyLimitExceeded"}], "message": "Daily Limit Exceeded"}}'
    error = error_of(ErrorResponse.read(403, body, {}, key=""))
    assert error.message.startswith("the daily limit is used up (403)")


def test_a_server_error_with_rate_limit_headers_is_only_a_server_error():
    """A 503 is retried soon, although the headers say when the limits will be full again."""
    headers = {"x-ratelimit-reset-requests": "9h", "x-ratelimit-remaining-requests": "0"}
    error = error_of(ErrorResponse.read(503, b"overloaded", headers, key=""))
    assert isinstance(error, RetryableError)
    assert error.after is None


def test_waits_are_told_in_words():
    """Seconds up to two minutes, then minutes, then hours."""
    assert [in_words(seconds) for seconds in (4.4, 90, 700, 86400)] == ["4 s", "90 s", "12 min", "24 h"]


@pytest.mark.parametrize(
    "words",
    [
        "You will regain access on {:%Y-%m-%d at %H:%M} UTC.",
        "Usage limit. Your access is restored on {:%Y-%m-%d %H:%M:%S}Z",
        "Limit reached. It resets at {:%Y-%m-%dT%H:%M:%S+00:00}",
    ],
)
@pytest.mark.parametrize("status", [400, 429])
def test_the_date_of_a_usage_limit_stops_the_run(words, status):
    """A date on which the account may go on is read from the words, also of an error 400, and ends the run."""
    moment = datetime.now(UTC) + timedelta(hours=50)
    error = error_of(ErrorResponse.read(status, words.format(moment).encode(), {}, key=""))
    assert isinstance(error, FatalServerError)
    assert re.search(r"asks for a pause of (49|50) h", error.message), error.message


@pytest.mark.parametrize("words", ["{:%d %B %Y}", "{:%B %d, %Y}", "{:%b %d %Y}", "{:%Y-%m-%d}"])
def test_a_date_without_a_time_is_its_beginning(words):
    """A date with the name of its month, or without a time, is read."""
    moment = datetime.now(UTC) + timedelta(days=5)
    date = words.format(moment)
    error = error_of(ErrorResponse.read(429, f"Quota exceeded. You regain access on {date}.".encode(), {}, key=""))
    assert isinstance(error, FatalServerError)
    assert f"until {moment:%Y-%m-%d} 00:00 UTC" in error.message


@pytest.mark.parametrize(
    "words",
    [
        "weekday rate limit, try again in 5 s",
        "weekend traffic is high, retry in 2 seconds",
        "Rate limit of 60 requests per minute. Our annual plan has more. Try again in 20 s",
        "Rate limit reached. Try again in 7 seconds",
        "hourly limit reached, try again in 40 s",
        "Limits: 60 per minute, 1000 per hour. Try again in 3 s",
        "Monthly active users are many, try again in 2 s",
        "limit of 10 requests per weekday hour, retry in 1 s",
    ],
)
def test_a_short_limit_is_waited_for(words):
    """Words that only look like a period do not stop the run."""
    error = error_of(ErrorResponse.read(429, words.encode(), {}, key=""))
    assert isinstance(error, RetryableError)
    assert error.after
