"""What every command does the same way: errors, exit status, log lines, flags that are numbers, Ctrl-C, progress."""

import argparse
import asyncio
import logging
import math
import os
import signal
import subprocess
import sys

import pytest

from doric.core import cli
from doric.core.cli import ProgressBar, handle_interrupts, print_stderr, report_error, setup_logging
from doric.core.errors import DoricError, InputError, SettingsError

RUDE = "no \x1b]0;pwned\x07 such\u202e thing"
SAFE = "no  such thing"


def test_an_error_is_two_lines_and_exit_2(capsys):
    """The message, the hint if there is one, no control character, and exit status 2."""
    assert report_error(InputError(RUDE, file="a.json", line=3, hint="Fix it.")) == 2
    assert report_error(DoricError("alone")) == 2
    assert capsys.readouterr().err == f"error: a.json:3: {SAFE}\nhint: Fix it.\nerror: alone\n"


def test_lines_for_people_are_printable(capsys):
    """Lines stay lines; what a terminal would obey is removed."""
    print_stderr(f"one\n{RUDE}")
    assert capsys.readouterr().err == f"one\n{SAFE}\n"


def test_log_lines_are_printable_and_ours(capsys, monkeypatch):
    """Our lines come from the level asked for, without control characters; a library's only when it warns."""
    for name in ("", "doric"):  # as a script finds them, and as they were afterwards
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
        monkeypatch.setattr(logging.getLogger(name), "level", logging.WARNING)
    setup_logging("INFO")
    logging.getLogger("doric").info("It says: %s", RUDE)
    logging.getLogger("doric").debug("too fine")
    logging.getLogger("httpx").info("a request")
    logging.getLogger("httpx").warning("odd")
    assert capsys.readouterr().err == f"It says: {SAFE}\nodd\n"


class Late(DoricError):
    """An error with an exit status of its own."""

    exit_status = 1


def raises(error):
    """A `run` that fails."""

    def run(args):
        raise error

    return run


def command(run, **options):
    """The `main` of a script without flags of its own."""
    return cli.main(argparse.ArgumentParser().parse_args, run, **options)


async def waits(args):
    """A `run` that is a coroutine."""
    await asyncio.sleep(0)
    return 7


@pytest.mark.parametrize(
    ("run", "status", "printed"),
    [
        (lambda args: 1, 1, ""),
        (waits, 7, ""),
        (raises(SettingsError("no key", hint="Set it.")), 2, "error: no key\nhint: Set it.\n"),
        (raises(Late("no server")), 1, "error: no server\n"),
        (raises(KeyboardInterrupt()), 130, "Stopped; resume it.\n"),
    ],
)
def test_main_returns_the_exit_status(capsys, run, status, printed):
    """The status of run (sync or async), 2 or the error's own after a DoricError, 130 after Ctrl-C; no traceback."""
    assert command(run, interrupted="Stopped; resume it.")([]) == status
    assert capsys.readouterr().err == printed


def test_an_error_of_our_own_keeps_its_traceback():
    """What is not the user's to fix is not disguised."""
    with pytest.raises(ZeroDivisionError):
        command(lambda args: 1 // 0)([])


READER_LEAVES = """
import argparse
from doric.core import cli
def run(args):
    for n in range(10**6):
        print(n)
    return 3
raise SystemExit(cli.main(argparse.ArgumentParser().parse_args, run)([]))
"""


@pytest.mark.parametrize(("options", "status"), [("", 0), (", broken_pipe=141", 141)])
def test_a_reader_that_leaves_is_no_error(options, status):
    """When the program that reads stdout ends, as `head` does, the command ends quietly with the status asked for."""
    code = READER_LEAVES.replace(", run)", f", run{options})")
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1) as run:
        assert run.stdout.readline() == b"0\n"
        run.stdout.close()
        assert run.stderr.read() == b""
    assert run.returncode == status


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (cli.positive_int, "1", 1),
        (cli.non_negative_int, "0", 0),
        (cli.positive_float, "1e-9", 1e-9),
        (cli.non_negative_float, "0", 0.0),
        (cli.share, "1", 1.0),
        (cli.bounded(float, 0, math.inf), "inf", math.inf),
        (cli.bounded(int, 5, 9), " 9 ", 9),
    ],
)
def test_numbers_within_their_limits(kind, text, value):
    """A flag's number is returned as its own type."""
    assert kind(text) == value
    assert type(kind(text)) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "complaint"),
    [
        (cli.positive_int, "0", "0 is not a whole number of at least 1"),
        (cli.positive_int, "1.5", "1.5 is not a whole number of at least 1"),
        (cli.positive_int, "many", "many is not a whole number of at least 1"),
        (cli.positive_int, "", "an empty value is not a whole number of at least 1"),
        (cli.positive_int, "9" * 30, "9" * 30 + " is too large"),
        (cli.positive_int, "9" * 10_000, "9" * 37 + "... is not a whole number"),
        (cli.non_negative_int, "-1", "-1 is not a whole number of at least 0"),
        (cli.positive_float, "0", "0 is not a number above 0"),
        (cli.positive_float, "inf", "inf is too large"),
        (cli.positive_float, "-inf", "-inf is not a number above 0"),
        (cli.non_negative_float, "nan", "nan is not a number of at least 0"),
        (cli.share, "1.01", "1.01 is not a number from 0 to 1"),
        (cli.bounded(float, 0, 60, above=True), "61", "61 is not a number above 0 and at most 60"),
    ],
)
def test_a_bad_number_is_named_with_its_limits(kind, text, complaint):
    """argparse gets one sentence with the number, shortened, and what is wanted."""
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        kind(text)
    assert str(caught.value).startswith(complaint)


