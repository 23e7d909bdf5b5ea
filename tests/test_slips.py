"""What keeps a data file from being read is told by file and line, whatever the file and whatever the slip."""

import shutil
from pathlib import Path

import pytest

from doric.data import FOLDER as DATA
from doric.data import names as data_names
from doric.dialect import lint

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
    assert list(lint.lint_files()) == []


def test_the_files_are_all_there_is():
    """Every kind of data is read, so that no file is left out."""
    assert {"prompts.toml", "instructions.toml", "collisions.toml", "gates.toml", "judge.toml", "holds.toml"} < set(
        TOML
    )
    read = {*TOML, *lint.TABLES, *data_names("", ".txt"), *data_names("multilingual", ".tsv"), "heldout.jsonl"}
    there = {str(path.relative_to(str(DATA))) for path in Path(str(DATA)).rglob("*.*")}
    assert {
        name for name in there - read if not name.startswith("report/") and not name.endswith((".py", ".pyc"))
    } == set()


@pytest.mark.parametrize("name", TOML)
def test_a_lost_quotation_mark_in_any_toml(data, name):
    """A TOML file that cannot read the file is one line to mend, with its number."""
    number = append(data / name, 'lost = "mark')
    (finding,) = lint.lint_files()
    assert (finding.file, finding.line, finding.is_error) == (name, number, True)
    assert "cannot read the file" in finding.reason


def test_a_lost_comma_is_shown_with_the_line_it_was_met_on(data):
    """What is told of a TOML file shows the line and what to look for, there and above."""
    file = data / "holds.toml"
    text = file.read_text("utf-8")
    at = text.index('",\n') + 1
    file.write_text(text[:at] + text[at + 1 :], "utf-8")
    (finding,) = lint.lint_files()
    assert finding.line == text[:at].count("\n") + 2
    assert finding.text == text.splitlines()[finding.line - 1].strip()[:60]
    assert "comma" in finding.reason


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"id": "x-1", "bucket": "core"', "not valid JSON"),
        ("[1]", "missing or not a string: id, bucket, lang, group, prompt"),
        ('{"id": "x-1", "bucket": "core", "lang": "en", "group": "home", "prompt": 3}', "string: prompt"),
        (
            '{"id": "core-001", "bucket": "core", "lang": "en", "group": "home", "prompt": "Why?"}',
            "first used on line 1",
        ),
    ],
)
def test_a_slip_in_a_held_out_prompt(data, line, why):
    """A line that is no held-out prompt, or has the id of another, is told."""
    number = append(data / "heldout.jsonl", line)
    (finding,) = lint.lint_files()
    assert (finding.file, finding.line) == ("heldout.jsonl", number)
    assert why in finding.reason


@pytest.mark.parametrize(
    ("name", "line", "why"),
    [
        ("leakage.tsv", "zzword\tzz\tmuch", "the weight is 'much': write a number from 0 to 1"),
        ("leakage.tsv", "zzword\tzz\t1.5", "the weight is '1.5'"),
        ("leakage.tsv", "zzword\tzz\tnan", "the weight is 'nan'"),
        ("central.tsv", "zzword\tzz\tstark", "unknown strength 'stark': write one of strong, weak"),
        ("lexicon.tsv", "zzword\tzz\tdoric\tn\t\t\t", "unknown class 'doric'"),
        ("multilingual/health.tsv", "keeping well", "1 column instead of 15"),
    ],
)
def test_a_cell_that_no_reader_takes(data, name, line, why):
    """A cell that must be one of a few words, or a share, is told by file and line; a missing tab too."""
    number = append(data / name, line)
    (finding,) = lint.lint_files()
    assert (finding.file, finding.line) == (name, number)
    assert why in finding.reason


def test_a_pattern_that_is_none(data):
    """A pattern of the gates with an open bracket is told with its line."""
    text = (data / "gates.toml").read_text("utf-8")
    (data / "gates.toml").write_text(text.replace("'```'", "'```', '(zz'"), "utf-8")
    (finding,) = lint.lint_files()
    assert "regular expression" in finding.reason
    assert "'(zz'" in (data / "gates.toml").read_text("utf-8").splitlines()[finding.line - 1]


@pytest.mark.parametrize("name", ["function_words.txt", "heldout.jsonl", "judge.toml", "leakage.tsv"])
def test_another_encoding_in_any_file(data, name):
    """What an editor may do to any of the files on saving is told."""
    (data / name).write_bytes(b"caf\xe9\n" + (data / name).read_bytes())
    assert {(finding.file, finding.line) for finding in lint.lint_files()} == {(name, 1)}


@pytest.mark.parametrize("name", ["heldout.jsonl", "central.tsv"])
def test_a_file_that_is_gone(data, name):
    """A file that is not there is told, not stumbled over."""
    (data / name).unlink()
    assert {finding.file for finding in lint.lint_files()} == {name}


def test_sentences_are_still_read_beside_a_slip_elsewhere(data):
    """A slip in one file does not hide what is wrong with a sentence in another; one in the word tables does."""
    append(data / "judge.toml", "lost")
    sentence = "Dinna gang oot in the snaw wi a wean, an tell naebody whit ye saw."
    change = (data / "holds.toml").read_text("utf-8").split('"')[1]
    (data / "holds.toml").write_text((data / "holds.toml").read_text("utf-8").replace(change, sentence, 1), "utf-8")
    assert any(finding.file == "holds.toml" for finding in lint.lint())
    append(data / "central.tsv", "lost")
    assert {finding.file for finding in lint.lint()} == {"judge.toml", "central.tsv"}
