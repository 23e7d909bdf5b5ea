"""The review page: the same for the same seed, without labels, safe with hostile rows, and one error line otherwise."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from scripts import load_script

ROOT = Path(__file__).parents[1]
HOSTILE = "</script><script>alert(1)</script> \u2028 <!-- " + "gweed " * 2000
LABELS = ("origin", "genuine", "fakes.toml", "swap", "lexicon.tsv", "house")


@pytest.fixture(scope="module")
def script():
    return load_script(ROOT / "validation" / "review_doric.py")


def make(script, folder, *flags):
    """The page, its content and its key."""
    out = folder / "review.html"
    assert script.main(["make", "--out", str(out), *flags]) == 0
    page = out.read_text("utf-8")
    return page, embedded(page), json.loads((folder / "review.key.json").read_text("utf-8"))


def embedded(page):
    return json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])


@pytest.fixture(scope="module")
def made(script, tmp_path_factory):
    return make(script, tmp_path_factory.mktemp("review"), "--seed", "3")


def rows_file(folder, *answers):
    rows = folder / "rows.jsonl"
    turns = [[{"role": "user", "content": "Fit like?"}, {"role": "assistant", "content": text}] for text in answers]
    rows.write_text("".join(json.dumps({"messages": each}) + "\n" for each in turns), "utf-8")
    return rows


def test_same_seed_gives_the_same_page(script, made, tmp_path):
    """Two pages of one seed are equal byte for byte, and another seed gives another page."""
    assert make(script, tmp_path, "--seed", "3")[0] == made[0]
    assert make(script, tmp_path, "--seed", "4")[0] != made[0]


def test_page_has_five_parts_and_is_small(made):
    """All five parts have questions, no id is there twice, and the page is under 3 MB."""
    page, content, key = made
    assert {item["part"] for item in content["items"]} == {1, 2, 3, 4, 5}
    assert Counter(item["id"] for item in content["items"]).most_common(1)[0][1] == 1
    assert key["page"] == content["page"]
    assert key["items"].keys() == {item["id"] for item in content["items"]}
    assert len(page.encode()) < 3_000_000


def test_nothing_in_the_page_tells_what_is_fake(made):
    """The items have no label, and a fake has the same fields as a row of ours."""
    _, content, key = made
    shown = json.dumps(content["items"])
    assert not [label for label in LABELS if f'"{label}":' in shown]
    fields = {item["id"]: tuple(item) for item in content["items"] if item["kind"] == "row"}
    assert {key["items"][id]["origin"] for id in fields} == {"ours", "fake"}
    assert len(set(fields.values())) == 1


def test_page_loads_nothing(made):
    """The policy forbids every request, and no element has an address but the empty icon."""
    page = made[0]
    assert "default-src 'none'" in page
    assert re.findall(r"""(?:src|href)=["']([^"']*)""", page.split('id="content"')[0]) == ["data:,"]


def test_hostile_rows_stay_text(script, tmp_path):
    """Markup and line separators in a row end no script, and arrive as they are; a long answer is cut."""
    page, content, _ = make(script, tmp_path, "--rows", str(rows_file(tmp_path, HOSTILE, "<b>Aye.</b> Fit like?")))
    assert page.count("</script>") == 2
    assert "\u2028" not in page
    assert "alert(1)</" not in page
    assert "<b>Aye.</b> Fit like?" in {item["text"] for item in content["items"]}


def test_genuine_text_is_in_the_sample_and_only_the_key_says_so(script, tmp_path, capsys):
    """Paragraphs of a file of a speaker are items, and the command does not say that they are missing."""
    text = tmp_path / "granny.txt"
    text.write_text("Ma granny wis born at Rhynie an bade there aa her days.", "utf-8")
    _, content, key = make(script, tmp_path, "--parts", "4", "--genuine", str(text))
    found = [item["id"] for item in content["items"] if item["text"].startswith("Ma granny wis born")]
    assert [key["items"][id]["origin"] for id in found] == ["genuine"]
    assert "No --genuine" not in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "nae json\n", '{"messages": []}\n'])
def test_bad_rows_are_one_error(script, tmp_path, capsys, content):
    """A file that is no dataset is one error with its name, exit status 2, and no page is written."""
    rows = tmp_path / "bad.jsonl"
    rows.write_text(content)
    assert script.main(["make", "--out", str(tmp_path / "page.html"), "--rows", str(rows)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {rows}:")
    assert list(tmp_path.iterdir()) == [rows]


def test_another_file_is_not_overwritten(script, tmp_path):
    """A file that is no page of this project is kept."""
    out = tmp_path / "mine.html"
    out.write_text("<p>mine</p>")
    assert script.main(["make", "--out", str(out)]) == 2
    assert out.read_text() == "<p>mine</p>"


def test_minutes_make_the_page_shorter(script, made, tmp_path):
    """With a third of the time, each part has fewer questions."""
    _, content, _ = make(script, tmp_path, "--minutes", "60")
    fewer, all_of_them = (Counter(item["part"] for item in each["items"]) for each in (content, made[1]))
    assert all(fewer[part] < all_of_them[part] for part in all_of_them)
