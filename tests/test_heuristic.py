"""The embedded voice: repeatable, whole authored sentences, an answer to what was asked."""

import functools
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric import data
from doric.core.text import ends_sentence, fold, sentences
from doric.dataset import prompts
from doric.dataset.heuristic import NAMED, Question, answer
from doric.dataset.phrases import PARTS, authored_topics, general_sentences
from doric.quality import gates
from doric.topics.lists import read_topics

ROOT = Path(__file__).parents[1]
OURS = [topic.text for topic in read_topics(ROOT / "topics.json")]
EXTRAS = data.read_toml("holds.toml")
REFUSALS = data.read_toml("refusals.toml")
CATEGORIES = sorted({request["category"] for request in data.read_toml("prompts.toml")["safety"]})
THEIRS = {
    "a theme's": "growing tomatoes on a balcony in the city",
    "nobody's": "the rules of underwater hockey",
    "a clause": "why the moon looks bigger near the horizon",
    "one word": "topology",
    "another language": "hygge in Denmark",
}
UNSAYABLE = [
    "العربية في المدرسة",
    "日本語の話",
    "`rm -rf` and other commands",
    "what Doric means to young folk",
    "{topic} {0}",
]


def ask(topic=OURS[0], kind="core", length="medium", category="", slot=0, seed=0):
    """An ask with everything plain that a test does not care about."""
    return Question(topic, kind, length, category, slot, seed)


def passing(one, prompt="Tell me."):
    """The first answer that the gates take, with its attempt."""
    for attempt in range(60):
        text = answer(one, attempt)
        if gates.check(text, prompt=prompt, topic=one.topic, kind=one.kind) is None:
            return text, attempt
    raise AssertionError(f"no answer about {one.topic} in 60 attempts")


ASKS = st.builds(
    Question,
    st.sampled_from([*OURS, *THEIRS.values()]),
    st.sampled_from(["core", "adv", "multi"]),
    st.sampled_from(sorted(prompts.LENGTHS)),
    st.just(""),
    st.integers(0, 300),
    st.integers(-5, 10**6),
)
REFUSED = st.builds(Question, st.sampled_from(OURS), st.just("safety"), st.just("medium"), st.sampled_from(CATEGORIES),
                    st.integers(0, 300), st.integers(0, 99))  # fmt: skip


@given(ASKS | REFUSED, st.integers(0, 60))
def test_the_same_ask_gives_the_same_answer(one, attempt):
    """Nothing but the ask and the attempt decides what is said."""
    assert answer(one, attempt) == answer(one, attempt)


@given(ASKS | REFUSED)
def test_another_attempt_is_another_answer(one):
    """Ten attempts at one ask give ten answers, no two of them alike."""
    assert len({answer(one, attempt) for attempt in range(10)}) == 10


@given(st.sampled_from(OURS), st.integers(0, 50))
def test_turns_and_seeds_change_the_answer(topic, turn):
    """At one topic, the next turn says something else, and so does another seed."""
    said = [answer(ask(topic, slot=turn + step, seed=seed)) for seed in (0, 1) for step in range(3)]
    assert len(set(said)) >= 5


@given(ASKS | REFUSED, st.integers(0, 30))
def test_an_answer_is_whole_sentences_each_once(one, attempt):
    """Each sentence begins with a capital, ends as a sentence does and comes once."""
    text = answer(one, attempt)
    said = sentences(text)
    assert len(said) >= 2
    assert len(set(map(fold, said))) == len(said)
    assert " ".join(text.split()) == text
    assert ends_sentence(text)
    for line in said:
        assert line.lstrip("\"'‘“")[0].isupper(), line
        assert not set("{}") & set(line), line


@functools.cache
def authored():
    """Every line that somebody wrote for the voice, slots as they are."""
    lines = {line for one in authored_topics().values() for line in one.answers}
    lines |= {line for one in authored_topics().values() for move in PARTS for line in getattr(one.theme, move)}
    lines |= {line for pool in (*general_sentences().values(), *EXTRAS.values(), REFUSALS["refusals"]) for line in pool}
    return lines | {
        line for one in REFUSALS["category"] for lines in one.values() if isinstance(lines, list) for line in lines
    }


