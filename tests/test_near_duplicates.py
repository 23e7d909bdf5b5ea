"""The near-duplicate index with and without rapidfuzz, compared with brute force."""

import os
import random
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doric.core.text import fold
from doric.quality import near_duplicates
from doric.quality.near_duplicates import (
    Match,
    NearDuplicateIndex,
    common_length,
    grams,
    most_similar_plain,
    signature,
)

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
WORDS = ("the", "quine", "gaed", "doon", "tae", "shore", "wi", "her", "faither", "an", "bocht", "haddock", "oot")
LETTERS = st.text("abc é", max_size=60)


@pytest.fixture(params=["rapidfuzz", "plain"])
def either_way(request, monkeypatch):
    """Runs the test twice: with rapidfuzz and without it."""
    if request.param == "plain":
        monkeypatch.setattr(near_duplicates, "process", None)
    else:
        pytest.importorskip("rapidfuzz")


def sentence(draw):
    """A sentence of 10 to 18 made-up words."""
    spelled = ("".join(draw.choices("aeinorstlhdwkb", k=draw.randint(2, 8))) for _ in range(draw.randint(10, 18)))
    return " ".join(spelled).capitalize() + "."


def formulaic(draw, count):
    """Texts of four sentences. As in the embedded voice, each sentence comes from a pool of five."""
    pools = [[sentence(draw) for _ in range(5)] for _ in range(4)]
    return [" ".join(draw.choice(pool) for pool in pools) for _ in range(count)]


def edited(draw, text, share):
    """The text with about the given share of its words replaced."""
    return " ".join(draw.choice(WORDS) if draw.random() < share else word for word in text.split())


@pytest.mark.usefixtures("either_way")
def test_text_that_folds_to_a_stored_text_matches_it():
    """Texts that differ only in case, spacing and character width have a similarity of 1."""
    index = NearDuplicateIndex()
    index.add("first", "Fit like, ma quine?")
    assert index.nearest("  fit LIKE,\n ma quine? ") == Match("first", 1.0)
    assert index.nearest(unicodedata.normalize("NFKC", "Ｆit like, ma quine?")) == Match("first", 1.0)


@pytest.mark.usefixtures("either_way")
def test_the_most_similar_stored_text_is_returned():
    """If several texts are similar, the most similar text is returned with its similarity."""
    draw = random.Random(1)
    text = " ".join(sentence(draw) for _ in range(4))
    words = text.split()
    index = NearDuplicateIndex()
    index.add("other", " ".join(sentence(draw) for _ in range(4)))
    index.add("far", " ".join([*words[:-3], "a", "puckle", "mair"]))
    index.add("near", " ".join([*words[:-1], "mair"]))
    match = index.nearest(text)
    assert match is not None
    assert match.id == "near"
    assert 0.9 <= match.similarity < 1


@pytest.mark.usefixtures("either_way")
def test_unrelated_texts_do_not_match():
    """If no text reaches the threshold, or the index is empty, there is no match."""
    draw = random.Random(2)
    index = NearDuplicateIndex()
    assert index.nearest("Aye.") is None
    for number in range(50):
        text = " ".join(sentence(draw) for _ in range(4))
        assert index.nearest(text) is None
        index.add(str(number), text)
    assert len(index) == 50


@pytest.mark.usefixtures("either_way")
def test_the_first_of_equals_is_returned():
    """If two texts are equally similar, the text that was added first is returned."""
    text = "the haddock wis caught aff the coast at brakk o day bi twa boats fae the broch an selt bi noon"
    index = NearDuplicateIndex()
    index.add("one", text.replace("noon", "nine"))
    index.add("two", text.replace("noon", "nane"))
    match = index.nearest(text)
    assert match is not None
    assert match.id == "one"


def test_the_same_text_is_stored_once():
    """Adding a text again, or a text with the same folded form, changes nothing."""
    index = NearDuplicateIndex()
    index.add("one", "Fit like?")
    index.add("two", "fit  like?")
    assert len(index) == 1
    assert index.nearest("FIT LIKE?") == Match("one", 1.0)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("text", ["", " ", "a", "aye", "naebody kens", "\ud800", "😀" * 5, "\0"])
def test_texts_of_any_length_can_be_stored(text):
    """Empty, very short and unusual texts are stored and are found again."""
    index = NearDuplicateIndex()
    assert index.nearest(text) is None
    index.add("odd", text)
    assert index.nearest(text) == Match("odd", 1.0)


@UNTIMED
@given(LETTERS, LETTERS)
def test_common_length_is_that_of_the_longest_common_subsequence(a, b):
    """The bit-parallel method and the textbook table give the same result."""
    row = [0] * (len(b) + 1)
    for char in a:
        above = row
        row = [0]
        for place, other in enumerate(b):
            row.append(above[place] + 1 if char == other else max(above[place + 1], row[place]))
    assert common_length(a, b) == row[-1]


