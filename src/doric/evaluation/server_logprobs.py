"""Log-probabilities of minimal pairs from an OpenAI-compatible server, such as vLLM: its "completions" page.

Two ways are tried: `echo` with `logprobs`, which is OpenAI's, and `prompt_logprobs`, which is vLLM's. A server that
knows neither (OpenAI's chat models, llama.cpp, Ollama) cannot be used.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from doric.core.cli import run_until_interrupt
from doric.core.errors import FatalServerError, NotOffered, ServerError
from doric.evaluation.minimal_pairs import MinimalPair, PairScore, SentenceScore
from doric.llm.client import Client
from doric.llm.scheduler import Scheduler

START = "\n"
"""What a sentence begins after. A server gives no log-probability of the first token of a prompt, so that must not be
a part of the sentence."""
WAYS: tuple[Mapping[str, Any], ...] = ({"echo": True, "logprobs": 1}, {"prompt_logprobs": 0})
HINT = "vLLM gives them. For other servers, score the checkpoint itself: --checkpoint FOLDER."


async def score_pairs_on_server(
    client: Client,
    pairs: Sequence[MinimalPair],
    *,
    start: str = START,
    concurrency: int = 8,
    max_retries: int = 3,
    on_sentence: Callable[[int], object] = lambda done: None,
) -> list[PairScore]:
    """Score both sentences of each pair, in the order of `pairs`; `on_sentence` gets the number that are done.

    Raises `FatalServerError` if the server gives no log-probabilities of a prompt or stops answering, and
    `KeyboardInterrupt` after Ctrl-C.
    """
    server = PromptLogprobs(client, start=start)
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.right, pair.wrong)))
    found: dict[str, SentenceScore] = {}

    async def score(text: str) -> None:
        found[text] = await server.score(text)
        on_sentence(len(found))

    scheduler = Scheduler(score, _give_up, concurrency=concurrency, max_retries=max_retries)
    await run_until_interrupt(scheduler.run(texts), lambda: (scheduler.stop(), client.hurry()))
    return [PairScore(pair, found[pair.right], found[pair.wrong]) for pair in pairs]


def _give_up(text: str, error: ServerError) -> None:
    """A sentence without a score would make the accuracy wrong, so one that fails ends the run."""
    raise FatalServerError(f"{error.message} (the sentence: {text})", hint=error.hint) from error


class PromptLogprobs:
    """The log-probabilities of sentences from one server. The first sentence finds out in which way it gives them."""

    def __init__(self, client: Client, *, start: str = START) -> None:
        self._client, self._start = client, start
        self._way: Mapping[str, Any] | None = None
        self._refused: FatalServerError | None = None
        self._skipped = 0
        self._finding = asyncio.Lock()

    async def score(self, text: str) -> SentenceScore:
        """The score of one sentence. Raises `FatalServerError` if the server gives no log-probabilities of a prompt."""
        async with self._finding:
            if self._refused:
                raise self._refused
            if self._way is None:
                await self._find_way()
        logprobs = (await self._ask(self._start + text, self._way or {}) or [])[self._skipped :]
        known = [each for each in logprobs if each is not None and math.isfinite(each)]
        if not known or len(known) < len(logprobs):
            raise self._without_logprobs()
        return SentenceScore(math.fsum(known), len(known))

    async def _find_way(self) -> None:
        """Find out how the server is asked, and how many tokens stand before a sentence."""
        refused: NotOffered | None = None
        for way in WAYS:
            try:
                tokens = await self._ask(self._start, way)
            except NotOffered as error:
                refused = error
                continue
            if tokens:
                self._way, self._skipped = way, len(tokens)
                return
        self._refused = self._without_logprobs(refused)
        raise self._refused

    def _without_logprobs(self, refused: NotOffered | None = None) -> FatalServerError:
        said = f": {refused.message}" if refused else ""
        message = f"the server of {self._client.model} gives no log-probabilities of a prompt{said}"
        return FatalServerError(message, hint=HINT)

    async def _ask(self, prompt: str, way: Mapping[str, Any]) -> list[float | None] | None:
        fields = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "stream": False, **way}
        return read_prompt_logprobs(await self._client.post("completions", fields, quoted=prompt), prompt)


def read_prompt_logprobs(answer: Mapping[str, Any], prompt: str) -> list[float | None] | None:
    """The log-probability of each token of the prompt (None for the first); None if the answer does not have them.

    >>> logprobs = {"token_logprobs": [None, -4.0, -2.0, -3.0]}
    >>> echoed = {"choices": [{"text": "\\nFit like? Nae", "logprobs": logprobs}], "usage": {"prompt_tokens": 3}}
    >>> read_prompt_logprobs(echoed, "\\nFit like?")
    [None, -4.0, -2.0]
    """
    try:
        choice = answer["choices"][0]
        echoed = (choice.get("logprobs") or {}).get("token_logprobs") or []
        if echoed and choice["text"].startswith(prompt):  # a server without `echo` gives those of its answer only
            return echoed[: answer["usage"]["prompt_tokens"]]
        if (own := choice.get("prompt_logprobs")) is None:
            return None
        return [next(iter(each.values()))["logprob"] if each else None for each in own]
    except (KeyError, IndexError, TypeError, AttributeError, StopIteration):
        return None
