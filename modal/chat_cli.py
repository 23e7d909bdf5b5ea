"""Chat with a served Doric model, in a terminal or through a pipe.

    uv run python modal/chat_cli.py

VLLM_URL says where the model is: what `modal deploy` printed, or a local server such as http://localhost:8000.

one question, only its answer on standard output:
  uv run python modal/chat_cli.py "Fit like?"
  uv run python modal/chat_cli.py < letter.txt
  uv run python modal/chat_cli.py "Pit this intae Doric:" - < letter.txt
exit codes: 0 answered, 1 no answer or an incomplete one, 2 something to fix, 130 stopped, 141 output closed
"""

import os
import signal

if __name__ == "__main__":  # so that Ctrl-C ends the program without a traceback while the modules are imported
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from doric.core import cli
    from doric.core.env_file import find_dotenv, load_variables
except ModuleNotFoundError as error:
    uv = f"uv run --project {Path(__file__).parents[1]} python {sys.argv[0]}"
    message = f"the package {error.name} is not installed. Run this script with uv: {uv}"
    argparse.ArgumentParser(usage=argparse.SUPPRESS).error(message)

DAY = 86_400


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument("message", nargs="*", help="a question; - stands for standard input")
    parser.add_argument("--resume", action="store_true", help="continue the last chat")
    parser.add_argument("--system", metavar="TEXT", help="a system prompt; Doric needs none")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="for instance temperature=0.3")
    extra = """more fields for each request, for instance '{"chat_template_kwargs": {"enable_thinking": false}}'"""
    parser.add_argument("--extra-body", metavar="JSON", help=f"{extra} (else VLLM_EXTRA_BODY)")
    wait = "how long to wait for a server that is starting (default: 600, but 0 if nothing listens on this machine)"
    parser.add_argument("--wait", type=cli.bounded(float, 0, DAY), metavar="SECONDS", help=wait)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    from doric.chat import app

    return app.run(args, load_variables(find_dotenv(Path(__file__).parent)))


main = cli.main(parse_args, run, broken_pipe=141)  # the status of a program that SIGPIPE has ended

if __name__ == "__main__":
    raise SystemExit(main())
