"""The behaviour that all commands share: errors, exit status, log lines, numeric flags, Ctrl-C and progress."""

import argparse
import asyncio
import gc
import logging
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from doric.core import cli
from doric.core.cli import (
    ProgressBar,
    handle_interrupts,
    print_stderr,
    report_error,
    run_until_interrupt,
    setup_logging,
)
from doric.core.errors import DoricError, InputError, SettingsError

ROOT = Path(__file__).parents[1]
RUDE = "no \x1b]0;pwned\x07 such\u202e thing"
SAFE = "no  such thing"


def test_an_error_is_two_lines_and_exit_2(capsys):
    """An error prints its message and its hint, without control characters, and the exit status is 2."""
    assert report_error(InputError(RUDE, file="a.json", line=3, hint="Fix it.")) == 2
    assert report_error(DoricError("alone")) == 2
    assert capsys.readouterr().err == f"error: a.json:3: {SAFE}\nhint: Fix it.\nerror: alone\n"


def test_lines_for_people_are_printable(capsys):
    """Line breaks are kept, and control characters for the terminal are removed."""
    print_stderr(f"one\n{RUDE}")
    assert capsys.readouterr().err == f"one\n{SAFE}\n"


def test_log_lines_are_printable_and_ours(capsys, monkeypatch):
    """The project logs from the chosen level without control characters, and other libraries log only warnings."""
    for name in ("", "doric"):  # the state in which a script finds them; restored after the test
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
        monkeypatch.setattr(logging.getLogger(name), "level", logging.WARNING)
    setup_logging("INFO")
    logging.getLogger("doric").info("It says: %s", RUDE)
    logging.getLogger("doric").debug("too fine")
    logging.getLogger("httpx").info("a request")
    logging.getLogger("httpx").warning("odd")
    assert capsys.readouterr().err == f"It says: {SAFE}\nodd\n"


class Late(DoricError):
    """An error with its own exit status."""

    exit_status = 1


def raises(error):
    """A `run` that raises an error."""

    def run(args):
        raise error

    return run


def command(run, **options):
    """The `main` of a script that has no flags of its own."""
    return cli.main(argparse.ArgumentParser().parse_args, run, **options)


async def waits(args):
    """A `run` that is a coroutine function."""
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
    """The status is that of `run` (sync or async), 2 or the error's own after a DoricError, and 130 after Ctrl-C."""
    assert command(run, interrupted="Stopped; resume it.")([]) == status
    assert capsys.readouterr().err == printed


@pytest.mark.parametrize(
    ("given", "suggested"),
    [
        (["--maxcost", "5"], "Did you mean --max-cost? "),
        (["--maxcost=5"], "Did you mean --max-cost? "),
        (["--zzz"], ""),
        (["rows.jsonl"], ""),
        (["--" + "m" * 100_000], ""),
    ],
)
def test_an_unknown_flag_is_answered_with_the_one_most_like_it(capsys, given, suggested):
    """The hint asks whether the flag most like it was meant, if there is one."""
    parser = cli.Parser(prog="tool.py")
    parser.add_argument("--max-cost")
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(given)
    assert stopped.value.code == 2
    assert f"hint: {suggested}tool.py --help lists all flags." in capsys.readouterr().err


def test_an_error_of_our_own_keeps_its_traceback():
    """An unexpected exception keeps its traceback."""
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
    """If the reader of stdout ends, as `head` does, the command ends without a message and with the given status."""
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
    """The number in a flag is returned in the type of the flag."""
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
    """The error of argparse is one sentence with the shortened number and the allowed values."""
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        kind(text)
    assert str(caught.value).startswith(complaint)


def test_progress_is_logged_every_so_many_rows(caplog):
    """Without a terminal, a line with the note is logged every `every` rows and at the end, unless progress is off."""
    caplog.set_level("INFO")
    for shown in (True, False):
        progress = ProgressBar(5, 0, every=2, shown=shown, note=lambda: "rejected 1")
        for _ in range(5):
            progress.advance()
        progress.close()
    assert [line.split(" rows")[0] for line in caplog.messages] == ["2 of 5", "4 of 5", "5 of 5"]
    assert all(line.endswith("rows/s, rejected 1") for line in caplog.messages)


def test_a_silent_run_shows_that_it_is_alive(caplog, monkeypatch):
    """If no row is finished for a while, the heartbeat logs a line."""
    caplog.set_level("INFO")
    monkeypatch.setattr(cli, "HEARTBEAT_SECONDS", 0.05)

    async def run():
        heartbeat = asyncio.create_task(ProgressBar(5, 0, every=9, shown=True, note=str).heartbeat())
        await asyncio.sleep(0.2)
        heartbeat.cancel()

    asyncio.run(run())
    assert caplog.messages[0].startswith("0 of 5 rows")


