"""The judge of a run: its settings, price, forecast, client, and what the summary says about it."""

import argparse
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from doric import data
from doric.core.errors import ServerError, SettingsError
from doric.core.other_model import find_model
from doric.core.settings import Settings
from doric.dataset.plan import Job
from doric.dataset.sense import JUDGE, NO_VERDICT, Judge, ScoreCount, expected_tokens, rubric_fingerprint
from doric.llm.brake import Brake
from doric.llm.budget import Budget
from doric.llm.client import Client
from doric.llm.prices import Price, check_max_cost, chosen_price, without_price
from doric.llm.request import TIER

log = logging.getLogger("doric")
PRICE = "--judge-price"
SOURCE = "--judge-base-url or --base-url"
KEY_VARIABLE = "JUDGE_API_KEY"


@dataclass(frozen=True, slots=True)
class Judging:
    """The judge that the command line names. `least` is the lowest score that is accepted. `spent` counts its calls."""

    settings: Settings
    least: int
    max_rejected: int
    spent: Budget = field(default_factory=Budget)

    @classmethod
    def of(cls, args: argparse.Namespace, writer: Settings, price: Price | None) -> Self | None:
        """The judge of a run, None if there is none. `price` is the writer's. Raises `SettingsError`."""
        settings = _settings(args, writer)
        if settings is None:
            return None
        price = _price(args, settings, writer, price)
        check_max_cost(args.max_cost, price, settings.address, flag=PRICE)
        return cls(settings, args.judge_min, args.max_rejected, Budget(price))

    @property
    def name(self) -> str:
        """The model, or the URL if its server must be asked for it."""
        return self.settings.model or self.settings.address

    def fingerprint(self) -> dict[str, Any]:
        """What the scores depend on, for the stored plan."""
        return {"model": self.name, "min": self.least, "rubric": rubric_fingerprint()}

    def expect(self, jobs: list[Job], answer_tokens: float) -> None:
        """Estimate the tokens of a verdict on the answers to `jobs`."""
        self.spent.tokens_per_call = expected_tokens(jobs, answer_tokens)

    def forecast(self, answers: float) -> list[str]:
        """The expected tokens and cost of the verdicts on so many answers. Call `expect` first."""
        tokens_in, tokens_out = (round(answers * tokens) for tokens in self.spent.tokens_per_call)
        line = f"the judge {self.name}: about {tokens_in:,} tokens in and {tokens_out:,} out; more for retries"
        if (price := self.spent.price) is None:
            return [line, without_price(self.settings.address, flag=PRICE)]
        return [line, f"{price.forecast(tokens_in, tokens_out, 0, self.settings.preferred.get(TIER, ''))} more"]

    @contextlib.asynccontextmanager
    async def opened(self, *, seconds: float, calls: int) -> AsyncGenerator[Client]:
        """The client of the judge, with so many `seconds` per call and concurrent `calls`."""
        async with contextlib.AsyncExitStack() as stack:
            client = Client(self.settings, timeout=seconds, concurrency=calls, source=SOURCE)
            try:
                await stack.enter_async_context(client)
            except ServerError as error:
                error.message = f"the judge: {error.message}"
                raise
            yield client

    def judge(self, client: Client, *, answered: bool) -> Judge:
        """The judge for the generator. `answered` says whether an earlier run got verdicts."""
        client.answered = answered
        words = "The judge %s at %s scores the answers; one with a score below %d is refused."
        log.info(words, client.model, self.settings.address, self.least)
        brake = Brake(self.max_rejected, noun=f"verdicts of the judge {client.model}")
        return Judge(client, name=client.model, least=self.least, spent=self.spent, brake=brake)

    def spent_line(self) -> str:
        """The calls, the tokens and the cost of the judge."""
        unknown = "" if self.spent.price else f" ({without_price(self.settings.address, flag=PRICE)})"
        return f"{self.spent.calls:,} verdicts, {self.spent}{unknown}"


def found_lines(scores: ScoreCount, rejected: Mapping[str, int]) -> list[str]:
    """What judges have found: means of the rows, and the answers that were refused. No line if there is nothing."""
    refused, unread = rejected.get(JUDGE, 0), rejected.get(NO_VERDICT, 0)
    parts = [str(scores)] if scores.answers else []
    parts += [f"refused {refused:,}"] if refused else []
    parts += [f"{unread:,} without a verdict"] if unread else []
    return [f"  judge:     {'; '.join(parts)}"] if parts else []


def report_change(stored: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Say if the rows to resume were scored by another judge, with another minimum or prompt, or by none."""
    before, after = (plan.get(JUDGE) or {} for plan in (stored, now))
    if before == after:
        return
    if any(before.get(key) != after.get(key) for key in ("model", "min")):
        log.warning("The rows so far were %s, the next ones are %s.", _judged_by(before), _judged_by(after))
    else:
        log.warning("%s has changed: the rows so far were scored with another prompt.", data.shown("sense.toml"))


def _judged_by(judge: Mapping[str, Any]) -> str:
    return f"scored by the judge {judge.get('model')} (at least {judge.get('min')})" if judge else "not scored"


def _settings(args: argparse.Namespace, writer: Settings) -> Settings | None:
    if not args.judge_model:
        given = {"--judge-base-url": args.judge_base_url, "--judge-extra-body": args.judge_extra_body}
        if flag := next((flag for flag, value in given.items() if value), ""):
            raise SettingsError(f"{flag} is given without --judge-model", hint="Name the judge with --judge-model.")
        return None
    judge = find_model(_spec(args), writer, KEY_VARIABLE, args.judge_extra_body)
    if not judge.given:
        hint = f"Give --judge-base-url, or set {judge.key_variable}."
        raise SettingsError("--judge-model is given, but there is no key and no base URL for it", hint=hint)
    return judge


def _spec(args: argparse.Namespace) -> str:
    """The judge as MODEL, URL or MODEL@URL."""
    spec, url = args.judge_model.strip(), (args.judge_base_url or "").strip()
    if not url:
        return spec
    if "://" in spec:
        hint = "Give the URL once: --judge-model NAME --judge-base-url URL."
        raise SettingsError("--judge-model has a URL, and --judge-base-url is given too", hint=hint)
    if not url.lower().startswith(("http://", "https://")):
        hint = "It must begin with http:// or https:// and name a host."
        raise SettingsError("the URL in --judge-base-url is not valid", hint=hint)
    return f"{spec}@{url}"


def _price(args: argparse.Namespace, judge: Settings, writer: Settings, writer_price: Price | None) -> Price | None:
    """As given, the writer's if it is the same model on the same server, else its list price."""
    price = chosen_price(args.judge_price_in, args.judge_price_out, judge.model, judge.address, flag=PRICE)
    same = (judge.model, judge.address) == (writer.model, writer.address)
    return writer_price if same and args.judge_price_in is None else price
