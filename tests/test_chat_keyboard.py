"""The chat at the keyboard: pasted text, signals, words that leave, and terminals of all kinds."""

import os
import signal
import stat
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from chat_mock import ChatMock
from chat_terminal import CLI, Terminal, ask, environment, rows, until


@pytest.fixture
def server() -> Iterator[ChatMock]:
    with ChatMock() as mock:
        yield mock


def questions(server: ChatMock) -> list[str]:
    """The last message of each request."""
    return [body["messages"][-1]["content"] for body in server.asked]


# -- pasted and typed text


@pytest.mark.parametrize(
    "pasted",
    ["ane\rtwa\rthree\r", "ane\r\ntwa\r\nthree\r\n", "\x1b[200~ane\rtwa\rthree\x1b[201~", "ane\ntwa\nthree\n\n"],
)
def test_lines_pasted_during_an_answer_are_one_message(server, tmp_path, pasted):
    """After Ctrl-C, lines that were pasted during the answer are in the next prompt, and none of them was sent."""
    server.manners.pause = 0.02
    with Terminal(tmp_path, server.url) as chat:
        chat.type("long\r")
        chat.expect("wird5 ")
        chat.type(pasted)
        chat.expect("wird20 ")
        chat.type("\x03")
        chat.expect("[stopped")
        chat.expect("three")
        assert questions(server) == ["long"]
        server.manners.pause = 0
        chat.say("")
    assert questions(server) == ["long", "ane\ntwa\nthree"]


def test_lines_pasted_during_an_answer_wait_for_enter(server, tmp_path):
    """Several lines stay in the prompt after a whole answer too, and a long line is not cut."""
    line = "x" * 5000 + "end"  # more than a terminal keeps of one line
    server.manners.pause = 0.005
    with Terminal(tmp_path, server.url) as chat:
        chat.type("long\r")
        chat.expect("wird5 ")
        chat.type(f"{line}\rtwa\r")
        chat.ready(2)
        chat.expect("twa")
        assert questions(server) == ["long"]
        chat.say("")
    assert set(questions(server)) == {"long", f"{line}\ntwa"}  # too long for the model, so it is tried twice


def test_one_line_typed_during_an_answer_is_sent(server, tmp_path):
    """A single line that was typed and sent with Enter during an answer is the next message, with its corrections."""
    server.manners.pause = 0.005
    with Terminal(tmp_path, server.url) as chat:
        chat.type("long\r")
        chat.expect("wird5 ")
        chat.type("wrang\x15repeat thrr\x7fee\r")
        chat.ready(3)
    assert questions(server) == ["long", "repeat three"]


def test_ctrl_d_during_an_answer_leaves_after_it(server, tmp_path):
    """Ctrl-D alone during an answer leaves when the answer is complete, and the answer is saved."""
    server.manners.pause = 0.002
    with Terminal(tmp_path, server.url) as chat:
        chat.type("long\r")
        chat.expect("wird5 ")
        chat.type("\x04")
        assert chat.end() == 0
    assert rows(tmp_path)[0]["meta"].get("partial") is None


def test_lines_pasted_without_brackets_are_one_message(server, tmp_path):
    """A terminal without bracketed paste sends the lines as keys; they are still one message."""
    with Terminal(tmp_path, server.url) as chat:
        assert "saw 1 messages" in chat.say("ane\rtwa\r\rthree")
        chat.say("ane\r\ntwa\r\n\r\nthree")
        lines = "\r".join(f"line {number} of a long text" for number in range(200))
        chat.say(lines)
    assert set(questions(server)) == {"ane\ntwa\n\nthree", lines.replace("\r", "\n")}


@pytest.mark.parametrize(
    "typed",
    [
        "repeat a\x1ab",
        "\x1b[200~\ufeffrepeat a\x00\x07b\x1b[201~",
        "repeat\x02 a\u200bb",
        "repeat a\x00b",
        "repeat a\U000e0041b",
    ],
)
def test_characters_that_nobody_sees_are_not_sent(server, tmp_path, typed):
    """Ctrl-Z, NUL, a byte-order mark and other invisible characters do not reach the model or the file."""
    with Terminal(tmp_path, server.url) as chat:
        chat.type(f"{typed}\r")
        until(lambda: server.asked and rows(tmp_path))
    assert all(char.isprintable() for char in questions(server)[0])
    assert rows(tmp_path)[0]["messages"][0]["content"] == questions(server)[0]
    assert len(questions(server)[0]) == len("repeat ab")


