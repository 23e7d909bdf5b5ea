"""The checks of the language data. Each problem is reported with file, line and reason."""

import shutil
from pathlib import Path

import pytest

from doric.data import FOLDER as DATA
from doric.data import names
from doric.dialect import lint

PHRASES = "phrases/food_and_cooking.toml"
CENTRAL_SENTENCE = "Dinna gang oot in the snaw wi a wean, an tell naebody whit ye saw."


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """A copy of the data, which the test changes."""
    copy = tmp_path / "data"
    shutil.copytree(str(DATA), copy)
    monkeypatch.setattr("doric.data.FOLDER", copy)
    return copy


def errors() -> list[lint.Finding]:
    return [finding for finding in lint.lint() if finding.is_error]


def append(file: Path, line: str) -> int:
    """Append a line to the file and return its number."""
    text = file.read_text("utf-8").rstrip("\n") + "\n"
    file.write_text(f"{text}{line}\n", "utf-8")
    return text.count("\n") + 1


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


def first_sentence(file: Path) -> tuple[int, str]:
    lines = file.read_text("utf-8").splitlines()
    number = next(at for at, line in enumerate(lines, 1) if line.lstrip().startswith('"'))
    return number, lines[number - 1].strip().strip('",')


def test_the_shipped_data_has_no_errors():
    """The data in the repository has no errors and few warnings."""
    assert errors() == []
    assert len(list(lint.lint())) < 40


# ---- the format of the files


def test_every_data_file_is_checked(data):
    """A problem is found in each of the data files."""
    others = [path for path in data.rglob("*.*") if path.suffix not in (".py", ".pyc") and path.parent.name != "report"]
    for path in others:
        path.write_bytes(b"caf\xe9\n" + path.read_bytes())
    assert {finding.file for finding in lint.lint_files()} == {str(path.relative_to(data)) for path in others}


@pytest.mark.parametrize("name", names("", ".toml") + names("phrases", ".toml"))
def test_a_missing_quotation_mark_is_found_in_any_toml_file(data, name):
    """A TOML file that cannot be parsed gives one error with the line number."""
    number = append(data / name, 'lost = "mark')
    (finding,) = lint.lint_files()
    assert (finding.file, finding.line, finding.is_error) == (name, number, True)
    assert "cannot read the file" in finding.reason


def test_a_missing_comma_is_shown_with_the_line_after_it(data):
    """The error has the line where the parser stopped, and says that the mistake may be just above that line."""
    file = data / "holds.toml"
    text = file.read_text("utf-8")
    at = text.index('",\n') + 1
    file.write_text(text[:at] + text[at + 1 :], "utf-8")
    (finding,) = lint.lint_files()
    assert finding.line == text[:at].count("\n") + 2
    assert finding.text == text.splitlines()[finding.line - 1].strip()[:60]
    assert "missing comma" in finding.reason
    assert "just above" in finding.reason


def test_errors_in_one_file_do_not_hide_those_in_others(data):
    """If a phrase file cannot be parsed, the other files are still checked."""
    number, sentence = first_sentence(data / PHRASES)
    change(data / PHRASES, f'"{sentence}"', f'"{sentence}')
    append(data / "lexicon.tsv", "zzword\tthing\tdoric\tn\t\t\t")
    found = {finding.file: finding for finding in errors()}
    assert found.keys() == {PHRASES, "lexicon.tsv"}
    assert found[PHRASES].line in (number, number + 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": "x-1", "bucket": "core"', "not valid JSON"),
        ("[1]", "missing or not a string: id, bucket, lang, group, prompt"),
        ('{"id": "x-1", "bucket": "core", "lang": "en", "group": "home", "prompt": 3}', "not a string: prompt"),
        ('{"id": "core-001", "bucket": "core", "lang": "en", "group": "home", "prompt": "Why?"}', "duplicate id"),
    ],
)
def test_a_malformed_held_out_prompt_is_found(data, line, reason):
    """A line that is not a held-out prompt, or that repeats an id, is an error."""
    number = append(data / "heldout.jsonl", line)
    (finding,) = lint.lint_files()
    assert (finding.file, finding.line) == ("heldout.jsonl", number)
    assert reason in finding.reason


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("leakage.tsv", "zzword\tzz\tmuch", "the weight is 'much': write a number from 0 to 1"),
        ("leakage.tsv", "zzword\tzz\t1.5", "the weight is '1.5'"),
        ("leakage.tsv", "zzword\tzz\tnan", "the weight is 'nan'"),
        ("central.tsv", "zzword\tzz\tstark", "unknown strength 'stark': write one of strong, weak"),
        ("lexicon.tsv", "zzword\tzz\tdoric\tn\t\t\t", "unknown class 'doric': write one of "),
        ("lexicon.tsv", "affa\tvery\tne\tadv\t\t\t", "duplicate of line "),
        ("lexicon.tsv", "zzword zz\tne\tn\t\t\t", "6 columns instead of 7"),
        ("multilingual/health.tsv", "keeping well", "1 column instead of 15"),
    ],
)
def test_a_malformed_table_row_is_found(data, name, line, reason):
    """A wrong cell, a duplicate row and a missing tab are errors."""
    number = append(data / name, line)
    (finding,) = lint.lint_files()
    assert (finding.file, finding.line) == (name, number)
    assert reason in finding.reason


