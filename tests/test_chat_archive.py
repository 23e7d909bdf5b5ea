"""The files of chats: what is read, what is kept, what is taken away."""

import json
import stat

import pytest

from chat_archive import BadFile, read, write


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
