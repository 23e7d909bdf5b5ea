"""Corrections of the language data by command: swap a spelling, put lines in the house spelling, undo, find lines."""

import json
import re

import pytest

import check_doric
from doric.core.errors import InputError
from doric.lint import edits
from doric.lint.check import check
from doric.lint.files import read_files
from doric.lint.source import Source
from doric.lint.swap import house_spelling, swap
from doric.lint.where import where
from language_data import copied, forget

GENERAL, LEXICON = "general.toml", "lexicon.tsv"


@pytest.fixture
def data(tmp_path):
    """A copy of the data, which the test changes."""
    with copied(tmp_path / "data") as folder:
        yield folder


def read(folder):
    """The content of every data file by name, without what is kept for undoing."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".bak" not in path.name and path.name != edits.UNDO and "__pycache__" not in path.parts
    }


def words(folder, word):
    """How often a word is in the phrases, in any case."""
    return sum(
        len(re.findall(rf"\b{word}\b", file.read_text("utf-8"), re.IGNORECASE))
        for file in folder.glob("phrases/*.toml")
    )


def test_a_swap_changes_the_tables_and_every_line_and_can_be_undone(data, capsys):
    """--swap writes the new form in lexicon, tables and lines, and keeps the old one; --undo restores the bytes."""
    before, count = read(data), words(data, "gyaan")
    assert check_doric.main(["--swap", "gyaan", "gaan", "--yes"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"leakage.tsv:\d+\n  - going\tgyaan\t1\n  \+ going\tgaan\t1\n", shown)
    assert (words(data, "gyaan"), words(data, "gaan")) == (0, count)
    assert "gaan\tgoing\tne\tv\tgyaan;gyan;gyaun\tgaein;gan;gaun\t" in (data / LEXICON).read_text("utf-8")
    forget()
    assert not any(finding.is_error for finding in check())
    assert check_doric.main(["--undo", "--yes"]) == 0
    assert read(data) == before
    assert not list(data.rglob("*.bak*"))
    assert check_doric.main(["--undo", "--yes"]) == 2
    assert "no change to undo" in capsys.readouterr().err


def test_a_swap_changes_the_first_words_of_unfit_sentences(data):
    """The lists `unfit` name sentences by their first words, and follow a swap."""
    assert check_doric.main(["--swap", "wikk", "ouk", "--yes"]) == 0
    assert (words(data, "wikk"), words(data, "ouk") > 0) == (0, True)
    forget()
    assert not any(finding.is_error for finding in check())


def test_without_yes_a_change_is_only_shown(data, capsys):
    """A program that is no terminal gets the differences, and nothing is written."""
    general = (data / GENERAL).read_text("utf-8")
    (data / GENERAL).write_text(general.replace(" sae ", " so ", 1), "utf-8")
    before = read(data)
    assert check_doric.main(["--swap", "gyaan", "gaan"]) == 1
    assert "Nothing is written. Give --yes to write --swap gyaan gaan." in capsys.readouterr().out
    assert check_doric.main(["--house-spelling"]) == 1
    assert read(data) == before


def test_a_swap_keeps_case_and_clitics(data):
    """The first letter stays a capital, and 's stays."""
    (data / GENERAL).write_text(
        (data / GENERAL).read_text("utf-8").replace("Fan it comes tae", "Aul fowk's aul", 1), "utf-8"
    )
    draft = swap(read_files()[0], "fowk", "folk").draft
    assert "Aul folk's aul {topic}" in draft.files()[GENERAL]


def test_a_word_with_two_meanings_is_swapped_where_it_is_doric(data):
    """fit (what) changes, fit (foot, suitable) stays, and its places are told."""
    lines = (
        '"I dinna ken fit ye mean aboot {topic} or fit it is.",\n    "A gweed fit for {topic}, an for the left fit.",\n'
    )
    text = (data / GENERAL).read_text("utf-8")
    (data / GENERAL).write_text(text.replace("answers = [\n", f"answers = [\n    {lines}", 1), "utf-8")
    found = swap(read_files()[0], "fit", "fat")
    assert "I dinna ken fat ye mean aboot {topic} or fat it is." in found.draft.files()[GENERAL]
    assert "A gweed fit for {topic}, an for the left fit." in found.draft.files()[GENERAL]
    assert any(place.endswith(f"{GENERAL}:5") for place in found.unclear)


