"""The scheduler, in virtual time."""

import asyncio
import random
from itertools import count, pairwise

import pytest

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.llm import scheduler
from doric.llm.rate_limits import RECENT_CALLS
from doric.llm.scheduler import (
    FIRST_BACKOFF,
    MAX_BACKOFF,
    MAX_LOST_IN_A_ROW,
    MAX_THROTTLED,
    MAX_WAITING_RETRIES,
    Scheduler,
)
from virtual_clock import VirtualClock


class Server:
    """A job takes `seconds`. Each call is recorded, and the errors in `script` for a job are raised."""

    def __init__(self, loop, seconds=1.0, script=None):
        self.loop, self.seconds, self.script = loop, seconds, script or {}
        self.calls, self.done, self.given_up = [], [], []
        self.busy = self.most_busy = 0

    async def __call__(self, job):
        tries = sum(other == job for _, other in self.calls)
        self.calls.append((self.loop.time() - 1000, job))
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            if self.seconds:
                await asyncio.sleep(self.seconds)
        finally:
            self.busy -= 1
        faults = self.script.get(job, [])
        if tries < len(faults):
            raise faults[tries]
        self.done.append(job)

    def give_up(self, job, error):
        self.given_up.append((job, error.message))

    def when(self, job):
        """The times at which the job was called."""
        return [time for time, called in self.calls if called == job]


def busy(after=None):
    """A 429."""
    return RetryableError("too many requests", fault="429", after=after, throttled=True)


def broken():
    """A 500."""
    return RetryableError("internal error", fault="500")


def go(jobs, *, concurrency=4, seconds=1.0, script=None, also=None, **options):
    """Run a scheduler over `jobs`. Returns the server, the seconds that the run took, and the error that it raised."""
    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        loop = runner.get_loop()
        server = Server(loop, seconds, script)
        workers = Scheduler(server, server.give_up, concurrency=concurrency, clock=loop.time, **options)

        async def session():
            others = [asyncio.create_task(one) for one in (also(workers, server) if also else [])]
            try:
                await workers.run(jobs)
            except Exception as error:
                return error
            finally:
                for other in others:
                    other.cancel()

        error = runner.run(session())
        return server, loop.now - 1000, error


def test_every_job_is_done_once_within_the_concurrency():
    """Ten jobs of one second each, with four at a time, take three seconds."""
    server, seconds, error = go(range(10))
    assert (sorted(server.done), server.most_busy, error) == (list(range(10)), 4, None)
    assert seconds == pytest.approx(3)


@pytest.mark.parametrize("concurrency", [1, 64])
def test_work_that_never_waits_is_done_in_order(concurrency):
    """With any number of workers, jobs that never wait finish in the order of the iterator."""
    server, _, _ = go(range(1000), concurrency=concurrency, seconds=0)
    assert server.done == list(range(1000))


def test_a_worker_starts_its_next_call_before_another_continues():
    """If answers arrive together and each check takes long, the next calls start between the checks."""
    events = []

    async def main():
        loop = asyncio.get_running_loop()

        async def work(job):
            events.append("asked")
            await asyncio.sleep(1)
            loop.now += 0.3  # the check of the answer
            events.append("checked")

        await Scheduler(work, lambda job, error: None, concurrency=4, clock=loop.time).run(range(8))

    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        runner.run(main())
    assert events == ["asked"] * 4 + ["checked", "asked"] * 4 + ["checked"] * 4


def test_the_first_call_is_sent_before_the_last_worker_starts():
    """If many workers must connect first, the first calls are still not delayed."""
    events = []

    async def main():
        async def work(job):
            events.append("connects")
            await asyncio.sleep(0)
            events.append("sends")
            await asyncio.sleep(1)

        await Scheduler(work, lambda job, error: None, concurrency=10).run(range(10))

    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        runner.run(main())
    assert events.index("sends") < 5


