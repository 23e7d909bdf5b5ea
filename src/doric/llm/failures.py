"""The errors of a client for what goes wrong in a call: the connection, a refusal, an answer without end."""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.core.settings import Settings
from doric.llm import connection
from doric.llm.connection import ConnectionFault
from doric.llm.errors import ErrorResponse, is_secret
from doric.llm.events import Oversized
from doric.llm.request import ChatRequest, token_limit
from doric.llm.response import estimate_tokens

log = logging.getLogger("doric")
REPORTED = 5
"""So many different error messages of the server are logged in a run, each when it is first seen."""


class Failures:
    """Makes the errors of one server. `source` says where the user has set its URL."""

    def __init__(self, settings: Settings, proxy: connection.Proxy | None, *, timeout: float, source: str) -> None:
        self._settings, self._proxy, self._timeout, self._source = settings, proxy, timeout, source
        self._reported: set[str] = set()

    @property
    def secret(self) -> str:
        """The key; "" if it is a placeholder: a word such as "openai" may also be part of a model's name."""
        return self._settings.key if is_secret(self._settings.key) else ""

    def refusal(
        self, status: int, content: bytes, headers: Mapping[str, str], *, prompts: Sequence[str] = ()
    ) -> ErrorResponse:
        """The refusal in a response. The server may quote `prompts` in it."""
        logins = self._proxy.secrets if self._proxy else ()
        return ErrorResponse.read(status, content, headers, key=self._settings.key, prompts=prompts, logins=logins)

    def refused(self, refusal: ErrorResponse, model: str, *, answered: bool, listed: Sequence[str] = ()) -> ServerError:
        """The error for a refusal, which is logged if the run can go on. `answered`: the server has answered before.

        `listed` are the models that the server lists.
        """
        error = refusal.to_error(
            address=self._settings.address,
            model=model,
            key_variable=self._settings.key_variable,
            key_given=bool(self._settings.key),
            answered=answered,
            extra=tuple(self._settings.extra_body),
            listed=listed,
        )
        if not isinstance(error, FatalServerError):
            self._report(error)
        return error

    def oversized(self, error: Oversized, body: Mapping[str, Any], request: ChatRequest) -> ServerError:
        """The error for an answer that does not end. It is paid for, with estimated tokens, and not asked for again."""
        tokens_in = int(estimate_tokens(request.characters))
        message = f"{self._settings.address}: {error}; the rest was not read"
        hint = "Does this server stop at max_tokens? Check the model and its chat template."
        return ServerError(
            message, hint=hint, fault="oversized", tokens_in=tokens_in, tokens_out=token_limit(body), counted=False
        )

    def network(self, error: OSError, request: ChatRequest, *, begun: bool, hurried: bool) -> ServerError:
        """The error for a failed connection. If an answer had `begun`, it counts as paid, with estimated tokens.

        `hurried`: the command stops, so that the answer was not waited for.
        """
        fault = connection.explain(error, self._settings.address, self._proxy, source=self._source)
        if fault.permanent:
            return self._unreachable(fault)
        if not fault.sent or not (fault.timed_out or fault.connected):
            return RetryableError(f"no connection to {self._settings.address}: {fault.reason}", fault="connection")
        message, word = f"the connection to {self._settings.address} was lost", "connection"
        hint = "The server closed the connection; its log may say why."
        if self._proxy:
            message, hint = f"no answer from {self._settings.address}: {fault.reason}", fault.hint
        if fault.timed_out and hurried:
            message, word, hint = "stopped before the answer was complete", "interrupted", ""
        elif fault.timed_out:
            message, word = f"no answer within {self._timeout:g} s (--timeout)", "timeout"
            hint = "The model may be too slow, or still loading: --timeout allows more time."
        elif fault.garbled:
            message, word, hint = f"{self._settings.address}: {fault.reason}", "malformed", fault.hint
        if not (begun or fault.timed_out):
            return RetryableError(message, fault=word, hint=hint)
        tokens_in, tokens_out = int(estimate_tokens(request.characters)), request.max_tokens // 2
        return RetryableError(
            message, fault=word, hint=hint, tokens_in=tokens_in, tokens_out=tokens_out, counted=False
        )  # fmt: skip

    async def raise_if_unreachable(self, error: OSError) -> None:
        """Raise `FatalServerError` unless there is a server at the address that may still answer chats."""
        address = self._settings.address
        fault = connection.explain(error, address, self._proxy, source=self._source)
        if fault.timed_out:
            return
        if fault.connected:
            if not address.startswith("http:") or not await asyncio.to_thread(connection.speaks_tls, address):
                return
            fault = connection.expects_https(self._source)
        raise self._unreachable(fault)

    def _unreachable(self, fault: ConnectionFault) -> FatalServerError:
        hint = fault.hint or "Is this machine online? A proxy or a firewall may block the connection."
        if not fault.hint and self._settings.base_url:
            hint = f"Is the server running? Check {self._source}."
        return FatalServerError(f"no connection to {self._settings.address}: {fault.reason}", hint=hint)

    def _report(self, error: ServerError) -> None:
        """Log what the server says when it is first seen. Without this, a retried call would hide it until the end."""
        seen = re.sub(r"[\W\d_]+|\b\w*\d\w*\b", " ", error.message)  # numbers and ids differ in each message
        if seen not in self._reported and len(self._reported) < REPORTED:
            self._reported.add(seen)
            log.warning("%s%s", error.message, "; trying again" if isinstance(error, RetryableError) else "")