def test_a_form_that_was_central_scots_becomes_the_house_form(data):
    """The line of central.tsv is deleted, and the rules for the old form have the new one too."""
    edits.write(swap(read_files()[0], "gweed", "guid").draft.files(), "--swap gweed guid")
    forget()
    assert not any(finding.is_error for finding in check())
    assert "\nguid\t" not in (data / "central.tsv").read_text("utf-8")
    assert '"gweed", "guid"' in (data / "collisions.toml").read_text("utf-8")


def test_forms_of_the_same_stem_are_offered(data):
    """Words with an ending are named, and changed with `forms`."""
    sources = read_files()[0]
    offered = swap(sources, "skweel", "squeel").offered  # a line of its own in the lexicon
    assert ("skweels", "squeels") in offered
    draft = swap(sources, "skweel", "squeel", forms=True).draft
    assert not any(
        re.search(r"\bskweels\b", text) for name, text in draft.files().items() if name.startswith("phrases/")
    )


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("gyaan", "gyaan", "the two words are the same"),
        ("gyaan", "gaan awa", "'gaan awa' is not one word"),
        ("skweel", "school", "'school' is English, as"),
        ("gweed", "caal", "'caal' is a spelling of 'caul' there"),
        ("gyaan", "fae", "'fae' is another word there (from), and 'gyaan' is 'going'"),
        ("gaan", "gyan", "'gaan' is not the main spelling, which is 'gyaan'"),
        ("gyaan", "ga’an", "'ga’an' has a curly quotation mark (’)"),
        ("gyaan", "gaan'", "'gaan'' begins or ends with an apostrophe"),
        ("ye", "yi", "'yi' counts as another dialect there: Dundee Scots"),
        ("gyaan", "ga-an", "'ga-an' is not one word of letters"),
    ],
)
def test_a_swap_that_cannot_be_right_is_refused(data, old, new, reason):
    """The same word, two words, English, another word, and what is no word are errors that say what to do."""
    with pytest.raises(InputError, match=re.escape(reason)) as refused:
        swap(read_files()[0], old, new)
    assert refused.value.hint


def test_a_capital_on_the_command_line_changes_no_capital_of_the_data(data):
    """The new form gets the case of the main spelling: small letters, or a capital for a name."""
    sources = read_files()[0]
    assert "gaan\tgoing" in swap(sources, "Gyaan", "Gaan").draft.files()[LEXICON]
    assert "Fuirsday\tThursday" in swap(sources, "feersday", "fuirsday").draft.files()[LEXICON]


def test_questions_in_doric_follow_a_swap(data):
    """What users say in Doric is changed; a question in English or about the word stays, and its place is told."""
    file, rotten = data / "asks" / "venting.toml", '"What a rotten day."'
    text = file.read_text("utf-8")
    file.write_text(text.replace(rotten, f'"What does gyaan mean to you?", {rotten}', 1), "utf-8")
    found = swap(read_files()[0], "gyaan", "gaan")
    files = found.draft.files()
    assert "Naething's gaan richt wi me." in files["asks/venting.toml"]
    assert "What does gyaan mean to you?" in files["asks/venting.toml"]
    assert "Is it gyaan, gaan or gyan?" in files["asks/spelling.toml"]
    for name in ("asks/venting.toml", "asks/spelling.toml"):
        assert any(name in place for place in found.unclear), name
    turn = "Foo div I ken it's fresh?"
    assert turn in (data / "asks" / "lookalike.toml").read_text("utf-8")
    assert turn.replace("ken", "kenn") in swap(read_files()[0], "ken", "kenn").draft.files()["asks/lookalike.toml"]


def test_numbers_patterns_and_the_review_follow_a_swap(data):
    """Numbers in words, the patterns of the gates, the options of a review and the words of its fakes are changed."""
    sources = read_files()[0]
    assert "\n2\ttwaa\n" in swap(sources, "twa", "twaa").draft.files()["asks/numbers.tsv"]
    files = swap(sources, "gweed", "gwid").draft.files()
    assert '"gweed question", "gwid question"' in files["gates.toml"]
    assert '\ngwid = "guid"\n' in files["review/fakes.toml"]
    assert "(?:winna|wunna)" in swap(sources, "winna", "wunna").draft.files()["gates.toml"]
    choices = swap(sources, "fan", "fane").draft.files()["review/choices.toml"]
    assert 'house = "fane"\noptions = ["fane", "fan", ' in choices


