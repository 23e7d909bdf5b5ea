"""A chat as messages, as a row of the dataset, and as a line of a file."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from doric.chat.conversation import Chat, as_sent, readable
from doric.chat.store import Diverged, keep, next_id, read, read_latest, user_path, write
from doric.core.conversations import to_sharegpt
from doric.core.errors import DoricError, InputError
from doric.core.journal import Journal


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


OTHER = '{"messages": [{"role": "user", "content": "b"}], "a": 1}'


def test_writing_keeps_other_lines(tmp_path):
    """Saving a chat does not change other rows of the file or its mode, and it creates no folder."""
    file = tmp_path / "mine.jsonl"
    file.write_text(f"{OTHER}\n")
    file.chmod(0o644)
    chat = one_exchange("me")
    write(file, chat)
    chat.ask("c")
    chat.answer("d", complete=True)
    write(file, chat)
    assert file.read_text() == f"{OTHER}\n{json.dumps(chat.row())}\n"
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
    mine.messages.clear()
    mine.kept = [{"role": "user", "content": ODD}, {"role": "assistant", "content": ODD}]
    keep(file, mine)
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
    keep(tmp_path / "x.jsonl", Chat(id="me"))
    assert list(tmp_path.iterdir()) == []


def test_an_emptied_chat_is_resumed_empty(tmp_path):
    """If the only exchange of a chat is removed, the chat continues without messages and keeps its id."""
    chat = one_exchange("me")
    keep(tmp_path / "me.jsonl", chat)
    chat.messages.clear()
    keep(tmp_path / "me.jsonl", chat)
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


# -- files that must not be damaged


def test_a_model_gets_no_character_that_nobody_sees():
    """Control characters, byte-order marks and escape sequences are removed, and halves of an emoji are joined."""
    chat = Chat()
    chat.ask("\ufeffa\x00b\x1a\x1b[31mc\r\nd\re\u2028f\u202eg\ud83d\ude00\ud83d")
    chat.system = "s\x07\ufeff"
    assert [message["content"] for message in chat.messages] == ["s", "abc\nd\ne\nfg\N{GRINNING FACE}\ufffd"]


FOREIGN = {
    ".env": b"OPENAI_API_KEY=sk-1\n",
    "id_ed25519": b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
    "tool.py": b"import os\n",
    "__init__.py": b"",
    "package.json": b'{\n  "name": "x"\n}\n',
    "config.json": b'{"model": "x"}\n',
    "account.json": b'{"type": "service_account", "private_key": "x"}',
    "notes.txt": b"buy neeps",
    "list.jsonl": b"[1, 2]\n",
    "sharegpt.jsonl": b'{"conversations": [{"from": "human", "value": "a"}]}\n',
    "torn.jsonl": b'{"messages": [{"role": "user", "content": "a"}]}\n{"messages": [{"ro',
    "nan.jsonl": b'{"messages": NaN}\n',
    "infinity.jsonl": b'{"messages": [{"role": "user", "content": "a"}], "weight": Infinity}\n',
    "two_keys.jsonl": b'{"messages": [{"role": "user", "content": "a"}], "n": 1, "n": 2}\n',
    "slack.jsonl": b'{"messages": [{"type": "message", "user": "U1", "text": "a"}]}\n',
    "settings.json": b'{"name": "x", "messages": []}\n',
    "deep.jsonl": b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "binary.bin": b"\x00\xff\xfe",
    "utf16.jsonl": '{"messages": []}'.encode("utf-16"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_another_kind_is_never_changed(tmp_path, name):
    """/save refuses settings, keys, programs and torn files, also through a link, and leaves nothing beside them."""
    file = tmp_path / name
    file.write_bytes(FOREIGN[name])
    (tmp_path / "link.jsonl").symlink_to(name)
    for path in (file, tmp_path / "link.jsonl"):
        with pytest.raises(InputError, match=re.escape(name)):
            write(path, one_exchange("me"))
    assert file.read_bytes() == FOREIGN[name]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "link.jsonl"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('"n": 1e400', "the number 1e400 is too large"), ('"n": 1, "n": 2', "duplicate key 'n'"),
        (r'"s": "\ud83d"', r"half a character: \ud83d"), (f'"n": {"1" * 5000}', "a number of 5,000 digits"),
    ],
    ids=["number", "key", "surrogate", "digits"],
)  # fmt: skip
def test_a_row_that_would_lose_something_is_named_with_its_fault(tmp_path, more, said):
    """A row of messages that cannot be written again exactly is refused for what it would lose, not as another kind."""
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"messages": [{{"role": "user", "content": "a"}}], {more}}}\n')
    with pytest.raises(InputError, match=rf"rows\.jsonl:1: {re.escape(said)}") as caught:
        write(file, one_exchange("me"))
    assert "no row" not in caught.value.message


@pytest.mark.parametrize("host", ["", "localhost", socket.gethostname()])
def test_the_address_of_a_dropped_file_is_its_path(tmp_path, host):
    """A file URI of this machine, as some terminals write it, is the path, with its blanks and signs."""
    for name in ("a b.jsonl", "100%.jsonl", "fit?like#noo.jsonl", "é.jsonl"):
        assert user_path(f"file://{host}{quote(str(tmp_path / name))}") == tmp_path / name


@pytest.mark.parametrize("uri", ["file://elsewhere/x.jsonl", "file:x.jsonl", "FILE://nas/x y"])
def test_the_address_of_a_file_elsewhere_is_refused_with_the_reason(uri):
    """A file URI of another machine or without a whole path is an error that says so."""
    with pytest.raises(InputError, match="not on this machine") as caught:
        user_path(uri)
    assert "without file://" in caught.value.hint


@pytest.mark.parametrize("name", [".env", ".bashrc", "no/folder.jsonl", "n" * 300 + ".jsonl"])
def test_an_unsuitable_new_file_is_not_created(tmp_path, name):
    """No hidden file, no folder and no file with an impossible name is created."""
    with pytest.raises(InputError):
        write(tmp_path / name, one_exchange("me"))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_of_rows_is_used(tmp_path):
    """An empty file whose name says that it is for rows can be written."""
    (tmp_path / "mine.jsonl").touch()
    write(tmp_path / "mine.jsonl", one_exchange("me"))
    assert read(tmp_path / "mine.jsonl").id == "me"


def test_a_link_to_another_folder_is_refused(tmp_path):
    """A link that leads out of its folder is refused, also if there is no file yet, and the error names the target."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.jsonl").symlink_to("../theirs.jsonl")
    for _ in range(2):
        with pytest.raises(InputError, match=r"it is a link to .*theirs\.jsonl"):
            write(tmp_path / "here" / "mine.jsonl", one_exchange("me"))
        write(tmp_path / "theirs.jsonl", one_exchange("you"))
    assert read(tmp_path / "theirs.jsonl").id == "you"


