"""The authored examples that a model is shown, and what check_doric.py says about wrong ones."""

import pytest

from doric import data
from doric.dataset import asks, exemplars, instructions, prompts
from doric.dataset.history import History
from doric.dataset.plan import Job
from doric.dataset.prompts import KINDS, LENGTHS, Prompt
from doric.lint.exemplars import check_exemplars
from doric.lint.files import read_files
from doric.quality import gates
from doric.topics.lists import Topic


def shown(kind: str, length: str, text: str = "How?", topic: str = "sleep") -> list[dict[str, str]]:
    job = Job("id", Topic(topic, "health"), kind, Prompt(text, "en", length), 0, 0)
    return instructions.messages(job, [], seed=0)


@pytest.mark.parametrize("length", LENGTHS)
def test_examples_have_the_wanted_length(length: str):
    """The examples of a core question have the length that its answer should have."""
    least, most = LENGTHS[length]
    answers = [turn["content"] for turn in shown("core", length) if turn["role"] == "assistant"]
    assert len(answers) == 4
    assert all(least <= len(answer.split()) <= most for answer in answers)


@pytest.mark.parametrize("kind", KINDS)
def test_the_beginning_is_the_same_for_all_questions_of_a_kind(kind: str):
    """Everything before the question is the same for questions of a bucket and a length, so that it can be cached."""
    assert shown(kind, "medium", "How?", "sleep")[:-1] == shown(kind, "medium", "Why?", "hens")[:-1]


def beginning(name: str, number: int, place: int = 0) -> list[dict[str, str]]:
    """What stands before the question of an ask: ask `number` of its kind, job `place` of the plan."""
    job = Job("id", Topic("sleep", "health"), "core", prompts.ask_prompt(name, number, 3), 0, 0, number=place)
    return instructions.messages(job, [], seed=3)[:-1]


@pytest.mark.parametrize("name", asks.asks())
def test_the_asks_of_a_block_share_their_examples(name: str):
    """The beginning is the same for all asks of a kind in a block of jobs, and the next block has other examples."""
    examples = {turn["content"] for number in range(6) for turn in beginning(name, number)[1::2]}
    others = [number for number in range(50) if prompts.ask_prompt(name, number, 3).text not in examples]
    first = beginning(name, others[0])
    assert first == beginning(name, others[7]) == beginning(name, others[-1], instructions.BLOCK - 1)
    assert first != beginning(name, others[0], instructions.BLOCK)


def test_each_beginning_is_long_enough_for_the_caches_of_providers():
    """Before each question stand at least 1,024 tokens, also for a tokenizer with 4 characters per token."""
    found = [shown(kind, length)[:-1] for kind in KINDS for length in LENGTHS]
    found += [beginning(name, 0) for name in asks.asks()]
    for chat in found:
        assert sum(len(turn["content"]) for turn in chat) >= 4 * instructions.LEAST_CACHED


@pytest.mark.parametrize("name", asks.asks())
def test_the_examples_of_an_ask_pass_its_gates(name: str):
    """A model is shown only such answers to other asks of the same kind as it may give itself."""
    for number in range(12):
        job = Job("id", Topic("sleep", "health"), "core", prompts.ask_prompt(name, number, 3), 0, 0)
        turns = [turn["content"] for turn in instructions.messages(job, [], seed=3)[1:-1]]
        assert len(turns) >= 4
        for question, answer in zip(turns[::2], turns[1::2], strict=True):
            assert not gates.check(answer, prompt=question, topic="", kind="core", ask=name)


def test_an_answer_that_repeats_an_example_is_a_near_duplicate():
    """Models repeat what they are shown, so the examples count as accepted answers."""
    match = History().accepted.nearest(exemplars.exemplars()[0].answer)
    assert match is not None
    assert match.id == "exemplar-1"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"length": "long"}, "a long answer has 60 to 140"),
        ({"answer": "You should put the salt in when you put the potatoes in, and start with cold water in the pot."},
         "the quality gates would reject it"),
        ({"user": "How do bats catch moths when they cannot see them?"}, "too near the held-out prompt"),
        ({"kind": "adv"}, "there are 3 of these"),
    ],
)  # fmt: skip
def test_wrong_examples_are_found(change: dict[str, str], reason: str):
    """A wrong length, an answer that the gates reject, a held-out question and a missing example are errors."""
    sources, _ = read_files()
    sources["exemplars.toml"].toml["exemplar"][0] |= change
    assert any(reason in finding.reason and finding.is_error for finding in check_exemplars(sources))


def test_the_instructions_name_the_number_words():
    """The rules give a model the Doric of each number from one to twelve, of twenty, a hundred and a thousand."""
    rules = shown("core", "short")[0]["content"].split()
    words = {word.strip(".,;()") for word in rules}
    assert {row["doric"] for row in data.read_table("asks/numbers.tsv")} <= words
