"""Rows from a speaker's own texts: the passages stay as they are, and a model writes only the questions."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import generate_doric_dataset as script
import report_dataset
import transform_to_sharegpt
from doric.dataset.passages import passages, sections
from doric.quality.decontamination import held_out_prompts
from mock_server import Action, Behaviour, serving

HAIRST = (
    "The hairst wis late that year. It dinged doon for three wikk, an Mr. Rae cam ower wi his binder.\n\n"
    "Syne the win turned. In ae day it blew the hale crap dry, an we wrocht fae the first licht.\n"
)
HENS = "# Keepin hens\n\nHens is nae bother gin ye steek the door at nicht. The tod kens fine fan ye're sleepin.\n"
ENGLISH = "The weather was very bad and the whole family was sitting in the kitchen together."
OWN = ("--source", "Jeems Rae", "--licence", "CC-BY-4.0", "--permission", "the author, 3 May")


@pytest.fixture(autouse=True)
def texts(ten_topics):
    """A folder with two texts, in a folder without a key."""
    folder = Path("texts")
    folder.mkdir()
    (folder / "hairst.txt").write_text(HAIRST, "utf-8")
    (folder / "hens.md").write_text(HENS, "utf-8")
    return folder


class Questions:
    """A model that asks other questions each time, in the language that is wanted."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, call) -> str:
        self.number += 1
        if "plain English" in call.body["messages"][0]["content"]:
            return f"What happened to neighbour number {self.number} long ago?"
        return f"Fit wye wis thing number {self.number} deen fan ye war a loon?"


def generate(server, *more: str) -> int:
    flags = ("--from-texts", "texts", "--out", "out.jsonl", "--no-progress", "--passage-words", "20", *OWN)
    return script.main([*flags, "--base-url", server.url, "--model", "mock-doric", "--max-concurrency", "2", *more])


def rows(name: str = "out.jsonl") -> list[dict]:
    return [json.loads(line) for line in Path(name).read_text("utf-8").splitlines()]


def refused(*argv: str, capsys) -> str:
    """What a command says that must fail with exit status 2 and one line with one hint."""
    assert script.main(["--out", "out.jsonl", *argv]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in told if line.startswith("error:")]) == 1
    assert len(told) <= 2
    return "\n".join(told)


# ---- passages


@given(st.text(alphabet="aAé'’.!?… \n“”12\t", max_size=300), st.integers(1, 20))
def test_passages_are_parts_of_the_text_and_nothing_is_lost(text, size):
    """Passages are unchanged parts in order, and only white space is between them."""
    at, between = 0, ""
    for passage in passages(text, size):
        start = text.index(passage, at)
        between += text[at:start]
        at = start + len(passage)
        assert passage == passage.strip()
    assert not (between + text[at:]).strip()


@given(st.lists(st.lists(st.sampled_from(["aye", "Rae", "hens"]), min_size=1, max_size=9), min_size=1, max_size=12))
def test_a_passage_is_whole_sentences(lines):
    """A passage ends where a sentence does, and is longer than wanted only for one sentence or a short rest."""
    text = " ".join(" ".join(line).capitalize() + "." for line in lines)
    for passage in passages(text, 10):
        assert passage.endswith(".")
        assert len(passage.split()) <= 14 or passage.count(".") == 1


def test_abbreviations_and_initials_end_no_sentence():
    """Mr. and J. stay with the name after them."""
    assert passages("Mr. Rae cam hame. J. Low bade awa.", 4) == ["Mr. Rae cam hame.", "J. Low bade awa."]


def test_headings_code_and_front_matter_are_no_text():
    """A heading is the title of what follows; code, comments and front matter are left out."""
    found = sections("---\ntitle: x\n---\n# Hens\nAye.\n```\n# nae heading\n```\n<!-- na -->\nMair.\n")
    assert [(one.title, one.text.strip()) for one in found] == [("Hens", "Aye."), ("Hens", "Mair.")]


