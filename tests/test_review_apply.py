"""What readers sent back: bad files, agreement, and a review that is applied and taken back."""

import json
import random
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import transform_to_sharegpt
from doric.core import reviews as checked
from doric.core.errors import InputError
from doric.core.files import atomic_write
from doric.core.review_files import checksum
from doric.lint import edits
from doric.lint.check import check
from doric.lint.files import read_files
from doric.lint.spelling import doric_lines
from doric.preferences.sources import read_pairs
from doric.review import apply
from doric.review.agreement import alpha, ratings
from doric.review.answers import SEND_BUTTON, read_review, read_reviews
from doric.review.items import item_id, without_slots
from doric.review.page import review_page
from language_data import copied, forget
from scripts import load_script

pytest.importorskip("krippendorff", reason="agreement needs `uv sync --group review`")

CHOICES = "review/choices.toml"
BETTER = "Gyang canny the day, ma freen, an dinna fash yersel aboot fit ither fowk thinks o't."
ROOT = Path(__file__).parents[1]
STATUS = {"README.md", "reviewed.json"}
"""What every review changes: it says who has checked the Doric."""
README = "* **No native speaker has checked this Doric.** It follows descriptions.\n"


@pytest.fixture(scope="module")
def script():
    """The command."""
    return load_script(ROOT / "validation" / "review_doric.py")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a copy of the data and a README, in which reviews are applied."""
    (tmp_path / "README.md").write_text(README)
    monkeypatch.setattr(apply, "PROJECT", tmp_path)
    monkeypatch.setattr(apply, "check_data", lambda: 0)
    monkeypatch.chdir(tmp_path)
    with copied(tmp_path / "data"):
        yield tmp_path


def answer(item, shown, said, better=None, **more):
    """An answer as the page writes it."""
    return {"item": item, "part": 1, "shown": shown, "answer": said, "better": better, "at": "x", **more}


def write(path, *answers, reader="a" * 12, **changed):
    """A file of answers as the page writes it."""
    about = {"id": reader, "region": "Buchan", "learnt": "I grew up with it at home", "publish": True}
    raw = {"format": "doric-review", "version": 1, "page": "p", "reader": about, "saved": "2026-11-29T10:00:00Z"}
    path.write_text(json.dumps({**raw, "answers": answers, "checksum": checksum(list(answers)), **changed}))
    return path


def line(number):
    """An authored line, and the answer's item for it."""
    text = [one.text for one in doric_lines(read_files()[0]) if "{" not in one.text and len(one.text) > 30][number]
    return text, item_id("line", text)


def content(folder):
    """Every file of a project by name."""
    kept = (".bak", edits.UNDO, "__pycache__")
    files = (path for path in folder.rglob("*") if path.is_file() and not any(one in str(path) for one in kept))
    return {str(path): path.read_bytes() for path in files if path.suffix != ".answers"}


def changed(folder, before):
    """The names of the files that are new or have changed."""
    return {Path(name).name for name, text in content(folder).items() if before.get(name) != text}


def apply_files(script, *paths, yes=True, **flags):
    """The exit status of the command."""
    return script.main(["apply", *map(str, paths), *words(flags), *(["--yes"] if yes else [])])


def words(flags):
    """The flags as words of the command line."""
    return [word for name, value in flags.items() for word in (f"--{name}", str(value))]


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        ("29/11/2026 Jean: {", "it is not JSON"),
        ('{"format": "doric-review", "ver', "the file is cut off"),
        ("[1]", "it is no answers"),
        ('{"format": "other"}', "it is no doric-review file"),
        ('{"format": "doric-review-key"}', "it is no doric-review file"),
        ('{"format": "doric-review", "version": 2}', "version 2"),
        ('{"format": "doric-review", "version": "1"}', "version '1'"),
        ('{"format": "doric-review", "version": 1}', "no list of answers"),
        ('{"format": "doric-review", "version": 1, "answers": [], "checksum": "0"}', "changed after"),
    ],
)
def test_file_that_is_no_answers_is_one_error(tmp_path, text, said):
    """A damaged, foreign, newer or tampered file is refused with its name and a remedy."""
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as found:
        read_review(path)
    assert found.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        {"item": 3}, {"answer": None}, {"answer": "grand"}, {"item": "poem:1"}, {"better": 5}, {"prompt": "x"},
        {"prompt": [{"role": "user"}]},
    ],
)  # fmt: skip
def test_answer_of_a_wrong_kind_is_one_error_with_its_number(tmp_path, wrong):
    """An answer that no page writes is refused, also with a right checksum."""
    path = write(tmp_path / "a.json", answer("line:1", "Fit like?", "natural"), answer("line:2", "x", "stiff") | wrong)
    with pytest.raises(InputError, match="answer 2"):
        read_review(path)


