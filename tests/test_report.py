"""The pages and the card: what they show, that they stand alone, that nothing in the data can break out of them."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import report_dataset
from doric.core import conversations as rows
from doric.core.conversations import make_row
from doric.core.errors import InputError
from doric.dialect.highlight import highlight
from doric.evaluation import aggregate as scoreboard
from doric.evaluation.metrics import ModelAnswer, mark
from doric.quality.decontamination import held_out_prompts
from doric.report import dataset_page as report
from doric.report import dataset_stats as census
from doric.report import scoreboard_page as board
from doric.report.charts import Line, histogram, lines
from five_voices import VOICES

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> & <b>fit</b> {{ 7*7 }} {% raw %}"
VOID = frozenset({"meta", "link", "br", "hr", "img", "input"})


class Page(HTMLParser):
    """A parsed page: its elements, its text, and whether every element is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("path", "rect", "circle") and self.open[-1] != tag:
            return
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a reader sees, every element parted from the next."""
        return " ".join(" ".join(self.words).split())

    @property
    def run_on(self) -> str:
        """What a reader sees, words that are marked inside a sentence not parted from it."""
        return " ".join("".join(self.words).split())

    def of(self, css: str) -> list[dict[str, str]]:
        return [attrs for _, attrs in self.elements if css in attrs.get("class", "").split()]


def row(at: int, text: str = "Keep the claes dry an nae ower near the fire, for wool disna thole muckle heat.", **meta):
    told = {
        "topic": "drying",
        "group": "daily life",
        "kind": "core",
        "id": f"{at}",
        "lang": "en",
        "backend": "heuristic",
    }
    return make_row(f"How do I dry washing {at}?", f"{text} That's bittie nummer {at}.", told | {"tries": 1} | meta)


def rejection(at: int, **changes):
    told = {
        "id": f"{at}",
        "kind": "core",
        "gate": "leakage",
        "reason": "'with' is English",
        "answer": "with",
        "prompt": "?",
    }
    return told | changes


def written(path: Path, lines) -> Path:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def dataset(tmp_path):
    kinds = ("core", "core", "adv", "multi")
    made = [row(at, kind=kinds[at % 4], group=f"group {at % 3}", tries=1 + at % 2) for at in range(40)]
    refused = [rejection(at, gate="leakage" if at % 3 else "near_duplicate") for at in range(9)]
    return written(tmp_path / "d.jsonl", made), written(tmp_path / "d.jsonl.rejected.jsonl", refused)


def page_of(paths, tmp_path, rejected=True) -> Page:
    report.write_dataset_report(paths[0], paths[1] if rejected else None, tmp_path / "page.html")
    return Page((tmp_path / "page.html").read_text("utf-8"))


# ---- the census


def test_the_census_counts_rows_groups_and_refusals(dataset):
    """Rows by bucket and group, tries, refusals by gate, and a funnel that ends at the rows."""
    found = report.counted(*dataset)
    assert found.rows == 40
    assert found.kinds == {"core": 20, "adv": 10, "multi": 10}
    assert sum(counts.total() for counts in found.groups.values()) == 40
    assert found.tries == {1: 20, 2: 20}
    assert found.rejected == {"leakage": 6, "near_duplicate": 3}
    assert found.funnel()[0] == ("answers heard", 49)
    assert found.funnel()[-1] == ("said for the first time", 40)
    assert all(later <= earlier for (_, earlier), (_, later) in zip(found.funnel(), found.funnel()[1:], strict=False))


def test_a_gate_that_nobody_knows_still_counts(dataset):
    """A rejection by an unknown gate is in the funnel, so that it ends at the rows."""
    found = census.take([row(1)], [rejection(1, gate="of_tomorrow"), {}])
    assert found.funnel()[0][1] == 3
    assert found.funnel()[-1][1] == 1


def test_both_shapes_give_the_same_census(dataset, tmp_path):
    """A ShareGPT file shows what its messages file shows."""
    original = [json.loads(line) for line in dataset[0].read_text().splitlines()]
    other = written(tmp_path / "s.jsonl", [rows.to_sharegpt(one) for one in original])
    assert report.counted(other, None).forms == report.counted(dataset[0], None).forms
    assert report.counted(other, None).kinds == report.counted(dataset[0], None).kinds


def test_rows_of_any_dataset_are_counted(tmp_path):
    """Rows without meta, with a system turn, with several turns, with odd meta are shown as what they tell."""
    turns = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "Fit like"},
    ]
    made = [{"messages": turns}, {"messages": turns + turns[1:], "meta": {"kind": None, "tries": "two", "group": 7}}]
    page = page_of((written(tmp_path / "d.jsonl", made), None), tmp_path, rejected=False)
    assert "not told" in page.text
    assert "No record of refused answers" in page.text


def test_the_sample_is_fair_and_repeatable():
    """Twenty rows, the same for the same seed, and late rows get in as often as early ones."""
    made = [row(at) for at in range(200)]
    samples = [[shown.prompt for shown in census.take(made, seed=seed).sample] for seed in (0, 0, 1, 2, 3)]
    assert samples[0] == samples[1] != samples[2]
    assert all(len(set(sample)) == 20 for sample in samples)
    late = sum(int(re.findall(r"\d+", prompt)[0]) >= 100 for sample in samples[1:] for prompt in sample)
    assert 20 <= late <= 60


def test_the_nearest_pairs_are_found(dataset):
    """Two answers that differ in a word stand first among the pairs."""
    other = "Big a dyke wi the muckle steens at the boddom, an fill the hert wi sma eens as ye gyang."
    made = [row(0), row(1, other), make_row("?", f"{other} That's bittie nummer ane.", {})]
    best = census.take(made).nearest[0]
    assert best.similarity > 0.9
    assert other in best.one
    assert other in best.other


def test_forms_from_outside_the_house_spelling_are_named():
    """An accepted variant counts with its house spelling, a Central form too."""
    found = census.take([row(1, "Whit a caal day, an the auld mannie gaed hame fae the skweel wi his bairns.")])
    assert ("caal", "caul") in found.outside
    assert any(form == "whit" for form, _ in found.outside)


@pytest.mark.parametrize(
    "text",
    ["I dinna ken fit like it is.", "Fit’s adee? “Naething ava.”\n\nAye.  Weel", "", "code `fit` http://fit.fit fit"],
)
def test_marking_loses_nothing(text):
    """The pieces of a text joined are the text."""
    assert "".join(piece.text for piece in highlight(text)) == text


# ---- the page of a dataset


def test_the_page_shows_everything_asked_of_it(dataset, tmp_path):
    """Buckets, groups, funnel, reasons, three distributions, forms, pairs and twenty marked rows are there."""
    page = page_of(dataset, tmp_path)
    for words in (
        "Rows by bucket and group",
        "answers heard 49",
        "leakage 6",
        "Most used North-East forms",
        "Nearest pairs",
    ):
        assert words in page.text
    assert len(page.of("chart")) == 3
    assert len([one for tag, one in page.elements if tag == "article"]) == 20
    words = page.of("w")
    assert len(words) > 100
    assert all(one["data-g"] for one in words)
    assert sum(one.get("tabindex") == "0" for one in words) > 100


def test_the_page_stands_alone(dataset, tmp_path):
    """Nothing is fetched: no address but anchors and data, and a policy that forbids the rest."""
    page = page_of(dataset, tmp_path)
    for _, attrs in page.elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), attrs
    text = (tmp_path / "page.html").read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|https?://", re.sub(r"<p class=\"said.*?</p>", "", text))


def test_nothing_in_the_data_breaks_out_of_the_page(tmp_path):
    """Markup, quotes and template code in prompts, answers, groups and reasons are shown as text."""
    made = [row(1, HOSTILE, group=HOSTILE, kind=HOSTILE, lang=HOSTILE, model=HOSTILE, topic=HOSTILE)]
    made[0]["messages"][0]["content"] = HOSTILE
    refused = [rejection(1, gate=HOSTILE, reason=HOSTILE, answer=HOSTILE, kind=HOSTILE)]
    paths = written(tmp_path / "d.jsonl", made), written(tmp_path / "r.jsonl", refused)
    page = page_of(paths, tmp_path)
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    assert "<script>alert(1)</script>" in page.run_on
    assert "{{ 7*7 }}" in page.run_on


def test_thousands_of_rows_make_a_small_page(tmp_path):
    """The page holds figures and twenty rows, however many rows were counted."""
    few = page_size([row(at) for at in range(100)], tmp_path)
    many = page_size([row(at % 500, kind=("core", "adv")[at % 2]) for at in range(3_000)], tmp_path)
    assert many < 1.3 * few


def page_size(made, tmp_path) -> int:
    path = written(tmp_path / "many.jsonl", made)
    report.write_dataset_report(path, None, tmp_path / "many.html")
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
def test_a_malformed_file_is_named_with_its_line(tmp_path, text, says):
    """What is wrong with an input is said with file and line."""
    path = tmp_path / "d.jsonl"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        report.write_dataset_report(path, None, tmp_path / "p.html")
    assert says in caught.value.message
    assert not (tmp_path / "p.html").exists()


# ---- the script and the card


def test_the_script_writes_page_and_card(dataset, tmp_path, capsys):
    """One command, both files, the refusals beside the input found by themselves."""
    assert report_dataset.main(["--input", str(dataset[0]), "--card", str(tmp_path / "README.md")]) == 0
    assert "40 rows, 9 refused answers" in capsys.readouterr().err
    assert (tmp_path / "d.html").exists()
    card = (tmp_path / "README.md").read_text()
    front = card.split("---")[1]
    assert "\n- sco\n" in front
    assert "\n- n<1K\n" in front
    assert "| core | 20 | a question, an answer |" in card
    assert "No native speaker has checked this Doric" in card
    assert "| said for the first time | 40 |" in card


def test_card_and_page_give_the_same_figures(dataset, tmp_path):
    """The medians of the card are those of the page."""
    found = report.counted(*dataset)
    report.write_card(found, "d.jsonl", tmp_path / "README.md")
    report.write_dataset_page(found, "d.jsonl", tmp_path / "p.html")
    middle = re.search(r"\| Scots words \| [\d.]+% \| ([\d.]+)% \|", (tmp_path / "README.md").read_text())
    assert middle is not None
    assert f"{float(middle[1]):.0f}% Scots words, median" in Page((tmp_path / "p.html").read_text()).text


def test_a_plain_sharegpt_file_gets_its_page_and_card(tmp_path):
    """A file without `meta`, beside it a refused answer that tells nothing of itself: both are written all the same."""
    plain = [
        {"conversations": [{"from": "human", "value": f"{at}?"}, {"from": "gpt", "value": "Aye."}]} for at in (1, 2)
    ]
    paths = written(tmp_path / "d.jsonl", plain), written(tmp_path / "d.jsonl.rejected.jsonl", [{"gate": "thin"}])
    assert report_dataset.main(["--input", str(paths[0]), "--card", str(tmp_path / "README.md")]) == 0
    assert "| not told | 2 |  |" in (tmp_path / "README.md").read_text()
    assert "no reason told" in Page((tmp_path / "d.html").read_text()).text


def test_words_of_the_data_keep_to_their_place_in_the_card(tmp_path):
    """A bucket of one's own is a bucket; bars and line breaks stay in their cell, and a language is a quoted string."""
    made = [row(1, kind="my | own", group="a\n| b", lang="no\nlicense: none", model="x\n# y"), row(2, lang="no")]
    report.write_card(census.take(made), "d.jsonl", tmp_path / "README.md")
    card = (tmp_path / "README.md").read_text()
    assert "\n| my \\| own | 1 |  |\n" in card
    assert "\n| a \\| b |" in card
    assert '\n- "no\\nlicense: none"\n- "no"\nlicense: mit\n' in card
    assert "\n# y" not in card


