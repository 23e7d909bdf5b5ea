"""The chat as a program: one question, or a conversation at a terminal."""

import argparse
import sys
from collections.abc import Mapping, Sequence

from doric.chat import commands, store
from doric.chat.server import Address, Server
from doric.chat.session import Session, parse_option
from doric.chat.terminal import Screen
from doric.core.errors import DoricError, InputError


def run(args: argparse.Namespace, env: Mapping[str, str]) -> int:
    """Answer one question, or start a conversation at a terminal. Returns the exit code; raises `DoricError`.

    `args` has message, resume, system, set and wait, as `modal/chat_cli.py` defines them.
    """
    screen = Screen(env)
    address = Address.from_env(env)
    if address.warning:
        screen.note(f"warning: {address.warning}")
    options = {name: parse_option(name, value) for name, _, value in (each.partition("=") for each in args.set)}
    server = Server(address, wait=args.wait, wanted=env.get("VLLM_MODEL", ""))
    session = Session(server, screen, options=options)
    interactive = not args.message and sys.stdin is not None and sys.stdin.isatty()
    if args.resume:
        session.chat = store.read_latest(store.state_folder(env) / "chats")
        if not session.chat.turns:
            screen.note("the last chat was removed with /undo: it starts empty")
    if interactive or args.resume:  # a single question is not saved
        _keep(session, env)
    if args.system is not None:
        session.chat.system = args.system
    if interactive:
        return converse(session, address.host)
    session.connect()
    return session.ask(read_question(args.message)).code


def read_question(words: Sequence[str]) -> str:
    """The question: `words`, with `-` replaced by standard input. Without words it is standard input."""
    piped = ""
    if sys.stdin is not None and (not words or "-" in words):
        try:
            piped = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")  # some editors write lone surrogates
        except UnicodeDecodeError as error:
            raise InputError(f"standard input is not UTF-8: byte {error.start}") from error
    text = " ".join(piped if word == "-" else word for word in words) if words else piped
    if not text.strip():
        raise InputError("there is no question", hint="Give it as an argument or on standard input.")
    return text.strip()


def converse(session: Session, host: str) -> int:
    """Read and answer until the user exits. Raises `DoricError` if the server refuses before the first question."""
    from doric.chat.prompt import make_prompt  # a single question does not need it

    read_line = make_prompt(session, session.file and session.file.parent.with_name("history"))
    session.screen.note(f"Doric chat at {host}, /help for help")
    if session.chat.turns:
        commands.resume(session, session.chat)
    while True:
        try:
            text = read_line().strip()
            if text.startswith("/") and not text.startswith("//"):
                commands.run(session, text)
            elif text:
                session.ask(text.removeprefix("/"))
        except (EOFError, commands.Leave):
            return 0
        except KeyboardInterrupt:
            session.screen.note("(Ctrl-D leaves)")
        except DoricError as error:
            if error is session.server.refused:
                raise
            session.screen.error(error.message, error.hint)


def _keep(session: Session, env: Mapping[str, str]) -> None:
    """Save the chat to a file from now on, if the folder can be created."""
    try:
        session.file = store.state_folder(env) / "chats" / f"{session.chat.id}.jsonl"
    except InputError as error:
        session.screen.note(f"[{error}: this chat is in memory only]")
