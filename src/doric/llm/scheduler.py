"""Bounded workers over any number of jobs: retries by due time, rate limits, a clean stop. Knows nothing of what a
job is.

A retry waits outside the pool, so a sleeping one holds no worker; the whole pool slows down only when most of the
recent calls were throttled: it pauses, goes on with half as many calls at a time, and feels its way up again. A job
that is throttled while others are answered waits in a queue and is not given up. Jobs are taken from an iterator one
at a time, and no new one while many retries wait, so memory does not grow with their number.
"""

import asyncio
import heapq
import itertools
import logging
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.llm.backoff import backoff

log = logging.getLogger("doric")
RECENT = 40
"""Calls by which the pool judges whether the server as a whole is throttling."""
WINDOW = 8
"""Retries for each worker that may wait before no new job is taken: a server that is down must not fill the memory."""
GONE = 20
"""Jobs given up one after the other, with none done in between, after which the server counts as gone."""
UNREACHED = ("connection", "timeout")
"""Faults by which nobody can tell whether there is a server at all."""
QUEUE = 300.0
"""Seconds without any job done after which a job that is throttled again and again is given up as others are."""
FIRST_GUESS = 1000
"""Tokens that a call is taken to cost until the first ones have told, when nobody knows better."""
FIRST_CALLS = 10
"""Calls made before one has told how many tokens it took, where tokens are limited: a guess may be far out."""
PEEK = 0.1
"""Seconds between looks whether one has."""
SMOOTH = 10
"""Calls over which the tokens that one takes are averaged."""
WORTH_SAYING = 5.0
"""Seconds of a pause of the whole pool that are told of."""
LOOK = 1.0
"""Seconds between looks of a worker whether there is room for its call, once the pool has slowed down."""
GRACE = 120.0
"""Seconds that calls in flight get to end once the run has to stop: they are paid for."""


