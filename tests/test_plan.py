"""The plan of a dataset: exact and evenly spread buckets, the same jobs for the same seed, and constant memory."""

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
from doric.dataset import asks, prompts, spread
from doric.dataset.plan import Mix, Plan
from doric.quality.decontamination import find_match
from doric.topics.lists import Topic, read_topics

ROOT = Path(__file__).parents[1]
LIKE_THE_REST = ("keeping bike {} clean", "why bread {} goes stale", "cheap suppers for {} folk", "how to mend gate {}")
MIXES = st.tuples(*[st.integers(0, 100)] * 4).filter(any).map(lambda parts: [part / sum(parts) for part in parts[:3]])


def make_topics(count):
    """A list of `count` topics of all three shapes."""
    return [Topic(LIKE_THE_REST[at % 4].format(at), f"group {at % 5}") for at in range(count)]


@functools.cache
def our_jobs(n_per_topic):
    """The jobs of a plan over the topics of the project."""
    return tuple(Plan(read_topics(ROOT / "topics.json"), Mix(n_per_topic)))


def jobs_by_topic(jobs):
    """Topic -> the jobs of the topic, in order."""
    found = defaultdict(list)
    for job in jobs:
        found[job.topic.text].append(job)
    return found


@given(st.integers(1, 60), st.integers(1, 30), MIXES, st.integers(-(2**70), 2**70))
def test_buckets_have_their_exact_share(count, n_per_topic, shares, seed):
    """The size of each bucket differs from its share by at most one row, and `counts` and `len` are right."""
    adv, safety, multi = shares
    plan = Plan(make_topics(count), Mix(n_per_topic, adv, safety, multi), seed=seed)
    made = Counter(job.kind for job in plan)
    assert len(plan) == count * n_per_topic == sum(made.values())
    assert {kind: made[kind] for kind in prompts.KINDS} == plan.counts
    for kind, share in {"adv": adv, "safety": safety, "multi": multi, "core": 1 - sum(shares)}.items():
        assert abs(made[kind] - share * len(plan)) <= 1 + 1e-6


@given(st.integers(1, 60), st.integers(1, 30), MIXES, st.integers())
def test_every_topic_gets_its_rows_and_every_job_its_own_id(count, n_per_topic, shares, seed):
    """Every topic has a row, and no two jobs have the same id."""
    plan = Plan(make_topics(count), Mix(n_per_topic, *shares), seed=seed)
    jobs = list(plan)
    assert len({job.id for job in jobs}) == len(jobs)
    assert set(Counter(job.topic.text for job in jobs).values()) == {n_per_topic}
    assert [(job.place, job.slot) for job in jobs[:count]] == [(place, 0) for place in range(count)]


@pytest.mark.parametrize("n_per_topic", [1, 3, 6, 24])
def test_each_bucket_is_spread_over_the_topics(n_per_topic):
    """In each bucket, the rows of each topic of the project differ from the topic's share by at most two."""
    made = jobs_by_topic(our_jobs(n_per_topic))
    for kind, share in {"core": 0.65, "adv": 0.1, "safety": 0.05, "multi": 0.2}.items():
        for jobs in made.values():
            assert abs(sum(job.kind == kind for job in jobs) - share * n_per_topic) < 2


def test_each_bucket_is_spread_over_the_groups():
    """In each group of topics, a bucket's share differs from the planned share by at most two percentage points."""
    made = defaultdict(Counter)
    for job in our_jobs(24):
        made[job.topic.group][job.kind] += 1
    for counts in made.values():
        for kind, share in {"core": 0.65, "adv": 0.1, "safety": 0.05, "multi": 0.2}.items():
            assert abs(counts[kind] / counts.total() - share) < 0.02


@given(st.integers(1, 40), st.integers(1, 40), MIXES, st.integers())
def test_no_prompt_is_repeated_within_a_topic(count, n_per_topic, shares, seed):
    """With up to 40 rows per topic, all prompts of a topic are different."""
    for jobs in jobs_by_topic(Plan(make_topics(count), Mix(n_per_topic, *shares), seed=seed)).values():
        texts = [job.prompt.text for job in jobs]
        assert len(set(texts)) == len(texts)


