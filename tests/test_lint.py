"""The checks of the language data: the shipped data has no error, and each rule finds a broken copy."""

import re
import shutil
from pathlib import Path

import pytest

from doric.data import FOLDER as DATA
from doric.lint import form
from doric.lint.check import check
from doric.lint.files import check_file, read_files
from doric.lint.sentences import check_themes
from doric.lint.source import Finding
from language_data import copied, forget

ROOT = Path(__file__).parents[1]
TOPIC_LISTS = (ROOT / "topics.json", ROOT / "topics.txt")
FOOD, HEALTH = "phrases/food_and_cooking.toml", "phrases/health.toml"
TITLES = "multilingual/health.tsv"


@pytest.fixture(scope="session")
def copy(tmp_path_factory) -> Path:
    """A copy of the data."""
    folder = tmp_path_factory.mktemp("lint") / "data"
    shutil.copytree(str(DATA), folder)
    return folder


@pytest.fixture
def data(tmp_path):
    """A copy of the data, which the test changes."""
    with copied(tmp_path / "data") as folder:
        yield folder


def change(file: Path, old: str, new: str) -> int:
    """Replace the first `old` in a file. Returns the line on which `new` begins."""
    text = file.read_text("utf-8")
    assert old in text, (file.name, old)
    file.write_text(text.replace(old, new, 1), "utf-8")
    return text[: text.index(old)].count("\n") + 1


def append(file: Path, line: str) -> int:
    """Append a line to the file and return its number."""
    text = file.read_text("utf-8").rstrip("\n") + "\n"
    file.write_text(f"{text}{line}\n", "utf-8")
    return text.count("\n") + 1


def problems(name: str) -> list[Finding]:
    """The problems of one file alone."""
    return check_file(form.load(name))


def errors() -> list[Finding]:
    return [finding for finding in check() if finding.is_error]


def test_the_shipped_data_has_no_errors():
    """The data and the lists of topics in the repository have no errors."""
    forget()
    assert [finding for finding in check(TOPIC_LISTS) if finding.is_error] == []


# ---- one file alone: encoding, characters, syntax, columns, keys, values


def test_every_data_file_is_checked(data):
    """A problem is found in each of the data files, and no folder is left out."""
    others = [path for path in data.rglob("*.*") if path.suffix not in (".py", ".pyc") and path.parent.name != "report"]
    for path in others:
        path.write_bytes(b"caf\xe9\n" + path.read_bytes())
    assert {finding.file for finding in check()} == {str(path.relative_to(data)) for path in others}


TOML_FILES = [name for name in form.file_names() if name.endswith(".toml")]


@pytest.mark.parametrize("name", TOML_FILES)
def test_a_missing_quotation_mark_is_found_in_any_toml_file(data, name):
    """A TOML file that cannot be parsed gives one error with the line number."""
    number = append(data / name, 'lost = "mark')
    (finding,) = problems(name)
    assert (finding.file, finding.line, finding.is_error) == (name, number, True)
    assert "cannot read the file" in finding.reason


