"""Kinds of ask beside advice: what is asked how often, answers that fit and are true, and the shares of a plan."""

import itertools
import math
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.core.errors import SettingsError
from doric.core.text import ends_sentence, fold
from doric.data import read_table
from doric.dataset import asks
from doric.dataset.subjects import in_words, subjects
from doric.dialect.lexicon import entries
from doric.quality import gates

NAMES = sorted(asks.asks())
ROWS = 400
SEEDS = st.integers(0, 2**33)


def rows(name, seed=0, count=ROWS):
    """What the first rows of an ask ask, as many as it has, at most `count`."""
    return [asks.asked(name, number, seed) for number in range(min(count, asks.most_rows(name)))]


def turn(one):
    """The user turn of a row."""
    return asks.filled(one.text, one.subject)


# ---- user turns and answers


def test_there_are_kinds_of_ask():
    """The project has a file for greetings, meanings of words and sums, among others."""
    assert {"greeting", "meaning", "sum"} <= set(NAMES)
    assert asks.ADVICE not in NAMES


@pytest.mark.parametrize("name", NAMES)
@given(SEEDS, st.integers(0, 10**6), st.integers(0, 60))
def test_a_row_depends_only_on_its_number_and_the_seed(name, seed, number, attempt):
    """The same row asks the same, and each attempt at it has the same answer."""
    one = asks.asked(name, number, seed)
    assert one == asks.asked(name, number, seed)
    assert asks.answer_to(one, attempt) == asks.answer_to(one, attempt)


@pytest.mark.parametrize("name", NAMES)
def test_every_slot_is_filled(name):
    """User turns and answers have no braces and no double spaces, and an answer ends with a sentence mark."""
    for one, attempt in itertools.product(rows(name), range(3)):
        answer = asks.answer_to(one, attempt)
        for text in (turn(one), answer):
            assert not set("{}") & set(text)
            assert " ".join(text.split()) == text
        assert ends_sentence(answer)


@pytest.mark.parametrize("name", [name for name in NAMES if asks.asks()[name].source != "sums"])
def test_no_answer_is_repeated(name):
    """The rows of an ask differ in their answer. Of two sums with the same result, the gates let one pass."""
    answers = Counter(fold(asks.answer_to(one)) for one in rows(name, count=1_000))
    assert answers.most_common(1)[0][1] == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, 7])
def test_each_subject_and_each_plain_turn_comes_once_before_any_comes_again(name, seed):
    """Within as many rows as an ask has subjects and turns without a slot, none of them is repeated."""
    ask = asks.asks()[name]
    plain = sum(min(len(pair.asks), math.ceil(asks.USED * pair.distinct)) for pair in ask.pairs if pair.is_plain)
    about = [one for one in rows(name, seed, 5_000) if one.subject.values]
    first = rows(name, seed, plain + len({one.subject.name + str(one.subject.values) for one in about}))
    seen = Counter(one.subject.values.get("doric") or turn(one) for one in first)
    assert seen.most_common(1)[0][1] == 1


@pytest.mark.parametrize("name", [name for name in NAMES if asks.asks()[name].source])
def test_a_subject_that_comes_again_is_asked_about_in_other_words(name):
    """No user turn about a word, a sum or a line is repeated."""
    turns = Counter(turn(one) for one in rows(name, count=3_000) if one.subject.values)
    assert turns.most_common(1)[0][1] == 1


def test_attempts_use_other_answers():
    """If an answer is rejected, the next attempt has another, until the pair has no more."""
    for name in NAMES:
        one = max(rows(name), key=lambda row: row.pair.answers)
        most = min(20, one.pair.answers)
        assert len({asks.answer_to(one, attempt) for attempt in range(most)}) == most


# ---- what is true


