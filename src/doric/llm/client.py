"""A client for any OpenAI-compatible chat-completions server: one request gives one completion or one error.

It handles differences between servers: parameters that a model refuses, reasoning models, local servers. After an
error it does not retry; the caller decides whether to ask again.
"""

import asyncio
import contextlib
import functools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from doric.core.errors import FatalServerError, RetryableError, ServerError, missing_package
from doric.core.files import encode_json
from doric.core.settings import NO_KEY, Settings
from doric.llm.body import AnswerBody, ErrorBody, JsonBody, refuse_encoding, response_body
from doric.llm.errors import ErrorResponse, is_secret, redact
from doric.llm.events import Oversized
from doric.llm.response import (
    STREAM_OPTIONS,
    Completion,
    ErrorInBody,
    TimedCompletion,
    estimate_tokens,
    read_completion,
)
from doric.llm.served_models import MAX_LIST, read_model_list

if TYPE_CHECKING:
    import httpx2

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
"""Two names of the same limit. Reasoning models may accept only the second name. One of the two is always sent."""
OPTIONAL = ("temperature", "seed", "response_format", *TOKEN_LIMITS)
CONNECT_SECONDS = 30.0
LIST_SECONDS = 5.0
"""Timeout for the list of models if the model is given, because then the list is not needed."""
REASONING_TOKENS = 4096
"""Added to the token limit of reasoning models, because their reasoning counts towards it."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call: messages, the most tokens of the answer, sampling, and a JSON schema if the answer must be JSON.

    `doublings`: how often the extra tokens of a reasoning model are doubled, once for each earlier answer that was cut
    off.
    """

    messages: Sequence[Mapping[str, str]]
    max_tokens: int
    temperature: float | None = 0.8
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    doublings: int = 0

    @property
    def characters(self) -> int:
        """Characters of all messages together."""
        return sum(len(message["content"]) for message in self.messages)


type Response = tuple[int, Mapping[str, str], bytes]
"""Status, headers and body."""


class Backend(Protocol):
    """Anything that completes a request."""

    async def complete(self, request: ChatRequest) -> Completion:
        """The completion. Raises `RetryableError`, `ServerError` or `FatalServerError`."""
        ...