def test_jobs_are_taken_one_at_a_time():
    """A job is taken from the iterator only when a worker is free."""
    taken = count()
    ahead = []

    def jobs():
        for job in range(100):
            next(taken)
            yield job

    def watch(workers, server):
        async def watcher():
            while True:
                ahead.append(int(repr(taken)[6:-1]) - len(server.done))
                await asyncio.sleep(0.5)

        return [watcher()]

    go(jobs(), concurrency=5, also=watch)
    assert max(ahead) <= 5


def test_no_jobs():
    """Without jobs the run ends at once."""
    server, seconds, error = go([])
    assert (server.calls, seconds, error) == ([], 0, None)


def test_a_waiting_retry_holds_no_worker():
    """With one worker, other jobs run while a retry waits, and the retry runs next when its time has come."""
    server, _, _ = go(range(20), concurrency=1, script={0: [busy(after=10)]})
    assert server.done[:9] == list(range(1, 10))
    assert server.done.index(0) in (10, 11)
    assert len(server.done) == 20


def test_retries_honour_retry_after():
    """A retry starts at the time of Retry-After or soon after it, with its own random delay."""
    server, _, _ = go(range(20), concurrency=20, script={job: [busy(after=30)] for job in range(20)})
    waits = [server.when(job)[1] - 1 for job in range(20)]
    assert all(30 <= wait <= 31 for wait in waits)
    assert len(set(waits)) == 20


def test_backoff_grows_and_depends_on_the_seed():
    """Without Retry-After, each wait is random below a maximum that doubles, and the same seed gives the same waits."""
    script = {"a": [broken() for _ in range(8)], "b": []}

    def waits(seed):
        called = go(["b", "a"], concurrency=2, seconds=0, script=script, seed=seed)[0].when("a")
        return [later - earlier for earlier, later in pairwise(called)]

    assert all(wait <= FIRST_BACKOFF * 2**tries + 1e-6 for tries, wait in enumerate(waits(1)))
    assert max(max(waits(seed)) for seed in range(20)) > 16
    assert waits(1) == waits(1) != waits(2)


def test_no_wait_exceeds_the_maximum():
    """After more than a thousand tries the maximum stays the same, without an overflow."""
    script = {"a": [broken() for _ in range(1200)]}
    server, _, _ = go(["b", "a"], concurrency=2, seconds=0, script=script, max_retries=2000)
    called = server.when("a")
    assert max(later - earlier for earlier, later in pairwise(called)) <= MAX_BACKOFF + 1e-6
    assert "a" in server.done


def test_a_few_429s_do_not_slow_other_jobs():
    """If 5% of the calls get a 429, only their own jobs wait, and the whole run takes little longer."""
    draw = random.Random(1)
    script = {job: [busy(after=1)] for job in range(2000) if draw.random() < 0.05}
    server, seconds, _ = go(range(2000), concurrency=50, seconds=0.2, script=script)
    ideal = len(server.calls) / 50 * 0.2
    assert len(server.done) == 2000
    assert seconds < ideal * 1.2 + 1.1


def test_all_calls_pause_if_most_are_throttled():
    """If most recent calls got a 429, no call is made until the pause ends, and then calls start one by one."""
    script = {job: [busy(after=20)] for job in range(RECENT_CALLS)}
    server, _, _ = go(range(400), concurrency=RECENT_CALLS, script=script)
    assert not [time for time, _ in server.calls if 2.1 < time < 20]
    resumed = sorted({round(time, 3) for time, _ in server.calls if time > 20})
    assert len(resumed) > RECENT_CALLS
    assert len(server.done) == 400


def test_calls_per_minute_are_limited():
    """With 60 calls per minute and any number of workers, calls start one second apart from the first call on."""
    server, _, _ = go(range(30), concurrency=10, seconds=0.1, max_rpm=60)
    times = [time for time, _ in server.calls]
    assert all(later - earlier >= 0.999 for earlier, later in pairwise(times))
    assert times[-1] < 29.5


