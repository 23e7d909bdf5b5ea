"""The parts that all commands share: flags that are numbers, log lines, progress, Ctrl-C, errors, exit status.

Topics, files and servers may contain control characters. So everything printed here is made `printable` first.
"""

import argparse
import asyncio
import atexit
import contextlib
import errno
import gc
import io
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, Never, NoReturn, TextIO

from doric.core.errors import DoricError, InputError, SettingsError, os_error
from doric.core.files import discard_stdout
from doric.core.signals import SIGNALS
from doric.core.text import printable
from doric.data import DataError

log = logging.getLogger("doric")
CHECK_DATA = "Find out what is wrong with: uv run python dataset_generation/check_doric.py"
MOST = 2**53
"""The largest number that a flag accepts, unless the flag has its own limit."""
MOST_ROWS = 10**9
"""More rows per topic, for any number of topics, could not be counted."""
MAX_MESSAGE = 300
"""Characters of an error about a flag."""
CALL_SECONDS = 10.0
"""After the first Ctrl-C, the calls in flight have so many seconds to end, because they are paid for."""
HEARTBEAT_SECONDS = 30.0
"""A log line appears at least this often while rows are missing, so that a run never looks dead."""
NOTHING_LEFT = 3
"""The exit status of a command that was asked what is left to do, and found nothing."""

# --- running a command ----------------------------------------------------------------------------------------------


def main(
    parse_args: Callable[[Sequence[str] | None], argparse.Namespace],
    run: Callable[[argparse.Namespace], int | Coroutine[Any, Any, int]],
    *,
    interrupted: str = "",
    broken_pipe: int = 0,
) -> Callable[..., int]:
    """The `main(argv)` of a script: parse the flags, run, and return the exit status.

    A `DoricError` is printed as `error: ...` and `hint: ...`, and the exit status is 2 (or the error's `exit_status`).
    Ctrl-C prints `interrupted`, if given, and the exit status is 130. When the reader of stdout has closed the pipe,
    the exit status is `broken_pipe`. If stdout cannot be written for another reason, that is an error too, also for
    `--help`. `run` may be a coroutine function. Log lines are printed from `--log-level` on if the script has that
    flag, else from "info" on.
    """

    def execute(argv: Sequence[str] | None) -> int:
        args = parse_args(argv)
        setup_logging(getattr(args, "log_level", "info"))
        result = run(args)
        return _run_coroutine(result) if isinstance(result, Coroutine) else result

    def command(argv: Sequence[str] | None = None) -> int:
        with _stdout() as out:
            try:
                _raise_interrupts()
                status = execute(argv)
                out.flush()
            except DoricError as error:
                return report_error(error)
            except DataError as error:
                return report_error(InputError(str(error), hint=CHECK_DATA))
            except KeyboardInterrupt:
                if interrupted:
                    print_stderr(interrupted)
                return 130
            except (OSError, SystemExit):
                # an unexpected error of another file keeps its traceback; argparse ignores errors of stdout and exits
                if (status := _stdout_failed(out, broken_pipe)) is None:
                    raise
                return status
        # else the garbage collector would scan all objects of the libraries once more, which takes a fifth of a second
        atexit.unregister(gc.freeze)
        atexit.register(gc.freeze)
        return status

    return command


