"""An OpenAI-compatible server: its models, its streamed answers, cold starts, and which key is sent to which host.

Requests use httpx2, the HTTP library of the openai SDK. The SDK itself is not used, because its import takes a second
and would delay the answer to a single question. httpx2 is imported in the background while the prompt appears.
"""

import json
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from doric.chat.connection import Reply, Watchdog
from doric.chat.session import Model, TooLong
from doric.core.errors import FatalServerError, RetryableError, ServerError, SettingsError, missing_package
from doric.core.settings import check_key, is_loopback, normalize_url
from doric.core.text import first_names
from doric.llm import connection
from doric.llm.body import AnswerBody, ErrorBody, JsonBody, refuse_encoding
from doric.llm.errors import ACCOUNT_HINT, MEMORY_HINT, ErrorResponse, find_error
from doric.llm.events import Oversized, decode
from doric.llm.request import Adaptation, merged
from doric.llm.response import STREAM_OPTIONS, UNKNOWN_ERROR, ErrorInBody, StreamedCompletion, status_of
from doric.llm.served_models import MAX_LIST, read_model_list, untagged
from doric.llm.transport import TransportError, each_block, transport

if TYPE_CHECKING:
    import httpx2

VARIABLES = ("VLLM_URL", "VLLM_API_KEY", "MODAL_KEY", "MODAL_SECRET", "MODAL_DOMAIN")
DEFAULT_WAIT = 600.0
"""Seconds. A first start on a GPU in the cloud takes some minutes."""
FIRST_BYTE = 5.0
"""Seconds. A request that has been sent waits at least so long for the status of its answer, also if `wait` is 0."""
STARTING = (502, 503, 504)
STALL_SECONDS = 300.0
"""If no text arrives for so long in the middle of an answer, the chat stops waiting."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 2.0
"""Seconds between two tries. Each pause is 1.5 times as long as the pause before."""
START_IT = "Start the server, or check the port in VLLM_URL. --wait SECONDS waits for a server that is starting."
API_KEY = "Put the key into .env: of a server of your own, the key that it was started with; else the provider's key."
MODAL_API_KEY = "It is the key in the app's Modal Secret; see .env.template."
TOP_UP = "Top up the account of the provider, or use another server."
CHECK_SERVER = "Is VLLM_URL an OpenAI-compatible server?"
NAME_MODEL = "If the server does not list its models, set VLLM_MODEL to the name of one."


class NoServer(ServerError):
    """No answer within the time allowed."""

    exit_status = 1


class StatusError(FatalServerError):
    """An HTTP error status that is caused neither by a wrong key nor by a wrong URL. `refusal` is the response."""

    def __init__(self, message: str, *, hint: str, refusal: ErrorResponse) -> None:
        super().__init__(message, hint=hint)
        self.refusal = refusal


@dataclass(frozen=True)
class Address:
    """The URL of the server, and its keys (not in the repr). `url` has no final slash and no /v1.

    `modal_domain` is the user's own domain for a Modal app.
    """

    url: str
    api_key: str = field(default="", repr=False)
    modal_key: str = field(default="", repr=False)
    modal_secret: str = field(default="", repr=False)
    modal_domain: str = ""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read VLLM_URL, VLLM_API_KEY, MODAL_KEY, MODAL_SECRET and MODAL_DOMAIN. Raises `SettingsError`."""
        values = [env.get(name, "").strip() for name in VARIABLES]
        for name, text in zip(VARIABLES[1:], values[1:], strict=True):
            check_key(text, name)
        url = normalize_url(values[0], source="VLLM_URL").removesuffix("/v1").rstrip("/")
        if not url:
            hint = "Put the URL that `modal deploy` printed, or http://localhost:8000, into .env."
            raise SettingsError("VLLM_URL is not set", hint=hint)
        if "?" in url:
            hint = "Azure's URL for the chat ends in /openai/v1, without an api-version."
            raise SettingsError("the URL in VLLM_URL contains a query", hint=hint)
        return cls(url, *values[1:])

    @property
    def host(self) -> str:
        """The host, with the port if the URL names one."""
        return urlsplit(self.url).netloc

    @property
    def at_modal(self) -> bool:
        """Whether Modal's proxy token may be sent: the URL is https, and its host is Modal's or `modal_domain`."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        own = self.modal_domain.lower().removeprefix("https://").rstrip("/")
        return parts.scheme == "https" and (host.endswith(".modal.run") or host == own)

    @property
    def warning(self) -> str:
        """A warning if the key would leave this machine unencrypted, else ""."""
        parts = urlsplit(self.url)
        if not self.api_key or parts.scheme == "https" or is_loopback(parts.hostname or ""):
            return ""
        tunnel = f"ssh -L 8000:localhost:{parts.port or 80} {parts.hostname}, and VLLM_URL=http://localhost:8000"
        return f"VLLM_API_KEY goes to {self.host} unencrypted; use https, or a tunnel: {tunnel}"

    def headers(self) -> dict[str, str]:
        """The headers of every request. A key is sent only if it is set and is meant for this host."""
        keys = {"Authorization": f"Bearer {self.api_key}" if self.api_key else ""}
        if self.at_modal:
            keys |= {"Modal-Key": self.modal_key, "Modal-Secret": self.modal_secret}
        return {"Content-Type": "application/json", **{name: key for name, key in keys.items() if key}}


@dataclass
class Server:
    """The server at one address. A request waits up to `wait` seconds for a server that is still starting.

    `wait` None is the default: `DEFAULT_WAIT`, but no wait if nothing listens at a port of this machine. A server that
    accepts the connection has at least `FIRST_BYTE` seconds, also if `wait` is 0.
    `extra_body` has more fields for each question; sampling options replace those of the same name.
    `model` is the model that answers, once it is known: `wanted`, else an adapter. `models` are all served models.
    `refused` is the error if the search in the background was refused, and `missed` if nobody answered it. `obstacle`
    says why the last try got no answer.
    """

    address: Address
    wait: float | None
    wanted: str = ""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    models: list[Model] = field(default_factory=list, init=False)
    model: Model | None = field(default=None, init=False)
    refused: FatalServerError | None = field(default=None, init=False)
    missed: ServerError | None = field(default=None, init=False)
    obstacle: str = field(default="", init=False)
    _adaptation: Adaptation = field(default_factory=Adaptation, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    @property
    def patience(self) -> float:
        """How many seconds a request waits for the server."""
        return DEFAULT_WAIT if self.wait is None else self.wait

    def waiting_for(self) -> str:
        """What a request waits for, and why it has no answer yet."""
        return f"waiting for {self.address.host}" + (f" ({self.obstacle})" if self.obstacle else "")

    @property
    def unlisted(self) -> str:
        """A warning if the server lists models but not the one in use, else "". Some servers answer all the same."""
        if not self.models or self.model is None or self.model in self.models:
            return ""
        names = listed(self.models)
        return (
            f"{self.address.host} does not list {self.model.name}, only {names}: VLLM_MODEL or /model NAME changes it"
        )

    def start(self) -> None:
        """Look for the model in the background, once. This request also starts a server that is stopped."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, daemon=True)
            self._thread.start()

    @property
    def looking(self) -> bool:
        """Whether the search in the background is still running."""
        return self._thread is not None and self._thread.is_alive()

    def find(self) -> Model:
        """The model; if it is not known yet, the server is asked. Raises `ServerError`."""
        if self._thread:
            self._thread.join()
        if self.refused:
            raise self.refused
        return self.model or self._find()

    def select(self, name: str) -> None:
        """Update `models`, and use the model of this name from now on unless it is "". Raises `ServerError`."""
        self.models = self._list(needed=not name)
        names = [model.name for model in self.models]
        if name and names and name not in names:
            raise FatalServerError(f"there is no model {name!r} here", hint=f"served here: {listed(self.models, name)}")
        if name:
            self.model, self._adaptation = choose(self.models, name), Adaptation()

    def stream(
        self, messages: Sequence[Mapping[str, str]], options: Mapping[str, float], answer: StreamedCompletion
    ) -> Generator[str]:
        """The pieces of one answer, which are also added to `answer`. To stop the server, close the generator.

        Raises `TooLong` or another `ServerError` if there is no answer, and `RetryableError` if the answer breaks off.
        """
        with closing(self._ask(messages, options)) as reply:
            found = AnswerBody(reply.response.headers.get("Content-Type", ""), answer)
            try:
                yield from self._pieces(reply, found)
            except TransportError as error:
                if not found.enough:
                    raise _broken_off(self._explain(error).reason) from error
            except Oversized as error:
                raise RetryableError(f"{error}; the rest was not read", fault="oversized") from error
            if reply.watchdog.expired and not found.enough:
                raise _broken_off("it sends no more text")
            if not found.streamed:
                yield self._whole(found)
            if not found.answer.complete:
                raise _broken_off("the end of the answer is missing")

    def _ask(self, messages: Sequence[Mapping[str, str]], options: Mapping[str, float]) -> Reply:
        """The reply to a question. What the server refuses once (see `Adaptation`) is not sent again."""
        own = {**options}
        own.pop("max_tokens", None)  # a limit may be lowered, or sent by its other name
        while True:
            body = {"model": self.find().name, "messages": messages, **options, "stream": True}
            sent = self._adaptation.applied({**body, STREAM_OPTIONS: {"include_usage": True}})
            try:
                return self._request("POST", "/v1/chat/completions", merged(self.extra_body, sent))
            except StatusError as error:
                if not self._adaptation.adapt(error.refusal, sent, fixed=own.keys()):
                    raise

    def _pieces(self, reply: Reply, found: AnswerBody) -> Iterator[str]:
        for text in reply.pieces(found, first=max(STALL_SECONDS, self.patience), silence=STALL_SECONDS):
            yield text
            self._raise_error_in(found.answer)
        self._raise_error_in(found.answer)

    def _raise_error_in(self, answer: StreamedCompletion) -> None:
        if answer.error:
            said = self._said(status_of(answer.error), json.dumps({"error": answer.error}).encode())
            hint = MEMORY_HINT if said.out_of_memory else ""
            if answer.text:
                raise _broken_off(said.message, hint=hint)
            if said.refuses_key or said.refuses_account:
                raise self._refused(said)
            message = f"{self.address.host} answered with an error: {said.message}"
            raise RetryableError(message, fault="error", hint=hint)

    def _whole(self, found: AnswerBody) -> str:
        """The text of an answer that was not streamed. Raises `FatalServerError` if there is no answer."""
        value = decode(found.content())
        if not isinstance(value, dict) or not (value.get("choices") or find_error(value)):
            raise FatalServerError("the server did not stream its answer", hint=CHECK_SERVER)
        text = found.answer.add(value)
        self._raise_error_in(found.answer)
        found.answer.ended = True
        return text

    def _look(self) -> None:
        try:
            self._find()
        except FatalServerError as error:
            self.refused = error
        except ServerError as error:  # the first question tries again
            self.missed = error

    def _find(self) -> Model:
        self.models = self._list(needed=not self.wanted)
        self.model = choose(self.models, self.wanted)
        return self.model

    def _list(self, *, needed: bool) -> list[Model]:
        """All served models; an adapter has the window of its base. If not `needed`, a missing list counts as empty."""
        try:
            reply = self._request("GET", "/v1/models")
        except StatusError as error:
            if needed:
                error.hint = error.hint or NAME_MODEL
                raise
            return []
        try:
            with closing(reply):
                page = JsonBody(MAX_LIST)
                for block in each_block(reply.response.iter_bytes()):
                    page.feed(block)
            return read_model_list(page.content())
        except ErrorInBody as error:
            said = self._said(error.status, page.content())
            if not (needed or said.refuses_key):
                return []
            raise self._refused(said) from None
        except (TransportError, Oversized, ValueError) as error:
            if not needed:
                return []
            raise ServerError("the server did not send a list of models", hint=CHECK_SERVER) from error

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """The open response with a status of success. Retries while the server is down or starting."""
        start = time.monotonic()
        deadline, pause = start + self.patience, FIRST_PAUSE
        while True:
            try:
                reply = self._follow(method, path, body, max(deadline, start + FIRST_BYTE))
                status = reply.response.status_code
                if 200 <= status < 300:
                    self.obstacle = ""
                    refuse_encoding(reply.response.headers, self.address.host)
                    return reply
                with closing(reply):
                    if status not in STARTING:
                        raise self._refused(self._read_error(reply))
                    said = self._read_error(reply).message
                self.obstacle = f"HTTP {status}" + (f": {said}" if said else "")
            except TransportError as error:
                fault = self._explain(error)
                self.obstacle = fault.reason
                if fault.permanent:
                    message = f"{self.address.host} cannot be reached: {self.obstacle}"
                    raise FatalServerError(message, hint=fault.hint or "Check VLLM_URL.") from error
                if self.wait is None and self._proxy and fault.refused:
                    raise NoServer(f"{self.address.host} cannot be reached: {fault.reason}", hint=fault.hint) from error
                if self.wait is None and fault.refused and connection.leads_here(self.address.url):
                    raise NoServer(
                        f"nothing listens at {self.address.host} ({self.obstacle})", hint=START_IT
                    ) from error
            left = deadline - time.monotonic()
            if left <= 0:
                message = f"no answer from {self.address.host} in {self.patience:.0f} s ({self.obstacle})"
                raise NoServer(message, hint="A first start can take minutes: --wait SECONDS waits longer.")
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _follow(self, method: str, path: str, body: Mapping[str, Any] | None, deadline: float) -> Reply:
        """Send one request and follow its redirects, all of which must lead to the same host."""
        url, http = self.address.url + path, self._http
        content = None if body is None else json.dumps(body).encode()
        redirects = connection.Redirects(self.address.url, source="VLLM_URL")
        while True:
            left, headers = max(deadline - time.monotonic(), 0.1), self.address.headers()
            watchdog = Watchdog(left)
            try:
                with transport():
                    request = http.build_request(
                        method, url, content=content, headers=headers, timeout=left,
                        extensions={"trace": watchdog.trace},
                    )  # fmt: skip
                    response = http.send(request, stream=True)
            except BaseException:
                watchdog.stop()
                raise
            status = response.status_code
            if status not in connection.REDIRECTS:
                return Reply(response, watchdog)
            Reply(response, watchdog).close()
            url = redirects.follow(url, status, response.headers.get("Location", ""), method=method)
            if status == 303:
                method, content = "GET", None

    def _explain(self, error: Exception) -> connection.ConnectionFault:
        """Why a connection failed."""
        fault = connection.explain(error, self.address.url, self._proxy, source="VLLM_URL")
        plain = fault.connected and self.address.url.startswith("http:") and not self.obstacle
        return connection.expects_https("VLLM_URL") if plain and connection.speaks_tls(self.address.url) else fault

    @cached_property
    def _proxy(self) -> connection.Proxy | None:
        return connection.proxy_for(self.address.url)

    @cached_property
    def _http(self) -> "httpx2.Client":
        """A client that does not follow redirects. It uses the proxy and the certificates set in the environment."""
        try:
            import httpx2  # imported here, so that the prompt appears sooner
        except ImportError as error:
            raise missing_package(error) from error
        transport = httpx2.HTTPTransport(
            verify=connection.tls_context(),
            trust_env=False,
            limits=httpx2.Limits(max_keepalive_connections=0),  # an idle connection may be dead by the next question
            proxy=self._proxy.as_httpx() if self._proxy else None,
        )
        headers = {"Accept-Encoding": "identity"}  # compression would delay tokens
        return httpx2.Client(transport=transport, trust_env=False, headers=headers)

    def _read_error(self, reply: Reply) -> ErrorResponse:
        """The error in a response."""
        body, response = ErrorBody(), reply.response
        with suppress(TransportError):  # the status is known, and so is the beginning of the body
            for _ in reply.pieces(body, first=body.patience, silence=body.patience):
                pass
        return self._said(response.status_code, body.content(), response.headers)

    def _said(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> ErrorResponse:
        """The error in the body of a response, or in an event."""
        logins = self._proxy.secrets if self._proxy else ()
        return ErrorResponse.read(status, body, headers or {}, key=self.address.api_key, logins=logins)

    def _refused(self, refusal: ErrorResponse) -> ServerError:
        """The error for a refusal, in terms of the variables that the user has set."""
        address, status = self.address, refusal.status
        at_modal = "modal-http" in refusal.text  # Modal's own response, not the container's
        if status in (401, 403) and at_modal:
            state = "were refused"
            if not (address.modal_key and address.modal_secret):
                state = "are not both set"
            elif not address.at_modal:
                state = "go only to https://*.modal.run and to the host in MODAL_DOMAIN"
            message = f"Modal rejected the proxy token: MODAL_KEY and MODAL_SECRET {state}"
            return FatalServerError(message, hint="Both are parts of a proxy token; see .env.template.")
        if refusal.expects_https or (status == 403 and refusal.is_page):
            return refusal.to_error(address=address.host, model="", key_variable="", key_given=False)
        if refusal.out_of_credit:
            said = f": {refusal.message}" if refusal.message else ""
            return FatalServerError(f"the quota at {address.host} is used up ({status}){said}", hint=TOP_UP)
        if refusal.refuses_account:
            return FatalServerError(f"{address.host} gives no access ({status}): {refusal.message}", hint=ACCOUNT_HINT)
        if refusal.refuses_key:
            state = "was refused" if address.api_key else "is not set"
            said = f" ({refusal.message})" if refusal.message else ""
            message = f"{address.host} requires a key: VLLM_API_KEY {state}{said}"
            return FatalServerError(message, hint=MODAL_API_KEY if address.at_modal else API_KEY)
        if status == 404 and at_modal:
            hint = "Check VLLM_URL, or deploy: see modal/README.md."
            return FatalServerError(f"nothing is deployed at {address.url}", hint=hint)
        if refusal.too_long:
            return TooLong(refusal.message)
        if status == 407:
            return refusal.to_error(address=address.host, model="", key_variable="", key_given=False)
        served = f"served here: {listed(self.models)}"
        hint = served if status == 404 and self.models else refusal.extra_body_hint(tuple(self.extra_body))
        hint = MEMORY_HINT if refusal.out_of_memory else hint
        said = f": {refusal.message}" if refusal.message else ""
        what = "with an error" if status == UNKNOWN_ERROR else status  # a real 502 is tried again, and never comes here
        return StatusError(f"{address.host} answered {what}{said}", hint=hint, refusal=refusal)


def choose(models: list[Model], wanted: str) -> Model:
    """The model to use: the wanted model; else an adapter, `doric` before others; else the first model.

    A wanted model does not have to be in the list. Raises `FatalServerError` if there is no model.
    """
    if wanted:
        return next((model for model in models if untagged(model.name) == untagged(wanted)), Model(wanted))
    if not models:
        raise FatalServerError("the server lists no model", hint=NAME_MODEL)
    adapters = [model for model in models if model.parent]
    return next((model for model in adapters if model.name == "doric"), (adapters or models)[0])


def listed(models: Sequence[Model], like: str = "") -> str:
    """The first names of the models, those most `like` a name that is not among them first; /model lists all."""
    return first_names([model.name for model in models], like)


def _broken_off(reason: str, *, hint: str = "") -> RetryableError:
    return RetryableError(f"the server broke off: {reason}", fault="connection", hint=hint)
