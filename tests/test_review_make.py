"""The review page: the same for the same seed, without labels, safe with hostile rows, and one error line otherwise."""

import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest

from doric.review.answers import SEND_BUTTON
from doric.review.genuine import read_genuine
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


def test_beginning_of_a_sentence_has_an_example(made):
    """A line that is no whole sentence, or that has a slot, is shown with a sentence that has it; others are not."""
    lines = [item for item in made[1]["items"] if item["kind"] == "line"]
    parts_of_sentences = [
        item for item in lines if "[" in item["text"] or item["text"].rstrip("\"'”’")[-1] not in ".?!"
    ]
    assert {item["id"] for item in lines if item["example"]} == {item["id"] for item in parts_of_sentences}
    assert all(item["text"].partition("[")[0] in item["example"] for item in parts_of_sentences)


def test_page_says_whom_to_send_the_answers_to(script, tmp_path):
    """The name of --sender is in the page as text, and the questions stay the same."""
    named = make(script, tmp_path, "--parts", "1", "--sender", "Mary </script><b>Reid</b>")[1]
    assert named["sender"] == "Mary </script><b>Reid</b>"
    assert make(script, tmp_path, "--parts", "1")[1] == {**named, "sender": ""}


def test_page_says_what_to_do_where_it_cannot_run(made):
    """A preview without scripts and a browser that is too old show what to do instead of an empty page."""
    main = re.search(r"<main.*?</main>", made[0], re.DOTALL)[0]
    assert "this browser is too old" in main
    assert "only a preview" in re.search(r"<noscript>.*</noscript>", main, re.DOTALL)[0]


def test_page_calls_its_last_button_as_the_errors_do(made):
    """What a hint tells the reader to press is on the page."""
    assert f'"{SEND_BUTTON}"' in made[0]


@pytest.mark.parametrize("flags", [("--rows", "rows.jsonl"), ("--genuine", "granny.txt")])
def test_flag_for_a_part_that_is_left_out_is_one_error(script, tmp_path, capsys, flags):
    """--rows and --genuine without part 4 are refused instead of being ignored."""
    assert script.main(["make", "--out", str(tmp_path / "page.html"), "--parts", "1,2", *flags]) == 2
    assert "is for part 4" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("answer", ["English it is, and nothing else.", "Aye, the quine dinna ken fit the loon his."])
def test_few_rows_of_any_language_come_with_fakes_and_their_own_time(script, tmp_path, answer):
    """Answers in which no word can be exchanged get fakes too, and the part says the time of the questions it has."""
    rows = rows_file(tmp_path, *(f"{number} {answer}" for number in range(3)))
    _, content, key = make(script, tmp_path, "--rows", str(rows))
    single = [key["items"][item["id"]]["origin"] for item in content["items"] if item["kind"] == "row"]
    assert Counter(single) == {"ours": 3, "fake": 1}
    assert content["parts"][0]["minutes"] == math.ceil(len(content["items"]) * 40 / 60)


@pytest.mark.parametrize("count", [1, 3, 10, 20])
def test_every_row_of_a_small_dataset_is_asked_beside_genuine_texts(script, tmp_path, count):
    """Genuine passages take no room from rows that all fit into the part."""
    rows = rows_file(tmp_path, *(f"{number} Aye, the quine dinna ken fit the loon his." for number in range(count)))
    text = tmp_path / "granny.txt"
    text.write_text("\n\n".join(f"Ma granny wis born at Rhynie {n}, an bade there aa her days." for n in range(200)))
    key = make(script, tmp_path, "--rows", str(rows), "--genuine", str(text))[2]
    assert Counter(item["origin"] for item in key["items"].values())["ours"] >= count


# --- genuine texts --------------------------------------------------------------------------------------------------

ONE, TWO = "Ma granny wis born at Rhynie an bade there.", "Da wis a fairmer, an he keepit fowertie kye."


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.txt", f"{ONE}\n\n{TWO}\n", [ONE, TWO]),
        ("a.txt", f"{ONE}\n{TWO}\n", [ONE, TWO]),
        ("a.md", f"\ufeff{ONE}\r\n{TWO}", [ONE, TWO]),
        ("a.txt", "Ma granny wis born\nat Rhynie an bade there.", [ONE]),
        ("a.csv", f'id,Text\n1,"{ONE}"\n2,"{TWO}"\n', [ONE, TWO]),
        ("a.csv", f"id;text\n1;{ONE}\n", [ONE]),
        ("a.csv", 'text\n"Ma granny wis born\nat Rhynie an bade there."\n\n', [ONE]),
    ],
)
def test_genuine_texts_are_cut_where_they_end(tmp_path, name, content, found):
    """Paragraphs, lines that are sentences, and rows of a table are texts of their own; other lines are joined."""
    path = tmp_path / name
    path.write_text(content, "utf-8", newline="")
    assert read_genuine(path).passages == tuple((name, text) for text in found)


def test_genuine_text_of_a_word_document(tmp_path):
    """The paragraphs of a .docx are texts, its headings are not."""
    docx = pytest.importorskip("docx")
    document = docx.Document()
    document.add_heading("Ma granny an fit she said tae me")
    document.add_paragraph(ONE)
    document.save(str(tmp_path / "a.docx"))
    assert read_genuine(tmp_path).passages == (("a.docx", ONE),)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "no passages"),
        ("a.txt", b"Aye.\n\nNa.", "no passages"),
        ("a.docx", b"", "empty"),
        ("a.docx", b"PK\x03\x04 nae", "damaged or no .docx"),
        ("a.pdf", b"%PDF-1.7", "a PDF document"),
        ("a.csv", b"id,words\n1,x\n", 'no column "text"'),
        ("a.csv", b"id,text\n1,Aye, weel\n", "3 cells instead of 2"),
        ("a.csv", b'id,text\n1,"Aye" weel\n', "not CSV"),
        ("a.txt", b"\0\0\0\0", "NUL"),
    ],
)
def test_genuine_text_that_cannot_be_read_is_one_error(script, tmp_path, capsys, name, content, said):
    """An empty, damaged or foreign file is one line with its name and a hint, and no page is written."""
    path = tmp_path / name
    path.write_bytes(content)
    assert script.main(["make", "--out", str(tmp_path / "page.html"), "--parts", "4", "--genuine", str(path)]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert (error.startswith(f"error: {path}"), said in error, hint.startswith("hint: ")) == (True,) * 3
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_left_out_of_genuine_texts_is_said(tmp_path):
    """Files of another kind, short passages and repeated ones are each one note."""
    (tmp_path / "a.txt").write_text(f"Granny\n\n{ONE}\n\n{ONE}")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    found = read_genuine(tmp_path)
    assert found.passages == (("a.txt", ONE),)
    said = (
        "not .txt, .md, .docx or .csv",
        "1 passage of fewer than 6 words",
        "1 passage left out that another one repeats",
    )
    assert len(found.notes) == len(said)
    assert [part for part, note in zip(said, found.notes, strict=True) if part not in note] == []


def test_minutes_make_the_page_shorter(script, made, tmp_path):
    """With a third of the time, each part has fewer questions."""
    _, content, _ = make(script, tmp_path, "--minutes", "60")
    fewer, all_of_them = (Counter(item["part"] for item in each["items"]) for each in (content, made[1]))
    assert all(fewer[part] < all_of_them[part] for part in all_of_them)
