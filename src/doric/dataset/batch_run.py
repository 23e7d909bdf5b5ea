"""A run of the generator in rounds of batches: `submit` asks for what is missing, `collect` judges what was answered.

Both are the live run with another model behind it (`BatchModel`): the same plan, messages, gates and journals. A
refused answer is asked for again in the next round, with the reason. `OUT.batch.json` is written before and after each
step on the network.
"""

import argparse
import contextlib
import os
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from doric.core.cli import print_stderr
from doric.core.errors import PlanError, SettingsError
from doric.core.files import locked
from doric.core.journal import Journal
from doric.core.resume import behind_link
from doric.core.settings import Settings
from doric.core.text import listed_counts
from doric.dataset import batch_budget, batch_status, batch_transfer
from doric.dataset.batch_answers import Asked, BatchModel, read_answers, with_ids
from doric.dataset.batch_files import Answers, RequestFile, ids_in, request_line
from doric.dataset.batch_state import STATE, Part, State, next_round, part_file, state_file
from doric.dataset.generate import BudgetExhausted, Generator
from doric.dataset.plan import Job
from doric.dataset.run import NOT_COMPARED, Run
from doric.dataset.sources import Source
from doric.llm.batches import BatchApi
from doric.llm.brake import Brake
from doric.llm.budget import Budget
from doric.llm.client import ChatRequest, Client
from doric.llm.prices import BATCH
from doric.llm.request import token_limit
from doric.llm.response import estimate_tokens

FILES_URL = "http://localhost/v1"
"""The address in a run of files only: it is never asked, and has no list price."""
PROBE = ({"role": "system", "content": "Answer with one word."}, {"role": "user", "content": "Fit like?"})
"""A short call at the usual price: a wrong model or parameter shows now, and not when the whole batch has failed."""
PROBE_TOKENS = 16
SETTLE_SECONDS = 15.0
"""A batch may be listed a moment after it was created."""


