"""The chat as a program: one question, or a conversation at a terminal."""

import argparse
import sys
from collections.abc import Mapping, Sequence

from doric.chat import commands, store
from doric.chat.conversation import readable, refuse_template_marks
from doric.chat.server import Address, Server
from doric.chat.session import Session, parse_option
from doric.chat.terminal import Screen
from doric.core.errors import DoricError, InputError, SettingsError
from doric.core.extra_body import parse_extra_body


def run(args: argparse.Namespace, env: Mapping[str, str]) -> int:
    """Answer one question, or start a conversation at a terminal. Returns the exit code; raises `DoricError`.

    `args` has message, resume, system, set, extra_body and wait, as `modal/chat_cli.py` defines them.
    """
    screen = Screen(env)
    address = Address.from_env(env)
    if address.warning:
        screen.note(f"warning: {address.warning}")
    options = dict(map(read_setting, args.set))
    extra = parse_extra_body(env.get("VLLM_EXTRA_BODY", ""), "VLLM_EXTRA_BODY")
    extra = extra if args.extra_body is None else parse_extra_body(args.extra_body)
    server = Server(address, wait=args.wait, wanted=env.get("VLLM_MODEL", "").strip(), extra_body=extra)
    session = Session(server, screen, options=options)
    with session.signals.installed(), session.signals.armed():
        return _run(session, args, env, address.host)


def _run(session: Session, args: argparse.Namespace, env: Mapping[str, str], host: str) -> int:
    interactive = not args.message and sys.stdin is not None and sys.stdin.isatty()
    if args.resume:
        session.chat = store.read_latest(store.state_folder(env) / "chats")
        if not session.chat.turns:
            session.screen.note("the last chat was removed with /undo: it starts empty")
    if interactive or args.resume:  # a single question is not saved
        _keep(session, env)
    if args.system is not None:
        refuse_template_marks(args.system)
        session.chat.system = args.system
    if interactive:
        return converse(session, host)
    question = read_question(args.message)
    session.connect()
    return session.ask(question).code


def read_setting(text: str) -> tuple[str, float]:
    """The name and the value in NAME=VALUE. Raises `SettingsError`."""
    name, equals, value = text.partition("=")
    if not equals or not value.strip():
        raise SettingsError(f"--set {name} has no value", hint="For instance: --set temperature=0.3")
    return name.strip(), parse_option(name.strip(), value.strip())


def read_question(words: Sequence[str]) -> str:
    """The question: `words`, with `-` replaced by standard input. Without words it is standard input."""
    piped = ""
    if sys.stdin is not None and (not words or "-" in words):
        try:
            piped = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")  # some editors write lone surrogates
        except UnicodeDecodeError as error:
            raise InputError(f"standard input is not UTF-8: byte {error.start}") from error
    text = " ".join(piped if word == "-" else word for word in words) if words else piped
    text = readable(text).strip()
    refuse_template_marks(text)
    if not text:
        raise InputError("there is no question", hint="Give it as an argument or on standard input.")
    return text


def converse(session: Session, host: str) -> int:
    """Read and answer until the user exits. Raises `DoricError` if the server refuses before the first question."""
    from doric.chat.prompt import make_prompt  # a single question does not need it

    read_line = make_prompt(session, session.file and session.file.parent.with_name("history"))
    session.screen.note(f"Doric chat at {host}, /help for help")
    if session.chat.turns:
        commands.resume(session, session.chat)
    while True:
        try:
            with session.signals.armed():
                reply(session, readable(read_line()).strip())
        except (EOFError, commands.Leave):
            session.save_again()
            return 0
        except KeyboardInterrupt:
            session.stopped = True
            session.screen.note("(Ctrl-D leaves)")
        except DoricError as error:
            if error is session.server.refused:
                raise
            session.screen.error(error.message, error.hint)


def reply(session: Session, text: str) -> None:
    """Run a command, or answer a message. Raises `DoricError`, or `Leave`."""
    if text.lower() in commands.LEAVING:
        raise commands.Leave
    if text.startswith("/") and not text.startswith("//"):
        commands.run(session, text)
    elif text:
        refuse_template_marks(text)
        session.ask(text.removeprefix("/"))


def _keep(session: Session, env: Mapping[str, str]) -> None:
    """Save the chat to a file from now on, if the folder can be created."""
    try:
        session.file = store.state_folder(env) / "chats" / f"{session.chat.id}.jsonl"
    except InputError as error:
        session.screen.note(f"[{error}: this chat is in memory only]")