@pytest.mark.parametrize("piped", [b"\xef\xbb\xbf", b"\x00\x1a", b" \x1b[31m\r\n", "\u200b".encode()])
def test_a_question_without_visible_characters_is_no_question(server, tmp_path, piped):
    """A pipe with only invisible characters is an error, and nothing is sent."""
    done = ask(tmp_path, server.url, piped=piped)
    assert (done.returncode, "there is no question" in done.stderr, server.asked) == (2, True, [])


def test_a_piped_question_is_cleaned(server, tmp_path):
    """A byte-order mark, Windows line ends and escape sequences of a piped file are not sent."""
    ask(tmp_path, server.url, piped="\ufefffit\x1b[31m like?\r\nAn you?\x1a\u2028Aye".encode())
    assert questions(server) == ["fit like?\nAn you?\nAye"]


@pytest.mark.parametrize(
    "mark", ["<|im_end|>", "<|start_header_id|>", "<end_of_turn>", "[/INST]", "<｜User｜>", "<<SYS>>", "</s>"]
)
def test_marks_of_chat_templates_are_refused(server, tmp_path, mark):
    """A message or a system prompt with a mark that ends a turn is not sent, and the error names the mark."""
    done = ask(tmp_path, server.url, f"hello {mark}")
    system = ask(tmp_path, server.url, "hello", "--system", f"hello {mark}")
    assert (done.returncode, system.returncode, mark in done.stderr, mark in system.stderr) == (2, 2, True, True)
    assert server.asked == []
    with Terminal(tmp_path, server.url) as chat:
        assert "is a mark of chat templates" in chat.say(f"/system {mark}") + chat.say(f"a {mark}")
    assert server.asked == []


def test_a_very_long_message_is_one_clear_line(server, tmp_path):
    """A message of a megabyte gives one line and the server's reason, and the chat goes on."""
    done = ask(tmp_path, server.url, piped=b"x" * 1_000_000)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 2)
    assert done.stderr.startswith("error: this message is too long for the model\nhint: ")


# -- leaving


@pytest.mark.parametrize(
    "word",
    ["exit", "quit", ":q", " Exit ", "QUIT", "exit()", ":wq", "/exit", "/Quit", "/q!", "/bye", ":Quit", "exit(0)"],
)
def test_words_that_leave(server, tmp_path, word):
    """The words that leave other programs leave, alone and in any case, as the commands do."""
    with Terminal(tmp_path, server.url) as chat:
        chat.type(f"{word}\r")
        assert chat.end() == 0
    assert server.asked == []


def test_other_messages_do_not_leave(server, tmp_path):
    """A message that only contains such a word is sent."""
    with Terminal(tmp_path, server.url) as chat:
        for text in ("exit strategy", "exit!", "repeat exit", "bye"):
            chat.say(text)
    assert questions(server) == ["exit strategy", "exit!", "repeat exit", "bye"]


COOKED = termios.ICANON | termios.ECHO | termios.ISIG
"""The modes of a terminal when no program reads single keys."""
SIGNALS = {"SIGTERM": 143, "SIGHUP": 129, "SIGQUIT": 131}


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_during_an_answer_keeps_the_part_that_was_shown(server, tmp_path, name):
    """The shown part is saved and marked as partial, the terminal is restored, and the server is stopped."""
    server.manners.pause = 0.02
    with Terminal(tmp_path, server.url) as chat:
        chat.type("long\r")
        chat.expect("wird5 ")
        chat.process.send_signal(getattr(signal, name))
        assert chat.end() == SIGNALS[name]
        assert "Traceback" not in chat.text
        assert termios.tcgetattr(chat.fd)[3] & COOKED == COOKED
    (row,) = rows(tmp_path)
    assert row["messages"][1]["content"].startswith("wird0 wird1")
    assert row["meta"]["partial"] == [1]
    until(lambda: server.aborted == 1)


def test_keys_stay_hidden_after_a_suspension(server, tmp_path):
    """When the program continues after Ctrl-Z, keys typed during the answer are still kept out of it."""
    server.manners.pause = 0.02
    with Terminal(tmp_path, server.url) as chat:
        chat.type("long\r")
        chat.expect("wird5 ")
        modes = termios.tcgetattr(chat.fd)
        termios.tcsetattr(chat.fd, termios.TCSANOW, [*modes[:3], modes[3] | COOKED, *modes[4:]])  # as the shell does
        chat.process.send_signal(signal.SIGCONT)
        until(lambda: termios.tcgetattr(chat.fd)[3] & termios.ECHO == 0)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_at_the_prompt_ends_the_chat(server, tmp_path, name):
    """At the prompt a signal ends the program without a traceback, and the prompt's modes are switched off."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("hello")
        chat.process.send_signal(getattr(signal, name))
        assert chat.end() == SIGNALS[name]
        assert termios.tcgetattr(chat.fd)[3] & COOKED == COOKED
        assert chat.raw.rfind(b"\x1b[?2004l") > chat.raw.rfind(b"\x1b[?2004h")
        assert "Traceback" not in chat.text
        assert "Unhandled" not in chat.text
    assert len(rows(tmp_path)) == 1


def test_ctrl_backslash_leaves(server, tmp_path):
    """Ctrl-\\ at the prompt ends the chat with the status of SIGQUIT."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("hello")
        chat.type("half\x1c")
        assert chat.end() == SIGNALS["SIGQUIT"]
    assert len(rows(tmp_path)) == 1


def test_a_closed_window_keeps_the_answer(server, tmp_path):
    """If the terminal window is closed during an answer, the shown part is saved."""
    server.manners.pause = 0.02
    chat = Terminal(tmp_path, server.url).ready(1)
    chat.type("long\r")
    chat.expect("wird5 ")
    os.close(chat.fd)
    assert chat.process.wait(20) == SIGNALS["SIGHUP"]
    assert rows(tmp_path)[0]["meta"]["partial"] == [1]