def test_progress_is_logged_every_so_many_rows(caplog):
    """Without a terminal a line comes every `every` rows and at the last one, with the note; none unless shown."""
    caplog.set_level("INFO")
    for shown in (True, False):
        progress = ProgressBar(5, 0, every=2, shown=shown, note=lambda: "rejected 1")
        for _ in range(5):
            progress.advance()
        progress.close()
    assert [line.split(" rows")[0] for line in caplog.messages] == ["2 of 5", "4 of 5", "5 of 5"]
    assert all(line.endswith("rows/s, rejected 1") for line in caplog.messages)


def test_a_silent_run_shows_that_it_is_alive(caplog, monkeypatch):
    """Without a row for a while, the heartbeat logs a line."""
    caplog.set_level("INFO")
    monkeypatch.setattr(cli, "HEARTBEAT_SECONDS", 0.05)

    async def run():
        heartbeat = asyncio.create_task(ProgressBar(5, 0, every=9, shown=True, note=str).heartbeat())
        await asyncio.sleep(0.2)
        heartbeat.cancel()

    asyncio.run(run())
    assert caplog.messages[0].startswith("0 of 5 rows")


async def pressed(presses: int, number: int = signal.SIGINT) -> list[str]:
    """The callbacks that so many signals call."""
    told: asyncio.Queue[str] = asyncio.Queue()
    calls: list[str] = []
    with handle_interrupts(lambda: told.put_nowait("stop"), lambda: told.put_nowait("cancel")):
        for _ in range(presses):
            os.kill(os.getpid(), number)
            calls.append(await told.get())
    return calls


@pytest.mark.skipif(sys.platform == "win32", reason="no handlers on the loop there")
@pytest.mark.parametrize(
    ("presses", "calls"), [(0, []), (1, ["stop"]), (2, ["stop", "cancel"]), (3, ["stop", "cancel", "cancel"])]
)
def test_the_first_stops_and_the_second_cancels(caplog, presses, calls):
    """The first Ctrl-C stops and logs one line; each further one cancels."""
    assert asyncio.run(pressed(presses)) == calls
    assert caplog.text.count("Press Ctrl-C again to stop now") == (presses > 0)


@pytest.mark.skipif(sys.platform == "win32", reason="no handlers on the loop there")
def test_sigterm_does_what_ctrl_c_does():
    """A system that shuts down sends SIGTERM: the first stops and the second cancels."""
    assert asyncio.run(pressed(2, signal.SIGTERM)) == ["stop", "cancel"]


@pytest.mark.skipif(sys.platform == "win32", reason="no handlers on the loop there")
def test_afterwards_ctrl_c_is_what_it_was():
    """After the block, also after a failure, its signal handlers are gone."""

    async def fails() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="within"), handle_interrupts(lambda: None, lambda: None):
            raise ValueError("within")
        assert not loop.remove_signal_handler(signal.SIGINT)
        assert not loop.remove_signal_handler(signal.SIGTERM)

    asyncio.run(fails())


def test_a_system_without_handlers_runs_all_the_same(monkeypatch):
    """Where the loop takes no handlers, as on Windows, the block runs and Ctrl-C stays Python's own."""

    async def runs() -> str:
        loop = asyncio.get_running_loop()

        def missing(*_: object) -> None:
            raise NotImplementedError

        monkeypatch.setattr(loop, "add_signal_handler", missing)
        monkeypatch.setattr(loop, "remove_signal_handler", missing)
        with handle_interrupts(lambda: None, lambda: None):
            return "ran"

    assert asyncio.run(runs()) == "ran"
