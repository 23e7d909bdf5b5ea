"""What a server's refusal means for the run, whatever words it is put in."""

import pytest

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.llm.errors import ErrorResponse, read_retry_after


def refusal(status: int, body: str, after: str = "") -> ErrorResponse:
    return ErrorResponse.read(status, body.encode(), {"retry-after": after} if after else {}, key="")


def meaning(found: ErrorResponse) -> ServerError:
    return found.to_error(address="http://h/v1", model="m", key_variable="K", key_given=True)


def test_a_limit_that_mentions_billing_is_waited_for():
    """A rate limit whose text speaks of quota or billing is tried again; only a quota that is gone stops the run."""
    limit = refusal(429, '{"error": {"code": "rate_limit_exceeded", "message": "see /account/billing"}}')
    minute = refusal(429, '{"error": {"message": "You exceeded your current quota. Please retry in 23s."}}')
    gone = refusal(429, '{"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}')
    assert isinstance(meaning(limit), RetryableError)
    assert isinstance(meaning(minute), RetryableError)
    assert isinstance(meaning(gone), FatalServerError)


def test_moderation_is_a_filtered_answer_and_not_a_bad_key():
    """A 403 because the input was flagged concerns one row, not the key."""
    assert refusal(403, '{"error": {"message": "requires moderation and your input was flagged"}}').filtered
    assert not refusal(403, '{"error": {"message": "no access"}}').filtered


def test_a_flagged_account_is_not_a_flagged_question():
    """A 403 that calls the account flagged is a refused key; one with a filter's code is a filtered answer."""
    account = refusal(403, '{"error": {"message": "Your organization has been flagged and API access is disabled"}}')
    coded = refusal(403, '{"error": {"message": "Not today", "code": "content_filter"}}')
    assert not account.filtered
    assert isinstance(meaning(account), FatalServerError)
    assert coded.filtered


def test_a_key_is_cut_out_however_it_is_written():
    """A slash of the key that JSON writes as two characters hides no key."""
    found = ErrorResponse.read(400, b'{"error": {"message": "bad key sk\\/abc, or sk/abc"}}', {}, key="sk/abc")
    assert "abc" not in found.message


@pytest.mark.parametrize(
    ("sent", "after"),
    [("86400", 86400.0), ("9" * 400, None), ("Thu, 01 Jan 0001 00:00:00 +2300", 0.0), ("1e999", None)],
)
def test_a_wait_that_is_no_time_is_none(sent, after):
    """A header of four hundred digits, is as if it were not there; a date long ago is no wait."""
    assert read_retry_after({"retry-after": sent}) == after


def test_a_long_wait_is_said_and_not_waited():
    """Beyond ten minutes the run ends, and the message says when to come back."""
    day = meaning(refusal(429, "{}", after="86400"))
    assert isinstance(day, FatalServerError)
    assert "24 h" in day.message
    assert isinstance(meaning(refusal(429, "{}", after="600")), RetryableError)


def test_a_limit_is_lowered_to_what_the_server_names():
    """The highest limit that a complaint names is taken, half where it names none, and nothing where none would do."""
    named = refusal(400, '{"error": {"message": "max_tokens is too large: 8192. gpt-4o-2024 takes at most 4,096"}}')
    assert named.lower_limit(8192) == 4096
    assert refusal(400, '{"error": {"message": "max_tokens is too large"}}').lower_limit(800) == 400
    assert refusal(400, '{"error": {"message": "max_tokens is too large, 4096 is the most"}}').lower_limit(100) is None