# ---- rows


def test_answers_are_the_passages_and_meta_says_where_they_are_from():
    """Every answer is a part of its file, byte for byte; source, licence, permission and place are in meta."""
    with serving(Behaviour(), answer=Questions()) as server:
        assert generate(server) == 0
    whole = {"hairst.txt": HAIRST.encode(), "hens.md": HENS.encode()}
    assert len(rows()) == 3
    for row in rows():
        question, answer = (turn["content"] for turn in row["messages"])
        assert answer.encode() in whole[row["meta"]["file"]]
        assert question not in answer
        found = row["meta"]
        assert (found["source"], found["licence"], found["permission"]) == ("Jeems Rae", "CC-BY-4.0", OWN[-1])
        assert found["from"] == "texts"
    assert {row["meta"]["topic"] for row in rows()} == {"hairst.txt", "Keepin hens"}


def test_gates_report_what_they_would_refuse_and_refuse_nothing(texts):
    """A passage in English becomes a row, and its meta names the gates."""
    (texts / "english.txt").write_text(ENGLISH, "utf-8")
    with serving(Behaviour(), answer=Questions()) as server:
        assert generate(server) == 0
    row = next(row for row in rows() if row["meta"]["file"] == "english.txt")
    assert row["messages"][1]["content"] == ENGLISH
    assert "thin" in row["meta"]["gates"]


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_the_share_of_english_questions(share):
    """So many of the questions are asked for in English, the others in Doric."""
    with serving(Behaviour(), answer=Questions()) as server:
        assert generate(server, "--english-questions", str(share)) == 0
    assert sum(row["meta"]["lang"] == "en" for row in rows()) == int(3 * share)


BAD = {
    "empty": "…",
    "too_short": "Hens?",
    "too_long": "What " * 60 + "?",
    "meta_talk": "What does the passage say about the year?",
    "several_lines": "What was it like?\nAnd who came over?",
    "echoes_answer": "It dinged doon for three wikk, an Mr. Rae cam ower wi his binder.",
    "wrong_language": "Fit wye dis yon loon nae gyang hame the nicht?",
    "held_out": held_out_prompts()[0].prompt,
}


@pytest.mark.parametrize("gate", BAD)
def test_bad_questions_are_refused_with_a_reason_and_asked_for_again(gate):
    """A bad question is kept in the rejections, and the model is told why."""
    questions = Questions()
    first = lambda call: Action(text=BAD[gate]) if call.number == 1 else None  # noqa: E731
    with serving(Behaviour(), answer=questions, decide=first) as server:
        assert generate(server, "--english-questions", "1", "--max-concurrency", "1") == 0
        again = server.calls[1].body["messages"]
    assert [entry["gate"] for entry in rows("out.jsonl.rejected.jsonl")] == [gate]
    assert "cannot be used" in again[-1]["content"]
    assert all(row["messages"][0]["content"] != BAD[gate] for row in rows())


def test_no_question_is_asked_twice():
    """The second passage with the same question gets another one, also after a resumed run."""
    one = "What happened to the neighbour long ago?"
    same = lambda call: Action(text=one) if call.number < 4 else None  # noqa: E731
    flags = ("--english-questions", "1", "--max-concurrency", "1")
    with serving(Behaviour(), answer=Questions(), decide=same) as server:
        assert generate(server, *flags, "--max-total-tokens", "1") == 1
        assert len(rows()) == 1
        assert generate(server, *flags) == 0
    asked = [row["messages"][0]["content"] for row in rows()]
    assert len(set(asked)) == len(asked) == 3
    assert {entry["gate"] for entry in rows("out.jsonl.rejected.jsonl")} == {"same_question"}


