"""What a model server's error response means. It becomes one of three errors, without the API key:

`ServerError`: only this call has failed. `RetryableError`: a retry may succeed. `FatalServerError`: the run must stop.
The words by which an error is recognised are in `data/server_errors.toml`.
"""

import functools
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from doric import data
from doric.core.errors import FatalServerError, NotOffered, RetryableError, ServerError
from doric.core.settings import at_azure, azure_hint
from doric.core.text import first_names, printable
from doric.llm.reset_times import SHORT, Pause, clock_time, in_words, read_pause, read_retry_after

RETRYABLE_STATUSES = (408, 409, 425, 429)
NUMBER = re.compile(r"(?<![\w.-])\d[\d,]*(?![\w-])")
MIN_TOKEN_LIMIT = 16
"""Tokens. A smaller limit is useless, and a smaller number in an error message is not a limit."""
LIMITED = (403, 429, 503)
"""Statuses of a limit that is used up."""
LATER = "Run the same command again after that time. Nothing is lost."
MEMORY_HINT = "Choose a smaller model or a shorter context, or close other programs on the server's machine."
ACCOUNT_HINT = "The key is not at fault: choose another model, or ask the provider for access."
MAX_RETRY_AFTER = 600.0
"""Seconds. A longer Retry-After ends the run; the user continues it later."""
MAX_MESSAGE = 300
"""Characters of the server's message that are quoted."""
MAX_BODY = 1 << 16
"""Bytes of an error response that are read. No message is at the end of a longer one."""

MIN_REDACTED = 6
"""Characters. Shorter keys are never redacted: the dummy key "x" is in most words."""
MIN_SECRET, MIN_LONG_SECRET = 8, 20
"""Characters. A key is secret if it has at least 8 and a digit, or at least 20. Other keys are dummy words."""
MIN_QUOTED = 24
"""Characters. A part of a prompt that is at least so long is redacted where a message quotes it."""
MASKED = re.compile(r"\S*(?:\*{2,}|\.{3,}|…)\S*")
"""A key of which a server shows only some characters: sk-ab***yz."""

WORD_FIELDS = (
    "error", "errors", "title", "message", "msg", "detail", "details", "error_description", "errormessage",
    "error_message", "description", "reason", "raw", "metadata", "innererror", "cause", "fault", "faultstring",
)  # fmt: skip
"""Fields in which servers put their words, in lower case. Their values may be texts, lists and objects."""
CODE_FIELDS = ("code", "type", "status", "error_code", "error_type")
"""Fields that are shown only if there are no words."""
MAX_DEPTH, MAX_WORDS = 6, 4
TITLE = re.compile(r"<(title|h1|message)[^>]*>([^<]{1,500})</\1", re.IGNORECASE)
TAG = re.compile(
    r"<(script|style)\b.*?(?:</\1\s{0,9}>|\Z)|<!--.*?(?:-->|\Z)|<[^>]{0,2000}>?", re.IGNORECASE | re.DOTALL
)
PAGE = re.compile(r"\s*(?:<!doctype|<html|<head|<body|<title|<\?xml|<!--|<error)", re.IGNORECASE)


@functools.cache
def marks(name: str) -> Any:  # noqa: ANN401 - a list of words, or a table
    """A list of `data/server_errors.toml`: parts of messages in lower case."""
    return data.read_toml("server_errors.toml")[name]


# --- secrets --------------------------------------------------------------------------------------------------------


def redact(text: str, secret: str) -> str:
    """`text` with `secret` replaced by an ellipsis; unchanged if `secret` is shorter than 6 characters.

    >>> redact("Incorrect API key provided: sk-4f7a", "sk-4f7a")
    'Incorrect API key provided: …'
    """
    return text.replace(secret, "…") if len(secret) >= MIN_REDACTED else text


def is_secret(key: str) -> bool:
    """Whether `key` is a real key. Local servers also accept any placeholder word, which is not secret.

    >>> is_secret("sk-proj-4f7a"), is_secret("ollama"), is_secret("not-needed"), is_secret("")
    (True, False, False, False)
    """
    return len(key) >= MIN_LONG_SECRET or (len(key) >= MIN_SECRET and any(char.isdigit() for char in key))


