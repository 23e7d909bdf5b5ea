"""One run that expands a topic list: ask a model for topics of each group, filter them, and add them to the file.

The model is asked again for a group until the group has enough topics or the model finds no more. Names of groups and
topics are untrusted. So they are sent as JSON in a user turn and never as a part of the instructions.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from doric.core.cli import handle_interrupts
from doric.core.errors import DoricError, FatalServerError, RescuedError, RetryableError, ServerError, SettingsError
from doric.core.regular_files import is_stdout, named_output
from doric.core.settings import Settings, credentials_hint, load_settings
from doric.core.signals import uninterrupted
from doric.core.text import counted
from doric.llm.brake import Brake
from doric.llm.budget import Budget
from doric.llm.client import Backend, ChatRequest, Client
from doric.llm.prices import check_max_cost, chosen_price
from doric.llm.request import TIER
from doric.llm.response import NOT_WHOLE, Completion
from doric.llm.scheduler import WaitLog, backoff, gone_hint
from doric.topics.filters import KnownTopics, check_topic, held_out_topics, normalise, rules
from doric.topics.lists import JSON_LINES, TopicFile, choose_groups
from doric.topics.parse import read_list

log = logging.getLogger("doric")
MAX_RETRIES = 8
"""A group is given up after so many server errors in a row, which means about a minute of waiting."""
MAX_CALLS = 200
"""The most calls for one group. More calls are not worth their cost if the model gives one topic per call."""
MAX_DOUBLINGS = 2
"""The tokens for reasoning are doubled at most so often: once for each call in a row without a new topic."""
TOPIC_TOKENS, WORD_TOKENS = 14, 1.4
"""Tokens of a topic in an answer and of a word in a prompt, for the forecast."""
SHOWN = 80
"""Characters of a rejected topic in the summary."""
SCHEMA = {
    "type": "object",
    "properties": {"topics": {"type": "array", "items": {"type": "string"}}},
    "required": ["topics"],
    "additionalProperties": False,
}


@dataclass(slots=True)
class Group:
    """A group that is expanded. The first `written` topics of `found` are on disk.

    `stop_reason` says why the group did not get all its topics. `empty_calls` counts the calls in a row that gave no
    new topic. `hint` says what to do about a refused call.
    """

    name: str
    existing: Sequence[str]
    wanted: int
    found: list[str] = field(default_factory=list)
    written: int = 0
    calls: int = 0
    empty_calls: int = 0
    stop_reason: str = ""
    hint: str = ""

    @property
    def missing(self) -> int:
        """Topics still wanted."""
        return self.wanted - len(self.found)

    @property
    def unwritten(self) -> list[str]:
        """Topics found that are not on disk."""
        return self.found[self.written :]


@dataclass(slots=True)
class Tally:
    """Counts of a run: rejected topics by rule, with an example and its reason for each, and server errors by kind."""

    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)

    def reject(self, text: str, rule: str, reason: str) -> None:
        """Count a rejected topic."""
        self.rejected[rule] += 1
        self.examples.setdefault(rule, (text, reason))


class Expander:
    """Asks `client` for topics of groups. All groups share one index of known `topics`, so no topic is found twice.

    After `stop` is set, no call is made.
    """

    def __init__(
        self,
        client: Backend,
        topics: Iterable[str],
        tally: Tally,
        budget: Budget,
        stop: asyncio.Event,
        *,
        seed: int,
        brake: Brake,
    ) -> None:
        self._client, self._tally, self._budget, self._stop, self._seed = client, tally, budget, stop, seed
        self._brake = brake
        self._known = KnownTopics()
        for text in topics:
            self._known.add(text)

    async def ask(self, group: Group) -> list[str]:
        """Make one call for `group`. Returns the new topics. Sets `group.stop_reason` if another call would be useless.

        Raises `RetryableError` if it should be called again later, and `FatalServerError` if the run must stop.
        """
        if used_up := await self._budget.reserve():
            group.stop_reason = used_up
            return []
        try:
            if self._stop.is_set():  # `stop` may be set while this call waits for its budget
                return []
            completion = await self._client.complete(chat_request(group, self._seed))
        except RetryableError as error:
            self._book(error)
            raise
        except FatalServerError:
            raise
        except ServerError as error:
            self._book(error)
            group.stop_reason, group.hint = error.message, error.hint
            return []
        finally:
            self._budget.release()
        self._budget.book(completion)
        group.calls += 1
        rejected_before = self._tally.rejected.copy()
        new = self._new_topics(completion.text, completion.finish, most=group.missing)
        group.found += new
        self._check_brake(group, completion, new, self._tally.rejected - rejected_before)
        group.empty_calls = 0 if new else group.empty_calls + 1
        group.stop_reason = self._stop_reason(group)
        return new

    def _book(self, error: ServerError) -> None:
        """Count a failed call, and its tokens if it was paid for."""
        self._tally.faults[error.fault] += 1
        if error.tokens_in or error.tokens_out:
            self._budget.book(error)
            self._brake.failed(error)

    def _check_brake(self, group: Group, completion: Completion, new: list[str], rejected: Counter[str]) -> None:
        """Tell the brake whether a call gave new topics. If it gave none, its commonest rule is the reason."""
        if new:
            self._brake.accepted()
        elif completion.finish != "length" or group.empty_calls >= MAX_DOUBLINGS:  # else the next call gets more tokens
            self._brake.refused(completion, rejected.most_common(1)[0][0])

    def _new_topics(self, text: str, finish: str, *, most: int) -> list[str]:
        items = read_list(text, cut=finish in NOT_WHOLE)
        if not items:
            reason = (
                "the server's content filter withheld it" if finish == "content_filter" else "there is no list in it"
            )
            self._tally.reject(" ".join(text.split())[:60], "no_list", reason)
        new: list[str] = []
        for item in map(normalise, items):
            rejection = check_topic(item) or self._known.find_duplicate(item)
            if rejection:
                self._tally.reject(item, rejection.gate, rejection.reason)
            elif len(new) < most:
                self._known.add(item)
                new.append(item)
        return new

    def _stop_reason(self, group: Group) -> str:
        if group.missing <= 0:
            return ""
        if group.empty_calls >= rules()["ask"]["dry"]:
            return f"{group.empty_calls} calls in a row gave no new suitable topic"
        if group.calls >= MAX_CALLS:
            return f"{group.calls} calls were not enough"
        return self._budget.exhausted() or ""


class Run:
    """One run; create it with `prepare`."""

    def __init__(self, args: argparse.Namespace, file: TopicFile, settings: Settings, groups: list[Group]) -> None:
        self._args, self._file, self._settings, self._groups = args, file, settings, groups
        price = chosen_price(args.price_in, args.price_out, settings.model, settings.address)
        check_max_cost(args.max_cost, price, settings.address)
        self._budget = Budget(price, args.max_cost, args.max_total_tokens)
        self._tally = Tally()
        self._stop = asyncio.Event()
        self._interrupted = self._said_how_long = False
        self._aside: Path | None = None
        self._draw, self._waits = random.Random(args.seed), WaitLog(time.monotonic)

    @classmethod
    def prepare(cls, args: argparse.Namespace) -> Self:
        """Read topics and settings; write nothing. Raises `DoricError` if a file, a flag or a variable is wrong."""
        file = TopicFile(args.input, output_path(args))
        if file.resumed:
            log.info("%s already has all topics of %s: new topics are added to it.", file.output, args.input)
        for topic, held in held_out_topics(file.topics):
            log.warning("The topic '%s' matches the held-out prompt %s; it stays in the list.", topic, held)
        settings = load_settings(
            model=args.model, base_url=args.base_url, extra_body=args.extra_body, service_tier=args.service_tier,
            reasoning_effort=args.reasoning_effort,
        )  # fmt: skip
        if not settings.given and not args.dry_run:
            hint = credentials_hint(settings)
            raise SettingsError("expanding topics needs a model, and there is no key and no base URL", hint=hint)
        names = choose_groups(args.groups, file.groups, file.source)
        return cls(args, file, settings, [Group(name, file.groups[name], args.per_group) for name in names])

    def forecast(self) -> str:
        """A text for people: what the run would ask for, with the expected tokens and cost."""
        wanted = sum(group.wanted for group in self._groups)
        calls, tokens_in, tokens_out = expected_tokens(self._groups)
        price = self._budget.price
        tier = self._settings.preferred.get(TIER, "")
        cost = f", {price.forecast(tokens_in, tokens_out, 0, tier)}" if price else ""
        lines = [f"{wanted:,} new topics in {len(self._groups)} groups, written to {self._file.output}"]
        lines += [f"  {group.name}: {len(group.existing)} existing, {group.wanted} new" for group in self._groups]
        lines += [
            f"{self._settings.asked}: about {calls:,} calls, {tokens_in:,} tokens in and {tokens_out:,} out{cost}"
        ]
        return "\n".join(lines)

    async def run(self) -> None:
        """Expand all groups concurrently. A group makes its next call when the topics of the last call are on disk.

        Raises `FatalServerError` after the calls in flight have ended, and `ServerError` if no group got an answer.
        """
        args = self._args
        client = Client(self._settings, timeout=args.timeout, concurrency=args.max_concurrency)
        with self._file.locked():
            async with client:
                log.info("Asking the model %s at %s for topics.", client.model, self._settings.address)
                calls, tokens_in, tokens_out = expected_tokens(self._groups)
                self._budget.tokens_per_call = tokens_in / max(1, calls), tokens_out / max(1, calls)
                expander = Expander(
                    client, self._file.topics, self._tally, self._budget, self._stop, seed=args.seed,
                    brake=Brake(args.max_rejected, noun="calls"),
                )  # fmt: skip
                await self._expand_all(expander, client)
        if not self._interrupted and not any(group.calls for group in self._groups):
            first = self._groups[0]
            hint = first.hint or "Check that the server can answer."
            raise ServerError(f"no group got an answer: {first.stop_reason}", hint=hint)

    @property
    def has_results(self) -> bool:
        """Whether there is something to report: a group with an answer, or Ctrl-C."""
        return self._interrupted or any(group.calls for group in self._groups)

    def summary(self) -> str:
        """The result of the run, for people."""
        written = sum(group.written for group in self._groups)
        lines = [f"{written:,} new topics" + (f" in {self._file.output}" if written else ": nothing is written")]
        for group in self._groups:
            reason = f", stopped: {group.stop_reason}" if group.stop_reason and group.missing > 0 else ""
            lines.append(f"  {group.name}: {group.written} of {group.wanted} in {group.calls} calls{reason}")
        lines += self._unwritten_lines() + self._rejected_lines()
        if self._budget.calls:
            lines.append(f"  spent: {self._budget}")
        if self._interrupted:
            lines.append("  interrupted: the topics found are kept; run the command again for more")
        return "\n".join(lines)

    def status(self) -> int:
        """The exit status: 0 when every group has all its topics, 130 after Ctrl-C, else 1."""
        if self._interrupted:
            return 130
        return int(any(group.missing > 0 for group in self._groups))

    async def _expand_all(self, expander: Expander, client: Client) -> None:
        slots = asyncio.Semaphore(self._args.max_concurrency)
        tasks = [asyncio.create_task(self._expand(group, expander, slots)) for group in self._groups]

        def interrupt() -> None:
            self._interrupted = True
            self._stop.set()
            client.hurry()

        def cancel() -> None:
            for task in tasks:
                task.cancel()

        with handle_interrupts(interrupt, cancel):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        lost = self._take_back_lost()
        if unwritten := {group.name: group.unwritten for group in self._groups if group.unwritten}:
            with uninterrupted():
                self._aside = self._file.save_aside(unwritten)
        for error in (result for result in results if isinstance(result, Exception)):
            raise error
        if lost:
            where = f"; they are in {self._aside}" if self._aside else ""
            what = f"another program has changed {self._file.output} during the run, and {lost:,} new topics are not in"
            raise RescuedError(f"{what} it any more{where}", hint="Add them to the file by hand.")

    def _take_back_lost(self) -> int:
        """Count topics that are not in the file any more as not written. Returns their number."""
        lost = self._file.lost({group.name: group.found[: group.written] for group in self._groups})
        for group in self._groups:
            if gone := set(lost.get(group.name, ())):
                group.found.sort(key=lambda topic, gone=gone: topic in gone)  # those in the file come first, as before
                group.written -= len(gone)
        return sum(map(len, lost.values()))

    async def _expand(self, group: Group, expander: Expander, slots: asyncio.Semaphore) -> None:
        failures = 0
        try:
            while group.missing > 0 and not group.stop_reason and not self._stop.is_set():
                try:
                    async with slots:
                        if self._stop.is_set():  # `stop` may be set while this group waits for its turn
                            return
                        new = await expander.ask(group)
                except RetryableError as error:
                    if self._stop.is_set():
                        return
                    failures += 1
                    if failures > MAX_RETRIES and not any(each.calls for each in self._groups):
                        message = f"{error.message}, {counted(failures, 'time')} and never an answer"
                        raise FatalServerError(message, hint=gone_hint(error)) from None
                    if failures > MAX_RETRIES:
                        group.stop_reason = f"{error.message}, {counted(failures, 'time')} in a row"
                        return
                    self._say_how_long()
                    seconds = backoff(failures - 1, error.after, self._draw)
                    self._waits.waiting(error, seconds)
                    await self._wait(seconds)
                    continue
                except ServerError as error:
                    if not self._interrupted:
                        raise
                    log.warning("%s", error.message)  # of a call in flight: the run was to end anyway
                    return
                failures = 0
                if new:
                    self._write()
        except DoricError:
            self._stop.set()  # the other groups finish their calls, keep the topics, and make no further call
            raise

    def _say_how_long(self) -> None:
        """Say once how long a server that has not answered yet is asked again: most of these waits are not logged."""
        if not self._said_how_long and not any(each.calls for each in self._groups):
            self._said_how_long = True
            log.info("Each group is asked again for about a minute. Ctrl-C ends this.")

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _write(self) -> None:
        self._file.write({group.name: group.found for group in self._groups if group.found})
        for group in self._groups:
            group.written = len(group.found)

    def _unwritten_lines(self) -> list[str]:
        """For topics that could not be written to the file: where they are, or the topics themselves."""
        topics = [topic for group in self._groups for topic in group.unwritten]
        if not topics:
            return []
        if self._aside:
            return [f"  not written there: {len(topics):,} new topics; they are in {self._aside}"]
        return [f"  not written anywhere: {len(topics):,} new topics; copy them from here", *topics]

    def _rejected_lines(self) -> list[str]:
        tally = self._tally
        lines = [f"  rejected: {tally.rejected.total():,}"] if tally.rejected else []
        for rule, count in tally.rejected.most_common():
            text, reason = (" ".join(part.split()) for part in tally.examples[rule])  # a line break could fake a line
            lines.append(f"    {rule} {count:,}, for example '{text[:SHOWN]}': {reason}")
        if tally.faults:
            lines.append("  retried: " + ", ".join(f"{name} {count:,}" for name, count in tally.faults.most_common()))
        return lines


def chat_request(group: Group, seed: int) -> ChatRequest:
    """The next request for `group`: a seeded point of view, and examples of topics that the model must not repeat."""
    ask = rules()["ask"]
    draw = random.Random(f"{seed}:{group.name}:{group.calls}")
    wanted = min(ask["batch"], round(group.missing * ask["spare"]) + 1)
    topics = [*group.existing, *group.found]
    # the newest topics are always shown, because a model is most likely to repeat these
    newest = group.found[-ask["batch"] :]
    older = topics[: len(topics) - len(newest)]
    examples = draw.sample(older, min(len(older), ask["shown"] - len(newest))) + newest
    question = {"group": group.name, "wanted": wanted, "from": draw.choice(ask["angles"]), "examples": examples}
    messages = [
        {"role": "system", "content": ask["system"].strip()},
        {"role": "user", "content": json.dumps(question, ensure_ascii=False)},
    ]
    return ChatRequest(
        messages,
        max_tokens=100 + wanted * ask["tokens"],
        temperature=ask["temperature"],
        schema=SCHEMA,
        doublings=min(group.empty_calls, MAX_DOUBLINGS),
    )


def expected_tokens(groups: Sequence[Group]) -> tuple[int, int, int]:
    """Expected calls, tokens in and tokens out, if the rejected topics are not more than the spare topics asked for."""
    ask = rules()["ask"]
    asked = [round(group.wanted * ask["spare"]) for group in groups]
    calls = sum(-(-number // ask["batch"]) for number in asked)
    words = len(ask["system"].split()) + ask["shown"] * 8
    return calls, round(calls * words * WORD_TOKENS), sum(asked) * TOPIC_TOKENS


def output_path(args: argparse.Namespace) -> Path:
    """The path of the expanded list. Raises `SettingsError` if it is not given, or cannot be a topic list."""
    if not args.in_place and args.output is None and not args.dry_run:
        raise SettingsError("neither --output nor --in-place is given", hint="Say where the expanded list goes.")
    path: Path = named_output(args.output) if args.output else args.input
    if is_stdout(path):
        raise SettingsError(
            "a topic list is written again after each call, so it cannot go to '-'", hint="Give a file."
        )
    if path.suffix.lower() in JSON_LINES:
        raise SettingsError(f"{path}: a JSON Lines file is not a topic list", hint="Name it *.json or *.txt.")
    return path
