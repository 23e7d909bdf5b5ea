"""Any OpenAI-compatible server as a voice: one request in, one reply or one well-named error out.

Knows the protocol and its dialects (parameters that a model refuses, reasoning models, local servers), and no Doric.
It never retries by itself: whoever calls decides when to ask again.
"""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol, Self

from doric.core.codec import encode, parse
from doric.core.errors import FatalServerError, RetryableError, ServerError, missing_package
from doric.core.settings import NO_KEY, Settings
from doric.llm import response as completions
from doric.llm.errors import ErrorResponse
from doric.llm.response import CHARACTERS_A_TOKEN, Reply
from doric.llm.secrets import is_secret, without

LIMITS = ("max_tokens", "max_completion_tokens")
"""Two names of one limit: a model that thinks may want the second, and one of them is always sent."""
DROPPABLE = ("temperature", "seed", "response_format", *LIMITS)
CONNECT_SECONDS = 30.0
LIST_SECONDS = 5.0
"""For the list of models, where a model is named and the list may do no more than confirm it."""
THINKING_ROOM = 4096
"""Tokens more than an answer may take, for a model that is seen to think: its thoughts count towards the limit."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call: chat messages, the most tokens an answer may have, sampling, and a JSON schema where JSON is wanted.

    `grown` is how often an answer was cut off before: a model that thinks gets twice the room for it each time.
    """

    messages: Sequence[Mapping[str, str]]
    max_tokens: int
    temperature: float | None = 0.8
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    grown: int = 0


type Response = tuple[int, Mapping[str, str], bytes]
"""Status, headers and body."""


class Backend(Protocol):
    """Whatever answers a request."""

    async def reply(self, request: Request) -> Reply:
        """Answer, or raise `RetryableError`, `ServerError` or `FatalServerError`."""
        ...