def test_rows_are_converted_and_counted():
    """transform_to_sharegpt.py keeps the passages as they are, and report_dataset.py counts the rows."""
    with serving(Behaviour(), answer=Questions()) as server:
        assert generate(server) == 0
    assert transform_to_sharegpt.main(["--input", "out.jsonl", "--output", "share.jsonl"]) == 0
    before = [row["messages"][1]["content"] for row in rows()]
    assert [row["conversations"][1]["value"] for row in rows("share.jsonl")] == before
    assert report_dataset.main(["--input", "out.jsonl"]) == 0


def test_a_run_goes_on_only_with_the_same_texts(texts, capsys):
    """Another text is another plan; the error says so in one line."""
    with serving(Behaviour(), answer=Questions()) as server:
        assert generate(server, "--max-total-tokens", "1") == 1
        (texts / "mair.txt").write_text("A new line that naebody saw afore this day.", "utf-8")
        capsys.readouterr()
        assert generate(server) == 2
    assert "other texts" in capsys.readouterr().err


def test_a_resumed_run_knows_source_licence_and_permission():
    """The values are in the plan, so the command that resumes needs no flags for them."""
    with serving(Behaviour(), answer=Questions()) as server:
        assert generate(server, "--max-total-tokens", "1") == 1
        flags = ["--from-texts", "texts", "--out", "out.jsonl", "--no-progress", "--passage-words", "20"]
        assert script.main([*flags, "--base-url", server.url, "--model", "mock-doric"]) == 0
    assert {row["meta"]["licence"] for row in rows()} == {"CC-BY-4.0"}


# ---- what is refused


def test_source_licence_and_permission_are_needed(capsys):
    """Without a terminal, what is missing is named in one line; no permission is no permission."""
    assert "needs --licence, --permission" in refused("--from-texts", "texts", "--source", "x", capsys=capsys)
    told = refused("--from-texts", "texts", *OWN[:-1], "none", capsys=capsys)
    assert "--permission is 'none'" in told


def test_a_terminal_is_asked(monkeypatch, capsys):
    """On a terminal, what is missing is asked for."""

    class Terminal:
        lines = iter(["CC0\n", "me, the day\n"])
        isatty = staticmethod(lambda: True)

        def readline(self) -> str:
            return next(self.lines)

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with serving(Behaviour(), answer=Questions()) as server:
        more = ["--from-texts", "texts", "--out", "out.jsonl", "--source", "x", "--no-progress"]
        assert script.main([*more, "--base-url", server.url, "--model", "mock-doric"]) == 0
    assert {(row["meta"]["licence"], row["meta"]["permission"]) for row in rows()} == {("CC0", "me, the day")}


def test_a_model_is_needed_but_not_for_a_forecast(capsys):
    """Without a key, one line says so; --dry-run counts the passages all the same."""
    assert "a model writes the questions" in refused("--from-texts", "texts", *OWN, capsys=capsys)
    assert "embedded voice" in refused("--from-texts", "texts", *OWN, "--backend", "heuristic", capsys=capsys)
    assert script.main(["--from-texts", "texts", "--dry-run"]) == 0
    assert "passages of 2 files" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags",
    [("--topics", "topics.txt"), ("--turns", "3"), ("--ask-mix", "none"), ("--judge-model", "x")],
    ids=lambda flags: flags[0],
)
def test_flags_of_another_source_are_refused(flags, capsys):
    """A flag that would do nothing is an error."""
    assert flags[0] in refused("--from-texts", "texts", *OWN, *flags, capsys=capsys)


def test_flags_of_texts_are_refused_without_texts(capsys):
    """--passage-words and --licence say nothing about topics."""
    assert "--passage-words" in refused("--passage-words", "30", capsys=capsys)
    assert "--licence" in refused("--licence", "CC0", capsys=capsys)


