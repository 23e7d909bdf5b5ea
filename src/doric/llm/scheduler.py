"""Concurrent workers for any number of jobs, with retries, rate limits and a clean stop.

A waiting retry holds no worker. Jobs are taken from an iterator one at a time, and no new job is taken while many
retries wait, so memory does not grow with the number of jobs.
"""

import asyncio
import heapq
import itertools
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.core.text import counted
from doric.llm.rate_limits import TOKENS_PER_CALL, RateLimiter, StoppableClock, Throttle
from doric.llm.reset_times import clock_time, in_words

log = logging.getLogger("doric")
MAX_WAITING_RETRIES = 8
"""With more waiting retries per worker, no new job is taken: if a server is down, retries must not fill the memory."""
MAX_LOST_IN_A_ROW = 20
"""The server counts as gone if so many jobs in a row were given up, with no success between them."""
UNREACHABLE = ("connection", "timeout")
"""Faults that do not show whether a server exists at all."""
BUSY_SECONDS = 300.0
"""Throttled jobs are retried without limit if any job has succeeded within this time."""
CAPACITY_POLL = 1.0
"""While the throttle allows fewer calls, an idle worker checks at this interval whether it may call again."""
MAX_THROTTLED = 900.0
"""Seconds. If the server throttles for so long and answers no call, the run ends; it can be resumed at any time."""
FIRST_BACKOFF, MAX_BACKOFF = 0.5, 60.0
"""Seconds: the upper bound of the first wait, and of any wait. The bound doubles in between."""
MIN_LOGGED_WAIT = 5.0
"""Seconds. Shorter waits are not logged."""
FIRST_QUIET, MAX_QUIET = 30.0, 300.0
"""Seconds without a further line about the same kind of error: after the first line, and at most. They double."""
GRACE_SECONDS = 120.0
"""After a fatal error, the calls in flight have so many seconds to end, because they are paid for."""


def backoff(tries: int, retry_after: float | None, draw: random.Random) -> float:
    """Seconds to wait before a retry of a call that has failed `tries` times before.

    The wait is random between 0 and a bound, which doubles from 0.5 s to 60 s. Retry-After is honoured, except repeated
    zeros: then the wait is at least half the bound, because otherwise all retries would be used up within a moment.
    """
    bound = min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** min(tries, 16))
    if retry_after is None:
        return draw.uniform(0, bound)
    wait = max(retry_after, bound / 2)
    # plus a random delay, so that waiting calls do not all resume at the same moment
    return wait + draw.uniform(0, 0.05 + 0.02 * wait)


