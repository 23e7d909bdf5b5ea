"""Work that Ctrl-C must not cut in two."""

import contextlib
import signal
import threading
from collections.abc import Generator
from typing import Never

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def interrupted_at_once() -> Generator[None]:
    """In the block, Ctrl-C raises `KeyboardInterrupt` at once, also where an event loop would wait for a task to yield.

    For long work that has nothing to save, such as reading the weights of a model. If a library ignores the exception
    or replaces it with one of its own, it is raised at the end of the block.
    """
    received = False

    def interrupt(number: int, frame: object) -> Never:
        nonlocal received
        received = True
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception:
        if not received:
            raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
    if received:
        raise KeyboardInterrupt


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