class Scheduler[Job]:
    """At most `limit` calls of `work` at a time; see the module.

    `work` may raise `RetryableError` to be called again with the same job, `max_retries` times; after that `give_up`
    is told. When that happens though no call has ever succeeded, or again and again, or when `work` raises anything
    else, the pool lets the calls in flight end and raises the error. `max_rpm` and `max_tpm` bound calls and tokens a
    minute: `work` reports its tokens to `used`, and awaits `turn` before each further call that it makes for a job.
    `first_guess` is the tokens that a call is taken to cost until the first have told. `answered` says that the server
    has answered an earlier run, so that one that answers nobody now is busy and not wrongly set up.
    """

    def __init__(
        self,
        work: Callable[[Job], Awaitable[object]],
        give_up: Callable[[Job, ServerError], None],
        *,
        limit: int,
        max_retries: int = 8,
        max_rpm: int | None = None,
        max_tpm: int | None = None,
        first_guess: float = FIRST_GUESS,
        answered: bool = False,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work, self._give_up = work, give_up
        self._limit, self._max_retries = limit, max_retries
        self._per_call = 60.0 / max_rpm if max_rpm else 0.0
        self._per_token = 60.0 / max_tpm if max_tpm else 0.0
        self._draw, self._clock = random.Random(seed), clock
        self._jobs: Iterator[Job] = iter(())
        self._exhausted = False
        self._waiting: list[tuple[float, int, Job, int]] = []  # due, order, job, tries so far
        self._order = itertools.count()
        self._idle = self._calling = 0
        self._pauses = 0  # since the last job was done
        self._room = float(limit)  # calls at a time, fewer than `limit` while the server throttles
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._resume, self._spread = 0.0, 0.0
        self._next_call, self._next_token, self._typical = 0.0, 0.0, float(first_guess)
        self._told, self._queue = 0, asyncio.Lock()
        self._reserved: dict[asyncio.Task[object] | None, float] = {}  # tokens that a worker's call is taken to cost
        self._answered, self._succeeded, self._gave_up = answered, 0, 0
        self._last_done = self._slowed = -math.inf
        self._error: BaseException | None = None
        self._stop = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []

    async def run(self, jobs: Iterable[Job]) -> None:
        """Work through `jobs`; returns when all are done or given up, or after `stop` or `cancel`."""
        self._jobs = iter(jobs)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._limit):
                if self.stopped:
                    break
                self._workers.append(group.create_task(self._worker()))
                await asyncio.sleep(0)  # or no call leaves before all workers have prepared theirs
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Take no new job and no retry; calls in flight go on to their end."""
        self._stop.set()

    def cancel(self) -> None:
        """Break off the calls in flight too."""
        self.stop()
        for worker in self._workers:
            worker.cancel()

    @property
    def stopped(self) -> bool:
        """Whether the pool was told to stop."""
        return self._stop.is_set()

    async def turn(self) -> bool:
        """Wait until the limits allow one more call; False when the pool has stopped meanwhile."""
        if self._clock() < self._resume:
            # the more may come, the wider apart
            resumed = self._resume + self._draw.uniform(0, self._spread * self._room / self._limit)
            await self._until(lambda: resumed)
        self._settle(0)  # a turn taken before and not used
        if self._per_call or self._per_token:
            # One waits for the limits and the others for that one: what calls turn out to have cost counts at once.
            async with self._queue:
                await self._until(self._next)
                self._reserve()
        return not self.stopped

    def _next(self) -> float:
        """When the limits allow the next call; a little later as long as the first ones have not told their cost."""
        if self._per_token and not self._told and len(self._reserved) >= FIRST_CALLS:
            return self._clock() + PEEK
        return max(self._next_call, self._next_token)

    async def _until(self, due: Callable[[], float]) -> None:
        """Wait for a moment that may move while it is waited for, or for the stop."""
        while (now := self._clock()) < (start := due()) and not self.stopped:
            await self._sleep(start - now)

    def _reserve(self) -> None:
        """Count a call that begins now towards the limits, by the tokens that a call usually takes."""
        now = self._clock()
        self._next_call = now + self._per_call
        if self._per_token:
            self._next_token = max(now, self._next_token) + self._typical * self._per_token
            self._reserved[asyncio.current_task()] = self._typical

    def used(self, tokens: int) -> None:
        """Count the tokens of a call towards `max_tpm`, in place of those it was taken to cost."""
        self._settle(tokens)
        if tokens:  # what a filter withheld cost none, and says nothing of the others
            self._told += 1
            self._typical += (tokens - self._typical) / min(self._told, SMOOTH)

    def _settle(self, tokens: int) -> None:
        """Put what a worker's call took in place of what was set aside for it; nothing when it came to nothing."""
        if self._per_token:
            self._next_token += (tokens - self._reserved.pop(asyncio.current_task(), 0.0)) * self._per_token

    async def _worker(self) -> None:
        try:
            while taken := await self._next_job():
                self._calling += 1
                try:
                    if not await self.turn():
                        return
                    await self._call(*taken)
                finally:
                    self._calling -= 1
        except asyncio.CancelledError:
            if not self.stopped:
                self._fail(ServerError("a call was broken off from within"))
            raise
        except BaseException as error:  # whatever it is, `run` raises it once the calls in flight have ended
            self._fail(error)

    async def _next_job(self) -> tuple[Job, int] | None:
        """The next job and how often it was tried; None when this worker is not needed any more."""
        while not self.stopped:
            if self._calling >= self._room:
                await self._sleep(LOOK)
                continue
            if self._waiting and self._waiting[0][0] <= self._clock():
                _, _, job, tries = heapq.heappop(self._waiting)
                return job, tries
            if len(self._waiting) < WINDOW * self._limit and not self._exhausted:
                for job in self._jobs:
                    return job, 0
                self._exhausted = True
            # A worker that puts its job off is there to take it up again, so one sleeper a retry is enough.
            if self._exhausted and self._idle >= len(self._waiting):
                return None
            self._idle += 1
            try:
                await self._sleep(self._waiting[0][0] - self._clock())
            finally:
                self._idle -= 1
        return None

    async def _call(self, job: Job, tries: int) -> None:
        try:
            await self._work(job)
        except RetryableError as error:
            self._recent.append(error.throttled)
            self._put_off(job, tries, error)
        except FatalServerError:
            raise
        except ServerError as error:
            self._lose(job, error)
        else:
            self._recent.append(False)
            self._succeeded, self._gave_up, self._last_done = self._succeeded + 1, 0, self._clock()
            self._pauses = 0
            if not self._throttled():
                self._room = min(self._limit, self._room + 1 / self._room)
        finally:
            self._settle(0)  # what made no call, or one that came to nothing

    def _put_off(self, job: Job, tries: int, error: RetryableError) -> None:
        queueing = error.throttled and self._clock() - self._last_done < QUEUE
        if tries >= self._max_retries and not queueing:
            self._leave(job, tries, error)
            return
        # in a queue it is the server's pauses that count, not how often this job has come in vain
        wait = backoff(self._pauses if queueing else tries, error.after, self._draw)
        if error.throttled and self._throttled():
            self._slow_down(wait)
            self._resume, self._spread = max(self._resume, self._clock() + wait), wait
        heapq.heappush(self._waiting, (self._clock() + wait, next(self._order), job, tries + 1))

    def _slow_down(self, wait: float) -> None:
        """Half as many calls at a time from now on; once a pause, whose length is `wait`."""
        now = self._clock()
        if now >= self._resume and wait >= WORTH_SAYING:
            log.info("The server wants fewer calls: all wait for %.0f s.", wait)
        if now - self._slowed >= wait:
            self._room, self._slowed = max(1.0, min(self._room, self._calling) / 2), now
            self._pauses += 1

    def _leave(self, job: Job, tries: int, error: RetryableError) -> None:
        self._gave_up += 1
        there = self._succeeded or (self._answered and error.fault not in UNREACHED)
        if there and self._gave_up < GONE:
            self._give_up(job, error)
            return
        when = f"for {GONE} jobs one after the other" if there else f"{tries + 1} times and never an answer"
        hint = "Is the server running and reachable? Nothing is lost: run the same command again."
        raise FatalServerError(f"{error.message}, {when}", hint=hint)

    def _lose(self, job: Job, error: ServerError) -> None:
        self._gave_up += 1
        if self._gave_up >= GONE:
            raise FatalServerError(f"{error.message}, for {GONE} jobs one after the other", hint=error.hint)
        self._give_up(job, error)

    def _throttled(self) -> bool:
        return len(self._recent) == RECENT and sum(self._recent) > RECENT / 2

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
            if self._calling:
                log.warning("Stopping: %s. Calls in flight are awaited; Ctrl-C breaks them off.", error)
            self.stop()
            asyncio.get_running_loop().call_later(GRACE, self.cancel)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass
