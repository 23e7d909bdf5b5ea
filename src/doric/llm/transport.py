"""The calls into the HTTP client. Whatever they raise is a `TransportError`, so that a broken connection is one error.

The asynchronous client stands on two libraries and an adapter, and not every error of a connection has one of their
classes: a body whose chunks have a wrong size ends in aiohttp with a RuntimeError.
"""

import contextlib
from collections.abc import AsyncIterator, Generator, Iterator


class TransportError(OSError):
    """A request failed on its way to the server or back. The error of the HTTP client is its cause."""


@contextlib.contextmanager
def transport() -> Generator[None]:
    """In the block, which does nothing but call the HTTP client, each error becomes a `TransportError`."""
    try:
        yield
    except Exception as error:
        raise TransportError(str(error)) from error


async def next_block(blocks: AsyncIterator[bytes]) -> bytes | None:
    """The next block of a body, None at its end. Raises `TransportError`."""
    with transport():
        return await anext(blocks, None)


def each_block(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks of a body. Raises `TransportError`."""
    while True:
        with transport():
            block = next(blocks, None)
        if block is None:
            return
        yield block
