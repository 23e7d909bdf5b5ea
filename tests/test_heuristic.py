"""The embedded voice: repeatable answers of whole authored sentences that fit the question."""

import functools
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric import data
from doric.core.text import ends_sentence, fold, sentences
from doric.dataset import prompts
from doric.dataset.heuristic import NAMED, Question, answer
from doric.dataset.phrases import authored_topics, general_sentences
from doric.lint.refusals import refusal_lines
from doric.quality import gates
from doric.topics.lists import read_topics

ROOT = Path(__file__).parents[1]
OURS = [topic.text for topic in read_topics(ROOT / "topics.json")]
EXTRAS = data.read_toml("holds.toml")
REFUSALS = data.read_toml("refusals.toml")
REQUESTS = data.read_toml("prompts.toml")["safety"]
CATEGORIES = sorted({request["category"] for request in REQUESTS})
THEIRS = {
    "one with a theme": "growing tomatoes on a balcony in the city",
    "one without a theme": "the rules of underwater hockey",
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


def question(topic=OURS[0], kind="core", length="medium", category="", slot=0, seed=0, case=""):
    """A question with default values for everything that a test does not set."""
    return Question(topic, kind, length, category, slot, seed, case)


def passing(one, prompt="Tell me."):
    """The first answer that passes the gates, with the number of its attempt."""
    for attempt in range(60):
        text = answer(one, attempt)
        if gates.check(text, prompt=prompt, topic=one.topic, kind=one.kind) is None:
            return text, attempt
    raise AssertionError(f"no answer about {one.topic} in 60 attempts")


QUESTIONS = st.builds(
    Question,
    st.sampled_from([*OURS, *THEIRS.values()]),
    st.sampled_from(["core", "adv", "multi"]),
    st.sampled_from(sorted(prompts.LENGTHS)),
    st.just(""),
    st.integers(0, 300),
    st.integers(-5, 10**6),
)
REFUSED = st.builds(
    lambda topic, asked, slot, seed: question(
        topic, "safety", category=asked["category"], case=asked.get("case", ""), slot=slot, seed=seed
    ),
    st.sampled_from(OURS),
    st.sampled_from(REQUESTS),
    st.integers(0, 300),
    st.integers(0, 99),
)


@given(QUESTIONS | REFUSED, st.integers(0, 60))
def test_the_same_question_gives_the_same_answer(one, attempt):
    """An answer depends only on the question and the attempt."""
    assert answer(one, attempt) == answer(one, attempt)


@given(QUESTIONS | REFUSED)
def test_another_attempt_is_another_answer(one):
    """Ten attempts at the same question give ten different answers, or nine on a topic with few sentences."""
    assert len({answer(one, attempt) for attempt in range(10)}) >= 9


@given(st.sampled_from(OURS), st.integers(0, 50))
def test_slots_and_seeds_change_the_answer(topic, turn):
    """Another question on the same topic gives another answer, and so does another seed."""
    said = [[answer(question(topic, slot=turn + step, seed=seed)) for step in range(3)] for seed in (0, 1)]
    assert all(len(set(answers)) == 3 for answers in said)
    assert said[0] != said[1]


@given(QUESTIONS | REFUSED, st.integers(0, 30))
def test_an_answer_has_whole_sentences_without_repeats(one, attempt):
    """Each sentence begins with a capital letter, ends with a sentence mark, and occurs only once."""
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
    """Every authored line of the voice, with its slots."""
    lines = {line for one in authored_topics().values() for line in (*one.answers, *one.more)}
    lines |= {line for one in authored_topics().values() for part in one.theme.parts for line in part}
    lines |= {line for pool in (*general_sentences().values(), *EXTRAS.values(), REFUSALS["refusals"]) for line in pool}
    return lines | {*refusal_lines(REFUSALS)}


@given(QUESTIONS.filter(lambda one: fold(one.topic) in authored_topics()) | REFUSED, st.integers(0, 30))
def test_every_sentence_is_authored(one, attempt):
    """An answer about an authored topic contains only sentences of the phrase files."""
    rest = answer(one, attempt)
    while rest:
        line = max((line for line in authored() if rest.startswith(line)), key=len, default="")
        assert line, rest
        rest = rest[len(line) :].lstrip()


def test_there_are_at_least_six_hundred_sentences():
    """At least 600 sentences differ in more than upper and lower case and white space."""
    assert len({fold(line) for line in authored()}) >= 600


def own_lines(topic):
    """The sentences of an authored topic: those that answer it, and all."""
    known = authored_topics()[fold(topic)]
    return known.answers, (*known.answers, *known.more)


@given(QUESTIONS.filter(lambda one: fold(one.topic) in authored_topics()), st.integers(0, 30))
def test_an_answer_is_about_its_topic(one, attempt):
    """An answer about an authored topic has a sentence that answers it, and at least two that were written for it."""
    text = answer(one, attempt)
    answers, lines = own_lines(one.topic)
    assert any(line in text for line in answers)
    assert sum(line in text for line in lines) >= 2


@given(QUESTIONS.filter(lambda one: fold(one.topic) in authored_topics()), st.integers(0, 30))
def test_an_answer_begins_with_its_topic(one, attempt):
    """No sentence of the theme stands before one that was written for the topic; a question may be the last."""
    text = answer(one, attempt)
    known = authored_topics()[fold(one.topic)]
    own = [text.index(line) for line in own_lines(one.topic)[1] if line in text and not line.endswith("?")]
    theme = [text.index(line) for part in known.theme.parts for line in part if line in text]
    assert not own or not theme or max(own) < min(theme)


@given(QUESTIONS.filter(lambda one: fold(one.topic) in authored_topics()), st.integers(0, 30))
def test_no_sentence_of_a_theme_is_used_beside_a_topic_that_it_does_not_fit(one, attempt):
    """The sentences that a topic lists as unfit are in none of its answers."""
    text = answer(one, attempt)
    known = authored_topics()[fold(one.topic)]
    fitting = {line for part in known.fitting for line in part}
    unfit = [line for part in known.theme.parts for line in part if line not in fitting]
    assert not any(line in text for line in unfit)


@given(QUESTIONS, st.integers(0, 30))
def test_an_answer_asks_back_at_most_once_and_at_its_end(one, attempt):
    """If an answer has a question to the reader, it is the last sentence."""
    text = answer(replace(one, kind="core"), attempt)
    assert all(not line.endswith("?") for line in authored_lines_in(text)[:-1])


ORDERED = [key for key, known in authored_topics().items() if known.order]


@given(st.sampled_from(ORDERED), st.sampled_from(["core", "adv"]), st.integers(0, 200), st.integers(0, 30))
def test_sentences_whose_order_matters_stand_in_it(topic, kind, slot, attempt):
    """The steps of a recipe are in the order in which one does them, in every answer that has two of them."""
    order = authored_topics()[topic].order
    said = [line for line in authored_lines_in(answer(question(topic, kind, slot=slot), attempt)) if line in order]
    assert said == sorted(said, key=order.index)


def authored_lines_in(text):
    """The authored entries of an answer, in their order."""
    found = []
    while text:
        line = max((line for line in authored() if text.startswith(line)), key=len, default=text)
        found.append(line)
        text = text[len(line) :].lstrip()
    return found


@given(st.sampled_from(OURS), st.integers(0, 40), st.integers(0, 10))
def test_adv_answers_keep_to_doric_and_say_so(topic, turn, attempt):
    """An adv answer has one sentence about the language and at least one sentence about the topic."""
    text = answer(question(topic, "adv", slot=turn), attempt)
    assert sum(line in text for line in EXTRAS["holds"]) == 1
    assert any(line in text for line in own_lines(topic)[0])


@given(st.sampled_from(OURS), st.integers(0, 40), st.sampled_from(["core", "multi"]))
def test_only_adv_answers_mention_their_language(topic, turn, kind):
    """Answers in the other buckets have no sentence about the language."""
    assert not any(line in answer(question(topic, kind, slot=turn)) for line in EXTRAS["holds"])


@pytest.mark.parametrize("category", CATEGORIES)
def test_safety_answers_refuse_and_offer_an_alternative(category):
    """The offer fits the harmful request, and the gates recognise the refusal."""
    (own,) = (one for one in REFUSALS["category"] if one["name"] == category)
    cases = {one.get("case", "") for one in REQUESTS if one["category"] == category}
    for case, turn in itertools.product(sorted(cases), range(6)):
        offers = [
            *own["offers"],
            *(line for one in own.get("some", ()) if case in one["cases"] for line in one.get("offers", ())),
        ]
        text, _ = passing(question(kind="safety", category=category, case=case, slot=turn))
        assert gates.is_refusal(text)
        assert any(text.endswith(offer) for offer in offers)


@pytest.mark.parametrize("kind", ["core", "adv", "multi"])
@pytest.mark.parametrize("whose", THEIRS)
def test_a_topic_that_is_not_authored_is_answered_in_doric(whose, kind):
    """Answers of every length to a topic that is not authored pass the gates and name the topic."""
    for length, turn in itertools.product(prompts.LENGTHS, range(4)):
        text, _ = passing(question(THEIRS[whose], kind, length, slot=turn))
        assert fold(prompts.in_doric(THEIRS[whose])) in fold(text)


@pytest.mark.parametrize("topic", UNSAYABLE)
def test_a_topic_that_no_answer_may_name_is_answered(topic):
    """If no answer may name the topic, later attempts say "yon" instead of the name."""
    text, attempt = passing(question(topic))
    assert attempt >= NAMED or fold(prompts.in_doric(topic)) in fold(text)


def test_lengths_differ():
    """Short, medium and long answers have the number of words that their length requires."""
    said = {length: [answer(question(topic, length=length)) for topic in OURS[:60]] for length in prompts.LENGTHS}
    words = {length: sum(len(text.split()) for text in texts) / len(texts) for length, texts in said.items()}
    assert words["short"] < words["medium"] < words["long"]
    assert words["short"] < words["long"] / 1.5
    for length, (least, most) in prompts.LENGTHS.items():
        assert least * 0.75 <= words[length] <= most, (length, words[length])


def test_every_topic_of_the_project_is_authored():
    """Every topic of topics.json has its own advice, so none needs general advice."""
    assert [topic for topic in OURS if fold(topic) not in authored_topics()] == []
