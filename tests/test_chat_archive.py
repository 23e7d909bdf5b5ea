"""The files of chats: what is read, what is kept, what is taken away."""

import json
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.chat.store import BadFile, forget, named, read, resume, write


@pytest.mark.parametrize(
    "row", [[], {}, {"messages": []}, {"messages": ["a"]}, {"messages": [{"role": "human", "content": "a"}]}]
)
def test_a_row_of_another_shape_is_refused(tmp_path, row):
    """A file whose last line is no chat is an error that names the file."""
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps(row))
    with pytest.raises(BadFile, match=r"x\.jsonl"):
        read(file)


def test_writing_keeps_what_it_does_not_know(tmp_path):
    """Lines of the file that are not this chat stay as they are, and so does the file's mode."""
    file = tmp_path / "mine.jsonl"
    file.write_text('not json\n{"a": 1}\n\n')
    file.chmod(0o644)
    row = {"messages": [], "meta": {"id": "me"}}
    write(file, row)
    write(file, {**row, "messages": [1]})
    assert file.read_text() == 'not json\n{"a": 1}\n{"messages": [1], "meta": {"id": "me"}}\n'
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    with pytest.raises(BadFile, match="cannot write"):
        write(tmp_path / "no" / "folder.jsonl", row)


ODD = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"


def test_only_a_line_feed_ends_a_line(tmp_path):
    """Characters that other programs take for line ends stand within a row, and the file is read and kept whole."""
    file = tmp_path / "mine.jsonl"
    other = json.dumps({"messages": [{"role": "user", "content": ODD}], "meta": {"id": "other"}}, ensure_ascii=False)
    file.write_text(other + "\n", encoding="utf-8")
    write(file, {"messages": [{"role": "assistant", "content": ODD}], "meta": {"id": "me"}})
    assert read(file).messages[0]["content"] == ODD
    assert file.read_text(encoding="utf-8").split("\n")[0] == other
    forget(file, "me")
    assert file.read_text(encoding="utf-8") == other + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all examples of a property: making a folder for each takes longer than the test."""
    return tmp_path_factory.mktemp("chats")


@given(st.text(max_size=20))
def test_what_is_written_is_read(folder, text):
    """Whatever a chat holds comes back."""
    file = folder / "x.jsonl"
    file.unlink(missing_ok=True)
    text = text.encode("utf-8", "replace").decode()
    write(file, {"messages": [{"role": "user", "content": text}], "meta": {"id": "me"}})
    assert read(file).messages[0]["content"] == text


def test_half_a_character_in_a_file_is_marked(tmp_path):
    """A lone surrogate, which JSON can spell, becomes a character that can be sent and written."""
    file = tmp_path / "x.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "a\\ud800b"}]}')
    assert read(file).messages[0]["content"] == "a\ufffdb"


def test_forgetting_what_is_not_there_makes_no_file(tmp_path):
    """A chat that was never kept leaves nothing when it is taken back."""
    forget(tmp_path / "x.jsonl", "me")
    assert list(tmp_path.iterdir()) == []


def test_an_emptied_chat_is_resumed_empty(tmp_path):
    """A chat whose only exchange was taken back goes on without a turn, under its own name."""
    write(tmp_path / "me.jsonl", {"messages": [{"role": "user", "content": "a"}], "meta": {"id": "me"}})
    forget(tmp_path / "me.jsonl", "me")
    assert (tmp_path / "me.jsonl").read_bytes() == b""
    assert (resume(tmp_path).id, resume(tmp_path).messages) == ("me", [])


def test_nobodys_home_is_said_so():
    """A ~ before a name that nobody has is a sentence."""
    with pytest.raises(BadFile, match="~nosuchuser"):
        named("~nosuchuser/x.jsonl")


def test_a_name_that_no_file_can_have_is_said_so():
    """Neither reading nor writing a name with a NUL in it is a traceback."""
    with pytest.raises(BadFile):
        read(named("a\0b"))
    with pytest.raises(BadFile):
        write(named("a\0b"), {"messages": [], "meta": {"id": "me"}})
