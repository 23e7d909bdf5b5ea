"""The checks of the files of asks: each rule finds its mistake in a file that is otherwise right."""

import shutil

import pytest

from doric.data import FOLDER as DATA
from doric.lint import asks, enough, prompts, spelling
from doric.lint.check import check
from doric.lint.files import read_files
from test_lint import change, forget

RIGHT = """share = 0.01
about = "a riddle"
instruction = "Give a riddle in {least} to {most} words."
length = [3, 20]
allows = ["too_short"]
quotes = true
from = "lexicon"

[[pairs]]
asks = ["Riddle me {english}.", "a riddle with {doric}"]
parts = [
    ["Fit's {doric} the nicht an \\"{english}\\" the morn?", "{Doric} gaed oot fan the licht cam in."],
    ["Fa kens it?"],
]

[[pairs]]
asks = ["Tell me a riddle!"]
parts = [["Fit gings roon the hoose aa nicht an leaves nae mair nor ae fit mark?"]]
"""
FILE = "asks/riddle.toml"


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A copy of the data with the file of another ask, which the test changes."""
    folder = tmp_path / "data"
    shutil.copytree(str(DATA), folder)
    (folder / FILE).write_text(RIGHT, "utf-8")
    monkeypatch.setattr("doric.data.FOLDER", folder)
    forget()
    yield folder
    monkeypatch.undo()
    forget()


def findings(*rules, name=FILE):
    """What the rules (all rules of asks if none is given) find in a file."""
    forget()
    sources, found = read_files()
    every = rules or (asks.check_asks, asks.check_answers, asks.check_tables)
    found = found or [finding for rule in every for finding in rule(sources)]
    return [finding for finding in found if finding.file == name]


def test_a_right_file_has_no_errors(data):
    """A new kind of ask is one file, and nothing else has to be changed."""
    forget()
    assert [finding for finding in check() if finding.is_error and finding.file == FILE] == []


THEN = """
[pairs.then]
says = ["And after that?"]
doric = ["An efter that?"]
parts = [["Syne it gings hame."], ["Fa kens fit wye?"]]
"""
THEN_CASES = {
    "a slot": ("And after that?", "And {english}?", "unknown slot"),
    "a duplicate user turn": ("And after that?", "Tell me a riddle!", "duplicate of asks/riddle.toml"),
    "Central Scots": ("Fa kens", "Wha kens", "Central Scots: wha (write fa)"),
    "no sentence mark": ("fit wye?", "fit wye", "it ends an answer, but not with"),
    "no parts": ('parts = [["Syne it gings hame."], ["Fa kens fit wye?"]]\n', "", "'parts' is missing"),
}


@pytest.mark.parametrize("case", THEN_CASES)
def test_what_follows_a_question_is_checked_too(data, case):
    """A mistake in what may follow a question and in its answer is an error."""
    old, new, reason = THEN_CASES[case]
    (data / FILE).write_text(RIGHT + THEN.replace(old, new), "utf-8")
    assert [finding for finding in findings() if finding.is_error and reason in finding.reason]


CASES = {
    "a misspelt key": ("share = 0.01", "shares = 0.01", "unknown key 'shares'"),
    "a share above one": ("share = 0.01", "share = 1.5", "'share'"),
    "shares above one together": ("share = 0.01", "share = 0.99", "the shares of all asks sum to"),
    "no length": ("length = [3, 20]\n", "", "'length' is missing"),
    "one length": ("length = [3, 20]", "length = [3]", "'length' has 1 entries"),
    "lengths in the wrong order": ("length = [3, 20]", "length = [20, 3]", "exchange the two"),
    "an unknown source": ('from = "lexicon"', 'from = "words"', "'from' is 'words'"),
    "an unknown gate": ('["too_short"]', '["to_short"]', "no gate 'to_short'"),
    "an unknown slot of the instruction": ("{most} words", "{more} words", "unknown slot {more}: write {least}"),
    "a slot of another source": ("a riddle with {doric}", "a riddle with {sum}", "unknown slot {sum}"),
    "one user turn without a slot": ("a riddle with {doric}", "a riddle now", "other user turns of this pair have"),
    "a slot that nothing fills": ("nae mair nor ae fit", "nae mair nor {doric}", "nothing fills this"),
    "a duplicate user turn": ("a riddle with {doric}", "riddle me {english}.", "duplicate of asks/riddle.toml:"),
    "a curly quotation mark": ("Tell me a riddle!", "Tell me a ‘riddle’!", "curly quotation mark"),
    "two spaces": ("Fa kens it?", "Fa  kens it?", "one space between words"),
    "no sentence mark": ("Fa kens it?", "Fa kens it", "it ends an answer, but not with"),
    "a small letter at the start": ("{Doric} gaed", "the {doric} gaed", "begin with a capital letter"),
    "markup": ("Fa kens it?", "*Fa* kens it?", "it has the character *"),
    "Central Scots": ("Fa kens it?", "Wha kens it, an whit's it aboot?", "Central Scots: wha (write fa)"),
    "English": ("Fa kens it?", "Who knows what it is and where it went with you?", "English, not Doric"),
    "an answer that is too long": ("length = [3, 20]", "length = [3, 9]", "an answer has"),
    "an answer that is too short": ("length = [3, 20]", "length = [12, 20]", "an answer has"),
    "a part twice": ('["Fa kens it?"]', '["Fa kens it?", "Fa kens it?"]', "in the same list twice"),
    "an evaluation prompt": (
        "Tell me a riddle!",
        "How do I sew a coat button back on so that it stays put?",
        "evaluation prompt core-001",
    ),
    "an evaluation prompt in an answer": (
        "Fa kens it?",
        "Sew a coat button back on so that it stays put, an dinna fash aboot it.",
        "evaluation prompt core-001",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_rule_finds_its_mistake(data, case):
    """A mistake is an error on its line, with the reason."""
    old, new, reason = CASES[case]
    line = change(data / FILE, old, new)
    found = [finding for finding in findings() if finding.is_error and reason in finding.reason]
    assert found
    assert new == "" or line in {finding.line for finding in found} or old.startswith("length")


@pytest.mark.parametrize("name", ["advice", "none", "two-words", "Greeting"])
def test_a_name_that_means_something_else_is_found(data, name):
    """An ask has a name of one word that --ask-mix does not use for something else."""
    (data / FILE).rename(data / f"asks/{name}.toml")
    assert "rename the file" in findings(name=f"asks/{name}.toml")[0].reason


def test_too_few_answers_are_a_doubt(data):
    """If an ask has fewer different answers than its share needs, that is a warning."""
    change(data / FILE, 'from = "lexicon"\n', "")
    text = (data / FILE).read_text("utf-8")
    first, second = text.index("[[pairs]]"), text.rindex("[[pairs]]")
    (data / FILE).write_text(text[:first] + text[second:], "utf-8")
    (finding,) = findings(asks.check_enough)
    assert (finding.is_error, "only 1 rows can have different answers" in finding.reason) == (False, True)


def test_an_ask_that_draws_more_follow_ups_than_there_are_is_an_error(data):
    """A new kind of ask fails the check if a dataset with --turns 4 would run out of answers to its follow-ups."""
    followed = 'after = ["fact"]'
    assert findings(enough.check_follow_ups, name="followups.toml") == []
    change(data / "followups.toml", followed, 'after = ["fact", "riddle"]')
    change(data / FILE, "share = 0.01", "share = 0.2")
    (finding,) = findings(enough.check_follow_ups, name="followups.toml")
    assert (finding.is_error, "add pairs to asks/fact.toml" in finding.reason) == (True, True)


def test_too_few_answers_to_what_follows_a_question_are_an_error(data):
    """What follows a question beside it needs as many answers as the question has rows."""
    then = (
        '\n[pairs.then]\nsays = ["And then?"]\ndoric = []\nparts = [["Syne it gings hame tae its bed.", "Fa kens?"]]\n'
    )
    (data / FILE).write_text(RIGHT + then, "utf-8")
    (finding,) = findings(enough.check_follow_ups)
    assert (finding.is_error, finding.text) == (True, "And then?")


def test_answers_that_the_gates_would_reject_are_an_error(data):
    """A question with few answers must not lose them to the gates."""
    change(data / FILE, "Fit gings roon the hoose aa nicht an leaves nae mair nor ae fit mark?", "Mombasa is the port.")
    (finding,) = findings(enough.check_accepted)
    assert (finding.is_error, "would reject 1 of its 1 answers" in finding.reason) == (True, True)


def test_quoted_english_is_no_fault_where_it_is_allowed(data):
    """With `quotes`, words between quotation marks may be English; without, they may not."""
    english = 'Fan they say \\"what you would do with it\\", fa kens?'
    change(data / FILE, "Fa kens it?", english)
    assert [finding for finding in findings() if finding.is_error] == []
    change(data / FILE, "quotes = true", "quotes = false")
    assert any("English, not Doric" in finding.reason for finding in findings() if finding.is_error)


def test_a_line_outside_the_house_spelling_is_a_doubt(data):
    """Answers, user turns in Doric and lines to translate are compared with the house spelling too."""
    change(data / FILE, "Fa kens it?", "Fa kens so it?")
    assert any("write sae for so" in finding.reason for finding in findings(spelling.check_house_spelling))


TABLES = {
    "a line in English": ("asks/lines.tsv", "This is what they would have said to you.\tThis is it.", "English, not"),
    "a line without an end": ("asks/lines.tsv", "Fa's at the door\tWho is at the door?", "does not end with"),
    "a cell missing": ("asks/lines.tsv", "Fa's at the door noo?", "1 column instead of 2"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_wrong_line_is_found(data, case):
    """A line to translate is whole, in Doric, and has its English."""
    name, line, reason = TABLES[case]
    path = data / name
    path.write_text(f"{path.read_text('utf-8').rstrip()}\n{line}\n", "utf-8")
    assert any(reason in finding.reason for finding in findings(name=name) if finding.is_error)


def test_wrong_slips_are_found(data):
    """A slip is in lower case and differs from the right spelling."""
    change(data / "prompts.toml", '"don\'t" = "dont"', '"don\'t" = "don\'t"')
    change(data / "prompts.toml", 'honest = "honnest"', 'honest = "Honnest"')
    reasons = {finding.reason for finding in findings(prompts.check_typed, name="prompts.toml") if finding.is_error}
    assert {reason.partition(":")[0] for reason in reasons} == {
        "the slip is the right spelling", "write it in lower case",
    }  # fmt: skip