@pytest.mark.parametrize("kind", ["folder", "pipe", "/dev/null", "/dev/full", "/dev/zero"])
def test_only_regular_files_are_read_and_written(tmp_path, kind):
    """A folder, a pipe or a device is refused at once, and the program does not wait for it."""
    path = tmp_path / kind  # an absolute path replaces the folder
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    for use in (read, lambda file: write(file, one_exchange("me"))):
        with pytest.raises(InputError, match=r"not a regular file|it is a directory"):
            use(path)


def test_the_output_of_a_running_generator_is_refused(tmp_path):
    """A journal that another run has open is not changed, so that neither loses a row."""
    file = tmp_path / "rows.jsonl"
    with Journal(file) as journal:
        journal.write(one_exchange("first").row())
        with pytest.raises(DoricError, match="another run is writing"):
            write(file, one_exchange("me"))
        journal.write(one_exchange("second").row())
    assert [json.loads(line)["meta"]["id"] for line in file.read_text().splitlines()] == ["first", "second"]


def test_a_line_that_lacks_its_newline_is_kept(tmp_path):
    """If the last row of a file has no newline, the chat still becomes a line of its own."""
    file = tmp_path / "mine.jsonl"
    file.write_text(OTHER)
    write(file, one_exchange("me"))
    assert file.read_text() == f"{OTHER}\n{json.dumps(one_exchange('me').row())}\n"


