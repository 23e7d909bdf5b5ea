"""The two voices as the generator hears them: one turn in, what was said out.

Knows what a turn is and what each voice must be told of it, and nothing of what becomes of the answer.
"""

import asyncio
import time

from doric.dataset import heuristic, instructions
from doric.dataset.generate import Spoken, Turn, Voice
from doric.llm.client import Backend, ChatRequest

BREATH = 0.05
"""Seconds for which the embedded voice, which never waits, keeps signals and other tasks waiting."""


def embedded(seed: int) -> Voice:
    """The voice that needs no model. It never waits, so more than one worker gains it nothing."""
    breathed = time.monotonic()

    async def voice(turn: Turn) -> Spoken:
        nonlocal breathed
        if time.monotonic() - breathed >= BREATH:
            await asyncio.sleep(0)
            breathed = time.monotonic()
        job = turn.job
        ask = heuristic.Ask(job.topic.text, job.kind, job.prompt.length, job.prompt.category, job.slot, seed)
        return Spoken(heuristic.answer(ask, turn.attempt))

    return voice


def model(server: Backend, seed: int, temperature: float) -> Voice:
    """A model behind an API, which is told what was wrong with the answer before."""

    async def voice(turn: Turn) -> Spoken:
        faults = [(fault.text, fault.reason) for fault in turn.faults if fault.gate != "cut_off"]
        chat = instructions.messages(turn.job, faults, seed=seed)
        budget = instructions.token_budget(turn.job, turn.grown)
        # no sampling seed: batches of seeded calls have been seen to kill a vLLM, and it binds no hosted model
        completion = await server.complete(ChatRequest(chat, budget, temperature=temperature, doublings=turn.grown))
        return Spoken(
            completion.text, completion.finish, completion.tokens_in, completion.tokens_out, completion.counted
        )

    return voice
