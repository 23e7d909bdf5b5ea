"""The chat as users run it: one question through a pipe, and a conversation in a real pseudo-terminal."""

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator

import pytest

from chat_mock import WINDOW, ChatMock
from chat_terminal import CLI, Terminal, ask, environment, rows, until
from doric.core.conversations import check_row, to_sharegpt


@pytest.fixture
def server() -> Iterator[ChatMock]:
    with ChatMock() as mock:
        yield mock


# -- one question ------------------------------------------------------------------------------------------------------


def test_one_question_prints_only_its_answer(server, tmp_path):
    """The answer to a question in an argument is the only text on standard output, and standard error is empty."""
    done = ask(tmp_path, server.url, "Fit", "like?")
    assert (done.returncode, done.stdout, done.stderr) == (0, "doric saw 1 messages, system none.\n", "")
    assert server.asked[0]["messages"] == [{"role": "user", "content": "Fit like?"}]
    assert rows(tmp_path) == []


def test_standard_input_is_the_question(server, tmp_path):
    """Without an argument, the whole pipe is read as one message, with its line ends."""
    done = ask(tmp_path, server.url, piped=b"repeat foo\nfit\nfar")
    assert (done.returncode, done.stdout) == (0, "foo\nfit\nfar \n")


def test_a_dash_stands_for_standard_input(server, tmp_path):
    """The text from the pipe replaces the `-` in the arguments."""
    done = ask(tmp_path, server.url, "repeat", "-", piped=b"aye aye")
    assert done.stdout == "aye aye \n"


def test_words_leave_standard_input_alone(server, tmp_path):
    """If the question is an argument, the program does not wait for a pipe that stays open."""
    reader, writer = os.pipe()
    with contextlib.closing(os.fdopen(writer, "wb")):
        done = subprocess.run(
            [sys.executable, CLI, "hello"], stdin=reader, env=environment(tmp_path, server.url), timeout=30, check=True
        )
    os.close(reader)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("edge", "env", "said"),
    [
        (False, {}, "VLLM_API_KEY is not set (Unauthorized)\nhint: Put the key into .env"),
        (False, {"VLLM_API_KEY": "sk-wrong"}, "VLLM_API_KEY was refused"),
        (True, {}, "MODAL_KEY and MODAL_SECRET are not both set"),
        (True, {"MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-sk-wrong"}, "go only to https://*.modal.run"),
    ],
)
def test_a_refused_key_is_named_at_once(server, tmp_path, edge, env, said):
    """A 401 ends the program without a retry, and the error names the wrong variable but never shows its value."""
    server.manners.key, server.manners.edge = "sk-right", edge
    done = ask(tmp_path, server.url, "hello", **env)
    assert (done.returncode, done.stdout, len(server.paths)) == (2, "", 1)
    assert said in done.stderr
    assert "sk-wrong" not in done.stderr


def test_a_key_that_cannot_be_sent_is_named(server, tmp_path):
    """A key with an invalid character gives an error message without a traceback."""
    done = ask(tmp_path, server.url, "hello", VLLM_API_KEY="sk-…")
    assert (done.returncode, "VLLM_API_KEY" in done.stderr, "sk-" in done.stderr) == (2, True, False)


def test_the_adapter_is_chosen_and_not_the_base(server, tmp_path):
    """If no model is chosen, the adapter called doric answers, although the server lists the base model first."""
    ask(tmp_path, server.url, "hello")
    ask(tmp_path, server.url, "hello", VLLM_MODEL="doric-base")
    assert [body["model"] for body in server.asked] == ["doric", "doric-base"]


def test_a_model_that_is_not_served_is_named(server, tmp_path):
    """The server's error is shown together with the names of the server's models."""
    done = ask(tmp_path, server.url, "hello", VLLM_MODEL="gpt")
    assert (done.returncode, done.stdout) == (2, "")
    assert "`gpt` does not exist" in done.stderr
    assert "served here: doric-base, other, doric" in done.stderr


