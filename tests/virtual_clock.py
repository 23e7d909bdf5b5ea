"""An event loop with virtual time. Waiting takes no real time, and measured times are exact."""

import asyncio
import selectors

START = 1000.0
"""The time at which a virtual clock starts, in seconds."""


class VirtualClock(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer instead of passing. Use it as `loop_factory`."""

    def __init__(self):
        class Selector(selectors.DefaultSelector):
            def select(self, timeout=None):
                loop.now += timeout or 0
                return super().select(0)

        loop = self
        self.now = START
        super().__init__(Selector())

    def time(self):
        """The virtual time in seconds."""
        return self.now