def test_a_row_that_loses_messages_is_copied_first(tmp_path):
    """If /save would drop messages of the earlier row, the file is copied to a new name each time."""
    file = tmp_path / "mine.jsonl"
    write(file, one_exchange("me", "a"))
    longer = one_exchange("me", "a")
    longer.ask("b")
    longer.answer("c", complete=True)
    assert write(file, longer) is None
    before = [file.read_bytes()]
    assert write(file, one_exchange("me", "a")) == tmp_path / "mine.jsonl.bak"
    before.append(file.read_bytes())
    assert write(file, one_exchange("me", "x")) == tmp_path / "mine.jsonl.bak.2"
    copies = [tmp_path / "mine.jsonl.bak", tmp_path / "mine.jsonl.bak.2"]
    assert [copy.read_bytes() for copy in copies] == before
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, *copies)] == [0o600] * 3
    assert len(file.read_text().splitlines()) == 1


def limited(size: int, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code that may not write files of more than `size` bytes, which fails as on a full disk."""
    limit = f"import resource, signal; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
    ignore = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    more = {"capture_output": True, "text": True, "timeout": 60}
    return subprocess.run([sys.executable, "-c", limit + ignore + code, str(folder)], **more)


SAVE = """
import sys; from pathlib import Path; from doric.chat import store; from doric.chat.conversation import Chat
chat = Chat([{"role": "user", "content": "a secret"}, {"role": "assistant", "content": "aye " * 2000}], id="me")
for save in (store.keep, store.write):
    try:
        save(Path(sys.argv[1]) / "mine.jsonl", chat)
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    """If the disk is full, the file keeps its rows, and no part of the chat is left beside it."""
    done = limited(4000, SAVE, tmp_path)
    assert done.stdout.count("InputError") == 2, done.stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine.jsonl").write_text(f"{OTHER}\n")
    done = limited(4000, SAVE, tmp_path)
    assert done.stdout.count("the file would exceed the size limit") == 2, done.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == [f"{OTHER}\n"]


def test_two_sessions_on_one_chat_keep_both_versions(tmp_path):
    """A session does not replace messages that another session has added to the same chat."""
    file = tmp_path / "20261128-101500-abc123.jsonl"
    chat = one_exchange(file.stem)
    keep(file, chat)
    mine, theirs = read(file), read(file)
    for session, text in ((mine, "mine"), (theirs, "theirs")):
        session.ask(text)
        session.answer(text, complete=True)
    keep(file, mine)
    with pytest.raises(Diverged):
        keep(file, theirs)
    theirs.id, theirs.kept = next_id(tmp_path, theirs.id), []
    keep(tmp_path / f"{theirs.id}.jsonl", theirs)
    assert [read(path).messages[-1]["content"] for path in sorted(tmp_path.glob("*.jsonl"))] == ["theirs", "mine"]
    assert next_id(tmp_path, theirs.id) == f"{file.stem}-3"


def test_own_changes_are_no_other_session(tmp_path):
    """A session may shorten or change its own chat: the file then has what the session has."""
    file = tmp_path / "me.jsonl"
    chat = one_exchange("me")
    chat.ask("b")
    chat.answer("c", complete=True)
    keep(file, chat)
    again = read(file)
    again.drop_answer()
    again.answer("d", complete=True)
    keep(file, again)
    again.drop_exchange()
    keep(file, again)
    assert read(file).messages == one_exchange("me").messages


def test_a_row_of_either_format_is_read(tmp_path):
    """/load accepts a row of the dataset and a row of ShareGPT, also with a byte-order mark."""
    for number, row in enumerate((one_exchange("me").row(), to_sharegpt(one_exchange("me").row()))):
        file = tmp_path / f"{number}.jsonl"
        file.write_bytes(b"\xef\xbb\xbf" + json.dumps(row).encode() + b"\n\n")
        assert read(file).messages == one_exchange("me").messages


def test_rows_of_other_programs_are_read(tmp_path):
    """Text in parts is joined, and a developer is the system."""
    turns = [{"role": "developer", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "a"}]}]
    (tmp_path / "x.jsonl").write_text(json.dumps({"messages": turns}))
    assert read(tmp_path / "x.jsonl").messages == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
    ]


