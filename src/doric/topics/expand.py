"""One run of the topic widener: its file, its voice, its groups at work, and how it ends. The script only calls it.

Knows which room does what; decides nothing about topics.
"""

import argparse
import asyncio
import contextlib
import logging
import random
from pathlib import Path
from typing import Self

from doric.core.cli import handle_interrupts
from doric.core.errors import DoricError, RetryableError, ServerError, SettingsError
from doric.core.settings import Settings, credentials_hint, load_settings
from doric.core.text import printable
from doric.llm.budget import Budget, chosen_price
from doric.llm.client import Client
from doric.llm.rate_limits import backoff
from doric.quality.decontamination import find_match
from doric.topics import account, orders
from doric.topics.additions import TopicFile
from doric.topics.widener import Group, Widener, guess

log = logging.getLogger("doric")
TRIES = 8
"""Faults of the server in a row that a group forgives; about a minute of waiting."""


class Run:
    """Everything one run holds; make it with `prepare`."""

    def __init__(self, args: argparse.Namespace, file: TopicFile, settings: Settings, groups: list[Group]) -> None:
        self._args, self._file, self._settings, self._groups = args, file, settings, groups
        price = chosen_price(args.price_in, args.price_out, settings.model)
        if args.max_cost is not None and price is None:
            raise SettingsError("--max-cost, but the price is not known", hint="Give --price-in and --price-out.")
        self._spend = Budget(price, args.max_cost, args.max_total_tokens)
        self._widener: Widener | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._interrupted = False
        self._aside: Path | None = None
        self._draw = random.Random(args.seed)

    @classmethod
    def prepare(cls, args: argparse.Namespace) -> Self:
        """Read topics and settings; writes nothing. Raises `DoricError` for whatever is wrong."""
        orders.check_numbers(args)
        file = TopicFile(args.input, orders.output(args))
        if file.taken_up:
            log.info("%s holds all of %s already: new topics are added to it.", file.output, args.input)
        for topic in file.known:
            if held := find_match(topic):
                log.warning(
                    "The topic '%s' is too near the held-out prompt %s; it stays in the list.",
                    printable(topic),
                    held.id,
                )
        settings = load_settings(model=args.model, base_url=args.base_url)
        if not settings.given and not args.dry_run:
            raise SettingsError(
                "widening topics needs a model, and there is no key and no base URL", hint=credentials_hint(settings)
            )
        names = orders.chosen(args.groups, file.groups, file.source)
        return cls(args, file, settings, [Group(name, file.groups[name], args.per_group) for name in names])

    def forecast(self) -> str:
        """What would be asked, as lines for people."""
        return printable(account.forecast(self._groups, self._file.output, self._spend.price))

    async def ask(self) -> None:
        """Ask for all groups at once; what one group found is on disk before its next call.

        Raises `FatalServerError` after the calls in flight have ended, `ServerError` when no group got an answer.
        """
        slots = asyncio.Semaphore(self._args.max_concurrency)
        voice = Client(self._settings, timeout=self._args.timeout, concurrency=self._args.max_concurrency)
        with self._file.held():
            await self._ask_all(voice, slots)
        if not self._interrupted and not any(group.calls for group in self._groups):
            raise ServerError(f"no group got an answer: {self._groups[0].ended}", hint="Is the server able to answer?")

    async def _ask_all(self, voice: Client, slots: asyncio.Semaphore) -> None:
        async with voice:
            log.info("Model %s at %s is asked for topics.", printable(voice.model), self._settings.address)
            self._spend.tokens_per_call = guess(self._groups)
            self._widener = Widener(voice, self._file.known, spend=self._spend, stop=self._stop, seed=self._args.seed)
            self._tasks = [asyncio.create_task(self._work(group, self._widener, slots)) for group in self._groups]
            with handle_interrupts(self._stop_asking, self._break_off):
                results = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._save_the_rest()
        for failed in (one for one in results if isinstance(one, Exception)):
            raise failed

    @property
    def begun(self) -> bool:
        """Whether there is anything to tell: a call that was answered or given up, or Ctrl-C."""
        return self._interrupted or any(group.calls or group.ended for group in self._groups)

    def summary(self) -> str:
        """What came of the run, as lines for people."""
        lines = account.came_of(self._groups, self._file.output)
        lines += account.left_over(self._groups, self._aside)
        lines += account.refusals(self._widener) if self._widener else []
        lines += account.spent(self._spend)
        if self._interrupted:
            lines.append("  interrupted: what was found is kept; run the command again for more")
        return printable("\n".join(lines))

    def status(self) -> int:
        """0 when every group has its number, 130 after Ctrl-C, else 1."""
        if self._interrupted:
            return 130
        return int(any(group.missing > 0 for group in self._groups))

    async def _work(self, group: Group, widener: Widener, slots: asyncio.Semaphore) -> None:
        try:
            await self._fill(group, widener, slots)
        except DoricError:
            self._stop.set()  # the others end their calls, keep what they found, and ask no more
            raise

    async def _fill(self, group: Group, widener: Widener, slots: asyncio.Semaphore) -> None:
        faults = 0
        while group.missing > 0 and not group.ended and not self._stop.is_set():
            try:
                async with slots:
                    if self._stop.is_set():  # while it waited for its turn
                        return
                    kept = await widener.ask(group)
            except RetryableError as error:
                faults += 1
                if faults > TRIES:
                    group.ended = f"{error.message}, {faults} times in a row"
                    return
                await self._wait(faults, error.after)
                continue
            faults = 0
            if kept:
                self._write()

    def _write(self) -> None:
        self._file.write({one.name: one.found for one in self._groups if one.found})
        for one in self._groups:
            one.written = len(one.found)

    def _save_the_rest(self) -> None:
        """Keep beside the file what was found and could not be written to it."""
        if rest := {one.name: one.unwritten for one in self._groups if one.unwritten}:
            self._aside = self._file.save_aside(rest)

    async def _wait(self, faults: int, after: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), backoff(faults - 1, after, self._draw))

    def _break_off(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _stop_asking(self) -> None:
        self._interrupted = True
        self._stop.set()
