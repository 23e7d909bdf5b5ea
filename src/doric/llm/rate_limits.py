"""When the next call may be made: limits on calls and tokens per minute, and a throttle after many 429s."""

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Callable

TOKENS_PER_CALL = 1000
"""Tokens that a call is expected to use if nothing better is known."""
CALLS_BEFORE_REPORT = 10
"""If tokens are limited, so many calls may start before one has reported its tokens: the estimate may be wrong."""
REPORT_POLL = 0.1
"""Seconds between checks for that first report."""
AVERAGED_CALLS = 10
"""Calls over which the tokens per call are averaged."""
RECENT_CALLS = 40
"""The throttle uses so many recent calls to decide whether the server limits all calls."""


class StoppableClock:
    """The time in seconds, and waits that end early once the run is stopped."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End all current and later waits at once."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds, or until the run is stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass

    async def sleep_until(self, due: Callable[[], float]) -> None:
        """Wait until a time that may change meanwhile, or until the run is stopped."""
        while (now := self.now()) < (start := due()) and not self.stopped:
            await self.sleep(start - now)


class RateLimiter:
    """Limits calls and tokens per minute. A task acquires each call, then reports its tokens or releases it.

    A call that has not reported counts as the average of recent calls, or as `tokens_per_call` if none has reported.
    """

    def __init__(
        self,
        clock: StoppableClock,
        *,
        max_rpm: int | None = None,
        max_tpm: int | None = None,
        tokens_per_call: float = TOKENS_PER_CALL,
    ) -> None:
        self._clock = clock
        self._seconds_per_call = 60.0 / max_rpm if max_rpm else 0.0
        self._seconds_per_token = 60.0 / max_tpm if max_tpm else 0.0
        self._expected_tokens = float(tokens_per_call)
        self._reports = 0
        self._next_call = self._next_token = 0.0  # times at which the limits allow the next call
        self._reserved: dict[asyncio.Task[object] | None, float] = {}
        self._queue = asyncio.Lock()

    async def acquire(self) -> None:
        """Wait until the limits allow one more call, and reserve it for the current task."""
        self.release()
        if self._seconds_per_call or self._seconds_per_token:
            # only the first task in the queue waits for the limits; so a report of another call takes effect at once
            async with self._queue:
                await self._clock.sleep_until(self._next_start)
                self._reserve()

    def report(self, tokens: int) -> None:
        """Replace the current task's reservation with the tokens that its call used."""
        self._settle(tokens)
        if tokens:  # a call blocked by a content filter uses no tokens, and is no estimate for other calls
            self._reports += 1
            self._expected_tokens += (tokens - self._expected_tokens) / min(self._reports, AVERAGED_CALLS)

    def release(self) -> None:
        """Drop the current task's reservation, if any: its call used no tokens."""
        self._settle(0)

    def _next_start(self) -> float:
        if self._seconds_per_token and not self._reports and len(self._reserved) >= CALLS_BEFORE_REPORT:
            return self._clock.now() + REPORT_POLL
        return max(self._next_call, self._next_token)

    def _reserve(self) -> None:
        now = self._clock.now()
        self._next_call = now + self._seconds_per_call
        if self._seconds_per_token:
            self._next_token = max(now, self._next_token) + self._expected_tokens * self._seconds_per_token
            self._reserved[asyncio.current_task()] = self._expected_tokens

    def _settle(self, tokens: int) -> None:
        if self._seconds_per_token:
            reserved = self._reserved.pop(asyncio.current_task(), 0.0)
            self._next_token += (tokens - reserved) * self._seconds_per_token


class Throttle:
    """If most recent calls get a 429, pauses all calls and then allows half as many concurrent calls.

    `allowed` is the number of concurrent calls that are allowed now. It grows again with each success. `pauses` is the
    number of pauses since the last success.
    """

    def __init__(self, clock: StoppableClock, concurrency: int, draw: random.Random) -> None:
        self.allowed = float(concurrency)
        self.pauses = 0
        self._clock, self._concurrency, self._draw = clock, concurrency, draw
        self._recent: deque[bool] = deque(maxlen=RECENT_CALLS)  # True for a 429
        self._resume_at, self._pause = 0.0, 0.0
        self._slowed_at = -math.inf

    @property
    def throttled(self) -> bool:
        """Whether most recent calls got a 429."""
        return len(self._recent) == RECENT_CALLS and sum(self._recent) > RECENT_CALLS / 2

    async def wait(self) -> None:
        """Wait until the pause ends. Calls resume at random times, which are spread wider if more calls are allowed."""
        if self._clock.now() < self._resume_at:
            spread = self._pause * self.allowed / self._concurrency
            resume_at = self._resume_at + self._draw.uniform(0, spread)
            await self._clock.sleep_until(lambda: resume_at)

    def succeeded(self) -> None:
        """Record a call that was answered."""
        self._recent.append(False)
        self.pauses = 0
        if not self.throttled:
            self.allowed = min(self._concurrency, self.allowed + 1 / self.allowed)

    def failed(self, *, throttled: bool) -> None:
        """Record a call that failed; `throttled` if it got a 429."""
        self._recent.append(throttled)

    def pause(self, seconds: float, in_flight: int) -> None:
        """After a 429: if most recent calls got one, pause all calls and halve the number of concurrent calls."""
        if not self.throttled:
            return
        now = self._clock.now()
        if now - self._slowed_at >= seconds:  # once per pause
            self.allowed, self._slowed_at = max(1.0, min(self.allowed, in_flight) / 2), now
            self.pauses += 1
        self._resume_at, self._pause = max(self._resume_at, now + seconds), seconds
