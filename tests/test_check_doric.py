"""The script that checks the language data."""

import re
import subprocess
import sys

import check_doric
from doric.dialect import lint


def test_data_without_errors_is_exit_0(capsys):
    """Without errors the script prints one line and exits with 0."""
    assert check_doric.main([]) == 0
    assert capsys.readouterr().out.startswith("0 errors, ")


def test_errors_are_listed_and_exit_1(capsys, monkeypatch):
    """Errors are listed with file, line and reason, and warnings are listed only with --doubts."""
    made = [
        lint.Finding("lexicon.tsv", 7, "affa", "it has 2 columns", True),
        lint.Finding("holds.toml", 3, "x", "thin", False),
    ]
    monkeypatch.setattr(lint, "lint", lambda: iter(made))
    assert check_doric.main([]) == 1
    shown = capsys.readouterr().out
    assert re.search(r"^error: \S*data/lexicon.tsv:7: affa", shown, re.MULTILINE)
    assert "holds.toml" not in shown
    assert shown.splitlines()[-1].startswith("1 error, 1 warning")
    assert check_doric.main(["--doubts"]) == 1
    assert re.search(r"^warning: \S*data/holds.toml:3: x", capsys.readouterr().out, re.MULTILINE)


def test_say_explains_a_sentence_word_by_word(capsys):
    """--say shows the meaning of each word and whether the text would pass the gates."""
    assert (
        check_doric.main(["--say", "Fan the caul win blaas, steek the door an dinna lat the heat oot o the hoose."])
        == 0
    )
    shown = capsys.readouterr().out
    assert "when · North-East" in shown
    assert "As an answer it would pass." in shown
    assert check_doric.main(["--say", "Good morning."]) == 0
    assert "would be rejected" in capsys.readouterr().out


def test_say_needs_data_without_errors(capsys, monkeypatch):
    """If the data cannot be read, --say lists the errors and exits with 1."""
    monkeypatch.setattr(
        lint, "lint_files", lambda: iter([lint.Finding("gates.toml", 3, "", "it cannot be read", True)])
    )
    assert check_doric.main(["--say", "Aye."]) == 1
    assert re.search(r"^error: \S*data/gates.toml:3: ", capsys.readouterr().out, re.MULTILINE)


def test_a_closed_pipe_is_no_error():
    """If the program that reads the pipe ends, as `head` does, the script ends without a message and exits with 0."""
    argv = [sys.executable, check_doric.__file__, "--doubts"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        assert run.stderr.read() == b""
    assert run.returncode == 0