async def pressed(presses: int, number: int = signal.SIGINT) -> list[str]:
    """The callbacks that the given number of signals call."""
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
    """The first Ctrl-C stops the run and logs one line, and each further Ctrl-C cancels it."""
    assert asyncio.run(pressed(presses)) == calls
    assert caplog.text.count("in 10 s at the latest. Press Ctrl-C again to stop now") == (presses > 0)


@pytest.mark.skipif(sys.platform == "win32", reason="no handlers on the loop there")
def test_sigterm_does_what_ctrl_c_does():
    """The first SIGTERM, which a system sends at shutdown, stops the run, and the second cancels it."""
    assert asyncio.run(pressed(2, signal.SIGTERM)) == ["stop", "cancel"]


@pytest.mark.skipif(sys.platform == "win32", reason="no handlers on the loop there")
def test_calls_that_do_not_end_are_cancelled_after_a_while(monkeypatch):
    """If the calls in flight do not end after the first Ctrl-C, they are cancelled without a second one."""
    monkeypatch.setattr("doric.core.cli.CALL_SECONDS", 0.05)
    calls = []

    async def never_ends() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run_until_interrupt(never_ends(), lambda: calls.append("stop")))
    assert calls == ["stop"]


@pytest.mark.skipif(sys.platform == "win32", reason="no handlers on the loop there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_work_ends_before_the_interrupt_is_raised(number):
    """After Ctrl-C or SIGTERM, work that ends by itself is completed, and its error is raised instead."""
    steps = []

    async def ends(error: Exception | None) -> None:
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.05)
        steps.append("ended")
        if error:
            raise error

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run_until_interrupt(ends(None), lambda: steps.append("stop")))
    assert steps == ["stop", "ended"]
    with pytest.raises(InputError, match="no room"):
        asyncio.run(run_until_interrupt(ends(InputError("no room")), lambda: None))


@pytest.mark.skipif(sys.platform == "win32", reason="no handlers on the loop there")
def test_afterwards_ctrl_c_is_what_it_was():
    """When the block ends, also because of an error, its signal handlers are removed."""

    async def fails() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="within"), handle_interrupts(lambda: None, lambda: None):
            raise ValueError("within")
        assert not loop.remove_signal_handler(signal.SIGINT)
        assert not loop.remove_signal_handler(signal.SIGTERM)

    asyncio.run(fails())


def test_a_system_without_handlers_runs_all_the_same(monkeypatch):
    """If the event loop supports no signal handlers, as on Windows, the block still runs, and Python handles Ctrl-C."""

    async def runs() -> str:
        loop = asyncio.get_running_loop()

        def missing(*_: object) -> None:
            raise NotImplementedError

        monkeypatch.setattr(loop, "add_signal_handler", missing)
        monkeypatch.setattr(loop, "remove_signal_handler", missing)
        with handle_interrupts(lambda: None, lambda: None):
            return "ran"

    assert asyncio.run(runs()) == "ran"


def test_an_interrupt_in_a_task_says_nothing(capsys):
    """If Ctrl-C ends a task that nobody awaits, the status is 130, and Python prints nothing about the task."""

    async def task() -> None:
        raise KeyboardInterrupt

    async def run(args: object) -> int:
        kept = asyncio.create_task(task())
        await asyncio.sleep(1)
        return 0 if kept else 1

    assert cli.main(lambda argv: argparse.Namespace(), run)([]) == 130
    gc.collect()
    assert capsys.readouterr().err == ""


SCRIPTS = [
    *("dataset_generation/" + name for name in (
        "check_doric.py", "generate_doric_dataset.py", "generate_topics_via_llm.py", "report_dataset.py",
        "transform_to_sharegpt.py",
    )),
    "validation/validate_model.py",
    "modal/chat_cli.py",
]  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_while_modules_are_imported_is_130(script, tmp_path):
    """Ctrl-C during the imports of a script ends it with exit status 130 and without a traceback."""
    for name in ("argparse", "doric"):
        slow = f"""
import os, runpy, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.modules.pop("argparse", None)
sys.meta_path.insert(0, Interrupt())
sys.argv = [{script!r}]
runpy.run_path({str(ROOT / script)!r}, run_name="__main__")
"""
        done = subprocess.run(
            [sys.executable, "-c", slow], cwd=tmp_path, capture_output=True, stdin=subprocess.DEVNULL, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (130, b"", b""), name


@pytest.mark.parametrize(("answer", "said"), [("y", True), (" Aye ", True), ("", False), ("n", False), (None, False)])
def test_only_a_yes_is_a_yes(monkeypatch, answer, said):
    """Ctrl-D, which is the end of the input, is a no without a traceback."""

    def typed(question: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", typed)
    assert cli.says_yes("Start?") is said
