"""A run of the generator in rounds of batches: `submit` asks for what is missing, `collect` judges what was answered.

Both are the live run with another model behind it (`BatchModel`): the same plan, messages, gates and journals. A
refused answer is asked for again in the next round, with the reason. `OUT.batch.json` is written before and after each
step on the network.
"""

import argparse
import contextlib
import functools
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

from doric.core.cli import print_stderr
from doric.core.errors import DoricError, PlanError, SettingsError
from doric.core.files import locked
from doric.core.journal import Journal
from doric.core.regular_files import named_output
from doric.core.resume import behind_link
from doric.core.settings import Settings
from doric.core.text import listed_counts
from doric.dataset import batch_budget, batch_status, batch_transfer
from doric.dataset.batch_answers import Asked, BatchModel, read_answers, with_ids
from doric.dataset.batch_files import ANSWERED, Answers, ids_in
from doric.dataset.batch_round import Round
from doric.dataset.batch_state import (
    FOLDER,
    STATE,
    Part,
    State,
    part_file,
    refuse_lost_state,
    state_file,
)  # fmt: skip
from doric.dataset.generate import Generator as Writer
from doric.dataset.judging import PRICE as JUDGE_PRICE
from doric.dataset.plan import Job
from doric.dataset.run import NOT_COMPARED, Run
from doric.dataset.sources import Source
from doric.llm.batches import BatchApi
from doric.llm.brake import Brake
from doric.llm.budget import Budget
from doric.llm.client import ChatRequest, Client
from doric.llm.prices import BATCH, chosen_price
from doric.llm.response import estimate_tokens
from doric.llm.served_models import untagged

log = logging.getLogger("doric")
FILES_URL = "http://localhost/v1"
"""The address in a run of files only: it is never asked, and has no list price."""
PROBE = ({"role": "system", "content": "Answer with one word."}, {"role": "user", "content": "Fit like?"})
"""A short call at the usual price: a wrong model or parameter shows now, and not when the whole batch has failed."""
PROBE_TOKENS = 16
SETTLE_SECONDS = 15.0
"""A batch may be listed a moment after it was created."""
NOTED = 50
"""After so many verdicts, their cost is written to disk."""