def _without_secrets(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:  # in a raw body, characters of the secret may be escaped as in JSON
        text = redact(redact(text, secret), json.dumps(secret)[1:-1])
        text = redact(text, json.dumps(secret, ensure_ascii=False)[1:-1])
    return text


def _without_quotation(text: str, prompt: str) -> str:
    """`text` without a beginning of `prompt`, or of one of its lines, that it quotes."""
    for line in {prompt, *prompt.splitlines()}:
        start = line.strip()[:MIN_QUOTED]
        if len(start) == MIN_QUOTED and (at := text.find(start)) >= 0:
            pairs = zip(text[at:], line.strip(), strict=False)
            same = next((number for number, (one, other) in enumerate(pairs) if one != other), None)
            end = min(len(text), at + len(line.strip())) if same is None else at + same
            text = f"{text[:at]}…{text[end:]}"
    return text


def _without_key_parts(text: str, key: str) -> str:
    """`text` without words that show the first or the last characters of a secret key."""
    text = MASKED.sub("…", text)
    if not is_secret(key):
        return text
    return " ".join("…" if key[:MIN_REDACTED] in word or key[-4:] in word else word for word in text.split(" "))


# --- reading --------------------------------------------------------------------------------------------------------


def error_words(content: bytes) -> str:
    """What an error response says to people, on one line, from any known shape; "" if it says nothing.

    >>> error_words(b'{"detail": [{"loc": ["body", "max_tokens"], "msg": "Input should be at most 64"}]}')
    'max_tokens: Input should be at most 64'
    >>> error_words(b'<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>')
    '502 Bad Gateway'
    """
    if title := page_title(content):
        return title
    text = content[:MAX_BODY].decode("utf-8", "replace")
    value = _json_in(text)
    if value is None:
        return _one_line(text)
    words: list[str] = []
    for each in _words(value):
        if not any(each in known for known in words):
            words = [known for known in words if known not in each] + [each]
    return _one_line(": ".join(words[:MAX_WORDS])) or _one_line(text)


def page_title(content: bytes) -> str:
    """The title of an HTML or XML page, or the beginning of its text if it has none; "" if `content` is no page."""
    text = content[:MAX_BODY].decode("utf-8", "replace")
    if not PAGE.match(text):
        return ""
    found = TITLE.search(text)
    title = found[2] if found else TAG.sub(" ", text)
    return _shortened(_one_line(html.unescape(title))) or "a page without a title"


def is_error(error: object) -> bool:
    """Whether the value of a field `error` says that there was an error. Some servers send an empty one every time.

    >>> is_error("busy"), is_error({"code": 0, "message": ""}), is_error(None)
    (True, False, False)
    """
    return any(error.values()) if isinstance(error, dict) else bool(error)


def find_error(value: object) -> object:
    """The error in a decoded body without an answer: its field `error`, else all of the body; None if there is none.

    >>> find_error({"error": "busy"}), find_error({"detail": "Not Found"}), find_error({"id": "c1"})
    ('busy', {'detail': 'Not Found'}, None)
    """
    if isinstance(value, list):
        return find_error(value[0]) if value else None
    if not isinstance(value, dict):
        return None
    error, words = value.get("error"), value.get("message")  # Ollama's own format has an answer in the field `message`
    if is_error(error) and not isinstance(error, int | float):
        return error
    named = value.get("object") == "error" or isinstance(words, str) or is_error(error)
    return value if named or value.get("errors") or value.get("detail") else None


def _words(value: object, depth: int = 0) -> Iterator[str]:
    """The texts for people in a decoded body, the most general first."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, str):
        inner = _json_in(value)
        if inner is not None:
            yield from _words(inner, depth + 1)
        elif value.strip():
            yield _one_line(value)
    elif isinstance(value, list):
        each = (": ".join(_words(item, depth + 1)) for item in value[:MAX_WORDS])
        if joined := "; ".join(filter(None, each)):
            yield joined
    elif isinstance(value, dict):
        yield from _words_of_object({str(name).lower(): field for name, field in value.items()}, depth)


def _words_of_object(fields: Mapping[str, Any], depth: int) -> Iterator[str]:
    found = [word for name in WORD_FIELDS if name in fields for word in _words(fields[name], depth + 1)]
    found = found or [str(fields[name]) for name in CODE_FIELDS if isinstance(fields.get(name), str | int)][:1]
    place = fields.get("loc") or fields.get("field")
    if found and place:
        parts = place if isinstance(place, list) else [place]
        yield ".".join(str(part) for part in parts if part != "body")
    yield from found


def _json_in(text: str) -> Any:  # noqa: ANN401 - any JSON
    """The JSON object or list that `text` consists of; None if it is anything else."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _one_line(text: str) -> str:
    return " ".join(printable(text.replace("\r", " ")).split())


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE].rstrip()}…"


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error response: `message` is for people, `text` is the whole body in lower case, for searching.

    `param` and `code` are the fields of OpenAI's error object; `pause` is what the server says about a later call.
    `is_page` is True if the body is a web page.
    """

    status: int
    message: str
    param: str
    text: str
    pause: Pause
    code: str = ""
    is_page: bool = False

    @classmethod
    def read(
        cls,
        status: int,
        body: bytes,
        headers: Mapping[str, str],
        *,
        key: str,
        prompts: Sequence[str] = (),
        logins: Sequence[str] = (),
    ) -> Self:
        """Read a response. The key and the `prompts` of the request are redacted, because some servers quote them.

        So are the `logins` of the proxy: short ones too if the proxy refuses them.

        Otherwise a quoted prompt about fridge temperatures would look like an error about the parameter `temperature`.
        """
        key = "" if key.lower() in marks("placeholder_keys") else key
        text = body[:MAX_BODY].decode("utf-8", "replace")
        message, secrets = error_words(body), (key, *logins, *prompts)
        if status == 407:
            for login in logins:
                message, text = message.replace(login, "…"), text.replace(login, "…")
        # in `message`, white space is single blanks
        message = _without_secrets(_without_secrets(message, secrets), [_one_line(prompt) for prompt in prompts])
        text = _without_secrets(text, secrets)
        for prompt in prompts:
            message, text = _without_quotation(message, _one_line(prompt)), _without_quotation(text, prompt)
        error = _error_object(text)
        param, code = (str(error.get(name) or "") for name in ("param", "code"))
        message = _shortened(_without_key_parts(message, key) if status in (401, 403) else message)
        pause = Pause(read_retry_after(headers), "Retry-After")
        limited_400 = status == 400 and any(words in text.lower() for words in marks("usage_limit"))
        if status in LIMITED or limited_400:
            pause = read_pause(headers, text, message, limited=status == 429)
        page = bool(PAGE.match(text))
        return cls(status, message.removesuffix("."), param, text.lower(), pause, code.lower(), page)

    # --- what it means ---

    @property
    def filtered(self) -> bool:
        """Whether a content filter blocked the prompt or the answer."""
        if self.status not in (400, 403, 422):
            return False
        more = "filtered_403" if self.status == 403 else "filtered_400"
        return self.code in marks("filter_codes") or self._mentions("filtered") or self._mentions(more)

    @property
    def unsupported(self) -> bool:
        """Whether the parameter itself is not supported, and not only its value."""
        return self.code == "unsupported_parameter" or self._mentions("unsupported")

    @property
    def too_long(self) -> bool:
        """Whether the request exceeds the model's context length."""
        return self.status == 413 or (self.status in (400, 422, 500) and self._mentions("too_long"))

    @property
    def refuses_system_role(self) -> bool:
        """Whether the model accepts no message with the role "system". Templates that fail give a 500 on some servers.

        Any error may quote such words; the caller knows whether the request had such a message.
        """
        patterns = marks("no_system_role") if self.status in (400, 422, 500, 501) else ()
        return any(re.search(pattern, self.text) for pattern in patterns)

    @property
    def stream_only(self) -> bool:
        """Whether the server answers only if the answer is streamed."""
        return self.status in (400, 405, 422, 501) and self._mentions("stream_only")

    @property
    def expects_https(self) -> bool:
        """Whether a server with a certificate refuses a request without encryption."""
        return self.status in (400, 426) and self._mentions("expects_https")

    @property
    def out_of_memory(self) -> bool:
        """Whether the server's machine has too little memory for the model. Some servers say so with a status 400."""
        words = self._mentions("out_of_memory") or self._mentions("too_large")
        return self.status not in (401, 403, 429) and (words or self.status == 507)

    @property
    def refuses_key(self) -> bool:
        """Whether the key is missing or wrong, also if the server says so with the status of another fault."""
        if self.refuses_account:
            return False
        by_status = self.status in (401, 403) or (self.status == 498 and not self.tier_is_full)
        return by_status or (self.status != 429 and self._mentions("invalid_key"))

    @property
    def refuses_account(self) -> bool:
        """Whether the key is known, but may not be used for this model, or in this region or network."""
        return self.status in (400, 403) and self._mentions("no_access")

    @property
    def out_of_credit(self) -> bool:
        """Whether the account has no credit left, so that waiting does not help."""
        return self.status == 402 or (self.status in (400, 403, 429) and self._quota_exhausted)

    @property
    def tier_is_full(self) -> bool:
        """Whether the service tier has no room for the call now. The standard tier may have."""
        return self.status in (429, 498, 503) and self._mentions("tier_is_full")

    def refused_parameters(self, sent: Sequence[str]) -> list[str]:
        """The parameters in `sent` that the error mentions, the most likely first."""
        named = [name for name in sent if name == self.param]
        named += [name for name in sent if name not in named and re.search(rf"\b{name}\b", self.text)]
        others = marks("other_names")
        named += [name for name in sent if name not in named and any(map(self.text.__contains__, others.get(name, ())))]
        limits = [name for name in sent if name.startswith("max_")]
        return named if named or not self._mentions("token_limit") else limits

    def lower_limit(self, sent: int) -> int | None:
        """The token limit to send instead of `sent`: the largest lower number in the message, else half of `sent`.

        None if the message names only numbers that do not help, or if half would be below `MIN_TOKEN_LIMIT`.
        """
        numbers = [int(found.replace(",", "")) for found in NUMBER.findall(self.message)]
        if lower := [number for number in numbers if MIN_TOKEN_LIMIT <= number < sent]:
            return max(lower)
        return sent // 2 if not numbers and sent >= 2 * MIN_TOKEN_LIMIT else None

    # --- the error to raise ---

    def to_error(
        self,
        *,
        address: str,
        model: str,
        key_variable: str,
        key_given: bool,
        answered: bool = False,
        extra: Sequence[str] = (),
        listed: Sequence[str] = (),
    ) -> ServerError:
        """The error to raise. `answered`: the server has answered such requests, so a refusal does not stop the run.

        `extra` are the names of the fields of --extra-body, `listed` the models that the server lists.
        """
        status = self.status
        if status == 407:
            hint = "Check the name and the password in HTTP_PROXY; special characters are written like %40."
            return FatalServerError(self._said("the proxy asks for a name and a password (407)"), hint=hint)
        if self.expects_https:
            hint = "Write https:// instead of http:// in its URL."
            return FatalServerError(self._said(f"{address} expects https ({status})"), hint=hint)
        if self.pause.period and (status == 429 or self._mentions("limit_words")):
            return self._limit_reached()
        if status == 400 and (self.pause.seconds or 0) > MAX_RETRY_AFTER:
            return self._retry_later()
        if self.out_of_credit:
            hint = "Top up the account, then run the same command again: finished rows are kept."
            return FatalServerError(self._said(f"the quota is used up ({status})"), hint=hint)
        if self.refuses_account:
            kind = ServerError if answered else FatalServerError
            return kind(self._said(f"{address} gives no access ({status})"), hint=ACCOUNT_HINT)
        if self.refuses_key:
            return self._no_access(address, key_variable, key_given, answered)
        if status in (400, 404, 422) and self._names_a_model and self._mentions("no_model"):
            message = self._said(f"{address} has no model '{model}' ({status})")
            return FatalServerError(message, hint=_model_hint(address, model, listed))
        if self.too_long:
            return ServerError(self._said(f"the request is too long for {model} ({status})"), hint=self._length_hint())
        if self.out_of_memory and self._mentions("too_large") and not answered:
            return FatalServerError(self._said(f"the server answered {status}"), hint=MEMORY_HINT)
        if status in RETRYABLE_STATUSES or status >= 500 or self.tier_is_full:
            return self._retry_later()
        kind = ServerError if answered else NotOffered
        hint = MEMORY_HINT if self.out_of_memory else self._rejection_hint(address, extra)
        return kind(self._said(f"{address} rejected the request ({status})"), hint=hint)

    def _said(self, what: str) -> str:
        """`what`, with the server's own words."""
        return f"{what}: {self.message}" if self.message else what

    def _no_access(self, address: str, key_variable: str, key_given: bool, answered: bool) -> ServerError:
        """The error for a key that is wrong or not set, or for another program that refuses access."""
        kind = ServerError if answered and self.status == 403 else FatalServerError
        if self.is_page and self.status == 403:
            hint = "A model server sends no web page: is there a proxy, a firewall or a login in between?"
            return kind(f"{address} is not accessible (403): a web page ({self.message})", hint=hint)
        if key_given:
            hint = f"{key_variable} is set. Is it the key for this server?"
            return kind(self._said(f"the server rejected the key ({self.status})"), hint=hint)
        hint = f"Set {key_variable} in the environment or in .env."
        return kind(self._said(f"{address} refuses requests without a key, and none is set ({self.status})"), hint=hint)

    def _length_hint(self) -> str:
        if self._mentions("rate_limited"):
            return "One request is more than the account may use per minute: choose another model, or raise the limit."
        return "Choose a model with a longer context, or serve this model with a longer context."

    def extra_body_hint(self, extra: Sequence[str]) -> str:
        """What to change in --extra-body, whose fields are `extra`; "" if the error is about something else."""
        if named := self.refused_parameters(extra):
            return f"'{named[0]}' comes from --extra-body: change it or leave it out."
        for name, value in marks("extra_body").items():
            if re.search(rf"\b{name}\b", self.text):
                return f"Change what is sent with --extra-body, for instance --extra-body '{value}'."
        return ""

    def _rejection_hint(self, address: str, extra: Sequence[str]) -> str:
        if hint := self.extra_body_hint(extra):
            return hint
        if self.status < 400:
            return "No model server answers so: check the base URL, and whether there is a proxy in between."
        if self.status not in (404, 405):
            return "Change the flags as the server says, or choose another model."
        ends = "" if address.endswith("/v1") else azure_hint(address) or "Most base URLs end in /v1."
        return f"Check the model, and that the base URL is the part before /chat/completions. {ends}".rstrip()

    def _retry_later(self) -> ServerError:
        status, wait = self.status, self.pause.seconds
        message = self._said(f"the server answered {status}")
        if wait is not None and wait > MAX_RETRY_AFTER:
            when = f"{in_words(wait)}, until {clock_time(wait)}"
            pause = (
                f"its Retry-After is {when}" if self.pause.source == "Retry-After" else f"asks for a pause of {when}"
            )
            return FatalServerError(self._said(f"the server answered {status}, and {pause}"), hint=LATER)
        fault = "rate_limit" if status == 429 else f"http_{status}"
        hint = MEMORY_HINT if self.out_of_memory else "The server is running, but does not answer this request."
        return RetryableError(message, fault=fault, after=wait, throttled=status == 429, hint=hint)

    def _limit_reached(self) -> FatalServerError:
        """The error for a limit that lasts for days."""
        what, wait = f"the {self.pause.period} limit is used up", self.pause.seconds
        if wait is None or wait <= SHORT:
            often = "Many end at midnight UTC. " if self.pause.period == "daily" else ""
            hint = f"The server does not say when it ends. {often}{LATER}"
            return FatalServerError(self._said(f"{what} ({self.status})"), hint=hint)
        until = f"until {clock_time(wait)}, in {in_words(wait)} ({self.status})"
        return FatalServerError(self._said(f"{what} {until}"), hint=LATER)

    @property
    def _names_a_model(self) -> bool:
        return "model" in self.text or "deployment" in self.text  # Azure's models are deployments

    @property
    def _quota_exhausted(self) -> bool:
        # some servers mention quota and billing even in a rate limit that ends within a minute
        temporary = self.pause.seconds is not None or self._mentions("rate_limited")
        return "insufficient_quota" in self.text or (self._mentions("quota") and not temporary)

    def _mentions(self, name: str) -> bool:
        """Whether the body contains one of the words of this list of `data/server_errors.toml`."""
        return any(phrase in self.text for phrase in marks(name))


def _error_object(text: str) -> Mapping[str, object]:
    """The error object in a response body; empty if there is none."""
    value = _json_in(text)
    for _ in range(MAX_DEPTH):
        if isinstance(value, list) and value:
            value = value[0]
        elif isinstance(value, dict) and isinstance(value.get("error"), dict | list) and value["error"]:
            value = value["error"]
        else:
            break
    return value if isinstance(value, dict) else {}


def _model_hint(address: str, model: str, listed: Sequence[str]) -> str:
    """Which names of models the server has. Azure lists all models, not the deployments that it answers for."""
    if at_azure(address):
        return "At Azure, the name of the model is that of your deployment."
    if others := [name for name in listed if name != model]:
        return f"Check the name: the server lists {first_names(others, model)}."
    return "Check the name against the provider's list of models: the server lists no other one."
