"""The intervals of shares, means and changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.evaluation import stats
from doric.evaluation.stats import Interval


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_a_share_contains_it_and_stays_within_bounds(case):
    """A Wilson interval contains the share, stays within 0 to 1, and is never empty."""
    hits, n = case
    found = stats.share(hits, n)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


@pytest.mark.parametrize(("hits", "n", "low", "high"), [(81, 263, 0.2553, 0.3662), (1, 29, 0.0061, 0.1718)])
def test_the_interval_of_a_share_equals_published_values(hits, n, low, high):
    """The intervals equal those of Newcombe (1998), method 3."""
    found = stats.share(hits, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [((36, 12, 2, 0), 0.0569, 0.3404), ((54, 0, 0, 0), -0.0664, 0.0664)],
)
def test_the_interval_of_a_paired_change_equals_published_values(cells, low, high):
    """The intervals equal those of Newcombe (1998), method 10, for paired shares."""
    kinds = ((True, True), (True, False), (False, True), (False, False))
    pairs = [kind for kind, count in zip(kinds, cells, strict=True) for _ in range(count)]
    after, before = zip(*pairs, strict=True)
    found = stats.share_change(after, before, range(len(pairs)))
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_a_change_from_none_to_all_has_an_interval_with_a_width():
    """A change from none of twelve to twelve of twelve is large, but its interval is not only one value."""
    found = stats.share_change([True] * 12, [False] * 12, range(12))
    assert found.value == found.high == 1
    assert 0.5 < found.low < 0.8


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 9)), min_size=1, max_size=60))
def test_the_interval_of_a_change_contains_it_and_stays_within_bounds(cases):
    """For any grouping of the pairs, the interval contains the change and stays within -1 to 1."""
    after, before, groups = zip(*cases, strict=True)
    found = stats.share_change(after, before, groups)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


def test_turns_that_are_alike_within_a_conversation_count_as_one_case():
    """Ten groups of six equal cases count like ten cases, and different cases in a group narrow the interval."""
    groups = [group for group in range(10) for _ in range(6)]
    alike = stats.grouped_share([group < 5 for group in groups], groups)
    unlike = stats.grouped_share([number % 2 == 0 for number in range(60)], groups)
    ten = stats.share(5, 10)
    assert (alike.value, alike.n) == (0.5, 60)
    assert alike.high - alike.low > 0.9 * (ten.high - ten.low)
    assert (unlike.low, unlike.high) == (stats.share(30, 60).low, stats.share(30, 60).high)
    all_hits = stats.grouped_share([True] * 60, groups)
    assert all_hits.low == stats.share(10, 10).low


def test_the_bootstrap_resamples_whole_groups():
    """Six equal cases in a group count as one case, and there is no interval for fewer than five groups."""
    values = [0.0, 1.0, 1.0, 0.5, 0.2, 0.9]
    sixfold = stats.mean([value for value in values for _ in range(6)], [at for at in range(6) for _ in range(6)])
    single = stats.mean(values)
    assert (sixfold.low, sixfold.high) == pytest.approx((single.low, single.high))
    assert stats.mean([1.0] * 40, [at % 4 for at in range(40)]) == Interval(1.0, None, None, 40)


def test_the_bootstrap_is_repeatable_and_contains_the_mean():
    """The same values give the same interval, which contains the mean and becomes narrower with more cases."""
    values = [0.0, 1.0, 1.0, 0.5] * 10
    found, again = stats.mean(values), stats.mean(values)
    assert found == again
    assert found.low < found.value < found.high
    wider, narrower = stats.mean(values[:8]), stats.mean(values * 10)
    assert narrower.high - narrower.low < wider.high - wider.low
    assert stats.mean([3.0]) == Interval(3.0, None, None, 1)
