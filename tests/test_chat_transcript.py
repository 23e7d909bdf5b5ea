"""The turns of a chat: what is in a row, what fits, and what stays together."""

from doric.chat.transcript import Transcript, fit, from_row


def test_a_chat_keeps_its_system_prompt_and_marks_apart():
    """Setting and clearing the system prompt moves the marks of partial answers with the answers."""
    chat = Transcript()
    chat.ask("a")
    chat.answer("b", whole=False)
    chat.system = "s"
    assert chat.partial == {2}
    chat.system = ""
    assert (chat.partial, chat.turns) == ({1}, chat.messages)
    assert chat.drop_exchange() == "a"
    assert (chat.partial, chat.messages) == (set(), [])


def test_an_unanswered_question_is_replaced_and_not_kept():
    """Turns alternate whatever fails: an open question gives way to the next, and is in no row."""
    chat = Transcript()
    chat.ask("a")
    chat.answer("b", whole=True)
    chat.ask("c")
    assert len(chat.row()["messages"]) == 2
    chat.ask("d")
    assert [message["content"] for message in chat.messages] == ["a", "b", "d"]


def test_a_training_row_gets_an_id_of_its_own():
    """A row that did not come from a chat is never replaced by the chat that grew out of it."""
    row = {"messages": [{"role": "user", "content": "a"}], "meta": {"id": "abc", "group": "farming", "partial": 5}}
    assert from_row(row).id != "abc"
    assert from_row({**row, "meta": {"id": "../../x", "group": "chat"}}).id != "../../x"
    assert from_row({**row, "meta": {"id": "abc", "group": "chat", "partial": [0, 7, "x"]}}).partial == {0}


def test_fitting_keeps_the_system_prompt_and_the_last_question():
    """However small the budget, the model sees its instructions and what it was asked."""
    roles = ["system", "user", "assistant", "user"]
    chat = [{"role": role, "content": role * 100} for role in roles]
    assert [message["role"] for message in fit(chat, 0, 1.0)] == ["system", "user"]


def test_a_row_is_saved_with_the_model_that_answered():
    """A chat that was loaded keeps the name of its model until another one answers."""
    chat = from_row({"messages": [{"role": "user", "content": "a"}], "meta": {"backend": "gpt"}})
    assert chat.row()["meta"]["backend"] == "gpt"
    assert not chat.answered


def test_a_copy_is_apart():
    """What happens to a chat does not happen to a copy made before."""
    chat = Transcript()
    chat.ask("a")
    chat.answer("b", whole=False)
    before = chat.copy()
    chat.drop_answer()
    assert (before.turns[-1]["content"], before.partial, before.id) == ("b", {1}, chat.id)
