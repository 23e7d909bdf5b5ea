"""The page and the card of a dataset: their content, no use of the network, and safe handling of data."""

import json
import re
from pathlib import Path

import pytest

import report_dataset
from doric.core.conversations import make_row, to_sharegpt
from doric.core.errors import InputError
from doric.data import DataError
from doric.dialect.highlight import highlight
from doric.report import dataset_page
from doric.report.dataset_page import load_stats
from doric.report.dataset_stats import collect_stats
from doric.report.html import environment
from language_data import copied
from parsed_page import HOSTILE, Page


def row(at: int, text: str = "Keep the claes dry an nae ower near the fire, for wool disna thole muckle heat.", **meta):
    """A row in the format of the generator."""
    given = {
        "topic": "drying", "group": "daily life", "kind": "core", "id": f"{at}", "lang": "en", "backend": "heuristic",
    }  # fmt: skip
    return make_row(f"How do I dry washing {at}?", f"{text} That's bittie nummer {at}.", given | {"tries": 1} | meta)


def rejection(at: int, **changes):
    """A rejection in the format of the generator."""
    given = {
        "id": f"{at}", "kind": "core", "gate": "leakage", "reason": "'with' is English", "answer": "with",
        "prompt": "?",
    }  # fmt: skip
    return given | changes


def written(path: Path, values) -> Path:
    """Write a JSON Lines file."""
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), "utf-8")
    return path


@pytest.fixture
def dataset(tmp_path):
    """A dataset of 40 rows, and a file with its nine rejections."""
    kinds = ("core", "core", "adv", "multi")
    made = [row(at, kind=kinds[at % 4], group=f"group {at % 3}", tries=1 + at % 2) for at in range(40)]
    rejections = [rejection(at, gate="leakage" if at % 3 else "near_duplicate") for at in range(9)]
    return written(tmp_path / "d.jsonl", made), written(tmp_path / "d.jsonl.rejected.jsonl", rejections)


def page_of(paths, tmp_path, rejected=True) -> Page:
    """The page of a dataset."""
    stats = load_stats(paths[0], paths[1] if rejected else None)
    (tmp_path / "page.html").write_text(dataset_page.dataset_page(stats, paths[0].name), "utf-8")
    return Page.read(tmp_path / "page.html")


# --- figures --------------------------------------------------------------------------------------------------------


def test_rows_groups_and_rejections_are_counted(dataset):
    """Rows per bucket and group, tries, and rejections per gate are counted, and the funnel ends at the rows."""
    found = load_stats(*dataset)
    assert found.rows == 40
    assert found.kinds == {"core": 20, "adv": 10, "multi": 10}
    assert sum(counts.total() for counts in found.groups.values()) == 40
    assert found.tries == {1: 20, 2: 20}
    assert found.rejected == {"leakage": 6, "near_duplicate": 3}
    assert found.funnel()[0] == ("answers received", 49)
    assert found.funnel()[-1] == ("no near-duplicates", 40)
    assert all(later <= earlier for (_, earlier), (_, later) in zip(found.funnel(), found.funnel()[1:], strict=False))


def test_what_is_asked_is_shown(tmp_path):
    """The page and the card count core rows by what they ask, and harmful requests by category."""
    made = [row(at, ask="greeting" if at % 3 else "advice") for at in range(9)]
    made += [row(20 + at, kind="safety", group="safety", topic="fraud") for at in range(4)]
    path = written(tmp_path / "d.jsonl", made)
    stats = load_stats(path, None)
    assert (stats.asks, stats.harmful) == ({"greeting": 6, "advice": 3}, {"fraud": 4})
    text = page_of((path, None), tmp_path, rejected=False).text
    assert "Core rows by what is asked" in text
    assert "Harmful requests by category" in text
    assert "greeting 6, advice 3" in dataset_page.dataset_card(stats, "d.jsonl")


