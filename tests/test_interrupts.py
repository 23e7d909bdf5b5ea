"""Ctrl-C within a run: once, twice, and where the system has no handlers for it."""

import asyncio
import os
import signal
import sys

import pytest

from doric.core.cli import handle_interrupts


async def pressed(presses: int, number: int = signal.SIGINT) -> list[str]:
    """What a run is told on so many signals."""
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
    """The first Ctrl-C stops, and is answered with one line; each further one cancels."""
    assert asyncio.run(pressed(presses)) == calls
    assert caplog.text.count("Press Ctrl-C again to stop now") == (presses > 0)


@pytest.mark.skipif(sys.platform == "win32", reason="no handlers on the loop there")
def test_sigterm_is_heeded_as_ctrl_c_is():
    """A system that shuts down sends SIGTERM: the first stops and the second cancels."""
    assert asyncio.run(pressed(2, signal.SIGTERM)) == ["stop", "cancel"]


@pytest.mark.skipif(sys.platform == "win32", reason="no handlers on the loop there")
def test_afterwards_ctrl_c_is_what_it_was():
    """When the block has ended, well or not, Ctrl-C is no longer its business."""

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
