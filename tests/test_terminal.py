"""Nothing that a script says commands the terminal."""

import logging

from doric.core.cli import print_stderr, report_error, setup_logging
from doric.core.errors import DoricError, InputError

RUDE = "no \x1b]0;pwned\x07 such\u202e thing"
PLAIN = "no  such thing"


def test_a_complaint_is_plain_lines_and_exit_2(capsys):
    """The message, the hint where there is one, no control character, and the status for something to mend."""
    assert report_error(InputError(RUDE, file="a.json", line=3, hint="Mend it.")) == 2
    assert report_error(DoricError("alone")) == 2
    assert capsys.readouterr().err == f"error: a.json:3: {PLAIN}\nhint: Mend it.\nerror: alone\n"


def test_what_is_told_is_plain(capsys):
    """Lines stay lines; what a terminal would obey is left out."""
    print_stderr(f"one\n{RUDE}")
    assert capsys.readouterr().err == f"one\n{PLAIN}\n"


def test_log_lines_are_plain_and_ours(capsys, monkeypatch):
    """Our lines come from the level asked for, without control characters; a library's only when it warns."""
    for name in ("", "doric"):  # as a script finds them, and as they were afterwards
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
        monkeypatch.setattr(logging.getLogger(name), "level", logging.WARNING)
    setup_logging("INFO")
    logging.getLogger("doric").info("It says: %s", RUDE)
    logging.getLogger("doric").debug("too fine")
    logging.getLogger("httpx").info("a request")
    logging.getLogger("httpx").warning("odd")
    assert capsys.readouterr().err == f"It says: {PLAIN}\nodd\n"
