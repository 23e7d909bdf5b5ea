"""What README, cards and pages say of the speakers who have checked the Doric."""

import json
import re
from pathlib import Path

import pytest

from doric import data
from doric.core.review_files import reader_choices
from doric.core.reviews import FILE, KINDS, NOBODY, checked_sentence, sentence
from doric.finetune.model_card import model_card
from doric.report.dataset_page import dataset_card, dataset_page
from doric.report.dataset_stats import collect_stats
from doric.review.answers import Answer, Review
from doric.review.items import parts
from doric.review.page import review_page
from doric.review.status import README_SENTENCE, changed_files, with_reviews
from language_data import copied

ROOT = Path(__file__).parents[1]
HOME = "I grew up with it at home"


@pytest.fixture
def folder(tmp_path):
    """A copy of the data without a review."""
    with copied(tmp_path / "data") as found:
        (found / FILE).unlink(missing_ok=True)
        yield found


def review(reader="1", region="Buchan", *, native=True, leave=True, page="p", saved="2026-11-29", answers=(), count=1):
    """The review of a reader who gave these answers, or `count` times the answer that a line is natural."""
    given = answers or [Answer(f"line:{number}", "Fit like?", "natural", "") for number in range(count)]
    return Review("a.json", page, reader * 12, region, native, leave, saved, tuple(given))


def said(*reviews):
    """The sentence after these reviews were applied together."""
    return sentence(with_reviews({}, reviews))


def test_without_a_review_everything_says_that_nobody_has_checked(folder):
    """Without the file of readers, and with a file that has none, no speaker is counted."""
    assert checked_sentence() == NOBODY
    assert sentence(with_reviews({}, [Review("a.json", "p", "1" * 12, "Buchan", True, True, "", ())])) == NOBODY


def test_sentence_has_counts_and_regions():
    """The sentence counts readers, regions and answers of each kind."""
    words = [Answer(f"word:{number}\tx", "x", "say", "") for number in range(1200)]
    found = said(review("1", count=2), review("2", "Moray", answers=words), review("3", "Buchan"))
    checked = "3 native speakers have checked a part of this Doric (Buchan 2, Moray 1)"
    assert found == f"{checked} in 1,200 answers on words and 3 on lines."


@pytest.mark.parametrize(
    ("natives", "start"),
    [
        ([True], "1 native speaker has"),
        ([False], "1 speaker has"),
        ([None], "1 speaker has"),
        ([True, False], "2 speakers, 1 of them native, have"),
        ([True, None, False], "3 speakers, at least 1 of them native, have"),
        ([False, False], "2 speakers have"),
    ],
)
def test_only_those_who_grew_up_with_doric_are_called_native(natives, start):
    """Readers who learnt Doric later, and readers of whom it is not known, are not counted as native speakers."""
    found = said(*(review(str(number), native=native) for number, native in enumerate(natives)))
    assert found.startswith(f"{start} checked a part")


def test_without_leave_only_a_pseudonym_and_counts_are_written():
    """The file has neither region nor origin of a reader who gave no leave, and never the reader's id."""
    found = with_reviews({}, [review("7", "Mearns", leave=False)])
    (by,) = found["readers"]
    assert found["readers"][by] == {
        "region": "", "native": None, "pages": {"p": {"saved": "2026-11-29", "answers": {"line": 1}}},
    }  # fmt: skip
    assert "7" * 12 not in json.dumps(found)
    assert sentence(found) == "1 speaker has checked a part of this Doric in 1 answer on lines."


def test_newer_answers_of_a_page_replace_older_ones_and_other_pages_add():
    """A reader counts once, with the newest answers to each page, in whatever order the files are applied."""
    old, new, other = review(count=2, saved="2026-11-28"), review(count=5), review(page="q", count=4)
    for order in ([old, new, other], [new, other, old], [other, new, old, new]):
        found = {}
        for one in order:
            found = with_reviews(found, [one])
        assert sentence(found).endswith("(Buchan 1) in 9 answers on lines.")


def judged(*pairs):
    """Two readers who gave these answers to lines."""
    sides = zip(*pairs, strict=True)
    return [
        review(str(side), answers=[Answer(f"line:{n}", "x", one, "") for n, one in enumerate(answers)])
        for side, answers in enumerate(sides)
    ]


