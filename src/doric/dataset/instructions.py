"""The messages that make a model write Doric, and the tokens that they take.

The messages have rules, a few authored examples, the question, and the reason why the last answer was rejected. Their
wording is in `data/instructions.toml`. A topic or a question appears only in a user turn, never in the rules.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from doric import data
from doric.dataset import asks, exemplars, followups
from doric.dataset.plan import FIRST_TURNS, Attempt, Exchange, Job, Jobs, Plan, Voice
from doric.dataset.sense import NOT_THE_WRITER
from doric.llm.client import Backend, ChatRequest
from doric.llm.response import Completion, estimate_tokens
from doric.quality import gates

type Message = dict[str, str]
type Compose = Callable[[Job, Sequence[tuple[str, str]], Sequence[Exchange]], list[Message]]
"""Writes the request for a job: `compose(job, rejected, said)`, with the parameters of `messages`."""
TOKENS_A_WORD = 2.6
"""Doric takes more tokens than English: about 2.2 per word with common tokenizers. This is 2.2 plus a margin."""
CHARACTERS_A_WORD = 5.5
MOST_SHOWN = 2_000
"""Characters of a rejected answer that the model is shown again."""
EXAMPLE_STEPS = 6
"""The examples of an ask are among so many asks of the same kind."""
BLOCK = 1024
"""So many jobs of a plan in a row share the examples of each kind of ask, so that servers can cache them."""
LEAST_CACHED, CACHE_STEP = 1024, 128
"""Tokens. Providers cache beginnings of at least so many tokens, in steps (OpenAI's guide to prompt caching)."""
SAMPLE = 200
"""The forecast of tokens is based on the prompts of so many jobs."""


@functools.cache
def _spec() -> dict:
    return data.read_toml("instructions.toml")


def voice(client: Backend, seed: int, temperature: float, compose: Compose | None = None) -> Voice:
    """A model in the form that the generator calls. It is told why its last answer was rejected.

    `compose` writes the request instead of `messages`.
    """

    async def speak(attempt: Attempt) -> Completion:
        rejected = [(answer.text, answer.reason) for answer in attempt.rejected if answer.gate not in NOT_THE_WRITER]
        if compose is None:
            chat = messages(attempt.job, rejected, seed=seed, said=attempt.said)
        else:
            chat = compose(attempt.job, rejected, attempt.said)
        budget = token_budget(attempt.job, attempt.cut_off)
        # without a sampling seed: batches of seeded calls have crashed vLLM servers, and hosted models ignore it
        return await client.complete(ChatRequest(chat, budget, temperature=temperature, doublings=attempt.cut_off))

    return speak


def messages(
    job: Job, rejected: Sequence[tuple[str, str]], *, seed: int, said: Sequence[Exchange] = (), beside: str = ""
) -> list[Message]:
    """The chat that asks for one answer. `rejected` are the (answer, reason) pairs of earlier attempts, oldest first.

    `said` is the conversation so far, whose last user turn is the prompt of the job. `beside` is added to that turn.

    Only the last pair is shown, because a model that sees all its failures repeats them.
    """
    chat = beginning(job, seed, is_later=bool(said))
    for one in said:
        chat += [{"role": "user", "content": one.prompt.text}, {"role": "assistant", "content": one.answer}]
    question = {"role": "user", "content": f"{job.prompt.text}\n\n{beside}" if beside else job.prompt.text}
    chat.append(question)
    for rejected_text, reason in rejected[-1:]:
        text = shortened(rejected_text)
        again = _spec()["again"]["text" if text else "nothing"].replace("{reason}", reason)
        if text:
            chat += [{"role": "assistant", "content": text}, {"role": "user", "content": again}]
        else:  # in one user turn, because turns must alternate
            question["content"] += f"\n\n{again}"
    return chat


def beginning(job: Job, seed: int, *, is_later: bool = False) -> list[Message]:
    """The rules and the examples: the same for all jobs of a bucket and a length, or of a kind of ask and a block.

    So a server can cache them. `is_later` if something was said before the prompt of the job.
    """
    ask = asks.asks().get(job.prompt.ask)
    special = ask.instruction if ask else _spec()["bucket"][job.kind]
    least, most = map(str, job.prompt.words)
    rules = f"{_spec()['system'].strip()}\n\n{special}".replace("{least}", least).replace("{most}", most)
    if is_later:
        rules += f"\n\n{followups.instruction()}"
    chat = [{"role": "system", "content": rules}]
    for question, answer in _examples(job, seed):
        chat += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return chat


def shortened(text: str) -> str:
    """The part of a rejected answer that the model is shown again. A long answer would be paid for once more."""
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} […]"


