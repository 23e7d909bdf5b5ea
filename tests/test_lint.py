"""Proofreading the language data: every slip a hand can make is told with its file and line."""

import shutil
from pathlib import Path

import pytest

from doric.data import FOLDER as DATA
from doric.dialect import lint

PHRASES = "phrases/food_and_cooking.toml"


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """A copy of the data to make slips in."""
    copy = tmp_path / "data"
    shutil.copytree(str(DATA), copy)
    monkeypatch.setattr("doric.data.FOLDER", copy)
    return copy


def faults() -> list[lint.Finding]:
    return [finding for finding in lint.lint() if finding.is_error]


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


def first_sentence(file: Path) -> tuple[int, str]:
    lines = file.read_text("utf-8").splitlines()
    number = next(at for at, line in enumerate(lines, 1) if line.lstrip().startswith('"'))
    return number, lines[number - 1].strip().strip('",')


def test_the_data_as_it_is_has_no_fault():
    """Nothing that ships must be mended, and hardly a line is in doubt."""
    assert faults() == []
    assert len(list(lint.lint())) < 40


def test_a_missing_tab_is_told_with_its_line(data):
    """A table row with a cell too few is named by file and line."""
    change(data / "lexicon.tsv", "affa\t", "affa ")
    finding = faults()[0]
    assert finding.file == "lexicon.tsv"
    assert (data / "lexicon.tsv").read_text().splitlines()[finding.line - 1].startswith("affa ")
    assert "columns" in finding.reason


def test_a_word_that_stands_twice_is_told(data):
    """A second entry for a word names the first."""
    with (data / "lexicon.tsv").open("a", encoding="utf-8") as table:
        table.write("affa\tvery\tne\tadv\t\t\t\n")
    assert any("duplicate of line" in finding.reason for finding in faults())


def test_an_unknown_class_is_told(data):
    """A class that the lexicon does not know is named with those it does."""
    with (data / "lexicon.tsv").open("a", encoding="utf-8") as table:
        table.write("zzword\tthing\tdoric\tn\t\t\t\n")
    assert any("unknown class 'doric': write one of" in finding.reason for finding in faults())


def test_a_lost_quotation_mark_is_told_with_its_line(data):
    """A phrase file that cannot read the file is named, and the other files are still read."""
    number, sentence = first_sentence(data / PHRASES)
    change(data / PHRASES, f'"{sentence}"', f'"{sentence}')
    found = [finding for finding in faults() if finding.file == PHRASES]
    assert len(found) == 1
    assert found[0].line in (number, number + 1)
    assert "cannot read the file" in found[0].reason


def test_a_central_form_is_told_with_what_the_house_writes(data):
    """A form of Central Scots in a sentence is a fault that names its remedy."""
    _, sentence = first_sentence(data / PHRASES)
    change(data / PHRASES, sentence, "Dinna gang oot in the snaw wi a wean, an tell naebody whit ye saw.")
    finding = next(finding for finding in faults() if finding.file == PHRASES)
    assert "whit (write fit)" in finding.reason


def test_a_sentence_that_stands_twice_is_told(data):
    """A sentence of one file found in another names where it stands already."""
    _, sentence = first_sentence(data / PHRASES)
    other = data / "phrases" / "travel.toml"
    change(other, first_sentence(other)[1], sentence)
    assert any(f"duplicate of {PHRASES}" in finding.reason for finding in faults())


def test_english_in_a_sentence_is_a_doubt_for_a_speaker(data):
    """English left in a sentence is shown, and does not fail the check."""
    _, sentence = first_sentence(data / PHRASES)
    change(data / PHRASES, sentence, "Dinna fash aboot the broth what you made, it's gweed eneuch for the hale hoose.")
    doubts = [finding for finding in lint.lint() if not finding.is_error and finding.file == PHRASES]
    assert any("English words" in finding.reason for finding in doubts)
    assert faults() == []


@pytest.mark.parametrize(("prefix", "says"), [(b"\xef\xbb\xbf", "byte-order mark"), (b"# caf\xe9\n", "not UTF-8")])
def test_a_file_in_another_encoding_is_told(data, prefix, says):
    """What an editor may do to a file on saving is said in words."""
    path = data / PHRASES
    path.write_bytes(prefix + path.read_bytes())
    assert [says in finding.reason for finding in faults()] == [True]