def test_rejections_by_an_unknown_gate_are_counted_in_the_funnel():
    """The funnel ends at the number of rows, even if the page does not know one of the gates."""
    found = collect_stats([row(1)], [rejection(1, gate="of_tomorrow"), {}])
    assert found.funnel()[0][1] == 3
    assert found.funnel()[-1][1] == 1


def test_both_shapes_give_the_same_figures(dataset, tmp_path):
    """A ShareGPT file gives the same figures as a messages file."""
    original = [json.loads(line) for line in dataset[0].read_text().splitlines()]
    other = written(tmp_path / "s.jsonl", [to_sharegpt(each) for each in original])
    assert load_stats(other, None).forms == load_stats(dataset[0], None).forms
    assert load_stats(other, None).kinds == load_stats(dataset[0], None).kinds


def test_rows_of_any_dataset_are_counted(tmp_path):
    """Rows without meta, with a system turn, with several turns or with unusual meta are shown as "unknown"."""
    turns = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "Fit like"},
    ]
    made = [{"messages": turns}, {"messages": turns + turns[1:], "meta": {"kind": None, "tries": "two", "group": 7}}]
    page = page_of((written(tmp_path / "d.jsonl", made), None), tmp_path, rejected=False)
    assert "unknown" in page.text
    assert "There is no file of rejected answers" in page.text


def test_the_sample_is_random_and_repeatable():
    """The same seed selects the same twenty rows, and late rows are selected as often as early rows."""
    made = [row(at) for at in range(200)]
    samples = [[shown.prompt for shown in collect_stats(made, seed=seed).sample] for seed in (0, 0, 1, 2, 3)]
    assert samples[0] == samples[1] != samples[2]
    assert all(len(set(sample)) == 20 for sample in samples)
    late = sum(int(re.findall(r"\d+", prompt)[0]) >= 100 for sample in samples[1:] for prompt in sample)
    assert 20 <= late <= 60


def test_the_most_similar_answers_are_found():
    """If two answers differ in only one word, they are the first pair of similar answers."""
    other = "Big a dyke wi the muckle steens at the boddom, an fill the hert wi sma eens as ye gyang."
    made = [row(0), row(1, other), make_row("?", f"{other} That's bittie nummer ane.", {})]
    best = collect_stats(made).nearest[0]
    assert best.similarity > 0.9
    assert other in best.first
    assert other in best.second


def test_forms_that_are_not_in_the_house_spelling_are_counted():
    """An accepted variant is counted under its house spelling, and forms of Central Scots are counted too."""
    found = collect_stats([row(1, "Whit a caal day, an the auld mannie gaed hame fae the skweel wi his bairns.")])
    assert ("caal", "caul") in found.outside
    assert any(form == "whit" for form, _ in found.outside)


def test_rows_that_were_put_in_the_house_spelling_are_counted(tmp_path):
    """The page tells how many rows the generator has rewritten, and which words."""
    rows = [row(1, "Aye, an sae it is.", original="Aye, and so it is."), row(2), row(3, "Ye and me.", original=5)]
    found = collect_stats(rows)
    assert found.respelt == 1
    assert found.respellings == {("and", "an"): 1, ("so", "sae"): 1}
    assert found.outside == {("and", "an"): 1}
    assert "1 row was rewritten by the generator" in dataset_page.dataset_page(found, "d.jsonl")
    assert "rewritten by the generator" not in dataset_page.dataset_page(collect_stats([row(2)]), "d.jsonl")


@pytest.mark.parametrize(
    "text",
    ["I dinna ken fit like it is.", "Fit’s adee? “Naething ava.”\n\nAye.  Weel", "", "code `fit` http://fit.fit fit"],
)
def test_highlighting_keeps_the_whole_text(text):
    """The spans of a text, joined, are the text."""
    assert "".join(span.text for span in highlight(text)) == text


# --- the page -------------------------------------------------------------------------------------------------------


