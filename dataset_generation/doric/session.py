"""One run of the dataset generator: its plan, its voice, its files and how it ends. The script only calls it.

Knows which room does what; decides nothing about language.
"""

import argparse
import asyncio
import contextlib
import errno
import gc
import itertools
import logging
import stat
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Self

from doric import heldout, heuristic
from doric.backends import Backend, OpenAIBackend, Request
from doric.errors import BackendError, InputError, PlanError, SettingsError
from doric.generation import BudgetSpent, Spoken, Turn, Voice, Writer
from doric.ground.files import explain, keep_others
from doric.ground.interrupts import interruptible
from doric.ground.progress import Progress
from doric.jsonl import Journal, Sidecar
from doric.plan import Job, Mix, Plan
from doric.pool import Pool
from doric.settings import Settings, choose_backend, how_to_give, load_settings
from doric.spend import Price, Spend, chosen_price
from doric.topics import Topic, each_once, read_topics
from doric.voices import instructions

log = logging.getLogger("doric")
DEFAULT_TRIES = {"openai": 6, "heuristic": 60}
NAMED = 20
"""Empty slots that the summary lists one by one."""
SAMPLE, CHARACTERS_A_TOKEN = 200, 3
"""Jobs by whose prompts a forecast is made, and characters that are taken for a token: Doric is cut small."""
HASHED = ("topics", "prompts")
"""What a plan is known by that says nothing to a reader."""
BREATH = 0.05
"""Seconds for which the embedded voice, which never waits, keeps signals and other tasks waiting."""


class Session:
    """Everything one run of the generator holds; make it with `prepare`."""

    def __init__(self, args: argparse.Namespace, plan: Plan, settings: Settings, backend: str) -> None:
        self._args, self._plan, self._settings, self.backend = args, plan, settings, backend
        self.out = Path(args.out)
        self.rejected = Path(f"{args.out}.rejected.jsonl")
        self._spend = Spend(_price(args, settings), args.max_cost, args.max_total_tokens)
        tries = args.max_tries or DEFAULT_TRIES[backend]
        model = settings.model if backend == "openai" else ""
        self._writer = Writer(self._unopened, backend=backend, model=model, max_tries=tries, spend=self._spend)
        self._interrupted = self._budget_spent = False
        self._given_up: list[tuple[Job, str]] = []
        self._server: OpenAIBackend | None = None

    @classmethod
    def prepare(cls, args: argparse.Namespace) -> Self:
        """Read topics and settings and work out the plan; writes nothing. Raises `DoricError` for whatever is wrong."""
        _check_numbers(args)
        mix = Mix(args.n_per_topic, args.adv_ratio, args.safety_ratio, args.multi_ratio)
        langs = [one for one in (args.langs or "").replace(",", " ").split() if one]
        plan = Plan(_topics(args), mix, langs=langs, seed=args.seed)
        settings = load_settings(model=args.model, base_url=args.base_url)
        backend = args.backend if args.dry_run and args.backend != "auto" else choose_backend(args.backend, settings)
        if backend == "heuristic" and args.backend == "auto":
            log.info("No key and no base URL: the embedded voice writes the answers. %s", how_to_give(settings))
        if args.max_cost is not None and _price(args, settings) is None and backend == "openai":
            raise SettingsError("--max-cost, but the price is not known", hint="Give --price-in and --price-out.")
        _keep_apart(args)
        if args.report:
            from doric.reporting.pages import PAGE  # with an engine for templates, that most runs do not need

            keep_others(Path(args.report), PAGE, "page of a dataset")
        return cls(args, plan, settings, backend)

    def forecast(self) -> str:
        """The plan, and the tokens and cost to expect, as lines for people. Raises `DoricError` as the run would."""
        self._refuse_another(Sidecar.beside(self.out), self._fingerprint())
        counts = ", ".join(f"{kind} {count:,}" for kind, count in self._plan.counts.items())
        lines = [f"{len(self._plan):,} rows over {len(self._plan.topics):,} topics: {counts}"]
        if self.backend == "heuristic":
            return "\n".join([*lines, "the embedded voice: no call, no cost"])
        left = max(0, len(self._plan) - (0 if self._args.overwrite else _lines(self.out)))
        each = self._expected()
        into, out = round(left * each[0]), round(left * each[1] / 2)
        lines.append(
            f"{left:,} of them to write: about {into:,} tokens in and {out:,} out if each first answer passes;"
            " more with every second try, and a reasoning model's thoughts"
        )
        if price := self._spend.price:
            lines.append(f"about ${price.of(into, out):,.2f} ({price.source})")
        else:
            lines.append("price not known: give --price-in and --price-out to see the cost")
        return "\n".join(lines)

    def _expected(self) -> tuple[float, float]:
        """Tokens in, and at most out, of a call, by a sample of the plan."""
        sample = list(itertools.islice(self._plan, SAMPLE))
        asked = sum(
            len(one["content"]) for job in sample for one in instructions.messages(job, [], seed=self._args.seed)
        )
        out = sum(map(instructions.token_budget, sample))
        return asked / len(sample) / CHARACTERS_A_TOKEN, out / len(sample)

    @contextlib.contextmanager
    def opened(self) -> Generator[None]:
        """Take the run's files: refuse another plan's, mend what a crash left, go on from there."""
        fingerprint = self._fingerprint()
        sidecar = Sidecar.beside(self.out)
        fresh = self._args.overwrite
        self._refuse_another(sidecar, fingerprint)
        with (
            Journal(self.out, replay=self._writer.replay_row, fresh=fresh) as rows,
            Journal(self.rejected, replay=self._writer.replay_rejection, fresh=fresh) as rejections,
        ):
            sidecar.store(fingerprint)
            self._writer.attach(rows, rejections)
            yield

    @contextlib.asynccontextmanager
    async def voiced(self) -> AsyncGenerator[None]:
        """Open the voice; before the files are touched, so that a wrong key empties none."""
        async with contextlib.AsyncExitStack() as stack:
            self._writer.voice = await self._open_voice(stack)
            # What the libraries made stays to the end: with it set apart, the collector's rounds, the last ones on
            # exit above all, take a fraction of the time.
            gc.freeze()
            yield

    async def speak(self) -> None:
        """Fill every slot that is not filled yet."""
        with contextlib.ExitStack() as stack:
            done = len(self._writer.done)
            if self._server is not None and done:  # it has answered an earlier run: one odd request ends no other
                self._server.answered = True
            args = self._args
            progress = Progress(
                len(self._plan), done, every=args.progress_every, shown=not args.no_progress, note=self._note
            )
            stack.callback(progress.close)

            async def work(job: Job) -> None:
                try:
                    if await self._writer.fill(job, turn=self._pool.turn, used=self._pool.used):
                        progress.advance()
                except BudgetSpent:  # what is in flight was paid for, and is awaited
                    self._budget_spent = True
                    self._pool.stop()

            # a voice that never waits gains nothing by company, and alone it keeps the plan's order
            limit = args.max_concurrency if self._server else 1
            self._pool: Pool[Job] = Pool(
                work, self._give_up, limit=limit, max_retries=args.max_retries, max_rpm=args.max_rpm,
                max_tpm=args.max_tpm, first_guess=sum(self._spend.guess), seed=args.seed,
            )  # fmt: skip
            heartbeat = asyncio.create_task(progress.heartbeat())
            stack.callback(heartbeat.cancel)
            with interruptible(self._interrupt, self._pool.cancel):
                await self._pool.run(job for job in self._plan if job.id not in self._writer.done)

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

    def _fingerprint(self) -> dict[str, object]:
        return self._plan.fingerprint() | {"backend": self.backend}

    def _refuse_another(self, sidecar: Sidecar, fingerprint: dict[str, object]) -> None:
        begun = [path for path in (self.out, self.rejected) if _size(path)]
        if self._args.overwrite or not begun:
            return
        hint = "Give --overwrite to start again, or another --out to keep both."
        if sidecar.load() is None:
            raise PlanError(
                f"{begun[0]} holds rows of another making: there is no {sidecar.path.name} beside it", hint=hint
            )
        if differing := sidecar.differences(fingerprint):
            changed = ", ".join(
                f"other {key}" if key in HASHED else f"{key} {was} then, {now} now"
                for key, (was, now) in differing.items()
            )
            raise PlanError(f"{begun[0]} was begun with another plan ({changed})", hint=hint)

    def _give_up(self, job: Job, error: BackendError) -> None:
        self._given_up.append((job, f"{error.message}; run the same command again"))

    def _note(self) -> str:
        spent = f", {self._spend.calls:,} calls, {self._spend}" if self.backend == "openai" else ""
        return f"rejected {sum(self._writer.tally.rejected.values()):,}{spent}"

    async def _open_voice(self, stack: contextlib.AsyncExitStack) -> Voice:
        if self.backend == "heuristic":
            return _embedded(self._args.seed)
        args = self._args
        server = OpenAIBackend(self._settings, timeout=args.timeout, concurrency=args.max_concurrency)
        await stack.enter_async_context(server)
        self._writer.model = server.model
        self._server = server
        self._spend.guess = self._expected()
        log.info("Model %s at %s writes the answers.", server.model, self._settings.address)
        return _model(server, args.seed, args.temperature)

    def _interrupt(self) -> None:
        self._interrupted = True
        self._pool.stop()

    async def _unopened(self, turn: Turn) -> Spoken:
        raise AssertionError("the voice is opened by speak()")


