"""The commands of the chat, each one function of the session and what was typed after its name."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

from doric.chat.cleaner import clean
from doric.chat.options import OPTIONS, known, leave_room, parse_option
from doric.chat.session import Session
from doric.chat.store import BadFile, named, read, write
from doric.chat.terminal import columns
from doric.chat.transcript import Transcript


class Leave(Exception):
    """The user wants out."""


def run(session: Session, line: str) -> None:
    """Do what a line that starts with a slash says. Raises ChatError, BadFile, BadOption or Leave."""
    name, *rest = line[1:].split(maxsplit=1) or [""]
    command = COMMANDS.get(ALIASES.get(name, name))
    if command is None:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"/{near[0]}?" if near else "/help lists them"
        session.screen.note(f"there is no command /{name}: {hint} (// sends a message that starts with /)")
        return
    command.act(session, "".join(rest).strip())


def help_(session: Session, _: str) -> None:
    if columns() < 60:
        lines = [f"{command.usage}\n  {command.about}" for command in COMMANDS.values()]
    else:
        lines = [f"{command.usage:<22}{command.about}" for command in COMMANDS.values()]
    keys = "Enter sends; Alt-Enter starts a line;\nCtrl-C stops an answer; Ctrl-D leaves."
    session.screen.note("\n".join([*lines, keys]))


def reset(session: Session, _: str) -> None:
    system = session.chat.system
    session.chat = Transcript()
    session.chat.system = system
    session.left_out = 0
    if session.file:
        session.file = session.file.with_name(f"{session.chat.id}.jsonl")
    session.screen.note("a new chat" + (", the system prompt stays" if system else ""))


def system(session: Session, text: str) -> None:
    if text:
        session.chat.system = "" if text == "-" else text
    session.screen.note(f"system: {session.chat.system}" if session.chat.system else "no system prompt")


def save(session: Session, name: str) -> None:
    if not name:
        place = session.file if session.file and not session.unkept else "memory only"
        session.screen.note(f"kept in {place} after each answer; /save FILE writes it elsewhere too")
        return
    if not session.chat.answered:
        raise BadFile("there is nothing to save yet: no question was answered")
    path = named(name)
    write(path, session.chat.row())
    session.screen.note(f"saved as a row of {path}")


def load(session: Session, name: str) -> None:
    if not name:
        raise BadFile("/load wants a file: /load FILE")
    take(session, read(named(name)))


def take(session: Session, chat: Transcript) -> None:
    """Go on with this chat, and show where it stands; it is kept under its own id from now on."""
    session.chat = chat
    session.left_out = 0
    if session.file:
        session.file = session.file.with_name(f"{chat.id}.jsonl")
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
            session.screen.note("[the answer there was stays]")


def undo(session: Session, _: str) -> None:
    question = session.chat.drop_exchange()
    session.save()
    session.screen.note(f"taken back: {clean(question)[:60]}" if question else "there is nothing to take back")


def model(session: Session, name: str) -> None:
    with session.clock:
        session.finder.change(name)
    if name:
        session.limit = 10**9
    if name and not session.finder.served:
        session.screen.note(f"the server does not list what it serves; {name} is asked from now on")
    for each in session.finder.served:
        mark = "*" if each.name == session.connect().name else " "
        window = f", {each.window:,} tokens" if each.window else ""
        session.screen.note(f"{mark} {each.name}{window}" + (f", adapts {each.parent}" if each.parent else ""))


def set_(session: Session, text: str) -> None:
    name, *rest = re.split(r"\s*=\s*|\s+", text, maxsplit=1)
    value = "".join(rest)
    if name:
        known(name)
    if value in ("-", "off"):
        session.options.pop(name, None)
    elif value:
        number = parse_option(name, value)
        if name == "max_tokens" and session.finder.model:
            leave_room(number, session.finder.model.window)
        session.options[name] = number
    for option in [name] if name in OPTIONS else OPTIONS:
        session.screen.note(f"{option:<20}{session.options.get(option, 'as the server has it')}")


def stats(session: Session, _: str) -> None:
    last, total = session.last, session.totals
    writing = last.seconds - last.first_after
    speed = f", {(last.answer_tokens - 1) / writing:.0f} tokens/s" if last.answer_tokens > 1 and writing > 0 else ""
    lines = [
        f"last answer: {last.answer_tokens} tokens in {last.seconds:.1f} s{speed}",
        f"first token: after {last.first_after:.2f} s",
        f"this time: {total.prompt_tokens:,} tokens read, {total.answer_tokens:,} written, {total.answers} answers",
    ]
    session.screen.note("\n".join([session.status() or "the model was not reached yet", *lines]))


def leave(_: Session, __: str) -> None:
    raise Leave


@dataclass(frozen=True)
class Command:
    """How a command is typed, what it does in a few words, and the doing."""

    usage: str
    about: str
    act: Callable[[Session, str], None]


COMMANDS: dict[str, Command] = {
    "help": Command("/help", "this list", help_),
    "retry": Command("/retry", "ask the last question again", retry),
    "undo": Command("/undo", "take the last question and answer back", undo),
    "reset": Command("/reset", "start a new chat", reset),
    "system": Command("/system [TEXT]", "show or set the system prompt; - clears it", system),
    "save": Command("/save [FILE]", "add this chat to a dataset file as a row", save),
    "load": Command("/load FILE", "go on with the last chat of a file", load),
    "model": Command("/model [NAME]", "show the models served, or change", model),
    "set": Command("/set [NAME VALUE]", "show or set sampling; off unsets", set_),
    "stats": Command("/stats", "speed and tokens", stats),
    "bye": Command("/bye", "leave; so do /exit, /quit, Ctrl-D", leave),
}
ALIASES = {"exit": "bye", "quit": "bye", "?": "help", "clear": "reset"}
