"""Waiting times before retries, limits per minute, and the throttle."""

import asyncio
import functools
import random

import pytest

from doric.llm.rate_limits import (
    RECENT_CALLS,
    RateLimiter,
    StoppableClock,
    Throttle,
)
from doric.llm.scheduler import FIRST_BACKOFF, MAX_BACKOFF, backoff
from virtual_clock import START, VirtualClock


def waits(tries: int, after: float | None) -> list[float]:
    """Five hundred waiting times with one seed."""
    draw = random.Random(0)
    return [backoff(tries, after, draw) for _ in range(500)]


@pytest.mark.parametrize(("tries", "bound"), [(0, FIRST_BACKOFF), (1, 1.0), (4, 8.0), (7, MAX_BACKOFF), (10_000, 60.0)])
def test_the_backoff_bound_doubles_up_to_a_minute(tries, bound):
    """Each wait is a random time between zero and a maximum, which doubles with each try up to one minute."""
    found = waits(tries, None)
    assert max(found) <= bound
    assert max(found) > 0.9 * bound
    assert min(found) < 0.1 * bound


def test_retry_after_is_honoured():
    """No retry starts before Retry-After, few start much later, and they do not all start at the same time."""
    found = waits(0, 20.0)
    assert min(found) >= 20
    assert max(found) < 21
    assert len(set(found)) > 400


@pytest.mark.parametrize(("tries", "least"), [(0, 0.25), (3, 2.0), (20, MAX_BACKOFF / 2)])
def test_repeated_zero_retry_after_is_not_honoured(tries, least):
    """If Retry-After is repeatedly 0, the waits still grow."""
    assert min(waits(tries, 0.0)) >= least


def test_backoff_depends_only_on_the_seed():
    """The same seed gives the same waits."""
    assert waits(3, None) == waits(3, None)


def in_virtual_time(work):
    """Run `work` with a clock that starts at `START` seconds. Returns the result of `work`."""
    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        return runner.run(work(StoppableClock(runner.get_loop().time)))


def test_calls_are_spread_over_the_minute():
    """With 30 calls per minute, one call may start every two seconds, counted over all tasks."""

    async def work(clock):
        limiter, times = RateLimiter(clock, max_rpm=30), []

        async def call():
            await limiter.acquire()
            times.append(clock.now() - START)

        await asyncio.gather(*(call() for _ in range(4)))
        return times

    assert in_virtual_time(work) == pytest.approx([0, 2, 4, 6])


def test_reported_tokens_replace_the_expected_ones():
    """If a call used fewer tokens than expected, the next call starts earlier, and a released call uses no tokens."""

    async def start_of_next_call(clock, end):
        limiter = RateLimiter(clock, max_tpm=600, tokens_per_call=100)  # 600 tokens per minute are 10 tokens per second
        await limiter.acquire()
        end(limiter)
        await limiter.acquire()
        return clock.now() - START

    for seconds, end in (
        (3, lambda limiter: limiter.report(30)),
        (20, lambda limiter: limiter.report(200)),
        (0, lambda limiter: limiter.release()),
    ):
        assert in_virtual_time(functools.partial(start_of_next_call, end=end)) == pytest.approx(seconds)


def test_without_limits_nobody_waits():
    """Without limits a call may start at once."""

    async def work(clock):
        limiter = RateLimiter(clock)
        for _ in range(100):
            await limiter.acquire()
            limiter.report(10_000)
        return clock.now() - START

    assert in_virtual_time(work) == 0


def test_a_stop_ends_the_wait_for_a_limit():
    """When the run is stopped, no task waits for a limit any longer."""

    async def work(clock):
        limiter = RateLimiter(clock, max_rpm=1)
        await limiter.acquire()
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(5)
        clock.stop()
        await waiting
        return clock.now() - START

    assert in_virtual_time(work) == 5


def throttled_often(clock: StoppableClock, concurrency: int = 8) -> Throttle:
    """A throttle that has received a full series of 429s."""
    throttle = Throttle(clock, concurrency, random.Random(0))
    for _ in range(RECENT_CALLS):
        throttle.failed(throttled=True)
    return throttle


def test_a_single_429_does_not_pause_all_calls():
    """While most of the recent calls succeed, a 429 does not affect other calls."""

    async def work(clock):
        throttle = Throttle(clock, 8, random.Random(0))
        throttle.failed(throttled=True)
        throttle.pause(20, in_flight=8)
        await throttle.wait()
        return clock.now() - START, throttle.allowed, throttle.pauses

    assert in_virtual_time(work) == (0, 8, 0)


def test_a_pause_halves_the_concurrent_calls_once():
    """All 429s during one pause halve the concurrency only once, and all calls wait until the pause ends."""

    async def work(clock):
        throttle = throttled_often(clock)
        for _ in range(5):
            throttle.pause(20, in_flight=8)
        await throttle.wait()
        return clock.now() - START, throttle.allowed, throttle.pauses

    seconds, allowed, pauses = in_virtual_time(work)
    assert 20 <= seconds <= 30
    assert (allowed, pauses) == (4, 1)


def test_concurrent_calls_grow_back_to_the_maximum():
    """When most calls succeed again, the concurrency grows, but never above the maximum."""

    async def work(clock):
        throttle = throttled_often(clock)
        throttle.pause(20, in_flight=8)
        allowed = []
        for _ in range(3 * RECENT_CALLS):
            throttle.succeeded()
            allowed.append(throttle.allowed)
        return allowed

    allowed = in_virtual_time(work)
    assert allowed == sorted(allowed)
    assert (allowed[0], allowed[-1]) == (4, 8)
