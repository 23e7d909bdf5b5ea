"""One run of the dataset generator: topics and plan, model, files, work, summary and exit status."""

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import logging
import os
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from doric import data
from doric.core.cli import ProgressBar, handle_interrupts
from doric.core.conversations import Row
from doric.core.errors import InputError, PlanError, ServerError, SettingsError
from doric.core.files import check_space, check_writable, refuse_in_use
from doric.core.journal import Journal
from doric.core.jsonl import read_jsonl
from doric.core.regular_files import named_output, other_kind
from doric.core.resume import PLAN, ResumableRun, behind_link, then_and_now
from doric.core.settings import Settings, credentials_hint, load_settings
from doric.core.text import listed_counts
from doric.dataset import generate, history, instructions, sense
from doric.dataset.batch_state import refuse_open_batches
from doric.dataset.choice import choose_writer, source_of
from doric.dataset.judging import Judging, found_lines, report_change
from doric.dataset.plan import ASK_MIX, FIRST_TURNS, TURNS, Job
from doric.dataset.respelling import Respelling
from doric.dataset.shards import SHARD, shard_of
from doric.dataset.sources import CHATS, FROM, TEXTS, Source, Writing, asked_lines
from doric.llm.brake import Brake
from doric.llm.budget import Budget
from doric.llm.client import Client
from doric.llm.prices import BATCH, Price, check_max_cost, chosen_price, without_price
from doric.llm.request import TIER
from doric.llm.scheduler import Scheduler

log = logging.getLogger("doric")
DEFAULT_TRIES = {"openai": 6, "heuristic": 60}
REASONS = 10
"""The summary gives so many reasons why jobs have no row."""
ROW_BYTES = 500
"""A row has at least about so many bytes: the mean of two turns is 650."""
CHANGED_FILES = 5
"""The most files that the error about a changed plan names."""
DATA = "data"
"""The key of the stored plan with the hashes of the language data. It explains a difference and makes none."""
EXTRA_BODY = "extra_body"
"""The key of the stored plan with the fields of --extra-body, if there are any. A difference is only reported."""
HOUSE_SPELLING = "house_spelling"
"""The key of the stored plan of a model's run with --house-spelling. A difference is only reported."""
NOT_COMPARED = (DATA, EXTRA_BODY, HOUSE_SPELLING, sense.JUDGE)


