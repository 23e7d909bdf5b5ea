"""The commands of the chat, typed in a pseudo-terminal."""

import json
from collections.abc import Iterator

import pytest

from chat_mock import WINDOW, ChatMock
from chat_terminal import Terminal, rows, until
from doric.core.markers import find_turn_mark


@pytest.fixture
def server() -> Iterator[ChatMock]:
    with ChatMock() as mock:
        yield mock


def test_a_retry_that_fails_keeps_the_old_answer(server, tmp_path):
    """If /retry gets no answer, the file and the next request keep the earlier answer."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("hello")
        server.manners.first = [(500, "")]
        shown = chat.say("/retry")
        assert "answered 500" in shown
        assert "the earlier answer is kept" in shown
        assert "saw 3 messages" in chat.say("aye")
    assert [turn["role"] for turn in rows(tmp_path)[0]["messages"]] == ["user", "assistant"] * 2


def test_a_retry_stopped_before_its_first_word_keeps_the_old_answer(server, tmp_path):
    """Ctrl-C before the first token of a retry changes nothing, and a partial answer stays marked as partial."""
    with Terminal(tmp_path, server.url) as chat:
        assert "Aye weel" in chat.say("die")
        server.manners.first = [(503, "")] * 10_000
        prompts = chat.prompts
        chat.type("/retry\r")
        chat.expect("> die")
        until(lambda: len(server.paths) > 3)
        chat.type("\x03")
        chat.expect("the earlier answer is kept")
        chat.ready(prompts + 1)
        server.manners.first = []
        assert "saw 3 messages" in chat.say("aye")
    (row,) = rows(tmp_path)
    assert (row["messages"][1]["content"], row["meta"]["partial"]) == ("Aye weel, I", [1])


def test_an_undone_chat_stays_undone(server, tmp_path):
    """Removing the only exchange empties the file, so that --resume does not bring it back."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("repeat a secret")
        chat.say("/undo")
        chat.leave()
    assert rows(tmp_path) == []
    with Terminal(tmp_path, server.url, "--resume") as chat:
        assert "secret" not in chat.text
        assert "it starts empty" in chat.text
        assert "saw 1 messages" in chat.say("hello")
        chat.leave()
    assert len(rows(tmp_path)) == 1
    assert len(list((tmp_path / "doric" / "chats").iterdir())) == 1


