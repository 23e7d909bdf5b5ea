"""What a run does with its budgets, limits and files, seen from outside the rooms that it wires together."""

import argparse

import pytest

from doric import session
from doric.errors import BackendError, FatalBackendError, SettingsError, TryLaterError
from doric.pool import GONE, Pool
from doric.settings import load_settings
from doric.voices.faults import Refusal

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


def refusal(status: int, body: str, after: str = "") -> Refusal:
    return Refusal.read(status, body.encode(), {"retry-after": after} if after else {}, key="")


def meaning(found: Refusal) -> BackendError:
    return found.error(address="http://h/v1", model="m", key_variable="K", key_given=True)


def test_a_limit_that_mentions_billing_is_waited_for():
    """A rate limit whose text speaks of quota or billing is tried again; only a quota that is gone stops the run."""
    limit = refusal(429, '{"error": {"code": "rate_limit_exceeded", "message": "see /account/billing"}}')
    minute = refusal(429, '{"error": {"message": "You exceeded your current quota. Please retry in 23s."}}')
    gone = refusal(429, '{"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}')
    assert isinstance(meaning(limit), TryLaterError)
    assert isinstance(meaning(minute), TryLaterError)
    assert isinstance(meaning(gone), FatalBackendError)


def test_moderation_is_a_filtered_answer_and_not_a_bad_key():
    """A 403 because the input was flagged concerns one row, not the key."""
    assert refusal(403, '{"error": {"message": "requires moderation and your input was flagged"}}').filtered
    assert not refusal(403, '{"error": {"message": "no access"}}').filtered


@pytest.mark.parametrize("url", ["http://bob:secret@h/v1", "http://h/v1?api-key=zzz", "http://h/v1#x"])
def test_an_address_may_carry_no_key(url):
    """A base URL with a name, a key or a query is refused, and not repeated."""
    with pytest.raises(SettingsError) as caught:
        load_settings(base_url=url, environ={})
    assert url not in str(caught.value) + caught.value.hint


async def test_a_call_that_is_lost_for_good_costs_one_job():
    """A request that fails for good gives up its own job, and the others are done."""
    done, lost = [], []

    async def work(job: int) -> None:
        if job == 3:
            raise BackendError("too long")
        done.append(job)

    await Pool(work, lambda job, error: lost.append(job), limit=2).run(range(6))
    assert sorted(done) == [0, 1, 2, 4, 5]
    assert lost == [3]


async def test_when_every_call_is_lost_the_run_stops():
    """Where one job after the other fails for good, the run ends instead of going through them all."""
    lost = []

    async def work(job: int) -> None:
        raise BackendError("too long")

    with pytest.raises(FatalBackendError):
        await Pool(work, lambda job, error: lost.append(job), limit=1).run(range(10 * GONE))
    assert len(lost) == GONE - 1


@pytest.mark.parametrize(
    ("other", "name"), [("report", "x.jsonl"), ("topics", "x.jsonl"), ("topics_json", "x.jsonl.rejected.jsonl")]
)
def test_a_file_is_not_written_over_another(other, name):
    """The output, its companions, the report and the topic files must all be different files."""
    args = argparse.Namespace(out="x.jsonl", report=None, topics=None, topics_json=None)
    setattr(args, other, name)
    with pytest.raises(SettingsError, match="the same file"):
        session._keep_apart(args)


def test_one_price_alone_is_refused():
    """A price for prompts without one for answers would make half of the cost invisible."""
    with pytest.raises(SettingsError, match="one price"):
        session._price(argparse.Namespace(price_in=1.0, price_out=None), load_settings(environ={}))
