"""The models behind an OpenAI-compatible server: which there are, and their answers as they stream.

Knows nothing of terminals, transcripts and commands.
"""

import json
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any

from doric.chat.errors import BrokenOff, Refused
from doric.chat.wire import Wire, reason, said

STALL = 300.0  # seconds without a byte, in mid-answer, after which the server is given up


@dataclass(frozen=True)
class Model:
    """A served model: its name, how many tokens it reads and writes together (if said), the base it adapts."""

    name: str
    window: int | None = None
    parent: str | None = None


@dataclass
class Answer:
    """What is known of an answer so far; it is whole once `finish` is set."""

    finish: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    first_after: float = 0.0
    seconds: float = 0.0


def served(wire: Wire) -> list[Model]:
    """Everything served there; an adapter states no window and has its base's. Raises ChatError."""
    with wire.open("GET", "/v1/models") as exchange:
        cards = _json(exchange.response.read()).get("data") or []
    windows = {card.get("id"): card.get("max_model_len") for card in cards}
    return [
        Model(card["id"], card.get("max_model_len") or windows.get(card.get("parent")), card.get("parent"))
        for card in cards
        if card.get("id")
    ]


def choose(models: list[Model], wanted: str) -> Model:
    """The model to talk to: the wanted one; else an adapter, `doric` before others; else the first. Raises Refused.

    A wanted model need not be listed: some servers answer to names that they do not tell.
    """
    if wanted:
        return next((model for model in models if model.name == wanted), Model(wanted))
    if not models:
        raise Refused("the server lists no model", "VLLM_MODEL names one that it does not list")
    adapters = [model for model in models if model.parent]
    return next((model for model in adapters if model.name == "doric"), (adapters or models)[0])


def stream(wire: Wire, request: Mapping[str, Any], answer: Answer) -> Generator[str]:
    """The pieces of one answer as they come; `answer` is filled in meanwhile. Closing it makes the server stop.

    Raises BrokenOff when the stream ends early: nothing is asked a second time once a piece has come.
    """
    began = time.monotonic()
    body = {**request, "stream": True, "stream_options": {"include_usage": True}}
    with wire.open("POST", "/v1/chat/completions", body) as exchange:
        exchange.wait_for_bytes(STALL)
        try:
            for event in _events(exchange.response):
                text = _take(event, answer)
                answer.seconds = time.monotonic() - began
                answer.first_after = answer.first_after or (answer.seconds if text else 0.0)
                if text:
                    yield text
        except (OSError, HTTPException) as error:
            if not answer.finish:
                raise BrokenOff(f"the server broke off: {reason(error)}") from error
    if not answer.finish:
        raise BrokenOff("the server broke off before the end of the answer")


def _events(response: HTTPResponse) -> Iterator[dict[str, Any]]:
    """The JSON events of a server-sent stream, each as soon as its line is whole."""
    if "event-stream" not in response.headers.get("Content-Type", ""):
        raise Refused("the server did not stream its answer", "is VLLM_URL an OpenAI-compatible server?")
    rest = b""
    while block := response.read1(65536):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and (data := line[5:].strip()) != b"[DONE]":
                yield _json(data)


def _take(event: Mapping[str, Any], answer: Answer) -> str:
    """The text of one event; what it says about the answer is noted there."""
    if event.get("error"):
        raise BrokenOff(f"the server broke off: {said(event)}")
    if usage := event.get("usage"):
        answer.prompt_tokens = usage.get("prompt_tokens", 0)
        answer.answer_tokens = usage.get("completion_tokens", 0)
    if not event.get("choices"):
        return ""
    choice = event["choices"][0]
    answer.finish = choice.get("finish_reason") or answer.finish
    return (choice.get("delta") or {}).get("content") or ""


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BrokenOff("the server sent something that is not JSON", "is VLLM_URL an OpenAI-compatible server?")
    return value