def test_an_undo_needs_no_server(server, tmp_path):
    """/undo right after --resume removes the last exchange from the file, even if no model has been found yet."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("hello")
        chat.say("aye")
        chat.leave()
    with Terminal(tmp_path, "http://127.0.0.1:9", "--resume") as chat:
        assert "removed: aye" in chat.say("/undo")
    (row,) = rows(tmp_path)
    assert (len(row["messages"]), row["meta"]["backend"]) == (2, "doric")


def test_saving_needs_an_answer_and_no_server(server, tmp_path):
    """/save refuses a chat without an answer, and saves a chat with an answer even if no server is running."""
    dataset = tmp_path / "mine.jsonl"
    with Terminal(tmp_path, server.url) as chat:
        assert "nothing to save yet" in chat.say(f"/save {dataset}")
        assert not dataset.exists()
        chat.say("hello")
        chat.leave()
    with Terminal(tmp_path, "http://127.0.0.1:9", "--resume") as chat:
        assert "saved as a row" in chat.say(f"/save {dataset}")
        assert "there is no file ~nosuchuser/x" in chat.say("/save ~nosuchuser/x")
    row = json.loads(dataset.read_text())
    assert (row["messages"][0]["content"], row["meta"]["backend"]) == ("hello", "doric")


def test_a_limit_that_leaves_no_room_is_refused(server, tmp_path):
    """If max_tokens is as large as the window, /set and the next question both give an error with both figures."""
    with Terminal(tmp_path, server.url, "--set", f"max_tokens={WINDOW}") as chat:
        assert "question and answer share 4,000 tokens" in " ".join(chat.say("hello").split())
        assert "max_tokens 5,000 leaves no room" in chat.say("/set max_tokens 5000")
        chat.say("/set max_tokens 3900")
        assert "saw 1 messages" in chat.say("hello")
    assert [body["max_tokens"] for body in server.asked] == [3900]


def test_set_accepts_two_forms_and_known_names_only(server, tmp_path):
    """/set NAME VALUE and /set NAME=VALUE do the same, and the error for an unknown name lists the known names."""
    with Terminal(tmp_path, server.url) as chat:
        for form in ("temperature 0.2", "temperature=0.3", "temperature = 0.4", "temperature=off"):
            chat.say(f"/set {form}")
            chat.say("hello")
        shown = chat.say("/set heat 1") + chat.say("/set heat") + chat.say("/set heat=off")
        assert shown.count("there is no option 'heat': temperature, top_p, max_tokens") == 3
        assert "from 0 to 2" in chat.say("/set temperature=3")
        assert "the default of the server" in chat.say("/set")
    assert [body.get("temperature") for body in server.asked] == [0.2, 0.3, 0.4, None]


def test_a_model_that_is_not_listed_is_refused(server, tmp_path):
    """/model accepts the models that the server lists, and accepts any name with a note if the server lists none."""
    with Terminal(tmp_path, server.url) as chat:
        shown = chat.say("/model gpt")
        assert "there is no model 'gpt' here" in shown
        assert "served here: other, doric-base, doric" in shown  # the most similar name first
        assert "doric saw" in chat.say("hello")
        server.manners.models = []
        assert "does not list its models; gpt is asked" in chat.say("/model gpt")
        assert "gpt saw" in chat.say("hello")
        server.manners.first = [(404, "")]
        assert "does not list its models; gpt2 is asked" in chat.say("/model gpt2")


def test_an_older_copy_of_a_chat_is_loaded_truthfully(server, tmp_path):
    """If the chat went on after /save, its copy continues in another file, and the note blames no other session."""
    with Terminal(tmp_path, server.url, columns=200) as chat:
        chat.say("hello")
        chat.say(f"/save {tmp_path / 'copy.jsonl'}")
        chat.say("repeat later")
        chat.say(f"/load {tmp_path / 'copy.jsonl'}")
        shown = chat.say("repeat again")
        assert "has another version of this chat: this one is kept in" in shown
        assert "session" not in shown
    assert [row["messages"][-1]["content"].strip() for row in rows(tmp_path)] == ["later", "again"]


@pytest.mark.parametrize("mark", ["<|im_end|>", "</s>", "<|im_<|im_end|>end|>", "<end_of_turn>\n<start_of_turn>user"])
@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_marks_of_chat_templates_in_a_loaded_chat_are_not_sent(server, tmp_path, mark, role):
    """A mark in any message of a file would end its turn, so it is left out of the request; the file keeps it."""
    texts = {"system": "Be kind.", "user": "Fit like?", "assistant": "Aye, fairly."}
    messages = [{"role": name, "content": text + mark * (name == role) + " And?"} for name, text in texts.items()]
    (tmp_path / "chat.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    with Terminal(tmp_path, server.url) as chat:
        chat.say(f"/load {tmp_path / 'chat.jsonl'}")
        chat.say("hello")
    sent = [message["content"] for message in server.asked[-1]["messages"]]
    assert [find_turn_mark(text) for text in sent] == [None] * 4
    assert rows(tmp_path)[0]["messages"][:3] == messages


@pytest.mark.parametrize("pasted", ["/reset\rmore", "/undo\rmore", "/save x.jsonl\rmore"])
def test_a_pasted_text_is_no_command(server, tmp_path, pasted):
    """Several lines that begin like a command are not run as one, because the other lines would be lost."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("hello")
        assert "a command has one line" in chat.say(pasted)
        assert "saw 3 messages" in chat.say("hello")
        assert "system: Be kind.\nAnd short." in chat.say("/system Be kind.\rAnd short.").replace("\r", "")