def test_a_missing_comma_is_shown_with_the_line_after_it(data):
    """The error has the line where the parser stopped, and says that the mistake may be just above that line."""
    file = data / "holds.toml"
    text = file.read_text("utf-8")
    at = text.index('",\n') + 1
    file.write_text(text[:at] + text[at + 1 :], "utf-8")
    (finding,) = problems("holds.toml")
    assert finding.line == text[:at].count("\n") + 2
    assert finding.text.startswith(text.splitlines()[finding.line - 1].strip()[:50])
    assert "missing comma" in finding.reason
    assert "just above" in finding.reason


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        (
            HEALTH,
            'name = "sleeping well"',
            "name = “sleeping well”",
            "curly quotation mark (“): write the straight one",
        ),
        (
            HEALTH,
            'name = "sleeping well"',
            'name = "sleeping "very" well"',
            'write \\" before and after it (here: very)',
        ),
        (HEALTH, 'name = "sleeping well"', 'name = "sleeping well', "There is a quotation mark too few"),
        (HEALTH, 'name = "sleeping well"', 'name = "sleeping well"\nname = "x"', "same key is there twice"),
        (HEALTH, 'name = "sleeping well"', '<<<<<<< HEAD\nname = "sleeping well"', "keep one of them"),
        ("central.tsv", "aboon\t", "<<<<<<< HEAD\naboon\t", "a merge left both versions"),
        ("heldout.jsonl", '"group": "daily life",', '"group": "daily life", "group": "x",', "'group' is there twice"),
    ],
)
def test_a_syntax_error_has_a_hint(data, name, old, new, reason):
    """The hint fits the mistake: curly quotation marks, a key that is there twice, marks of a merge."""
    line = change(data / name, old, new)
    (finding,) = problems(name)
    assert 0 <= finding.line - line <= 1
    assert reason in finding.reason


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("leakage.tsv", "zzword\tzz\tmuch", "the weight is 'much': write a number above 0 and up to 1"),
        ("leakage.tsv", "zzword\tzz\t1.5", "the weight is '1.5'"),
        ("leakage.tsv", "zzword\tzz\t0", "the weight is '0'"),
        ("leakage.tsv", "zzword\tzz\tnan", "the weight is 'nan'"),
        ("central.tsv", "zzword\tzz\tstark", "unknown strength 'stark': write one of strong, weak"),
        ("lexicon.tsv", "zzword\tzz\tdoric\tn\t\t\t", "unknown class 'doric': write one of "),
        ("lexicon.tsv", "\tzz\tne\tn\t\t\t", "no cell may be empty in the column doric"),
        ("lexicon.tsv", "zzword\t\tne\tn\t\t\t", "no cell may be empty in the column english"),
        ("lexicon.tsv", "zzword zz ne n", "1 column instead of 7: put one tab (no spaces) between two cells"),
        ("lexicon.tsv", "zzword\tzz\tne\tn\t\t\t\tmore", "8 columns instead of 7"),
        ("renderings.tsv", '"zzthing"\t"hing"', 'changed a cell to "zzthing": write the words'),
        ("renderings.tsv", "zzthing\t#NAME?", "changed a cell to #NAME?"),
        ("central.tsv", "1-Mar\tmairch\tstrong", "changed a cell to 1-Mar"),
        ("function_words.txt", "=======", "a merge left both versions"),
        ("common_words.txt", ">>>>>>> theirs", "a merge left both versions"),
        ("renderings.tsv", "thing  hing", "1 column instead of 2"),
        ("multilingual/health.tsv", "keeping well", "1 column instead of 15"),
        ("multilingual/health.tsv", "keeping well\t" + "\t".join("abcdefghijklm") + "\t", "empty in the column zh"),
        ("heldout.jsonl", '{"id": "x-1", "bucket": "core"', "not valid JSON"),
        ("heldout.jsonl", "[1]", "not an object"),
        ("heldout.jsonl", '{"id": "x", "bucket": "core", "lang": "en", "group": "x"}', "'prompt' is missing: add it"),
        (
            "heldout.jsonl",
            '{"id": "x", "bucket": "core", "lang": "en", "group": "x", "prompt": 3}',
            "'prompt': write text",
        ),
        (
            "heldout.jsonl",
            '{"id": "x", "bucket": "cor", "lang": "en", "group": "x", "prompt": "y"}',
            "'bucket' is 'cor'",
        ),
        (
            "heldout.jsonl",
            '{"id": "x", "bucket": "core", "lang": "en", "grup": "x", "prompt": "y"}',
            "'group' is missing",
        ),
    ],
)
def test_a_malformed_row_is_found(data, name, line, reason):
    """A wrong cell, a missing cell, spaces instead of tabs and malformed JSON are errors on their line."""
    number = append(data / name, line)
    finding = problems(name)[0]
    assert (finding.file, finding.line, finding.is_error) == (name, number, True)
    assert reason in finding.reason