class Run:
    """One run of the generator; create it with `prepare`."""

    def __init__(self, args: argparse.Namespace, plan: Source, settings: Settings, backend: str) -> None:
        self._args, self._plan, self._settings, self.backend = args, plan, settings, backend
        self.out = Path(args.out)
        self.rejected = Path(os.devnull if _is_device(self.out) else f"{args.out}.rejected.jsonl")
        self._files = ResumableRun((self.out, self.rejected), overwrite=args.overwrite)
        self._fingerprint = plan.fingerprint() | {"backend": backend, DATA: data.hashes()}
        if settings.extra_body and backend == "openai":  # plans of earlier versions have no such key
            self._fingerprint[EXTRA_BODY] = settings.extra_body
        self._respelling = Respelling(args.house_spelling if backend == "openai" and plan.respells else "off")
        if backend == "openai":
            self._fingerprint[HOUSE_SPELLING] = self._respelling.mode
        price = chosen_price(args.price_in, args.price_out, settings.model, settings.address)
        if backend == "openai":
            check_max_cost(args.max_cost, price, settings.address)
        self._budget = Budget(price, args.max_cost, args.max_total_tokens)
        self._judging = Judging.of(args, settings, price)
        if self._judging is not None:
            self._fingerprint[sense.JUDGE] = self._judging.fingerprint()
            self._budget.second = self._judging.spent
            if backend == "heuristic":  # so that the cost of the verdicts is known
                self._budget.price = Price(0.0, 0.0, "the embedded voice")
        self._history = history.History(
            lambda id, kind, group, topic, prompt: plan.find(id, kind=kind, group=group, topic=topic, prompt=prompt)
        )
        self._rows: Journal | None = None
        self._left: int | None = None
        self._max_tries: int = args.max_tries or DEFAULT_TRIES[backend]
        self._given_up: list[tuple[Job, str]] = []
        self._interrupted = self._budget_exhausted = False
        self._tier = settings.preferred.get(TIER, "")

    @classmethod
    def prepare(cls, args: argparse.Namespace) -> Self:
        """Read topics and settings and make the plan; write nothing. Raises `DoricError` if any of them is wrong."""
        args = argparse.Namespace(**{**vars(args), "out": str(behind_link(named_output(args.out), PLAN))})
        plan = source_of(args)
        settings = load_settings(
            model=args.model, base_url=args.base_url, extra_body=args.extra_body, service_tier=args.service_tier,
            reasoning_effort=args.reasoning_effort,
        )  # fmt: skip
        backend = choose_writer(args, plan, settings)
        if backend == "heuristic" and args.backend == "auto":
            log.info("No key and no base URL: the embedded voice writes the answers. %s", credentials_hint(settings))
            if args.model:
                log.warning("--model %s is not asked: without a key or a base URL there is no server.", args.model)
        run = cls(args, plan, settings, backend)
        check_files(args)
        return run

    async def check(self) -> None:
        """Raise `DoricError` where `run` would before its first paid call, or could make none; write nothing.

        All that `run` opens is looked at: the files with their rows, the client, and the judge if it has another
        server, which is asked for its models. Afterwards, `left` and `forecast` know the rows. Do not call `run` then.
        """
        refuse_open_batches(self.out)
        refuse_in_use(self.out)
        self._check_plan()
        self._files.check_open(self._replay_row, self._history.replay_rejection)
        self._left = len(self._plan) - len(self._history.done)
        check_space(self.out, self._left * ROW_BYTES)
        async with contextlib.AsyncExitStack() as stack:
            if self.backend == "openai":
                stack.push_async_exit(self._new_client())
            if self._left and self._judging is not None and self._judging.settings.address != self._settings.address:
                await stack.enter_async_context(self._opened_judge())
        self._check_tries()

    def _check_tries(self) -> None:
        """Raise `PlanError` if rows are missing and none of them may be asked for."""
        if self._left and not self._history.may_ask(self._plan, self._max_tries, self._settings.model):
            rows = "the missing row has" if self._left == 1 else f"none of the {self._left:,} missing rows has"
            no_try = f"{rows} {'no' if self._left == 1 else 'a'} try left of --max-tries {self._max_tries}"
            hint = f"Give a higher --max-tries. {self.rejected} has the rejected answers."
            raise PlanError(f"{self.out}: {no_try}", hint=hint)

    @property
    def _calls_at_once(self) -> int:
        """The most calls in flight: a row has one at a time."""
        return max(1, min(self._args.max_concurrency, len(self._plan)))

    def left(self) -> int:
        """The number of rows that are missing. Raises `DoricError` if the file cannot be read."""
        return max(0, len(self._plan) - self._files.count()) if self._left is None else self._left

    def forecast(self, *, priced: bool = True) -> str:
        """A text for people: the plan, with the expected tokens and cost. Raises `DoricError` if the run would.

        Unless it is `priced`, a price that is not known is not asked for.
        """
        self._check_plan()
        if not other_kind(self.out):  # a device or a pipe has no folder of its own
            check_writable(self.out)
        plan = self._plan.description()
        left = self.left()
        answers = left * self._plan.answers / len(self._plan)
        if self.backend == "heuristic":
            return "\n".join([plan, "the embedded voice: no calls, no cost", *self._judge_forecast(answers)])
        if left and self._settings.model:
            self._check_model(self._settings.model, self._models_of_file())
        into, most = self._plan.expected_tokens()
        tokens_in, tokens_out = round(answers * into), round(answers * most / 2)  # they use about half of their budget
        asked = "vllm run-batch" if self._args.batch_files else self._settings.asked
        tokens = (
            f"{left:,} of them to write by {asked}: about {tokens_in:,} tokens in and {tokens_out:,} out if every "
            "first answer passes; more for retries and for the reasoning of a reasoning model"
        )
        if (price := self._budget.price) is None:
            cost = without_price(self._settings.address) if priced else ""
        else:
            cached = 0 if self._tier == BATCH else min(tokens_in, round(answers * self._plan.expected_cached()))
            cost = price.forecast(tokens_in, tokens_out, cached, self._tier)
        return "\n".join(filter(None, [plan, tokens, cost, *self._judge_forecast(answers)]))

    def _judge_forecast(self, answers: float) -> list[str]:
        """The lines about the judge, if there is one, for so many answers."""
        if self._judging is None:
            return []
        self._expect_verdicts(self._judging)
        return self._judging.forecast(answers)

    def _expect_verdicts(self, judging: Judging) -> None:
        _, most = self._plan.expected_tokens()
        judging.expect(list(itertools.islice(self._plan, instructions.SAMPLE)), most / 2)

    async def run(self) -> None:
        """Fill every job that is not filled yet. Raises `DoricError` if the run must stop."""
        refuse_open_batches(self.out)
        # before the files are opened, so that a wrong key changes no file
        async with self._opened_client() as client, self._opened_judge() as judge:
            with self._opened_files() as (rows, rejections):
                refuse_open_batches(self.out)  # again: from now on, no batch can be submitted
                model, writing = "", self._plan.writing(client, self._args.temperature)
                if client is not None:
                    model = client.model
                    if self._history.done and len(self._history.done) < len(self._plan):
                        self._check_model(model, self._history.models)
                    what = "answers" if self._plan.respells else "questions"
                    log.info("Model %s at %s writes the %s.", model, self._settings.address, what)
                    if self._history.done:  # the server answered an earlier run, so a refused request is an exception
                        client.answered = True
                brake = Brake(self._args.max_rejected if client else 0, see=str(self.rejected))
                generator = self._generator(writing, model, (rows, rejections), self._budget, brake, judge)
                await self._fill(generator, [one for one in (client, judge) if one is not None])

    def _generator(
        self,
        writing: Writing,
        model: str,
        journals: tuple[Journal, Journal],
        budget: Budget,
        brake: Brake,
        judge: Client | None,
    ) -> generate.Generator:
        rows, rejections = journals
        return generate.Generator(
            writing.voice, self._history, rows.write, rejections.write, backend=self.backend, model=model,
            max_tries=self._max_tries, budget=budget, brake=brake, respelling=self._respelling,
            follow_up=writing.follow_up, judge=self._judge_of(judge), task=writing.task,
        )  # fmt: skip

    async def _fill_job(self, generator: generate.Generator, job: Job, **calls: Any) -> bool:  # noqa: ANN401
        """Make the row of a job; False if there is none."""
        return await generator.fill(job, **calls)

    def summary(self) -> str:
        """The result of the run, for people."""
        tally, file = self._history.tally, self._rows
        rows, path = (file.rows, file.path) if file else (0, self.out)  # what is on disk, and where
        lines = [f"{rows:,} of {len(self._plan):,} rows in {path}"]
        lines += [f"  by bucket: {listed_counts(tally.accepted)}"] if tally.accepted else []
        lines += [f"  {bucket + ' asks:':<10} {asked}" for bucket, asked in asked_lines(tally.asks, tally.accepted)]
        if tally.turns.keys() - {FIRST_TURNS}:
            lines.append(
                f"  by turns:  {', '.join(f'{turns} turns {n:,}' for turns, n in sorted(tally.turns.items()))}"
            )
            lines.append(f"  drift:     {tally.drift}")
        if rows:
            answers = tally.by_try.total()
            shares = (f"{count / answers:.1%} on try {tries}" for tries, count in sorted(tally.by_try.items())[:5])
            lines.append("  accepted:  " + ", ".join(shares))
        if tally.unmarked:
            lines.append(f"  region:    {tally.unmarked:,} rows have no North-East form (short Scots, meta.region)")
        if tally.off_topic:
            lines.append(f"  topic:     {tally.off_topic:,} answers share no word with their question (meta.off_topic)")
        if tally.rejected:
            lines.append(f"  rejected:  {listed_counts(tally.rejected)} (kept in {self.rejected})")
        if spelling := str(self._respelling):
            lines.append(f"  spelling:  {spelling}")
        lines += found_lines(tally.scores, tally.rejected)
        if tally.faults:
            lines.append(f"  retried:   {listed_counts(tally.faults)}")
        if self.paid:
            lines += self._spent_lines()
        lines += self._unfilled_lines()
        if reason := self._stop_reason():
            lines.append(f"  stopped:   {reason}")
        return "\n".join(lines)

    @property
    def paid(self) -> bool:
        """Whether a model has answered."""
        judged = self._judging is not None and self._judging.spent.calls > 0
        return judged or (self.backend == "openai" and self._budget.calls > 0)

    def _spent_lines(self) -> list[str]:
        """The tokens and the cost of the writer, of the judge, and together."""
        lines = [f"  spent:     {self._budget}"] if self.backend == "openai" else []
        if self._judging is None:
            return lines
        lines.append(f"  judged:    {self._judging.spent_line()}")
        if self.backend == "openai" and self._budget.cost is not None:
            lines.append(f"  together:  ${self._budget.cost:.4f}")
        return lines

    def status(self) -> int:
        """The exit status: 0 when every job has its row, 130 after Ctrl-C, else 1."""
        if self._interrupted:
            return 130
        return 0 if sum(self._history.tally.accepted.values()) == len(self._plan) else 1

    def _new_client(self) -> Client:
        return Client(self._settings, timeout=self._args.timeout, concurrency=self._calls_at_once)

    @contextlib.asynccontextmanager
    async def _opened_client(self) -> AsyncGenerator[Client | None]:
        """The model's client; None for the embedded voice."""
        async with contextlib.AsyncExitStack() as stack:
            client = None
            if self.backend == "openai":
                client = await stack.enter_async_context(self._new_client())
                self._budget.tokens_per_call = self._plan.expected_tokens()
            gc.freeze()  # the garbage collector then no longer scans the objects of the libraries, which stay
            stack.callback(gc.unfreeze)
            yield client

    @contextlib.asynccontextmanager
    async def _opened_judge(self) -> AsyncGenerator[Client | None]:
        """The judge's client; None if there is no judge."""
        if self._judging is None:
            yield None
            return
        self._expect_verdicts(self._judging)
        args = self._args
        async with self._judging.opened(seconds=args.timeout, calls=self._calls_at_once) as client:
            yield client

    def _judge_of(self, client: Client | None) -> sense.Judge | None:
        if self._judging is None or client is None:
            return None
        return self._judging.judge(client, answered=self._history.tally.scores.answers > 0)

    @contextlib.contextmanager
    def _opened_files(self) -> Generator[tuple[Journal, Journal]]:
        """The journals of rows and rejections. If they exist, they are replayed; those of another plan are refused."""
        self._check_plan()
        if self._files.has_rows:
            self._report_changes(self._files.stored() or {})
        replays = self._replay_row, self._history.replay_rejection
        with self._files.open(*replays) as (rows, rejections):
            self._files.store(self._fingerprint)
            self._rows = rows
            yield rows, rejections

    async def _fill(self, generator: generate.Generator, clients: Sequence[Client]) -> None:
        args, done = self._args, len(self._history.done)
        progress = ProgressBar(
            len(self._plan), done, every=args.progress_every, shown=not args.no_progress, note=self._note
        )

        async def may_judge() -> bool:
            """Whether a verdict may be asked for: also after a budget is used up, because its answer is paid for."""
            return await scheduler.acquire() or (self._budget_exhausted and not self._interrupted)

        async def work(job: Job) -> None:
            calls = {"may_call": scheduler.acquire, "may_judge": may_judge}
            try:
                if await self._fill_job(generator, job, **calls, count_tokens=scheduler.report_tokens):
                    progress.advance()
            except generate.BudgetExhausted:  # wait for the calls in flight, because they are paid for
                self._budget_exhausted = True
                scheduler.stop()

        def interrupt() -> None:
            self._interrupted = True
            scheduler.stop()
            for client in clients:
                client.hurry()

        # the embedded voice never waits, so one worker is as fast as many, and it keeps the order of the plan
        workers = self._calls_at_once if clients else 1
        scheduler: Scheduler[Job] = Scheduler(
            work, self._give_up, concurrency=workers, max_retries=args.max_retries, max_rpm=args.max_rpm,
            max_tpm=args.max_tpm, tokens_per_call=sum(self._budget.tokens_per_call), answered=done > 0, seed=args.seed,
        )  # fmt: skip
        heartbeat = asyncio.create_task(progress.heartbeat())
        try:
            with handle_interrupts(interrupt, scheduler.cancel):
                await scheduler.run(generator.open_jobs(self._plan))
        finally:
            heartbeat.cancel()
            progress.close()

    def _check_model(self, model: str, models: Counter[str]) -> None:
        history.check_model(model, models, self.out, allowed=self._args.allow_model_change)

    def _models_of_file(self) -> Counter[str]:
        """The models of the rows to resume. A file that cannot be read has none here; the run itself will say why."""
        if self._left is not None:
            return self._history.models
        models: Counter[str] = Counter()
        if self._files.has_rows:
            with contextlib.suppress(InputError):
                models.update(filter(None, (history.model_of(row) for _, row in read_jsonl(self.out))))
        return models

    def _report_changes(self, stored: Mapping[str, Any]) -> None:
        """Say what differs between the plan of the rows to resume and this run, but does not forbid to resume."""
        if self.backend == "openai":
            self._report_extra_body(stored)
            self._report_house_spelling(stored)
        report_change(stored, self._fingerprint)

    def _report_extra_body(self, stored: Mapping[str, Any]) -> None:
        """Say if the rows to resume were asked for with other fields. They may change the answers."""
        before, now = (plan.get(EXTRA_BODY) or {} for plan in (stored, self._fingerprint))
        if before != now:
            words = "The rows so far were asked for with the extra body %s, the next ones with %s."
            log.warning(words, *(json.dumps(fields) for fields in (before, now)))

    def _report_house_spelling(self, stored: Mapping[str, Any]) -> None:
        """Say if the rows to resume were written with another --house-spelling. Earlier versions had none."""
        before, now = stored.get(HOUSE_SPELLING, "off"), self._respelling.mode
        if before != now:
            words = "The rows so far were written with --house-spelling %s, the next ones are with %s."
            log.warning(words, before, now)

    def _check_plan(self) -> None:
        """Raise `PlanError` if the rows to resume were planned otherwise.

        Rows of a plan without asks name their topic, so their jobs are found even if the wording of the prompts differs
        now: their prompts stay, and the other rows get the new ones.
        """
        stored = (self._files.stored() or {}) if self._files.resumes else self._fingerprint
        prompts = self._fingerprint.get("prompts")
        reworded = prompts is not None and ASK_MIX not in stored and stored.get("prompts") != prompts
        ignored = (*NOT_COMPARED, "prompts") if reworded else NOT_COMPARED
        self._files.check(self._fingerprint, ignore=ignored, describe=self._difference)
        if reworded and self._files.has_rows:
            log.warning("The wording of the prompts has changed: rows keep their prompts, missing rows get new ones.")

    def _replay_row(self, row: Row) -> None:
        self._history.replay_row(row)
        self._respelling.replay(row["meta"])
        self._plan.replay(row)

    def _difference(self, key: str, then: object, now: object) -> str:
        origins = [(plan or {}).get(FROM) for plan in (self._files.stored(), self._fingerprint)]
        if origins[0] != origins[1]:  # then everything else differs too
            return "its rows are from {}, these from {}".format(*(one or "topics" for one in origins)) * (key == FROM)
        if key in (TEXTS, CHATS):
            return f"other {key}"
        if key == "topics":
            return "other topics"
        if key == SHARD:
            return "--shard {} then, {} now".format(*map(shard_of, (then, now)))
        if key == TURNS:
            return "--turns {} then, {} now".format(*(_turns(value) for value in (then, now)))
        if key != "prompts":
            return then_and_now(key, then, now)
        return self._changed_data(self._files.stored() or {})

    def _changed_data(self, stored: dict[str, Any]) -> str:
        """Why the prompts differ from those of the stored plan; "" if another key of the plan is the reason."""
        others = (key for key in self._fingerprint if key not in ("prompts", "topics", "backend", *NOT_COMPARED))
        if any(stored.get(key) != self._fingerprint[key] for key in others):
            return ""
        before, after = stored.get(DATA), data.hashes()
        if not isinstance(before, dict):  # a plan of an earlier version
            return f"other prompts: a file in {data.shown('')} or this program has changed"
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        files = ", ".join(map(data.shown, changed[:CHANGED_FILES])) or "this program"
        if (more := len(changed) - CHANGED_FILES) > 0:
            files += f" and {more} more"
        return f"other prompts, because {files} {'have' if len(changed) > 1 else 'has'} changed since it was started"

    def _give_up(self, job: Job, error: ServerError) -> None:
        self._given_up.append((job, f"{error.message.removesuffix('.')}; run the same command again"))

    def _note(self) -> str:
        used = f", {self._budget.calls:,} calls, {self._budget}" if self.backend == "openai" else ""
        if self._judging:
            used += f", {self._judging.spent.calls:,} verdicts, {self._judging.spent}"
        return f"rejected {sum(self._history.tally.rejected.values()):,}{used}"

    def _unfilled_lines(self) -> list[str]:
        """One line for each reason why jobs have no row, with the first of these jobs."""
        by_reason: dict[str, list[Job]] = {}
        for job, reason in self._unfilled():
            by_reason.setdefault(reason, []).append(job)
        shown = list(by_reason.items())[:REASONS]
        lines = [f"  unfilled:  {_described(jobs)}: {reason}" for reason, jobs in shown]
        if more := sum(map(len, by_reason.values())) - sum(len(jobs) for _, jobs in shown):
            lines.append(f"  unfilled:  and {more:,} more: the ids in {self.rejected} that have no row")
        return lines

    def _unfilled(self) -> list[tuple[Job, str]]:
        tally = self._history.tally
        failed = f"no answer passed in {self._max_tries} tries; --max-tries allows more"
        withheld = "the server's content filter withholds the answers"
        return [(job, withheld if job.id in tally.withheld else failed) for job in tally.unfilled] + self._given_up

    def _stop_reason(self) -> str:
        """Why the run stopped early, with the figures after the last call in flight; "" if it did not stop early."""
        if self._interrupted:
            return "interrupted; run the same command to resume"
        used_up = self._budget.exhausted() if self._budget_exhausted else None
        return f"{used_up}; budgets count from 0 in each run: run the same command to resume" if used_up else ""


