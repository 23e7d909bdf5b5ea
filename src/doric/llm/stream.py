"""An answer as it comes in, and how long it took: the chat-completions voice, heard piece by piece.

Knows the clock and the protocol's streaming form; a server that answers in one piece is heard too, without a first
piece to time.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from doric.core.codec import encode, parse
from doric.core.errors import RetryableError
from doric.llm.client import Client, Reply, Request, Response
from doric.llm.errors import ErrorResponse

COUNTS = "stream_options"
"""Asks for token counts at the end; some servers refuse it, and then nobody counts."""
END = "[DONE]"


@dataclass(frozen=True, slots=True)
class TimedCompletion:
    """A reply and its times in seconds: until its first piece, be it a thought, and until its end.

    `first` is None where the answer came whole; the reply has no tokens where the server did not count them.
    """

    reply: Reply
    first: float | None
    seconds: float


@dataclass(slots=True)
class _Pieces:
    text: str = ""
    thoughts: str = ""
    finish: str = ""
    count: int = 0
    first: float | None = None
    usage: dict[str, int] | None = None

    def take(self, data: str, now: float) -> None:
        """Add one event of the stream, which came `now` seconds after the question."""
        try:
            chunk: Any = parse(data.encode())
            self.usage = chunk.get("usage") or self.usage
            for choice in chunk.get("choices") or ():
                self.finish = choice.get("finish_reason") or self.finish
                self._say(choice.get("delta") or {}, now)
        except (ValueError, AttributeError, TypeError):
            raise RetryableError("the answer could not be read: not a completion", fault="malformed") from None

    def _say(self, delta: dict[str, Any], now: float) -> None:
        thought, piece = delta.get("reasoning_content") or delta.get("reasoning") or "", delta.get("content") or ""
        self.thoughts += thought
        self.text += piece
        if thought or piece:
            self.first = now if self.first is None else self.first
            self.count += 1

    def completion(self) -> bytes:
        """The whole completion that they are the pieces of. Raises `RetryableError` when the last one is missing."""
        if not self.finish:
            raise RetryableError("the answer broke off", fault="malformed")
        message = {"content": self.text, "reasoning_content": self.thoughts}
        return encode({"choices": [{"message": message, "finish_reason": self.finish}], "usage": self.usage})


class StreamingClient(Client):
    """`Client` that also tells when the first piece came."""

    async def hear(self, request: Request) -> TimedCompletion:
        """Ask once, as `reply` does, and listen. Raises as `reply` does."""
        began = time.monotonic()
        while True:
            body = self._body(request)
            response, first = await self._listen(encode(self._streamed(body)), began)
            if (reply := self._taken(*response, request, body)) is not None:
                return TimedCompletion(replace(reply, counted=reply.tokens_out > 0), first, time.monotonic() - began)

    def _streamed(self, body: dict[str, Any]) -> dict[str, Any]:
        counts = {} if COUNTS in self._dropped else {COUNTS: {"include_usage": True}}
        return {**body, "stream": True, **counts}

    async def _listen(self, body: bytes, began: float) -> tuple[Response, float | None]:
        """The response with the whole completion in it, and when its first piece came."""
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._http.stream("POST", self._chat, content=body, headers=self._headers) as response,
            ):
                if response.status_code >= 300 or "event-stream" not in response.headers.get("content-type", ""):
                    return (response.status_code, response.headers, await response.aread()), None
                pieces = _Pieces()
                async for line in response.aiter_lines():
                    data = line.removeprefix("data:").strip()
                    if line.startswith("data:") and data != END:
                        pieces.take(data, time.monotonic() - began)
        except self._network_errors as error:
            raise self._unreached(error) from None
        first = pieces.first if pieces.count > 1 else None
        return (response.status_code, response.headers, pieces.completion()), first

    def _drop_refused(self, refusal: ErrorResponse, body: Mapping[str, Any]) -> bool:
        if COUNTS in refusal.all and COUNTS not in self._dropped:
            self._dropped.add(COUNTS)
            return True
        return super()._drop_refused(refusal, body)