def _embedded(seed: int) -> Voice:
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


def _model(server: Backend, seed: int, temperature: float) -> Voice:
    async def voice(turn: Turn) -> Spoken:
        faults = [(fault.text, fault.reason) for fault in turn.faults if fault.gate != "cut_off"]
        chat = instructions.messages(turn.job, faults, seed=seed)
        budget = instructions.token_budget(turn.job, turn.grown)
        # no sampling seed: batches of seeded calls have been seen to kill a vLLM, and it binds no hosted model
        reply = await server.reply(Request(chat, budget, temperature=temperature, grown=turn.grown))
        return Spoken(reply.text, reply.finish, reply.tokens_in, reply.tokens_out, reply.counted)

    return voice


def _check_numbers(args: argparse.Namespace) -> None:
    """Raise `SettingsError` for a number that no run can have; those of the plan are the plan's own."""
    for flag in ("max_concurrency", "progress_every", "max_tries", "max_rpm", "max_tpm", "timeout"):
        if (value := getattr(args, flag)) is not None and not value > 0:
            raise SettingsError(f"--{flag.replace('_', '-')} is {value}", hint="Give a number above 0.")
    for flag in ("temperature", "max_retries", "price_in", "price_out", "max_cost", "max_total_tokens"):
        if (value := getattr(args, flag)) is not None and not value >= 0:
            raise SettingsError(f"--{flag.replace('_', '-')} is {value}", hint="Give 0 or a number above it.")


def _keep_apart(args: argparse.Namespace) -> None:
    """Raise `SettingsError` when a file that is written is also another one of the run."""
    named = {
        "--out": args.out,
        "OUT.rejected.jsonl": f"{args.out}.rejected.jsonl",
        "OUT.plan.json": f"{args.out}.plan.json",
    }
    named |= {"--report": args.report, "--topics": args.topics, "--topics-json": args.topics_json}
    seen: dict[Path, str] = {}
    for flag, name in named.items():
        if name and (other := seen.setdefault(Path(name).resolve(), flag)) != flag:
            raise SettingsError(f"{flag} and {other} are the same file, {name}", hint="Give each a name of its own.")


def _size(path: Path) -> int:
    """Bytes in a file that is to be written, 0 when it is not there yet. Raises `InputError` when it cannot be."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise explain(error, path, "written") from error
    if stat.S_ISDIR(found.st_mode):
        raise explain(IsADirectoryError(errno.EISDIR, "is a directory"), path, "written")
    return found.st_size


def _lines(path: Path) -> int:
    """Lines in a file, 0 when it is not there."""
    return sum(1 for _ in path.open("rb")) if _size(path) else 0


def _topics(args: argparse.Namespace) -> list[Topic]:
    lists = [read_topics(args.topics_json, as_json=True)] if args.topics_json else []
    lists += [read_topics(args.topics)] if args.topics else []
    if not lists and not Path("topics.json").is_file():
        hint = "Run from the top of the repository, or name a list with --topics-json or --topics."
        raise InputError("there is no such file here", file="topics.json", hint=hint)
    kept = []
    for topic in each_once(itertools.chain.from_iterable(lists or [read_topics("topics.json")])):
        if held := heldout.match(topic.text):
            log.warning("Left out the topic '%s': it matches the held-out prompt %s.", topic.text, held.id)
        else:
            kept.append(topic)
    if not kept:
        raise SettingsError("every topic matches a held-out prompt", hint="Give topics of your own.")
    return kept


def _price(args: argparse.Namespace, settings: Settings) -> Price | None:
    return chosen_price(args.price_in, args.price_out, settings.model)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(
        f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def _slot(job: Job) -> str:
    return f"{job.kind} slot {job.slot} of '{job.topic.text}' ({job.id})"