def test_an_invalid_regular_expression_is_found(data):
    """A regular expression of the gates that cannot be compiled gives an error with its line."""
    change(data / "gates.toml", "'```'", "'```', '(zz'")
    (finding,) = lint.lint_files()
    assert "regular expression" in finding.reason
    assert "'(zz'" in (data / "gates.toml").read_text("utf-8").splitlines()[finding.line - 1]


@pytest.mark.parametrize(
    ("prefix", "reason"), [(b"\xef\xbb\xbf", "byte-order mark"), (b"# caf\xe9\n", "save the file as UTF-8")]
)
@pytest.mark.parametrize("name", [PHRASES, "function_words.txt", "heldout.jsonl", "leakage.tsv"])
def test_another_encoding_is_found(data, name, prefix, reason):
    """A file in another encoding gives an error on line 1."""
    (data / name).write_bytes(prefix + (data / name).read_bytes())
    found = list(lint.lint_files())
    assert {(finding.file, finding.line) for finding in found} == {(name, 1)}
    assert reason in found[0].reason


@pytest.mark.parametrize("name", ["heldout.jsonl", "central.tsv"])
def test_a_missing_file_is_found(data, name):
    """A missing file gives an error without a traceback."""
    (data / name).unlink()
    assert {finding.file for finding in lint.lint_files()} == {name}


# ---- the sentences


def test_a_central_form_is_an_error_with_the_house_form(data):
    """A Central Scots form in a sentence gives an error that names the form to write instead."""
    number, sentence = first_sentence(data / PHRASES)
    change(data / PHRASES, sentence, CENTRAL_SENTENCE)
    (finding,) = errors()
    assert (finding.file, finding.line) == (PHRASES, number)
    assert "whit (write fit)" in finding.reason


def test_a_duplicate_sentence_is_an_error(data):
    """A sentence that is in two files gives an error that names its first place."""
    _, sentence = first_sentence(data / PHRASES)
    other = data / "phrases" / "travel.toml"
    change(other, first_sentence(other)[1], sentence)
    assert any(f"duplicate of {PHRASES}" in finding.reason for finding in errors())


def test_english_in_a_sentence_is_a_warning(data):
    """An English word in a sentence gives a warning, and warnings do not fail the check."""
    _, sentence = first_sentence(data / PHRASES)
    change(data / PHRASES, sentence, "Dinna fash aboot the broth what you made, it's gweed eneuch for the hale hoose.")
    warnings = [finding for finding in lint.lint() if not finding.is_error and finding.file == PHRASES]
    assert any("English words: what" in finding.reason for finding in warnings)
    assert errors() == []


def test_sentences_are_checked_unless_the_word_tables_have_errors(data):
    """The sentences are still checked after an error in another file, but not after an error in a word table."""
    append(data / "judge.toml", "lost")
    change(data / "holds.toml", first_sentence(data / "holds.toml")[1], CENTRAL_SENTENCE)
    assert any(finding.file == "holds.toml" for finding in lint.lint())
    append(data / "central.tsv", "lost")
    assert {finding.file for finding in lint.lint()} == {"judge.toml", "central.tsv"}