@UNTIMED
@given(LETTERS.filter(bool), st.lists(LETTERS.filter(bool), min_size=1, max_size=6), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_result_is_the_same_without_rapidfuzz(text, others, threshold):
    """The same text is returned with exactly the same similarity with and without rapidfuzz, also at the threshold."""
    pytest.importorskip("rapidfuzz")
    assert near_duplicates.most_similar(text, others, threshold) == most_similar_plain(text, others, threshold)


@pytest.mark.parametrize("edits", [9, 10, 11])
def test_a_similarity_equal_to_the_threshold_matches(edits):
    """A similarity of exactly 0.9, which rapidfuzz's ratio gives as 90, is a near-duplicate."""
    fuzz = pytest.importorskip("rapidfuzz").fuzz
    text, other = "a" * 100, "a" * (100 - edits) + "b" * edits
    found = near_duplicates.most_similar(text, [other], 0.9)
    assert (found is not None) == (edits <= 10) == (fuzz.ratio(text, other) >= 90)
    assert found == most_similar_plain(text, [other], 0.9)


@pytest.mark.parametrize("threshold", [0.5, 0.75, 0.8, 0.9, 0.95])
def test_candidates_are_texts_whose_length_allows_the_threshold(threshold):
    """A stored text is a candidate only if its length allows a similarity that reaches the threshold."""
    index = NearDuplicateIndex(threshold)
    lengths = range(4, 61)  # texts of four or more letters have the same set of grams
    for length in lengths:
        index.add(str(length), "a" * length)
    for length in lengths:
        similar = [str(other) for other in lengths if 2 * min(length, other) / (length + other) >= threshold - 1e-9]
        assert index.candidates("a" * length) == similar


def test_grams_are_every_run_of_four_bytes():
    """The grams are all runs of four bytes, and the text is padded with three spaces on each side."""
    for length in range(12):
        text = "abcdefghijklmnop"[:length]
        padded = f"   {text}   ".encode()
        runs = {padded[start : start + 4] for start in range(len(padded) - 3)}
        assert set(grams(text)) - runs <= {b"    ", padded[-3:] + b" ", padded[-2:] + b"  ", padded[-1:] + b"   "}
        assert runs <= set(grams(text))


def test_signature_is_the_same_in_every_process():
    """A signature does not depend on the seed of Python's string hashing."""
    code = "from doric.quality.near_duplicates import signature; print(signature('fit like the day'))"
    path = os.pathsep.join(sys.path)
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert printed == {f"{signature('fit like the day')}\n"}


def test_every_text_is_found_after_the_table_has_grown(monkeypatch):
    """If the hash table has grown several times, the index still finds each stored text."""
    monkeypatch.setattr(near_duplicates, "FIRST_SLOTS", 2**8)
    draw = random.Random(6)
    index = NearDuplicateIndex()
    texts = [" ".join(sentence(draw) for _ in range(3)) for _ in range(1000)]
    for number, text in enumerate(texts):
        index.add(str(number), text)
    assert [index.nearest(f"{text} An mair.").id for text in texts] == [str(number) for number in range(1000)]


def test_candidates_share_a_band_hash():
    """The candidates are the stored texts that share a band hash with the text, in the order of their addition."""
    draw = random.Random(3)
    rows = formulaic(draw, 60)
    index = NearDuplicateIndex(threshold=0.01)
    for number, row in enumerate(rows):
        index.add(str(number), row)
    text = edited(draw, rows[7], 0.2)
    hashes = set(signature(fold(text)))
    sharing = [str(number) for number, row in enumerate(rows) if hashes & set(signature(fold(row)))]
    assert index.candidates(text) == sharing
    assert 1 < len(sharing) < len(rows)


def test_stored_texts_are_returned_folded():
    """`texts` contains each stored text once, in its folded form."""
    index = NearDuplicateIndex()
    for text in ("Fit like?", "fit  LIKE?", "Nae bad."):
        index.add(text, text)
    assert index.texts == ("fit like?", "nae bad.")


@pytest.mark.parametrize("seed", range(4))
def test_recall_against_brute_force(seed):
    """The index finds at least 98% of the pairs that brute force finds, including pairs just above 0.9."""
    fuzz = pytest.importorskip("rapidfuzz").fuzz
    draw = random.Random(seed)
    rows = [*formulaic(draw, 250), *(" ".join(sentence(draw) for _ in range(4)) for _ in range(150))]
    rows += [edited(draw, text, draw.uniform(0.01, 0.12)) for text in rows]
    folded = [fold(row) for row in rows]
    index, expected, found = NearDuplicateIndex(), 0, 0
    for number, row in enumerate(rows):
        if any(fuzz.ratio(folded[number], other, score_cutoff=90) for other in folded[:number]):
            expected += 1
            found += index.nearest(row) is not None
        else:
            assert index.nearest(row) is None
        index.add(str(number), row)
    assert expected > 150
    assert found >= 0.98 * expected