@pytest.mark.parametrize("shown", [None, 7, ["x"], "", "  "])
@pytest.mark.parametrize("item", ["word:an\tand", "line:1", "row:1", "pair:1", "choice:years"])
def test_answer_without_a_shown_text_is_one_error(tmp_path, item, shown):
    """An answer whose text is missing or no text is refused: "natural" for it would remove what it stands for."""
    said = {"word": "say", "line": "natural", "row": "natural", "pair": "first", "choice": "eers"}[
        item.partition(":")[0]
    ]
    with pytest.raises(InputError, match="answer 1 does not say which text was shown"):
        read_review(write(tmp_path / "a.json", answer(item, shown, said)))


@pytest.mark.parametrize(("item", "said"), [("word:an\tand", "say"), ("pair:1", "first")])
def test_answer_to_another_text_is_one_error(tmp_path, item, said):
    """A word for which another word was shown, and a pair of one text, come from no page."""
    with pytest.raises(InputError, match="answer 1 is for"):
        read_review(write(tmp_path / "a.json", answer(item, "muckle", said)))


@pytest.mark.parametrize("value", [None, 5, "", ["p"], "q" * 70, "a\x1b[31m"])
@pytest.mark.parametrize("name", ["page", "saved"])
def test_file_without_its_page_or_time_is_one_error(tmp_path, name, value):
    """Without the page, a key of another page would be taken; both go into the list of readers."""
    with pytest.raises(InputError, match=f'its "{name}" is missing'):
        read_review(write(tmp_path / "a.json", **{name: value}))


def test_page_that_is_sent_back_is_named(tmp_path):
    """A reader who sends the page instead of the answers is told which button to press, whatever the file is called."""
    path = tmp_path / "review (1).txt"
    path.write_text(review_page([], []))
    with pytest.raises(InputError, match="the review page itself") as found:
        read_review(path)
    assert SEND_BUTTON in str(found.value.hint)


def test_picture_that_is_sent_back_is_named(tmp_path):
    """A photo of the screen is no text."""
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    with pytest.raises(InputError, match="a JPEG picture"):
        read_review(tmp_path / "photo.jpg")


@pytest.mark.parametrize("name", ["review (1).json", "doric-review.txt", "answers", "a.JSON", "fit like.json.txt"])
def test_name_of_the_file_does_not_matter(tmp_path, name):
    """A file is read under any name, with text of all kinds in it."""
    better = "<script>alert(1)</script> \"Aye\" 'na' \N{THUMBS UP SIGN} {topic} \\"
    path = write(tmp_path / name, answer("line:1", "Fit like?", "wrong", better))
    assert read_review(path).answers[0].better == better


def test_last_answer_to_an_item_counts(tmp_path):
    """Of two answers to one item in one file, the later one counts."""
    path = write(tmp_path / "a.json", answer("line:1", "x", "wrong", "B"), answer("line:1", "x", "natural"))
    assert [(one.answer, one.better) for one in read_review(path).answers] == [("natural", "")]


def test_half_characters_and_controls_are_read_without_them(tmp_path):
    """Half a character, which a browser writes as an escape, keeps the checksum; controls of a terminal are removed."""
    text = '[{"item":"line:1","part":1,"shown":"x","answer":"wrong","better":"A \\ud83d\\u001b[31m\\u0000b","at":"x"}]'
    path = write(tmp_path / "a.json", answers=json.loads(text), checksum=f"{zlib.crc32(text.encode()):08x}")
    assert read_review(path).answers[0].better == "A \N{REPLACEMENT CHARACTER}b"