def test_a_signal_keeps_the_answer_to_one_question(server, tmp_path):
    """With --resume, SIGTERM during the answer to a single question saves the printed part."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("hello")
        chat.leave()
    server.manners.pause = 0.05
    process = subprocess.Popen(
        [sys.executable, CLI, "--resume", "long"], env=environment(tmp_path, server.url), stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdout.read(6) == b"wird0 "
    process.terminate()
    assert process.wait(20) == SIGNALS["SIGTERM"]
    process.stdout.close()
    assert rows(tmp_path)[0]["messages"][3]["content"].startswith("wird0")


def test_a_closed_pipe_keeps_the_answer(server, tmp_path):
    """With --resume and `| head -c 5`, what was printed is saved."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("hello")
        chat.leave()
    server.manners.pause = 0.01
    process = subprocess.Popen(
        [sys.executable, CLI, "--resume", "long"],
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
    (row,) = rows(tmp_path)
    assert (row["messages"][3]["content"][:5], row["meta"]["partial"]) == ("wird0", [3])


@pytest.mark.parametrize("delay", [0.06, 0.1, 0.15, 0.25, 0.4])
def test_ctrl_c_while_it_starts_gives_no_traceback(server, tmp_path, delay):
    """Ctrl-C ends the program quietly, also while its modules are imported."""
    process = subprocess.Popen(
        [sys.executable, CLI, "long"],
        env=environment(tmp_path, server.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    server.manners.pause = 0.05
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    # on a busy machine Python may still be starting, before the first lines of the script are in effect
    starting = "Traceback" in errors and ("import signal" in errors or "chat_cli" not in errors)
    assert starting or ("Traceback" not in errors and process.returncode in (130, -signal.SIGINT))


def test_two_quick_ctrl_c_lose_nothing(server, tmp_path):
    """A second Ctrl-C right after the first neither ends the chat nor loses the stopped answer."""
    server.manners.pause = 0.02
    with Terminal(tmp_path, server.url) as chat:
        chat.type("long\r")
        chat.expect("wird5 ")
        for _ in range(5):
            chat.process.send_signal(signal.SIGINT)
            time.sleep(0.002)
        chat.expect("[stopped")
        chat.ready(2)
        server.manners.pause = 0
        chat.type("\x15")
        assert "saw 3 messages" in chat.say("go on")
        assert "Traceback" not in chat.text
    assert rows(tmp_path)[0]["meta"]["partial"] == [1]


def test_ctrl_c_before_the_first_token_keeps_the_question(server, tmp_path):
    """Ctrl-C while the server starts returns to the prompt, and /retry asks the question again."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("hello")
        server.manners.first = [(503, "")] * 10_000
        prompts = chat.prompts
        chat.type("repeat again\r")
        until(lambda: len(server.paths) > 4)
        chat.type("\x03")
        chat.expect("[stopped")
        chat.ready(prompts + 1)
        server.manners.first = []
        assert "again" in chat.say("/retry")
    assert questions(server)[-1] == "repeat again"


# -- the server


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "127.1", "0", "[::ffff:127.0.0.1]"])
def test_a_closed_port_on_this_machine_is_said_at_once(tmp_path, host):
    """If nothing listens on this machine, the error comes at once and says how to wait."""
    began = time.monotonic()
    done = ask(tmp_path, f"http://{host}:9", "hello")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: nothing listens at {host}:9 (")
    assert "--wait SECONDS" in done.stderr
    assert time.monotonic() - began < 10  # not the 600 s of a server in the cloud


def test_a_closed_port_does_not_end_a_conversation(tmp_path):
    """The closed port is shown before the first question; when the server is up, /retry asks the question again."""
    with ChatMock() as first:
        port = first.server_port
    with Terminal(tmp_path, f"http://127.0.0.1:{port}") as chat:
        chat.expect("nothing listens at")
        chat.type("hello\r")
        chat.expect("> hello")
        chat.expect("nothing listens at")
        with ChatMock(port=port):
            chat.type("/retry\r")
            chat.expect("doric saw 1 messages")


def test_the_words_of_a_server_that_stays_busy_are_shown(server, tmp_path):
    """If a server answers 503 until the end of --wait, the error quotes the server."""
    server.manners.first, server.manners.message = [(503, "")] * 100, "No model is loaded."
    done = ask(tmp_path, server.url, "hello", "--wait", "0.5")
    assert (done.returncode, "(HTTP 503: No model is loaded)" in done.stderr) == (1, True)


def test_extra_fields_are_sent_with_each_question(server, tmp_path):
    """--extra-body adds fields, --set wins over a field of the same name, and odd values are refused."""
    extra = '{"chat_template_kwargs": {"enable_thinking": false}, "temperature": 0.1}'
    ask(tmp_path, server.url, "hello", "--extra-body", extra, "--set", "temperature=0.4")
    body = server.asked[0]
    assert (body["chat_template_kwargs"], body["temperature"]) == ({"enable_thinking": False}, 0.4)
    for wrong in ("{", "[]", '{"model": "x"}', '{"a": NaN}'):
        done = ask(tmp_path, server.url, "hello", "--extra-body", wrong)
        assert (done.returncode, "--extra-body" in done.stderr, len(server.asked)) == (2, True, 1)


@pytest.mark.parametrize("setting", ["temperature", "temperature=", "=1", "temperature=nan", "temperature=1e999"])
def test_a_setting_without_a_usable_value_is_refused(server, tmp_path, setting):
    """--set needs a known name and a number in range."""
    done = ask(tmp_path, server.url, "hello", "--set", setting)
    assert (done.returncode, server.asked, len(done.stderr.splitlines()) <= 2) == (2, [], True)


# -- answers that are not whole, and reasoning


@pytest.mark.parametrize(("word", "said"), [("abort", "the server stopped"), ("content_filter", "content filter")])
def test_an_answer_that_is_not_whole_is_marked(server, tmp_path, word, said):
    """An answer that the server aborted or filtered is shown, saved, marked as partial and explained."""
    with Terminal(tmp_path, server.url) as chat:
        shown = chat.say(word)
        assert "saw 1 messages, system none.\n[not whole: the server" in shown
        assert said in shown
    assert rows(tmp_path)[0]["meta"]["partial"] == [1]
    assert ask(tmp_path, server.url, word).returncode == 1


def test_reasoning_is_neither_shown_nor_saved(server, tmp_path):
    """The text between marks of reasoning, also if they arrive in pieces, is not part of the answer."""
    with Terminal(tmp_path, server.url) as chat:
        shown = chat.say("think")
    assert "Aye, fairly." in shown
    assert "They want" not in shown
    assert rows(tmp_path)[0]["messages"][1]["content"] == "Aye, fairly."


def test_an_answer_of_reasoning_only_says_so(server, tmp_path):
    """If the model only reasons, a note says so, and nothing is saved."""
    done = ask(tmp_path, server.url, "only think")
    assert (done.returncode, done.stdout, "only reasoned" in done.stderr) == (1, "", True)
    with Terminal(tmp_path, server.url) as chat:
        assert "only reasoned" in chat.say("only think")
    assert rows(tmp_path) == []


# -- files


def test_two_conversations_on_one_chat_are_both_kept(server, tmp_path):
    """If two sessions continue the same chat, the second one gets its own file, and one note says so."""
    with Terminal(tmp_path, server.url) as chat:
        chat.say("hello")
        chat.leave()
    with Terminal(tmp_path, server.url, "--resume") as one, Terminal(tmp_path, server.url, "--resume") as other:
        one.say("from one")
        shown = other.say("from the other")
        assert "has another version of this chat" in " ".join(shown.split())
        one.say("again one")
        assert "another version" not in other.say("again the other")
    texts = {tuple(turn["content"] for turn in row["messages"][2::2]) for row in rows(tmp_path)}
    assert texts == {("from one", "again one"), ("from the other", "again the other")}


def test_saving_to_the_output_of_a_run_warns(server, tmp_path):
    """A row of a chat in the output of a run would stop that run when it resumes, so a note says so."""
    (tmp_path / "rows.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    (tmp_path / "rows.jsonl.plan.json").write_text("{}")
    with Terminal(tmp_path, server.url) as chat:
        chat.say("hello")
        assert "before you resume that run" in chat.say(f"/save {tmp_path / 'rows.jsonl'}")
        assert "resume that run" not in chat.say(f"/save {tmp_path / 'mine.jsonl'}")


def test_what_a_person_types_is_private(server, tmp_path):
    """Only the owner can read the history and the chats, also if an earlier version created a readable history."""
    (tmp_path / "doric").mkdir()
    (tmp_path / "doric" / "history").write_text("\n# then\n+repeat yestreen\n")
    (tmp_path / "doric" / "history").chmod(0o644)
    with Terminal(tmp_path, server.url) as chat:
        chat.type("\x1b[A")
        chat.expect("repeat yestreen")
        chat.say("")
        chat.leave()
    files = [path for path in (tmp_path / "doric").rglob("*") if path.is_file()]
    assert len(files) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_history_that_is_no_file_is_reported(server, tmp_path):
    """A pipe in place of the history does not block the chat."""
    (tmp_path / "doric").mkdir()
    os.mkfifo(tmp_path / "doric" / "history")
    with Terminal(tmp_path, server.url) as chat:
        assert "saw 1 messages" in chat.say("hello")


# -- terminals


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii:strict"},
    ],
    ids=str,
)
def test_an_encoding_that_lacks_characters_is_enough(server, tmp_path, env):
    """Characters that the output cannot express are replaced, in answers, notes and errors."""
    for args in (["repeat Fit’s 🐄 é"], ["hello", "--set", "max_tokens=5"], ["hello", "--set", "é=1"]):
        more = environment(tmp_path, server.url, **env)
        done = subprocess.run([sys.executable, CLI, *args], env=more, capture_output=True, timeout=60)
        assert done.returncode in (0, 2)
        assert b"Traceback" not in done.stderr
        assert done.stdout or done.returncode == 2


def test_a_resized_window_wraps_the_rest_of_the_answer(server, tmp_path):
    """If the window becomes narrower during an answer, the following lines fit into it."""
    server.manners.pause = 0.01
    with Terminal(tmp_path, server.url, columns=100) as chat:
        chat.type("long\r")
        chat.expect("wird20 ")
        termios.tcsetwinsize(chat.fd, (24, 40))
        chat.ready(2)
        lines = chat.text[chat.text.index("wird100") :].split("\n")
    assert len(lines) > 50
    assert max(len(line) for line in lines[2:-4]) < 60


def test_the_keyboard_of_a_dumb_terminal_is_enough(server, tmp_path):
    """On a terminal without cursor movement, pasted lines are one message and exit leaves."""
    chat = Terminal(tmp_path, server.url, TERM="dumb")
    chat.expect(">>>")
    chat.type("ane\rtwa\r")
    chat.expect("saw 1 messages")
    chat.expect(">>>")
    chat.type("exit\r")
    assert chat.end() == 0
    os.close(chat.fd)
    assert questions(server) == ["ane\ntwa"]