def test_no_core_frame_is_repeated_before_all_are_used():
    """If a frame is used again, its prompt has an extra sentence."""
    topic = make_topics(1)
    frames = len(prompts._frames("core", prompts.shape(topic[0].text)))
    texts = [job.prompt.text for job in Plan(topic, Mix(frames + 1, 0, 0, 0, {}))]
    whole = set(texts[:-1])
    assert len(whole) == frames
    assert texts[-1] not in whole
    assert any(texts[-1].startswith(text + " ") for text in whole)


@pytest.mark.parametrize("n_per_topic", [6, 24])
def test_only_prompts_without_a_topic_are_repeated_in_a_plan(n_per_topic):
    """Harmful requests, greetings and the like do not name a topic; every other prompt of the plan is unique."""
    texts = Counter(job.prompt.text for job in our_jobs(n_per_topic) if job.about == job.topic.text)
    assert texts.most_common(1)[0][1] == 1
    harmful = Counter(job.prompt.text for job in our_jobs(n_per_topic) if job.kind == "safety")
    assert max(harmful.values()) <= -(-harmful.total() // 120)


@pytest.mark.parametrize("n_per_topic", [6, 24])
def test_no_prompt_of_the_default_plan_is_held_out(n_per_topic):
    """No prompt about a topic of the project matches an evaluation prompt."""
    assert [job.prompt.text for job in our_jobs(n_per_topic) if find_match(job.prompt.text)] == []


@given(st.integers(1, 40), st.integers(1, 30), st.lists(st.sampled_from(prompts.languages())), st.integers())
def test_languages_are_even(count, n_per_topic, langs, seed):
    """The numbers of rows of the chosen languages differ by at most one, even if a language is named twice."""
    plan = Plan(make_topics(count), Mix(n_per_topic, 0, 0, 0.5), langs=langs, seed=seed)
    made = Counter(job.prompt.lang for job in plan if job.kind == "multi")
    wanted = set(langs) or set(prompts.languages())
    assert set(made) <= wanted
    assert max(made.values(), default=0) - min(made[lang] for lang in wanted) <= 1


ASK_SHARES = st.dictionaries(st.sampled_from([*asks.asks(), asks.TYPED]), st.floats(0, 0.1)).filter(
    lambda shares: sum(asks.of_bucket(shares, asks.CORE).values()) <= 1
)


@given(st.integers(1, 60), st.integers(1, 30), MIXES, ASK_SHARES, st.integers(-(2**70), 2**70))
def test_asks_have_their_exact_share_of_core(count, n_per_topic, buckets, shares, seed):
    """The rows of each ask differ from its share of its bucket by at most one, and `asks` is right."""
    plan = Plan(make_topics(count), Mix(n_per_topic, *buckets, shares), seed=seed)
    made = Counter(job.prompt.ask for job in plan if job.prompt.ask)
    assert dict(made) == plan.asks
    assert Counter(job.kind for job in plan) == Counter(plan.counts)
    for job in plan:
        assert bool(job.prompt.ask) >= (job.kind == "core")
        assert job.prompt.ask in ("", asks.ADVICE) or asks.asks()[job.prompt.ask].bucket == job.kind
    for name, share in shares.items():
        if name != asks.TYPED:
            rows = share * plan.counts[asks.asks()[name].bucket]
            assert abs(made[name] - min(rows, asks.most_rows(name))) <= 1 + 1e-6


def test_asks_are_spread_over_the_plan():
    """In each quarter of a large plan, the rows of an ask differ from a quarter of them by at most a fifth."""
    jobs = our_jobs(24)
    whole = Counter(job.prompt.ask for job in jobs)
    for quarter in range(4):
        part = Counter(job.prompt.ask for job in jobs[quarter * len(jobs) // 4 : (quarter + 1) * len(jobs) // 4])
        for name in set(whole) - {""}:
            assert abs(part[name] - whole[name] / 4) <= 0.2 * whole[name] / 4 + 3, name


@given(st.integers(1, 40), st.integers(1, 20), st.floats(0, 1), st.integers())
def test_the_share_of_typed_prompts_is_met(count, n_per_topic, share, seed):
    """If all prompts are English, the share that is typed in lower case differs from the wanted one by one row."""
    plain = Plan(make_topics(count), Mix(n_per_topic, 0, 0, 0, {}), seed=seed)
    plan = Plan(make_topics(count), Mix(n_per_topic, 0, 0, 0, {asks.TYPED: share}), seed=seed)
    chosen = sum(a.prompt.text != b.prompt.text for a, b in zip(plain, plan, strict=True))
    scots = sum(job.prompt.lang != "en" for job in plain)
    assert share * len(plan) - scots - 1 <= chosen <= share * len(plan) + 1


def test_an_ask_with_too_few_answers_gets_fewer_rows():
    """The rows that an ask cannot have ask for advice instead, and `capped` names the ask."""
    name = min((one for one in asks.asks() if asks.asks()[one].bucket == asks.CORE), key=asks.most_rows)
    plan = Plan(make_topics(500), Mix(40, 0, 0, 0, {name: 1}))
    assert plan.capped == {name: asks.most_rows(name)}
    assert plan.asks == {asks.ADVICE: len(plan) - asks.most_rows(name), name: asks.most_rows(name)}
    assert Plan(make_topics(50), Mix(2)).capped == {}


def test_rows_without_a_topic_say_what_they_are_about():
    """The row of an ask has its subject and kind, that of a harmful request its category, others have their topic."""
    for job in our_jobs(6):
        if job.prompt.ask in asks.asks():
            assert (job.group, bool(job.about)) == (job.prompt.ask, True)
            assert job.about != job.topic.text
        elif job.kind == "safety":
            assert (job.group, job.about) == ("safety", job.prompt.category)
        else:
            assert (job.group, job.about) == (job.topic.group, job.topic.text)


def test_a_plan_knows_its_rows():
    """A row is recognised by its id and by what it is about, even if its prompt was edited, and no other row is."""
    plan = Plan(make_topics(40), Mix(12))
    other = Plan(make_topics(40), Mix(12), seed=1)
    for job in plan:
        row = {"kind": job.kind, "group": job.group, "topic": job.about}
        assert plan.find(job.id, **row, prompt=job.prompt.text) == job.id
        assert plan.find(job.id, **row, prompt="Edited.") == job.id
        assert not other.find(job.id, **row, prompt="Edited.")
        assert not plan.find(job.id, **row | {"topic": "something else"}, prompt="Edited.")


def test_a_plan_knows_harmful_requests_of_earlier_versions():
    """Rows of earlier versions name the topic of the job instead of the category, and are recognised too."""
    plan = Plan(make_topics(40), Mix(12, asks={}))
    for job in (job for job in plan if job.kind == "safety"):
        old = {"kind": "safety", "group": job.topic.group, "topic": job.topic.text}
        assert plan.find(job.id, **old, prompt=job.prompt.text) == job.id


def test_a_plan_without_asks_has_the_fingerprint_of_earlier_versions():
    """Plans of earlier versions have no key for asks, so the rows of those versions can be resumed."""
    assert "ask_mix" not in Plan(make_topics(4), Mix(6, asks={})).fingerprint()
    assert Plan(make_topics(4), Mix(6)).fingerprint()["ask_mix"] == Mix(6).asks


def test_the_seed_decides_the_plan():
    """The same seed gives the same plan, and another seed gives another plan."""
    one, again, other = (list(Plan(make_topics(30), Mix(6), seed=seed)) for seed in (5, 5, 6))
    assert one == again
    assert {job.id for job in one}.isdisjoint(job.id for job in other)
    moved = sum(a.kind != b.kind for a, b in zip(one, other, strict=True))
    assert moved > len(one) // 5


def test_a_job_can_be_computed_alone():
    """`job(number)` returns the job that iteration returns at that position."""
    plan = Plan(make_topics(7), Mix(9))
    assert [plan.job(number) for number in reversed(range(len(plan)))] == list(plan)[::-1]


FINGERPRINTS = {
    "seed": lambda: Plan(make_topics(4), Mix(6), seed=1),
    "n_per_topic": lambda: Plan(make_topics(4), Mix(7)),
    "adv_ratio": lambda: Plan(make_topics(4), Mix(6, 0.2)),
    "safety_ratio": lambda: Plan(make_topics(4), Mix(6, safety=0.2)),
    "multi_ratio": lambda: Plan(make_topics(4), Mix(6, multi=0.3)),
    "ask_mix": lambda: Plan(make_topics(4), Mix(6, asks={"sum": 0.3})),
    "langs": lambda: Plan(make_topics(4), Mix(6), langs=["es"]),
    "topics": lambda: Plan(make_topics(4)[::-1], Mix(6)),
    "topic_count": lambda: Plan(make_topics(3), Mix(8)),
}


@pytest.mark.parametrize("key", FINGERPRINTS)
def test_the_fingerprint_changes_with_the_plan(key):
    """A change that changes the rows also changes the value of its key in the fingerprint."""
    plain, changed = Plan(make_topics(4), Mix(6)).fingerprint(), FINGERPRINTS[key]().fingerprint()
    assert plain == Plan(make_topics(4), Mix(6)).fingerprint()
    assert plain[key] != changed[key]


def test_the_fingerprint_changes_with_the_prompts(monkeypatch):
    """Another wording of the prompts gives another fingerprint."""
    plain = Plan(make_topics(4), Mix(6)).fingerprint()
    core = prompts.core_prompt
    monkeypatch.setattr(prompts, "core_prompt", lambda *args: dataclasses.replace(core(*args), text="Tell me more."))
    assert Plan(make_topics(4), Mix(6)).fingerprint()["prompts"] != plain["prompts"]


def peak_memory(n_per_topic):
    """The peak memory in bytes of a plan, its fingerprint, its counts, and a thousand jobs at each end."""
    few = make_topics(10)
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
    """The memory that a plan uses does not depend on its number of jobs."""
    peak_memory(100)  # the first call fills the caches of the data files
    small, large = peak_memory(100), peak_memory(100_000)
    assert large < small + 64_000


WRONG = {
    "no rows": ({"n_per_topic": 0}, "--n-per-topic is 0"),
    "fewer than none": ({"n_per_topic": -3}, "--n-per-topic is -3"),
    "a negative share": ({"adv": -0.1}, "--adv-ratio is -0.1"),
    "a share above one": ({"multi": 1.5}, "--multi-ratio is 1.5"),
    "no number": ({"safety": float("nan")}, "--safety-ratio is nan"),
    "asks above one together": ({"asks": {"sum": 0.5, "say": 0.6}}, "the shares of --ask-mix sum to 1.1"),
    "shares above one together": ({"adv": 0.5, "safety": 0.3, "multi": 0.3}, "the ratios sum to 1.1, more than 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_impossible_mixes_are_errors(case):
    """If a count is below 1, a share is outside 0 to 1, or the shares exceed 1 together, the error names the flag."""
    settings, said = WRONG[case]
    with pytest.raises(SettingsError, match=said):
        dataclasses.replace(Mix(), **settings)


def test_shares_may_add_up_to_one():
    """If the shares of the other buckets add up to 1, there are no core rows, and rounding loses no row."""
    plan = Plan(make_topics(11), Mix(3, 0.7, 0.2, 0.1))
    assert plan.counts == {"core": 0, "adv": 23, "safety": 7, "multi": 3}
    assert Plan(make_topics(3), Mix(1, 1.0, 0, 0)).counts["adv"] == 3


def test_an_unknown_language_is_an_error():
    """The error names the language, and the hint lists the languages that have prompts."""
    with pytest.raises(SettingsError, match="--langs: no prompts in xx") as caught:
        Plan(make_topics(2), Mix(2), langs=["es", "xx"])
    assert "es" in caught.value.hint


@given(st.integers(1, 300), st.integers(0, 2**33), st.data())
def test_visits_between_counts_visits(size, start, data):
    """`visits_between` gives the same number as counting each visit."""
    count = data.draw(st.integers(0, size))
    low, high = sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size))))
    counted = sum(low <= spread.visit(size, number, start) < high for number in range(count))
    assert spread.visits_between(size, count, low, high, start) == counted