@pytest.mark.parametrize("name", list(form.COLUMNS))
def test_a_renamed_column_is_found(data, name):
    """If the first line of a table does not name the columns, this is the only error of the file."""
    change(data / name, form.COLUMNS[name][1], "x")
    (finding,) = problems(name)
    assert finding.line == 1
    assert ", ".join(form.COLUMNS[name]) in finding.reason


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        (HEALTH, 'name = "sleeping well"', 'nam = "sleeping well"', "'name' is missing: add it"),
        (HEALTH, 'name = "sleeping well"', 'name = "sleeping well"\nnotes = "x"', "unknown key 'notes'"),
        (HEALTH, 'keywords = ["sleep", "insomnia"', 'keywords = [7, "sleep", "insomnia"', "'keywords'"),
        (HEALTH, "\ngroup", "\ngrup", "missing"),
        (HEALTH, "keywords = [", "keywords = [3, ", "'keywords': write text between quotation marks"),
        ("holds.toml", "holds = [", "hold = [", "'holds' is missing"),
        ("prompts.toml", 'shapes = ["gerund"', 'shapes = ["gerunds"', "'shapes' is 'gerunds': write 'gerund', "),
        ("prompts.toml", 'length = "short"', 'length = "tiny"', "'length' is 'tiny'"),
        ("prompts.toml", 'voice = "english"', 'voice = "scots"', "'voice' is 'scots'"),
        ("refusals.toml", "offers = [", "offer = [", "'offers' is missing"),
        ("instructions.toml", "count = 3", 'count = "3"', "'count': write a whole number"),
        ("judge.toml", "criteria = [", "criterion = [", "'criteria' is missing"),
        ("collisions.toml", 'class = "ne"', 'class = "north"', "'class' is 'north'"),
        ("collisions.toml", "initial = true", "inital = true", "unknown key 'inital'"),
        (
            "collisions.toml",
            'next = "subjects"',
            'next = "subject"',
            "there is no set 'subject': write one of pronouns",
        ),
        ("spelling.toml", "in_context = [", "in_contexts = [", "'in_context' is missing"),
        ("gates.toml", "substrate = 0.20", "substrate = 20", "'substrate'"),
        ("gates.toml", "depth = ", "deepth = ", "'depth' is missing"),
        ("gates.toml", "'```'", "'```', '(zz'", "not a valid regular expression"),
        ("gates.toml", "'```'", "'```', 'zz|'", "matches every text"),
        ("topic_rules.toml", "start = '^[^a-z]'", "start = '^[^a-z'", "not a valid regular expression"),
        ("topic_rules.toml", "min_words = 5", "min_word = 5", "'min_words' is missing"),
        ("prices.toml", '"gpt-6-luna" = { input = 0.1', '"gpt-6-luna" = { input = -1', "greater than or equal to 0"),
        ("prices.toml", '"gpt-6-luna" = { input', '"gpt-6-luna" = { into', "input"),
        ("characters.toml", "[remains]", "[remain]", "'remains' is missing"),
        ("characters.toml", "'[ĠĊ▁]'", "'[ĠĊ▁'", "not a valid regular expression"),
        ("finish_reasons.toml", "abort = [", "aborted = [", "'abort' is missing"),
        ("markers.toml", "openings = [", "opening = [", "'openings' is missing"),
        ("markers.toml", '"</details>"]', '"</details>", "x"]', "3 entries instead of 2"),
        ("server_errors.toml", "\nquota = [", "\nquotas = [", "'quota' is missing"),
        ("server_errors.toml", '"credit balance"', '"Credit balance"', "write it in lower case"),
        ("server_errors.toml", '"think value"', '"Think value"', "write it in lower case"),
        ("server_errors.toml", "'per[", "'(per[", "not a valid regular expression"),
        ("server_errors.toml", "hourly = ['", "hourly = ['(zz', '", "not a valid regular expression"),
        ("server_errors.toml", "weekly = [", "weakly = [", "'weekly' is missing"),
    ],
)
def test_a_wrong_key_or_value_of_a_toml_file_is_found(data, name, old, new, reason):
    """Missing and unknown keys, lists of a wrong length and impossible values are errors with their line."""
    if old.startswith("\n") and old not in (data / name).read_text("utf-8"):
        old, new = old[1:], new[1:]
    change(data / name, old, new)
    found = problems(name)
    assert any(reason in finding.reason for finding in found), found
    assert all(finding.is_error and finding.file == name for finding in found)


@pytest.mark.parametrize(
    ("name", "old", "new", "line", "reason"),
    [
        ("asks/numbers.tsv", "\n12\ttwal\n", "\n", 29, "there is no row for 12: add it"),
        ("asks/numbers.tsv", "\n2\ttwa\n", "\n", 29, "there is no row for 2"),
        ("asks/numbers.tsv", "\n2\ttwa\n", "\ntwa\ttwa\n", 3, "the number is 'twa': write 1 to 20"),
        ("asks/numbers.tsv", "\n2\ttwa\n", "\n2.0\ttwa\n", 3, "the number is '2.0'"),
        ("asks/numbers.tsv", "\n2\ttwa\n", "\n1\ttwa\n", 3, "1 is there twice"),
        ("heldout.jsonl", '"core-002"', '"core-001"', 2, "duplicate id, first used on line 1"),
        ("judge.toml", 'tie = ["tie"', 'tie = ["tie", "a"', 0, "'a' also means a"),
        ("judge.toml", 'tie = ["tie"', 'tie = ["Tie"', 0, "write it in lower case: tie"),
        ("judge.toml", "{first}\n", "\n", 0, "{first} is missing"),
        ("judge.toml", "{second}\n", "{second}\n{third}", 0, "unknown slot {third}: write {question} or {first}"),
        ("sense.toml", "DO\n{task}", "DO", 0, "{task} is missing"),
        ("instructions.toml", "{most} words", "{mots} words", 0, "unknown slot {mots}: write {least} or {most}"),
        ("instructions.toml", "{most} words", "{{most}} words", 0, "a brace too many, {: remove it"),
        ("instructions.toml", "{most} words", "{most} words }", 0, "a brace too many, }: remove it"),
        ("instructions.toml", 'core = "', 'core = "{least} ', 0, "unknown slot {least}: no slot is allowed here"),
    ],
)
def test_a_value_that_a_command_cannot_use_is_found(data, name, old, new, line, reason):
    """A number, an id, a label or a slot with which a command would fail is an error of its file."""
    change(data / name, old, new)
    found = problems(name)
    assert any(reason in finding.reason and line in (0, finding.line) for finding in found), found
    assert all(finding.line for finding in found)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("grammar.toml", "[salad]", "[salat]"),
        ("asks/identity.toml", "parts = [", "part = ["),
        ("spelling.toml", "always = [", "alwys = ["),
        ("markers.toml", "[turns]", "[turn]"),
        ("followups.toml", "[[", "[[zz"),
        ("asks/numbers.tsv", "\n2\ttwa", "\ntwa\ttwa"),
    ],
)
def test_a_broken_file_does_not_stop_the_other_checks(data, name, old, new):
    """check_doric lists a file that the gates need and cannot use, with its line, and does not fail."""
    change(data / name, old, new)
    forget()
    found = [finding for finding in check() if finding.file == name]
    assert found
    assert all(finding.is_error and finding.line for finding in found)


