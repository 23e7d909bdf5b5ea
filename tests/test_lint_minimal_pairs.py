"""The checks of the minimal pairs: each mistake is found on its line, and a swap of a word changes both sides."""

import pytest

from doric.data import shown
from doric.evaluation.minimal_pairs import FILE
from doric.lint.check import check
from doric.lint.files import read_files
from doric.lint.minimal_pairs import check_minimal_pairs, differ_in_one
from doric.lint.swap import swap
from doric.lint.where import where
from language_data import copied, forget

RIGHT = "That's nae ma bonnet.\tThat's no ma bonnet."


@pytest.fixture
def data(tmp_path):
    """A copy of the data, which a test may change."""
    with copied(tmp_path / "data") as folder:
        yield folder


def write(folder, *rows: str) -> None:
    """Make these the only pairs: each is right and wrong with a tab between, and perhaps a phenomenon before."""
    full = [row if row.count("\t") > 1 else f"negation-nae\t{row}" for row in rows]
    lines = ["phenomenon\tright\twrong\tsource\tnote", *(f"{row}\tunverified" for row in full)]
    (folder / FILE).write_text("\n".join(lines) + "\n", "utf-8")
    forget()


def errors() -> list[tuple[int, str]]:
    """(line, reason) for each error in the file."""
    sources, broken = read_files()
    found = broken or list(check_minimal_pairs(sources))
    return [(finding.line, finding.reason) for finding in found if finding.is_error and finding.file == FILE]


def test_the_pairs_have_no_errors():
    """The file as it is passes."""
    assert [finding for finding in check() if finding.file == FILE] == []


def test_a_right_pair_has_no_errors(data):
    """A pair that differs in one word, in the house spelling, is accepted; few pairs are only a warning."""
    write(data, RIGHT)
    assert errors() == []
    sources, _ = read_files()
    assert [finding.is_error for finding in check_minimal_pairs(sources)] == [False]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("That's nae ma bonnet.\tThat's no my bonnet.", "differ in one word"),
        ("That's nae ma bonnet.\tThat's nae ma bonnet.", "differ in one word"),
        ("That's nae so heavy.\tThat's no so heavy.", "write sae for so"),
        ("That's nae auld.\tThat's no auld.", "write aul for auld"),
        ("That's nae ma bonnet\tThat's no ma bonnet", "does not end with"),
        ("That's  nae ma bonnet.\tThat's  no ma bonnet.", "one space"),
        ("Nae Me\tThat's nae ma bonnet.\tThat's no ma bonnet.", "small letters with hyphens"),
        ("That's nae ma bonnet.", "tab"),
        ("Fa's gyaan tae milk the kye the morn?\tWha's gyaan tae milk the kye the morn?", "models are trained on it"),
    ],
)
def test_each_mistake_is_found_on_its_line(data, row, says):
    """The line and what to write instead are in the error."""
    write(data, RIGHT, row)
    assert {line for line, reason in errors() if says in reason} == {3}


def test_a_sentence_may_be_there_once(data):
    """The same right sentence twice, and a sentence that is right here and wrong there, are errors."""
    write(data, RIGHT, RIGHT, "That's no ma bonnet.\tThat's not ma bonnet.")
    reasons = [reason for _, reason in errors()]
    assert any("line 2 has it already" in reason for reason in reasons)
    assert any("it is the wrong side of line 2" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("right", "wrong", "same"),
    [
        ("He's at the fishin.", "He's at fishin.", True),
        ("They bide here.", "The they bide here.", True),
        ("Foo lang is it?", "Foo is lang it?", True),
        ("Fit a day!", "Whit a days!", False),
        ("A dog.", "A big broon dog.", False),
    ],
)
def test_one_difference_is_a_word_or_the_order(right, wrong, same):
    """One word exchanged, one left out, or the same words in another order; nothing else."""
    assert differ_in_one(right, wrong) is same


def test_a_swap_changes_both_sides(data):
    """A word that both sides have is swapped in both, and the difference stays."""
    write(data, "The fleer's nae dry.\tThe fleer's no dry.")
    draft = swap(read_files()[0], "fleer", "flair").draft
    assert draft.line(FILE, 2).split("\t")[1:3] == ["The flair's nae dry.", "The flair's no dry."]


def test_a_word_with_a_clitic_can_be_swapped(data):
    """A word that is English too is swapped in lines that have it with a clitic ("The loon's lost his sheen")."""
    assert swap(read_files()[0], "loon", "loonikie").draft.files()


def test_a_swap_that_makes_a_pair_equal_is_left_to_a_person(data):
    """If the wrong form becomes the house form, the pair is named and not changed."""
    write(data, "The loon keepit the bonnet.\tThe loon keeped the bonnet.")
    result = swap(read_files()[0], "keepit", "keeped")
    assert f"{shown(FILE)}:2" in result.unclear
    assert FILE not in result.draft.files()


def test_a_pair_is_found_by_its_words(data):
    """--where lists the pairs that have a word or a part of a sentence."""
    write(data, RIGHT)
    sources = read_files()[0]
    for wanted in ("bonnet", "nae ma bonnet"):
        assert [place.line for place in where(sources, wanted) if place.file == FILE] == [2]
