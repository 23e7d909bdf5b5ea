"""The worker pool, in a time of its own: sleeping costs nothing, and every figure is exact."""

import asyncio
import random
import selectors
from itertools import count, pairwise

import pytest

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.llm import scheduler
from doric.llm.rate_limits import FIRST_BACKOFF, MAX_BACKOFF, RECENT_CALLS
from doric.llm.scheduler import MAX_LOST_IN_A_ROW, MAX_WAITING_RETRIES, Scheduler


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer instead of passing."""

    def __init__(self):
        class Selector(selectors.DefaultSelector):
            def select(self, timeout=None):
                loop.now += timeout or 0
                return super().select(0)

        loop = self
        self.now = 1000.0
        super().__init__(Selector())

    def time(self):
        return self.now


class Server:
    """Work for a pool: takes `seconds` a job, notes who came when, and does to a call what `script` says."""

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
        """The times at which a job was called."""
        return [time for time, called in self.calls if called == job]


def busy(after=None):
    """A 429."""
    return RetryableError("too many requests", fault="429", after=after, throttled=True)


def broken():
    """A 500."""
    return RetryableError("internal error", fault="500")


def go(jobs, *, concurrency=4, seconds=1.0, script=None, also=None, **options):
    """Run a pool over jobs to its end; the server, the seconds it took, and the error it raised."""
    with asyncio.Runner(loop_factory=Clock) as runner:
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


def test_every_job_is_done_once_and_no_more_at_a_time_than_allowed():
    """Ten jobs of a second each, four at a time, take three seconds."""
    server, seconds, error = go(range(10))
    assert (sorted(server.done), server.most_busy, error) == (list(range(10)), 4, None)
    assert seconds == pytest.approx(3)


@pytest.mark.parametrize("concurrency", [1, 64])
def test_work_that_never_waits_is_done_in_order(concurrency):
    """However many workers there are, jobs that need no waiting end in the order in which they came."""
    server, _, _ = go(range(1000), concurrency=concurrency, seconds=0)
    assert server.done == list(range(1000))


def test_a_worker_whose_call_has_ended_begins_its_next_before_another_goes_on():
    """However long it takes to judge the answers that came together, no next call waits until all are judged."""
    events = []

    async def main():
        loop = asyncio.get_running_loop()

        async def work(job):
            events.append("asked")
            await asyncio.sleep(1)
            loop.now += 0.3  # judging
            events.append("judged")

        await Scheduler(work, lambda job, error: None, concurrency=4, clock=loop.time).run(range(8))

    with asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(main())
    assert events == ["asked"] * 4 + ["judged", "asked"] * 4 + ["judged"] * 4


def test_the_first_call_leaves_before_the_last_worker_begins():
    """Many workers that must all connect first do not keep each other's calls waiting."""
    events = []

    async def main():
        async def work(job):
            events.append("connects")
            await asyncio.sleep(0)
            events.append("sends")
            await asyncio.sleep(1)

        await Scheduler(work, lambda job, error: None, concurrency=10).run(range(10))

    with asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(main())
    assert events.index("sends") < 5


def test_jobs_are_taken_one_at_a_time():
    """No job is taken before a worker is free for it."""
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


def test_no_jobs_is_no_work():
    """An empty plan ends at once."""
    server, seconds, error = go([])
    assert (server.calls, seconds, error) == ([], 0, None)


def test_waiting_retry_holds_no_worker():
    """With one worker, a job that has to wait ten seconds lets the others pass, and is then done first."""
    server, _, _ = go(range(20), concurrency=1, script={0: [busy(after=10)]})
    assert server.done[:9] == list(range(1, 10))
    assert server.done.index(0) in (10, 11)
    assert len(server.done) == 20


def test_server_names_the_wait():
    """A retry comes no earlier than the server asked, and little later, each by an amount of its own."""
    server, _, _ = go(range(20), concurrency=20, script={job: [busy(after=30)] for job in range(20)})
    waits = [server.when(job)[1] - 1 for job in range(20)]
    assert all(30 <= wait <= 31 for wait in waits)
    assert len(set(waits)) == 20


