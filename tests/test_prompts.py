"""The prompts: enough frames, whole sentences, all slots filled, and topics inserted unchanged."""

import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric import data
from doric.core.text import fold, words
from doric.dataset import asks, prompts
from doric.dataset.phrases import authored_topics
from doric.dialect import scores
from doric.topics.lists import read_topics

ROOT = Path(__file__).parents[1]
SPEC = data.read_toml("prompts.toml")
SHAPES = {
    "gerund": "mending a slow puncture",
    "clause": "why bread goes stale",
    "how-to": "how to bleed a radiator",
    "noun": "cheap suppers for two",
}
WHEN = "when a child cries at the door"
SCRIPTS = {"el": "GREEK", "ar": "ARABIC", "hi": "DEVANAGARI", "zh": "CJK"}
TOPICS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: text.split())
BRACED = st.sampled_from(["{topic}", "{Doric}", "{}", "{0}", "{person}", "{unknown", "}", "%s", "\\1", "$topic"])


def frames_for(bucket, shape):
    """The frames of a bucket that fit a shape of topic."""
    return [frame for frame in SPEC[bucket] if prompts.fits(frame["shapes"], shape)]


def core_texts(shape, count=None):
    """Every core prompt about the example topic of a shape."""
    frames = frames_for("core", shape)
    return [prompts.core_prompt(SHAPES[shape], turn, 0) for turn in range(count or len(frames))]


def letters(text, script):
    """The letters in `text` that belong to a script."""
    return [char for char in text if char.isalpha() and unicodedata.name(char, "").startswith(script)]


@pytest.mark.parametrize(("shape", "topic"), [*SHAPES.items(), ("when", WHEN), ("how-to", "when to plant garlic")])
def test_the_shape_of_a_topic_is_recognised(shape, topic):
    """A gerund, a noun phrase and the kinds of clause are recognised as different shapes."""
    assert prompts.shape(topic) == prompts.shape(topic.capitalize()) == shape


@pytest.mark.parametrize("shape", SHAPES)
def test_sixty_core_frames_fit_each_shape(shape):
    """Topics of every shape have at least 60 core frames, and all of them are different."""
    texts = [prompt.text for prompt in core_texts(shape)]
    assert len(set(map(fold, texts))) == len(texts) >= 60
    assert all(SHAPES[shape] in text.lower() or prompts.in_doric(SHAPES[shape]) in text.lower() for text in texts)


@pytest.mark.parametrize("shape", SHAPES)
def test_about_a_quarter_of_core_prompts_is_doric(shape):
    """20 to 30 % of the prompts are marked `sco` and contain Scots, and the others contain almost no Scots."""
    asked = core_texts(shape)
    assert 0.20 <= sum(prompt.lang == "sco" for prompt in asked) / len(asked) <= 0.30
    for prompt in asked:
        measured = scores.score(prompt.text)
        assert measured.tokens_of(*scores.SCOTS) if prompt.lang == "sco" else measured.substrate <= 0.1, prompt.text


@pytest.mark.parametrize("shape", SHAPES)
def test_frames_vary(shape):
    """There are questions, requests and statements, short and long, and at most one in five has the same start."""
    texts = [prompt.text for prompt in core_texts(shape)]
    assert 0.3 < sum("?" in text for text in texts) / len(texts) < 0.95
    assert min(len(words(text)) for text in texts) <= 8 < 16 <= max(len(words(text)) for text in texts)
    assert {prompt.length for prompt in core_texts(shape)} == set(prompts.LENGTHS)
    openings = Counter(tuple(words(text)[:2]) for text in texts)
    assert openings.most_common(1)[0][1] <= len(texts) / 5


@pytest.mark.parametrize("shape", SHAPES)
def test_a_frame_that_is_used_again_has_an_extra_sentence(shape):
    """If a frame is used again, its prompt has an extra sentence, so that no text is repeated."""
    frames = len(frames_for("core", shape))
    texts = [prompt.text for prompt in core_texts(shape, 4 * frames)]
    assert len(set(texts)) == len(texts)
    for text, again in zip(texts[:frames], texts[frames : 2 * frames], strict=True):
        assert again.startswith(text + " ")


