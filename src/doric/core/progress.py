"""Showing how far a run is: a bar on a terminal, log lines elsewhere. Knows nothing of what is counted."""

import asyncio
import logging
import sys
import time
from collections.abc import Callable

log = logging.getLogger("doric")
SILENCE = 30.0
"""Seconds without a line after which one is written though no row was added: a run must not look dead."""

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None


class Progress:
    """Counts rows. `note` gives the words behind the figures, asked for only when they are shown."""

    def __init__(self, total: int, done: int, *, every: int, shown: bool, note: Callable[[], str]) -> None:
        self.total, self.done = total, done
        self._every, self._shown, self._note = every, shown, note
        self._from, self._began = done, time.monotonic()
        self._told = self._began
        terminal = shown and sys.stderr.isatty() and tqdm is not None
        self._bar = tqdm(total=total, initial=done, unit="row", dynamic_ncols=True, smoothing=0.1) if terminal else None

    def advance(self) -> None:
        """One row more."""
        self.done += 1
        if self._bar is not None:
            self._bar.update()
            if self._bar.n % 10 == 0 or self.total - self.done < 10:
                self._bar.set_postfix_str(self._note(), refresh=False)
        elif self._shown and (self.done % self._every == 0 or self.done == self.total):
            self._tell()

    async def heartbeat(self) -> None:
        """Until it is cancelled, break each silence with a line, or bring the bar up to date."""
        while True:
            await asyncio.sleep(max(0.0, self._told + SILENCE - time.monotonic()) or SILENCE)
            if self._bar is not None:
                self._bar.set_postfix_str(self._note())
                self._told = time.monotonic()
            elif time.monotonic() - self._told >= SILENCE:
                self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        rate = (self.done - self._from) / max(1e-9, self._told - self._began)
        if self._shown:
            log.info("%d of %d rows, %.0f rows/s, %s", self.done, self.total, rate, self._note())

    def close(self) -> None:
        """Leave the terminal in order."""
        if self._bar is not None:
            self._bar.close()
