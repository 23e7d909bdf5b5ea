"""A page to chat with a served Doric model and to say how its answers sound, for people who use no terminal.

    uv run --group page python modal/chat_page.py

VLLM_URL says where the model is, as for chat_cli.py. The page is at http://127.0.0.1:7860. What readers say is saved in
datasets/reviews (one file per reader), and the answers that they approved in datasets/gold.jsonl.
"""

import argparse
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

try:
    from doric.core import cli
    from doric.core.env_file import find_dotenv, load_variables
except ModuleNotFoundError as error:
    uv = f"uv run --project {Path(__file__).parents[1]} --group page python {sys.argv[0]}"
    message = f"the package {error.name} is not installed. Run this script with uv: {uv}"
    argparse.ArgumentParser(usage=argparse.SUPPRESS).error(message)

TOP = Path(__file__).parents[1]
PASSWORD = "DORIC_PAGE_PASSWORD"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: also for other machines, with a login")
    parser.add_argument("--port", type=cli.bounded(int, 1, 65535), default=7860)
    parser.add_argument("--share", action="store_true", help="also at a public address of gradio.live, with a login")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="for instance temperature=0.3")
    parser.add_argument("--wait", type=cli.bounded(float, 0, 86_400), metavar="SECONDS", help="as in chat_cli.py")
    parser.add_argument("--reviews", type=Path, default=TOP / "datasets" / "reviews", metavar="FOLDER")
    parser.add_argument("--gold", type=Path, default=TOP / "datasets" / "gold.jsonl", metavar="FILE")
    parser.add_argument("--write-space", type=Path, metavar="FOLDER", help="write a Hugging Face Space and end")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    if args.write_space:
        from doric.chat.space import write_space

        write_space(args.write_space)
        print(f"Written: {args.write_space}. Its README.md names the secrets to set. Upload it with:")
        print(f"  uvx --from huggingface_hub hf upload YOU/doric-chat {args.write_space} . --repo-type space")
        return 0
    return serve(args, load_variables(find_dotenv(Path(__file__).parent)))


def serve(args: argparse.Namespace, env: Mapping[str, str]) -> int:
    """Serve the page until Ctrl-C."""
    from doric.chat.app import read_setting
    from doric.chat.judgements import Judgements
    from doric.chat.server import Address, Server
    from doric.core.errors import SettingsError, missing_package
    from doric.core.extra_body import parse_extra_body

    address = Address.from_env(env)
    if address.warning:
        cli.print_stderr(f"warning: {address.warning}")
    extra = parse_extra_body(env.get("VLLM_EXTRA_BODY", ""), "VLLM_EXTRA_BODY")
    server = Server(address, wait=args.wait, wanted=env.get("VLLM_MODEL", "").strip(), extra_body=extra)
    options = dict(map(read_setting, args.set))
    try:
        from doric.chat import page
    except ImportError as error:  # a removed gradio may leave a folder without its modules
        if (error.name or "").partition(".")[0] != "gradio":
            raise missing_package(error) from error
        hint = "uv run --group page python modal/chat_page.py"
        raise SettingsError("gradio is not installed", hint=hint) from error
    blocks = page.build(page.Page(server, Judgements(args.reviews, args.gold), options))
    auth = login(args, env)
    try:
        blocks.launch(
            server_name=args.host, server_port=args.port, share=args.share, auth=auth, inbrowser=False, **page.LAUNCH
        )
    except OSError as error:
        raise SettingsError(f"port {args.port} is in use", hint="Choose another --port.") from error
    return 0


def login(args: argparse.Namespace, env: Mapping[str, str]) -> tuple[str, str] | None:
    """The user and password of a page that others can reach; None for a page of this machine only."""
    if not args.share and args.host in ("127.0.0.1", "localhost", "::1"):
        return None
    password = env.get(PASSWORD, "")
    cli.print_stderr("warning: others can reach this page, and each question costs what your model costs")
    if not password:
        password = secrets.token_urlsafe(9)
        cli.print_stderr(f"login: user doric, password {password} ({PASSWORD} in .env sets another)")
    return "doric", password


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