def _turns(stored: object) -> str:
    """The value of --turns for its value in a plan."""
    least, most = stored if isinstance(stored, list) and len(stored) == 2 else (FIRST_TURNS, FIRST_TURNS)
    return f"{least}" if least == most else f"{least}-{most}"


def _is_device(path: Path) -> bool:
    """Whether `path` is something like /dev/null or /dev/stdout. Nothing must be written beside it."""
    return os.path.exists(path) and not os.path.isfile(path) and Path("/dev") in path.absolute().parents


def check_files(args: argparse.Namespace) -> None:
    """Raise `SettingsError` if two files of the run have the same path and one of them is written."""
    named = {
        "--out": args.out,
        "OUT.rejected.jsonl": f"{args.out}.rejected.jsonl",
        "OUT.plan.json": f"{args.out}.plan.json",
        "--report": args.report,
        "--topics": args.topics,
        "--topics-json": args.topics_json,
        "--from-chats": args.from_chats,
        "--from-texts": args.from_texts,
    }
    seen: dict[Path, str] = {}
    for flag, name in named.items():
        if name and (other := seen.setdefault(Path(name).resolve(), flag)) != flag:
            raise SettingsError(f"{flag} and {other} are the same file, {name}", hint="Give each its own name.")


def _described(jobs: Sequence[Job]) -> str:
    job, more = jobs[0], len(jobs) - 1
    kind = f"{job.kind} ({job.prompt.ask})" if job.prompt.subject else job.kind
    first = f"{kind} slot {job.slot} of '{job.topic.text}' ({job.id})"
    return f"{first} and {more:,} more" if more else first
