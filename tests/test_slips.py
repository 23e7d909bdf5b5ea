"""What keeps a data file from being read is told by file and line, whatever the file and whatever the slip."""

import shutil
from pathlib import Path

import pytest

from doric.data import FOLDER as DATA
from doric.data import names as data_names
from doric.dialect import lint as slips
from doric.dialect import proofs

TOML = data_names("", ".toml") + data_names("phrases", ".toml")


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """A copy of the data to make slips in."""
    copy = tmp_path / "data"
    shutil.copytree(str(DATA), copy)
    monkeypatch.setattr("doric.data.FOLDER", copy)
    return copy


def append(file: Path, line: str) -> int:
    """Put a line at the end; its number."""
    text = file.read_text("utf-8").rstrip("\n") + "\n"
    file.write_text(f"{text}{line}\n", "utf-8")
    return text.count("\n") + 1


def test_the_data_as_it_is_can_be_read():
    """Nothing that ships holds a slip."""
    assert list(slips.slips()) == []


def test_the_files_are_all_there_is():
    """Every kind of data is read, so that no file is left out."""
    assert {"prompts.toml", "instructions.toml", "collisions.toml", "gates.toml", "judge.toml", "holds.toml"} < set(
        TOML
    )
    read = {*TOML, *slips.TABLES, *data_names("", ".txt"), *data_names("multilingual", ".tsv"), "heldout.jsonl"}
    there = {str(path.relative_to(str(DATA))) for path in Path(str(DATA)).rglob("*") if path.is_file()}
    assert {name for name in there - read if not name.startswith("report/")} == set()


@pytest.mark.parametrize("name", TOML)
def test_a_lost_quotation_mark_in_any_toml(data, name):
    """A TOML file that cannot be read is one line to mend, with its number."""
    number = append(data / name, 'lost = "mark')
    (note,) = slips.slips()
    assert (note.file, note.line, note.fault) == (name, number, True)
    assert "cannot be read" in note.why


def test_a_lost_comma_is_shown_with_the_line_it_was_met_on(data):
    """What is told of a TOML file shows the line and what to look for, there and above."""
    file = data / "holds.toml"
    text = file.read_text("utf-8")
    at = text.index('",\n') + 1
    file.write_text(text[:at] + text[at + 1 :], "utf-8")
    (note,) = slips.slips()
    assert note.line == text[:at].count("\n") + 2
    assert note.text == text.splitlines()[note.line - 1].strip()[:60]
    assert "comma" in note.why


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"id": "x-1", "bucket": "core"', "not JSON"),
        ("[1]", "lacks id, bucket, lang, group, prompt"),
        ('{"id": "x-1", "bucket": "core", "lang": "en", "group": "home", "prompt": 3}', "lacks prompt"),
        ('{"id": "core-001", "bucket": "core", "lang": "en", "group": "home", "prompt": "Why?"}', "stands on line 1"),
    ],
)
def test_a_slip_in_a_held_out_prompt(data, line, why):
    """A line that is no held-out prompt, or has the id of another, is told."""
    number = append(data / "heldout.jsonl", line)
    (note,) = slips.slips()
    assert (note.file, note.line) == ("heldout.jsonl", number)
    assert why in note.why


@pytest.mark.parametrize(
    ("name", "line", "why"),
    [
        ("leakage.tsv", "zzword\tzz\tmuch", "its weight is 'much', not a number from 0 to 1"),
        ("leakage.tsv", "zzword\tzz\t1.5", "its weight is '1.5'"),
        ("leakage.tsv", "zzword\tzz\tnan", "its weight is 'nan'"),
        ("central.tsv", "zzword\tzz\tstark", "its strength is 'stark', not one of strong, weak"),
        ("lexicon.tsv", "zzword\tzz\tdoric\tn\t\t\t", "its class is 'doric'"),
        ("multilingual/health.tsv", "keeping well", "it has 1 columns, not 15"),
    ],
)
def test_a_cell_that_no_reader_takes(data, name, line, why):
    """A cell that must be one of a few words, or a share, is told by file and line; a missing tab too."""
    number = append(data / name, line)
    (note,) = slips.slips()
    assert (note.file, note.line) == (name, number)
    assert why in note.why


def test_a_pattern_that_is_none(data):
    """A pattern of the gates with an open bracket is told with its line."""
    text = (data / "gates.toml").read_text("utf-8")
    (data / "gates.toml").write_text(text.replace("'```'", "'```', '(zz'"), "utf-8")
    (note,) = slips.slips()
    assert "no pattern" in note.why
    assert "'(zz'" in (data / "gates.toml").read_text("utf-8").splitlines()[note.line - 1]


@pytest.mark.parametrize("name", ["function_words.txt", "heldout.jsonl", "judge.toml", "leakage.tsv"])
def test_another_encoding_in_any_file(data, name):
    """What an editor may do to any of the files on saving is told."""
    (data / name).write_bytes(b"caf\xe9\n" + (data / name).read_bytes())
    assert {(note.file, note.line) for note in slips.slips()} == {(name, 1)}


@pytest.mark.parametrize("name", ["heldout.jsonl", "central.tsv"])
def test_a_file_that_is_gone(data, name):
    """A file that is not there is told, not stumbled over."""
    (data / name).unlink()
    assert {note.file for note in slips.slips()} == {name}


def test_sentences_are_still_read_beside_a_slip_elsewhere(data):
    """A slip in one file does not hide what is wrong with a sentence in another; one in the word tables does."""
    append(data / "judge.toml", "lost")
    sentence = "Dinna gang oot in the snaw wi a wean, an tell naebody whit ye saw."
    change = (data / "holds.toml").read_text("utf-8").split('"')[1]
    (data / "holds.toml").write_text((data / "holds.toml").read_text("utf-8").replace(change, sentence, 1), "utf-8")
    assert any(note.file == "holds.toml" for note in proofs.notes())
    append(data / "central.tsv", "lost")
    assert {note.file for note in proofs.notes()} == {"judge.toml", "central.tsv"}