def test_unknown_regions_and_origins_are_not_passed_on(tmp_path):
    """A text that is no region of the page is written nowhere."""
    about = {"id": "c" * 12, "region": "**Here** <b>", "learnt": ["x"], "publish": "yes"}
    path = write(tmp_path / "a.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "reader": about}))
    review = read_review(path)
    assert (review.region, review.native, review.may_publish) == ("not said", None, False)


@pytest.mark.parametrize("command", ["agree", "apply"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"format": "doric-review"}'.decode().encode("utf-16"), "it is UTF-16, not UTF-8 text"),
        (bytes(range(256)), "not UTF-8 text"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"format": "doric-review", "version": ' + b"1" * 5000 + b"}", "it is not JSON"),
        (b'{"a": "' + b"x" * 20_000_001 + b'"}', "it is too large"),
    ],
    ids=["UTF-16", "binary", "deep", "long number", "huge"],
)
def test_hostile_file_is_one_line_with_the_file_and_exit_status_2(script, project, capsys, command, content, said):
    """Of a good and a bad file, the bad one is named, and nothing is written."""
    text, item = line(0)
    good, bad = write(project / "good.answers", answer(item, text, "wrong", BETTER)), project / "bad.answers"
    bad.write_bytes(content)
    assert script.main([command, str(good), str(bad), *(["--yes"] if command == "apply" else [])]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert (error.startswith("error: "), bad.name in error, said in error, hint.startswith("hint: ")) == (True,) * 4
    assert text in {one.text for one in doric_lines(read_files()[0])}


def test_folder_and_missing_file_are_one_error(tmp_path):
    """A folder or a missing file in place of the answers is refused."""
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(InputError):
            read_review(path)


def test_folder_stands_for_the_files_of_answers_in_it(tmp_path):
    """A folder is read with its .json and .txt files; others are named, and an empty folder is refused."""
    folder = tmp_path / "answers"
    folder.mkdir()
    with pytest.raises(InputError, match="the folder has no files of answers"):
        read_reviews([folder])
    one = write(folder / "a.json", answer("line:1", "x", "wrong"))
    write(folder / "b.json.TXT", answer("line:1", "x", "natural"), reader="b" * 12)
    (folder / ".hidden.json").write_text("no answers")
    (folder / "picture.png").write_bytes(b"x")
    reviews, notes = read_reviews([folder, one])
    assert [Path(review.file).name for review in reviews] == ["a.json", "b.json.TXT"]
    assert notes == [f"left out, because it is not .json or .txt: {folder / 'picture.png'}"]


def test_byte_order_mark_and_half_filled_file_are_read(tmp_path):
    """A file with a byte-order mark, few answers and an empty reader's place is read."""
    path = write(tmp_path / "a.json", reader="b" * 12)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    review = read_review(path)
    assert (review.answers, review.region) == ((), "Buchan")
    assert "b" * 12 not in review.by


def test_of_two_files_of_one_reader_the_newer_counts(tmp_path):
    """The older file of the same reader and page is left out, and that is said."""
    old = write(tmp_path / "1.json", answer("line:1", "x", "wrong"), saved="2026-11-28T10:00:00Z")
    new = write(tmp_path / "2.json", answer("line:1", "x", "natural"))
    for order in ((old, new), (new, old)):
        (review,), notes = read_reviews(order)
        assert review.file == str(new)
        assert str(old) in notes[0]


def test_two_equal_files_count_once_and_lost_answers_are_named(tmp_path):
    """Two copies are said to be equal; a newer file that lacks answers of the older one is said to."""
    one = write(tmp_path / "a.json", answer("line:1", "x", "wrong"), answer("line:2", "y", "wrong"))
    copy = write(tmp_path / "a (1).json", *json.loads(one.read_text())["answers"])
    assert read_reviews((one, copy))[1] == [f"{one} and {copy} have the same answers: they count once"]
    newer = write(tmp_path / "b.json", answer("line:1", "x", "natural"), saved="2026-11-30T10:00:00Z")
    assert "It lacks 1 answer of the older file" in read_reviews((one, newer))[1][0]


# --- agreement ------------------------------------------------------------------------------------------------------


def planted(tmp_path):
    """Two readers of ten pairs: 4 times both first, 4 times both second, 2 times different."""
    both = [("first", "first")] * 4 + [("second", "second")] * 4 + [("first", "second")] * 2
    sides = [[answer(f"pair:{n}", "a\n---\nb", one[side]) for n, one in enumerate(both)] for side in (0, 1)]
    return [write(tmp_path / f"{n}.json", *side, reader=str(n) * 12) for n, side in enumerate(sides)]


def test_alpha_of_two_planted_readers_is_what_the_formula_gives(tmp_path):
    """Observed disagreement 4/20, expected 2 * 10 * 10 / (20 * 19): alpha is 1 - 0.2 / 0.5263 = 0.62."""
    reviews, _ = read_reviews(planted(tmp_path))
    found = alpha(ratings(reviews, "pair"), "pair")
    assert found is not None
    assert found.value == pytest.approx(0.62, abs=1e-9)
    assert found.low < 0.62 < found.high <= 1


def test_ordinal_answers_that_are_near_agree_more_than_answers_that_are_far(tmp_path):
    """Natural against stiff lowers the alpha of lines less than natural against not Doric."""
    values = []
    for other in ("stiff", "not_doric"):
        both = [("natural", "natural")] * 5 + [("wrong", "wrong")] * 4 + [("natural", other)] * 2
        paths = [
            write(tmp_path / f"{side}.json", *(answer(f"line:{n}", "x", one[side]) for n, one in enumerate(both)),
                  reader=str(side) * 12)
            for side in (0, 1)
        ]  # fmt: skip
        found = alpha(ratings(read_reviews(paths)[0], "line"), "line")
        values.append(found.value)
    assert values[0] > values[1]


def test_agree_shows_the_alpha_regions_and_differences(script, tmp_path, capsys):
    """The command prints the alpha, and the items on which two regions differ."""
    one, two = planted(tmp_path)
    raw = json.loads(two.read_text())
    two.write_text(json.dumps({**raw, "reader": {**raw["reader"], "region": "Moray"}}))
    assert script.main(["agree", str(one), str(two)]) == 0
    shown = capsys.readouterr().out
    assert "2 readers: Buchan 1, Moray 1" in shown
    assert "alpha 0.62 [" in shown
    assert "by region: Buchan first, Moray second" in shown


def test_few_shared_items_have_no_alpha(script, tmp_path, capsys):
    """Below ten shared items no alpha is shown, and why."""
    path = write(tmp_path / "a.json", answer("line:1", "x", "wrong"))
    assert script.main(["agree", str(path)]) == 0
    assert "too few for an alpha" in capsys.readouterr().out


# --- applying -------------------------------------------------------------------------------------------------------


def test_correction_of_a_word_reaches_every_line_and_undo_restores_the_bytes(script, project, capsys):
    """A word that a reader writes another way changes in the lexicon and in each line; undo gives the bytes back."""
    path = write(project / "a.answers", answer("word:gyaan\tgoing", "gyaan", "heard", "gaan"))
    before = content(project)
    count = sum(text.lower().count(b"gyaan") for name, text in before.items() if "phrases" in name)
    assert count > 10
    assert apply_files(script, path) == 0
    after = content(project)
    assert not any(b"gyaan" in text.lower() for name, text in after.items() if "phrases" in name)
    forget()
    assert not any(finding.is_error for finding in check())
    assert b"gaan\tgoing" in (project / "data" / "lexicon.tsv").read_bytes()
    assert script.main(["undo", "--yes"]) == 0
    assert content(project) == before


def test_nothing_is_written_without_leave(script, project, capsys):
    """Without --yes and without a terminal the changes are shown, and nothing is written."""
    text, item = line(0)
    path = write(project / "a.answers", answer(item, text, "wrong", BETTER))
    before = content(project)
    assert apply_files(script, path, yes=False) == 1
    assert "+ " in capsys.readouterr().out
    assert content(project) == before


def test_corrected_line_replaces_the_old_one_and_the_same_file_again_changes_nothing(script, project, capsys):
    """A better line is in the data afterwards; applying the same file twice says that there is nothing to change."""
    text, item = line(0)
    better = 'Gyang canny, ma freen, an say "aye" tae naebody the day.'
    path = write(project / "a.answers", answer(item, text, "stiff", better))
    assert apply_files(script, path) == 0
    lines = {one.text for one in doric_lines(read_files()[0])}
    assert better in lines
    assert text not in lines
    assert apply_files(script, path) == 0
    assert "Nothing to change" in capsys.readouterr().out


def test_wrong_line_leaves_its_list(script, project):
    """A line that is called wrong leaves, if its list can do without it."""
    text = read_files()[0]["holds.toml"].toml["holds"][0]
    path = write(project / "a.answers", answer(item_id("line", text), without_slots(text), "not_doric"))
    assert apply_files(script, path) == 0
    assert text not in read_files()[0]["holds.toml"].toml["holds"]


def test_choice_of_a_spelling_changes_the_house_form_everywhere(script, project):
    """The spelling that a reader chose is written instead, and counts as ours in the next page."""
    assert apply_files(script, choice(project, "another", "anidder")) == 0
    text = (project / "data" / "phrases" / "health.toml").read_text()
    assert "anidder" in text
    assert "anither" not in text
    (changed,) = (one for one in read_files()[0][CHOICES].toml["choice"] if one["id"] == "another")
    assert changed["house"] == "anidder"


def test_choice_that_is_another_word_is_only_reported(script, project, capsys):
    """Somebody who says till instead of tae does not change lines in which both would mean different things."""
    before = content(project)
    assert apply_files(script, choice(project, "to", "till")) == 0
    assert "'till' is another word in the lexicon than 'tae': change it by hand" in capsys.readouterr().out
    changed = {Path(name).name for name, text in content(project).items() if before.get(name) != text}
    assert changed == {"README.md", "reviewed.json"}


def test_wrong_line_that_stands_twice_leaves_twice_and_nothing_else_does(script, project):
    """All copies of a line leave, and the lines around them stay."""
    path = project / "data" / "holds.toml"
    lines = path.read_text("utf-8").split("\n")
    text = read_files()[0]["holds.toml"].toml["holds"][0]
    at = next(number for number, line in enumerate(lines) if text in line)
    path.write_text("\n".join([*lines[: at + 1], lines[at], *lines[at + 1 :]]), "utf-8")
    said = write(project / "a.answers", answer(item_id("line", text), without_slots(text), "not_doric"))
    apply_files(script, said)
    assert path.read_text("utf-8").split("\n") == [*lines[:at], *lines[at + 1 :]]


def test_choice_of_grammar_is_only_reported(script, project, capsys):
    """Which plural follows a number depends on each line, so nothing is exchanged."""
    before = content(project)
    assert apply_files(script, choice(project, "years", "eers")) == 0
    assert "'eers' instead of 'eer': change it by hand" in capsys.readouterr().out
    assert changed(project, before) == STATUS


def choice(project, name, said):
    """A file with an answer to one question."""
    return write(project / "a.answers", answer(f"choice:{name}", "?", said))


def test_readers_who_differ_change_nothing_and_are_listed(script, project, capsys):
    """Two better lines for one line are shown with who wrote them, and none is chosen."""
    text, item = line(0)
    paths = [
        write(project / f"{n}.answers", answer(item, text, "wrong", f"Anither wye, nummer {n}."), reader=str(n) * 12)
        for n in (1, 2)
    ]
    before = content(project)
    assert apply_files(script, *paths) == 0
    assert "Readers differ, so nothing is changed" in capsys.readouterr().out
    assert changed(project, before) == STATUS


def test_line_that_has_changed_since_is_listed_and_not_applied(script, project, capsys):
    """A line that is not in the data any more is named."""
    path = write(project / "a.answers", answer("line:0", "Nae in the data ava.", "wrong", "Better."))
    assert apply_files(script, path) == 0
    assert "Not in the data any more" in capsys.readouterr().out


def key(project, **items):
    """The key of a page with these prompts by item."""
    path = project / "review.key.json"
    found = {item.replace("_", ":"): {"prompt": asked} for item, asked in items.items()}
    path.write_text(json.dumps({"format": "doric-review-key", "version": 1, "page": "p", "items": found}))
    return path


def test_corrected_answer_becomes_a_gold_row_and_a_preference(script, project):
    """The gold row names the reader by a pseudonym and the region; the pair can be read for training."""
    path = write(project / "a.answers", answer("row:1", "The aal ane.", "stiff", "The new een."))
    gold, pairs = project / "gold.jsonl", project / "pairs.jsonl"
    flags = {"key": key(project, row_1="Fit's new?"), "gold": gold, "preferences": pairs}
    assert apply_files(script, path, **flags) == 0
    row = json.loads(gold.read_text())
    assert [turn["content"] for turn in row["messages"]] == ["Fit's new?", "The new een."]
    assert (row["meta"]["region"], row["meta"]["reviewed_by"]) == ("Buchan", [read_review(path).by])
    assert [(pair.chosen, pair.rejected) for pair in read_pairs(pairs)] == [("The new een.", "The aal ane.")]
    assert script.main(["undo", "--yes"]) == 0
    assert not gold.exists()
    assert not pairs.exists()


def test_better_answer_keeps_its_lines_and_a_row_of_the_chat_page_is_not_doubled(script, project):
    """A corrected answer of two paragraphs stays so; a row with the same turns is not added again."""
    path = write(project / "a.answers", answer("row:1", "The aal ane.", "better", "Een.\n\nTwa."))
    gold, pairs = project / "gold.jsonl", project / "pairs.jsonl"
    turns = [{"role": "user", "content": "Fit's new?"}, {"role": "assistant", "content": "Een.\n\nTwa."}]
    flags = {"key": key(project, row_1="Fit's new?"), "gold": gold, "preferences": pairs}
    assert apply_files(script, path, **flags) == 0
    assert json.loads(gold.read_text())["messages"] == turns
    assert script.main(["undo", "--yes"]) == 0
    gold.write_text(json.dumps({"messages": turns, "meta": {"id": "of the chat page"}}) + "\n")
    assert apply_files(script, path, **flags) == 0
    assert len(gold.read_text().splitlines()) == 1


def test_gold_row_can_be_converted_to_sharegpt(script, project):
    """The converter takes a gold row as a row of the dataset."""
    path = write(project / "a.answers", answer("row:1", "The aal ane.", "stiff", "The new een."))
    gold, out = project / "gold.jsonl", project / "sharegpt.jsonl"
    flags = {"key": key(project, row_1="Fit's new?"), "gold": gold, "preferences": project / "pairs.jsonl"}
    assert apply_files(script, path, **flags) == 0
    assert transform_to_sharegpt.main(["--input", str(gold), "--output", str(out)]) == 0
    turns = json.loads(out.read_text())["conversations"]
    assert [turn["value"] for turn in turns] == ["Fit's new?", "The new een."]


def test_program_that_is_killed_while_it_writes_leaves_what_undo_restores(script, project, monkeypatch):
    """After a kill between two files, undo gives all files their old bytes."""
    text, item = line(0)
    said = [answer(item, text, "wrong", BETTER), answer("row:1", "The aal ane.", "stiff", "The new een.")]
    path = write(project / "a.answers", *said)
    gold, pairs = project / "gold.jsonl", project / "pairs.jsonl"
    flags = {"key": key(project, row_1="Fit's new?"), "gold": gold, "preferences": pairs}
    before = content(project)
    count = 0

    def killed(place, text, **more):
        nonlocal count
        count += Path(place).name != edits.UNDO
        if count > written:
            raise KeyboardInterrupt
        atomic_write(place, text, **more)

    for written in range(5):
        with monkeypatch.context() as patch:
            count = 0
            patch.setattr(edits, "atomic_write", killed)
            with pytest.raises(KeyboardInterrupt):
                apply.run(script.parse_args(["apply", str(path), "--yes", *words(flags)]))
        assert (content(project) == before) == (not written)
        assert script.main(["undo", "--yes"]) == 0
        assert content(project) == before


def test_without_leave_to_publish_no_text_of_a_reader_is_used(script, project, capsys):
    """A reader who gives no leave corrects no row."""
    about = {"id": "c" * 12, "region": "Buchan", "publish": False}
    path = write(project / "a.answers", answer("row:1", "The aal ane.", "stiff", "The new een."), reader=about)
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "reader": about}))
    gold = project / "gold.jsonl"
    assert apply_files(script, path, key=key(project, row_1="Fit's new?"), gold=gold) == 0
    assert "gave no leave to publish" in capsys.readouterr().out
    assert not gold.exists()