class Client:
    """A chat-completions server, called through the openai SDK's HTTP client with its aiohttp transport.

    Requests go to that HTTP client as bytes: the SDK's typed models and retries would double the CPU time of a call.
    `listed` are the models that the server lists, empty if it lists none.
    `answered` is True once the server has answered. From then on, a refused request is an error of this request only,
    and the run goes on. Set it to True if an earlier run got answers from this server.
    """

    def __init__(self, settings: Settings, *, timeout: float = 600.0, concurrency: int = 50) -> None:
        try:
            import aiohttp  # these take a second to import, and --help needs none of them
            import httpx2
            import openai
        except ImportError as error:
            raise missing_package(error) from error

        self._network_errors = (httpx2.HTTPError, aiohttp.ClientError, OSError)  # TimeoutError is an OSError
        self._connection_failed, self._cut_off = aiohttp.ClientConnectorError, aiohttp.ClientPayloadError
        self._settings, self._timeout = settings, timeout
        self.model = settings.model
        self.answered = False
        self.listed: list[str] = []
        self._refused: set[str] = set()  # parameters that the model does not accept
        self._limit: int | None = None  # the highest token limit that the model accepts, once it has refused one
        self._is_reasoning_model, self._reasoning_tokens = False, REASONING_TOKENS
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        timeouts = httpx2.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
        self._new_http = functools.partial(openai.DefaultAioHttpClient, limits=limits, timeout=timeouts)
        self._http = self._new_http()
        sdk = openai.AsyncOpenAI(api_key=settings.key or NO_KEY, base_url=settings.address, http_client=self._http)
        headers = {**sdk.default_headers, **sdk.auth_headers, "Content-Type": "application/json"}
        headers["Accept-Encoding"] = "identity"  # an answer has a few KB, and a compressed one may unpack to gigabytes
        self._headers = httpx2.Headers({name: value for name, value in headers.items() if isinstance(value, str)})
        self._url = httpx2.URL(f"{settings.address}/chat/completions")
        self._request = functools.partial(
            httpx2.Request, "POST", self._url, headers=self._headers, extensions={"timeout": timeouts.as_dict()}
        )

    async def __aenter__(self) -> Self:
        try:
            self.listed = await self._models()
            if not self.model:
                self.model = self._only(self.listed)
        except BaseException:
            await self._http.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def complete(self, request: ChatRequest) -> Completion:
        """One completion. If the model refuses a parameter, the call is repeated without it."""
        while True:
            body = self._body(request)
            response, _ = await self._send(body, request)
            if (completion := self._completion(response, request, body)) is not None:
                return _with_tokens(completion, request)

    async def complete_timed(self, request: ChatRequest) -> TimedCompletion:
        """Like `complete`, but by streaming and with the time of the first token. Raises the same errors."""
        started = time.monotonic()
        while True:
            body = self._streaming_body(request)
            response, times = await self._send(body, request)
            if (completion := self._completion(response, request, body)) is not None:
                completion = replace(completion, counted=completion.tokens_out > 0)
                first_token = times.first - started if times.streamed else None
                return TimedCompletion(completion, first_token, times.last - started)

    async def _send(self, body: Mapping[str, Any], request: ChatRequest) -> tuple[Response, "Times"]:
        """The response and its times. A streamed answer gets the form of an answer that was not streamed."""
        found: AnswerBody | ErrorBody | None = None
        times = Times()
        try:
            # a timeout for the whole call: the HTTP client's own timeout restarts at each byte, and some gateways send
            # blanks while they wait
            async with asyncio.timeout(self._timeout) as deadline:
                response = await self._http.send(self._request(content=encode_json({**body})), stream=True)
                async with contextlib.aclosing(response):
                    refuse_encoding(response.headers, self._settings.address)
                    found = response_body(response.status_code, response.headers.get("content-type", ""))
                    await _receive(response, found, deadline, times)
        except self._network_errors as error:
            if found is None or not found.enough:
                raise self._network_failure(error, request) from None
        except Oversized as error:
            raise self._oversized(error, body, request) from None
        return (response.status_code, response.headers, found.content(request.characters)), times

    def _completion(self, response: Response, request: ChatRequest, body: Mapping[str, Any]) -> Completion | None:
        """The completion in a response; None if the call must be repeated because a parameter was refused."""
        status, headers, content = response
        if status < 300:
            try:
                return self._read(content, headers, request)
            except ErrorInBody as error:
                status = error.status
        prompts = [message["content"] for message in request.messages]
        refusal = ErrorResponse.read(status, content, headers, key=self._settings.key, prompts=prompts)
        if refusal.filtered:
            return Completion("", "content_filter")
        if refusal.too_long and self._is_reasoning_model and self._reasoning_tokens:
            if _token_limit(self._body(request)) >= _token_limit(body):  # not yet lowered by another call
                self._reasoning_tokens //= 2  # the request may be too long only because of these
            return None
        if refusal.too_long or not self._adapt(refusal, body):
            raise self._error(refusal)
        return None

    def _read(self, content: bytes, headers: Mapping[str, str], request: ChatRequest) -> Completion:
        key = self._settings.key if is_secret(self._settings.key) else ""
        content_type = redact(headers.get("content-type", ""), key)
        completion = read_completion(content, content_type, prompt_characters=request.characters)
        if key:  # answers go into files that are published
            text, finish = redact(completion.text, key), redact(completion.finish, key)
            completion = replace(completion, text=text, finish=finish)
        self._is_reasoning_model |= completion.reasoned
        self.answered = True
        return completion

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        extra = self._reasoning_tokens * 2**request.doublings if self._is_reasoning_model else 0
        limit = request.max_tokens + extra
        limit = limit if self._limit is None else min(limit, self._limit)
        body: dict[str, Any] = {"model": self.model, "messages": request.messages, "max_tokens": limit}
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.seed is not None:
            body["seed"] = request.seed
        if request.schema is not None:
            schema = {"name": "reply", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if "max_tokens" in self._refused:
            body["max_completion_tokens"] = limit
        return {key: value for key, value in body.items() if key not in self._refused}

    def _streaming_body(self, request: ChatRequest) -> dict[str, Any]:
        body = {**self._body(request), "stream": True}
        return body if STREAM_OPTIONS in self._refused else {**body, STREAM_OPTIONS: {"include_usage": True}}

    def _adapt(self, refusal: ErrorResponse, body: Mapping[str, Any]) -> bool:
        """Stop sending the parameter of `body` that was refused; False if the error is about something else."""
        if STREAM_OPTIONS in body and STREAM_OPTIONS in refusal.text:
            self._refused.add(STREAM_OPTIONS)
            return True
        if refusal.status not in (400, 422):
            return False
        named = refusal.refused_parameters([name for name in OPTIONAL if name in body])
        if not named and "response_format" in body:
            named = ["response_format"]  # each server describes an error in a schema differently
        if named and named[0] in TOKEN_LIMITS:
            return self._adapt_limit(refusal, named[0], body[named[0]])
        self._refused.update(named[:1])
        return bool(named)

    def _adapt_limit(self, refusal: ErrorResponse, name: str, sent: int) -> bool:
        """Send the token limit by its other name if this name is not supported, or a lower one if it is too high."""
        if not refusal.unsupported:
            lower = refusal.lower_limit(sent)
            self._limit = min(lower, self._limit or lower) if lower else self._limit
            return lower is not None
        if name == TOKEN_LIMITS[1] and TOKEN_LIMITS[0] in self._refused:
            return False  # it supports neither name, and without a limit the cost of an answer would be unlimited
        self._refused.add(name)
        self._is_reasoning_model = True  # only reasoning models require the other name
        return True

    def _error(self, refusal: ErrorResponse) -> ServerError:
        return refusal.to_error(
            address=self._settings.address,
            model=self.model,
            key_variable=self._settings.key_variable,
            key_given=bool(self._settings.key),
            answered=self.answered,
        )

    def _oversized(self, error: Oversized, body: Mapping[str, Any], request: ChatRequest) -> ServerError:
        """The error for an answer that does not end. It is paid for, with estimated tokens, and not asked for again."""
        tokens_in = int(estimate_tokens(request.characters))
        message = f"{self._settings.address}: {error}; the rest was not read"
        hint = "Does this server stop at max_tokens? Check the model and its chat template."
        return ServerError(
            message, hint=hint, fault="oversized", tokens_in=tokens_in, tokens_out=_token_limit(body), counted=False
        )

    def _network_failure(self, error: Exception, request: ChatRequest | None = None) -> RetryableError:
        """The error for a failed connection. If an answer had begun, it counts as paid, with estimated tokens."""
        if _caused_by(error, self._connection_failed):
            return RetryableError(f"no connection to {self._settings.address}", fault="connection")
        timed_out = _caused_by(error, TimeoutError)
        message, fault = f"the connection to {self._settings.address} was lost", "connection"
        if timed_out:
            message, fault = f"no answer within {self._timeout:g} s (--timeout)", "timeout"
        if request is None or not (timed_out or _caused_by(error, self._cut_off)):
            return RetryableError(message, fault=fault)
        tokens_in, tokens_out = int(estimate_tokens(request.characters)), request.max_tokens // 2
        return RetryableError(message, fault=fault, tokens_in=tokens_in, tokens_out=tokens_out, counted=False)

    async def _models(self) -> list[str]:
        """The models that the server lists, empty if it does not. Raises `FatalServerError` if there is no server."""
        page = JsonBody(MAX_LIST)
        try:
            # on a separate connection, because some servers drop the connection after an error on this page
            async with (
                asyncio.timeout(LIST_SECONDS if self.model else CONNECT_SECONDS),
                self._new_http() as http,
                http.stream("GET", f"{self._settings.address}/models", headers=self._headers) as response,
            ):
                async for block in response.aiter_bytes():
                    page.feed(block)
        except Oversized:
            return []
        except self._network_errors as error:
            if not _caused_by(error, self._connection_failed):
                return []  # the server exists, and it may still answer chats
            raise FatalServerError(self._network_failure(error).message, hint=self._connection_hint()) from None
        if response.status_code in (401, 403) and not self.model:  # some keys may chat, but not list models
            key = self._settings.key
            raise self._error(ErrorResponse.read(response.status_code, page.content(), response.headers, key=key))
        try:
            models = read_model_list(page.content()) if response.status_code < 300 else []
        except ValueError:
            return []
        return [redact(model.name, self._settings.key) for model in models]

    def _connection_hint(self) -> str:
        if self._settings.base_url:
            return "Is the server running? Check OPENAI_BASE_URL or --base-url."
        return "Is this machine online? A proxy or a firewall may block the connection."

    def _only(self, names: list[str]) -> str:
        if len(names) == 1:
            return names[0]
        hint = f"Set MODEL or --model{f' to one of: {", ".join(names[:8])}' if names else ''}."
        if not names and not self._settings.address.endswith("/v1"):
            hint += " Most base URLs end in /v1."
        message = f"no model is given, and {self._settings.address} does not list exactly one"
        raise FatalServerError(message, hint=hint)


@dataclass(slots=True)
class Times:
    """When the first piece of the answer and the last block of the response arrived, on the clock of `time.monotonic`.

    `streamed` is True if the answer came in several pieces.
    """

    first: float = 0.0
    last: float = field(default_factory=time.monotonic)
    streamed: bool = False


async def _receive(
    response: "httpx2.Response", body: AnswerBody | ErrorBody, deadline: asyncio.Timeout, times: Times
) -> None:
    """Read a response into `body`. Once no more of it is needed, the deadline moves to a moment later."""
    patience = math.inf

    def move_deadline() -> None:
        nonlocal patience
        if body.patience < patience:
            patience = body.patience
            end = asyncio.get_running_loop().time() + patience
            deadline.reschedule(min(end, deadline.when() or end))

    move_deadline()
    async for block in response.aiter_bytes():
        times.last = times.last if body.done else time.monotonic()
        for _ in body.feed(block):
            pass
        times.first = times.first or (times.last if body.pieces else 0.0)
        times.streamed = body.pieces > 1
        move_deadline()
    for _ in body.end():
        pass


def _with_tokens(completion: Completion, request: ChatRequest) -> Completion:
    """The completion with estimated tokens if the server did not count them: budgets need them."""
    if completion.tokens_in or completion.tokens_out:
        return completion
    tokens_in, tokens_out = estimate_tokens(request.characters), estimate_tokens(len(completion.text))
    return replace(completion, tokens_in=int(tokens_in), tokens_out=int(tokens_out), counted=False)


def _token_limit(body: Mapping[str, Any]) -> int:
    """The token limit of a request, under either of its names."""
    return next(body[name] for name in TOKEN_LIMITS if name in body)


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether `error`, or an error that caused it, is of this kind."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None