@pytest.mark.parametrize(
    "flags",
    [["--out", "{input}"], ["--card", "{input}"], ["--rejected", "missing.jsonl"], ["--input", "missing.jsonl"]],
)
def test_the_script_refuses_in_a_sentence(dataset, capsys, flags, monkeypatch, tmp_path):
    """A mistake is a message, a hint and exit 2, and the dataset stays as it was."""
    monkeypatch.chdir(tmp_path)
    before = dataset[0].read_bytes()
    given = ["--input", str(dataset[0]), *(flag.replace("{input}", str(dataset[0])) for flag in flags)]
    assert report_dataset.main(given) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "hint: " in said
    assert dataset[0].read_bytes() == before


# ---- the page of a scoreboard


@pytest.mark.parametrize("flag", ["--out", "--card"])
def test_a_report_replaces_only_a_report(dataset, tmp_path, capsys, flag):
    """A page and a card replace those of an earlier run; a file of another kind is kept, and named."""
    file = tmp_path / "README.md"
    given = ["--input", str(dataset[0]), flag, str(file)]
    for _ in range(2):
        assert report_dataset.main(given) == 0
    file.write_text("# My notes\n", "utf-8")
    assert report_dataset.main(given) == 2
    assert f"error: {file}: the file exists" in capsys.readouterr().err
    assert file.read_text("utf-8") == "# My notes\n"