def test_after_a_swap_the_check_finds_no_error(data):
    """First words in `order` and `unfit`, gates, forms with an ending and texts for models follow too."""
    swaps = {"fan": "fen", "spik": "spick", "onything": "onythin", "elbuck": "elba", "quine": "quean"}
    for old, new in swaps.items():
        edits.write(swap(read_files()[0], old, new).draft.files(), f"--swap {old} {new}")
        forget()
    assert not [finding for finding in check() if finding.is_error]
    assert '"Fen an accident"' in (data / "phrases" / "animals_and_gardens.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("affa", "verra", "It's affa verra caul for {topic}, an ye need mair claes.", "a word is there twice"),
        ("filie", "eilie", "Tak a filie for {topic}, an dinna hurry ower the lave o't.", "'a' before a vowel"),
        ("gyaan", "gaan", "Some says gyaan aboot {topic}, an ithers says gaan forby.", "it had 'gaan' already"),
        ("gey", "geylik", "It's a gey puckle for {topic}, an that's aa there is.", "the phrase 'gey puckle'"),
        ("gyaan", "gaan", "They say 'gyaan' aboot {topic}, for that is the wird.", "in quotation marks"),
    ],
)
def test_changed_lines_that_may_be_silly_are_listed(data, old, new, line, reason):
    """A word twice, a wrong article, two spellings in one line, a fixed phrase or a quotation: a person should look."""
    text = (data / GENERAL).read_text("utf-8")
    (data / GENERAL).write_text(text.replace("answers = [\n", f'answers = [\n    "{line}",\n', 1), "utf-8")
    with (data / "renderings.tsv").open("a", encoding="utf-8") as file:
        file.write("good number\tgey puckle\n")
    found = swap(read_files()[0], old, new)
    assert any(f"{GENERAL}:" in doubt and reason in doubt for doubt in found.doubts), found.doubts
    assert "Look at these changed lines" in "\n".join(found.remarks())


def test_nothing_to_swap_is_told(data, capsys):
    """A word that is nowhere changes nothing."""
    assert check_doric.main(["--swap", "xyzzy", "plugh", "--yes"]) == 1
    assert capsys.readouterr().out == "Nothing to change: no table and no line has the word.\n"


def test_undo_refuses_to_lose_a_later_correction(data, capsys):
    """If a file was changed after the swap, nothing is undone, and the message names the old file."""
    check_doric.main(["--swap", "gyaan", "gaan", "--yes"])
    with (data / GENERAL).open("a", encoding="utf-8") as file:
        file.write("# mine\n")
    before = read(data)
    assert check_doric.main(["--undo", "--yes"]) == 2
    shown = capsys.readouterr().err
    assert "it has been changed since" in shown
    assert f"{GENERAL}.bak" in shown
    assert "swap the words back: --swap gaan gyaan" in shown
    assert read(data) == before
    (data / GENERAL).write_bytes((data / f"{GENERAL}.bak").read_bytes())  # as the hint says
    assert check_doric.main(["--undo", "--yes"]) == 0


def test_a_refused_undo_names_every_changed_file(data, capsys):
    """All files that were changed since are named at once, and so is what to do about a copy that is missing."""
    check_doric.main(["--swap", "gyaan", "gaan", "--yes"])
    for name in (GENERAL, "refusals.toml"):
        with (data / name).open("a", encoding="utf-8") as file:
            file.write("# mine\n")
    capsys.readouterr()
    assert check_doric.main(["--undo", "--yes"]) == 2
    shown = capsys.readouterr().err
    assert GENERAL in shown
    assert "refusals.toml" in shown
    (data / f"{GENERAL}.bak").unlink()
    assert check_doric.main(["--undo", "--yes"]) == 2
    assert edits.UNDO in capsys.readouterr().err


def test_changes_are_undone_one_after_the_other(data):
    """The last change is undone first."""
    before = read(data)
    check_doric.main(["--swap", "gyaan", "gaan", "--yes"])
    between = read(data)
    forget()
    check_doric.main(["--swap", "aul", "aal", "--yes"])
    check_doric.main(["--undo", "--yes"])
    assert read(data) == between
    check_doric.main(["--undo", "--yes"])
    assert read(data) == before


def test_windows_line_ends_stay(data):
    """A file with CRLF and a byte-order mark keeps both."""
    raw = b"\xef\xbb\xbf" + (data / GENERAL).read_bytes().replace(b"\n", b"\r\n")
    (data / GENERAL).write_bytes(raw)
    edits.write(swap(read_files()[0], "aboot", "aboeet").draft.files(), "--swap")
    assert (data / GENERAL).read_bytes() == raw.replace(b"aboot", b"aboeet").replace(b"Aboot", b"Aboeet")


