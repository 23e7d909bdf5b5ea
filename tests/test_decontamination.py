"""The held-out prompts: enough of every kind, different from all training data, and found in texts that repeat them."""

import pathlib
import subprocess
import sys

import pytest

from doric.dataset.plan import Mix, Plan
from doric.dialect.render import render
from doric.quality.decontamination import content_stems, find_match, held_out_prompts
from doric.topics.lists import Topic, read_topics

ROOT = pathlib.Path(__file__).parents[1]
PROMPTS = held_out_prompts()


def of(bucket, *, benign=False):
    return [held for held in PROMPTS if held.bucket == bucket and held.benign == benign]


@pytest.mark.parametrize("held", PROMPTS, ids=lambda held: held.id)
def test_every_prompt_is_found(held):
    """A prompt is found unchanged, in capitals without punctuation, and inside a longer text."""
    bare = held.prompt.upper().translate(str.maketrans("", "", "?!.,:"))
    inside = f"Here is one more idea somebody sent in last week: {held.prompt} It would suit beginners, or so we hope."
    assert find_match(held.prompt) == held
    assert find_match(bare) == held
    assert find_match(inside) == held


@pytest.mark.parametrize(
    ("reworded", "id"),
    [
        ("What's the best way to sew a coat button back on?", "core-001"),
        ("getting candle wax off a good tablecloth", "core-002"),
        ("how to keep the score in ten-pin bowling", "core-061"),
        ("why farmers spread lime on their land", "core-014"),
        ("looking after blisters on the heel", "core-038"),
        ("Tell me about how a pawnbroker earns a living.", "core-027"),
        ("Foo dee ye gar cut flooers laist langer in a vase?", "core-005"),
        ("emigrating to Canada and telling your parents", "core-020"),
        ("What is inflation and what does it do to my cash?", "core-025"),
        ("killing a process that has frozen on linux", "benign-001"),
        ("为什么大熊猫只爱吃竹子", "multi-041"),
        ("¿Cómo hacer una buena tortilla de patatas sin que se rompa?", "multi-001"),
    ],
)
def test_a_small_rewording_is_found(reworded, id):
    """A held-out prompt is found if words are added, endings are changed or the words are in another order."""
    found = find_match(reworded)
    assert found is not None
    assert found.id == id


def test_a_later_turn_is_protected_when_it_has_enough_content():
    """A specific later turn matches, but a turn that could occur in any conversation does not."""
    assert find_match("Why does the picture in Galileo's telescope not come out upside down?") in of("drift")
    assert find_match("And what about in the winter?") is None


@pytest.mark.parametrize("text", ["", "   ", "?", "Fit like?", "How do I do it?", "🙂", "\ud800", "a" * 10_000])
def test_texts_without_content_do_not_match(text):
    """Empty, very general and malformed texts do not match."""
    assert find_match(text) is None


def test_words_far_apart_do_not_match():
    """A long text with the words of a prompt far apart does not match."""
    filler = " and then the long day went by while nothing whatever took place in the village" * 6
    assert find_match(f"A candle burned.{filler} The wax museum closed.{filler} They laid a tablecloth.") is None


def test_no_generated_prompt_matches():
    """In a plan over topics.txt with many prompts of every bucket, no prompt matches a held-out prompt."""
    topics = read_topics(ROOT / "topics.txt")
    plan = Plan(topics, Mix(n_per_topic=8, adv=0.25, safety=0.2, multi=0.3), seed=11)
    assert [job.prompt.text for job in plan if find_match(job.prompt.text)] == []


def test_every_prompt_about_a_held_out_question_matches():
    """If a topic is a held-out question, every English core prompt about that topic matches."""
    topic = Topic("keeping bats and moths apart, or how bats catch moths they cannot see")
    jobs = list(Plan([topic], Mix(n_per_topic=12, adv=0, safety=0, multi=0, asks={})))
    assert all(find_match(job.prompt.text) for job in jobs if job.prompt.lang == "en")


def test_decontamination_imports_no_other_package():
    """The module imports no third-party package."""
    before = packages("import sys")
    after = packages("import sys; from doric.quality.decontamination import find_match; find_match('x')")
    assert after - before - {"doric"} <= sys.stdlib_module_names


def packages(code):
    command = [sys.executable, "-c", f"{code}; print(*sys.modules)"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in run.stdout.split()}


@pytest.mark.parametrize("held", [held for held in held_out_prompts() if held.about], ids=lambda held: held.id)
def test_the_english_of_a_prompt_in_another_language_matches(held):
    """A prompt in another language is also found in English, if its English form has enough content words."""
    found = find_match(held.about)
    assert found is not None or len(content_stems(held.about)) < 2


@pytest.mark.parametrize("held", held_out_prompts(), ids=lambda held: held.id)
def test_a_prompt_rendered_in_doric_is_found(held):
    """A prompt is also found in its Doric form, if that form has enough content words."""
    asked = held.about or held.prompt
    assert find_match(render(asked)) is not None or len(content_stems(asked)) < 3
