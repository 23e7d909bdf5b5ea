"""What Ctrl-C and SIGTERM do to a run: the first lets it end well, the second ends it. Knows nothing of what is run."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Generator

log = logging.getLogger("doric")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def interruptible(stop: Callable[[], None], cancel: Callable[[], None]) -> Generator[None]:
    """Within the block the first Ctrl-C or SIGTERM calls `stop` and says so, each further one calls `cancel`.

    To be entered from a coroutine. On Windows Ctrl-C goes on to raise `KeyboardInterrupt`.
    """
    stopping = False

    def interrupted() -> None:
        nonlocal stopping
        if stopping:
            cancel()
            return
        stopping = True
        log.warning("Stopping: calls in flight are awaited. Ctrl-C again stops now.")
        stop()

    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # Windows has no handlers on the loop
        for number in SIGNALS:
            loop.add_signal_handler(number, interrupted)
    try:
        yield
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in SIGNALS:
                loop.remove_signal_handler(number)