def test_a_move_may_have_any_number_of_sentences(data):
    """A sentence more or fewer in a part of a theme is no error."""
    line = "Een mair sentence here that naebody needs ava."
    change(data / HEALTH, "whys = [\n", f'whys = [\n  "{line}",\n')
    assert problems(HEALTH) == []


def test_every_entry_that_pointed_to_a_changed_sentence_is_listed(data):
    """Equal entries of `unfit` in several topics are reported at once, each on its own line."""
    file = data / "phrases" / "weather_and_nature.toml"
    change(file, '"Stan ootside for twa meenits', '"Bide ootside for twa meenits')
    lines = file.read_text("utf-8").split("\n")
    right = [at for at, line in enumerate(lines, 1) if '"Stan ootside for twa"' in line]
    assert len(right) > 1
    assert [finding.line for finding in errors()] == right


def test_a_topic_that_no_list_has_is_an_error(data):
    """Without a line in a list of topics, no dataset has a topic's sentences: the error says where to add it."""
    text = (data / HEALTH).read_text("utf-8")
    topic = re.search(r'topic = "(.*)"', text[text.index("sleeping well") :])[1]
    (data / HEALTH).write_text(text.replace(f'"{topic}"', f'"{topic} again"'), "utf-8")
    reasons = [finding.reason for finding in check(TOPIC_LISTS) if finding.text == f"{topic} again"]
    assert any("add it to topics.json, in the group 'health'" in reason for reason in reasons), reasons


def test_a_sentence_that_no_topic_of_its_theme_can_have_is_mentioned(data):
    """A sentence that is unfit for all topics of its theme is a warning on its line; for all but one it is none."""
    line = "Een mair sentence here that naebody needs ava."
    change(data / HEALTH, "whys = [\n", f'whys = [\n  "{line}",\n')
    path = data / HEALTH
    head, *topics = path.read_text("utf-8").split("[[themes.topics]]")
    without = [re.sub(r"(?ms)^unfit = \[.*?\]\n", "", one) for one in topics[:5]]
    unfit = [one.replace("\nanswers = [", '\nunfit = ["Een mair sentence here"]\nanswers = [', 1) for one in without]
    for topics_with_it, warned in ((unfit, [line]), ([*unfit[:4], topics[4]], [])):
        path.write_text("[[themes.topics]]".join([head, *topics_with_it, *topics[5:]]), "utf-8")
        forget()
        every = [one for one in check_themes(read_files()[0]) if one.file == HEALTH]
        found = [one.text for one in every if "unfit for every topic" in one.reason]
        assert found == warned


def test_an_entry_too_many_is_shown_with_its_line(data):
    """If a list has an entry too many, the error has the line of its last entry."""
    change(data / "markers.toml", '"</details>"]', '"</details>",\n  "x"]')
    (finding,) = problems("markers.toml")
    assert '"x"]' in (data / "markers.toml").read_text("utf-8").splitlines()[finding.line - 1]


@pytest.mark.parametrize("name", [HEALTH, "function_words.txt", "heldout.jsonl", "leakage.tsv"])
@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [  # the file as Latin-1, as UTF-16, empty, and blank
        (lambda raw: b"# caf\xe9\n" + raw, 1, "save the file as UTF-8"),
        (lambda raw: raw.decode().encode("utf-16"), 1, "UTF-16: save the file as UTF-8"),
        (lambda raw: b"", 0, "the file is empty"),
        (lambda raw: b"\n \n", 0, "file is empty"),
    ],
)
def test_another_encoding_and_an_empty_file_are_found(data, name, content, line, reason):
    """A file in another encoding and an empty file give one error."""
    (data / name).write_bytes(content((data / name).read_bytes()))
    (finding,) = problems(name)
    assert (finding.line, finding.is_error) == (line, True)
    assert reason in finding.reason


@pytest.mark.parametrize("name", ["heldout.jsonl", "central.tsv", "prompts.toml", "function_words.txt"])
def test_a_missing_file_is_found(data, name):
    """A missing file gives one error without a traceback."""
    (data / name).unlink()
    assert [(finding.file, finding.line) for finding in check() if finding.is_error] == [(name, 0)]