def test_further_calls_for_a_job_count_too():
    """If the work makes three calls per job and acquires each of them, all three are counted."""
    times = []

    async def main():
        loop = asyncio.get_running_loop()

        async def work(job):
            times.append(loop.time())
            for _ in range(2):
                await workers.acquire()
                times.append(loop.time())

        workers = Scheduler(work, lambda job, error: None, concurrency=5, max_rpm=60, clock=loop.time)
        await workers.run(range(10))

    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        runner.run(main())
    assert len(times) == 30
    assert all(later - earlier >= 0.999 for earlier, later in pairwise(times))


@pytest.mark.parametrize("tokens", [100, 1000, 4000])
def test_tokens_per_minute_are_limited(tokens):
    """With any number of tokens per call, no minute after the first exceeds the limit, and most of it is used."""
    spent = []

    async def main():
        loop = asyncio.get_running_loop()

        async def work(job):
            await asyncio.sleep(5)
            workers.report_tokens(tokens)
            spent.append(loop.time() - 1000)

        workers = Scheduler(work, lambda job, error: None, concurrency=20, max_tpm=60_000, clock=loop.time)
        await workers.run(range(60_000 * 6 // tokens))

    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        runner.run(main())
    minutes = [
        sum(start <= time < start + 60 for time in spent) * tokens for start in range(60, int(max(spent)) - 60, 10)
    ]
    assert max(minutes) <= 60_000 * 1.15
    assert min(minutes[6:]) >= 0.8 * min(60_000, 20 * 12 * tokens)  # the second minute pays for a low guess


@pytest.mark.parametrize("guess", [1000, 6000])
@pytest.mark.parametrize("failing", [False, True], ids=["answered", "half throttled"])
def test_the_first_minute_is_limited_too(failing, guess):
    """With any expected number of tokens, no minute exceeds the limit, and a failed call uses no tokens."""
    spent, numbers = [], count()

    async def main():
        loop = asyncio.get_running_loop()

        async def work(job):
            started = loop.time() - 1000
            if failing and next(numbers) % 2:
                raise RetryableError("busy", fault="rate_limit", after=0.01)
            await asyncio.sleep(20)
            workers.report_tokens(5000)
            spent.append(started)

        workers = Scheduler(
            work,
            lambda job, error: None,
            concurrency=100,
            max_retries=99,
            max_tpm=300_000,
            tokens_per_call=guess,
            clock=loop.time,
        )
        await workers.run(range(240))

    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        runner.run(main())
    minutes = [5000 * sum(start <= time < start + 60 for time in spent) for start in (0, 60, 120)]
    assert max(minutes) <= 300_000 * 1.1
    assert min(minutes) >= 300_000 * 0.6


def test_a_pause_of_all_calls_is_logged_once(caplog):
    """If all calls pause because the server throttles, one log line has the seconds."""
    caplog.set_level("INFO")
    go(range(400), concurrency=RECENT_CALLS, script={job: [busy(after=20)] for job in range(RECENT_CALLS)})
    assert [record.message.partition(",")[0] for record in caplog.records] == ["Waiting 20 s"]


@pytest.mark.parametrize("after", [None, 1, 30, 590])
@pytest.mark.parametrize("answered", [0, 100])
def test_a_server_that_only_throttles_ends_the_run_within_half_an_hour(caplog, after, answered):
    """A 429 without an end is waited for with few calls and few lines, and then the run ends; it can be resumed."""
    caplog.set_level("INFO")
    script = {job: [busy(after)] * 99 for job in range(answered, 3000)}
    server, seconds, error = go(range(3000), concurrency=50, seconds=0.1, script=script)
    assert isinstance(error, FatalServerError)
    assert "too many requests, and nothing else for" in error.message
    assert MAX_THROTTLED < seconds < 2 * MAX_THROTTLED
    assert len(server.calls) < answered + 200
    assert len(caplog.records) < 10


def test_a_job_is_given_up_after_its_retries():
    """If a job keeps failing while others succeed, it is given up once, with its error."""
    script = {3: [broken() for _ in range(99)]}
    server, _, error = go(range(10), script=script, max_retries=5)
    assert len(server.when(3)) == 6
    assert server.given_up == [(3, "internal error")]
    assert (len(server.done), error) == (9, None)


def test_a_server_that_never_answers_ends_the_run():
    """If no call has succeeded yet and the first job has no retries left, the run ends with a hint."""
    script = {job: [broken() for _ in range(9)] for job in range(2000)}
    server, _, error = go(range(2000), script=script, max_retries=3)
    assert isinstance(error, FatalServerError)
    assert error.message == "internal error, 4 times and never an answer"
    assert "running and reachable" in error.hint
    assert server.given_up == []


def test_a_server_that_goes_away_ends_the_run():
    """If many jobs in a row fail, the run stops before it has tried all jobs."""
    script = {job: [broken() for _ in range(9)] for job in range(100, 2000)}
    server, _, error = go(range(2000), script=script, max_retries=2)
    assert isinstance(error, FatalServerError)
    assert len(server.given_up) == MAX_LOST_IN_A_ROW - 1
    assert len(server.done) == 100


def test_the_number_of_waiting_retries_is_limited():
    """While every call fails, only a limited number of jobs is taken from the iterator."""
    script = {job: [broken() for _ in range(9)] for job in range(2000)}
    server, _, _ = go(range(2000), concurrency=4, seconds=0, script=script, max_retries=6)
    assert len({job for _, job in server.calls}) <= (MAX_WAITING_RETRIES + 1) * 4 + 4


def test_stop_lets_the_calls_in_flight_end():
    """After stop, the calls in flight end normally, but no new job and no retry starts."""

    def stopper(workers, server):
        async def after_a_while():
            await asyncio.sleep(2.5)
            workers.stop()

        return [after_a_while()]

    server, seconds, error = go(range(100), script={0: [busy(after=60)]}, also=stopper)
    assert (len(server.calls), len(server.done), error) == (12, 11, None)
    assert seconds == pytest.approx(3)


def test_an_error_after_stop_is_logged_only(caplog):
    """If a call in flight fails after stop, the run ends as stopped; an error before stop is the error of the run."""

    def stopper(workers, server):
        async def after_a_while():
            await asyncio.sleep(0.5)
            workers.stop()

        return [after_a_while()]

    script = {1: [FatalServerError("the key is wrong")]}
    _, _, error = go(range(100), script=script, also=stopper)
    assert error is None
    assert "the key is wrong" in caplog.text
    assert isinstance(go(range(100), script=script)[2], FatalServerError)


def test_cancel_cancels_the_calls_in_flight():
    """After cancel, the run ends at once."""

    def canceller(workers, server):
        async def after_a_while():
            await asyncio.sleep(2.5)
            workers.cancel()

        return [after_a_while()]

    server, seconds, error = go(range(100), also=canceller)
    assert (len(server.calls), len(server.done), server.busy, error) == (12, 8, 0, None)
    assert seconds == pytest.approx(2.5)


def test_cancelling_the_task_of_the_run_leaves_no_call_behind():
    """When the task of `run` is cancelled, it ends only after its calls have ended."""
    ended = []

    async def main():
        async def work(job):
            try:
                await asyncio.sleep(100)
            finally:
                await asyncio.sleep(1)
                ended.append(job)

        running = asyncio.create_task(Scheduler(work, lambda job, error: None, concurrency=3).run(range(10)))
        await asyncio.sleep(1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert sorted(ended) == [0, 1, 2]

    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        runner.run(main())


def test_a_fatal_error_lets_the_calls_in_flight_end():
    """The fatal error of one call stops the run, but the answers of the calls in flight are kept."""
    script = {0: [FatalServerError("no such key")]}
    server, seconds, error = go(range(100), concurrency=4, script=script)
    assert isinstance(error, FatalServerError)
    assert sorted(server.done) == [1, 2, 3]
    assert seconds == pytest.approx(1)


def test_after_a_fatal_error_hanging_calls_are_cancelled(monkeypatch):
    """After a fatal error, a call that hangs is cancelled at the end of the grace period."""
    monkeypatch.setattr(scheduler, "GRACE_SECONDS", 5.0)

    async def main():
        async def work(job):
            await asyncio.sleep(1 if job else 10_000)
            raise FatalServerError("no such key")

        loop = asyncio.get_running_loop()
        with pytest.raises(FatalServerError):
            await Scheduler(work, lambda job, error: None, concurrency=2).run(range(2))
        assert loop.time() == pytest.approx(1006)

    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        runner.run(main())


@pytest.mark.parametrize("where", ["jobs", "give_up", "work", "within"])
def test_no_error_is_swallowed(where):
    """`run` raises an error that occurs in the jobs, in give_up or in the work, and also if a call cancels itself."""

    def jobs():
        yield from range(5)
        if where == "jobs":
            raise ZeroDivisionError("jobs")
        yield 5

    async def work(job):
        await asyncio.sleep(1)
        if job == 4 and where == "work":
            raise ZeroDivisionError("work")
        if job == 4 and where == "within":
            raise asyncio.CancelledError
        if job == 4:
            raise broken()

    def give_up(job, error):
        raise ZeroDivisionError("give_up")

    async def main():
        loop = asyncio.get_running_loop()
        await Scheduler(work, give_up, concurrency=3, max_retries=1, clock=loop.time).run(jobs())

    expected = ServerError if where == "within" else ZeroDivisionError
    with asyncio.Runner(loop_factory=VirtualClock) as runner, pytest.raises(expected):
        runner.run(main())


def test_retries_at_the_end_are_still_made():
    """After the last new job, the workers stay until no retry waits."""
    script = {job: [busy(after=10 * (job - 89))] for job in range(90, 100)}
    server, seconds, _ = go(range(100), concurrency=50, script=script)
    assert sorted(server.done) == list(range(100))
    assert 102 <= seconds <= 105


def test_an_error_that_is_not_retryable_loses_one_job():
    """If the server refuses a request for good, its job is given up, and the other jobs are done."""
    server, _, error = go(range(6), concurrency=2, script={3: [ServerError("too long")]})
    assert error is None
    assert sorted(server.done) == [0, 1, 2, 4, 5]
    assert server.given_up == [(3, "too long")]


def test_the_run_stops_if_every_call_fails():
    """If the server refuses many jobs in a row for good, the run stops before it has tried all jobs."""
    script = {job: [ServerError("too long")] for job in range(10 * MAX_LOST_IN_A_ROW)}
    server, _, error = go(range(10 * MAX_LOST_IN_A_ROW), concurrency=1, script=script)
    assert isinstance(error, FatalServerError)
    assert len(server.given_up) == MAX_LOST_IN_A_ROW - 1


def test_single_failures_do_not_stop_the_run():
    """Only consecutive failures end a run, because each success resets the count."""
    script = {job: [ServerError("too long")] for job in range(10 * MAX_LOST_IN_A_ROW) if job % (MAX_LOST_IN_A_ROW - 1)}
    server, _, error = go(range(10 * MAX_LOST_IN_A_ROW), concurrency=1, script=script)
    assert error is None
    assert len(server.given_up) == len(script)


def test_throttled_jobs_are_retried_while_others_are_answered():
    """If a server answers one call per second and throttles the others, no job is lost and few calls are wasted."""
    answered = []

    async def main():
        loop = asyncio.get_running_loop()
        last = [0.0]

        async def work(job):
            await asyncio.sleep(0.1)
            if loop.time() - last[0] < 1:
                raise busy(after=1)
            last[0] = loop.time()
            answered.append(job)

        lost = []
        asked = Counting(work)
        await Scheduler(asked, lambda job, error: lost.append(job), concurrency=50, max_retries=3, clock=loop.time).run(
            range(120)
        )
        assert lost == []
        assert asked.times < 120 * 6
        assert loop.time() - 1000 < 120 * 2

    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        runner.run(main())
    assert sorted(answered) == list(range(120))


class Counting:
    """Counts the calls of the work."""

    def __init__(self, work):
        self.work, self.times = work, 0

    async def __call__(self, job):
        self.times += 1
        await self.work(job)


def test_full_concurrency_returns_after_throttling():
    """After a period of 429s, the concurrency grows back to the maximum."""
    script = {job: [busy(after=5)] for job in range(RECENT_CALLS)}
    server, _, _ = go(range(4000), concurrency=RECENT_CALLS, script=script)
    starts = [time for time, _ in server.calls]
    assert sum(start > starts[-1] - 2 for start in starts) > 1.5 * RECENT_CALLS


def test_a_server_that_answered_an_earlier_run():
    """A job that keeps failing is given up if the server has answered before, and otherwise it ends the run."""
    script = {0: [broken() for _ in range(20)]}
    _, _, unknown = go([0], concurrency=1, script=script, max_retries=2)
    server, _, known = go([0], concurrency=1, script=script, max_retries=2, answered=True)
    assert isinstance(unknown, FatalServerError)
    assert known is None
    assert [job for job, _ in server.given_up] == [0]


def test_an_unreachable_server_ends_the_run_even_if_it_answered_before():
    """If there is no connection, one job is enough to end the run with a hint."""
    script = {0: [RetryableError("no connection", fault="connection") for _ in range(20)]}
    _, _, error = go([0], concurrency=1, script=script, max_retries=2, answered=True)
    assert isinstance(error, FatalServerError)
    assert "running" in error.hint


def test_a_stop_because_of_an_error_is_logged_at_once(caplog):
    """That the run ends is logged while the calls in flight still run; the reason is said once, by the error."""
    script = {0: [FatalServerError("no such key")]}
    server, _, _ = go(range(3), concurrency=3, script=script)
    assert "Stopping after an error. Waiting for the calls in flight" in caplog.text
    assert "no such key" not in caplog.text
    assert len(server.calls) == 3


def test_no_worker_is_created_after_a_stop():
    """If the first call stops the run, no other worker is created and no other call is made."""
    calls = []

    async def main():
        async def work(job):
            calls.append(job)
            workers.stop()

        made = []
        loop = asyncio.get_running_loop()
        loop.set_task_factory(
            lambda loop, work, **options: made.append(work) or asyncio.Task(work, loop=loop, **options)
        )
        workers = Scheduler(work, lambda job, error: None, concurrency=50)
        await workers.run(range(100))
        assert len(made) == 1

    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        runner.run(main())
    assert calls == [0]


def test_calls_without_tokens_do_not_lower_the_expected_tokens():
    """A call that a content filter blocks uses no tokens and does not change the expected tokens of other calls."""
    spent = []

    async def main():
        loop = asyncio.get_running_loop()

        async def work(job):
            await asyncio.sleep(5)
            tokens = 1000 if job else 0
            workers.report_tokens(tokens)
            spent.append((loop.time() - 1000, tokens))

        workers = Scheduler(work, lambda job, error: None, concurrency=50, max_tpm=12_000, clock=loop.time)
        await workers.run(range(60))

    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        runner.run(main())
    assert sum(tokens for time, tokens in spent if time < 60) <= 12_000 * 1.15


def test_cancelling_a_run_is_not_logged_as_an_error(caplog):
    """If the task of a run is cancelled, as by Ctrl-C without a signal handler, nothing is logged."""

    async def cancelled():
        async def work(job):
            await asyncio.sleep(60)

        run = asyncio.create_task(Scheduler(work, lambda job, error: None, concurrency=2).run(range(9)))
        await asyncio.sleep(0.05)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(cancelled())
    assert caplog.messages == []
