"""The meaning of an error response for the run, with the wordings of different servers."""

import pytest

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.llm.errors import ErrorResponse
from doric.llm.rate_limits import read_retry_after


def response(status: int, body: str, after: str = "") -> ErrorResponse:
    return ErrorResponse.read(status, body.encode(), {"retry-after": after} if after else {}, key="")


def error_of(response: ErrorResponse) -> ServerError:
    return response.to_error(address="http://h/v1", model="m", key_variable="K", key_given=True)


def test_a_rate_limit_that_mentions_billing_is_retryable():
    """A rate limit that mentions quota or billing is retried, and only an exhausted quota stops the run."""
    limit = response(429, '{"error": {"code": "rate_limit_exceeded", "message": "see /account/billing"}}')
    minute = response(429, '{"error": {"message": "You exceeded your current quota. Please retry in 23s."}}')
    gone = response(429, '{"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}')
    assert isinstance(error_of(limit), RetryableError)
    assert isinstance(error_of(minute), RetryableError)
    assert isinstance(error_of(gone), FatalServerError)


def test_a_403_by_moderation_is_a_filtered_answer():
    """A 403 for a flagged input counts as a filtered answer and not as a rejected key."""
    assert response(403, '{"error": {"message": "requires moderation and your input was flagged"}}').filtered
    assert not response(403, '{"error": {"message": "no access"}}').filtered


def test_a_flagged_account_is_not_a_filtered_answer():
    """A 403 for a flagged account is a rejected key, but with a content filter's code it is a filtered answer."""
    account = response(403, '{"error": {"message": "Your organization has been flagged and API access is disabled"}}')
    coded = response(403, '{"error": {"message": "Not today", "code": "content_filter"}}')
    assert not account.filtered
    assert isinstance(error_of(account), FatalServerError)
    assert coded.filtered


def test_a_key_is_redacted_in_any_json_form():
    """A key is also redacted if JSON escapes the slash in it."""
    found = ErrorResponse.read(400, b'{"error": {"message": "bad key sk\\/abc, or sk/abc"}}', {}, key="sk/abc")
    assert "abc" not in found.message


@pytest.mark.parametrize(
    ("sent", "after"),
    [("86400", 86400.0), ("9" * 400, None), ("Thu, 01 Jan 0001 00:00:00 +2300", 0.0), ("1e999", None)],
)
def test_invalid_retry_after_values(sent, after):
    """A Retry-After that is not a finite number counts as absent, and a date in the past means no wait."""
    assert read_retry_after({"retry-after": sent}) == after


def test_a_long_retry_after_ends_the_run():
    """A Retry-After above ten minutes is a fatal error whose message has the time."""
    day = error_of(response(429, "{}", after="86400"))
    assert isinstance(day, FatalServerError)
    assert "24 h" in day.message
    assert isinstance(error_of(response(429, "{}", after="600")), RetryableError)


def test_a_token_limit_is_lowered_to_what_the_server_accepts():
    """The new limit is the highest lower limit in the message, half if it names no limit, and None otherwise."""
    named = response(400, '{"error": {"message": "max_tokens is too large: 8192. gpt-4o-2024 takes at most 4,096"}}')
    assert named.lower_limit(8192) == 4096
    assert response(400, '{"error": {"message": "max_tokens is too large"}}').lower_limit(800) == 400
    assert response(400, '{"error": {"message": "max_tokens is too large, 4096 is the most"}}').lower_limit(100) is None
