"""One response of the server, read under a deadline that moves.

The HTTP client's own timeout is not enough: it starts again with each byte, also with a byte of a keep-alive.
"""

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from doric.llm.body import AnswerBody, ErrorBody
from doric.llm.transport import each_block

if TYPE_CHECKING:
    import httpx2

CONNECTED = ("connection.connect_tcp.complete", "connection.start_tls.complete", "proxy.start_tls.complete")
"""The events of httpcore whose value is a connection."""


class Watchdog:
    """Shuts a connection down if its deadline passes. Then the thread that reads from it gets an error or its end.

    Pass `trace` to a request as the extension of this name, so that the watchdog learns its connection. `expired` is
    True once the deadline has passed.
    """

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self._deadline = time.monotonic() + seconds
        self._sockets: list[socket.socket] = []
        self._changed = threading.Condition()
        self._closed = False
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def allow(self, seconds: float) -> None:
        """Move the deadline: so many seconds from now."""
        deadline = time.monotonic() + seconds
        with self._changed:
            if deadline < self._deadline:
                self._changed.notify()
            self._deadline = deadline

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Note the connection of a request."""
        if event in CONNECTED and (found := info["return_value"].get_extra_info("socket")) is not None:
            with self._changed:
                self._sockets = [found]

    def _run(self) -> None:
        with self._changed:
            while not self._closed and (left := self._deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            self.expired = not self._closed
            sockets = self._sockets if self.expired else []
        for each in sockets:
            with suppress(OSError):  # it is closed already
                socket.socket.shutdown(each, socket.SHUT_RDWR)  # not that of SSLSocket, which is not thread-safe


@dataclass(frozen=True, slots=True)
class Reply:
    """An open response, and the watchdog of its connection. Close it after use."""

    response: "httpx2.Response"
    watchdog: Watchdog

    def close(self) -> None:
        """Close the connection."""
        self.watchdog.stop()
        self.response.close()

    def pieces(self, body: AnswerBody | ErrorBody, *, first: float, silence: float) -> Iterator[str]:
        """Read into `body`, and return the pieces of text. Returns early if the deadline passes.

        `first` and `silence` are the seconds to wait for the first piece, and for each further piece. Raises
        `TransportError`.
        """
        pieces, patience = 0, body.patience
        self.watchdog.allow(min(first, patience))
        for block in each_block(self.response.iter_bytes()):
            yield from body.feed(block)
            if body.done:
                return
            if body.patience != patience or body.pieces > pieces:
                pieces, patience = body.pieces, body.patience
                self.watchdog.allow(min(silence, patience))
        if not self.watchdog.expired:
            yield from body.end()