def test_the_page_has_all_sections(dataset, tmp_path):
    """The page has buckets, groups, funnel, reasons, three charts, forms, similar answers and twenty marked rows."""
    page = page_of(dataset, tmp_path)
    for words in (
        "Rows by bucket and topic group",
        "answers received 49",
        "leakage 6",
        "Most frequent North-East forms",
        "Most similar answers",
    ):
        assert words in page.text
    assert len(page.with_class("chart")) == 3
    assert len(page.tags("article")) == 20
    words = page.with_class("w")
    assert len(words) > 100
    assert all(word["data-g"] for word in words)
    assert sum(word.get("tabindex") == "0" for word in words) > 100


def test_a_link_of_the_page_does_not_scroll_smoothly(dataset, tmp_path):
    """Entries get their height when they are first drawn, so a smooth scroll past them ends at another place."""
    page_of(dataset, tmp_path)
    text = (tmp_path / "page.html").read_text()
    assert "content-visibility: auto" in text
    assert "scroll-behavior: smooth" not in text


def test_the_page_needs_no_network(dataset, tmp_path):
    """The page has only anchors and data URLs, and its policy forbids all other addresses."""
    page = page_of(dataset, tmp_path)
    for _, attrs in page.elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), attrs
    text = (tmp_path / "page.html").read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|https?://", re.sub(r"<p class=\"text.*?</p>", "", text))


def test_data_cannot_break_out_of_the_page(tmp_path):
    """Markup, quotes and template code in prompts, answers, groups and reasons are displayed as text."""
    made = [row(1, HOSTILE, group=HOSTILE, kind=HOSTILE, lang=HOSTILE, model=HOSTILE, topic=HOSTILE)]
    made[0]["messages"][0]["content"] = HOSTILE
    rejections = [rejection(1, gate=HOSTILE, reason=HOSTILE, answer=HOSTILE, kind=HOSTILE)]
    page = page_of((written(tmp_path / "d.jsonl", made), written(tmp_path / "r.jsonl", rejections)), tmp_path)
    assert not page.tags("img")
    assert len(page.tags("script")) == 1
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    assert "<script>alert(1)</script>" in page.joined_text
    assert "{{ 7*7 }}" in page.joined_text


def test_thousands_of_rows_give_a_small_page(tmp_path):
    """The page always has figures and twenty rows, however many rows the dataset has."""
    few = page_size([row(at) for at in range(100)], tmp_path)
    many = page_size([row(at % 500, kind=("core", "adv")[at % 2]) for at in range(3_000)], tmp_path)
    assert many < 1.3 * few


def page_size(made, tmp_path) -> int:
    """The size in bytes of the page for these rows."""
    path = written(tmp_path / "many.jsonl", made)
    (tmp_path / "many.html").write_text(dataset_page.dataset_page(load_stats(path, None), path.name), "utf-8")
    return (tmp_path / "many.html").stat().st_size


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("not json\n", "d.jsonl:1: not JSON"),
        ('{"messages":[{"role":"user","content":"a"}]}\n{"text":"x"}\n', 'd.jsonl:2: the row has no key "messages"'),
        ('{"conversations":[{"from":"me","value":"a"}]}\n', "d.jsonl:1: conversations[0].from"),
    ],
)
def test_a_malformed_file_is_an_error_with_its_line(tmp_path, text, says):
    """The error for a malformed file names the file and the line, and no page is written."""
    path = tmp_path / "d.jsonl"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_stats(path, None)
    assert says in caught.value.message
    assert not (tmp_path / "p.html").exists()


# --- the script and the card ----------------------------------------------------------------------------------------


def test_the_script_writes_page_and_card(dataset, tmp_path, capsys):
    """One command writes the page and the card, and finds the rejections beside the input."""
    assert report_dataset.main(["--input", str(dataset[0]), "--card", str(tmp_path / "README.md")]) == 0
    assert "40 rows, 9 rejected answers" in capsys.readouterr().err
    assert (tmp_path / "d.html").exists()
    card = (tmp_path / "README.md").read_text()
    front_matter = card.split("---")[1]
    assert "\n- sco\n" in front_matter
    assert "\n- n<1K\n" in front_matter
    assert "| core | 20 | a question and an answer |" in card
    assert "No native speaker has checked this Doric" in card
    assert "| no near-duplicates | 40 |" in card