def test_a_conversation_begins_with_a_warning_about_its_model(server, tmp_path):
    """A model in VLLM_MODEL that the server does not list is named at the start, once, with the models it lists."""
    with Terminal(tmp_path, server.url, VLLM_MODEL="gpt", columns=200) as chat:
        chat.expect("does not list gpt, only doric-base, other, doric")
        chat.ready(2)
        assert "does not list" not in chat.say("/model doric")
        assert "doric saw 1 messages" in chat.say("hello")
    server.manners.models = [{"id": "gpt:latest"}]
    with Terminal(tmp_path, server.url, VLLM_MODEL="gpt", columns=200) as chat:
        assert "gpt:latest saw 1 messages" in chat.say("hello")
        assert "does not list" not in chat.text


def test_a_question_typed_before_the_list_of_models_has_its_warning_too(server, tmp_path):
    """If the first question is typed while the server starts, the warning about the model comes with it, once."""
    server.manners.first = [(503, "")] * 4
    with Terminal(tmp_path, server.url, VLLM_MODEL="gpt", columns=200) as chat:
        assert chat.say("hello").count("does not list gpt, only doric-base, other, doric") == 1
        assert "does not list gpt" not in chat.say("hello")
    server.manners.first = [(503, "")]
    assert "warning: 127.0.0.1" in ask(tmp_path, server.url, "hello", VLLM_MODEL="gpt").stderr


def test_blanks_around_the_name_of_a_model_are_no_part_of_it(server, tmp_path):
    """A name in VLLM_MODEL with blanks around it is the name that the server lists."""
    done = ask(tmp_path, server.url, "hello", VLLM_MODEL=" doric ")
    assert (done.stdout, done.stderr) == ("doric saw 1 messages, system none.\n", "")


def test_a_model_need_not_be_listed(server, tmp_path):
    """If the server lists no model, the request names the model in VLLM_MODEL, if that variable is set."""
    server.manners.models = []
    assert ask(tmp_path, server.url, "hello", VLLM_MODEL="./local").stdout == "./local saw 1 messages, system none.\n"
    for status in (404, 500):
        server.manners.first = [(status, "")]
        assert ask(tmp_path, server.url, "hello", VLLM_MODEL="./local").returncode == 0
    unnamed = ask(tmp_path, server.url, "hello")
    assert (unnamed.returncode, "set VLLM_MODEL" in unnamed.stderr) == (2, True)


