"""Any OpenAI-compatible server as a voice: one request in, one reply or one well-named error out.

Knows the protocol and its dialects (parameters that a model refuses, reasoning models, local servers), and no Doric.
It never retries by itself: whoever calls decides when to ask again.
"""

import asyncio
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol, Self

from doric.errors import BackendError, FatalBackendError, TryLaterError
from doric.ground.codec import encode, parse
from doric.settings import NO_KEY, Settings
from doric.voices.faults import Refusal

CHARACTERS_A_TOKEN = 3
THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
CUT_THINKING = re.compile(r"^.*</think(?:ing)?>|<think(?:ing)?>.*$", re.DOTALL | re.IGNORECASE)
DROPPABLE = ("temperature", "seed", "response_format", "max_tokens", "max_completion_tokens")
CONNECT_SECONDS = 30.0
THINKING_ROOM = 4096
"""Tokens more than an answer may take, for a model that is seen to think: its thoughts count towards the limit."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call: chat messages, the most tokens a reply may have, sampling, and a JSON schema where JSON is wanted."""

    messages: Sequence[Mapping[str, str]]
    max_tokens: int
    temperature: float | None = 0.8
    seed: int | None = None
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `finish` is the server's finish reason: stop, length, content_filter or a word of its own."""

    text: str
    finish: str
    tokens_in: int
    tokens_out: int
    counted: bool = True


class Backend(Protocol):
    """Whatever answers a request."""

    @property
    def name(self) -> str:
        """The kind of voice, as rows carry it in `meta.backend`."""
        ...

    async def reply(self, request: Request) -> Reply:
        """Answer, or raise `TryLaterError`, `BackendError` or `FatalBackendError`."""
        ...