def test_backoff_grows_and_is_drawn_by_seed():
    """Without a wait named, waits are drawn below a bound that doubles, the same for the same seed."""
    script = {"a": [broken() for _ in range(8)], "b": []}

    def waits(seed):
        called = go(["b", "a"], concurrency=2, seconds=0, script=script, seed=seed)[0].when("a")
        return [later - earlier for earlier, later in pairwise(called)]

    assert all(wait <= FIRST_BACKOFF * 2**tries + 1e-6 for tries, wait in enumerate(waits(1)))
    assert max(max(waits(seed)) for seed in range(20)) > 16
    assert waits(1) == waits(1) != waits(2)


def test_no_wait_is_longer_than_the_longest():
    """After ever so many tries the bound stays, and nothing overflows."""
    script = {"a": [broken() for _ in range(1200)]}
    server, _, _ = go(["b", "a"], concurrency=2, seconds=0, script=script, max_retries=2000)
    called = server.when("a")
    assert max(later - earlier for earlier, later in pairwise(called)) <= MAX_BACKOFF + 1e-6
    assert "a" in server.done


def test_one_throttled_call_in_twenty_slows_nobody_else():
    """Random 429s cost their own jobs a wait, and the whole little more than nothing."""
    draw = random.Random(1)
    script = {job: [busy(after=1)] for job in range(2000) if draw.random() < 0.05}
    server, seconds, _ = go(range(2000), concurrency=50, seconds=0.2, script=script)
    ideal = len(server.calls) / 50 * 0.2
    assert len(server.done) == 2000
    assert seconds < ideal * 1.2 + 1.1


def test_pool_slows_down_when_most_calls_are_throttled():
    """Once most recent calls are 429s nobody calls until the wait is over, and then not all in one instant."""
    script = {job: [busy(after=20)] for job in range(RECENT_CALLS)}
    server, _, _ = go(range(400), concurrency=RECENT_CALLS, script=script)
    assert not [time for time, _ in server.calls if 2.1 < time < 20]
    resumed = sorted({round(time, 3) for time, _ in server.calls if time > 20})
    assert len(resumed) > RECENT_CALLS
    assert len(server.done) == 400


def test_calls_a_minute_are_bounded():
    """With 60 calls a minute, calls start a second apart from the first on, whatever the number of workers."""
    server, _, _ = go(range(30), concurrency=10, seconds=0.1, max_rpm=60)
    times = [time for time, _ in server.calls]
    assert all(later - earlier >= 0.999 for earlier, later in pairwise(times))
    assert times[-1] < 29.5


def test_further_calls_of_a_job_count_too():
    """Work that makes three calls a job awaits its turn for each, and all are counted."""
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

    with asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(main())
    assert len(times) == 30
    assert all(later - earlier >= 0.999 for earlier, later in pairwise(times))