def _raise_interrupts() -> None:
    """Undo the handler that a script sets while it imports its modules: from now on Ctrl-C is `KeyboardInterrupt`."""
    if getattr(signal.getsignal(signal.SIGINT), "__module__", "") == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _run_coroutine(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` on a new event loop. After Ctrl-C nothing else is printed about its tasks."""

    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), KeyboardInterrupt):
            loop.default_exception_handler(context)

    try:
        with asyncio.Runner() as runner:
            runner.get_loop().set_exception_handler(report)
            return runner.run(main)
    finally:
        main.close()  # else Python warns if Ctrl-C came before its start


class _Stdout:
    """stdout, and the error with which it could not be written."""

    def __init__(self, stream: TextIO | io.TextIOBase) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self.error = error
            raise

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a stream has
        return getattr(self._stream, name)


class _ClosedOutput(io.TextIOBase):
    """stdout of a command that was started without one (`>&-`)."""

    @property
    def buffer(self) -> "_ClosedOutput":
        return self

    def fileno(self) -> int:
        return 1

    def write(self, text: str, /) -> Never:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


@contextlib.contextmanager
def _stdout() -> Generator[_Stdout]:
    """In the block, sys.stdout remembers its error, and characters that its encoding does not have become `?`."""
    closed = _open_missing_streams()
    before = sys.stdout
    if isinstance(before, io.TextIOWrapper):
        before.reconfigure(errors="replace")
    out = _Stdout(_ClosedOutput() if closed else before)
    sys.stdout = out
    try:
        yield out
    finally:
        sys.stdout = before


def _open_missing_streams() -> bool:
    """Replace streams that were closed when the command was started. Returns whether stdout was.

    Otherwise the next file that is opened would get the number of the stream, and text for people would go into it.
    """
    closed = sys.stdout is None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in this order: each gets its own number
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the end
    return closed


def _stdout_failed(out: _Stdout, broken_pipe: int) -> int | None:
    """The exit status if stdout could not be written, else None."""
    if out.error is None:
        with contextlib.suppress(OSError):
            out.flush()
    if out.error is None:
        return None
    discard_stdout()
    if isinstance(out.error, BrokenPipeError):  # the reader of stdout, for example `head`, needs no more
        return broken_pipe
    return report_error(os_error(out.error, "stdout", "written"))


def says_yes(question: str) -> bool:
    """Ask a person at the terminal. Anything but y, yes or aye is a no, and so is Ctrl-D."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes", "aye")
    except EOFError:
        return False


def print_stderr(text: str) -> None:
    """Print lines for people, separate from the output."""
    print(printable(text), file=sys.stderr)


def report_error(error: DoricError) -> int:
    """Print an error and its hint. Returns the exit status of the error."""
    print_stderr("\n".join([f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])]))
    return error.exit_status


def setup_logging(level: int | str) -> None:
    """Print our own log lines from `level` ("info" or a number) on, and only warnings of the libraries.

    At level info the libraries log a line for each request, and at level debug whole requests.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_make_printable)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("doric").setLevel(level.upper() if isinstance(level, str) else level)


def _make_printable(record: logging.LogRecord) -> bool:
    record.msg, record.args = printable(record.getMessage()), ()
    return True


# --- flags ----------------------------------------------------------------------------------------------------------


class ShowVersion(argparse.Action):
    """Prints the version of the project and of Python, which a report of a fault needs, and exits."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        """Print and exit."""
        from importlib.metadata import version  # here, because it would make every start slower

        print(f"doric {version('doric')}, Python {sys.version.partition(' ')[0]}, {sys.platform}")
        parser.exit(0)


class Parser(argparse.ArgumentParser):
    """The parser of a script, whose docstring is the help text. A wrong flag is one line with a hint, exit status 2."""

    def __init__(self, description: str | None = None, *, prog: str | None = None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, description=description, formatter_class=formatter)
        self.add_argument("--version", action=ShowVersion, nargs=0, help="show the version and exit")

    def error(self, message: str) -> NoReturn:
        """Print the error of a flag, and exit."""
        shown = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}..."
        hint = f"{self._suggestion(message)}{self.prog} --help lists all flags."
        self.exit(report_error(SettingsError(" ".join(shown.split()), hint=hint)))

    def _suggestion(self, message: str) -> str:
        """The flag that an unknown one was meant to be, as a question; "" if none is like it."""
        import difflib  # here, because only errors need it

        _, _, unknown = message.partition("unrecognized arguments: ")
        flag = unknown.partition(" ")[0].partition("=")[0][:MAX_MESSAGE]
        near = difflib.get_close_matches(flag, self._option_string_actions, 1) if flag.startswith("-") else ()
        return f"Did you mean {near[0]}? " if near else ""


def add_serving_flags(parser: argparse.ArgumentParser) -> None:
    """Add --service-tier and --reasoning-effort, which `load_settings` reads."""
    group = parser.add_argument_group("price and reasoning of a call").add_argument
    group(
        "--service-tier",
        choices=("auto", "default", "flex"),
        help="flex: slower at half the price; the standard tier where the provider has no flex or no room in it "
        "(allow more time with --timeout 900)",
    )
    group(
        "--reasoning-effort",
        metavar="WORD",
        help="how much a model reasons, such as none, minimal, low or high; reasoning is billed as output "
        "(left out if the server refuses it)",
    )


def whole_number(text: str) -> int:
    """An argparse `type=` for any whole number, also a negative one."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{_shortened(text)} is not a whole number") from None


def bounded[N: (int, float)](kind: type[N], low: float, high: float, *, above: bool = False) -> Callable[[str], N]:
    """An argparse `type=` for numbers from `low` to `high`; `above` excludes `low` itself.

    >>> bounded(int, 1, 9)("3")
    3
    """
    wanted = "a whole number" if kind is int else "a number"
    wanted += f" above {low}" if above else f" from {low}" if high < MOST else f" of at least {low}"
    wanted += (f" and at most {high}" if above else f" to {high}") if high < MOST else ""

    def number(text: str) -> N:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if low <= value <= high and not (above and value == low):  # False for nan
            return kind(value)
        raise argparse.ArgumentTypeError(
            f"{_shortened(text)} is {'too large' if value > high >= MOST else f'not {wanted}'}"
        )

    return number


def _shortened(text: str) -> str:
    return (text if len(text) <= 40 else text[:37] + "...") or "an empty value"


positive_int = bounded(int, 1, MOST)
non_negative_int = bounded(int, 0, MOST)
positive_float = bounded(float, 0, MOST, above=True)
non_negative_float = bounded(float, 0, MOST)
count = bounded(int, 1, MOST_ROWS)
"""How many rows or topics to make for each of something."""
share = bounded(float, 0, 1)
"""A share of a whole, from 0 to 1."""


# --- while it runs --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def handle_interrupts(stop: Callable[[], None], cancel: Callable[[], object]) -> Generator[None]:
    """In the block, the first Ctrl-C or SIGTERM calls `stop` and logs a line; each further one calls `cancel`.

    `stop` lets the calls in flight end; after `CALL_SECONDS`, `cancel` is called anyway. Enter it in a coroutine. On
    Windows Ctrl-C still raises `KeyboardInterrupt`.
    """
    loop = asyncio.get_running_loop()
    limit: asyncio.TimerHandle | None = None

    def on_signal() -> None:
        nonlocal limit
        if limit is not None:
            cancel()
            return
        limit = loop.call_later(CALL_SECONDS, cancel)
        log.warning(
            "Stopping after the calls in flight, in %g s at the latest. Press Ctrl-C again to stop now.", CALL_SECONDS
        )
        stop()

    with contextlib.suppress(NotImplementedError):  # event loops on Windows have no signal handlers
        for number in SIGNALS:
            loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        if limit is not None:
            limit.cancel()
        with contextlib.suppress(NotImplementedError):
            for number in SIGNALS:
                loop.remove_signal_handler(number)


async def run_until_interrupt(work: Coroutine[Any, Any, None], stop: Callable[[], object]) -> None:
    """Run `work`. After Ctrl-C or SIGTERM, raise `KeyboardInterrupt` as soon as `work` has ended.

    `stop` must make it end; if it takes too long, it is cancelled (see `handle_interrupts`). Raises its errors.
    """
    task, interrupted = asyncio.create_task(work), False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        stop()

    with handle_interrupts(interrupt, task.cancel):
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    if interrupted:
        raise KeyboardInterrupt


class ProgressBar:
    """Counts rows: a bar on a terminal (with tqdm installed), log lines elsewhere.

    `total` is the number of all rows, `done` the number of rows from before this run. There is a log line after every
    `every` rows. Nothing is printed unless `shown`. `note` returns the words after the figures; it is called only when
    they are printed.
    """

    def __init__(self, total: int, done: int, *, every: int, shown: bool, note: Callable[[], str]) -> None:
        self.total, self.done = total, done
        self._every, self._shown, self._note = every, shown, note
        self._done_before, self._began = done, time.monotonic()
        self._last_line = self._began
        self._bar = _tqdm(total, done) if shown and sys.stderr.isatty() else None

    def advance(self) -> None:
        """Count one more row."""
        self.done += 1
        if self._bar is not None:
            self._bar.update()
            if self._bar.n % 10 == 0 or self.total - self.done < 10:
                self._bar.set_postfix_str(self._note(), refresh=False)
        elif self._shown and (self.done % self._every == 0 or self.done == self.total):
            self._log()

    async def heartbeat(self) -> None:
        """Until cancelled, refresh the bar, or log a line after `HEARTBEAT_SECONDS` without a log line."""
        while True:
            await asyncio.sleep(max(0.0, self._last_line + HEARTBEAT_SECONDS - time.monotonic()) or HEARTBEAT_SECONDS)
            if self._bar is not None:
                self._bar.set_postfix_str(self._note())
                self._last_line = time.monotonic()
            elif time.monotonic() - self._last_line >= HEARTBEAT_SECONDS:
                self._log()

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.close()

    def _log(self) -> None:
        self._last_line = time.monotonic()
        rate = (self.done - self._done_before) / max(1e-9, self._last_line - self._began)
        if self._shown:
            log.info("%d of %d rows, %.0f rows/s, %s", self.done, self.total, rate, self._note())


def _tqdm(total: int, done: int) -> Any:  # noqa: ANN401 - tqdm's class, None when it is not installed
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, initial=done, unit="row", dynamic_ncols=True, smoothing=0.1)