class BatchRun(Run):
    """One command over batches; create it with `prepare`, then `submit` or `collect`."""

    def __init__(self, args: argparse.Namespace, plan: Source, settings: Settings, backend: str) -> None:
        super().__init__(args, plan, settings, backend)
        self._tier, self._over_budget = BATCH, False
        self._limits = batch_budget.Limits(args.max_cost, args.max_total_tokens)
        self._asked: set[str] = set()

    @classmethod
    def prepare(cls, args: argparse.Namespace) -> Self:
        """As a live run. Raises `DoricError`."""
        out = behind_link(Path(args.out), STATE)
        stored = State.load(out)
        files_only = args.batch_files or (stored is not None and stored.files_only and args.batch != "submit")
        url = args.base_url or (FILES_URL if files_only else None)
        now = {"out": str(out), "batch_files": files_only, "base_url": url, "backend": "openai"}
        args = argparse.Namespace(**{**vars(args), **now})
        if not args.judge_model:
            args.max_rpm = args.max_tpm = None  # no call is made for an answer
        if os.path.exists(args.out) and not os.path.isfile(args.out):
            raise SettingsError(f"--out {args.out} is no file", hint="Batches need a file that is kept.")
        if args.batch == "collect" and args.overwrite:
            raise SettingsError("--overwrite starts again", hint="Give it with --batch submit, or leave it out.")
        run = super().prepare(args)
        if args.judge_model and run._plan.answers > len(run._plan):
            raise SettingsError("--batch with --judge-model needs chats of two turns", hint="Leave --turns out.")
        return run

    async def submit(self) -> int:
        """Write the requests of the next round and create its batches; the exit status. Raises `DoricError`."""
        with locked(state_file(self.out)):
            state = self._state()
            left = [part for part in state.open if not self._is_sent(state, part)]
            if state.open and not left:
                requests = sum(part.requests for part in state.open)
                message = f"{requests:,} requests of round {state.round} are not collected yet"
                raise PlanError(f"{self.out}: {message}", hint="Collect them first, with --batch collect.")
            async with self._client(state) as client:
                with self._opened_files() as journals:
                    left = left or await self._write_round(state, client, journals)
                    if not self._interrupted:
                        await self._send(state, left)
            return self._submitted(state, left)

    async def collect(self) -> int:
        """Judge the answers of all batches that have ended; the exit status. Raises `DoricError`."""
        with locked(state_file(self.out)):
            state = self._state()
            if not state.parts:
                raise PlanError(f"{self.out} has no batches", hint="Begin with --batch submit.")
            await self._download(state)
            ready = [part for part in state.open if part.downloaded]
            answers = self._answers(state, ready)
            model = BatchModel(self._model_client(state), answers, lambda id, _: self._asked.add(id))
            async with self._opened_judge() as judge, contextlib.AsyncExitStack() as stack:
                stack.push_async_exit(model.client)
                with self._opened_files() as journals:
                    budget = self._verdict_budget(state, ready) if judge else Budget()
                    await self._fill(self._writer(model, journals, budget, judge), [judge] if judge else [])
            if not (self._interrupted or self._given_up or self._budget_exhausted):  # else answers would be lost
                for part in ready:
                    part.collected = True
                state.reasons |= model.client.is_reasoning_model
                state.save(self.out)
            return self._collected(state, ready, model)

    # --- the state and the model

    def _state(self) -> State:
        """The state, which must be of this plan, model and server."""
        state = State.load(self.out)
        if state is not None and self._args.overwrite and not state.open:
            state = None
        if state is None:
            files_only = bool(self._args.batch_files)
            return State(files_only=files_only, address="" if files_only else self._settings.address)
        if self._args.overwrite:
            requests = sum(part.requests for part in state.open)
            hint = "Collect them first, or give another --out."
            raise PlanError(f"{self.out}: {requests:,} requests in batches are not collected", hint=hint)
        self._check_state(state)
        return state

    def _check_state(self, state: State) -> None:
        stored, now = ({k: v for k, v in plan.items() if k not in NOT_COMPARED} for plan in (state.plan, self._now()))
        if differing := [key for key in sorted(stored.keys() | now.keys()) if stored.get(key) != now.get(key)]:
            words = ", ".join(filter(None, (self._difference(key, stored.get(key), now.get(key)) for key in differing)))
            hint = "Give the same flags as for the first --batch submit, or another --out."
            raise PlanError(f"the batches of {self.out} were planned otherwise ({words or 'other data'})", hint=hint)
        if state.files_only != bool(self._args.batch_files) or (
            not state.files_only and state.address != self._settings.address
        ):
            where = "files only (--batch-files)" if state.files_only else state.address
            raise PlanError(f"the batches of {self.out} are for {where}", hint="Give the same server or another --out.")
        if state.open and self._settings.model not in ("", state.model):
            message = f"the batches of {self.out} ask {state.model}, and not {self._settings.model}"
            raise PlanError(message, hint="Collect them with the same --model, then another may continue.")

    def _now(self) -> dict[str, Any]:
        """The plan in the form that a file has: tuples as lists."""
        return State.model_validate_json(State(plan=self._fingerprint).model_dump_json()).plan

    def _model_client(self, state: State) -> Client:
        """A client that reads answers and is not connected."""
        settings = replace(self._settings, model=self._settings.model or state.model)
        if state.open:
            settings = replace(settings, model=state.model)
        client = Client(settings, timeout=self._args.timeout)
        client.answered = True
        client.is_reasoning_model = state.reasons
        return client

    @contextlib.asynccontextmanager
    async def _client(self, state: State) -> AsyncGenerator[Client]:
        """The model to ask in a new round, after a short call has shown that it takes such requests."""
        client = self._model_client(state)
        if state.files_only and not client.model:
            raise SettingsError("--batch-files needs the name of the model", hint="Give --model.")
        if state.files_only or state.open:
            yield client
            return
        async with client:
            client.answered = False
            await client.complete(ChatRequest(PROBE, PROBE_TOKENS, temperature=self._args.temperature))
            yield client

    def _writer(
        self, model: BatchModel, journals: tuple[Journal, Journal], budget: Budget, judge: Client | None = None
    ) -> Generator:
        writing = with_ids(self._plan.writing(model, self._args.temperature))
        return self._generator(writing, model.client.model, journals, budget, Brake(0), judge)

    def _verdict_budget(self, state: State, ready: list[Part]) -> Budget:
        verdicts = self._judging.spent if self._judging else None
        return batch_budget.for_verdicts(state, ready, self._limits, self._budget.price, verdicts)

    async def _fill_job(self, generator: Generator, job: Job, **calls: Any) -> bool:  # noqa: ANN401
        try:
            return await generator.fill(job, **calls)
        except Asked:
            return False

    # --- submit

    async def _write_round(self, state: State, client: Client, journals: tuple[Journal, Journal]) -> list[Part]:
        """Write the requests of a new round, as far as the budgets allow, then note its parts in the state."""
        if self._history.models:
            self._check_model(client.model, self._history.models)
        self._check_refused()
        parts: list[Part] = []
        before, budget = (batch_budget.spent(state, self._budget.price) for _ in range(2))
        file = RequestFile()
        first = next_round(self.out, state)

        def close() -> None:
            part = Part(round=first, number=len(parts) + 1, requests=len(file.lines), size=file.size)
            file.write(part_file(self.out, part, "input"))
            parts.append(part)

        def ask(id: str, request: ChatRequest) -> None:
            nonlocal file
            body = client.batch_body(request)
            budget.add(int(estimate_tokens(request.characters)), token_limit(body), tier=BATCH)
            if self._limits.exceeded_by(budget):
                self._over_budget = True
                raise BudgetExhausted("the requests of this round may use up the budget")
            line = request_line(id, body)
            if not file.has_room(line):
                close()
                file = RequestFile()
            file.add(line)

        model = BatchModel(client, self._answers(state, state.parts), ask)
        await self._fill(self._writer(model, journals, Budget()), [])
        if self._interrupted:
            return []
        if file.lines:
            close()
        state.model, state.plan, state.reasons = client.model, self._now(), client.is_reasoning_model
        state.parts += parts
        if parts:
            state.save(self.out)
            print_stderr(batch_budget.round_line(parts, budget, before))
        return parts

    def _check_refused(self) -> None:
        """Raise `PlanError` if earlier rounds have brought refused answers only: more rounds cost money, too."""
        refused, most = sum(self._history.tally.rejected.values()), self._args.max_rejected
        if most and refused >= most and not self._history.done and self._plan.answers == len(self._plan):
            hint = f"Look at {self.rejected}. --max-rejected 0 goes on anyway."
            raise PlanError(f"none of {refused:,} answers of the earlier rounds passes the gates", hint=hint)

    async def _send(self, state: State, parts: Iterable[Part]) -> None:
        """Send the parts to the server; a run of files only has none."""
        if not state.files_only:
            async with BatchApi(self._settings, timeout=self._args.timeout) as api:
                await batch_transfer.send(api, self.out, state, parts, settle=SETTLE_SECONDS)

    @staticmethod
    def _is_sent(state: State, part: Part) -> bool:
        return state.files_only or bool(part.batch)

    # --- collect

    async def _download(self, state: State) -> None:
        """Get the files of each batch that has ended."""
        if state.files_only:
            batch_transfer.find_outputs(self.out, state)
            return
        async with BatchApi(self._settings, timeout=self._args.timeout) as api:
            await batch_transfer.download(api, self.out, state)

    def _answers(self, state: State, ready: list[Part]) -> Answers:
        """The answers to be judged: those of `ready` parts. Chats of more turns need all earlier answers."""
        longer = self._plan.answers > len(self._plan)
        return read_answers(
            self.out,
            [part for part in state.parts if part.downloaded and (longer or (part in ready and not part.collected))],
        )

    # --- what is said

    @property
    def paid(self) -> bool:
        """Whether answers were paid for."""
        return self._budget.tokens_in + self._budget.tokens_out > 0 or super().paid

    def _submitted(self, state: State, parts: list[Part]) -> int:
        if self._interrupted:
            return 130
        if self._over_budget:
            which = "Not all" if parts else "None"
            words = "of the requests are in this round: more may exceed the budget if each uses its token limit."
            print_stderr(f"{which} {words}")
        if parts:
            print_stderr("\n".join(batch_status.submitted_lines(self.out, state, parts)))
            return 1
        self._budget = self._sum_up(state)
        print_stderr(self.summary())
        return self.status()

    def _sum_up(self, state: State) -> Budget:
        budget = batch_budget.spent(state, self._budget.price)
        budget.second = self._budget.second
        return budget

    def _collected(self, state: State, ready: list[Part], model: BatchModel) -> int:
        self._budget = self._sum_up(state)
        lines = [self.summary(), *(f"  {batch_status.part_line(part)}" for part in ready)]
        if model.unusable:
            lines.append(f"  not used:  {listed_counts(model.unusable)}")
        print_stderr("\n".join([*lines, *(f"  {line}" for line in self._next_lines(state))]))
        return self.status()

    def _next_lines(self, state: State) -> Iterator[str]:
        """What to do next."""
        if self._given_up or self._budget_exhausted:
            why = "the budget ended first" if self._budget_exhausted else "the judge has not answered for all rows"
            yield f"next:      --batch collect again: {why}"
            return
        waiting = state.open
        flying = {id for part in waiting for id in ids_in(part_file(self.out, part, "input"))}
        if waiting:
            yield f"waiting:   {len(flying):,} requests are not answered yet; --batch collect again later"
        if again := len(self._asked - flying):
            yield f"next:      {again:,} rows need another round{'' if waiting else ': --batch submit'}"
        elif not waiting and self.status() == 1 and not self._interrupted:
            yield "next:      nothing is left to ask; --max-tries allows more tries"