@pytest.mark.parametrize(
    ("char", "reason"),
    [
        ("\u00a0", "a special space (U+00A0): write an ordinary space"),
        ("\u2009", "a special space (U+2009)"),
        ("\u200b", "invisible or private character (U+200B): delete it"),
        ("\u00ad", "(U+00AD)"),
        ("\u202e", "(U+202E)"),
        ("\ue000", "(U+E000)"),
        ("\ufffd", "the replacement character"),
        ("’", "curly quotation mark ’: write the straight one '"),
        ("“", "curly quotation mark “: write the straight one"),
        ("â€™", "damaged by a wrong encoding"),
        ("Ã©", "damaged by a wrong encoding"),
        ("\u0430", "a letter of another alphabet"),
        ("\uff41", "a letter of another alphabet"),
        ("e\u0301", "an accent that is a character of its own"),
    ],
)
@pytest.mark.parametrize("name", [HEALTH, "renderings.tsv"])
def test_a_wrong_character_is_named_once(data, name, char, reason):
    """A character that nobody sees or types is reported once per file, with its first line and the number of lines."""
    file = data / name
    lines = file.read_text("utf-8").split("\n")
    number = next(at for at, line in enumerate(lines) if at > 1 and " o" in line)
    lines[number] = lines[number].replace(" o", f" o{char}", 1)
    lines.append(lines[number] if name.endswith("tsv") else f"# x{char}")
    file.write_text("\n".join(lines), "utf-8")
    (finding,) = problems(name)
    assert finding.line == number + 1
    assert reason in finding.reason
    assert finding.reason.endswith("(2 lines)")


def bom(text):
    return f"\ufeff{text}"


def windows(text):
    return text.replace("\n", "\r\n")


def mac(text):
    return text.replace("\n", "\r")


def no_tabs_at_the_end(text):
    return "\n".join(line.rstrip("\t") for line in text.split("\n"))


def blank_lines(text):
    return f"{text}\n\n  \n"


def spaces_around_cells(text):
    return text.replace("\t", " \t ")


@pytest.mark.parametrize("edit", [bom, windows, mac, no_tabs_at_the_end, blank_lines, spaces_around_cells])
def test_what_an_editor_changes_by_itself_is_understood(data, edit):
    """Byte-order marks, line ends, removed tabs, blank lines and spaces around cells change nothing."""
    tables = [*form.COLUMNS, TITLES]
    others = ["function_words.txt", HEALTH, "heldout.jsonl"] if edit in (bom, windows, mac, blank_lines) else []
    from doric import data as loader

    before = [loader.read_table(name) for name in tables]
    for name in [*tables, *others]:
        (data / name).write_bytes(edit((data / name).read_text("utf-8")).encode())
    assert [loader.read_table(name) for name in tables] == before
    assert errors() == []


def test_hidden_files_of_editors_are_ignored(data):
    """Lock files and backups whose names begin with a dot are no data."""
    (data / "phrases" / ".#health.toml").write_text("lock")
    (data / "phrases" / "health.toml~").write_text("backup")
    assert errors() == []


def test_errors_in_one_file_do_not_hide_those_in_others(data):
    """If a phrase file and a word table are broken, the rules that do not need them still run."""
    change(data / FOOD, '"', "“")
    append(data / "lexicon.tsv", "zzword\tthing\tdoric\tn\t\t\t")
    change(data / "instructions.toml", "used: {reason}", "used: {raeson}")
    assert {finding.file for finding in errors()} == {FOOD, "lexicon.tsv", "instructions.toml"}


# ---- the rules that need other files or the scores: all mistakes in one copy, each found on its line