def test_the_house_spelling_of_all_lines_leaves_no_doubt(data):
    """After --house-spelling, no line has another spelling, and the check finds no new error."""
    found = house_spelling(read_files()[0])
    assert not found.unclear
    edits.write(found.draft.files(), "--house-spelling")
    forget()
    found = check()
    assert not [finding for finding in found if finding.is_error or "house spelling" in finding.reason]
    assert not house_spelling(read_files()[0]).draft.files()


def test_lines_with_code_quotations_and_slots_are_put_in_the_house_spelling(data):
    """--house-spelling also writes the lines of asks that have code, a quotation or a slot in them, and keeps those."""
    file = data / "asks" / "code.toml"
    text = file.read_text("utf-8")
    line = next(line for line in text.splitlines() if "`" in line and " an " in line and " and " not in line)
    file.write_text(text.replace(line, line.replace(" an ", " and ")), "utf-8")
    forget()
    found = house_spelling(read_files()[0])
    assert not found.unclear
    assert line in found.draft.files()["asks/code.toml"]


def test_strings_and_cells_are_replaced_where_they_stand():
    """The second of two strings on a line, an escaped string and a cell are replaced; others are not found."""
    lines = Source("a.toml", 'a = ["Aye.", "So."]\nb = "Say \\"aye\\", so."\n')
    draft = edits.Draft({"a.toml": lines, "b.tsv": Source("b.tsv", "doric\tenglish\nSo.\tSo")})
    assert draft.replace_string("a.toml", 1, "So.", "Sae.")
    assert draft.replace_string("a.toml", 2, 'Say "aye", so.', 'Say "aye", sae.')
    assert draft.replace_string("b.tsv", 2, "So.", "Sae.")
    assert not draft.replace_string("a.toml", 1, "Na.", "Nae.")
    assert not draft.replace_string("a.toml", 0, "Na.", "Nae.")
    assert draft.files() == {
        "a.toml": 'a = ["Aye.", "Sae."]\nb = "Say \\"aye\\", sae."\n',
        "b.tsv": "doric\tenglish\nSae.\tSo",
    }


def test_where_finds_a_sentence_and_counts_its_rows(data, tmp_path, capsys):
    """A part of a sentence is enough, a slot may be filled, and the rows that have it are counted."""
    rows = tmp_path / "rows.jsonl"
    lines = ["Aye. Fan it comes tae caul sarks, pick ae plain question an bide wi it till it's answered.", "Na."]
    turns = [[{"role": "user", "content": "Why?"}, {"role": "assistant", "content": line}] for line in lines]
    rows.write_text("".join(json.dumps({"messages": turn}) + "\n" for turn in turns), "utf-8")
    (place,) = where(read_files()[0], "pick ae plain question an bide", rows)
    assert (place.file, place.line, place.drawn) == (GENERAL, 4, 1)
    (place,) = where(read_files()[0], lines[0].removeprefix("Aye. "))
    assert (place.file, place.drawn) == (GENERAL, None)
    assert check_doric.main(["--where", "the simple things coonts for maist", "--rows", str(rows)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"general.toml:5: .*coonts for maist\. \(0 rows\)\n", shown)
    assert "--n-per-topic" in shown


def test_where_finds_questions_and_quoted_words(data):
    """What users ask is found, in English and other languages, and so is a word between quotation marks."""
    sources = read_files()[0]
    for wanted, file in (
        ("What is the capital of Peru?", "asks/fact.toml"),
        ("putting off {topic}. Where do I begin", "prompts.toml"),
        ("contermacious", "asks/phrase.toml"),
        ("I have been up since five", "asks/lines.tsv"),
    ):
        assert file in {place.file for place in where(sources, wanted)}, wanted


def test_where_finds_a_word_in_tables_and_lines(data, capsys):
    """A word is found in every table, in the rules and in the lines, in any case and as a whole word."""
    found = where(read_files()[0], "Gyaan")
    files = {place.file for place in found}
    assert {LEXICON, "leakage.tsv", "collisions.toml", GENERAL, "phrases/health.toml"} <= files
    assert not any("foregyaan" in place.text for place in found)
    assert check_doric.main(["--where", "xyzzy"]) == 1
    assert "No line of the data has this." in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [["--rows", "x"], ["--forms"], ["--swap", "gyaan"], ["--swap", "a", "b", "--undo"], ["--where", "x", "--say", "y"]],
)
def test_flags_that_do_not_belong_together_are_refused(argv):
    """A flag without the one that it belongs to is exit status 2."""
    with pytest.raises(SystemExit) as stop:
        check_doric.main(argv)
    assert stop.value.code == 2
