"""A model on this machine, asked without a server. It answers like `doric.llm.client.Client`, several chats at a time.

The requests that wait are answered together as one batch: on two cores, sixteen answers take little longer than one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from doric.core.errors import DoricError, FatalServerError, InputError, RetryableError, ServerError, SettingsError
from doric.core.regular_files import model_source
from doric.evaluation.checkpoints import first_line, load_checkpoint, weights_fingerprint
from doric.evaluation.generation import generate_together, until_end
from doric.llm.response import Completion, TimedCompletion, read_completion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from transformers import GenerationConfig

    from doric.llm.request import ChatRequest

GATHERING = 0.05
"""Seconds. After an answer, the next requests arrive at once; this is how long a batch waits for them."""
ALIKE = 1.25
"""The chats of a batch are padded to the longest; each, with its answer, is at most this many times longer or shorter
than the oldest."""
TEMPLATE = "chat_template_kwargs"
"""The field of --extra-body with variables for the chat template, as vLLM calls it."""
OPENED = "<think>"
"""A template may end with it, so that the answer begins with reasoning and has only its end."""
NO_LIMIT = 1 << 30
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
    if not isinstance(extra_body.get(TEMPLATE, {}), dict):
        raise SettingsError(f"--extra-body: '{TEMPLATE}' is not an object", hint=f'Give {{"{TEMPLATE}": {{…}}}}.')
    source = model_source(name)
    return Checkpoint(source, weights_fingerprint(source), extra_body)


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A request, its chat as tokens, and the place for its answer."""

    request: ChatRequest
    chat: list[int]
    answer: asyncio.Future[Completion]

    def goes_with(self, other: _Waiting) -> bool:
        """Whether both can be answered together without much padding."""
        mine, theirs = len(self.chat) + self.request.max_tokens, len(other.chat) + other.request.max_tokens
        return max(mine, theirs) <= ALIKE * min(mine, theirs)


