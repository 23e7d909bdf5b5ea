"""The script that checks the language data."""

import io
import os
import re
import subprocess
import sys

import pytest

import check_doric
from doric.lint import check, files
from doric.lint.source import Finding, Source
from doric.lint.spelling import check_house_spelling


def test_data_without_errors_is_exit_0(capsys):
    """Without errors the script prints one line and exits with 0."""
    assert check_doric.main([]) == 0
    assert capsys.readouterr().out.startswith("0 errors, ")


def test_errors_are_listed_and_exit_1(capsys, monkeypatch):
    """Errors are listed with file, line and reason, and warnings are listed only with --doubts."""
    made = [
        Finding("lexicon.tsv", 7, "affa", "it has 2 columns", True),
        Finding("holds.toml", 3, "x", "thin", False),
    ]
    monkeypatch.setattr(check, "check", lambda lists: made)
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
    assert "  Fan: North-East (when)\n" in shown
    assert "As an answer it would pass." in shown
    assert check_doric.main(["--say", "Good morning."]) == 0
    assert "would be rejected" in capsys.readouterr().out
    assert check_doric.main(["--say", "So it's caal, if ye ken."]) == 0
    assert capsys.readouterr().out.endswith("In the main spellings: Sae it's caul, gin ye ken.\n")


def test_say_accepts_words_without_quotes(capsys):
    """`--say the caul win` means the same as with quotes."""
    assert check_doric.main(["--say", "the", "caul", "win", "--doubts"]) == 0
    unquoted = capsys.readouterr().out
    assert check_doric.main(["--say", "the caul win"]) == 0
    assert capsys.readouterr().out == unquoted


def test_say_explains_what_to_write_and_what_does_not_count(capsys):
    """--say names the Doric for an English or Central word, the main spelling, and why a word does not count."""
    assert check_doric.main(["--say", "You saw the loon, a guid caal day in the hale toon wi Fit an Fan."]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "  You: English; write ye" in shown
    assert "  guid: general Scots; write gweed" in shown
    assert "  caal: North-East (cold); the main spelling is caul" in shown
    assert "  Fit: not counted here, because the capital letter makes it look like a name" in shown
    assert "  hale: never counted, because no context shows whether it is Doric or English" in shown
    check_doric.main(["--say", "The loon called across the lake. The jacket is a good fit for you."])
    shown = capsys.readouterr().out
    assert re.search(r"^  loon: not counted here, because ", shown, re.MULTILINE)
    assert "  fit: not counted here, because before 'for' it is usually English\n" in shown


@pytest.mark.parametrize(
    "words",
    [
        ["--say=the", "caul", "win"], ["--sa=the", "caul", "win"], ["--say", "the", "--say", "caul win"],
        ["--say=the", "--doubts", "--say=caul", "win"], ["--say", "--", "the", "caul", "win"],
    ],
)  # fmt: skip
def test_no_word_of_a_sentence_is_lost(words, capsys):
    """Words after --say=, or after a second --say, belong to the sentence; --where reads its words alike."""
    assert check_doric.main(words) == 0
    said = capsys.readouterr().out
    check_doric.main(["--say", "the caul win"])
    assert said == capsys.readouterr().out
    assert check_doric.parse_args([word.replace("--sa", "--where").replace("wherey", "where") for word in words]).where


def say(text, *flags, stdin=None, **environ):
    """The finished process of `check_doric.py --say`. Its output is bytes."""
    argv = [sys.executable, check_doric.__file__, "--say", text, *flags]
    return subprocess.run(argv, input=stdin, capture_output=True, env=os.environ | environ, timeout=60)


@pytest.mark.parametrize(
    "environ",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
    ],
    ids=str,
)
def test_say_works_on_any_pipe(environ):
    """If the encoding of stdout lacks a character, it is replaced and nothing else changes."""
    done = say("Ye'll see “Łódź” 日本 an caal \udcff days.", **environ)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"caal: North-East (cold)" in done.stdout


def test_say_reads_stdin_and_any_text():
    """`-` is standard input, also if it is not UTF-8, empty or closed."""
    assert b"caul: North-East (cold)" in say("-", stdin=b"a caul \xff day").stdout
    for empty in (b"", b"  \n", b"?!"):
        assert say("-", stdin=empty).stdout == b"There are no words in this text.\n"
    argv = f"exec {sys.executable} {check_doric.__file__} --say - <&-"
    closed = subprocess.run(argv, shell=True, capture_output=True, timeout=60)
    assert (closed.returncode, closed.stderr) == (0, b"")


@pytest.mark.parametrize(
    "text", ["Fan the caul win blaas, steek the door. ", "a", "@", "`", "fit,", "<think>", "no\x1b[31m "]
)
def test_say_accepts_a_very_long_text(text):
    """A text of 200 KB is explained without control characters."""
    done = say("-", stdin=(text * (200_000 // len(text))).encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout


def test_say_needs_data_without_errors(capsys, monkeypatch):
    """If the data cannot be read, --say lists the errors and exits with 1."""
    broken = Finding("gates.toml", 3, "", "it cannot be read", True)
    monkeypatch.setattr(files, "read_files", lambda: ({}, [broken]))
    assert check_doric.main(["--say", "Aye."]) == 1
    assert re.search(r"^error: \S*data/gates.toml:3", capsys.readouterr().out, re.MULTILINE)


def test_a_closed_pipe_is_no_error():
    """If the program that reads the pipe ends, as `head` does, the script ends without a message and exits with 0."""
    argv = [sys.executable, check_doric.__file__, "--doubts"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        assert run.stderr.read() == b""
    assert run.returncode == 0


def test_doubts_lists_lines_outside_the_house_spelling():
    """Authored lines are checked with their line numbers, and English in a prompt of both languages is meant."""
    frames = (
        '[[core]]\ntext = "Fit\'s so easy about {topic}?"\nvoice = "mixed"\n[[core]]\ntext = "So fit\'s {topic}?"\n'
    )
    frames += 'voice = "doric"\n[[core]]\ntext = "So what is {topic}?"\n'
    frames += '[[safety]]\ntext = "Gie me it, if ye wid."\nlang = "sco"\n'
    sources = {
        "holds.toml": Source("holds.toml", 'holds = ["Bide there, if ye can."]\n'),
        "prompts.toml": Source("prompts.toml", frames),
        "renderings.tsv": Source("renderings.tsv", "english\thouse\nvery cold\tvery caul\nbig\tbig"),
    }
    found = [(finding.file, finding.line, finding.reason) for finding in check_house_spelling(sources)]
    assert found == [
        ("holds.toml", 1, "not in the house spelling: write gin for if"),
        ("prompts.toml", 5, "not in the house spelling: write Sae for So"),
        ("prompts.toml", 10, "not in the house spelling: write gin for if"),
        ("renderings.tsv", 2, "not in the house spelling: write affa for very"),
    ]


def test_a_person_at_the_terminal_decides(monkeypatch, capsys):
    """At a terminal, a change is written only after a yes; Ctrl-D is a no."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    written = []
    monkeypatch.setattr("doric.lint.edits.write", lambda files, command: written.append(command))
    for answer in ("n", "", "maybe", EOFError(), "y", "AYE"):
        replies = iter([answer])
        monkeypatch.setattr("builtins.input", lambda prompt, replies=replies: reply(next(replies)))
        assert check_doric.main(["--swap", "gyaan", "gaan"]) == (0 if answer in ("y", "AYE") else 1)
    assert written == ["--swap gyaan gaan"] * 2


def reply(answer):
    """The answer of a person, or the end of the input."""
    if isinstance(answer, EOFError):
        raise answer
    return answer
