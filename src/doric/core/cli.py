"""What a script says on the terminal: its log lines, what it sums up, and what went wrong, each as plain text.

Topics, file contents and a server's words may hold characters that a terminal obeys; none of them gets there.
"""

import logging
import sys

from doric.core.errors import DoricError
from doric.core.text import plain


def tell(text: str) -> None:
    """Print lines for people, beside the output."""
    print(plain(text), file=sys.stderr)


def report_error(error: DoricError) -> int:
    """Print what went wrong and what to do about it; the exit status that says so."""
    tell("\n".join([f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])]))
    return 2


def log_from(level: int | str) -> None:
    """Show our own log lines from `level` on, and of the libraries only what is wrong.

    They would write a line for each request, and whole requests when debugging.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_made_plain)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("doric").setLevel(level)


def _made_plain(record: logging.LogRecord) -> bool:
    record.msg, record.args = plain(record.getMessage()), ()
    return True
