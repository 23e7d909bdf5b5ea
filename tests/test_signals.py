"""Ctrl-C during work that ends at once, under an event loop that would otherwise wait for a task to yield."""

import asyncio
import contextlib
import signal
import threading

import pytest

from doric.core.signals import interrupted_at_once


async def interrupt(then) -> None:
    """Ctrl-C while the loop is busy; then `then` is called, as by a library that has caught the exception."""
    with interrupted_at_once():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            if then is None:
                raise
        then()


def fail() -> None:
    """An error of a library in place of the interrupt."""
    raise ModuleNotFoundError("Could not import module")


@pytest.mark.parametrize("then", [None, fail, lambda: None], ids=["passed on", "replaced", "ignored"])
def test_an_interrupt_ends_the_block_at_once_whatever_a_library_makes_of_it(then):
    """It is raised from the block, and the handler from before is back."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(interrupt(then))
    assert signal.getsignal(signal.SIGINT) is before


def test_other_errors_pass_and_other_threads_keep_their_handler():
    """Without Ctrl-C the block changes nothing. Only the main thread can have handlers."""
    with pytest.raises(ModuleNotFoundError), interrupted_at_once():
        fail()
    found = []

    def work() -> None:
        with contextlib.suppress(ValueError), interrupted_at_once():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]
