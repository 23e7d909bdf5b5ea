"""The plan: exact buckets, spread evenly, the same for the same seed, and no larger for a million jobs."""

import dataclasses
import functools
import itertools
import tracemalloc
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.core.errors import SettingsError
from doric.dataset import prompts
from doric.dataset.plan import Mix, Plan
from doric.quality.decontamination import find_match
from doric.topics.lists import Topic, read_topics

ROOT = Path(__file__).parents[1]
LIKE_THE_REST = ("keeping bike {} clean", "why bread {} goes stale", "cheap suppers for {} folk", "how to mend gate {}")
MIXES = st.tuples(*[st.integers(0, 100)] * 4).filter(any).map(lambda parts: [part / sum(parts) for part in parts[:3]])


def topics(count):
    """So many topics of all three shapes."""
    return [Topic(LIKE_THE_REST[at % 4].format(at), f"group {at % 5}") for at in range(count)]


@functools.cache
def ours(n_per_topic):
    """The jobs of a plan over the project's own topics."""
    return tuple(Plan(read_topics(ROOT / "topics.json"), Mix(n_per_topic)))


def by_topic(jobs):
    """Topic -> its jobs, in order."""
    found = defaultdict(list)
    for job in jobs:
        found[job.topic.text].append(job)
    return found


@given(st.integers(1, 60), st.integers(1, 30), MIXES, st.integers(-(2**70), 2**70))
def test_buckets_are_exact_and_what_the_plan_says_of_itself(count, n_per_topic, shares, seed):
    """Each bucket holds its share of the whole plan to within one row, and `counts` and `len` tell the truth."""
    adv, safety, multi = shares
    plan = Plan(topics(count), Mix(n_per_topic, adv, safety, multi), seed=seed)
    made = Counter(job.kind for job in plan)
    assert len(plan) == count * n_per_topic == sum(made.values())
    assert {kind: made[kind] for kind in prompts.KINDS} == plan.counts
    for kind, share in {"adv": adv, "safety": safety, "multi": multi, "core": 1 - sum(shares)}.items():
        assert abs(made[kind] - share * len(plan)) <= 1 + 1e-6


@given(st.integers(1, 60), st.integers(1, 30), MIXES, st.integers())
def test_every_topic_gets_its_rows_and_every_job_its_own_id(count, n_per_topic, shares, seed):
    """No topic is short of a row, and no two jobs share an id."""
    plan = Plan(topics(count), Mix(n_per_topic, *shares), seed=seed)
    jobs = list(plan)
    assert len({job.id for job in jobs}) == len(jobs)
    assert set(Counter(job.topic.text for job in jobs).values()) == {n_per_topic}
    assert [(job.place, job.slot) for job in jobs[:count]] == [(place, 0) for place in range(count)]


@pytest.mark.parametrize("n_per_topic", [1, 3, 6, 24])
def test_each_bucket_is_spread_over_the_topics(n_per_topic):
    """Over the project's own topics, no topic has two rows more or less of a bucket than its share."""
    made = by_topic(ours(n_per_topic))
    for kind, share in {"core": 0.65, "adv": 0.1, "safety": 0.05, "multi": 0.2}.items():
        for jobs in made.values():
            assert abs(sum(job.kind == kind for job in jobs) - share * n_per_topic) < 2


def test_each_bucket_is_spread_over_the_groups():
    """Every group of topics gets its share of every bucket to within two rows in a hundred."""
    made = defaultdict(Counter)
    for job in ours(24):
        made[job.topic.group][job.kind] += 1
    for counts in made.values():
        for kind, share in {"core": 0.65, "adv": 0.1, "safety": 0.05, "multi": 0.2}.items():
            assert abs(counts[kind] / counts.total() - share) < 0.02


@given(st.integers(1, 40), st.integers(1, 40), MIXES, st.integers())
def test_no_prompt_comes_twice_in_a_topic_while_frames_last(count, n_per_topic, shares, seed):
    """Up to forty rows a topic, no topic is asked about twice in the same words."""
    for jobs in by_topic(Plan(topics(count), Mix(n_per_topic, *shares), seed=seed)).values():
        texts = [job.prompt.text for job in jobs]
        assert len(set(texts)) == len(texts)


def test_no_core_frame_comes_twice_in_a_topic_while_frames_last():
    """Each core frame is used once for a topic before any is used again with a sentence behind it."""
    topic = topics(1)
    frames = len(prompts._frames("core", prompts.shape(topic[0].text)))
    texts = [job.prompt.text for job in Plan(topic, Mix(frames + 1, 0, 0, 0))]
    whole = set(texts[:-1])
    assert len(whole) == frames
    assert texts[-1] not in whole
    assert any(texts[-1].startswith(text + " ") for text in whole)