def damaged_docx() -> bytes:
    return b"PK\x03\x04 this is no document"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.docx", damaged_docx(), "damaged"),
        ("a.docx", b"", "empty"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old or an encrypted"),
        ("a.txt", b"%PDF-1.7 x", "PDF"),
        ("a.txt", b"aye\x00na", "NUL"),
        ("a.txt", "Aye é.\nNa é".encode() + b"\xff.\n", "a.txt:2: not UTF-8"),
        ("a.txt", b"Aye\n\x81\x8d.", "a.txt:2: not UTF-8"),
        ("a.txt", b"\xff\xfea", "not utf-16"),
    ],
)
def test_a_bad_file_is_one_line_with_a_remedy(texts, capsys, name, content, told):
    """The line names the file, and the line in it if there is one."""
    (texts / name).write_bytes(content)
    assert told in refused("--from-texts", "texts", *OWN, "--dry-run", capsys=capsys)


def test_missing_and_empty_folders_are_one_line(tmp_path, capsys):
    """A folder that does not exist, one without texts, and a broken link."""
    assert "does not exist" in refused("--from-texts", "nowhere", *OWN, capsys=capsys)
    Path("void").mkdir()
    Path("void/empty.txt").write_text("")
    Path("void/x.odt").write_text("x")
    assert "1 empty files (empty.txt)" in refused("--from-texts", "void", *OWN, capsys=capsys)
    Path("void/gone.txt").symlink_to("nowhere.txt")
    assert "gone.txt" in refused("--from-texts", "void", *OWN, capsys=capsys)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings_that_editors_save(texts, encoding, capsys):
    """The text is the same in every encoding, and Windows-1252 is said to be guessed."""
    (texts / "hairst.txt").unlink()
    (texts / "hens.md").unlink()
    text = "“Fit like?” he said, an dichtit his een – syne he gaed awa hame tae his café."
    (texts / "one.txt").write_bytes(text.encode(encoding))
    with serving(Behaviour(), answer=Questions()) as server:
        assert generate(server, "--passage-words", "60") == 0
    assert [row["messages"][1]["content"] for row in rows()] == [text]
    assert script.main(["--from-texts", "texts", "--dry-run"]) == 0
    assert ("Windows-1252" in capsys.readouterr().out) == (encoding == "cp1252")


def test_links_hidden_files_and_what_cannot_be_trained_are_left_out(texts, capsys):
    """A file is read once, a loop of folders ends, and passages that cannot be trained are counted."""
    (texts / "same.txt").symlink_to("hairst.txt")
    (texts / "loop").symlink_to(".")
    (texts / ".hidden.txt").write_text("Hidden awa fae aabody.")
    (texts / "~$hens.docx").write_bytes(b"x")
    (texts / "marks.txt").write_text("This his <|im_start|> in't, aye.")
    (texts / "held.txt").write_text(held_out_prompts()[0].prompt)
    (texts / "hens2.md").write_text(HENS)
    assert script.main(["--from-texts", "texts", "--passage-words", "20", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("3 passages of 2 files")
    for reason in ("marks of a chat template", "match an evaluation prompt", "are there twice"):
        assert reason in told


def test_docx(texts, monkeypatch, capsys):
    """Headings are titles and paragraphs the text; without python-docx one line says how to install it."""
    docx = pytest.importorskip("docx")
    document = docx.Document()
    document.add_heading("The boat", 1)
    document.add_paragraph("Ma granda's boatie lay at the pier aa the winter.")
    document.add_heading("The storm", 1)
    document.add_paragraph("The gale teen the reef aff the saat hoose.")
    document.save(texts / "boat.docx")
    with serving(Behaviour(), answer=Questions()) as server:
        assert generate(server) == 0
    found = {row["meta"].get("title"): row["messages"][1]["content"] for row in rows()}
    assert found["The boat"] == "Ma granda's boatie lay at the pier aa the winter."
    assert found["The storm"] == "The gale teen the reef aff the saat hoose."
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "docx", None)
    assert "uv sync --group texts" in refused("--from-texts", "texts", *OWN, "--dry-run", capsys=capsys)