def test_answers_of_the_chat_page_need_no_key_and_go_with_one(script, project):
    """Answers that have their question with them are applied, also together with the answers and key of a page."""
    turn = {"role": "user", "content": "Fit's new?"}
    chat = write(
        project / "1.answers", answer("row:1", "The aal ane.", "better", "The new een.", prompt=[turn]), page="chat"
    )
    page = write(project / "2.answers", answer("row:2", "Ae thing.", "better", "Anither thing."), reader="b" * 12)
    gold = project / "gold.jsonl"
    flags = {"key": key(project, row_2="Fit else?"), "gold": gold, "preferences": project / "pairs.jsonl"}
    assert apply_files(script, chat, page, **flags) == 0
    assert [json.loads(row)["messages"][0]["content"] for row in gold.read_text().splitlines()] == [
        "Fit's new?", "Fit else?",
    ]  # fmt: skip


def test_wrong_row_leaves_the_dataset_and_a_chosen_side_becomes_a_preference(script, project):
    """A row whose answer is called not Doric leaves; of a pair, the chosen side is preferred."""
    rows = [
        {"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": text}]}
        for text in ("Bad een.", "Gweed een.")
    ]
    dataset = project / "rows.jsonl"
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = [answer("row:1", "Bad een.", "not_doric"), answer("pair:1", "Een.\n---\nTwa.", "second")]
    path, pairs = write(project / "a.answers", *said), project / "pairs.jsonl"
    flags = {"key": key(project, row_1="Q?", pair_1="Foo mony?"), "dataset": dataset, "preferences": pairs}
    assert apply_files(script, path, **flags) == 0
    assert [json.loads(text)["messages"][1]["content"] for text in dataset.read_text().splitlines()] == ["Gweed een."]
    assert [(pair.chosen, pair.rejected) for pair in read_pairs(pairs)] == [("Twa.", "Een.")]


