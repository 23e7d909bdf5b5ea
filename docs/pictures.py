"""Make the pictures of README.md from the reports that journey.sh has written, as a browser shows them.

    uv run python docs/pictures.py --folder datasets/journey

Needs Chromium or Google Chrome. A report is refused if it shows a path of this machine or a failed call.
Exit status: 0 done, 2 an error to fix.
"""

import argparse
import html
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from doric.core import cli
from doric.core.errors import InputError, SettingsError, os_error
from doric.core.files import atomic_write

PICTURES = Path(__file__).parent / "pictures"
REPORTS = {"dataset.html": "dataset.png", "tuned.html": "scoreboard.png"}
"""Report in the folder of journey.sh -> its picture."""
SIZE = "1100,1000"
"""Width and height in pixels: the top of a page, as a laptop shows it."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FAILED = re.compile(r"\d[\d,]* of \d[\d,]* calls to .{0,200}? failed")
SECONDS = 120
"""A browser that takes longer is stopped."""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--folder", type=Path, default=Path("datasets/journey"), help="folder with the reports")
    parser.add_argument("--out", type=Path, default=PICTURES, metavar="FOLDER", help="default: docs/pictures")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Check all reports, and make a picture of each."""
    pages = {args.folder / report: args.out / picture for report, picture in REPORTS.items()}
    for page in pages:
        check_report(page)
    browser = find_browser()
    for page, picture in pages.items():
        atomic_write(picture, photograph(browser, page))
        print(f"{picture} shows {page}")
    return 0


def check_report(page: Path) -> None:
    """Raise `InputError` unless everybody may see the report: no path of this machine, no failed call."""
    try:
        text = html.unescape(page.read_text("utf-8", errors="replace"))  # a path may have & or quotation marks
    except OSError as error:
        raise os_error(error, page, "read") from error
    private = {str(folder) for folder in (Path.home(), page.parent.resolve(), Path(tempfile.gettempdir()))}
    if found := next((folder for folder in private if f"{folder}/" in text), None):
        hint = "Make the report again from a relative path."
        raise InputError(f"the report shows the path {found}", file=page, hint=hint)
    if FAILED.search(text):
        hint = "Run the same command again: it asks only what has no answer."
        raise InputError("the report shows failed calls", file=page, hint=hint)


def find_browser() -> str:
    """The first browser that is installed. Raises `SettingsError`."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if not found:
        raise SettingsError("there is no browser to show the reports", hint=f"Install one of: {', '.join(BROWSERS)}.")
    return found


def photograph(browser: str, page: Path) -> bytes:
    """The top of a page as PNG. Raises `InputError` if the browser makes no picture."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "page.png"
        flags = [
            "--headless=new", "--hide-scrollbars", "--force-device-scale-factor=1", f"--window-size={SIZE}",
            f"--user-data-dir={folder}/profile", f"--screenshot={picture}",
        ]  # fmt: skip
        flags += ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # Chromium refuses root
        try:
            done = subprocess.run(
                [browser, *flags, page.resolve().as_uri()], capture_output=True, text=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise InputError(f"the browser made no picture in {SECONDS} s", file=page) from error
        except OSError as error:
            raise os_error(error, Path(browser), "started") from error
        if not picture.is_file():
            reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            raise InputError(f"the browser made no picture: {reason[0]}", file=page)
        return picture.read_bytes()


main = cli.main(parse_args, run)

if __name__ == "__main__":
    raise SystemExit(main())