@pytest.mark.parametrize("tokens", [100, 1000, 4000])
def test_tokens_a_minute_are_bounded(tokens):
    """Whatever a call costs, no minute after the first calls sees more tokens than allowed, and not much less."""
    spent = []

    async def main():
        loop = asyncio.get_running_loop()

        async def work(job):
            await asyncio.sleep(5)
            workers.report_tokens(tokens)
            spent.append(loop.time() - 1000)

        workers = Scheduler(work, lambda job, error: None, concurrency=20, max_tpm=60_000, clock=loop.time)
        await workers.run(range(60_000 * 6 // tokens))

    with asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(main())
    minutes = [
        sum(start <= time < start + 60 for time in spent) * tokens for start in range(60, int(max(spent)) - 60, 10)
    ]
    assert max(minutes) <= 60_000 * 1.15
    assert min(minutes[6:]) >= 0.8 * min(60_000, 20 * 12 * tokens)  # the second minute pays for a guess that was low


@pytest.mark.parametrize("guess", [1000, 6000])
@pytest.mark.parametrize("failing", [False, True], ids=["answered", "half throttled"])
def test_the_first_minute_is_bounded_too(failing, guess):
    """Whatever the first guess, no minute sees more than its tokens; a call that came to nothing counts for none."""
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

    with asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(main())
    minutes = [5000 * sum(start <= time < start + 60 for time in spent) for start in (0, 60, 120)]
    assert max(minutes) <= 300_000 * 1.1
    assert min(minutes) >= 300_000 * 0.6


def test_a_pause_of_the_whole_pool_is_told_once(caplog):
    """When all wait because the server throttles, one line says for how long."""
    caplog.set_level("INFO")
    go(range(400), concurrency=RECENT_CALLS, script={job: [busy(after=20)] for job in range(RECENT_CALLS)})
    assert caplog.text.count("The server is throttling: all calls pause for") == 1


def test_job_is_given_up_after_its_retries():
    """A job that keeps failing while others succeed is told to give_up once, with what was wrong."""
    script = {3: [broken() for _ in range(99)]}
    server, _, error = go(range(10), script=script, max_retries=5)
    assert len(server.when(3)) == 6
    assert server.given_up == [(3, "internal error")]
    assert (len(server.done), error) == (9, None)


def test_server_that_never_answers_ends_the_run():
    """When no call has ever succeeded, the first job out of retries ends the run with a hint."""
    script = {job: [broken() for _ in range(9)] for job in range(2000)}
    server, _, error = go(range(2000), script=script, max_retries=3)
    assert isinstance(error, FatalServerError)
    assert error.message == "internal error, 4 times and never an answer"
    assert "running and reachable" in error.hint
    assert server.given_up == []


def test_server_that_goes_away_ends_the_run():
    """When job after job is given up and nothing is answered in between, the run ends; nothing burns the whole plan."""
    script = {job: [broken() for _ in range(9)] for job in range(100, 2000)}
    server, _, error = go(range(2000), script=script, max_retries=2)
    assert isinstance(error, FatalServerError)
    assert len(server.given_up) == MAX_LOST_IN_A_ROW - 1
    assert len(server.done) == 100


def test_server_that_is_down_does_not_fill_the_memory():
    """While every call fails, only so many jobs are taken, however long it lasts."""
    script = {job: [broken() for _ in range(9)] for job in range(2000)}
    server, _, _ = go(range(2000), concurrency=4, seconds=0, script=script, max_retries=6)
    assert len({job for _, job in server.calls}) <= (MAX_WAITING_RETRIES + 1) * 4 + 4


def test_stop_ends_what_is_in_flight_and_takes_no_more():
    """After stop the calls in flight end well, no job is taken, and no retry is made."""

    def stopper(workers, server):
        async def after_a_while():
            await asyncio.sleep(2.5)
            workers.stop()

        return [after_a_while()]

    server, seconds, error = go(range(100), script={0: [busy(after=60)]}, also=stopper)
    assert (len(server.calls), len(server.done), error) == (12, 11, None)
    assert seconds == pytest.approx(3)


def test_cancel_breaks_off_what_is_in_flight():
    """After cancel the run ends at once."""

    def canceller(workers, server):
        async def after_a_while():
            await asyncio.sleep(2.5)
            workers.cancel()

        return [after_a_while()]

    server, seconds, error = go(range(100), also=canceller)
    assert (len(server.calls), len(server.done), server.busy, error) == (12, 8, 0, None)
    assert seconds == pytest.approx(2.5)


def test_cancelling_the_run_waits_for_its_calls_to_break_off():
    """When the task that runs the pool is cancelled, no call is left behind."""
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

    with asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(main())


def test_fatal_error_lets_the_calls_in_flight_end():
    """One call's fatal error stops the run, but what is being answered is still taken."""
    script = {0: [FatalServerError("no such key")]}
    server, seconds, error = go(range(100), concurrency=4, script=script)
    assert isinstance(error, FatalServerError)
    assert sorted(server.done) == [1, 2, 3]
    assert seconds == pytest.approx(1)


def test_fatal_error_does_not_wait_for_ever(monkeypatch):
    """A call that hangs after a fatal error is broken off when its grace is over."""
    monkeypatch.setattr(scheduler, "GRACE_SECONDS", 5.0)

    async def main():
        async def work(job):
            await asyncio.sleep(1 if job else 10_000)
            raise FatalServerError("no such key")

        loop = asyncio.get_running_loop()
        with pytest.raises(FatalServerError):
            await Scheduler(work, lambda job, error: None, concurrency=2).run(range(2))
        assert loop.time() == pytest.approx(1006)

    with asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(main())


@pytest.mark.parametrize("where", ["jobs", "give_up", "work", "within"])
def test_no_error_is_swallowed(where):
    """An error of the plan, of give_up, of the work, or a call that cancels itself: run raises it, nothing hangs."""

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
    with asyncio.Runner(loop_factory=Clock) as runner, pytest.raises(expected):
        runner.run(main())


def test_retries_at_the_end_are_still_made():
    """When the jobs have run out, workers stay as long as retries wait, and no longer."""
    script = {job: [busy(after=10 * (job - 89))] for job in range(90, 100)}
    server, seconds, _ = go(range(100), concurrency=50, script=script)
    assert sorted(server.done) == list(range(100))
    assert 102 <= seconds <= 105


def test_a_call_that_is_lost_for_good_costs_one_job():
    """A request that fails for good gives up its own job, and the others are done."""
    server, _, error = go(range(6), concurrency=2, script={3: [ServerError("too long")]})
    assert error is None
    assert sorted(server.done) == [0, 1, 2, 4, 5]
    assert server.given_up == [(3, "too long")]


def test_when_every_call_is_lost_the_run_stops():
    """Where one job after the other fails for good, the run ends instead of going through them all."""
    script = {job: [ServerError("too long")] for job in range(10 * MAX_LOST_IN_A_ROW)}
    server, _, error = go(range(10 * MAX_LOST_IN_A_ROW), concurrency=1, script=script)
    assert isinstance(error, FatalServerError)
    assert len(server.given_up) == MAX_LOST_IN_A_ROW - 1


def test_calls_lost_here_and_there_do_not_stop_the_run():
    """Only jobs lost one after the other end a run: one that is done in between, and the count begins anew."""
    script = {job: [ServerError("too long")] for job in range(10 * MAX_LOST_IN_A_ROW) if job % (MAX_LOST_IN_A_ROW - 1)}
    server, _, error = go(range(10 * MAX_LOST_IN_A_ROW), concurrency=1, script=script)
    assert error is None
    assert len(server.given_up) == len(script)


def test_who_is_throttled_while_others_are_answered_waits_in_a_queue():
    """A server that answers one call a second, and refuses the others, loses no job and is not asked for nothing."""
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

    with asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(main())
    assert sorted(answered) == list(range(120))


class Counting:
    """Work that counts how often it is called."""

    def __init__(self, work):
        self.work, self.times = work, 0

    async def __call__(self, job):
        self.times += 1
        await self.work(job)


def test_a_pool_that_was_slowed_down_is_as_fast_again():
    """After a spell of 429s the calls at a time grow back to all that are allowed."""
    script = {job: [busy(after=5)] for job in range(RECENT_CALLS)}
    server, _, _ = go(range(4000), concurrency=RECENT_CALLS, script=script)
    starts = [time for time, _ in server.calls]
    assert sum(start > starts[-1] - 2 for start in starts) > 1.5 * RECENT_CALLS


def test_a_server_that_answered_an_earlier_run_is_there():
    """One job that fails again and again is lost alone where the server is known, and ends a run where it is not."""
    script = {0: [broken() for _ in range(20)]}
    _, _, unknown = go([0], concurrency=1, script=script, max_retries=2)
    server, _, known = go([0], concurrency=1, script=script, max_retries=2, answered=True)
    assert isinstance(unknown, FatalServerError)
    assert known is None
    assert [job for job, _ in server.given_up] == [0]


def test_a_server_that_cannot_be_reached_ends_the_run_though_it_answered_before():
    """Where nobody answers any more, one job is enough to tell, and the user is asked whether the server runs."""
    script = {0: [RetryableError("no connection", fault="connection") for _ in range(20)]}
    _, _, error = go([0], concurrency=1, script=script, max_retries=2, answered=True)
    assert isinstance(error, FatalServerError)
    assert "running" in error.hint


def test_what_has_to_stop_is_said_at_once(caplog):
    """While calls in flight are awaited, the reason stands on the screen already."""
    script = {0: [FatalServerError("no such key")]}
    server, _, _ = go(range(3), concurrency=3, script=script)
    assert "Stopping: no such key. Waiting for the calls in flight" in caplog.text
    assert len(server.calls) == 3


def test_a_stop_while_workers_are_still_being_made_makes_no_more():
    """Told to stop by its first call, the pool makes no further worker and no further call."""
    calls = []

    async def main():
        async def work(job):
            calls.append(job)
            workers.stop()

        workers = Scheduler(work, lambda job, error: None, concurrency=50)
        await workers.run(range(100))
        assert len(workers._workers) == 1

    with asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(main())
    assert calls == [0]


def test_a_call_without_tokens_tells_nothing_of_the_others():
    """What a filter withheld cost nothing: the next calls are still bounded by what a call is taken to cost."""
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

    with asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(main())
    assert sum(tokens for time, tokens in spent if time < 60) <= 12_000 * 1.15