ENGLISH = "The morning rain was falling softly on the green hills beyond our village."
MIXED = "Dinna fash aboot the broth what you made, it's gweed eneuch for the hale hoose."
CASES = {
    "a form of two words": ("central.tsv", "awfy\t", "aw fy\t", "not one word in lower case"),
    "English that no text has": ("renderings.tsv", "\nasking\t", "\nasking,\t", "write English words in lower case"),
    "a capital letter in a form": ("leakage.tsv", "afternoon\tef", "Afternoon\tef", "not one word in lower case"),
    # the name of the rule: (file, old text, new text, a part of the reason)
    "a main spelling with a comma": ("lexicon.tsv", "\nelbuck\t", "\nelbuck, elba\t", "in the column `variants`"),
    "a main spelling with an apostrophe": ("lexicon.tsv", "\npuddock\t", "\npuddock'\t", "without the apostrophe"),
    "a main spelling of two words": ("lexicon.tsv", "\nyowe\t", "\nyowe lamb\t", "needs the class `phrase`"),
    "a capital letter in a main spelling": ("lexicon.tsv", "\ngirn\t", "\nGirn\t", "only names have a capital"),
    "a spelling of two entries": ("lexicon.tsv", "\nablow\t", "\naffa\t", "duplicate of line"),
    "a form that is accepted and Central Scots": ("central.tsv", "aboon\tabeen", "gweed\tabeen", "accepted as Doric"),
    "a form that is accepted and English": ("leakage.tsv", "\nabove\t", "\naffa\t", "accepted as Doric"),
    "a Central form twice": ("central.tsv", "\nabuin\t", "\naathin\t", "duplicate of line 2"),
    "no house form in central.tsv": ("central.tsv", "abuit\taboot", "abuit\tcaal", "write caul"),
    "no house form in leakage.tsv": ("leakage.tsv", "\nabout\taboot", "\nabout\tgyan", "write gyaan"),
    "no house form in renderings.tsv": ("renderings.tsv", "a lot of\ta hantle o", "a lot of\tcaal o", "write caul"),
    "a rendering that is Central Scots": ("renderings.tsv", "\nabout\taboot", "\nabout\twhit", "Central Scots"),
    "a rendering that is English": (
        "renderings.tsv",
        "\nafternoon\tefterneen",
        "\nafternoon\twith",
        "Central Scots or English",
    ),
    "a rendering that insults": ("renderings.tsv", "\nabove\tabeen", "\nabove\tteuchter", "insults people"),
    "a rendering twice": ("renderings.tsv", "\nall\taa", "\na\taa", "duplicate of line 2"),
    "English in upper case": ("renderings.tsv", "\nafter\t", "\nAfter\t", "lower case"),
    "an unknown function word": ("function_words.txt", " aabody ", " aabodyy ", "correct its spelling"),
    "a word in upper case": ("ing_nouns.txt", " anything ", " Anything ", "write it in lower case: anything"),
    "a form without an entry": (
        "collisions.toml",
        'forms = ["foo"',
        'forms = ["fooo", "foo"',
        "in no line of lexicon.tsv",
    ),
    "a context word without a rule": (
        "lexicon.tsv",
        "\nabeen\tabove\tne\tprep",
        "\nabeen\tabove\tcontext\tprep",
        "class context without a rule",
    ),
    "a set that no rule uses": ("collisions.toml", "\n[sets]\n", '\n[sets]\nzz = ["x"]\n', "no rule uses this set"),
    "a word to keep that is in no table": (
        "spelling.toml",
        '"ah", ',
        '"ah", "zz", ',
        "not in lexicon.tsv or central.tsv",
    ),
    "an English word that is in no table": ("spelling.toml", '"about", ', '"abot", ', "not in leakage.tsv"),
    "a word in two lists": ("spelling.toml", "in_context = [", 'in_context = ["above", ', "the list `always` has it"),
    "a word that belongs in another list": (
        "spelling.toml",
        "[also]\n",
        '[also]\nwith = "wi"\n',
        "write it in `always`",
    ),
    "a house form that is another word's spelling": (
        "spelling.toml",
        'so = "sae"',
        'so = "caal"',
        "not in the house spelling: write caul for caal",
    ),
    "two words in a rule": ("spelling.toml", 'forms = ["rest"]', 'forms = ["the rest"]', "not one word in lower case"),
    "an old spelling in the instructions": (
        "instructions.toml",
        "gweed skweel meen",
        "gweed skweil meen",
        "write skweel",
    ),
    "an old spelling for the judge": ("judge.toml", "gweed, aul, caul", "gweed, aul, caal", "write caul"),
    "a stock opener in upper case": ("gates.toml", '"fit like"', '"Fit like"', "lower case"),
    "a stock opener that is never found": ("gates.toml", '"och"', '"(och"', "no answer can begin"),
    "a threshold without a reason": ("gates.toml", "max_words = 220  ", "max_words = 220\n#", "write the reason"),
    "limits in the wrong order": ("topic_rules.toml", "max_words = 12", "max_words = 3", "greater than max_words"),
    "a part of speech that is none": (
        "lexicon.tsv",
        "\tgoing\tne\tv\t",
        "\tgoing\tne\tverb\t",
        "write one of n, v, adj",
    ),
    "a sentence twice in one file": (
        HEALTH,
        "Wax plugs is gweed for lugs that foam hurts.",
        "Dim aa the lamps an pit the phone ben in anither room for the last oor.",
        "duplicate of",
    ),
    "a sentence in two files": (
        "phrases/travel.toml",
        None,
        "Nae coffee nor strang tay for aboot echt oors afore ye gyang tae yer bed.",
        "duplicate of",
    ),
    "plain English": (
        HEALTH,
        "Sleep canna be forced, an the harder ye chase it the faister it rins.",
        ENGLISH,
        "English, not Doric",
    ),
    "two English words": (
        "holds.toml",
        "This is the only vice I hae, sae we'll mak dee wi it.",
        MIXED,
        "English, not Doric",
    ),
    "a Central form": (
        HEALTH,
        "Dinna leuk at the clock throwe the nicht,",
        "Dinna leuk whit the clock says throwe the nicht,",
        "whit (write fit)",
    ),
    "a semicolon": (
        HEALTH,
        "The steady hum o a fan hides",
        "The steady hum; o a fan hides",
        "the character ;",
    ),
    "a sentence that no theme has": (
        HEALTH,
        "unfit = [\n",
        'unfit = [\n  "Nae sic sentence",\n',
        "no sentence of the theme 'sleeping well' begins so",
    ),
    "a beginning of several sentences": (
        HEALTH,
        "unfit = [\n",
        'unfit = [\n  "D",\n',
        "sentences of the theme 'sleeping well' begin so",
    ),
    "two words": (
        HEALTH,
        "A heid fu o the day's fash keeps the body ready for action in the dark.",
        "Sleep weel.",
        "it has 2 words",
    ),
    "no end": (
        HEALTH,
        "Keep the bed for sleepin, an dee yer wark an yer worryin at a table.",
        "Keep the bed for sleepin, an dee yer wark at a table",
        "does not end",
    ),
    "two sentences": (
        HEALTH,
        "The body his a clock o its ain, an licht is the thing that sets it.",
        "The body his a clock o its ain, an licht sets it. That is the thing.",
        "2 sentences",
    ),
    "no capital": (
        HEALTH,
        "Name a toon for ilka letter",
        "name a toon for ilka letter",
        "capital letter",
    ),
    "two spaces": (HEALTH, "Gie ony new habit", "Gie ony  new habit", "one space between words"),
    "markup": (
        "holds.toml",
        "Ma wirds comes oot this wye fitiver fowk says.",
        "Ma **wirds** come oot this wye fitiver fowk says.",
        "character *",
    ),
    "talk about the language": (
        "holds.toml",
        "I think in this tongue, sae",
        "I think in Doric ilka day, sae",
        "quality gates would reject it",
    ),
    "advice like a refusal": (
        "holds.toml",
        "It's this wye o spikkin or silence, an silence is nae eese tae ye.",
        "I'm sorry, bit I canna help ye wi that the day, ma freen.",
        "take it for a refusal",
    ),
    "a slot where none is allowed": (
        "holds.toml",
        "Bide wi me, for this",
        "Bide wi {topic}, for this",
        "no slot is allowed here",
    ),
    "an unknown slot": (
        "general.toml",
        "Fan it comes tae {topic}, pick",
        "Fan it comes tae {topick}, pick",
        "write {topic}",
    ),
    "no slot": (
        "general.toml",
        "that kens aboot {topic} aye says",
        "that kens aboot this aye says",
        "write {topic} exactly once",
    ),
    "a refusal that is not recognised": (
        "refusals.toml",
        "I winna shaw ye the wye tae that.",
        "Fine day for a traivel alang the shore the day.",
        "do not recognise it as a refusal",
    ),
    "an offer that is not recognised": (
        "refusals.toml",
        "Try a plain question face tae face, an I'll help ye think foo tae pit it.",
        "The hens is oot in the park aa the day lang.",
        "do not recognise it as an offer",
    ),
    "an unknown category": (
        "prompts.toml",
        'category = "hacking"',
        'category = "hackin"',
        "refusals.toml has no category 'hackin'",
    ),
    "a harmful request without a fitting offer": (
        "prompts.toml",
        'case = "debt"',
        'case = "dett"',
        "no offer fits it: add one to 'break-in' in refusals.toml",
    ),
    "an emergency that is answered in Doric first": (
        "asks/need.toml",
        '    "\\"Call 999 now and say chest pain.',
        '    "Na. \\"Call 999 now and say chest pain.',
        "begin with the English, in quotation marks",
    ),
    "a mistake that no sentence of the topic names": (
        "phrases/food_and_cooking.toml",
        'mistakes = ["Nivver tak a roller"]',
        'mistakes = ["Nivver tak a rolling"]',
        "no sentence of the topic begins so",
    ),
    "an order of a sentence that the topic does not have": (
        "phrases/food_and_cooking.toml",
        'order = ["Split an been", ',
        'order = ["Split an bone", ',
        "no sentence of the topic begins so",
    ),
    "reasons for a request that nobody makes": (
        "refusals.toml",
        'cases = ["passport"]',
        'cases = ["pasport"]',
        "no harmful request of the category 'forgery' in prompts.toml has this case",
    ),
    "a keyword in upper case": (HEALTH, '"insomnia"', '"Insomnia"', "write keywords in lower case: insomnia"),
    "a topic that is twice": (
        HEALTH,
        'topic = "sleeping through noise on a busy street"',
        'topic = "falling asleep when your mind is racing"',
        "duplicate of the topic",
    ),
    "a topic in Central Scots": (
        HEALTH,
        "faain asleep fan yer heid's birlin",
        "faain asleep whan yer heid's birlin",
        "Central Scots or English",
    ),
    "an unknown slot in a frame": (
        "prompts.toml",
        "Quick one about {topic}:",
        "Quick one about {topick}:",
        "unknown slot {topick}",
    ),
    "a Cyrillic letter in a frame": (
        "prompts.toml",
        "The accent is funny",
        "The \u0430ccent is funny",
        "another alphabet",
    ),
    "an English topic in a Doric frame": (
        "prompts.toml",
        "Can ye mine me {doric}?",
        "Can ye mine me {topic}?",
        "{topic} is the topic in English: write {doric} in this frame",
    ),
    "an English topic at the start of a Doric frame": (
        "prompts.toml",
        "{Doric}, hae ye ony advice?",
        "{Topic}, hae ye ony advice?",
        "{Topic} is the topic in English: write {Doric} in this frame",
    ),
    "a Doric topic in an English frame": (
        "prompts.toml",
        "Can you tell me a bit about {topic}?",
        "Can you tell me a bit about {doric}?",
        "{doric} is the topic in Doric: write {topic} in this frame",
    ),
    "a topic that is named twice": (
        "prompts.toml",
        "How do I get better at {topic}?",
        "How do I get better at {topic}, {topic}?",
        "it names the topic 2 times",
    ),
    "doubled braces in a frame": (
        "prompts.toml",
        "I'm fair trachelt with {topic}.",
        "I'm fair trachelt with {{topic}}.",
        "a brace too many, {: remove it",
    ),
    "a slot in the values of a slot": (
        "prompts.toml",
        '"leisure centre"',
        '"leisure {place}"',
        "unknown slot {place}: no slot is allowed here",
    ),
    "a slot in the name of an ask": (
        "asks/poem.toml",
        'about = "',
        'about = "{english} ',
        "unknown slot {english}: no slot is allowed here",
    ),
    "a slot in an evaluation prompt": (
        "heldout.jsonl",
        "My Seville marmalade stays runny.",
        "My Seville marmalade stays {topic}.",
        "unknown slot {topic}: no slot is allowed here",
    ),
    "a frame without its topic": (
        "prompts.toml",
        "What should I know about {topic}?",
        "What should I know about it?",
        "does not name the topic",
    ),
    "a tail twice": (
        "prompts.toml",
        "I live near Huntly, if that matters.",
        "Plain words suit me best.",
        "duplicate of line",
    ),
    "an English frame with Scots": (
        "prompts.toml",
        "My partner is as stuck as I am.",
        "My partner is as stuck as I am",
        "sentence mark",
    ),
    "an unknown slot in a request": ("prompts.toml", "my {person}'s email", "my {persn}'s email", "write {person}"),
    "a frame of another language without slot": (
        "prompts.toml",
        "¿Por dónde empezarías tú con algo así: {topic}?",
        "¿Por dónde empezarías tú?",
        "exactly once",
    ),
    "a title that is English": (
        TITLES,
        "dormirse cuando la mente no para",
        "falling asleep when your mind is racing",
        "is the English one",
    ),
    "a title in the wrong column": (TITLES, "ύπνος όταν το μυαλό τρέχει", "sove trygt", "not in Greek letters"),
    "a title that is twice": (
        TITLES,
        "dormir malgré le bruit d'une rue passante",
        "s'endormir quand l'esprit s'emballe",
        "is also in",
    ),
    "a title of no topic": (
        "multilingual/money.tsv",
        "\nliving on a wage",
        "\nlivin on a wage",
        "no topic in phrases/ has this name",
    ),
    "an evaluation prompt twice": (
        "heldout.jsonl",
        "What's the trick to wrapping a present that has an awkward shape?",
        "How do I sew a coat button back on so that it stays put?",
        "duplicate prompt, first used on line 1",
    ),
    "an evaluation prompt without its own words": (
        "heldout.jsonl",
        '"lang": "es", "group"',
        '"lang": "xx", "group"',
        "unknown language 'xx'",
    ),
    "an evaluation prompt in a sentence": (
        "holds.toml",
        "Rules or nae rules, I'm at hame in this spik.",
        "Sew a coat button back on so that it stays put, an dinna fash aboot it.",
        "evaluation prompt core-001",
    ),
}


