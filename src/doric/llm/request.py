"""The request of one call, adapted to its server: parameters, roles and ways of answering that the model refuses.

What was refused once is remembered, so that each refusal costs one call.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from doric.llm.errors import ErrorResponse
from doric.llm.response import STREAM_OPTIONS

log = logging.getLogger("doric")
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
"""Two names of the same limit. Reasoning models may accept only the second name. One of the two is always sent."""
TIER, EFFORT = "service_tier", "reasoning_effort"
OPTIONAL = (TIER, EFFORT, "temperature", "seed", "response_format", *TOKEN_LIMITS)
REASONING_TOKENS = 4096
"""Added to the token limit of reasoning models, because their reasoning counts towards it."""

type Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call: messages, the most tokens of the answer, sampling, and a JSON schema if the answer must be JSON.

    `doublings`: how often the extra tokens of a reasoning model are doubled, once for each earlier answer that was cut
    off.
    """

    messages: Messages
    max_tokens: int
    temperature: float | None = 0.8
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    doublings: int = 0

    @property
    def characters(self) -> int:
        """Characters of all messages together."""
        return sum(len(message["content"]) for message in self.messages)


class Adaptation:
    """What a server has refused so far, and what is sent instead. Each refusal costs one call.

    `must_stream` is True once the server has said that it only streams, and `needs_other_limit` once it accepts only
    the second name of the token limit, as reasoning models do.
    """

    def __init__(self) -> None:
        self.must_stream = self.needs_other_limit = False
        self._refused: set[str] = set()  # parameters that the model does not accept
        self._no_system_role = False
        self._limit: int | None = None  # the highest token limit that the model accepts, once it has refused one

    def applied(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A body without what the server has refused."""
        body = {**body}
        if self._no_system_role:
            body["messages"] = without_system_role(body["messages"])
        if (limit := body.pop("max_tokens", None)) is not None:
            limit = limit if self._limit is None else min(limit, self._limit)
            body[TOKEN_LIMITS["max_tokens" in self._refused]] = limit
        return {key: value for key, value in body.items() if key not in self._refused}

    def adapt(self, refusal: ErrorResponse, body: Mapping[str, Any], *, fixed: Collection[str] = ()) -> bool:
        """Note what the server refused in `body`; False if the error is about something else.

        The parameters in `fixed` are the user's own, so they stay. Another call may have adapted requests meanwhile.
        """
        if STREAM_OPTIONS in body and STREAM_OPTIONS in refusal.text:
            self._refused.add(STREAM_OPTIONS)
            return True
        if has_system_role(body["messages"]) and refusal.refuses_system_role:
            self._no_system_role = True
            return True
        if not body["stream"] and refusal.stream_only:
            self.must_stream = True
            return True
        return refusal.status in (400, 422) and self._adapt_parameter(refusal, body, fixed)

    def _adapt_parameter(self, refusal: ErrorResponse, body: Mapping[str, Any], fixed: Collection[str]) -> bool:
        named = refusal.refused_parameters([name for name in OPTIONAL if name in body and name not in fixed])
        if not named and "response_format" in body and "response_format" not in fixed:
            named = ["response_format"]  # each server describes an error in a schema differently
        if named and named[0] in TOKEN_LIMITS:
            return self._adapt_limit(refusal, named[0], body[named[0]])
        for name in {*named[:1]} & {TIER, EFFORT} - self._refused:
            log.warning("The server refused %s %s: the calls go on without it.", name, body[name])
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
        self.needs_other_limit = True
        return True


class RequestBuilder:
    """Makes the bodies of requests. `extra` are the user's own fields; they are part of every body.

    `preferred` are fields that are left out once the server refuses them. `is_reasoning_model` is set by the caller.
    """

    def __init__(self, extra: Mapping[str, Any], preferred: Mapping[str, str] | None = None) -> None:
        self.is_reasoning_model = self._said_standard = False
        self._extra, self._preferred, self._adaptation = extra, preferred or {}, Adaptation()
        self._reasoning_tokens = REASONING_TOKENS

    def body(self, model: str, request: ChatRequest, *, stream: bool = False, standard: bool = False) -> dict[str, Any]:
        """The body of a request. `stream` is always in it, because some servers stream unless they are told not to.

        `standard` leaves out the service tier.
        """
        extra = self._reasoning_tokens * 2**request.doublings if self.is_reasoning_model else 0
        body: dict[str, Any] = {"model": model, "messages": request.messages, "max_tokens": request.max_tokens + extra}
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.seed is not None:
            body["seed"] = request.seed
        if request.schema is not None:
            schema = {"name": "reply", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        body |= {name: value for name, value in self._preferred.items() if not (standard and name == TIER)}
        body["stream"] = stream or self._adaptation.must_stream
        if body["stream"]:
            body[STREAM_OPTIONS] = {"include_usage": True}
        kept = self._adaptation.applied(body)
        return merged(kept, self._extra) if self._extra else kept

    def needs_standard(self, refusal: ErrorResponse, body: Mapping[str, Any]) -> bool:
        """Whether the service tier of `body` has no room now, so that this call must use the standard tier."""
        if TIER not in body or TIER in self._extra or not refusal.tier_is_full:
            return False
        if not self._said_standard:
            words = "The service tier %s has no room: calls that it turns away go to the standard tier, at its price."
            log.warning(words, body[TIER])
            self._said_standard = True
        return True

    def adapt(self, refusal: ErrorResponse, body: Mapping[str, Any], request: ChatRequest) -> bool:
        """Make later requests without what the server refused in `body`; False if the error is about something else.

        `body` is the body that was sent for `request`.
        """
        if refusal.too_long:
            return self._spare_reasoning(body, request)
        adapted = self._adaptation.adapt(refusal, body, fixed=self._extra.keys())
        self.is_reasoning_model |= self._adaptation.needs_other_limit
        return adapted

    def _spare_reasoning(self, body: Mapping[str, Any], request: ChatRequest) -> bool:
        """If the request may be too long only because of the tokens for reasoning, ask for half as many of them."""
        if not (self.is_reasoning_model and self._reasoning_tokens):
            return False
        if token_limit(self.body("", request)) >= token_limit(body):  # not yet lowered by another call
            self._reasoning_tokens //= 2
        return True


def token_limit(body: Mapping[str, Any]) -> int:
    """The token limit of a request, under either of its names."""
    return next(body[name] for name in TOKEN_LIMITS if name in body)


def has_system_role(messages: Messages) -> bool:
    """Whether one of the messages has the role "system"."""
    return any(message["role"] == "system" for message in messages)


def without_system_role(messages: Messages) -> list[Mapping[str, str]]:
    """The messages with the system prompt at the start of the first question, for models without a system role.

    >>> without_system_role([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Fit like?"}])
    [{'role': 'user', 'content': 'Be brief.\\n\\nFit like?'}]
    """
    rules = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    rest = [message for message in messages if message["role"] != "system"]
    first = next((place for place, message in enumerate(rest) if message["role"] == "user"), None)
    if first is None:
        return [{"role": "user", "content": rules}, *rest] if rules else rest
    question = rest[first]
    content = f"{rules}\n\n{question['content']}" if rules else question["content"]
    return [*rest[:first], {**question, "content": content}, *rest[first + 1 :]]


def merged(body: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with the fields of `more`. Objects in both are merged; other values of `more` replace those of `body`.

    >>> merged({"a": {"b": 1}, "c": 2}, {"a": {"d": 3}, "c": None})
    {'a': {'b': 1, 'd': 3}, 'c': None}
    """
    result = dict(body)
    for name, value in more.items():
        before = result.get(name)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        result[name] = merged(before, value) if both else value
    return result