def token_budget(job: Job, cut_off: int = 0) -> int:
    """The most tokens of an answer: 1.5 times as many after each answer that was cut off."""
    _, most = job.prompt.words
    return round(most * TOKENS_A_WORD * 1.5**cut_off)


def expected_tokens(plan: Plan) -> tuple[float, float]:
    """Estimated tokens in, and the most tokens out, of a call for one answer: means over a sample of the plan."""
    calls = [call for job in itertools.islice(plan, SAMPLE) for call in _calls(job)]
    chats = [messages(job, [], seed=plan.seed, said=said) for job, said in calls]
    return mean_tokens(chats, [job for job, _ in calls])


def mean_tokens(chats: Iterable[Sequence[Message]], jobs: Sequence[Job]) -> tuple[float, float]:
    """Estimated tokens in, and the most tokens out, of a call: means over the requests for `jobs`."""
    characters = sum(len(turn["content"]) for chat in chats for turn in chat)
    return estimate_tokens(characters / len(jobs)), sum(map(token_budget, jobs)) / len(jobs)


def expected_cached(plan: Jobs) -> float:
    """Estimated tokens in of a call that a provider has in its cache: what comes before the question.

    A mean over a sample of the plan, in which the first call with each beginning counts as not cached.
    """
    beginnings = [
        "".join(turn["content"] for turn in beginning(job, plan.seed)) for job in itertools.islice(plan, SAMPLE)
    ]
    tokens = [estimate_tokens(len(text)) // CACHE_STEP * CACHE_STEP for text in beginnings]
    mean = sum(count for count in tokens if count >= LEAST_CACHED) / len(tokens)
    first = len({*beginnings}) * math.ceil(len(plan) / BLOCK)
    return mean * max(0.0, 1 - first / plan.answers)


def _calls(job: Job) -> Iterator[tuple[Job, list[Exchange]]]:
    """A call for each answer of a chat, with what was said before, of the usual length."""
    said: list[Exchange] = []
    for _ in range(job.turns - FIRST_TURNS + 1):
        yield job, [*said]
        least, most = job.prompt.words
        said.append(Exchange(job.prompt, "x" * round((least + most) / 2 * CHARACTERS_A_WORD)))
        job = replace(job, prompt=replace(job.prompt, length=followups.LENGTH))


def _examples(job: Job, seed: int) -> list[tuple[str, str]]:
    """Authored answers to other questions of the same kind and, if there are such, of the wanted length."""
    if job.prompt.ask in asks.asks():
        return _asked_before(job, seed)
    found = exemplars.fitting(job.kind, job.prompt.length)
    return [(one.user, one.answer) for one in found if one.user != job.prompt.text]


def _asked_before(job: Job, seed: int) -> list[tuple[str, str]]:
    """Authored answers to other asks of the same kind, the same ones for all jobs of a block.

    Those that the gates would reject are not shown.
    """
    found: dict[str, str] = {}
    first = job.number // BLOCK * EXAMPLE_STEPS
    for step in range(first, first + EXAMPLE_STEPS):
        if len(found) == _spec()["exemplars"]["count"]:
            break
        question, answer = _asked(job.prompt.ask, -1 - step, job.kind, seed)  # those that a plan asks last
        if answer and question != job.prompt.text:
            found.setdefault(question, answer)
    return list(found.items())


@functools.lru_cache(maxsize=1 << 12)
def _asked(ask: str, number: int, kind: str, seed: int) -> tuple[str, str]:
    """Ask `number` of a kind with its answer; "" instead of an answer that the gates would reject.

    Cached, because the other rows of the block show it, too.
    """
    one = asks.asked(ask, number, seed)
    question, answer = asks.filled(one.text, one.subject), asks.answer_to(one)
    return question, "" if gates.check(answer, prompt=question, topic="", kind=kind, ask=ask) else answer