def test_malformed_lines_are_not_rejected_answers(dataset):
    """Lines that an earlier converter could not read are not counted as answers that a gate rejected."""
    written(dataset[1], [{"line": 1, "reason": "not JSON", "text": "hallo"}, {"gate": "thin", "kind": "core"}])
    assert load_stats(*dataset).rejected == {"thin": 1}


def test_card_and_page_show_the_same_figures(dataset, tmp_path):
    """The card and the page have the same medians."""
    found = load_stats(*dataset)
    (tmp_path / "README.md").write_text(dataset_page.dataset_card(found, "d.jsonl"), "utf-8")
    (tmp_path / "p.html").write_text(dataset_page.dataset_page(found, "d.jsonl"), "utf-8")
    middle = re.search(r"\| Scots words \| [\d.]+% \| ([\d.]+)% \|", (tmp_path / "README.md").read_text())
    assert middle is not None
    assert f"{float(middle[1]):.0f}% Scots words, median" in Page.read(tmp_path / "p.html").text


def test_a_plain_sharegpt_file_gets_its_page_and_card(tmp_path):
    """A file without `meta`, and a rejection without details, still give a page and a card."""
    plain = [
        {"conversations": [{"from": "human", "value": f"{at}?"}, {"from": "gpt", "value": "Aye."}]} for at in (1, 2)
    ]
    paths = written(tmp_path / "d.jsonl", plain), written(tmp_path / "d.jsonl.rejected.jsonl", [{"gate": "thin"}])
    assert report_dataset.main(["--input", str(paths[0]), "--card", str(tmp_path / "README.md")]) == 0
    assert "| unknown | 2 |  |" in (tmp_path / "README.md").read_text()
    assert "no reason recorded" in Page.read(tmp_path / "d.html").text


def test_data_cannot_break_out_of_the_card(tmp_path):
    """Unknown buckets are listed, bars and line breaks do not break a table cell, and a language is a quoted string."""
    made = [row(1, kind="my | own", group="a\n| b", lang="no\nlicense: none", model="x\n# y"), row(2, lang="no")]
    (tmp_path / "README.md").write_text(dataset_page.dataset_card(collect_stats(made), "d.jsonl"), "utf-8")
    card = (tmp_path / "README.md").read_text()
    assert "\n| my \\| own | 1 |  |\n" in card
    assert "\n| a \\| b |" in card
    assert '\n- "no\\nlicense: none"\n- "no"\nlicense: mit\n' in card
    assert "\n# y" not in card


@pytest.mark.parametrize(
    "flags",
    [
        ["--out", "{input}"], ["--card", "{input}"], ["--out", "same", "--card", "same"],
        ["--rejected", "missing.jsonl"], ["--input", "missing.jsonl"],
    ],
)  # fmt: skip
def test_a_mistake_is_an_error_and_a_hint(dataset, capsys, flags, monkeypatch, tmp_path):
    """Wrong flags give an error with a hint and exit status 2, and the dataset does not change."""
    monkeypatch.chdir(tmp_path)
    before = dataset[0].read_bytes()
    given = ["--input", str(dataset[0]), *(flag.replace("{input}", str(dataset[0])) for flag in flags)]
    assert report_dataset.main(given) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "hint: " in said
    assert dataset[0].read_bytes() == before


@pytest.mark.parametrize("flag", ["--out", "--card"])
def test_only_an_earlier_report_is_replaced(dataset, tmp_path, capsys, flag):
    """A page and a card of an earlier run are replaced, and an error names any other file, which is kept."""
    file = tmp_path / "README.md"
    given = ["--input", str(dataset[0]), flag, str(file)]
    for _ in range(2):
        assert report_dataset.main(given) == 0
    file.write_text("# My notes\n", "utf-8")
    assert report_dataset.main(given) == 2
    assert f"error: {file}: " in capsys.readouterr().err
    assert file.read_text("utf-8") == "# My notes\n"