def result_of(voice: str, model: str) -> dict:
    from doric.evaluation import exam
    from doric.evaluation import run as candidate

    given = [
        ModelAnswer(held.id, turn, text, VOICES[voice](held, turn))
        for held in exam.chosen(12)
        for turn, text in enumerate((held.prompt, *held.turns))
    ]
    given[0] = ModelAnswer(given[0].id, 0, given[0].prompt, "", "", "the server answered 500", faults=("http_500",) * 4)
    known = {held.id: held for held in held_out_prompts()}
    manner = {"max_tokens": 9, "temperature": 0.7, "seed": 0, "concurrency": 8, "max_retries": 3}
    about = {"model": model, "address": "http://localhost:8000/v1", "date": "today", "manner": manner, "heldout": "abc"}
    return candidate.Result(about, tuple(mark(given, known))).as_json()


def board_page(tmp_path, **changes) -> Page:
    board.write_scoreboard_report(result_of("authored", "tuned") | changes, tmp_path / "board.html")
    return Page((tmp_path / "board.html").read_text("utf-8"))


def test_the_scoreboard_page_shows_every_answer_worst_first(tmp_path):
    """All answers, the worst first, each with its bucket and fate to be sifted by."""
    page = board_page(tmp_path)
    talks = page.of("talk")
    assert len(talks) == 22
    points = [float(one["data-points"]) for one in talks]
    assert points == sorted(points)
    assert talks[0]["data-fate"] == "none"
    assert {one["data-bucket"] for one in talks} == set(scoreboard.BUCKETS)


