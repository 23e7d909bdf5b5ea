"""A client for any OpenAI-compatible chat-completions server: one request gives one completion or one error.

It handles differences between servers: parameters that a model refuses, reasoning models, local servers. After an
error it does not retry; the caller decides whether to ask again.
"""

import asyncio
import contextlib
import datetime
import functools
import logging
import math
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from doric.core.errors import FatalServerError, RetryableError, ServerError, missing_package
from doric.core.files import encode_json
from doric.core.settings import NO_KEY, Settings, endpoint, key_headers
from doric.core.text import first_names
from doric.llm import connection
from doric.llm.body import AnswerBody, ErrorBody, JsonBody, refuse_encoding, response_body
from doric.llm.errors import ErrorResponse, redact
from doric.llm.events import Oversized
from doric.llm.failures import Failures
from doric.llm.open_files import allow_connections
from doric.llm.prices import shutdown_date
from doric.llm.request import TIER, ChatRequest, RequestBuilder, merged
from doric.llm.response import (
    STREAM_OPTIONS,
    Completion,
    ErrorInBody,
    TimedCompletion,
    estimate_tokens,
    read_completion,
    read_object,
)
from doric.llm.served_models import MAX_LIST, ServedModel, read_model_list
from doric.llm.transport import next_block, transport

if TYPE_CHECKING:
    import httpx2

__all__ = ["Backend", "ChatRequest", "Client"]
log = logging.getLogger("doric")