@pytest.mark.parametrize(
    "text", ["Fan the caul win blaas, steek the door. " * 50_000, "a" * 2_000_000, "<b>& " * 400_000]
)
def test_a_huge_row_is_shown_in_part(tmp_path, text):
    """Of a text of 2 MB, the page shows the first 4,000 characters, in each place that shows it."""
    rows = written(tmp_path / "d.jsonl", [make_row(text, text, {}), make_row(text, text, {}), row(1)])
    rejected = written(tmp_path / "r.jsonl", [rejection(1, answer=text, prompt=text)])
    stats = load_stats(rows, rejected)
    assert stats.rows == 3
    for made in (dataset_page.dataset_page(stats, "d.jsonl"), dataset_page.dataset_card(stats, "d.jsonl")):
        assert len(made) < 600_000


def test_control_characters_are_not_in_the_page(tmp_path):
    """Escape sequences, null bytes and characters that reverse a line are removed from prompts and answers."""
    bad = "A caul\x1b[31m\x00 day\u202e in the toon <script>alert(1)</script>."
    rows = written(tmp_path / "d.jsonl", [make_row(bad, bad, {"kind": "core"}), make_row(bad, bad, {"kind": "core"})])
    rejected = written(tmp_path / "r.jsonl", [rejection(1, answer=bad, prompt=bad)])
    page = dataset_page.dataset_page(load_stats(rows, rejected), "d.jsonl")
    assert not set("\x1b\x00\u202e") & set(page)
    assert "<script>alert" not in page


def test_a_page_that_somebody_edited_is_kept(dataset, tmp_path):
    """A page or card is replaced; if somebody has edited it, a copy is kept, and never over an earlier copy."""
    page, card = tmp_path / "d.html", tmp_path / "README.md"
    command = ["--input", str(dataset[0]), "--card", str(card)]
    for _ in range(2):
        assert report_dataset.main(command) == 0
    assert not list(tmp_path.glob("*.bak*"))
    for number in range(2):
        for path in (page, card):
            path.write_text(path.read_text("utf-8") + f"my note {number}\n", "utf-8")
        assert report_dataset.main(command) == 0
    for path in (page, card):
        assert "my note" not in path.read_text("utf-8")
        for number, end in enumerate((".bak", ".bak.2")):
            assert f"my note {number}" in Path(f"{path}{end}").read_text("utf-8")


def test_a_page_in_a_new_folder(dataset, tmp_path, capsys):
    """Missing folders of a page are created when it is written; a failed start creates none."""
    page = tmp_path / "new" / "page.html"
    assert report_dataset.main(["--input", str(tmp_path / "none.jsonl"), "--out", str(page)]) == 2
    assert not page.parent.exists()
    assert report_dataset.main(["--input", str(dataset[0]), "--out", str(page)]) == 0
    assert page.is_file()
    assert report_dataset.main(["--input", str(dataset[0]), "--out", str(dataset[0] / "page.html")]) == 2
    assert "a part of its path is a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("{% endif %}", "{% endiff %}", "unknown tag 'endiff'"),
        ("{{ name }}", "{{ nam }}", "'nam' is undefined"),
        ("{{ name }}", "{{ name | tidy }}", "No filter named 'tidy'"),
    ],
)
def test_a_mistake_in_a_template_is_named_with_its_line(tmp_path, old, new, reason):
    """A page template that cannot be filled is an error with file and line."""
    stats = collect_stats([row(1)], [])
    with copied(tmp_path / "data") as folder:
        environment.cache_clear()
        template = folder / "report" / "dataset.html"
        text = template.read_text("utf-8")
        template.write_text(text.replace(old, new, 1), "utf-8")
        line = text[: text.index(old)].count("\n") + 1
        with pytest.raises(DataError, match=rf"report/dataset.html:{line}: mistake in the template: .*{reason}"):
            dataset_page.dataset_page(stats, "rows.jsonl")