@pytest.mark.parametrize("n_per_topic", [6, 24])
def test_nobody_asks_twice_in_the_same_words(n_per_topic):
    """In a plan over our own topics, only harmful asks, which name no topic, come in the same words more than once."""
    texts = Counter(job.prompt.text for job in ours(n_per_topic) if job.kind != "safety")
    assert texts.most_common(1)[0][1] == 1
    harmful = Counter(job.prompt.text for job in ours(n_per_topic) if job.kind == "safety")
    assert max(harmful.values()) <= -(-harmful.total() // 120)


@pytest.mark.parametrize("n_per_topic", [6, 24])
def test_no_prompt_of_the_default_plan_is_held_out(n_per_topic):
    """What the plan over our own topics asks matches no held-out prompt."""
    assert [job.prompt.text for job in ours(n_per_topic) if find_match(job.prompt.text)] == []


@given(st.integers(1, 40), st.integers(1, 30), st.lists(st.sampled_from(prompts.languages())), st.integers())
def test_languages_are_even(count, n_per_topic, langs, seed):
    """The languages asked for, named twice or not, have as many rows as each other, give or take one."""
    plan = Plan(topics(count), Mix(n_per_topic, 0, 0, 0.5), langs=langs, seed=seed)
    made = Counter(job.prompt.lang for job in plan if job.kind == "multi")
    wanted = set(langs) or set(prompts.languages())
    assert set(made) <= wanted
    assert max(made.values(), default=0) - min(made[lang] for lang in wanted) <= 1


def test_same_seed_same_plan_another_seed_another():
    """A plan is a function of topics, mix, languages and seed."""
    one, again, other = (list(Plan(topics(30), Mix(6), seed=seed)) for seed in (5, 5, 6))
    assert one == again
    assert {job.id for job in one}.isdisjoint(job.id for job in other)
    moved = sum(a.kind != b.kind for a, b in zip(one, other, strict=True))
    assert moved > len(one) // 5


def test_any_job_can_be_worked_out_alone():
    """`job(number)` is what iteration gives at that place."""
    plan = Plan(topics(7), Mix(9))
    assert [plan.job(number) for number in reversed(range(len(plan)))] == list(plan)[::-1]


FINGERPRINTS = {
    "seed": lambda: Plan(topics(4), Mix(6), seed=1),
    "n_per_topic": lambda: Plan(topics(4), Mix(7)),
    "adv_ratio": lambda: Plan(topics(4), Mix(6, 0.2)),
    "safety_ratio": lambda: Plan(topics(4), Mix(6, safety=0.2)),
    "multi_ratio": lambda: Plan(topics(4), Mix(6, multi=0.3)),
    "langs": lambda: Plan(topics(4), Mix(6), langs=["es"]),
    "topics": lambda: Plan(topics(4)[::-1], Mix(6)),
    "topic_count": lambda: Plan(topics(3), Mix(8)),
}


@pytest.mark.parametrize("key", FINGERPRINTS)
def test_fingerprint_tells_plans_apart(key):
    """Whatever changes the rows of a plan changes its fingerprint, under the key that says what."""
    plain, changed = Plan(topics(4), Mix(6)).fingerprint(), FINGERPRINTS[key]().fingerprint()
    assert plain == Plan(topics(4), Mix(6)).fingerprint()
    assert plain[key] != changed[key]


def test_fingerprint_tells_other_wording_apart(monkeypatch):
    """When the prompts are worded otherwise, it is another plan."""
    plain = Plan(topics(4), Mix(6)).fingerprint()
    monkeypatch.setattr(prompts, "_filled", lambda text, topic: f"{text} {topic}")
    assert Plan(topics(4), Mix(6)).fingerprint()["prompts"] != plain["prompts"]


def peak(n_per_topic):
    """The most memory, in bytes, that a plan takes while its ends, its figures and a thousand jobs are worked out."""
    few = topics(10)
    tracemalloc.start()
    try:
        plan = Plan(few, Mix(n_per_topic))
        plan.fingerprint()
        assert sum(plan.counts.values()) == len(plan) == 10 * n_per_topic
        for job in itertools.islice(plan, 1_000):
            assert job.id
        for number in range(0, len(plan), max(1, len(plan) // 1_000)):
            plan.job(number)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_million_jobs_take_no_more_memory_than_a_thousand():
    """What a plan holds does not depend on how many jobs it has."""
    peak(100)  # the caches of the data files fill here
    small, large = peak(100), peak(100_000)
    assert large < small + 64_000


WRONG = {
    "no rows": ({"n_per_topic": 0}, "--n-per-topic is 0"),
    "fewer than none": ({"n_per_topic": -3}, "--n-per-topic is -3"),
    "a negative share": ({"adv": -0.1}, "--adv-ratio is -0.1"),
    "a share above one": ({"multi": 1.5}, "--multi-ratio is 1.5"),
    "no number": ({"safety": float("nan")}, "--safety-ratio is nan"),
    "shares above one together": ({"adv": 0.5, "safety": 0.3, "multi": 0.3}, "the ratios sum to 1.1, more than 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_impossible_mixes_are_refused(case):
    """Counts below one and shares that are none, or too many, are named by their flag."""
    settings, said = WRONG[case]
    with pytest.raises(SettingsError, match=said):
        dataclasses.replace(Mix(), **settings)


def test_shares_may_fill_the_plan():
    """Shares that reach one together, rounding or not, leave no core rows and lose none."""
    plan = Plan(topics(11), Mix(3, 0.7, 0.2, 0.1))
    assert plan.counts == {"core": 0, "adv": 23, "safety": 7, "multi": 3}
    assert Plan(topics(3), Mix(1, 1.0, 0, 0)).counts["adv"] == 3


def test_unknown_languages_are_refused():
    """A language without prompts is named, with those that have some."""
    with pytest.raises(SettingsError, match="--langs: no prompts in xx") as caught:
        Plan(topics(2), Mix(2), langs=["es", "xx"])
    assert "es" in caught.value.hint


@given(st.integers(1, 300), st.integers(0, 2**33), st.data())
def test_visits_are_counted_without_going_through_them(size, start, data):
    """`visits_between` gives the number that counting one by one gives."""
    count = data.draw(st.integers(0, size))
    low, high = sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size))))
    counted = sum(low <= prompts.visit(size, number, start) < high for number in range(count))
    assert prompts.visits_between(size, count, low, high, start) == counted
