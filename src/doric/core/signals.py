"""Work that Ctrl-C must not cut in two."""

import contextlib
import signal
import threading
from collections.abc import Generator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def uninterrupted() -> Generator[None]:
    """In the block, Ctrl-C and SIGTERM have no effect; they take effect at its end. For short work only."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread
        return
    received: list[int] = []
    wakeup = signal.set_wakeup_fd(-1)  # else an event loop would get the signals too, and then twice
    before = {number: signal.signal(number, lambda number, frame: received.append(number)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(wakeup)
        for number in dict.fromkeys(received):
            signal.raise_signal(number)