CONNECT_SECONDS = 30.0
CONNECT_SHARE = 0.8
LIST_SECONDS = 5.0
"""Timeout for the list of models if the model is given, because then the list is not needed."""
LARGE = 1 << 16
"""Bytes of an answer that may take a moment to read, if it is full of marks of thinking."""
HURRIED_SECONDS = 1.0
"""When the command stops, a response that has begun has so many seconds to end."""
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
    and the run goes on. Set it to True if an earlier run got answers from this server. `source` says where the user
    has set its URL.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        timeout: float = 600.0,
        concurrency: int = 50,
        source: str = "OPENAI_BASE_URL or --base-url",
    ) -> None:
        try:
            import httpx2  # these take a second to import, and --help needs none of them
            import openai
        except ImportError as error:
            raise missing_package(error) from error

        allow_connections(concurrency)
        self._settings, self._timeout = settings, timeout
        self._source = source
        self.model = settings.model
        self.answered = False
        self.listed: list[str] = []
        self.extra_body = settings.extra_body
        self._requests = RequestBuilder(settings.extra_body, settings.preferred)
        self._begun: set[asyncio.Timeout] = set()  # the deadlines of the responses that have begun
        self._hurried, self._last_moment = False, math.inf
        self._reads_large = asyncio.Lock()
        self._url = endpoint(settings.address, "chat/completions")
        self._proxy = connection.proxy_for(settings.address)
        self._failures = Failures(settings, self._proxy, timeout=timeout, source=source)
        proxy = self._proxy.as_httpx(for_aiohttp=True) if self._proxy else None
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        connect = min(CONNECT_SHARE * timeout, CONNECT_SECONDS)  # earlier than the timeout of the call: nothing is paid
        # aiohttp takes the time for the TLS handshake from "pool"
        timeouts = httpx2.Timeout(timeout, connect=connect, pool=connect)
        self._new_http = functools.partial(
            openai.DefaultAioHttpClient, limits=limits, timeout=timeouts, verify=connection.tls_context(),
            proxy=proxy, trust_env=False, follow_redirects=False,
        )  # fmt: skip
        self._http = self._new_http()
        sdk = openai.AsyncOpenAI(api_key=settings.key or NO_KEY, base_url=settings.address, http_client=self._http)
        keys = key_headers(settings.address, settings.key or NO_KEY)
        headers = {**sdk.default_headers, "Content-Type": "application/json", **keys}
        headers["Accept-Encoding"] = "identity"  # an answer has a few KB, and a compressed one may unpack to gigabytes
        self._headers = httpx2.Headers({name: value for name, value in headers.items() if isinstance(value, str)})
        self._request = functools.partial(
            httpx2.Request, headers=self._headers, extensions={"timeout": timeouts.as_dict()}
        )

    async def __aenter__(self) -> Self:
        try:
            models = await self._models()
            self.listed = [model.name for model in models]
            if not self.model:
                self.model = self._only(self.listed)
        except BaseException:
            await self._http.aclose()
            raise
        self._warn_of_shutdown({model.name: model.shutdown for model in models}.get(self.model))
        return self

    def _warn_of_shutdown(self, day: datetime.date | None) -> None:
        """Log that the model ends on this day; if the server does not say when, the price list may."""
        if (day := day or shutdown_date(self.model, self._settings.address)) is not None:
            words = "The provider ends the model %s on %s: finish this run before, or start it with another model."
            log.warning(words, self.model, day.isoformat())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def complete(self, request: ChatRequest) -> Completion:
        """One completion. If the model refuses a parameter, the call is repeated without it."""
        body = self._requests.body(self.model, request)
        while True:
            response, _ = await self._send(body, request)
            if isinstance(completion := self._completion(response, request, body), Completion):
                return _with_tokens(completion, request)
            body = completion

    def batch_body(self, request: ChatRequest) -> dict[str, Any]:
        """The body of a request in a batch: as `complete` sends it, without streaming and without a service tier."""
        body = self._requests.body(self.model, request, standard=True)
        return {name: value for name, value in body.items() if name not in ("stream", STREAM_OPTIONS, TIER)}

    def read_response(self, status: int, content: bytes, request: ChatRequest) -> Completion:
        """The completion in a response to `batch_body(request)`. Raises the same errors as `complete`."""
        body = {**self._requests.body(self.model, request, standard=True), "stream": False}
        completion = self._completion((status, {}, content), request, body)
        if isinstance(completion, Completion):
            return _with_tokens(completion, request)
        raise RetryableError(f"the server refused a parameter of the request ({status})", fault="refused")

    @property
    def is_reasoning_model(self) -> bool:
        """Whether the model has shown signs of reasoning, so that its token limit is higher."""
        return self._requests.is_reasoning_model

    @is_reasoning_model.setter
    def is_reasoning_model(self, known: bool) -> None:
        self._requests.is_reasoning_model = known

    def hurry(self) -> None:
        """From now on, give up a response that does not end soon after its beginning, because the command stops."""
        self._hurried = True
        self._last_moment = asyncio.get_running_loop().time() + HURRIED_SECONDS
        for deadline in self._begun:
            _shorten(deadline, HURRIED_SECONDS)

    async def complete_timed(self, request: ChatRequest) -> TimedCompletion:
        """Like `complete`, but by streaming and with the time of the first token. Raises the same errors."""
        started = time.monotonic()
        body = self._requests.body(self.model, request, stream=True)
        while True:
            response, times = await self._send(body, request)
            if isinstance(completion := self._completion(response, request, body, stream=True), Completion):
                completion = replace(completion, counted=completion.tokens_out > 0)
                first_token = times.first - started if times.streamed else None
                return TimedCompletion(completion, first_token, times.last - started)
            body = completion

    async def post(self, page: str, fields: Mapping[str, Any], *, quoted: str) -> dict[str, Any]:
        """The JSON object that another page of the API, such as "completions", answers to `fields` and the model.

        `quoted` is the text in `fields` that an error of the server may quote. Raises the same errors as `complete`,
        and `NotOffered` if the server refuses its first request.
        """
        body, request = JsonBody(), ChatRequest([{"role": "user", "content": quoted}], 1)
        content = encode_json(merged({"model": self.model, **fields}, self.extra_body))
        url = endpoint(self._settings.address, page)
        try:
            async with asyncio.timeout(self._timeout), self._opened(self._http, "POST", url, content) as response:
                blocks = response.aiter_bytes()
                while (block := await next_block(blocks)) is not None:
                    body.feed(block)
        except OSError as error:
            raise self._failures.network(error, request, begun=False, hurried=self._hurried) from None
        except Oversized as error:
            raise FatalServerError(f"{self._settings.address}: {error}", fault="oversized") from None
        status, headers = response.status_code, response.headers
        if status >= 300:
            raise self._error(self._failures.refusal(status, body.content(), headers, prompts=[quoted]))
        found = read_object(body.content(), redact(headers.get("content-type", ""), self._failures.secret))
        self.answered = True
        return found

    async def _send(self, body: Mapping[str, Any], request: ChatRequest) -> tuple[Response, "Times"]:
        """The response and its times. A streamed answer gets the form of an answer that was not streamed."""
        found: AnswerBody | ErrorBody | None = None
        times = Times()
        try:
            # a timeout for the whole call: the HTTP client's own timeout restarts at each byte, and some gateways send
            # blanks while they wait
            async with (
                asyncio.timeout(self._timeout) as deadline,
                self._opened(self._http, "POST", self._url, encode_json({**body})) as response,
            ):
                refuse_encoding(response.headers, self._settings.address)
                found = response_body(response.status_code, response.headers.get("content-type", ""))
                with self._in_a_hurry(deadline):
                    await _receive(response, found, deadline, times)
        except OSError as error:  # `TransportError`, or the TimeoutError of the deadline
            if found is None or not found.enough:
                raise self._failures.network(error, request, begun=found is not None, hurried=self._hurried) from None
        except Oversized as error:
            raise self._failures.oversized(error, body, request) from None
        content = found.content(request.characters)
        if len(content) > LARGE:
            await self._wait_to_read(request)
        return (response.status_code, response.headers, content), times

    async def _wait_to_read(self, request: ChatRequest) -> None:
        """Wait until no other large answer is read, so that the event loop gets its turn, with Ctrl-C, between two."""
        async with self._reads_large:
            await asyncio.sleep(0)
        if asyncio.get_running_loop().time() > self._last_moment:
            raise self._failures.network(TimeoutError(), request, begun=True, hurried=self._hurried)

    @contextlib.contextmanager
    def _in_a_hurry(self, deadline: asyncio.Timeout) -> Generator[None]:
        """In the block, `hurry` moves `deadline`; if it was called before, the deadline is moved at once."""
        self._begun.add(deadline)
        if self._hurried:
            _shorten(deadline, HURRIED_SECONDS)
        try:
            yield
        finally:
            self._begun.discard(deadline)

    @contextlib.asynccontextmanager
    async def _opened(
        self, http: "httpx2.AsyncClient", method: str, url: str, content: bytes | None = None
    ) -> AsyncGenerator["httpx2.Response"]:
        """The response to a request, with its body still to be read. Redirects to the same server are followed."""
        redirects = connection.Redirects(self._settings.address, source=self._source)
        while True:
            with transport():
                response = await http.send(self._request(method, url, content=content), stream=True)
            async with _closing(response):
                status = response.status_code
                if status not in connection.REDIRECTS:
                    yield response
                    return
            url = redirects.follow(url, status, response.headers.get("location", ""), method=method)
            if status == 303:  # "see other": Modal does this while a container starts
                method, content = "GET", None

    def _completion(
        self, response: Response, request: ChatRequest, body: Mapping[str, Any], *, stream: bool = False
    ) -> Completion | dict[str, Any]:
        """The completion in a response; the body to send next if a parameter or the service tier was refused."""
        status, headers, content = response
        if status < 300:
            try:
                return self._read(content, headers, request)
            except ErrorInBody as error:
                status = error.status
        prompts = [message["content"] for message in request.messages]
        refusal = self._failures.refusal(status, content, headers, prompts=prompts)
        if refusal.filtered:
            return Completion("", "content_filter")
        standard = self._requests.needs_standard(refusal, body)
        if not standard and not self._requests.adapt(refusal, body, request):
            raise self._error(refusal)
        standard |= TIER in self._settings.preferred and TIER not in body  # as this call was sent before
        return self._requests.body(self.model, request, stream=stream, standard=standard)

    def _read(self, content: bytes, headers: Mapping[str, str], request: ChatRequest) -> Completion:
        key = self._failures.secret
        content_type = redact(headers.get("content-type", ""), key)
        completion = read_completion(content, content_type, prompt_characters=request.characters)
        if key:  # answers go into files that are published
            text, finish = redact(completion.text, key), redact(completion.finish, key)
            completion = replace(completion, text=text, finish=finish)
        self._requests.is_reasoning_model |= completion.reasoned
        self.answered = True
        return completion

    def _error(self, refusal: ErrorResponse) -> ServerError:
        return self._failures.refused(refusal, self.model, answered=self.answered, listed=self.listed)

    async def _models(self) -> list[ServedModel]:
        """The models that the server lists, empty if it does not. Raises `FatalServerError` if there is no server."""
        page = JsonBody(MAX_LIST)
        try:
            # on a separate connection, because some servers drop the connection after an error on this page
            async with (
                asyncio.timeout(LIST_SECONDS if self.model else CONNECT_SECONDS),
                self._new_http() as http,
                self._opened(http, "GET", endpoint(self._settings.address, "models")) as response,
            ):
                blocks = response.aiter_bytes()
                while (block := await next_block(blocks)) is not None:
                    page.feed(block)
        except Oversized:
            return []
        except OSError as error:
            await self._failures.raise_if_unreachable(error)
            return []  # the server exists, and it may still answer chats
        status, models = response.status_code, []
        try:
            models = read_model_list(page.content()) if status < 300 else []
        except ValueError:
            pass
        except ErrorInBody as error:
            status = error.status
        if status in (401, 403, 407) and (not self.model or status == 407):  # some keys may chat, but not list models
            raise self._error(self._failures.refusal(status, page.content(), response.headers))
        return [replace(model, name=redact(model.name, self._failures.secret)) for model in models]

    def _only(self, names: list[str]) -> str:
        if len(names) == 1:
            return names[0]
        hint = f"Set MODEL or --model{f' to one of: {first_names(names)}' if names else ''}."
        if not names and not self._settings.address.endswith("/v1"):
            hint += " Most base URLs end in /v1."
        lists = f"lists {len(names)} models" if names else "does not list its models"
        message = f"no model is given, and {self._settings.address} {lists}"
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
            _shorten(deadline, patience)

    move_deadline()
    blocks = response.aiter_bytes()
    while (block := await next_block(blocks)) is not None:
        times.last = times.last if body.done else time.monotonic()
        for _ in body.feed(block):
            pass
        times.first = times.first or (times.last if body.pieces else 0.0)
        times.streamed = body.pieces > 1
        move_deadline()
        await asyncio.sleep(0)  # a flood of blocks would never wait, and Ctrl-C and timeouts would come late
    for _ in body.end():
        pass


@contextlib.asynccontextmanager
async def _closing(response: "httpx2.Response") -> AsyncGenerator[None]:
    """Close a response after the block. Raises `TransportError`."""
    try:
        yield
    finally:
        with transport():
            await response.aclose()


def _shorten(deadline: asyncio.Timeout, seconds: float) -> None:
    """Move a deadline to `seconds` from now, unless it is earlier."""
    end = asyncio.get_running_loop().time() + seconds
    deadline.reschedule(min(end, deadline.when() or end))


def _with_tokens(completion: Completion, request: ChatRequest) -> Completion:
    """The completion with estimated tokens if the server did not count them: budgets need them."""
    if completion.tokens_in or completion.tokens_out:
        return completion
    tokens_in, tokens_out = estimate_tokens(request.characters), estimate_tokens(len(completion.text))
    return replace(completion, tokens_in=int(tokens_in), tokens_out=int(tokens_out), counted=False)
