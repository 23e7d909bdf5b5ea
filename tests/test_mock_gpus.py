"""The simulated GPU servers of the benchmarks: how long answers take, and how busy the slots are."""

import asyncio

import pytest

from mock_gpus import Fleet, GpuServer, Speed, tokens_of

SPEED = Speed(first=(0.1, 0.01), each=(0.02, 0.005))


def ends(fleet: Fleet[str], until: float = 1000.0) -> dict[str, float]:
    """The times at which the requests end."""
    return {job: pytest.approx(end) for job, end in fleet.ended(until)}


def test_one_request_takes_its_first_token_and_a_step_for_each_further_one():
    """Alone on a server, an answer of 11 tokens takes the time to the first token and ten steps."""
    fleet = Fleet[str](1, 4, SPEED)
    fleet.add("a", 11, 5.0)
    assert ends(fleet) == {"a": 5.0 + 0.11 + 10 * 0.025}
    assert fleet.busy(20.0) == pytest.approx(0.36)


def test_more_requests_make_each_step_longer():
    """Two requests that start together end together, and each step takes the time of a step with two."""
    fleet = Fleet[str](1, 4, Speed(first=(0.0, 0.0), each=(0.02, 0.005)))
    fleet.add("a", 11, 0.0)
    fleet.add("b", 11, 0.0)
    assert ends(fleet) == {"a": 0.3, "b": 0.3}
    assert fleet.busy(1.0) == pytest.approx(0.6)


def test_a_request_slows_down_only_while_another_one_runs():
    """A long request runs faster again when a short one beside it has ended."""
    fleet = Fleet[str](1, 4, Speed(first=(0.0, 0.0), each=(0.02, 0.005)))
    fleet.add("long", 21, 0.0)
    fleet.add("short", 11, 0.0)
    assert ends(fleet) == {"short": 0.3, "long": 0.3 + 10 * 0.025}
    assert fleet.busy(1.0) == pytest.approx(0.3 * 2 + 0.25)


def test_requests_beyond_all_slots_wait_in_their_order():
    """The third request on one server with two slots starts when the first one ends, not when somebody looks."""
    fleet = Fleet[str](1, 2, SPEED)
    for job, tokens in (("a", 5), ("b", 50), ("c", 5), ("d", 5)):
        fleet.add(job, tokens, 0.0)
    assert fleet.most_waiting == 2
    assert list(ends(fleet)) == ["a", "c", "d", "b"]


def test_a_request_goes_to_the_server_with_the_fewest_running():
    """Three servers with one slot each run three requests at once, each as fast as alone."""
    fleet = Fleet[str](3, 1, SPEED)
    for job in "abc":
        fleet.add(job, 11, 0.0)
    assert [server.running for server in fleet.servers] == [1, 1, 1]
    assert ends(fleet) == dict.fromkeys("abc", 0.36)
    assert fleet.busy(1.0) == pytest.approx(3 * 0.36)


def test_slots_are_never_counted_more_than_once():
    """However the requests come, the slots in use never add up to more than all slots all the time."""
    fleet = Fleet[int](2, 3, SPEED)
    done = []
    for number in range(60):
        now = number * 0.03
        done += fleet.ended(now)
        fleet.add(number, 1 + number % 17, now)
        assert fleet.busy(now) <= 2 * 3 * now + 1e-9
    done += fleet.ended(1e9)
    assert sorted(job for job, _ in done) == list(range(60))
    assert [end for _, end in done] == sorted(end for _, end in done)


@pytest.mark.anyio
async def test_the_server_answers_every_call_and_reports_its_tokens():
    """Calls over HTTP are answered by the fleet, and the statistics have their tokens and the seconds of the slots."""
    import httpx2

    fast = Speed(first=(0.001, 0.0), each=(0.0001, 0.0))
    async with GpuServer(Fleet(2, 2, fast), answer=lambda call: "Aye, it is.") as server:
        body = {"model": "m", "messages": [{"role": "user", "content": "Fit like?"}]}
        async with httpx2.AsyncClient() as client:
            answers = await asyncio.gather(
                *(client.post(f"{server.url}/chat/completions", json=body) for _ in range(9))
            )
        report = server.report()
    assert {answer.json()["choices"][0]["message"]["content"] for answer in answers} == {"Aye, it is."}
    assert report["kinds"] == {"ok": 9}
    assert report["tokens"] == 9 * tokens_of("Aye, it is.")
    assert report["busy_seconds"] > 0
    assert report["in_flight"] == 0