def test_readme_and_cards_say_who_has_checked(script, project):
    """After a review nothing says any more that no native speaker has checked, until it is taken back."""
    assert checked.checked_sentence() == checked.NOBODY
    text, item = line(0)
    path = write(project / "a.answers", answer(item, text, "wrong", BETTER))
    assert apply_files(script, path) == 0
    assert checked.checked_sentence().startswith(
        "1 native speaker has checked a part of this Doric (Buchan 1) in 1 answer on lines."
    )
    assert checked.checked_sentence() in (project / "README.md").read_text()
    assert script.main(["undo", "--yes"]) == 0
    assert (project / "README.md").read_text() == README


@pytest.mark.parametrize("flag", ["dataset", "gold", "preferences", "key"])
@pytest.mark.parametrize(
    ("raw", "said"), [(None, "it is a directory"), (b"\xff{", "not UTF-8 text"), (b"{1}\n", "JSON")]
)
def test_file_of_rows_that_cannot_be_used_is_one_error(script, project, capsys, flag, raw, said):
    """A folder, a binary file or a broken row in place of a file of rows is named, and nothing is written."""
    bad = project / "bad.jsonl"
    if raw is None:
        bad.mkdir()
    else:
        bad.write_bytes(raw)
    path = write(project / "a.answers", answer("row:1", "The aal ane.", "stiff", "The new een."))
    flags = {"key": key(project, row_1="Q?"), "gold": project / "g.jsonl", "preferences": project / "p.jsonl"}
    before = content(project)
    assert apply_files(script, path, **flags | {flag: bad}) == 2
    error, *_ = capsys.readouterr().err.splitlines()
    assert (bad.name in error, said in error) == (True, True)
    assert content(project) == before


