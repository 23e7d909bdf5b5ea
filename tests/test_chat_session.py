"""Sampling options, which messages fit the model's window, and how a chat is saved."""

import pytest

from doric.chat.conversation import Chat
from doric.chat.server import Address, Server
from doric.chat.session import Session, check_room, fit, parse_option
from doric.chat.terminal import Screen
from doric.core.errors import SettingsError
from doric.core.files import locked


@pytest.mark.parametrize(("name", "text"), [("seed", "1.5"), ("seed", "x"), ("top_p", "nan"), ("heat", "1")])
def test_an_option_out_of_range_is_refused(name, text):
    """A number of the wrong type, NaN and an unknown name are errors."""
    with pytest.raises(SettingsError):
        parse_option(name, text)


def test_a_limit_as_large_as_the_window_is_refused():
    """If max_tokens is not below the window, the error has both figures, and any value fits an unknown window."""
    check_room(3999, 4000)
    check_room(10**6, None)
    for limit in (4000, 5000):
        with pytest.raises(SettingsError, match=rf"max_tokens {limit:,} .* share 4,000 tokens"):
            check_room(limit, 4000)


def test_fitting_keeps_the_system_prompt_and_the_last_question():
    """The model always gets the system prompt and the last question, however small the window is."""
    roles = ["system", "user", "assistant", "user"]
    chat = [{"role": role, "content": role * 100} for role in roles]
    assert [message["role"] for message in fit(chat, 0, 1.0)] == ["system", "user"]


def session_with_an_answer(file):
    """A session of one question and its answer, which is not saved yet."""
    session = Session(Server(Address("http://127.0.0.1:9"), wait=0), Screen({}), file=file)
    session.chat.ask("hello")
    session.chat.answer("aye", complete=True)
    return session


def test_a_chat_file_that_is_locked_does_not_end_the_chat(tmp_path, capsys):
    """While another program writes the chat's file, one note says so, and the next answer is saved again."""
    file = tmp_path / "me.jsonl"
    session = session_with_an_answer(file)
    with locked(file):
        session.save()
        session.save()
    assert capsys.readouterr().err.count("another run is writing this file: this chat is in memory only]") == 1
    session.save()
    assert len(file.read_text().splitlines()) == 1


def test_a_chat_that_could_not_be_saved_is_saved_before_it_is_left(tmp_path, capsys):
    """A new chat replaces the old one only after one more try to save it; if that fails too, a note says so."""
    file = tmp_path / "me.jsonl"
    session = session_with_an_answer(file)
    with locked(file):
        session.save()
        session.switch(session.chat.copy())
    assert capsys.readouterr().err.count("this chat is in memory only]") == 2
    session.switch(Chat())
    assert [len(path.read_text().splitlines()) for path in tmp_path.glob("*.jsonl")] == [1]