ELSEWHERE = {
    "a harmful request without a fitting offer": "owes me money",
    "a threshold without a reason": "max_words",
    "limits in the wrong order": "min_words",
}
"""Name of a rule -> what is on the line of its finding, if that is not the line that was changed."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Name of a rule -> (the line that was changed, the errors in its file, its file)."""
    folder = tmp_path_factory.mktemp("broken") / "data"
    shutil.copytree(str(DATA), folder)
    places = {}
    for name, (file, old, new, _) in CASES.items():
        old = old or first_sentence(folder / file)
        change(folder / file, old, new)
        places[name] = (folder / file, new)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("doric.data.FOLDER", folder)
        forget()
        every = check()
    forget()
    return places, every


def first_sentence(file: Path) -> str:
    lines = file.read_text("utf-8").splitlines()
    return next(line.strip().strip('",') for line in lines if line.lstrip().startswith('"'))


@pytest.mark.parametrize("name", CASES)
def test_each_rule_finds_its_mistake(found, name):
    """A mistake is reported as an error in the right file, on the right line, with the reason."""
    places, every = found
    file, _, new, reason = CASES[name]
    lines = places[name][0].read_text("utf-8").split("\n")
    right = [finding for finding in every if finding.file == file and reason in finding.reason]
    assert right, [finding for finding in every if finding.file == file]
    assert all(finding.is_error for finding in right)
    shown = ELSEWHERE.get(name) or new.strip().rpartition("\n")[2]
    assert any(shown in lines[finding.line - 1] for finding in right), right