def test_a_model_gets_no_answer_without_text():
    """An answer of reasoning or of marks alone is left out, and the questions around it become one."""
    turns = [
        ("user", "a"),
        ("assistant", "<think>b</think>"),
        ("user", "c"),
        ("assistant", "<|im_end|>"),
        ("user", "d"),
    ]
    messages = [{"role": role, "content": content} for role, content in turns]
    assert as_sent(messages) == [{"role": "user", "content": "a\n\nc\n\nd"}]


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("hi\U000e0101\U000e0110 a\ufe0f", "hi a"),
        ("\u2764\ufe0f\ufe01\U000e0101 1\ufe0f\u20e3", "\u2764\ufe0f 1\ufe0f\u20e3"),
        ("\u845b\U000e0101 \u2139\ufe0f 0\ufe00", "\u845b\U000e0101 \u2139\ufe0f 0\ufe00"),
        ("een\r\r\ntwa\n\rthree\r\n\r\nfower", "een\ntwa\nthree\n\nfower"),
    ],
    ids=ascii,
)
def test_variation_selectors_are_sent_where_they_change_a_glyph(typed, sent):
    """A selector after an emoji, a keycap or an ideograph stays, and elsewhere it is not sent; line ends are single."""
    assert readable(typed) == sent


def test_a_model_gets_turns_that_alternate():
    """Messages of one role in a row are sent as one, and reasoning in an answer is not sent; the chat keeps both."""
    given = [("user", "a"), ("user", "b"), ("assistant", "<think>hm</think>c"), ("assistant", "d"), ("user", "e")]
    messages = [{"role": role, "content": text} for role, text in given]
    assert [message["content"] for message in as_sent(messages)] == ["a\n\nb", "c\n\nd", "e"]
    assert messages[0]["content"] == "a"


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("'a b.jsonl'", "a b.jsonl"), ('"a b.jsonl"', "a b.jsonl"), (r"a\ b.jsonl", "a b.jsonl"),
        ("a b.jsonl", "a b.jsonl"), ("it's.jsonl", "it's.jsonl"), ("'kept'", "'kept'"),
    ],
)  # fmt: skip
def test_a_dropped_file_is_found(tmp_path, monkeypatch, typed, name):
    """The quotes and backslashes that a terminal writes around a dropped file are no part of its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "'kept'").touch()
    assert user_path(typed) == Path(name)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"# Doric\n\nA README\n", r"x\.md:3: not a chat: the line is not JSON"),
        (b"{}\n\xff", r"x\.md:2: not a chat: the line is not UTF-8 text"),
        (b"[" * 100_000, r"x\.md:1: not a chat: the line is not JSON"),
        (b'{"conversations": [{"from": "bot", "value": "a"}]}', r"x\.md:1: not a chat: .*from"),
        (b'{"messages": [{"role": "tool", "content": "a"}]}', r"x\.md:1: not a chat: .*role must be one of"),
        (b'{"messages": [{"role": "user", "content": null}]}', r"x\.md:1: not a chat: .*content must be a string"),
        (b"\n \n", "the file is empty"),
    ],
)
def test_a_file_that_is_no_chat_is_explained(tmp_path, content, said):
    """The error for a file that is no chat names its last line and says what a chat file is."""
    (tmp_path / "x.md").write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path / "x.md")
    assert "JSON object per line" in caught.value.hint or "empty" in said