def test_a_server_that_starts_is_waited_for(server, tmp_path):
    """The client waits after a 503 or Modal's 303, fetches the target of the 303, and sends the question once."""
    server.manners.first = [(503, ""), (502, ""), (303, "/v1/models?again=1"), (504, "")]
    done = ask(tmp_path, server.url, "hello")
    assert (done.returncode, done.stdout) == (0, "doric saw 1 messages, system none.\n")
    assert "/v1/models?again=1" in server.paths
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_yet_is_waited_for(tmp_path):
    """A refused connection is retried until the server is up, and standard error shows the seconds."""
    with ChatMock() as first:
        port = first.server_port
    process = subprocess.Popen(
        [sys.executable, CLI, "hello", "--wait", "60"],
        env=environment(tmp_path, f"http://127.0.0.1:{port}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    waiting = process.stderr.readline()
    with ChatMock(port=port):
        out, _ = process.communicate(timeout=30)
    assert re.fullmatch(r"waiting for 127\.0\.0\.1:\d+ \(connection refused\) … \d s\n", waiting)
    assert (process.returncode, out) == (0, "doric saw 1 messages, system none.\n")


def test_waiting_ends(tmp_path):
    """If no server answers within --wait, the program reports this and exits with 1."""
    with ChatMock() as gone:
        url = gone.url
    done = ask(tmp_path, url, "hello", "--wait", "0.5")
    assert (done.returncode, "no answer from" in done.stderr) == (1, True)


def test_twenty_redirects_are_followed_and_no_more(server, tmp_path):
    """A cold start may redirect twenty times, but an endless redirect loop is an error."""
    server.manners.first = [(303, "/v1/models")] * 20
    assert ask(tmp_path, server.url, "hello").returncode == 0
    server.manners.first = [(303, "/v1/models")] * 21
    done = ask(tmp_path, server.url, "hello")
    assert (done.returncode, "more than 20 times" in done.stderr) == (2, True)


def test_keys_are_not_handed_to_another_host(server, tmp_path):
    """A redirect to another server is refused, and nothing is sent to that server."""
    with ChatMock() as stranger:
        server.manners.first = [(307, f"{stranger.url}/v1/models")]
        done = ask(tmp_path, server.url, "hello", VLLM_API_KEY="sk-mine")
        assert (done.returncode, stranger.paths) == (2, [])
    assert "redirects to" in done.stderr


@pytest.mark.parametrize("word", ["die", "fail"])
def test_a_broken_answer_exits_1(server, tmp_path, word):
    """If the stream breaks, the received part is printed, the question is not sent again, and the exit code is 1."""
    done = ask(tmp_path, server.url, word)
    assert (done.returncode, done.stdout, len(server.asked)) == (1, "Aye weel, I\n", 1)
    assert "broke off" in done.stderr


def test_an_empty_answer_exits_1(server, tmp_path):
    """An empty answer is an error."""
    done = ask(tmp_path, server.url, "empty")
    assert (done.returncode, done.stdout, "empty" in done.stderr) == (1, "", True)


def test_escape_sequences_do_not_reach_the_terminal(server, tmp_path):
    """Escape sequences in an answer cannot control the terminal or the clipboard, even if they arrive in pieces."""
    assert ask(tmp_path, server.url, "escape").stdout == "red clearedblink over done\n"


def test_a_message_longer_than_the_window_is_an_error(server, tmp_path):
    """A message that is longer than the window is an error, and the hint has the window size that the server gave."""
    done = ask(tmp_path, server.url, piped=b"x" * 5000)
    assert (done.returncode, done.stdout) == (2, "")
    assert "too long" in done.stderr
    assert "4000" in done.stderr


@pytest.mark.parametrize(("piped", "said"), [(b"", "no question"), (b" \n", "no question"), (b"\xff", "not UTF-8")])
def test_no_question_exits_2(server, tmp_path, piped, said):
    """A question that is empty or not UTF-8 is never sent to the server."""
    done = ask(tmp_path, server.url, piped=piped)
    assert (done.returncode, said in done.stderr, server.asked) == (2, True, [])


def test_a_closed_standard_input_is_no_input(server, tmp_path):
    """If standard input is closed, a question given as an argument is still answered."""
    command = f'exec "{sys.executable}" "{CLI}" hello <&-'
    done = subprocess.run(["sh", "-c", command], env=environment(tmp_path, server.url), capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_one_question_needs_no_place_to_write(server, tmp_path):
    """If no folder can be created, a single question is still answered, but --resume gives an error."""
    assert ask(tmp_path, server.url, "hello", XDG_STATE_HOME=os.devnull).returncode == 0
    resumed = ask(tmp_path, server.url, "--resume", "hello", XDG_STATE_HOME=os.devnull)
    assert (resumed.returncode, "cannot be created" in resumed.stderr) == (2, True)


def test_a_question_with_few_tokens_is_answered(server, tmp_path):
    """If an answer stops at max_tokens, the exit code is 0, and a note appears only on standard error."""
    done = ask(tmp_path, server.url, "hello", "--set", "max_tokens=5")
    assert (done.returncode, done.stdout) == (0, "doric saw 1 messages, system none.\n")
    assert done.stderr == "[cut: no tokens left for more]\n"


def test_options_and_system_prompt_reach_the_server(server, tmp_path):
    """The values of --set and --system are sent, and the error for a value out of range shows the range."""
    ask(tmp_path, server.url, "hello", "--set", "temperature=0.3", "--set", "max_tokens=50", "--system", "Spik.")
    body = server.asked[0]
    assert (body["temperature"], body["max_tokens"]) == (0.3, 50)
    assert body["messages"][0] == {"role": "system", "content": "Spik."}
    refused = ask(tmp_path, server.url, "hello", "--set", "temperature=9")
    assert (refused.returncode, "from 0 to 2" in refused.stderr) == (2, True)


def test_a_limit_that_leaves_no_room_exits_2(server, tmp_path):
    """If max_tokens is as large as the window, an error names both figures and no request is sent."""
    done = ask(tmp_path, server.url, "hello", "--set", "max_tokens=5000")
    assert (done.returncode, server.asked) == (2, [])
    assert "max_tokens 5,000 leaves no room for a question: question and answer share 4,000 tokens" in done.stderr


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e300", "ages", ""])
def test_an_invalid_waiting_time_exits_2(server, tmp_path, text):
    """--wait accepts seconds up to one day, and the error for any other value names --wait."""
    done = ask(tmp_path, server.url, "hello", "--wait", text)
    assert (done.returncode, "--wait" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_invalid_characters_are_replaced(server, tmp_path):
    """Bytes of an argument that are not UTF-8, and lone surrogates in a pipe, are replaced with U+FFFD."""
    argv = [os.fsencode(sys.executable), os.fsencode(CLI), b"repeat a\xffb", b"-"]
    env = environment(tmp_path, server.url)
    done = subprocess.run(argv, input=b"c\xed\xa0\x80d", env=env, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    content = server.asked[0]["messages"][0]["content"]
    assert re.fullmatch("repeat a\ufffdb c\ufffd+d", content)


def test_interrupted_it_exits_130(server, tmp_path):
    """Ctrl-C stops the answer, keeps the printed part and closes the stream, so that the server also stops."""
    server.manners.pause = 0.05
    process = subprocess.Popen(
        [sys.executable, CLI, "long"], env=environment(tmp_path, server.url), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.read(6) == "wird0 "
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    until(lambda: server.aborted == 1)


def test_a_closed_pipe_exits_141(server, tmp_path):
    """`chat_cli.py ... | head -c 5` ends without a traceback, with the exit code of SIGPIPE."""
    server.manners.pause = 0.01
    process = subprocess.Popen(
        [sys.executable, CLI, "long"],
        env=environment(tmp_path, server.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    process.stdout.read(5)
    process.stdout.close()
    assert (process.wait(20), process.stderr.read()) == (141, b"")
    process.stderr.close()


# -- a conversation ----------------------------------------------------------------------------------------------------


def test_a_conversation_is_remembered_and_kept(server, tmp_path):
    """Each question is sent with the earlier turns, and each answer updates the chat on disk, a row of the dataset."""
    with Terminal(tmp_path, server.url) as chat:
        assert "saw 1 messages" in chat.say("hello")
        assert "saw 3 messages" in chat.say("aye")
        check_row(rows(tmp_path)[0])
        assert "saw 5 messages" in chat.say("na")
        assert chat.leave() == 0
    (row,) = rows(tmp_path)
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"] * 3
    assert to_sharegpt(row)["conversations"][1]["value"] == "doric saw 1 messages, system none."
    (file,) = (tmp_path / "doric" / "chats").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_retry_undo_system_and_reset(server, tmp_path):
    """The user can retry or remove the last answer, set and clear the system prompt, and start a new chat."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("hello")
        chat.say("repeat ae thing")
        assert "> repeat ae thing" in chat.say("/retry")
        assert [len(body["messages"]) for body in server.asked] == [1, 3, 3]
        assert "removed: repeat ae thing" in chat.say("/undo")
        assert "system: Spik Doric." in chat.say("/system Spik Doric.")
        assert "doric saw 4 messages, system Spik Doric.." in chat.say("hello again")
        assert "with the same system prompt" in chat.say("/reset")
        assert "saw 2 messages, system Spik Doric." in chat.say("new")
        assert "no system prompt" in chat.say("/system -")
        assert "nothing to undo" in chat.say("/undo") + chat.say("/undo")
        assert "nothing to ask again" in chat.say("/retry")


def test_save_and_load(server, tmp_path):
    """/save adds the chat to a dataset file, only once even if it is repeated, and /load continues the chat."""
    dataset = tmp_path / "mine.jsonl"
    dataset.write_text('{"messages": [{"role": "user", "content": "a"}], "meta": {"id": "other"}}\n')
    with Terminal(tmp_path, server.url) as chat:
        chat.say("hello")
        chat.say(f"/save {dataset}")
        chat.say("aye")
        chat.say(f"/save {dataset}")
        chat.say("/reset")
        assert "4 messages" in chat.say(f"/load {dataset}")
        assert "saw 5 messages" in chat.say("na")
        assert "cannot be read" in chat.say("/load nosuch.jsonl")
        assert "kept in" in chat.say("/save")
    saved = [json.loads(line) for line in dataset.read_text().splitlines()]
    assert [len(row["messages"]) for row in saved] == [1, 4]


def test_resume_continues_the_last_chat(server, tmp_path):
    """--resume shows the end of the last chat and continues its file."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("first")
        chat.leave()
    with Terminal(tmp_path, server.url, "--resume") as chat:
        assert "> first" in chat.text
        assert "saw 3 messages" in chat.say("second")
        chat.leave()
    assert [len(row["messages"]) for row in rows(tmp_path)] == [4]
    assert "saw 5 messages" in ask(tmp_path, server.url, "--resume", "third").stdout
    assert [len(row["messages"]) for row in rows(tmp_path)] == [6]
    nothing = ask(tmp_path / "else", server.url, "--resume", "hello")
    assert (nothing.returncode, "there is no chat" in nothing.stderr) == (2, True)


def test_model_set_and_stats(server, tmp_path):
    """During a chat the user can change the model, set and unset options, and show the statistics."""
    with Terminal(tmp_path, server.url) as chat:
        assert "doric, 4,000 tokens, adapts doric-base" in chat.say("/model")
        chat.say("/model other")
        assert "other saw" in chat.say("hello")
        assert "there is no model 'gpt'" in chat.say("/model gpt")
        chat.say("/set temperature 0.2")
        chat.say("hello")
        assert "from 0.01 to 1" in chat.say("/set top_p 3")
        chat.say("/set temperature off")
        chat.say("hello")
        assert [body.get("temperature") for body in server.asked] == [None, 0.2, None]
        assert "first token: after" in chat.say("/stats")
        assert "/retry" in chat.say("/help")
        assert "/stats?" in chat.say("/stast")


def test_without_a_folder_a_chat_is_in_memory(server, tmp_path):
    """If no folder can be created, the program prints one line about it, and the conversation still works."""
    with Terminal(tmp_path, server.url, XDG_STATE_HOME=os.devnull) as chat:
        assert chat.text.count("this chat is in memory only") == 1
        chat.say("hello")
        assert "saw 3 messages" in chat.say("aye")
        assert "kept in memory only" in chat.say("/save")
        chat.say(f"/save {tmp_path / 'mine.jsonl'}")
        assert chat.text.count("in memory only]") == 1
        assert chat.leave() == 0
    assert len(json.loads((tmp_path / "mine.jsonl").read_text())["messages"]) == 4


def test_files_that_cannot_be_used_are_reported_once(server, tmp_path):
    """If the history or the chat cannot be written, one line reports each problem, and everything else works."""
    (tmp_path / "doric" / "history").mkdir(parents=True)
    with Terminal(tmp_path, server.url) as chat:
        chat.say("repeat yestreen")
        for file in (tmp_path / "doric" / "chats").iterdir():
            file.unlink()
        (tmp_path / "doric" / "chats").rmdir()
        (tmp_path / "doric" / "chats").write_text("in the way")
        chat.say("hello")
        assert "saw 5 messages" in chat.say("aye")
        assert "".join(chat.text.split()).count("reachesonlyintothissession]") == 1
        assert "".join(chat.text.split()).count("thischatisinmemoryonly]") == 1
        chat.type("\x1b[A\x1b[A\x1b[A")
        chat.expect("repeat yestreen")


def test_what_was_typed_ahead_survives_ctrl_c(server, tmp_path):
    """Keys pressed during an answer appear at the next prompt, even if the answer is stopped."""
    server.manners.pause = 0.02
    with Terminal(tmp_path, server.url) as chat:
        chat.type("long\r")
        chat.expect("wird5 ")
        chat.type("repeat ahead")
        chat.expect("wird20 ")
        chat.type("\x03")
        chat.expect("[stopped")
        chat.expect("repeat ahead")
        server.manners.pause = 0
        chat.say("")
    assert server.asked[-1]["messages"][-1]["content"] == "repeat ahead"


def test_pasted_invalid_bytes_are_replaced(server, tmp_path):
    """A pasted byte that is not UTF-8 is sent and saved as U+FFFD."""
    with Terminal(tmp_path, server.url) as chat:
        os.write(chat.fd, b"\x1b[200~repeat a\xffb\x1b[201~")
        chat.say("")
        assert "saw 3 messages" in chat.say("hello")
    content = server.asked[0]["messages"][0]["content"]
    assert "\ufffd" in content
    assert content == rows(tmp_path)[0]["messages"][0]["content"]


def test_up_arrow_reaches_into_earlier_sessions(server, tmp_path):
    """The up arrow shows the input of an earlier session."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("repeat yestreen")
        chat.leave()
    with Terminal(tmp_path, server.url) as chat:
        chat.type("\x1b[A")
        chat.expect("repeat yestreen")
        chat.say("")
    assert [body["messages"][-1]["content"] for body in server.asked] == ["repeat yestreen"] * 2


def test_a_pasted_poem_is_one_message(server, tmp_path):
    """Ten pasted lines are sent as one message only after Enter, and Alt-Enter starts a new line."""
    poem = "\n".join(f"line {number}" for number in range(10))
    with Terminal(tmp_path, server.url) as chat:
        chat.type(f"\x1b[200~{poem.replace(chr(10), chr(13))}\x1b[201~")
        chat.expect("line 9")
        assert server.asked == []  # the line ends in the pasted text did not send the message
        chat.say("")
        chat.say("ane\x1b\rtwa")
    assert [body["messages"][-1]["content"] for body in server.asked] == [poem, "ane\ntwa"]


def test_ctrl_c_stops_the_answer_and_keeps_it(server, tmp_path):
    """Ctrl-C during an answer returns to the prompt, closes the stream and keeps the received part as partial."""
    server.manners.pause = 0.02
    with Terminal(tmp_path, server.url) as chat:
        chat.type("long\r")
        chat.expect("wird5 ")
        chat.type("\x03")
        chat.expect("[stopped; the part received is kept")
        chat.ready(2)
        until(lambda: server.aborted == 1)
        (row,) = rows(tmp_path)
        assert row["messages"][1]["content"].startswith("wird0 wird1 ")
        assert row["meta"]["partial"] == [1]
        assert "saw 3 messages" in chat.say("go on")
        chat.type("half a thought\x03")
        chat.expect("(Ctrl-D leaves)")
        chat.ready(4)
        assert chat.leave() == 0


def test_a_server_that_dies_does_not_end_the_chat(server, tmp_path):
    """If the connection breaks, the received part is kept as partial, the prompt returns, and /retry asks again."""
    with Terminal(tmp_path, server.url) as chat:
        assert "broke off: the connection closed" in chat.say("die")
        assert rows(tmp_path)[0]["meta"]["partial"] == [1]
        assert "Aye weel, I" in chat.say("/retry")
        assert [len(body["messages"]) for body in server.asked] == [1, 1]
        server.manners.first = [(500, "")]
        assert "answered 500: starting" in chat.say("hello")
        assert "saw 3 messages" in chat.say("/retry")


def test_the_oldest_messages_are_left_out_with_a_note(server, tmp_path):
    """If a chat no longer fits the window, a note says that the oldest turns are not sent, and the file keeps them."""
    with Terminal(tmp_path, server.url) as chat:
        for number in range(6):
            shown = chat.say(f"{number}" * 900)
        assert "no longer sees the first" in shown
    sent = [sum(len(message["content"]) for message in body["messages"]) for body in server.asked]
    assert max(sent) <= WINDOW
    assert server.asked[-1]["messages"][0]["role"] == "user"
    assert len(rows(tmp_path)[0]["messages"]) == 12


def test_an_unknown_window_is_found_by_the_servers_refusal(server, tmp_path):
    """If the server lists no window size, the chat takes it from the server's error and drops the oldest turns."""
    server.manners.models = [{"id": "plain"}]
    with Terminal(tmp_path, server.url) as chat:
        shown = "".join(chat.say(f"{number}" * 900) for number in range(6))
    assert "no longer sees the first" in shown
    assert shown.count("plain saw") == 6


def test_an_answer_cut_at_the_limit_is_marked(server, tmp_path):
    """If an answer reaches its token limit, a note says so, and the row marks the answer as partial."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("/set max_tokens 5")
        assert "[cut: no tokens left" in chat.say("hello")
    assert rows(tmp_path)[0]["meta"]["partial"] == [1]


def test_a_wrong_key_ends_the_chat_before_the_first_question(server, tmp_path):
    """If the server rejects the key, the chat ends before the user types a question."""
    server.manners.key = "sk-right"
    chat = Terminal(tmp_path, server.url, VLLM_API_KEY="sk-wrong")
    chat.expect("VLLM_API_KEY was refused")
    assert chat.process.wait(20) == 2
    os.close(chat.fd)


def test_a_cold_server_is_waited_for_at_the_terminal(tmp_path):
    """A question typed before the server is up waits with a timer, and is answered when the server is up."""
    with ChatMock() as first:
        port = first.server_port
    with Terminal(tmp_path, f"http://127.0.0.1:{port}", "--wait", "60") as chat:
        chat.type("hello\r")
        chat.expect("(connection refused) … 2 s")
        with ChatMock(port=port):
            chat.expect("doric saw 1 messages")


def test_a_narrow_terminal_shows_the_seconds(tmp_path):
    """At 30 columns the timer still shows how long the chat has waited."""
    with Terminal(tmp_path, "http://127.0.0.1:9", "--wait", "60", columns=30) as chat:
        chat.type("hello\r")
        chat.expect("… 2 s")


def test_forty_columns_wrap_between_words(server, tmp_path):
    """At 40 columns, line breaks never split a word of an answer or of the help."""
    with Terminal(tmp_path, server.url, columns=40) as chat:
        chat.say("long")
        chat.say("/help")
    written = [line for line in re.sub(rb"\x1b\[\d+D\x1b\[K", b"<", chat.raw).split(b"\n") if b"wird" in line]
    assert len(written) > 50
    for line in written[1:-1]:
        kept = re.sub(rb"[^< ]*<", b"", line).strip()
        assert len(kept) < 40
        assert re.fullmatch(rb"(wird\d+ ?)+", kept)


def test_no_color_disables_colours(server, tmp_path):
    """With NO_COLOR set, notes and prompt have no colour."""
    with Terminal(tmp_path, server.url, NO_COLOR="1") as chat:
        chat.say("/help")
        chat.leave()
    assert not re.search(rb"\x1b\[(2|3\d|9\d|38|48)[;m]", chat.raw)


def test_a_dumb_terminal_is_enough(server, tmp_path):
    """On a terminal without cursor movement, the chat can still read questions, show answers and exit."""
    chat = Terminal(tmp_path, server.url, TERM="dumb")
    chat.expect(">>>")
    chat.type("hello\r")
    chat.expect("saw 1 messages")
    chat.expect(">>>")
    assert chat.leave() == 0
    os.close(chat.fd)
    assert b"\x1b[2m" not in chat.raw


def test_a_slash_can_be_sent(server, tmp_path):
    """A line that starts with two slashes is sent as a message with one slash."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("//bye")
    assert server.asked[0]["messages"][0]["content"] == "/bye"


def test_help_answers_without_a_server():
    """--help works without a server address and shows the exact command."""
    done = subprocess.run([sys.executable, CLI, "--help"], capture_output=True, text=True, env={}, timeout=30)
    assert (done.returncode, "uv run python modal/chat_cli.py" in done.stdout) == (0, True)