def test_the_scoreboard_page_says_that_calls_failed(tmp_path):
    """A warning stands above the figures."""
    text = board_page(tmp_path).text
    assert "1 of 22 turns got no answer from tuned; each counts as a failure in every share." in text
    assert text.index("got no answer") < text.index("What the columns mean")


def test_a_model_that_is_a_folder_is_called_by_its_last_parts(tmp_path):
    """Where a server names its model by a path, the page shows no more of somebody's folders than it needs."""
    before = result_of("plain", "/home/ann/models/small/base")
    page = board_page(tmp_path, model="/home/ann/runs/first/export/merged", baseline=before, changes={})
    assert "first/export/merged: how good is its Doric?" in page.text
    assert "models/small/base (baseline)" in page.text
    assert "/home/ann" not in page.text


def test_before_and_after_stand_side_by_side(tmp_path):
    """With a baseline each answer has two sides, and a change for each bucket."""
    before = result_of("plain", "base")
    known = {held.id: held for held in held_out_prompts()}
    marks = [
        mark([ModelAnswer.read(one) for one in side["answers"]], known)
        for side in (result_of("authored", "tuned"), before)
    ]
    page = board_page(tmp_path, baseline=before, changes=scoreboard.compare(*marks))
    assert "Before and after" in page.text
    assert page.text.count("base (baseline)") == 2
    assert any(float(one["data-gain"]) > 90 for one in page.of("talk"))


def test_a_model_cannot_break_out_of_the_page(tmp_path):
    """A model's name and its answers are shown as text."""
    result = result_of("authored", HOSTILE)
    result["answers"][1]["text"] = HOSTILE
    board.write_scoreboard_report(result, tmp_path / "board.html")
    page = Page((tmp_path / "board.html").read_text("utf-8"))
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not [tag for tag, _ in page.elements if tag == "img"]


# ---- charts


def test_a_histogram_puts_every_value_in_a_bar():
    """The counts of the bars add up, with values beyond the top in the last."""
    chart = histogram([0, 0.1, 0.5, 0.99, 1.0, 7.0], "six", top=1.0, bins=10)
    counts = [int(found) for found in re.findall(r"<title>[^<]*: (\d+)</title>", chart)]
    assert sum(counts) == 6
    assert counts[-1] == 3


def test_charts_of_nothing_are_drawn():
    """No value and no step are no error."""
    assert "<svg" in histogram([], "none", top=1.0)
    assert lines([Line("a", "ours", [])], [], "none") == ""


def test_a_chart_says_what_it_shows_in_words():
    """Charts carry a label for those who do not see them, escaped."""
    assert 'aria-label="a &lt;b&gt;"' in histogram([1], "a <b>", top=2.0)