@pytest.mark.parametrize("shape", SHAPES)
def test_forty_adv_frames_fit_each_shape(shape):
    """At least 40 different frames are about English or about giving up Doric."""
    count = len(frames_for("adv", shape))
    texts = [prompts.adv_prompt(SHAPES[shape], turn, 3).text for turn in range(2 * count)]
    assert count >= 40
    assert len(set(map(fold, texts))) == len(texts)
    assert all(SHAPES[shape] in text.lower() for text in texts)


def test_a_repeated_harmful_request_fills_its_slot_differently():
    """If a harmful request is repeated, its slot has another value."""
    count = len(SPEC["safety"])
    slotted = [turn for turn, request in enumerate(SPEC["safety"]) if "{" in request["text"]]
    assert slotted
    for turn in slotted:
        assert len({prompts.safety_prompt(turn + again * count).text for again in range(4)}) == 4


@given(st.integers(0, 10**6))
def test_a_careless_prompt_is_in_lower_case_with_at_most_one_slip(number):
    """It has no capital letter and no end mark, and at most one word differs from the prompt."""
    plain = prompts.Prompt("Don't you think it's right? Tell my friend what you know about The Ladykillers!", "en")
    made = prompts.typed(plain, number)
    assert made.text == made.text.lower()
    assert made.text[-1].isalpha()
    old, new = plain.text.lower().rstrip("!").split(), made.text.split()
    assert sum(a != b for a, b in zip(old, new, strict=True)) <= 1


def test_careless_prompts_have_different_slips():
    """Most careless prompts have a slip, and it is not always the same."""
    plain = prompts.Prompt("Don't you think it's right? Tell my friend what you know.", "en")
    made = Counter(prompts.typed(plain, number).text for number in range(60))
    assert len(made) >= 6
    assert 10 <= made["don't you think it's right? tell my friend what you know"] <= 30


def test_quotations_and_code_stay_as_they_are():
    """What a careless prompt quotes keeps its capital letters and its spelling."""
    plain = prompts.Prompt('What does "Don\'t know What" mean, and `Get-What`? Is it "What?"', "en")
    for number in range(12):
        text = prompts.typed(plain, number).text
        assert '"Don\'t know What" mean, and `Get-What`? is it "What?"' in text


def test_an_ask_has_its_own_length_and_language():
    """The length of an answer is that of its kind, and a user turn in Doric is marked as Scots."""
    made = [prompts.ask_prompt("greeting", number, 0) for number in range(asks.most_rows("greeting"))]
    assert {prompt.words for prompt in made} == {asks.asks()["greeting"].length}
    langs = {prompt.text: prompt.lang for prompt in made}
    assert set(langs.values()) == {"en", "sco"}
    assert langs["Fit like?"] == "sco"
    assert prompts.core_prompt("hens", 0, 0).words in prompts.LENGTHS.values()


def test_a_when_clause_never_becomes_a_question_about_the_time():
    """ "Do you know when a child cries?" asks for the time, and "So, why bread goes stale." is no English."""
    count = len(frames_for("core", "when"))
    assert count >= 40
    english = [prompt.text for turn in range(count) if (prompt := prompts.core_prompt(WHEN, turn, 0)).lang == "en"]
    assert not [
        text for text in english if re.search(rf"\b(know|idea|told me|wondered|remind me) {WHEN}", text.lower())
    ]
    clauses = [prompt.text for prompt in core_texts("clause")]
    assert not [text for text in clauses if text.startswith(("So, why", "Why"))]


def test_what_belongs_to_the_sentence_stands_before_the_topic():
    """In "tell me about {topic} at lunch", "at lunch" may be read as a part of the topic: no frame does so."""
    tails = re.compile(r"\{(?:topic|doric)\} (?:at|on|in|for|with|tae|to|slowly|this|last|aa|all|as if|over)\b")
    assert [frame["text"] for frame in SPEC["core"] + SPEC["adv"] if tails.search(frame["text"].lower())] == []