class Client:
    """A chat-completions server, reached through the openai SDK's client on its aiohttp transport.

    Requests go to that client as bytes, past the SDK's layers of typed models and retries, which cost as much again as
    all the rest of a call; the table of errors is our own.
    """

    def __init__(self, settings: Settings, *, timeout: float = 600.0, concurrency: int = 50) -> None:
        try:
            import aiohttp  # these take a second to import, and --help needs none of them
            import httpx2
            import openai
        except ImportError as error:
            raise missing_package(error) from error

        self._network_errors = (httpx2.HTTPError, aiohttp.ClientError, OSError)  # TimeoutError is an OSError
        self._no_connection, self._cut_off = aiohttp.ClientConnectorError, aiohttp.ClientPayloadError
        self._settings, self._timeout = settings, timeout
        self.model = settings.model
        self.answered = False
        """Whether it has answered such requests before: then one that it does not take is alone at fault."""
        self._dropped: set[str] = set()
        self._most: int | None = None  # the highest limit that the model takes, once it has said so
        self._thinks, self._room = False, THINKING_ROOM
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        patience = httpx2.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
        self._client = functools.partial(openai.DefaultAioHttpClient, limits=limits, timeout=patience)
        self._http = self._client()
        sdk = openai.AsyncOpenAI(api_key=settings.key or NO_KEY, base_url=settings.address, http_client=self._http)
        headers = {**sdk.default_headers, **sdk.auth_headers, "Content-Type": "application/json"}
        self._headers = httpx2.Headers({name: value for name, value in headers.items() if isinstance(value, str)})
        self._chat = httpx2.URL(f"{settings.address}/chat/completions")
        self._request = functools.partial(
            httpx2.Request,
            "POST",
            self._chat,
            headers=self._headers,
            extensions={"timeout": patience.as_dict()},
        )

    async def __aenter__(self) -> Self:
        try:
            names = await self._models()
            if not self.model:
                self.model = self._only(names)
        except BaseException:
            await self._http.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def reply(self, request: Request) -> Reply:
        """Ask once; asks again at once only without a parameter that the model has just refused."""
        while True:
            body = self._body(request)
            response = await self._post(encode(body), request)
            if (reply := self._taken(*response, request, body)) is not None:
                return _with_tokens(reply, request)

    def _taken(
        self, status: int, headers: Mapping[str, str], content: bytes, request: Request, body: Mapping[str, Any]
    ) -> Reply | None:
        """The reply in a response; None where the same question may be asked again, without what was refused in it."""
        if status < 300:
            try:
                return self._read(content, headers, request)
            except completions.ErrorInside as inside:
                status = inside.status
        asked = [message["content"] for message in request.messages]
        refusal = ErrorResponse.read(status, content, headers, key=self._settings.key, asked=asked)
        if refusal.filtered:
            return Reply("", "content_filter", 0, 0)
        if refusal.too_long and self._thinks and self._room:
            self._room //= 2  # what is too long may be no more than the room for thoughts
            return None
        if refusal.too_long or not self._drop_refused(refusal, body):
            raise self._meant(refusal)
        return None

    async def _post(self, body: bytes, request: Request) -> Response:
        try:
            # the client's own time-out starts anew at each byte, and some gateways send blanks while they wait
            async with asyncio.timeout(self._timeout):
                response = await self._http.send(self._request(content=body))
        except self._network_errors as error:
            raise self._unreached(error, request) from None
        return response.status_code, response.headers, response.content

    def _body(self, request: Request) -> dict[str, Any]:
        most = request.max_tokens + (self._room * 2**request.grown if self._thinks else 0)
        most = most if self._most is None else min(most, self._most)
        body: dict[str, Any] = {"model": self.model, "messages": request.messages, "max_tokens": most}
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.seed is not None:
            body["seed"] = request.seed
        if request.schema is not None:
            schema = {"name": "reply", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if "max_tokens" in self._dropped:
            body["max_completion_tokens"] = most
        return {key: value for key, value in body.items() if key not in self._dropped}

    def _drop_refused(self, refusal: ErrorResponse, body: Mapping[str, Any]) -> bool:
        """Heed a 400 that complains of a parameter, from now on; whether there was one that the body carried."""
        if refusal.status not in (400, 422):
            return False
        named = refusal.parameters([one for one in DROPPABLE if one in body])
        if not named and "response_format" in body:
            named = ["response_format"]  # servers report_error of a schema in words of their own
        if named and named[0] in LIMITS:
            return self._heed_limit(refusal, named[0], body[named[0]])
        self._dropped.update(named[:1])
        return bool(named)

    def _heed_limit(self, refusal: ErrorResponse, name: str, sent: int) -> bool:
        """Send the limit by its other name where it is not known by this one, or a lower one where it is too high."""
        if not refusal.unsupported:
            lower = refusal.lower_than(sent)
            self._most = min(lower, self._most or lower) if lower else self._most
            return lower is not None
        if name == LIMITS[1] and LIMITS[0] in self._dropped:
            return False  # it knows neither name: without a limit, one answer could cost what it likes
        self._dropped.add(name)
        self._thinks = True  # models that want its other name are those that think
        return True

    def _meant(self, refusal: ErrorResponse) -> ServerError:
        return refusal.error(
            address=self._settings.address,
            model=self.model,
            key_variable=self._settings.key_variable,
            key_given=bool(self._settings.key),
            answered=self.answered,
        )

    def _unreached(self, error: Exception, request: Request | None = None) -> RetryableError:
        """What a broken connection means. An answer that was made, or was in the making, is taken to be paid for."""
        if _led_to(error, self._no_connection):
            return RetryableError(f"no connection to {self._settings.address}", fault="connection")
        late = _led_to(error, TimeoutError)
        what = f"no answer within {self._timeout:g} s (--timeout)"
        if not late:
            what = f"the connection to {self._settings.address} broke off"
        fault = "timeout" if late else "connection"
        if request is None or not (late or _led_to(error, self._cut_off)):
            return RetryableError(what, fault=fault)
        guess = _asked(request) // CHARACTERS_A_TOKEN, request.max_tokens // 2
        return RetryableError(what, fault=fault, tokens_in=guess[0], tokens_out=guess[1], counted=False)

    async def _models(self) -> list[str]:
        """What the server offers, empty when it does not tell; one that is not there ends the run before it begins."""
        try:
            # by a connection of its own: a server that trips over this page may drop it, and the next call on it
            async with asyncio.timeout(LIST_SECONDS if self.model else CONNECT_SECONDS), self._client() as alone:
                response = await alone.get(f"{self._settings.address}/models", headers=self._headers)
        except self._network_errors as error:
            if not _led_to(error, self._no_connection):
                return []  # it is there, and may still chat
            own = "Is the server running? Check OPENAI_BASE_URL or --base-url."
            hint = (
                own if self._settings.base_url else "Is this machine online? A proxy or a firewall may stand between."
            )
            raise FatalServerError(self._unreached(error).message, hint=hint) from None
        refusal = ErrorResponse.read(response.status_code, response.content, response.headers, key=self._settings.key)
        if response.status_code in (401, 403) and not self.model:  # a key may be good for chats and not for this
            raise self._meant(refusal)
        try:
            value: Any = parse(response.content)
            return [without(str(one["id"]), self._settings.key) for one in value["data"]]
        except (ValueError, KeyError, TypeError):
            return []

    def _only(self, names: list[str]) -> str:
        if len(names) == 1:
            return names[0]
        hint = f"Set MODEL or --model{f' to one of: {", ".join(names[:8])}' if names else ''}."
        if not names and not self._settings.address.endswith("/v1"):
            hint += " Most addresses end in /v1."
        raise FatalServerError(f"no model is named, and {self._settings.address} does not offer just one", hint=hint)

    def _read(self, content: bytes, headers: Mapping[str, str], request: Request) -> Reply:
        key = self._settings.key if is_secret(self._settings.key) else ""
        reply = completions.read(content, without(headers.get("content-type", ""), key), asked=_asked(request))
        if key:  # an answer goes into files that are given away
            reply = replace(reply, text=without(reply.text, key), finish=without(reply.finish, key))
        self._thinks |= reply.thought
        self.answered = True
        return reply


def _asked(request: Request) -> int:
    """Characters of the messages."""
    return sum(len(message["content"]) for message in request.messages)


def _with_tokens(reply: Reply, request: Request) -> Reply:
    """The reply with its tokens guessed where the server did not count them: a budget must not be blind."""
    if reply.tokens_in or reply.tokens_out:
        return reply
    guessed = _asked(request) // CHARACTERS_A_TOKEN, len(reply.text) // CHARACTERS_A_TOKEN
    return replace(reply, tokens_in=guessed[0], tokens_out=guessed[1], counted=False)


def _led_to(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether `error`, or one that led to it, is of a kind."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None
