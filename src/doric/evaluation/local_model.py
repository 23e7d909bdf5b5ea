"""A model on this machine, asked without a server. It answers like `doric.llm.client.Client`, several chats at a time.

The requests that wait are answered together as one batch: on two cores, sixteen answers take little longer than one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from doric.core.errors import FatalServerError, InputError, RetryableError, SettingsError
from doric.core.markers import split_reasoning
from doric.core.regular_files import model_source
from doric.evaluation.checkpoints import load_checkpoint, weights_fingerprint
from doric.llm.response import Completion, TimedCompletion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from doric.llm.request import ChatRequest

GATHERING = 0.05
"""Seconds. After an answer, the next requests arrive at once; this is how long a batch waits for them."""
TEMPLATE = "chat_template_kwargs"
"""The field of --extra-body with variables for the chat template, as vLLM calls it."""
STOPPED = "the answer was stopped"


class ChatModel(Protocol):
    """What an evaluation asks: a server (`Client`) or a model on this machine."""

    model: str
    listed: list[str]

    async def complete_timed(self, request: ChatRequest) -> TimedCompletion:
        """The answer and its times. Raises `RetryableError`, `ServerError` or `FatalServerError`."""
        ...

    def hurry(self) -> None:
        """The command is being stopped: end soon."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a model, or its name on the Hub, and variables for its chat template."""

    model: str
    fingerprint: str
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where the model runs: the results name this in place of a server's URL."""
        return "this machine (no server)"

    @property
    def preferred(self) -> Mapping[str, str]:
        """A server's service tier and reasoning effort do not exist here."""
        return {}


def find_checkpoint(name: str, extra_body: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint of a folder or a name on the Hub. Raises `InputError`, or `SettingsError` for a field."""
    if other := [key for key in extra_body if key != TEMPLATE]:
        hint = f'A model without a server takes only variables of its chat template: {{"{TEMPLATE}": {{…}}}}.'
        raise SettingsError(f"--extra-body has the field '{other[0]}'", hint=hint)
    source = model_source(name)
    return Checkpoint(source, weights_fingerprint(source), extra_body)


class LocalModel:
    """The model of a checkpoint. Enter the context to load it; at most `at_once` requests are answered together.

    The settings in the checkpoint's `generation_config.json` apply, such as a repetition penalty, but the sampling is
    that of the requests. Sampled answers depend on which requests are answered together; greedy ones hardly do.
    """

    def __init__(self, checkpoint: Checkpoint, *, at_once: int) -> None:
        self.model, self.listed = checkpoint.model, list[str]()
        self._template = dict(checkpoint.extra_body.get(TEMPLATE) or {})
        self._at_once = at_once
        self._waiting: asyncio.Queue[tuple[ChatRequest, asyncio.Future[Completion]]] = asyncio.Queue()
        self._stopped = False

    async def __aenter__(self) -> Self:
        self._loaded, self._tokenizer = await asyncio.to_thread(load_checkpoint, self.model, exact=False)
        if self._tokenizer.chat_template is None:
            hint = "Choose a chat model (-Instruct), or the merged model of a run."
            raise InputError("the model has no chat template", file=self.model, hint=hint)
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        self._worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._worker

    async def complete_timed(self, request: ChatRequest) -> TimedCompletion:
        """The answer, in one piece; its time includes the time that the request has waited."""
        started = time.monotonic()
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((request, answer))
        return TimedCompletion(await answer, None, time.monotonic() - started)

    def hurry(self) -> None:
        """Stop the answers that are being written."""
        self._stopped = True

    async def _work(self) -> None:
        """Answer what waits, batch by batch, until the task is cancelled."""
        while True:
            batch = [await self._waiting.get()]
            await asyncio.sleep(GATHERING)
            while len(batch) < self._at_once and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            try:
                completions = await asyncio.to_thread(self._answer, [request for request, _ in batch])
            except Exception as error:  # whatever it is, the evaluation that waits for the answer must see it
                for _, answer in batch:
                    _fail(answer, error)
            else:
                for (_, answer), completion in zip(batch, completions, strict=True):
                    if not answer.done():
                        answer.set_result(completion)

    def _answer(self, requests: Sequence[ChatRequest]) -> list[Completion]:
        import torch
        from transformers import StoppingCriteriaList

        chats = [self._encoded(request) for request in requests]
        padded = self._tokenizer.pad({"input_ids": chats}, padding_side="left", return_tensors="pt")
        settings = self._settings(requests[0])
        torch.manual_seed(requests[0].seed or 0)
        stop = StoppingCriteriaList([lambda ids, _: torch.full_like(ids[:, 0], self._stopped, dtype=torch.bool)])
        try:
            with torch.inference_mode():
                made = self._loaded.generate(
                    **padded.to(self._loaded.device), generation_config=settings, stopping_criteria=stop
                )
        except torch.OutOfMemoryError as error:
            hint = "Give a lower --concurrency, which is the number of answers that are written together."
            raise FatalServerError(f"not enough memory for {len(requests)} answers together", hint=hint) from error
        if self._stopped:
            raise RetryableError(STOPPED, fault="stopped")
        ends, begun = _as_list(settings.eos_token_id), padded["input_ids"].shape[1]
        read = functools.partial(self._completion, ends=ends)
        return [read(ids, len(chat)) for ids, chat in zip(made[:, begun:].tolist(), chats, strict=True)]

    def _encoded(self, request: ChatRequest) -> list[int]:
        from jinja2 import TemplateError

        try:
            return self._tokenizer.apply_chat_template(
                list(request.messages), add_generation_prompt=True, return_dict=True, **self._template
            )["input_ids"]
        except (TemplateError, ValueError) as error:
            hint = "Choose a chat model whose template accepts a chat of user and assistant."
            raise FatalServerError(f"the chat template of {self.model} rejects a chat: {error}", hint=hint) from error

    def _settings(self, request: ChatRequest) -> Any:  # noqa: ANN401 - a GenerationConfig, imported when needed
        """The checkpoint's generation settings with the sampling of the request."""
        from copy import deepcopy

        settings = deepcopy(self._loaded.generation_config)
        settings.max_length = None
        settings.max_new_tokens = request.max_tokens
        settings.do_sample = bool(request.temperature)
        settings.temperature = request.temperature or None
        if not request.temperature:
            settings.top_p = settings.top_k = settings.min_p = None
        settings.pad_token_id = self._tokenizer.pad_token_id
        settings.eos_token_id = [*{*_as_list(settings.eos_token_id), *_as_list(self._tokenizer.eos_token_id)}]
        return settings

    def _completion(self, ids: Sequence[int], tokens_in: int, *, ends: Sequence[int]) -> Completion:
        stop = next((spot for spot, token in enumerate(ids) if token in ends), None)
        text = self._tokenizer.decode(ids[:stop], skip_special_tokens=True).strip()
        answer = split_reasoning(text).answer
        finish = "length" if stop is None else "stop"
        length = len(ids) if stop is None else stop + 1
        return Completion(answer, finish, tokens_in, length, reasoned=answer != text)


def _as_list(ids: int | list[int] | None) -> list[int]:
    return ids if isinstance(ids, list) else [] if ids is None else [ids]


def _fail(answer: asyncio.Future[Completion], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
