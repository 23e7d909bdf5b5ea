"""The script that checks the language data."""

import subprocess
import sys

import check_doric
from doric.dialect import lint as slips
from doric.dialect import proofs


def test_sound_data_is_exit_0(capsys):
    """Nothing to mend: one line and exit 0."""
    assert check_doric.main([]) == 0
    assert capsys.readouterr().out.startswith("0 lines to mend")


def test_faults_are_listed_and_exit_1(capsys, monkeypatch):
    """A fault is shown with file, line and reason; a doubt only when asked for."""
    made = [
        proofs.Note("lexicon.tsv", 7, "affa", "it has 2 columns", True),
        proofs.Note("holds.toml", 3, "x", "thin", False),
    ]
    monkeypatch.setattr(proofs, "notes", lambda: iter(made))
    assert check_doric.main([]) == 1
    shown = capsys.readouterr().out
    assert "WRONG  data/lexicon.tsv, line 7: affa" in shown
    assert "holds.toml" not in shown
    assert shown.splitlines()[-1].startswith("1 line to mend, 1 that")
    assert check_doric.main(["--doubts"]) == 1
    assert "doubt  data/holds.toml, line 3: x" in capsys.readouterr().out


def test_a_sentence_is_read_word_by_word(capsys):
    """--say shows what each word means and whether the text would pass."""
    assert (
        check_doric.main(["--say", "Fan the caul win blaas, steek the door an dinna lat the heat oot o the hoose."])
        == 0
    )
    shown = capsys.readouterr().out
    assert "when · North-East" in shown
    assert "As an answer it would pass." in shown
    assert check_doric.main(["--say", "Good morning."]) == 0
    assert "would be refused" in capsys.readouterr().out


def test_no_sentence_is_read_by_broken_data(capsys, monkeypatch):
    """--say with data that cannot be read names the line to mend, exit 1."""
    monkeypatch.setattr(slips, "slips", lambda: iter([slips.Note("gates.toml", 3, "", "it cannot be read", True)]))
    assert check_doric.main(["--say", "Aye."]) == 1
    assert "WRONG  data/gates.toml, line 3" in capsys.readouterr().out


def test_a_reader_who_has_seen_enough_is_no_error():
    """Piped into `head`, the list ends without a complaint."""
    argv = [sys.executable, check_doric.__file__, "--doubts"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        assert run.stderr.read() == b""
    assert run.returncode == 0