def test_a_word_has_the_meaning_of_the_lexicon():
    """Every word that is asked about has exactly one meaning in lexicon.tsv, and no other word has it."""
    meanings = Counter(entry.english for entry in entries())
    known = {entry.doric: entry.english for entry in entries()}
    words = subjects("lexicon")
    assert len(words) >= 300
    for word in words:
        assert known[word.values["doric"]] == word.values["english"]
        assert meanings[word.values["english"]] == 1
        assert ";" not in word.values["english"]


def test_each_word_is_asked_about_in_one_form():
    """No plural in -s is asked about whose singular is asked about too."""
    words = {word.values["english"]: word.values["doric"] for word in subjects("lexicon")}
    plurals = {word for word in words if word.endswith("s") and word[:-1] in words}
    assert {word for word in plurals if words[word].endswith("s")} == set()


def test_sums_are_right():
    """The result of each sum, in Doric words, is the number that the sum gives."""
    figures = {in_words(number): number for number in range(1, 1_000)}
    for one in subjects("sums"):
        sum_ = one.values["sum"].replace("x", "*").replace("% of ", " / 100 * ")
        assert re.fullmatch(r"[\d +*/-]+", sum_)
        assert figures[one.values["result"]] == pytest.approx(eval(sum_)), one


def test_numbers_are_different_words():
    """No two numbers up to a thousand have the same words."""
    assert len({in_words(number) for number in range(1, 1_001)}) == 1_000
    assert [in_words(number) for number in (100, 900, 1_000, 12_345)] == [
        "a hunner", "nine hunner", "a thoosan", "twal thoosan three hunner an forty-five",
    ]  # fmt: skip


def test_lines_stand_beside_their_english():
    """A line that is translated has the English of its row."""
    pairs = {row["doric"]: row["english"] for row in read_table("asks/lines.tsv")}
    for one in subjects("lines"):
        assert pairs[one.values["doric"]] == one.values["english"] == one.values["line"]


# ---- shares


def test_the_default_mix_has_every_ask():
    """Without changes, each ask has the share of its file, and some prompts are typed carelessly."""
    mix = asks.read_mix("default")
    assert mix == asks.read_mix("") == asks.check_mix(asks.default_mix())
    assert {*NAMES, asks.TYPED} >= set(mix)
    assert 0 < sum(asks.of_bucket(mix, asks.CORE).values()) < 0.5


def test_shares_can_be_changed():
    """A share replaces that of the file, 0 leaves an ask out, and "none" leaves all out that stand before it."""
    changed = asks.read_mix("greeting=0.1, sum=0")
    assert changed["greeting"] == 0.1
    assert "sum" not in changed
    assert changed["meaning"] == asks.asks()["meaning"].share
    assert asks.read_mix("none") == {}
    assert asks.read_mix("none,sum=0.25") == {"sum": 0.25}
    assert asks.read_mix("sum=0.25,none,default") == asks.read_mix("default")


WRONG = {
    "an unknown name": ("greting=0.1", "no ask 'greting'"),
    "no share": ("greeting", "'greeting' has no share"),
    "no number": ("greeting=much", "'greeting=much' has no share"),
    "a negative share": ("greeting=-0.1", "has no share from 0 to 1"),
    "too large": ("greeting=1.1", "has no share from 0 to 1"),
    "no finite number": ("greeting=nan", "has no share from 0 to 1"),
    "too much together": ("greeting=0.8,sum=0.8", "more than 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_mix_is_an_error(case):
    """The error says which part of --ask-mix is wrong."""
    text, said = WRONG[case]
    with pytest.raises(SettingsError, match=said):
        asks.read_mix(text)


def test_every_answer_to_a_need_passes_its_gates():
    """At least 24 pairs have answers in Doric that quote English, and every combination of their parts passes."""
    need = asks.asks()["need"]
    assert (need.bucket, len(need.pairs) >= 24) == ("adv", True)
    for pair in need.pairs:
        for number in range(pair.answers):
            text = pair.answer(number)
            assert not gates.check(text, prompt=pair.asks[0], topic="need", kind="adv", ask="need"), text