class BatchRun(Run):
    """One command over batches; create it with `prepare`, then `submit` or `collect`."""

    def __init__(self, args: argparse.Namespace, plan: Source, settings: Settings, backend: str) -> None:
        super().__init__(args, plan, settings, backend)
        self._tier, self._over_budget = BATCH, False
        self._limits = batch_budget.Limits(args.max_cost, args.max_total_tokens)
        self._asked: set[str] = set()
        self._rereads = plan.answers > len(plan)  # the next turn of a chat depends on all earlier answers
        self._note_verdicts: Callable[[int], object] = lambda least: None

    @classmethod
    def prepare(cls, args: argparse.Namespace) -> Self:
        """As a live run. Raises `DoricError`."""
        out = behind_link(named_output(args.out), STATE)
        stored = State.load(out)
        files_only = args.batch_files or (stored is not None and stored.files_only and args.batch != "submit")
        url = args.base_url or (FILES_URL if files_only else None)
        now = {"out": str(out), "batch_files": files_only, "base_url": url, "backend": "openai"}
        args = argparse.Namespace(**{**vars(args), **now})
        if not args.judge_model:
            args.max_rpm = args.max_tpm = None  # no call is made for an answer
        if out.exists() and not out.is_file():
            raise SettingsError(f"--out {args.out} is no file", hint="Batches need a file that is kept.")
        if args.batch == "collect" and args.overwrite:
            raise SettingsError("--overwrite starts again", hint="Give it with --batch submit, or leave it out.")
        run = super().prepare(args)
        if args.judge_model and run._plan.answers > len(run._plan):
            raise SettingsError("--batch with --judge-model needs chats of two turns", hint="Leave --turns out.")
        return run

    async def submit(self) -> int:
        """Write the requests of the next round and create its batches; the exit status. Raises `DoricError`.

        A round that was written and not sent is written anew: the flags may differ now.
        """
        with locked(state_file(self.out)):
            state, unsent = await self._state_to_submit()
            self._rereads &= self._files.count() < len(self._plan)
            self._recall_verdicts(state)
            await self._restore(state)
            with self._opened_files() as journals:  # before the short call: damaged rows must cost nothing
                async with self._client(state) as client:
                    parts = await self._write_round(state, client, journals, unsent)
                    if not self._interrupted:
                        await self._send(state, parts)
            return self._submitted(state, parts)

    async def collect(self) -> int:
        """Judge the answers of all batches that have ended; the exit status. Raises `DoricError`."""
        with locked(state_file(self.out)):
            state = State.load(self.out)
            if state is None or not state.parts:
                raise PlanError(f"{self.out} has no batches", hint="Begin with --batch submit.")
            self._check_state(state)
            self._recall_verdicts(state)
            if state.rows and not self._files.has_rows:
                words = "%s had %s rows and has none now: all answers in %s%s are read again."
                log.warning(words, self.out, f"{state.rows:,}", self.out, FOLDER)
                state.reopen()
                state.save(self.out)
            self._rereads &= self._files.count() < len(self._plan)
            await self._restore(state)
            await self._download(state)
            ready = [part for part in state.open if part.downloaded]
            client = self._model_client(state)
            model = BatchModel(client, self._answers(state, ready, client.model), lambda id, _: self._asked.add(id))
            async with self._opened_judge() as judge, contextlib.AsyncExitStack() as stack:
                stack.push_async_exit(client)
                with self._opened_files() as journals, self._noted_verdicts(state) as verdicts:
                    price = self._budget.price
                    budget = batch_budget.for_verdicts(state, price, verdicts, self._limits) if judge else Budget()
                    await self._fill(self._writer(model, journals, budget, judge), [judge] if judge else [])
                    state.rows = journals[0].rows
            if not (self._interrupted or self._given_up or self._budget_exhausted):  # else answers would be lost
                for part in ready:
                    part.collected = True
                state.reasons |= client.is_reasoning_model
            state.save(self.out)
            return self._collected(state, ready, model)

    # --- the state and the model

    async def _state_to_submit(self) -> tuple[State, list[Part]]:
        """The state for the next round, and the parts of the last round that have no batch, which are not in it."""
        state = State.load(self.out)
        if state is None:
            refuse_lost_state(self.out)
            return State.begin(self._address), []
        if any(part.sought_batch for part in state.unsent):
            state.check_server(self.out, self._address)
            async with self._api() as api:
                await batch_transfer.find_created(api, self.out, state, settle=SETTLE_SECONDS)
        unsent = state.drop_unsent()
        requests = sum(part.requests for part in state.open)
        if not state.parts:  # nothing was asked so far
            return State.begin(self._address).model_copy(update={"run": state.run, "probes": state.probes}), unsent
        if self._args.overwrite:
            if state.open:
                hint = "Collect them first, or give another --out."
                raise PlanError(f"{self.out}: {requests:,} requests in batches are not collected", hint=hint)
            return State.begin(self._address), unsent
        self._check_state(state)
        if state.open and not unsent:
            message = f"{requests:,} requests of round {state.round} are not collected yet"
            raise PlanError(f"{self.out}: {message}", hint="Collect them first, with --batch collect.")
        if state.rows and not self._files.has_rows:
            hint = f"--batch collect reads the answers in {self.out}{FOLDER} again; --overwrite asks for all rows anew."
            raise PlanError(f"{self.out} had {state.rows:,} rows and has none now", hint=hint)
        return state, unsent

    def _check_state(self, state: State) -> None:
        """Raise `PlanError` unless the state is of this plan, server and model."""
        stored, now = ({k: v for k, v in plan.items() if k not in NOT_COMPARED} for plan in (state.plan, self._now()))
        if differing := [key for key in sorted(stored.keys() | now.keys()) if stored.get(key) != now.get(key)]:
            words = ", ".join(filter(None, (self._difference(key, stored.get(key), now.get(key)) for key in differing)))
            hint = "Give the same flags as for the first --batch submit, or another --out."
            raise PlanError(f"the batches of {self.out} were planned otherwise ({words or 'other data'})", hint=hint)
        state.check_server(self.out, self._address)
        if state.open and self._settings.model not in ("", state.model):
            message = f"the batches of {self.out} ask {state.model}, and not {self._settings.model}"
            raise PlanError(message, hint="Collect them with the same --model, then another may continue.")

    @property
    def _address(self) -> str:
        """The server; "" if there are only files."""
        return "" if self._args.batch_files else self._settings.address

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
        if state.files_only or not self._may_probe(state):
            yield client
            return
        async with client:
            client.answered = False
            found = await client.complete(ChatRequest(PROBE, PROBE_TOKENS, temperature=self._args.temperature))
            state.probes.calls += 1
            state.probes.tokens_in += found.tokens_in
            state.probes.tokens_out += found.tokens_out
            state.probes.estimated |= not found.counted
            state.save(self.out)
            yield client

    def _may_probe(self, state: State) -> bool:
        """Whether there is something to ask, and the budgets allow the short call."""
        budget = self._sum_up(state)
        batch_budget.add_open(budget, state)
        budget.add(int(estimate_tokens(ChatRequest(PROBE, PROBE_TOKENS).characters)), PROBE_TOKENS)
        return self._files.count() < len(self._plan) and not self._limits.exceeded_by(budget)

    def _writer(
        self, model: BatchModel, journals: tuple[Journal, Journal], budget: Budget, judge: Client | None = None
    ) -> Writer:
        writing = with_ids(self._plan.writing(model, self._args.temperature))
        return self._generator(writing, model.client.model, journals, budget, Brake(0), judge)

    def _answers(self, state: State, ready: Sequence[Part], model: str) -> Answers:
        """The answers of `ready` parts, and of all earlier ones if the next turns of chats depend on them.

        The answers of other models than `model` are not used: they would get its name.
        """
        earlier = [part for part in state.parts if part in ready or (self._rereads and part.downloaded)]
        return read_answers(self.out, [part for part in earlier if untagged(part.model) == untagged(model)])

    def _recall_verdicts(self, state: State) -> None:
        """Count the verdicts of earlier commands, too."""
        given = self._args.judge_price_in, self._args.judge_price_out
        verdicts = self._judging.spent if self._judging else Budget(chosen_price(*given, "", flag=JUDGE_PRICE))
        batch_budget.recall(verdicts, state.verdicts, self._limits, judged=self._judging is not None)
        self._budget.second = verdicts

    @contextlib.contextmanager
    def _noted_verdicts(self, state: State) -> Generator[Budget]:
        """In the block, and also if it fails, the state counts the verdicts that are paid for."""
        verdicts = self._budget.second or Budget()
        earlier = verdicts.calls

        self._note_verdicts = functools.partial(batch_budget.note_verdicts, state, self.out, verdicts)
        try:
            yield verdicts
        except DoricError:
            if verdicts.calls > earlier:  # report what was paid for
                self._budget = self._sum_up(state)
                print_stderr(self.summary())
            raise
        finally:
            self._note_verdicts(1)

    async def _fill_job(self, generator: Writer, job: Job, **calls: Any) -> bool:  # noqa: ANN401
        try:
            return await generator.fill(job, **calls)
        except Asked:
            return False
        finally:
            self._note_verdicts(NOTED)

    # --- submit

    async def _write_round(
        self, state: State, client: Client, journals: tuple[Journal, Journal], unsent: Sequence[Part]
    ) -> list[Part]:
        """Write the requests of a new round, as far as the budgets allow, then note its parts in the state."""
        self._check_writer(state, client.model)
        self._check_refused()
        before, budget = (self._sum_up(state) for _ in range(2))
        for one in (before, budget):
            batch_budget.add_open(one, state)
        new = Round(self.out, state, client, budget, self._limits, self._open_ids(state), unsent)
        model = BatchModel(client, self._answers(state, [], client.model), new.ask)
        await self._fill(self._writer(model, journals, Budget()), [])
        if self._interrupted:
            return []
        self._over_budget = new.stopped
        state.model, state.plan, state.reasons = client.model, self._now(), client.is_reasoning_model
        if parts := new.end():
            print_stderr(batch_budget.round_line(parts, budget, before))
        return parts

    def _check_writer(self, state: State, model: str) -> None:
        """Raise `PlanError` if another model has written what there is, unless that is allowed."""
        if not self._history.models and self._rereads:
            earlier = Counter[str]()
            for part in state.parts:
                earlier[untagged(part.model)] += part.found.get(ANSWERED, 0)
            self._check_chats(+earlier, model)
        elif len(self._history.done) < len(self._plan):
            self._check_model(model, self._history.models)

    def _check_chats(self, answers: Counter[str], model: str) -> None:
        """The same if no chat is complete. `answers` are those of each model."""
        if not answers or untagged(model) in answers:
            return
        words = f"{self.out} has chats that are not complete, with answers of {listed_counts(answers)}"
        if not self._args.allow_model_change:
            hint = f"Give that --model, or --allow-model-change: {model} then begins these chats anew."
            raise PlanError(words, hint=hint)
        log.warning("%s. They are not used: %s begins these chats anew.", words, model)

    def _check_refused(self) -> None:
        """Raise `PlanError` if earlier rounds have brought refused answers only: more rounds cost money, too."""
        refused, most = sum(self._history.tally.rejected.values()), self._args.max_rejected
        if most and refused >= most and not self._history.done and self._plan.answers == len(self._plan):
            hint = f"Look at {self.rejected}. --max-rejected 0 goes on anyway."
            raise PlanError(f"none of {refused:,} answers of the earlier rounds passes the gates", hint=hint)

    async def _send(self, state: State, parts: Iterable[Part]) -> None:
        """Send the parts to the server; a run of files only has none."""
        if not state.files_only:
            async with self._api() as api:
                await batch_transfer.send(api, self.out, state, parts)

    def _open_ids(self, state: State) -> set[str]:
        """The ids of the requests that are in open batches."""
        sent = [part for part in state.open if part not in state.unsent]
        return {id for part in sent for id in ids_in(part_file(self.out, part, "input"))}

    def _api(self) -> BatchApi:
        return BatchApi(self._settings, timeout=self._args.timeout)

    # --- collect

    async def _download(self, state: State) -> None:
        """Get the files of each batch that has ended."""
        if state.files_only:
            batch_transfer.find_outputs(self.out, state)
            return
        async with self._api() as api:
            await batch_transfer.download(api, self.out, state)

    async def _restore(self, state: State) -> None:
        """Get the files again that are needed and missing. Raises `DoricError`."""
        needed = [part for part in state.parts if self._rereads or not (part.collected or part in state.unsent)]
        if not (missing := [part for part in needed if not batch_transfer.is_whole(self.out, part)]):
            return
        if state.files_only:
            what = next(what for what in ("input", "output") if not part_file(self.out, missing[0], what).exists())
            path = part_file(self.out, missing[0], what)
            raise PlanError(f"{path} is missing", hint="Restore it: the answers in its batch are needed.")
        async with self._api() as api:
            await batch_transfer.restore(api, self.out, missing)

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
        return batch_budget.spent(state, self._budget.price, self._budget.second)

    def _spent_lines(self) -> list[str]:
        """The tokens and the cost of the writer, of the judge also in earlier commands, and together."""
        lines, second = super()._spent_lines(), self._budget.second
        if self._judging is None and second is not None and second.calls:
            lines.append(f"  judged:    {second.calls:,} verdicts of earlier commands, {second}")
            lines += [] if self._budget.cost is None else [f"  together:  ${self._budget.cost:.4f}"]
        return lines

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
            budget = "the budget ended first, which counts all rounds: give a higher one"
            why = budget if self._budget_exhausted else "the judge has not answered for all rows"
            yield f"next:      --batch collect again: {why}"
            return
        waiting = self._open_ids(state)
        if waiting:
            yield f"waiting:   {len(waiting):,} requests are not answered yet; --batch collect again later"
        if again := len(self._asked - waiting):
            may_submit = not waiting or state.unsent
            yield f"next:      {again:,} rows need another round{': --batch submit' if may_submit else ''}"
        elif not waiting and self.status() == 1 and not self._interrupted:
            yield "next:      nothing is left to ask; --max-tries allows more tries"