class OpenAIBackend:
    """A chat-completions server, reached through the openai SDK's client on its aiohttp transport.

    Requests go to that client as bytes, past the SDK's layers of typed models and retries, which cost as much again as
    all the rest of a call; the table of errors is our own.
    """

    name = "openai"

    def __init__(self, settings: Settings, *, timeout: float = 600.0, concurrency: int = 50) -> None:
        import aiohttp  # these take a second to import, and --help needs none of them
        import httpx2
        import openai

        self._network_errors = (httpx2.HTTPError, aiohttp.ClientError, OSError)  # TimeoutError is an OSError
        self._no_connection = aiohttp.ClientConnectorError
        self._settings, self._timeout = settings, timeout
        self.model = settings.model
        self._dropped: set[str] = set()
        self._thinks = False
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        patience = httpx2.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
        self._http = openai.DefaultAioHttpClient(limits=limits, timeout=patience)
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
            status, headers, content = await self._post(encode(body))
            if status < 300:
                return _with_tokens(self._read(content, headers.get("content-type", "")), request)
            refusal = Refusal.read(status, content, headers, key=self._settings.key)
            if refusal.filtered:
                return Reply("", "content_filter", 0, 0)
            if refusal.too_long or not self._drop_refused(refusal, body):
                raise self._meant(refusal)

    async def _post(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        try:
            # the client's own time-out starts anew at each byte, and some gateways send blanks while they wait
            async with asyncio.timeout(self._timeout):
                response = await self._http.send(self._request(content=body))
        except self._network_errors as error:
            raise self._unreached(error) from None
        return response.status_code, response.headers, response.content

    def _body(self, request: Request) -> dict[str, Any]:
        most = request.max_tokens + (THINKING_ROOM if self._thinks else 0)
        body: dict[str, Any] = {"model": self.model, "messages": request.messages, "max_tokens": most}
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.seed is not None:
            body["seed"] = request.seed
        if request.schema is not None:
            schema = {"name": "reply", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if "max_tokens" in self._dropped and "max_completion_tokens" not in self._dropped:
            body["max_completion_tokens"] = most
        return {key: value for key, value in body.items() if key not in self._dropped}

    def _drop_refused(self, refusal: Refusal, body: Mapping[str, Any]) -> bool:
        """Remember the parameter that a 400 complains of; whether there was one that the body carried."""
        if refusal.status not in (400, 422):
            return False
        sent = [one for one in DROPPABLE if one in body]
        named = [one for one in sent if one == refusal.param]
        named += [one for one in sent if re.search(rf"\b{one}\b", refusal.all)]
        if not named and "response_format" in body:
            named = ["response_format"]  # servers complain of a schema in words of their own
        self._dropped.update(named[:1])
        self._thinks |= "max_tokens" in self._dropped  # models that want its other name are those that think
        return bool(named)

    def _meant(self, refusal: Refusal) -> BackendError:
        return refusal.error(
            address=self._settings.address,
            model=self.model,
            key_variable=self._settings.key_variable,
            key_given=bool(self._settings.key),
        )

    def _unreached(self, error: Exception) -> TryLaterError:
        if _led_to(error, self._no_connection):
            return TryLaterError(f"no connection to {self._settings.address}", fault="connection")
        if _led_to(error, TimeoutError):
            return TryLaterError(f"no answer within {self._timeout:g} s (--timeout)", fault="timeout")
        return TryLaterError(f"the connection to {self._settings.address} broke off", fault="connection")

    async def _models(self) -> list[str]:
        """What the server offers, empty when it does not tell; one that is not there ends the run before it begins."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                response = await self._http.get(f"{self._settings.address}/models", headers=self._headers)
        except self._network_errors as error:
            if not _led_to(error, self._no_connection):
                return []  # it is there, and may still chat
            hint = "Is the server running? Check OPENAI_BASE_URL or --base-url."
            raise FatalBackendError(self._unreached(error).message, hint=hint) from None
        refusal = Refusal.read(response.status_code, response.content, response.headers, key=self._settings.key)
        if response.status_code in (401, 403) and not self.model:  # a key may be good for chats and not for this
            raise self._meant(refusal)
        try:
            value: Any = parse(response.content)
            return [str(one["id"]) for one in value["data"]]
        except (ValueError, KeyError, TypeError):
            return []

    def _only(self, names: list[str]) -> str:
        if len(names) == 1:
            return names[0]
        hint = f"Set MODEL or --model{f' to one of: {", ".join(names[:8])}' if names else ''}."
        raise FatalBackendError(f"no model is named, and {self._settings.address} does not offer just one", hint=hint)

    def _read(self, content: bytes, content_type: str) -> Reply:
        try:
            value: Any = parse(content)
            choice = value["choices"][0]
            message, usage = choice["message"], value.get("usage") or {}
            reply = Reply(
                _without_thinking(message.get("content") or ""),
                choice.get("finish_reason") or "stop",
                int(usage.get("prompt_tokens") or 0),
                int(usage.get("completion_tokens") or 0),
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            kind = f"not a chat completion ({content_type or 'no type'})"
            what = "no choices in it" if b'"choices"' in content else kind
            raise TryLaterError(f"the answer could not be read: {what}", fault="malformed") from None
        self._thinks |= _thought(message)
        return reply


def _with_tokens(reply: Reply, request: Request) -> Reply:
    """The reply with its tokens guessed where the server did not count them: a budget must not be blind."""
    if reply.tokens_in or reply.tokens_out:
        return reply
    asked = sum(len(message["content"]) for message in request.messages)
    return replace(
        reply, tokens_in=asked // CHARACTERS_A_TOKEN, tokens_out=len(reply.text) // CHARACTERS_A_TOKEN, counted=False
    )


def _thought(message: Mapping[str, Any]) -> bool:
    """Whether a model thought before it answered, in the answer itself or in a field beside it."""
    shown = "<think" in (message.get("content") or "")
    return shown or bool(message.get("reasoning_content") or message.get("reasoning"))


def _led_to(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether `error`, or one that led to it, is of a kind."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


def _without_thinking(text: str) -> str:
    """The answer without a reasoning model's thoughts, finished or cut off."""
    if "<think" not in text.lower() and "</think" not in text.lower():
        return text.strip()
    return CUT_THINKING.sub("", THINKING.sub("", text)).strip()
