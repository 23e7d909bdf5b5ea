"""Chat with a served Doric model, in a terminal or through a pipe.

    uv run python modal/chat_cli.py

VLLM_URL says where the model is: what `modal deploy` printed, or a local server such as http://localhost:8000.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from chat_address import Address
from chat_archive import BadFile, newest, read, state_folder
from chat_cleaner import clean
from chat_commands import Leave, run, take
from chat_errors import ChatError, NoServer
from chat_options import BadOption, parse_option
from chat_screen import Screen, columns
from chat_session import Session
from chat_wire import Wire

EXAMPLES = """\
one question, only its answer on standard output:
  chat_cli.py "Fit like?"
  chat_cli.py < letter.txt
  chat_cli.py "Pit this intae Doric:" - < letter.txt
exit codes: 0 answered, 1 no answer or a broken one, 2 a mistake to mend, 130 stopped
"""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="chat_cli.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("message", nargs="*", help="a question; - stands for standard input")
    parser.add_argument("--resume", action="store_true", help="go on with the last chat")
    parser.add_argument("--system", metavar="TEXT", help="a system prompt; Doric needs none")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="temperature=0.3 and the like")
    parser.add_argument("--wait", type=float, default=600, metavar="SECONDS", help="for a cold server (%(default)s)")
    return parser.parse_args(argv)


def variables() -> dict[str, str]:
    """`.env` beside or above this file, then the environment, which wins."""
    from dotenv import dotenv_values, find_dotenv

    written = {name: text for name, text in dotenv_values(find_dotenv()).items() if text is not None}
    return {**written, **os.environ}


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    env = variables()
    screen = Screen(env)
    try:
        return chat(args, env, screen)
    except ChatError as error:
        screen.error(str(error), error.hint)
        return 1 if isinstance(error, NoServer) else 2
    except (BadFile, BadOption) as error:
        screen.error(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the answer has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def chat(args: argparse.Namespace, env: Mapping[str, str], screen: Screen) -> int:
    """One question, or a conversation when there is a terminal to hold it with."""
    wire = Wire(Address.from_env(env), wait=args.wait)
    options = {name: parse_option(name, value) for name, _, value in (each.partition("=") for each in args.set)}
    session = Session(wire, screen, wanted=env.get("VLLM_MODEL", ""), options=options)
    talk = not args.message and sys.stdin is not None and sys.stdin.isatty()
    if talk or args.resume:  # a single question leaves nothing behind
        folder = state_folder(env)
        session.chat = read(newest(folder / "chats")) if args.resume else session.chat
        session.file = folder / "chats" / f"{session.chat.id}.jsonl"
    if args.system is not None:
        session.chat.system = args.system
    if talk:
        return converse(session)
    session.connect()
    return session.ask(question(args.message)).code


def question(words: Sequence[str]) -> str:
    """What was asked on the command line, `-` replaced by standard input, which is all there is without words."""
    piped = ""
    if sys.stdin is not None and (not words or "-" in words):
        try:
            piped = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadFile(f"standard input is not UTF-8: byte {error.start}") from error
    text = " ".join(piped if word == "-" else word for word in words) if words else piped
    if not text.strip():
        raise BadFile("there is no question: give one as an argument or on standard input")
    return text.strip()


def converse(session: Session) -> int:
    """Read, answer, and so on until the user leaves. Raises Refused if the server will not have us at all."""
    assert session.file, "a conversation is kept"
    prompt = make_prompt(session, session.file.parent.with_name("history"))
    session.screen.note(f"Doric chat at {session.wire.address.host}, /help for help")
    if session.chat.turns:
        take(session, session.chat)
    while True:
        try:
            text = prompt().strip()
            if text.startswith("/") and not text.startswith("//"):
                run(session, text)
            elif text:
                session.ask(text.removeprefix("/"))
        except (EOFError, Leave):
            return 0
        except KeyboardInterrupt:
            session.screen.note("(Ctrl-D leaves)")
        except ChatError as error:
            if error is session.refused:
                raise
            session.screen.error(str(error), error.hint)
        except (BadFile, BadOption) as error:
            session.screen.error(str(error))


def make_prompt(session: Session, history: Path) -> Callable[[], str]:
    """A function that reads one message: Enter sends, Alt-Enter and pasted line ends stay in the text.

    While it waits, the server is looked for; it raises Refused as soon as the server does.
    """
    import asyncio

    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import get_app
    from prompt_toolkit.enums import DEFAULT_BUFFER
    from prompt_toolkit.filters import has_focus
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.output import create_output
    from prompt_toolkit.styles import Style

    keys = KeyBindings()

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    began = time.monotonic()

    def status() -> str:
        waiting = f"{session.waiting_for()} … {time.monotonic() - began:.0f} s"
        return clean(session.status() or waiting)[: columns() - 1]

    async def look_out() -> None:
        while session.looking:
            await asyncio.sleep(0.2)
            get_app().invalidate()
        if session.refused and not get_app().is_done:
            get_app().exit(exception=session.refused)

    def watch() -> None:
        if session.finder is None:
            session.find_meanwhile()
        if session.model is None:
            get_app().create_background_task(look_out())

    reader = PromptSession(
        "\n>>> ",
        multiline=True,
        prompt_continuation="... ",
        history=FileHistory(str(history)),
        key_bindings=keys,
        bottom_toolbar=status,
        style=Style.from_dict({"bottom-toolbar": "noreverse ansibrightblack"}),
        output=create_output(always_prefer_tty=True),
    )
    return lambda: reader.prompt(pre_run=watch)


if __name__ == "__main__":
    sys.exit(main())