def test_agreement_is_said_with_its_interval():
    """Ten lines, five agreed, 11 times natural and 9 times stiff: alpha is 1 - 0.5 / (2 * 11 * 9 / 380) = 0.04."""
    pytest.importorskip("krippendorff")
    both, either = [("natural", "natural"), ("stiff", "stiff")], [("natural", "stiff"), ("stiff", "natural")]
    pairs = [*both, *both, *both[:1], *either, *either, *either[:1]]
    found = said(*judged(*pairs))
    assert re.search(r" in 20 answers on lines; Krippendorff's alpha lines 0\.04 \[-0\.\d\d, 0\.\d\d\]\.$", found)


def test_agreement_of_readers_who_always_say_the_same_is_not_claimed():
    """If all answers are equal, alpha is not defined, and none is written."""
    assert with_reviews({}, judged(*[("natural", "natural")] * 20))["agreement"] == {}


def test_agreement_of_earlier_reviews_stays():
    """A single reader who is applied later does not remove the agreement of the readers before."""
    pytest.importorskip("krippendorff")
    two = judged(*[("natural", "natural")] * 6, *[("wrong", "stiff")] * 6)
    first = with_reviews({}, two)
    assert first["agreement"].keys() == {"line"}
    assert with_reviews(first, [review("9")])["agreement"] == first["agreement"]
    assert with_reviews(first, two) == first


def test_readme_sentence_is_replaced_each_time_and_only_that(folder, tmp_path):
    """The command writes the sentence into README, again after the next review, and nothing after the same one."""
    readme = tmp_path / "README.md"
    readme.write_text(f"# Doric\n\n* **{NOBODY}** It follows **descriptions**.\n", "utf-8")
    for reviews in ([review()], [review("2", "Moray", native=False)], [review("3", leave=False)]):
        files = changed_files(reviews, readme)
        (folder / FILE).write_text(files.pop(FILE), "utf-8")
        readme.write_text(files.pop(str(readme)), "utf-8")
        assert not files
        assert readme.read_text("utf-8") == f"# Doric\n\n* **{checked_sentence()}** It follows **descriptions**.\n"
        assert changed_files(reviews, readme) == {}


def test_our_readme_says_what_the_file_of_readers_says():
    """README has the sentence once, and it is the one that follows from the committed file."""
    text = (ROOT / "README.md").read_text("utf-8")
    assert README_SENTENCE.findall(text) == [f"**{checked_sentence()}**"]


def test_cards_and_pages_stop_saying_that_nobody_has_checked(folder, plan):
    """After a review the dataset card, the report and the model card name the readers."""
    rows = [{"messages": [{"role": "user", "content": "Fit like?"}, {"role": "assistant", "content": "Nae bad."}]}]

    def written():
        stats = collect_stats(rows)
        return (
            dataset_card(stats, "a.jsonl"),
            dataset_page(stats, "a.jsonl"),
            model_card(plan, {}, [], ("Ay?", "Ay.")),
        )

    assert all(NOBODY in text for text in written())
    (folder / FILE).write_text(changed_files([review()], folder / "none.md")[FILE], "utf-8")
    for text in written():
        assert NOBODY not in text
        assert "1 native speaker has checked a part of this Doric (Buchan 1) in 1 answer on lines." in text


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"readers": []}', '{"readers": {"a": 1}}', "<<<<<<< HEAD"])
def test_damaged_file_of_readers_is_one_error_that_names_it(folder, content):
    """A file that nobody can read, for example after a failed merge, is named with what to do."""
    (folder / FILE).write_text(content)
    with pytest.raises(data.DataError, match=r"reviewed\.json: .*Restore it from Git"):
        checked_sentence()


def test_regions_and_origins_are_those_of_the_page():
    """What counts as a region or as a native speaker is what the page offers."""
    page = review_page([], parts())
    offered = json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])["choices"]
    choices = reader_choices()
    assert tuple(offered["regions"]) == choices.regions
    assert tuple(offered["learnt"]) == choices.learnt
    assert set(choices.native) < set(choices.learnt)
    assert HOME in choices.native
    assert list(KINDS) == ["choice", "word", "line", "row", "pair"]