class WaitLog:
    """Says what is waited for: one line for each kind of error, and again only after the wait that it named.

    Short waits are not logged, and the lines about one kind of error become rarer.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._named: dict[str, float] = {}
        self._quiet: dict[str, float] = {}

    def waiting(self, error: RetryableError, seconds: float) -> None:
        """Log that a call is tried again after `seconds`, because of `error`."""
        if seconds < MIN_LOGGED_WAIT or self._now() < self._named.get(error.fault, -math.inf):
            return
        quiet = self._quiet.get(error.fault, FIRST_QUIET)
        self._named[error.fault] = self._now() + max(seconds, quiet)
        self._quiet[error.fault] = min(MAX_QUIET, 2 * quiet)
        reason = error.message.partition(": ")[0]
        log.info("Waiting %s, until %s: %s.", in_words(seconds), clock_time(seconds, date=False), reason)


def gone_hint(error: RetryableError) -> str:
    """The hint for a run that ends because of `error`."""
    malformed = error.fault == "malformed"
    question = (
        "Does this server offer chat completions at this URL?" if malformed else "Is the server running and reachable?"
    )
    return f"{error.hint or question} Nothing is lost: run the same command again."


class JobQueue[Job]:
    """New jobs from an iterator, and retries with due times. Each job comes with the number of its earlier tries."""

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._jobs: Iterator[Job] = iter(())
        self._retries: list[tuple[float, int, Job, int]] = []  # due, order, job, tries
        self._order = itertools.count()
        self.exhausted = False

    def add(self, jobs: Iterable[Job]) -> None:
        """Take new jobs from `jobs` from now on."""
        self._jobs, self.exhausted = iter(jobs), False

    def add_retry(self, due: float, job: Job, tries: int) -> None:
        """Return `job` again from `take` after the time `due`."""
        heapq.heappush(self._retries, (due, next(self._order), job, tries))

    def take(self, now: float) -> tuple[Job, int] | None:
        """A retry that is due, else a new job. None if there is neither, or if too many retries wait for a new job."""
        if self._retries and self._retries[0][0] <= now:
            _, _, job, tries = heapq.heappop(self._retries)
            return job, tries
        if len(self._retries) < self._max_waiting and not self.exhausted:
            for job in self._jobs:
                return job, 0
            self.exhausted = True
        return None

    @property
    def waiting(self) -> int:
        """The number of waiting retries."""
        return len(self._retries)

    @property
    def next_due(self) -> float:
        """The time at which the next retry is due."""
        return self._retries[0][0]


class ServerHealth:
    """Whether the server still answers. If it does, a failing job is given up; if not, a failing job ends the run.

    `answered`: the server has answered in an earlier run, so errors now mean that it is busy, not wrong settings.
    """

    def __init__(self, now: Callable[[], float], *, answered: bool) -> None:
        self._now, self._answered = now, answered
        self._succeeded, self._lost_in_a_row = False, 0
        self._last_success = -math.inf
        self._throttled_since: float | None = None

    def succeeded(self) -> None:
        """Record a job that succeeded."""
        self._succeeded, self._lost_in_a_row, self._last_success = True, 0, self._now()
        self._throttled_since = None

    def is_busy(self, error: RetryableError) -> bool:
        """Whether `error` is a 429 of a server that answers other calls."""
        return error.throttled and self._now() - self._last_success < BUSY_SECONDS

    def throttled(self, error: RetryableError) -> None:
        """Record a 429. Raises `FatalServerError` if there has been no answer since the first one, for too long."""
        if self._throttled_since is None:
            self._throttled_since = self._now()
        elif (seconds := self._now() - self._throttled_since) > MAX_THROTTLED:
            raise FatalServerError(f"{error.message}, and nothing else for {in_words(seconds)}", hint=gone_hint(error))

    def out_of_retries(self, error: RetryableError, tries: int) -> None:
        """Record a job without retries left. Raises `FatalServerError` if the server counts as gone."""
        self._lost_in_a_row += 1
        answers = self._succeeded or (self._answered and error.fault not in UNREACHABLE)
        if answers and self._lost_in_a_row < MAX_LOST_IN_A_ROW:
            return
        times = (
            f"for {MAX_LOST_IN_A_ROW} jobs in a row" if answers else f"{counted(tries + 1, 'time')} and never an answer"
        )
        raise FatalServerError(f"{error.message}, {times}", hint=gone_hint(error))

    def failed(self, error: ServerError) -> None:
        """Record a job that cannot be retried. Raises `FatalServerError` if too many fail in a row."""
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= MAX_LOST_IN_A_ROW:
            raise FatalServerError(f"{error.message}, for {MAX_LOST_IN_A_ROW} jobs in a row", hint=error.hint)


class Scheduler[Job]:
    """At most `concurrency` concurrent calls of `work`, each with one job.

    If `work` raises `RetryableError`, the job is retried up to `max_retries` times, and then passed to `give_up`. If
    the server counts as gone (`ServerHealth`) or `work` raises any other error, `run` waits for the calls in flight and
    raises the error. After `stop`, an error of the server is only logged.

    `max_rpm` and `max_tpm` limit calls and tokens per minute. So `work` must report its tokens to `report_tokens`, and
    must await `acquire` before each further call for the same job. Until the first calls have reported, a call is
    expected to use `tokens_per_call` tokens.
    """

    def __init__(
        self,
        work: Callable[[Job], Awaitable[object]],
        give_up: Callable[[Job, ServerError], None],
        *,
        concurrency: int,
        max_retries: int = 8,
        max_rpm: int | None = None,
        max_tpm: int | None = None,
        tokens_per_call: float = TOKENS_PER_CALL,
        answered: bool = False,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work, self._give_up = work, give_up
        self._concurrency, self._max_retries = concurrency, max_retries
        self._draw, self._clock = random.Random(seed), StoppableClock(clock)
        self._queue = JobQueue[Job](MAX_WAITING_RETRIES * concurrency)
        self._throttle = Throttle(self._clock, concurrency, self._draw)
        self._limiter = RateLimiter(self._clock, max_rpm=max_rpm, max_tpm=max_tpm, tokens_per_call=tokens_per_call)
        self._waits = WaitLog(clock)
        self._health = ServerHealth(clock, answered=answered)
        self._workers: list[asyncio.Task[None]] = []
        self._runner: asyncio.Task[object] | None = None
        self._in_flight = self._sleeping = 0
        self._error: BaseException | None = None

    async def run(self, jobs: Iterable[Job]) -> None:
        """Process `jobs`. Returns when all are done or given up, or after `stop` or `cancel`."""
        self._runner = asyncio.current_task()
        self._queue.add(jobs)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                if self.stopped or (self._queue.exhausted and not self._queue.waiting):
                    break  # no job is left for a further worker
                self._workers.append(group.create_task(self._worker()))
                await asyncio.sleep(0)  # let this worker send its call before the next one prepares its own
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Start no new job and no retry. Calls in flight are finished."""
        self._clock.stop()

    def cancel(self) -> None:
        """Stop, and cancel the calls in flight."""
        self.stop()
        for worker in self._workers:
            worker.cancel()

    @property
    def stopped(self) -> bool:
        """Whether the scheduler was stopped."""
        return self._clock.stopped

    async def acquire(self) -> bool:
        """Wait until the throttle and the limits allow one more call; False if the scheduler was stopped."""
        await self._throttle.wait()
        await self._limiter.acquire()
        return not self.stopped

    def report_tokens(self, tokens: int) -> None:
        """Count the tokens of the current call for `max_tpm`, instead of the expected tokens."""
        self._limiter.report(tokens)

    async def _worker(self) -> None:
        try:
            while taken := await self._next_job():
                self._in_flight += 1
                try:
                    if not await self.acquire():
                        return
                    await self._call(*taken)
                finally:
                    self._in_flight -= 1
        except asyncio.CancelledError:
            if not (self.stopped or (self._runner and self._runner.cancelling())):  # else Ctrl-C cancelled it
                self._fail(ServerError("a call was cancelled from within"))
            raise
        except BaseException as error:  # any exception: `run` raises it after the calls in flight have ended
            self._fail(error)

    async def _next_job(self) -> tuple[Job, int] | None:
        """The next job and the number of its earlier tries; None if this worker is not needed any more."""
        while not self.stopped:
            if self._in_flight >= self._throttle.allowed:
                await self._clock.sleep(CAPACITY_POLL)
                continue
            if taken := self._queue.take(self._clock.now()):
                return taken
            # a worker that adds a retry also takes further jobs, so one sleeping worker per retry is enough
            if self._queue.exhausted and self._sleeping >= self._queue.waiting:
                return None
            self._sleeping += 1
            try:
                await self._clock.sleep(self._queue.next_due - self._clock.now())
            finally:
                self._sleeping -= 1
        return None

    async def _call(self, job: Job, tries: int) -> None:
        try:
            await self._work(job)
        except RetryableError as error:
            self._throttle.failed(throttled=error.throttled)
            self._retry(job, tries, error)
        except FatalServerError:
            raise
        except ServerError as error:
            if not self.stopped:
                self._health.failed(error)
            self._give_up(job, error)
        else:
            self._health.succeeded()
            self._throttle.succeeded()
        finally:
            self._limiter.release()  # if the call reported no tokens

    def _retry(self, job: Job, tries: int, error: RetryableError) -> None:
        if self.stopped:
            return
        if error.throttled:
            self._health.throttled(error)
        busy = self._health.is_busy(error)
        if tries >= self._max_retries and not busy:
            self._health.out_of_retries(error, tries)
            self._give_up(job, error)
            return
        # while the server is busy, the wait depends on the number of pauses, not on the tries of this job
        pauses = self._throttle.pauses
        wait = backoff(pauses if busy else max(tries, pauses), error.after, self._draw)
        self._waits.waiting(error, wait)
        if error.throttled:
            self._throttle.pause(wait, self._in_flight)
        self._queue.add_retry(self._clock.now() + wait, job, tries + 1)

    def _fail(self, error: BaseException) -> None:
        if self._error is None and self.stopped and isinstance(error, ServerError):
            log.warning("%s", error.message)  # of a call in flight: the run was to end anyway
        elif self._error is None:
            self._error = error
            if self._in_flight:
                words = (
                    "Stopping after an error. Waiting for the calls in flight, %g s at most; Ctrl-C ends this sooner."
                )
                log.warning(words, GRACE_SECONDS)
            self.stop()
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self.cancel)
