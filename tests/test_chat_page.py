"""The chat page: its answers, and what readers say about them."""

import json
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from chat_mock import ChatMock, Manners
from doric.chat.judgements import Judgements, Reader, Said, Talk
from doric.chat.page_answers import answer
from doric.chat.server import Address, Server
from doric.core.errors import InputError
from doric.core.review_files import reader_choices
from doric.core.reviews import pseudonym
from doric.review.answers import read_review


@pytest.fixture
def mock():
    with ChatMock() as server:
        yield server
        server.server_close()


def last(mock, text, key="secret-key"):
    server = Server(Address(mock.url, api_key=key), wait=0)
    return list(answer(server, [{"role": "user", "content": text}], {}))[-1]


def test_an_answer_is_whole_to_its_last_letter(mock):
    """An answer is whole to its last letter."""
    end = last(mock, "repeat A wisna there")
    assert (end.text.strip(), end.complete, end.note) == ("A wisna there", True, "")


@pytest.mark.parametrize(
    ("text", "said", "kept"),
    [
        ("die", "connection broke", "Aye weel, I"),
        ("empty", "answer was empty", ""),
        ("abort", "stopped the answer", "doric"),
    ],
)
def test_a_broken_answer_is_explained_and_what_came_is_kept(mock, text, said, kept):
    """A broken answer is explained and what came is kept."""
    end = last(mock, text)
    assert said in end.note
    assert kept in end.text
    assert not end.complete


@pytest.mark.parametrize(("status", "said"), [(429, "Too many people"), (401, "does not let"), (500, "has a fault")])
def test_a_refusal_is_one_plain_sentence_without_names(mock, status, said, capsys):
    """A refusal is one plain sentence without names."""
    mock.manners = Manners(first=[(status, ""), (status, "")], message="secret-key is bad")
    end = last(mock, "Fit like?")
    assert said in end.note
    assert "VLLM" not in end.note
    assert "secret-key" not in end.note + capsys.readouterr().err


def test_closing_the_answer_stops_the_server(mock):
    """Closing the answer stops the server."""
    mock.manners.pause = 0.02
    parts = answer(Server(Address(mock.url), wait=0), [{"role": "user", "content": "long"}], {})
    next(part for part in parts if part.text)
    parts.close()
    for _ in range(200):
        if mock.aborted:
            return
        time.sleep(0.05)
    pytest.fail("the server still writes")


def talk(*answers, name="c1"):
    said = [(Said(role="user", content="Q"), Said(role="assistant", content=text)) for text in answers]
    return Talk(id=name, said=[each for pair in said for each in pair])


def reader(number=1, *, publish=True):
    return Reader(id=f"{number:012x}", region="Buchan", publish=publish, licence="CC0-1.0" if publish else None)


def test_a_better_answer_is_saved_as_a_review_answer_and_a_gold_row(tmp_path):
    """A better answer is saved as a review answer and a gold row."""
    judgements = Judgements(tmp_path / "reviews", tmp_path / "gold.jsonl")
    judged = talk("I am fine").judged(1, "wrong", "Nae bad")
    assert judgements.save(reader(), judged, 1)
    row = json.loads((tmp_path / "gold.jsonl").read_text())
    assert row["messages"][1]["content"] == "Nae bad"
    assert (row["meta"]["reviewed_by"], row["meta"]["region"]) == ([pseudonym(reader().id)], "Buchan")
    saved = json.loads(next((tmp_path / "reviews").glob("*.json")).read_text())
    packed = json.dumps(saved["answers"], ensure_ascii=False, separators=(",", ":")).encode()
    assert saved["checksum"] == f"{zlib.crc32(packed):08x}"
    assert [(a["answer"], a["better"], a["prompt"]) for a in saved["answers"]] == [
        ("wrong", "Nae bad", [{"role": "user", "content": "Q"}])
    ]


def test_a_judgement_that_is_taken_back_leaves_no_gold_row(tmp_path):
    """A judgement that is taken back leaves no gold row."""
    judgements = Judgements(tmp_path, tmp_path / "gold.jsonl")
    assert judgements.save(reader(), talk("Aye").judged(1, "natural", ""), 1)
    assert not judgements.save(reader(), talk("Aye").judged(1, "wrong", ""), 1)
    assert (tmp_path / "gold.jsonl").read_text() == ""
    assert judgements.save(reader(), talk("Aye").judged(1, "natural", ""), 1)


def test_without_leave_there_is_no_gold_row(tmp_path):
    """Without leave there is no gold row."""
    judgements = Judgements(tmp_path, tmp_path / "gold.jsonl")
    assert not judgements.save(reader(publish=False), talk("Aye").judged(1, "natural", ""), 1)
    assert not (tmp_path / "gold.jsonl").exists()


def test_readers_who_judge_at_once_lose_nothing(tmp_path):
    """Readers who judge at once lose nothing."""
    judgements = Judgements(tmp_path / "reviews", tmp_path / "gold.jsonl")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: judgements.save(reader(n), talk("Aye").judged(1, "natural", ""), 1), range(8)))
    by = {json.loads(line)["meta"]["reviewed_by"][0] for line in (tmp_path / "gold.jsonl").open()}
    assert len(by) == len(list((tmp_path / "reviews").glob("*.json"))) == 8


@pytest.mark.parametrize("index", [-1, 0, 2, 9])
def test_only_an_answer_can_be_judged(index):
    """Only an answer can be judged."""
    with pytest.raises(InputError):
        talk("Aye").judged(index, "natural", "")


def test_two_chats_of_the_page_do_not_mix(mock, tmp_path):
    """Two chats of the page do not mix."""
    pytest.importorskip("gradio.blocks", reason="needs the group page: uv run --group page pytest")
    from doric.chat.page import Page

    page = Page(Server(Address(mock.url), wait=0), Judgements(tmp_path, tmp_path / "gold.jsonl"))
    one, two = (list(page.respond(f"repeat {word}", [], None))[-1] for word in ("een", "twa"))
    assert (one[0].strip(), two[0].strip()) == ("een", "twa")
    history = [{"role": "user", "content": "repeat een"}, {"role": "assistant", "content": "een"}]
    list(page.respond("Fit like?", history, one[1]))
    assert [m["content"].strip() for m in mock.asked[-1]["messages"]] == ["repeat een", "een", "Fit like?"]


def test_every_region_and_origin_of_the_chat_page_is_known_to_a_review(tmp_path):
    """What a reader chooses in the menus of the chat page is read from the file of answers as it is."""
    choices = reader_choices()
    for number, region in enumerate(choices.regions):
        chosen = reader().model_copy(update={"region": region, "learnt": choices.native[0], "id": f"{number:012x}"})
        Judgements(tmp_path, tmp_path / "gold.jsonl").save(chosen, talk("Aye").judged(1, "natural", ""), 1)
        review = read_review(tmp_path / f"doric-review-chat-{chosen.id}.json")
        assert (review.region, review.native) == (region, True)