@pytest.mark.parametrize("lang", prompts.languages())
def test_no_language_asks_where_to_begin_with_a_why(lang):
    """Frames about mistakes or the first step are for topics that one can do; every shape has at least four frames."""
    made = {shape: set() for shape in prompts.SHAPES}
    for shape, topic in {**SHAPES, "when": WHEN}.items():
        for turn in range(20):
            made[shape].add(prompts.multi_prompt(topic, lang, turn).text.replace(topic, "X"))
    assert min(map(len, made.values())) >= 4
    assert len(made["gerund"] & made["how-to"] - made["clause"] - made["noun"]) == 2


def test_fourteen_languages():
    """Every language has several different frames, each with one slot for the topic."""
    wanted = {"es", "fr", "de", "it", "pt", "nl", "sv", "da", "pl", "el", "tr", "ar", "hi", "zh"}
    assert wanted <= set(prompts.languages())
    for lang in prompts.languages():
        frames = [raw if isinstance(raw, str) else raw["text"] for raw in SPEC["multi"][lang]["frames"]]
        assert len(set(map(fold, frames))) == len(frames) >= 4
        assert all(re.findall(r"\{\w*\}", frame) == ["{topic}"] for frame in frames)
        topics = [*SHAPES.values(), WHEN]
        made = {prompts.multi_prompt(topic, lang, turn).text for topic in topics for turn in range(len(frames))}
        assert all(any(frame.replace("{topic}", topic) in made for topic in topics) for frame in frames)


@pytest.mark.parametrize("lang", prompts.languages())
def test_the_projects_topics_have_a_title_in_every_language(lang):
    """A prompt names the topic in its own language and script, never in English."""
    script = SCRIPTS.get(lang, "LATIN")
    titles = set()
    for topic in read_topics(ROOT / "topics.json"):
        title = authored_topics()[fold(topic.text)].titles[lang]
        assert fold(title) != fold(topic.text)
        assert letters(title, script)
        titles.add(title)
        asked = prompts.multi_prompt(topic.text, lang, len(topic.text))
        assert title in asked.text
        assert asked.lang == lang
    assert len(titles) == len(read_topics(ROOT / "topics.json"))


def test_every_frame_is_filled():
    """With an ordinary topic, no prompt has a brace, a double space or a missing sentence end."""
    for shape, topic in SHAPES.items():
        asked = core_texts(shape)
        asked += [prompts.adv_prompt(topic, turn, 0) for turn in range(len(frames_for("adv", shape)))]
        asked += [prompts.safety_prompt(turn) for turn in range(200)]
        asked += [prompts.multi_prompt(topic, lang, turn) for lang in prompts.languages() for turn in range(10)]
        for prompt in asked:
            assert not set("{}") & set(prompt.text)
            assert "  " not in prompt.text
            assert prompt.text == prompt.text.strip()
            assert unicodedata.category(prompt.text[-1])[0] in "PS" or prompt.lang not in ("en", "sco"), prompt.text


@given(st.lists(TOPICS | BRACED, min_size=1, max_size=4).map(" ".join), st.integers(0, 200))
def test_any_text_is_safe_as_a_topic(topic, turn):
    """Braces, slots and backslashes in a topic stay unchanged in every bucket."""
    english = [prompts.adv_prompt(topic, turn, 0), *[prompts.core_prompt(topic, turn + step, 7) for step in range(5)]]
    doric, capital = prompts.in_doric(topic), topic[:1].upper() + topic[1:]
    for prompt in english:
        assert any(form in prompt.text for form in (topic, capital, doric, doric[:1].upper() + doric[1:]))
    assert topic in prompts.multi_prompt(topic, "es", turn).text


@given(st.integers(0, 10**12), st.sampled_from(sorted(SHAPES.values())))
def test_the_same_number_gives_the_same_prompt(turn, topic):
    """A prompt depends only on its arguments."""
    assert prompts.core_prompt(topic, turn, 9) == prompts.core_prompt(topic, turn, 9)
    assert prompts.safety_prompt(turn) == prompts.safety_prompt(turn)
