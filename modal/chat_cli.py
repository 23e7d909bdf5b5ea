"""Chat with a served Doric model, in a terminal or through a pipe.

    uv run python modal/chat_cli.py

VLLM_URL says where the model is: what `modal deploy` printed, or a local server such as http://localhost:8000.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from doric.chat.address import Address
from doric.chat.cleaner import mended
from doric.chat.commands import Leave, run, take
from doric.chat.errors import ChatError, NoServer
from doric.chat.finder import Finder
from doric.chat.options import BadOption, parse_option
from doric.chat.session import Session
from doric.chat.store import BadFile, resume, state_folder
from doric.chat.terminal import Screen
from doric.chat.wire import Wire

EXAMPLES = """\
one question, only its answer on standard output:
  chat_cli.py "Fit like?"
  chat_cli.py < letter.txt
  chat_cli.py "Pit this intae Doric:" - < letter.txt
exit codes: 0 answered, 1 no answer or a broken one, 2 a mistake to mend, 130 stopped
"""
DAY = 86_400


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="chat_cli.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("message", nargs="*", help="a question; - stands for standard input")
    parser.add_argument("--resume", action="store_true", help="go on with the last chat")
    parser.add_argument("--system", metavar="TEXT", help="a system prompt; Doric needs none")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="temperature=0.3 and the like")
    parser.add_argument("--wait", type=seconds, default=600, metavar="SECONDS", help="for a cold server (%(default)s)")
    return parser.parse_args(argv)


def seconds(text: str) -> float:
    """A time that can be waited."""
    number = float(text)
    if not 0 <= number <= DAY:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {DAY}")
    return number


def variables() -> dict[str, str]:
    """`.env` beside or above this file, then the environment, which wins. Raises BadFile."""
    try:
        from dotenv import dotenv_values, find_dotenv
    except ModuleNotFoundError:
        print("note: .env is not read without python-dotenv: start with `uv run`, or install it", file=sys.stderr)
        return dict(os.environ)
    try:
        values: Mapping[str, Any] = dotenv_values(file := find_dotenv())
    except UnicodeDecodeError as error:
        raise BadFile(f"{file} is not UTF-8: byte {error.start}") from error
    return {**{name: text for name, text in values.items() if text is not None}, **os.environ}


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    screen = Screen(os.environ)
    try:
        return chat(args, variables(), screen)
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
    if wire.address.warning:
        screen.note(f"warning: {wire.address.warning}")
    options = {name: parse_option(name, value) for name, _, value in (each.partition("=") for each in args.set)}
    session = Session(Finder(wire, env.get("VLLM_MODEL", "")), screen, options=options)
    talk = not args.message and sys.stdin is not None and sys.stdin.isatty()
    if args.resume:
        session.chat = resume(state_folder(env) / "chats")
        if not session.chat.turns:
            screen.note("all of the last chat was taken back: it goes on empty")
    if talk or args.resume:  # a single question leaves nothing behind
        keep(session, env)
    if args.system is not None:
        session.chat.system = mended(args.system)
    if talk:
        return converse(session)
    session.connect()
    return session.ask(question(args.message)).code


def keep(session: Session, env: Mapping[str, str]) -> None:
    """From now on keep the chat in a file, if there is a place for files."""
    try:
        session.file = state_folder(env) / "chats" / f"{session.chat.id}.jsonl"
    except BadFile as error:
        session.screen.note(f"[{error}: this chat is in memory only]")


def question(words: Sequence[str]) -> str:
    """What was asked on the command line, `-` replaced by standard input, which is all there is without words."""
    piped = ""
    if sys.stdin is not None and (not words or "-" in words):
        try:
            piped = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")  # half a pair, as some editors write it
        except UnicodeDecodeError as error:
            raise BadFile(f"standard input is not UTF-8: byte {error.start}") from error
    text = " ".join(piped if word == "-" else word for word in words) if words else piped
    if not text.strip():
        raise BadFile("there is no question: give one as an argument or on standard input")
    return mended(text).strip()


def converse(session: Session) -> int:
    """Read, answer, and so on until the user leaves. Raises Refused if the server will not have us at all."""
    from doric.chat.prompt import make_prompt  # a single question needs none

    prompt = make_prompt(session, session.file and session.file.parent.with_name("history"))
    session.screen.note(f"Doric chat at {session.finder.wire.address.host}, /help for help")
    if session.chat.turns:
        take(session, session.chat)
    while True:
        try:
            text = mended(prompt()).strip()
            if text.startswith("/") and not text.startswith("//"):
                run(session, text)
            elif text:
                session.ask(text.removeprefix("/"))
        except (EOFError, Leave):
            return 0
        except KeyboardInterrupt:
            session.screen.note("(Ctrl-D leaves)")
        except ChatError as error:
            if error is session.finder.refused:
                raise
            session.screen.error(str(error), error.hint)
        except (BadFile, BadOption) as error:
            session.screen.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