@given(ASKS.filter(lambda one: fold(one.topic) in authored_topics()) | REFUSED, st.integers(0, 30))
def test_every_sentence_is_an_authored_one(one, attempt):
    """About a topic of ours, the voice says nothing that is not in its phrase files."""
    rest = answer(one, attempt)
    while rest:
        line = max((line for line in authored() if rest.startswith(line)), key=len, default="")
        assert line, rest
        rest = rest[len(line) :].lstrip()


def test_there_are_six_hundred_sentences_and_more():
    """The phrase files hold at least 600 different sentences, no matter how they are spaced or capitalised."""
    assert len({fold(line) for line in authored()}) >= 600


@given(ASKS.filter(lambda one: fold(one.topic) in authored_topics()), st.integers(0, 30))
def test_an_answer_is_about_its_topic(one, attempt):
    """About a topic of ours, one sentence at least was written for that topic and no other."""
    assert any(line in answer(one, attempt) for line in authored_topics()[fold(one.topic)].answers)


@given(st.sampled_from(OURS), st.integers(0, 40), st.integers(0, 10))
def test_adv_holds_to_doric_and_says_so(topic, turn, attempt):
    """Told to drop Doric, the voice keeps it, with one sentence about that and the rest about the topic."""
    text = answer(ask(topic, "adv", slot=turn), attempt)
    assert sum(line in text for line in EXTRAS["holds"]) == 1
    assert any(line in text for line in authored_topics()[fold(topic)].answers)


@given(st.sampled_from(OURS), st.integers(0, 40), st.sampled_from(["core", "multi"]))
def test_only_adv_speaks_of_its_tongue(topic, turn, kind):
    """Asked plainly or in another language, the voice answers without a word about how it speaks."""
    assert not any(line in answer(ask(topic, kind, slot=turn)) for line in EXTRAS["holds"])


def test_openers_and_closers_are_rare():
    """Sentences that are not about the topic stand in no more than one answer in five."""
    spare = [*EXTRAS["openers"], *EXTRAS["closers"]]
    said = [answer(ask(topic, slot=turn)) for topic in OURS[:100] for turn in range(4)]
    assert sum(any(line in text for line in spare) for text in said) / len(said) < 0.2


@pytest.mark.parametrize("category", CATEGORIES)
def test_safety_refuses_and_offers_something_of_its_own_kind(category):
    """Each kind of harm is refused, with an offer that belongs to it, and the gates agree."""
    (offers,) = (one["offers"] for one in REFUSALS["category"] if one["name"] == category)
    for turn in range(10):
        text, _ = passing(ask(kind="safety", category=category, slot=turn))
        assert gates.is_refusal(text)
        assert any(text.endswith(offer) for offer in offers)


@pytest.mark.parametrize("kind", ["core", "adv", "multi"])
@pytest.mark.parametrize("whose", THEIRS)
def test_somebodys_own_topic_is_answered_in_doric(whose, kind):
    """A topic that no phrase file knows gets an answer that the gates take and that names it, at every length."""
    for length, turn in itertools.product(prompts.LENGTHS, range(4)):
        text, _ = passing(ask(THEIRS[whose], kind, length, slot=turn))
        assert fold(prompts.in_doric(THEIRS[whose])) in fold(text)


@pytest.mark.parametrize("topic", UNSAYABLE)
def test_a_topic_that_no_answer_may_name_is_answered_all_the_same(topic):
    """Another script, markup or the tongue's own name: after a few attempts the answer says "yon" instead."""
    text, attempt = passing(ask(topic))
    assert attempt >= NAMED or fold(prompts.in_doric(topic)) in fold(text)


def test_lengths_differ():
    """A short answer has fewer words than a long one, on the whole by half."""
    said = {length: [answer(ask(topic, length=length)) for topic in OURS[:60]] for length in prompts.LENGTHS}
    words = {length: sum(len(text.split()) for text in texts) / len(texts) for length, texts in said.items()}
    assert words["short"] < words["medium"] < words["long"]
    assert words["short"] < words["long"] / 1.5
    for length, (least, most) in prompts.LENGTHS.items():
        assert least * 0.75 <= words[length] <= most, (length, words[length])


def test_every_topic_of_ours_is_authored():
    """No topic of topics.json falls back on general advice."""
    assert [topic for topic in OURS if fold(topic) not in authored_topics()] == []
