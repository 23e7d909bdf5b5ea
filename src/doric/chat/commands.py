"""The commands of the chat. Each is a function of the session and of the text after the command's name."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

from doric.chat import store
from doric.chat.conversation import Chat, refuse_template_marks
from doric.chat.session import OPTIONS, UNLIMITED, Session, check_option, check_room, parse_option
from doric.core.errors import InputError


class Leave(Exception):
    """The user ends the chat."""


def run(session: Session, line: str) -> None:
    """Run a line that starts with a slash. Raises `DoricError` or `Leave`."""
    name, *rest = line[1:].split(maxsplit=1) or [""]
    name = name.lower().rstrip("!;")
    if "\n" in line and name != "system":
        raise InputError("a command has one line", hint="// sends a message that starts with /")
    command = COMMANDS.get(ALIASES.get(name, name))
    if command:
        command.action(session, "".join(rest).strip())
        return
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"/{near[0]}?" if near else "/help lists all"
    session.screen.note(f"there is no command /{name}: {hint} (// sends a message that starts with /)")


def help_(session: Session, _: str) -> None:
    wide = session.screen.columns >= 60
    lines = [f"{each.usage:<22}{each.help}" if wide else f"{each.usage}\n  {each.help}" for each in COMMANDS.values()]
    keys = "Enter sends; Alt-Enter starts a new line;\nCtrl-C stops an answer; Ctrl-D leaves; so does the word exit."
    session.screen.note("\n".join([*lines, keys]))


def reset(session: Session, _: str) -> None:
    chat = Chat()
    chat.system = session.chat.system
    session.switch(chat)
    session.screen.note("a new chat" + (", with the same system prompt" if chat.system else ""))


def system(session: Session, text: str) -> None:
    if text:
        refuse_template_marks(text)
        session.chat.system = "" if text == "-" else text
    session.screen.note(f"system: {session.chat.system}" if session.chat.system else "no system prompt")


def save(session: Session, name: str) -> None:
    if not name:
        place = session.file if session.file and not session.save_failed else "memory only"
        session.screen.note(f"kept in {place} after each answer; /save FILE adds it to another file too")
        return
    if not session.chat.answered:
        raise InputError("there is nothing to save yet: no question was answered")
    path = store.user_path(name)
    with session.signals.held():
        copy = store.write(path, session.chat)
    if path.with_name(f"{path.name}.plan.json").exists():
        session.screen.note("[a run wrote this file: remove the new row before you resume that run]")
    session.screen.note(f"saved as a row of {path}" + (f"; its earlier row is kept in {copy}" if copy else ""))


def load(session: Session, name: str) -> None:
    if not name:
        raise InputError("/load needs a file: /load FILE")
    resume(session, store.read(store.user_path(name)))


def resume(session: Session, chat: Chat) -> None:
    """Continue with this chat, and show its last question and answer."""
    session.switch(chat)
    session.screen.note(f"{len(chat.turns)} messages; the last:")
    for turn in chat.turns[-2:]:
        session.screen.note(("> " if turn["role"] == "user" else "") + turn["content"])


def retry(session: Session, _: str) -> None:
    before = session.chat.copy()
    session.chat.drop_answer()
    if not session.chat.unanswered:
        session.screen.note("there is nothing to ask again")
        return
    session.screen.note(f"> {session.chat.turns[-1]['content']}")
    try:
        session.answer()
    finally:
        if session.chat.unanswered and not before.unanswered:
            session.chat = before
            session.screen.note("[the earlier answer is kept]")


def undo(session: Session, _: str) -> None:
    question = session.chat.drop_exchange()
    session.save()
    session.screen.note(f"removed: {question[:60]}" if question else "there is nothing to undo")


def model(session: Session, name: str) -> None:
    server = session.server
    with session.timer:
        server.select(name)
    if name:
        session.limit = UNLIMITED
    if name and not server.models:
        session.screen.note(f"the server does not list its models; {name} is asked from now on")
    for each in server.models:
        mark = "*" if each.name == session.connect().name else " "
        window = f", {each.window:,} tokens" if each.window else ""
        session.screen.note(f"{mark} {each.name}{window}" + (f", adapts {each.parent}" if each.parent else ""))


def set_(session: Session, text: str) -> None:
    name, *rest = re.split(r"\s*=\s*|\s+", text, maxsplit=1)
    value = "".join(rest)
    if name:
        check_option(name)
    if value in ("-", "off"):
        session.options.pop(name, None)
    elif value:
        number = parse_option(name, value)
        if name == "max_tokens" and session.server.model:
            check_room(number, session.server.model.window)
        session.options[name] = number
    for option in [name] if name else OPTIONS:
        session.screen.note(f"{option:<20}{session.options.get(option, 'the default of the server')}")


def stats(session: Session, _: str) -> None:
    last, tokens = session.last, session.last.tokens("completion")
    writing = last.seconds - last.first_token
    speed = f", {(tokens - 1) / writing:.0f} tokens/s" if tokens > 1 and writing > 0 else ""
    lines = [
        session.status() or "the server has not answered yet",
        f"last answer: {tokens} tokens in {last.seconds:.1f} s{speed}",
        f"first token: after {last.first_token:.2f} s",
        f"this session: {session.tokens_in:,} tokens read, {session.tokens_out:,} written, {session.answers} answers",
    ]
    session.screen.note("\n".join(lines))


def leave(_: Session, __: str) -> None:
    raise Leave


@dataclass(frozen=True)
class Command:
    """A command: how it is typed, its line of /help, and its function."""

    usage: str
    help: str
    action: Callable[[Session, str], None]


COMMANDS: dict[str, Command] = {
    "help": Command("/help", "this list", help_),
    "retry": Command("/retry", "ask the last question again", retry),
    "undo": Command("/undo", "remove the last question and answer", undo),
    "reset": Command("/reset", "start a new chat", reset),
    "system": Command("/system [TEXT]", "show or set the system prompt; - clears it", system),
    "save": Command("/save [FILE]", "add this chat to a dataset file as a row", save),
    "load": Command("/load FILE", "continue with the last chat of a file", load),
    "model": Command("/model [NAME]", "show the models served, or change to one", model),
    "set": Command("/set [NAME VALUE]", "show or set sampling options; off unsets", set_),
    "stats": Command("/stats", "speed and tokens", stats),
    "bye": Command("/bye", "leave; so do /exit, /quit, Ctrl-D", leave),
}
ALIASES = {"exit": "bye", "quit": "bye", "q": "bye", "?": "help", "clear": "reset"}
LEAVING = frozenset(
    [
        "exit", "quit", "exit()", "quit()", "exit(0)", "quit(0)", "exit;", "quit;", ".exit", ".quit", "\\q", "\\quit",
        "\\exit", ":q", ":q!", ":quit", ":quit!", ":qa", ":qa!", ":wq", ":wq!", ":x", ":x!", ":xa",
    ]
)  # fmt: skip
"""A message that is one of these words, in any case, leaves: users of other programs type them. `exit!` can be sent."""
