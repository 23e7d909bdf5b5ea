"""A chat as messages, as a row of the dataset, and as a line of a file."""

import json
import stat

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from doric.chat.store import Chat, read, read_latest, remove, user_path, write
from doric.core.errors import DoricError, InputError


def one_exchange(chat_id: str, text: str = "a") -> Chat:
    return Chat([{"role": "user", "content": text}, {"role": "assistant", "content": text}], id=chat_id)


# -- messages and rows


def test_the_system_prompt_moves_partial_answers():
    """If the system prompt is set or cleared, the marks of partial answers stay on the same answers."""
    chat = Chat()
    chat.ask("a")
    chat.answer("b", complete=False)
    chat.system = "s"
    assert chat.partial == {2}
    chat.system = ""
    assert (chat.partial, chat.turns) == ({1}, chat.messages)
    assert chat.drop_exchange() == "a"
    assert (chat.partial, chat.messages) == (set(), [])


def test_an_unanswered_question_is_replaced_and_not_kept():
    """If a question gets no answer, the next question replaces it, and no row contains it."""
    chat = Chat()
    chat.ask("a")
    chat.answer("b", complete=True)
    chat.ask("c")
    assert len(chat.row()["messages"]) == 2
    chat.ask("d")
    assert [message["content"] for message in chat.messages] == ["a", "b", "d"]


def test_a_training_row_gets_a_new_id():
    """If a chat continues a row that was not made by the chat, it does not replace that row."""
    row = {"messages": [{"role": "user", "content": "a"}], "meta": {"id": "abc", "group": "farming", "partial": 5}}
    assert Chat.from_row(row).id != "abc"
    assert Chat.from_row({**row, "meta": {"id": "../../x", "group": "chat"}}).id != "../../x"
    assert Chat.from_row({**row, "meta": {"id": "abc", "group": "chat", "partial": [0, 7, "x"]}}).partial == {0}


def test_a_row_is_saved_with_the_model_that_answered():
    """A loaded chat keeps the name of its model until another model has answered."""
    chat = Chat.from_row({"messages": [{"role": "user", "content": "a"}], "meta": {"backend": "gpt"}})
    assert chat.row()["meta"]["backend"] == "gpt"
    assert not chat.answered


def test_a_copy_is_independent():
    """Changes to a chat do not change an earlier copy of it."""
    chat = Chat()
    chat.ask("a")
    chat.answer("b", complete=False)
    before = chat.copy()
    chat.drop_answer()
    assert (before.turns[-1]["content"], before.partial, before.id) == ("b", {1}, chat.id)


# -- files


@pytest.mark.parametrize(
    "row", [[], {}, {"messages": []}, {"messages": ["a"]}, {"messages": [{"role": "human", "content": "a"}]}]
)
def test_a_row_of_another_shape_is_refused(tmp_path, row):
    """A file whose last line is not a chat is an error that names the file."""
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps(row))
    with pytest.raises(InputError, match=r"x\.jsonl"):
        read(file)


def test_writing_keeps_other_lines(tmp_path):
    """Saving a chat does not change other lines of the file or its mode, and it creates no folder."""
    file = tmp_path / "mine.jsonl"
    file.write_text('not json\n{"a": 1}\n\n')
    file.chmod(0o644)
    chat = one_exchange("me")
    write(file, chat)
    chat.ask("c")
    chat.answer("d", complete=True)
    write(file, chat)
    assert file.read_text() == f'not json\n{{"a": 1}}\n{json.dumps(chat.row())}\n'
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "no" / "folder.jsonl", chat)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.jsonl"]


def test_a_new_file_is_private(tmp_path):
    """Only the owner can read a new chat file."""
    write(tmp_path / "mine.jsonl", one_exchange("me"))
    assert stat.S_IMODE((tmp_path / "mine.jsonl").stat().st_mode) == 0o600


def test_a_link_stays_a_link(tmp_path):
    """If the path is a symbolic link, saving replaces the file that the link points to."""
    (tmp_path / "link.jsonl").symlink_to("mine.jsonl")
    write(tmp_path / "link.jsonl", one_exchange("me"))
    write(tmp_path / "link.jsonl", one_exchange("you"))
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len((tmp_path / "mine.jsonl").read_text().splitlines()) == 2


def test_a_file_that_is_being_written_is_refused(tmp_path):
    """Saving is an error while another program writes the file, so that no row is lost."""
    with FileLock(tmp_path / ".mine.jsonl.lock"), pytest.raises(DoricError, match="another run is writing"):
        write(tmp_path / "mine.jsonl", one_exchange("me"))


ODD = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"


def test_only_a_newline_ends_a_line(tmp_path):
    """A row may contain characters that other programs treat as line ends, and is still read and saved completely."""
    file = tmp_path / "mine.jsonl"
    other = json.dumps(one_exchange("other", ODD).row(), ensure_ascii=False)
    file.write_text(other + "\n", encoding="utf-8")
    mine = one_exchange("me", ODD)
    write(file, mine)
    assert read(file).messages[0]["content"] == ODD
    assert file.read_text(encoding="utf-8").split("\n")[0] == other
    remove(file, mine)
    assert file.read_text(encoding="utf-8") == other + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all examples of a property, because creating one per example takes longer than the test."""
    return tmp_path_factory.mktemp("chats")


@given(st.text(max_size=20))
def test_what_is_written_is_read(folder, text):
    """A text is read from the file exactly as it was written."""
    file = folder / "x.jsonl"
    file.unlink(missing_ok=True)
    text = text.encode("utf-8", "replace").decode()
    write(file, one_exchange("me", text))
    assert read(file).messages[0]["content"] == text


def test_a_lone_surrogate_in_a_file_is_replaced(tmp_path):
    """A lone surrogate, which JSON can express, is replaced with a character that can be sent and written."""
    file = tmp_path / "x.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "a\\ud800b"}]}')
    assert read(file).messages[0]["content"] == "a\ufffdb"


def test_removing_a_chat_that_was_never_kept_makes_no_file(tmp_path):
    """Removing a chat that was never saved leaves no file."""
    remove(tmp_path / "x.jsonl", one_exchange("me"))
    assert list(tmp_path.iterdir()) == []


def test_an_emptied_chat_is_resumed_empty(tmp_path):
    """If the only exchange of a chat is removed, the chat continues without messages and keeps its id."""
    write(tmp_path / "me.jsonl", one_exchange("me"))
    remove(tmp_path / "me.jsonl", one_exchange("me"))
    assert (tmp_path / "me.jsonl").read_bytes() == b""
    assert (read_latest(tmp_path).id, read_latest(tmp_path).messages) == ("me", [])


def test_an_unknown_home_folder_is_an_error():
    """A ~ with an unknown user name is an error without a traceback."""
    with pytest.raises(InputError, match="~nosuchuser"):
        user_path("~nosuchuser/x.jsonl")


def test_an_impossible_file_name_is_an_error():
    """Reading or writing a file name with a NUL is an error without a traceback."""
    with pytest.raises(InputError):
        read(user_path("a\0b"))
    with pytest.raises(InputError):
        write(user_path("a\0b"), one_exchange("me"))