class LocalModel:
    """The model of a checkpoint. Enter the context to load it; at most `at_once` requests are answered together.

    Of the checkpoint's `generation_config.json`, what vLLM takes from it applies (the repetition penalty, and top_k,
    top_p and min_p if answers are sampled); temperature and length are those of the requests. Sampled answers depend on
    which requests are answered together; in a 16-bit format greedy ones do too, because rounding differs.
    """

    def __init__(self, checkpoint: Checkpoint, *, at_once: int) -> None:
        self.model, self.listed = checkpoint.model, list[str]()
        self._template = dict(checkpoint.extra_body.get(TEMPLATE) or {})
        self._at_once = at_once
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._stopped = False

    async def __aenter__(self) -> Self:
        # in this thread, so that Ctrl-C ends it; nothing else runs yet
        self._loaded, self._tokenizer = load_checkpoint(self.model, exact=False)
        from transformers import GenerationConfig

        if self._tokenizer.chat_template is None:
            hint = "Choose a chat model (-Instruct), or the merged model of a run."
            raise InputError("the model has no chat template", file=self.model, hint=hint)
        # what stays in the model would apply to every answer, such as beams or forced tokens
        self._given, self._loaded.generation_config = self._loaded.generation_config, GenerationConfig()
        self._ends = sorted({*_as_list(self._given.eos_token_id), *_as_list(self._tokenizer.eos_token_id)})
        self._window = getattr(self._loaded.config.get_text_config(), "max_position_embeddings", None) or NO_LIMIT
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
        """The answer, in one piece; its time includes the time that the request has waited.

        Raises `ServerError` for a chat that the model has no room to answer, and `FatalServerError` for any other
        error.
        """
        started = time.monotonic()
        if (size := len(chat := self._encoded(request)) + request.max_tokens) > self._window:
            kind = FatalServerError if request.max_tokens >= self._window else ServerError
            message = f"the chat and its answer may have {size} tokens, and the context of the model has {self._window}"
            raise kind(message, hint="Give a lower --max-tokens.")
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait(_Waiting(request, chat, answer))
        return TimedCompletion(await answer, None, time.monotonic() - started)

    def hurry(self) -> None:
        """Stop the answers that are being written."""
        self._stopped = True

    async def _work(self) -> None:
        """Answer what waits, batch by batch, until the task is cancelled."""
        waiting: list[_Waiting] = []
        while True:
            if not waiting:
                waiting.append(await self._waiting.get())
            await asyncio.sleep(GATHERING)
            while not self._waiting.empty():
                waiting.append(self._waiting.get_nowait())
            batch = [one for one in waiting if one.goes_with(waiting[0])][: self._at_once]
            waiting = [one for one in waiting if one not in batch]
            try:
                completions = await asyncio.to_thread(self._answer, batch[0].request, [one.chat for one in batch])
            except DoricError as error:
                for one in batch:
                    if not one.answer.done():
                        one.answer.set_exception(error)
            else:
                for one, completion in zip(batch, completions, strict=True):
                    if not one.answer.done():
                        one.answer.set_result(completion)

    def _answer(self, request: ChatRequest, chats: Sequence[list[int]]) -> list[Completion]:
        """The answers to chats with the settings of `request`. Raises `DoricError` whatever the error is.

        Otherwise the worker would end, and those who wait for an answer would wait for ever.
        """
        if self._stopped:  # other chats are still waiting, and each batch would begin with reading them
            raise RetryableError(STOPPED, fault="stopped")
        try:
            made = self._generate(request, chats)
            completions = [self._completion(chat, ids) for chat, ids in zip(chats, made, strict=True)]
        except BaseException as error:
            hint = "Is the model whole, and does it answer with a server?"
            if "memory" in f"{type(error).__name__} {error}".lower():
                hint = "Give a lower --concurrency, which is the number of answers that are written together."
            message = f"{self.model} cannot answer {len(chats)} chats: {first_line(error)}"
            raise FatalServerError(message, hint=f"{hint} Nothing is lost.") from error
        if self._stopped:
            raise RetryableError(STOPPED, fault="stopped")
        return completions

    def _generate(self, request: ChatRequest, chats: Sequence[list[int]]) -> list[list[int]]:
        """The tokens that follow each chat. Those after an end token mean nothing."""
        import torch
        from transformers import StoppingCriteriaList

        torch.manual_seed(request.seed or 0)
        stop = StoppingCriteriaList([lambda ids, _: torch.full_like(ids[:, 0], self._stopped, dtype=torch.bool)])
        with torch.inference_mode():
            return generate_together(self._loaded, chats, self._settings(request), stop)

    def _encoded(self, request: ChatRequest) -> list[int]:
        try:
            return self._tokenizer.apply_chat_template(
                list(request.messages), add_generation_prompt=True, return_dict=True, **self._template
            )["input_ids"]
        except Exception as error:  # a template is a program, and may fail in any way
            hint = f"Choose a model whose template accepts a chat of user and assistant; check {TEMPLATE}, if given."
            message = f"the chat template of {self.model} rejects a chat: {first_line(error)}"
            raise FatalServerError(message, hint=hint) from error

    def _settings(self, request: ChatRequest) -> GenerationConfig:
        """The settings of the request, and those of the checkpoint that vLLM would use too."""
        from transformers import GenerationConfig

        given, sampling = self._given, {}
        if request.temperature:  # without 0, transformers would draw from the 50 most probable tokens only
            sampling = {"temperature": request.temperature, "top_k": max(0, given.top_k or 0), "top_p": given.top_p}
            sampling["min_p"] = given.min_p
        return GenerationConfig(
            max_new_tokens=request.max_tokens,
            do_sample=bool(request.temperature),
            repetition_penalty=given.repetition_penalty,
            eos_token_id=self._ends or None,
            pad_token_id=self._ends[0] if self._ends else 0,
            **sampling,
        )

    def _completion(self, chat: Sequence[int], ids: Sequence[int]) -> Completion:
        """The answer in `ids`, read as that of a server, so that both are scored alike."""
        said, ended = until_end(ids, self._ends)
        text = self._tokenizer.decode(said, skip_special_tokens=True)
        if self._tokenizer.decode(chat[-len(OPENED) :]).rstrip().endswith(OPENED):
            text = OPENED + text
        choice = {"message": {"content": text}, "finish_reason": "stop" if ended else "length"}
        usage = {"prompt_tokens": len(chat), "completion_tokens": len(said) + ended}
        return read_completion(json.dumps({"choices": [choice], "usage": usage}).encode(), "")


def _as_list(ids: int | list[int] | None) -> list[int]:
    return ids if isinstance(ids, list) else [] if ids is None else [ids]
