"""What Ctrl-C does to a run: the first one lets it end well, the second one ends it. Knows nothing of what is run."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Generator

log = logging.getLogger("doric")


@contextlib.contextmanager
def interruptible(stop: Callable[[], None], cancel: Callable[[], None]) -> Generator[None]:
    """Within the block the first Ctrl-C calls `stop` and says so, each further one calls `cancel`.

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
        loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        with contextlib.suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)