def test_missing_dataset_is_an_error_and_missing_folders_are_made(script, project, capsys):
    """A dataset that is not there is named; the folder of new gold rows is created."""
    path = write(project / "a.answers", answer("row:1", "The aal ane.", "stiff", "The new een."))
    gold = project / "new" / "gold.jsonl"
    flags = {"key": key(project, row_1="Q?"), "gold": gold, "preferences": project / "p.jsonl"}
    assert apply_files(script, path, **flags, dataset=project / "none.jsonl") == 2
    assert "none.jsonl" in capsys.readouterr().err
    assert apply_files(script, path, **flags) == 0
    assert gold.exists()


def test_dataset_with_windows_line_ends_keeps_them(script, project):
    """The rows that stay are the same bytes, with their line ends and the mark at the start."""
    row = {"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "Bad een."}]}
    good = b'{"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "Gweed."}]}\r\n'
    dataset = project / "rows.jsonl"
    dataset.write_bytes(b"\xef\xbb\xbf" + good + json.dumps(row).encode() + b"\r\n" + good)
    path = write(project / "a.answers", answer("row:1", "Bad een.", "wrong"))
    flags = {"gold": project / "g.jsonl", "preferences": project / "p.jsonl"}
    assert apply_files(script, path, key=key(project, row_1="Q?"), dataset=dataset, **flags) == 0
    assert dataset.read_bytes() == b"\xef\xbb\xbf" + good + good


def test_key_of_another_page_is_refused(script, project, capsys):
    """Answers and a key that do not belong together are one error."""
    path = write(project / "a.answers", answer("row:1", "x", "wrong"), page="other")
    assert apply_files(script, path, key=key(project, row_1="Q?")) == 2
    assert "it is the key of another page" in capsys.readouterr().err


@pytest.mark.parametrize(
    "listed",
    [
        "", "[]", "null", "{}", '{"changes": null}', '{"changes": 5}', '{"changes": [null]}', '{"changes": [{}]}',
        '{"changes": [{"command": 1, "files": {}}]}', '{"changes": [{"command": "x", "files": null}]}',
        '{"changes": [{"command": "x", "files": {"lexicon.tsv": null}}]}',
        '{"changes": [{"command": "x", "files": {"lexicon.tsv": {"copy": 1, "written": "a"}}}]}',
        '{"changes": [{"command": "x", "files": {"lexicon.tsv": {"copy": "none.bak", "written": "a"}}}]}',
    ],
)  # fmt: skip
def test_list_of_changes_that_cannot_be_used_is_one_error(script, project, capsys, listed):
    """A damaged list of what can be undone is one line with what to do, and every file stays as it is."""
    (project / "data" / edits.UNDO).write_text(listed)
    before = content(project)
    assert script.main(["undo", "--yes"]) == 2
    error, *hints = capsys.readouterr().err.splitlines()
    assert (error.startswith("error: "), len(hints) <= 1) == (True, True)
    assert content(project) == before


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_any_review_can_be_taken_back(script, project, seed):
    """After random answers to random lines and words, undo restores every byte of the project."""
    draw = random.Random(seed)
    answers = []
    for number in draw.sample(range(400), 8):
        text, item = line(number)
        better = draw.choice([None, BETTER, text + " Aye.", "  twa\nlines\t "])
        answers.append(answer(item, text, draw.choice(["natural", "stiff", "wrong", "not_doric"]), better))
    forms = sorted({row.cells["doric"] for row in read_files()[0]["lexicon.tsv"].rows if row.cells["doric"].isalpha()})
    for form in draw.sample(forms, 2):
        answers.append(answer(f"word:{form}\tx", form, "heard", draw.choice([None, form + "x", "twa wirds"])))
    path = write(project / "a.answers", *answers)
    before = content(project)
    if apply_files(script, path) in (0, 1) and (project / "data" / edits.UNDO).exists():
        assert script.main(["undo", "--yes"]) == 0
    assert content(project) == before


def corrected(project):
    """A file of answers in which one answer is corrected."""
    asked = [{"role": "user", "content": "Fit like?"}]
    return write(project / "a.json", answer("row:1", "I am fine.", "wrong", BETTER, prompt=asked))


@pytest.mark.parametrize(
    "line", ['{"messages":null}', '{"messages":[1]}', '{"messages":{}}', '{"messages":[],"meta":"x"}', '{"meta":[1]}']
)
def test_a_gold_row_that_cannot_be_compared(project, script, line, capsys):
    """A row of another shape in the file of gold rows is one error with its line, and nothing is written."""
    gold = project / "gold.jsonl"
    gold.write_text(f'{{"messages":[]}}\n{line}\n')
    assert script.main(["apply", str(corrected(project)), "--gold", str(gold), "--yes"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {gold}:2: ")
    assert gold.read_text() == f'{{"messages":[]}}\n{line}\n'


@pytest.mark.parametrize(
    "flags", [("--gold", "--preferences"), ("--gold", "--dataset"), ("--preferences", "--dataset")]
)
def test_one_file_for_two_kinds_of_rows(project, script, flags, capsys):
    """Two flags with the same file are refused: the rows of one would replace those of the other."""
    (project / "same.jsonl").write_text("")
    one, two = flags
    command = ["apply", str(corrected(project)), one, "same.jsonl", two, str(project / "same.jsonl"), "--yes"]
    assert script.main(command) == 2
    assert "it is given twice" in capsys.readouterr().err
    assert not (project / "same.jsonl").read_text()
