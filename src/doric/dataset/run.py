"""One run of the dataset generator: its plan, its voice, its files and how it ends. The script only calls it.

Knows which room does what; decides nothing about language.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Self

from doric.core.cli import ProgressBar, handle_interrupts
from doric.core.errors import InputError, ServerError, SettingsError
from doric.core.files import file_size
from doric.core.jsonl import ResumableRun, then_and_now
from doric.core.settings import Settings, choose_backend, credentials_hint, load_settings
from doric.dataset import preflight, speakers
from doric.dataset.generate import BudgetExhausted, Spoken, Turn, Voice, Writer
from doric.dataset.plan import Job, Mix, Plan
from doric.llm.budget import Budget
from doric.llm.client import Client
from doric.llm.scheduler import Scheduler

log = logging.getLogger("doric")
DEFAULT_TRIES = {"openai": 6, "heuristic": 60}
NAMED = 20
"""Empty slots that the summary lists one by one."""
HASHED = ("topics", "prompts")
"""What a plan is known by that says nothing to a reader."""


class Session:
    """Everything one run of the generator holds; make it with `prepare`."""

    def __init__(self, args: argparse.Namespace, plan: Plan, settings: Settings, backend: str) -> None:
        self._args, self._plan, self._settings, self.backend = args, plan, settings, backend
        self.out = Path(args.out)
        self.rejected = Path(f"{args.out}.rejected.jsonl")
        self._files = ResumableRun((self.out, self.rejected), overwrite=args.overwrite)
        self._spend = Budget(preflight.price(args, settings), args.max_cost, args.max_total_tokens)
        tries = args.max_tries or DEFAULT_TRIES[backend]
        model = settings.model if backend == "openai" else ""
        self._writer = Writer(self._unopened, backend=backend, model=model, max_tries=tries, spend=self._spend)
        self._interrupted = self._budget_spent = False
        self._given_up: list[tuple[Job, str]] = []
        self._server: Client | None = None

    @classmethod
    def prepare(cls, args: argparse.Namespace) -> Self:
        """Read topics and settings and work out the plan; writes nothing. Raises `DoricError` for whatever is wrong."""
        preflight.check_numbers(args)
        mix = Mix(args.n_per_topic, args.adv_ratio, args.safety_ratio, args.multi_ratio)
        langs = [one for one in (args.langs or "").replace(",", " ").split() if one]
        plan = Plan(preflight.topics(args), mix, langs=langs, seed=args.seed)
        settings = load_settings(model=args.model, base_url=args.base_url)
        backend = args.backend if args.dry_run and args.backend != "auto" else choose_backend(args.backend, settings)
        if backend == "heuristic" and args.backend == "auto":
            log.info("No key and no base URL: the embedded voice writes the answers. %s", credentials_hint(settings))
        if args.max_cost is not None and preflight.price(args, settings) is None and backend == "openai":
            raise SettingsError("--max-cost, but the price is not known", hint="Give --price-in and --price-out.")
        preflight.check_files(args)
        return cls(args, plan, settings, backend)

    def forecast(self) -> str:
        """The plan, and the tokens and cost to expect, as lines for people. Raises `DoricError` as the run would."""
        self._files.check(self._fingerprint(), describe=_difference)
        counts = ", ".join(f"{kind} {count:,}" for kind, count in self._plan.counts.items())
        lines = [f"{len(self._plan):,} rows over {len(self._plan.topics):,} topics: {counts}"]
        if self.backend == "heuristic":
            return "\n".join([*lines, "the embedded voice: no call, no cost"])
        there = None if self._args.overwrite else self.out
        return "\n".join([*lines, preflight.forecast(self._plan, there, self._spend.price, self._args.seed)])

    @contextlib.contextmanager
    def opened(self) -> Generator[None]:
        """Take the run's files: refuse another plan's, mend what a crash left, go on from there."""
        fingerprint = self._fingerprint()
        self._files.check(fingerprint, describe=_difference)
        backup = self._args.overwrite and file_size(self.out) > 0 and self._bought()
        replays = self._writer.replay_row, self._writer.replay_rejection
        with self._files.open(*replays, backup=backup) as (rows, rejections):
            if backup:  # answers that were paid for survive a wrong --overwrite
                log.info("The old rows are kept in %s.bak, with the rejected answers and the plan.", self.out)
            self._files.store(fingerprint)
            self._writer.attach(rows, rejections)
            yield

    @contextlib.asynccontextmanager
    async def voiced(self) -> AsyncGenerator[None]:
        """Open the voice; before the files are touched, so that a wrong key empties none."""
        async with contextlib.AsyncExitStack() as stack:
            self._writer.voice = await self._open_voice(stack)
            gc.freeze()  # what the libraries made stays: the collector need not go through it again and again
            stack.callback(gc.unfreeze)
            yield

    async def speak(self) -> None:
        """Fill every slot that is not filled yet."""
        with contextlib.ExitStack() as stack:
            done = len(self._writer.done)
            if self._server is not None and done:  # it has answered an earlier run: one odd request ends no other
                self._server.answered = True
            args = self._args
            progress = ProgressBar(
                len(self._plan), done, every=args.progress_every, shown=not args.no_progress, note=self._note
            )
            stack.callback(progress.close)

            async def work(job: Job) -> None:
                try:
                    if await self._writer.fill(job, turn=self._pool.acquire, used=self._pool.report_tokens):
                        progress.advance()
                except BudgetExhausted:  # what is in flight was paid for, and is awaited
                    self._budget_spent = True
                    self._pool.stop()

            # a voice that never waits gains nothing by company, and alone it keeps the plan's order
            limit = args.max_concurrency if self._server else 1
            self._pool: Scheduler[Job] = Scheduler(
                work, self._give_up, concurrency=limit, max_retries=args.max_retries, max_rpm=args.max_rpm,
                max_tpm=args.max_tpm, tokens_per_call=sum(self._spend.tokens_per_call), answered=done > 0,
                seed=args.seed,
            )  # fmt: skip
            heartbeat = asyncio.create_task(progress.heartbeat())
            stack.callback(heartbeat.cancel)
            with handle_interrupts(self._interrupt, self._pool.cancel):
                await self._pool.run(self._writer.open_jobs(self._plan))

    def summary(self) -> str:
        """What came of the run, as lines for people."""
        tally = self._writer.tally
        made = sum(tally.accepted.values())
        lines = [f"{made:,} of {len(self._plan):,} rows in {self.out}"]
        lines.append("  by bucket: " + _counted(tally.accepted))
        if made:
            shares = (f"{count / made:.1%} on try {tries}" for tries, count in sorted(tally.by_try.items())[:5])
            lines.append("  accepted:  " + ", ".join(shares))
        if tally.rejected:
            lines.append(f"  rejected:  {_counted(tally.rejected)} (kept in {self.rejected})")
        if tally.faults:
            lines.append("  faults:    " + _counted(tally.faults) + " (asked again)")
        if self.paid:
            lines.append(f"  spent:     {self._spend}")
        unfilled = self._unfilled()
        lines += [f"  unfilled:  {_slot(job)}: {why}" for job, why in unfilled[:NAMED]]
        if more := len(unfilled[NAMED:]):
            lines.append(f"  unfilled:  and {more:,} more: the ids in {self.rejected} that have no row")
        if why := self._stopped():
            lines.append(f"  stopped:   {why}")
        return "\n".join(lines)

    @property
    def paid(self) -> bool:
        """Whether a model was asked, and answered."""
        return self.backend == "openai" and self._spend.calls > 0

    def status(self) -> int:
        """0 when the plan is met, 130 after Ctrl-C, else 1."""
        if self._interrupted:
            return 130
        return 0 if sum(self._writer.tally.accepted.values()) == len(self._plan) else 1

    def _unfilled(self) -> list[tuple[Job, str]]:
        why = f"no answer passed in {self._writer.max_tries} tries; --max-tries allows more"
        withheld = "the server's content filter withholds the answers"
        tally = self._writer.tally
        return [(job, withheld if job.id in tally.withheld else why) for job in tally.unfilled] + self._given_up

    def _stopped(self) -> str:
        """Why the run stopped before its end, with the figures of now: calls in flight still told theirs."""
        if self._interrupted:
            return "interrupted; run the same command to go on"
        spent = self._spend.exhausted() if self._budget_spent else None
        return f"{spent}; a budget is for one run: the same command goes on" if spent else ""

    def _bought(self) -> bool:
        """Whether a model wrote what is there, as far as can be told."""
        try:
            return (self._files.stored() or {}).get("backend") != "heuristic"
        except InputError:
            return True

    def _fingerprint(self) -> dict[str, object]:
        return self._plan.fingerprint() | {"backend": self.backend}

    def _give_up(self, job: Job, error: ServerError) -> None:
        self._given_up.append((job, f"{error.message}; run the same command again"))

    def _note(self) -> str:
        spent = f", {self._spend.calls:,} calls, {self._spend}" if self.backend == "openai" else ""
        return f"rejected {sum(self._writer.tally.rejected.values()):,}{spent}"

    async def _open_voice(self, stack: contextlib.AsyncExitStack) -> Voice:
        if self.backend == "heuristic":
            return speakers.embedded(self._args.seed)
        args = self._args
        server = Client(self._settings, timeout=args.timeout, concurrency=args.max_concurrency)
        await stack.enter_async_context(server)
        self._writer.model = server.model
        self._server = server
        self._spend.tokens_per_call = preflight.expected(self._plan, args.seed)
        log.info("Model %s at %s writes the answers.", server.model, self._settings.address)
        return speakers.model(server, args.seed, args.temperature)

    def _interrupt(self) -> None:
        self._interrupted = True
        self._pool.stop()

    async def _unopened(self, turn: Turn) -> Spoken:
        raise AssertionError("the voice is opened by voiced()")


def _difference(key: str, then: object, now: object) -> str:
    return f"other {key}" if key in HASHED else then_and_now(key, then, now)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(
        f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def _slot(job: Job) -> str:
    return f"{job.kind} slot {job.slot} of '{job.topic.text}' ({job.id})"
