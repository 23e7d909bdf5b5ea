"""The wait before another try: how it grows, where it ends, and what a server's own word does to it."""

import random

import pytest

from doric.llm.rate_limits import FIRST_BACKOFF, MAX_BACKOFF, backoff


def waits(tries: int, after: float | None) -> list[float]:
    """Many waits of one kind."""
    draw = random.Random(0)
    return [backoff(tries, after, draw) for _ in range(500)]


@pytest.mark.parametrize(("tries", "bound"), [(0, FIRST_BACKOFF), (1, 1.0), (4, 8.0), (7, MAX_BACKOFF), (10_000, 60.0)])
def test_the_bound_doubles_up_to_a_minute(tries, bound):
    """Waits are drawn from the whole time up to a bound, which doubles with each try and stops at a minute."""
    found = waits(tries, None)
    assert max(found) <= bound
    assert max(found) > 0.9 * bound
    assert min(found) < 0.1 * bound


def test_a_servers_word_is_kept_to():
    """Nobody comes back before the server said, and hardly later, but not all in the same instant."""
    found = waits(0, 20.0)
    assert min(found) >= 20
    assert max(found) < 21
    assert len(set(found)) > 400


@pytest.mark.parametrize(("tries", "least"), [(0, 0.25), (3, 2.0), (20, MAX_BACKOFF / 2)])
def test_at_once_is_not_at_once_for_ever(tries, least):
    """A server that says "at once" is asked later and later all the same."""
    assert min(waits(tries, 0.0)) >= least


def test_one_seed_one_wait():
    """The same draw gives the same waits."""
    assert waits(3, None) == waits(3, None)
