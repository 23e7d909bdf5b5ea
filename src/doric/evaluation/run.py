"""A model to be examined: where it is, what it has answered so far, and its result as one value that can be saved.

Knows nothing of results that were saved before.
"""

import contextlib
import datetime
import json
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from doric.core.errors import InputError
from doric.core.files import atomic_write
from doric.core.jsonl import ResumableRun
from doric.core.settings import Settings, load_settings, same_origin
from doric.evaluation import aggregate as scoreboard
from doric.evaluation import exam
from doric.evaluation.exam import Evaluation, Rules
from doric.evaluation.metrics import ModelAnswer, ScoredAnswer, mark
from doric.llm.client import Client
from doric.quality.decontamination import HeldOutPrompt

log = logging.getLogger("doric")
KIND = "doric-scoreboard"
ASKED = "asked"
"""Where a plan keeps when its answers were asked for: a time, or the first and the last."""
MOST = 1 << 53
"""No count and no time of an answer is beyond this."""
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""JSON can spell it; no file can hold it."""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not LONE_SURROGATE.search(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST


FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("id", "prompt", "text", "finish", "error"), _is_text),
    **dict.fromkeys(("turn", "tokens"), _is_count),
    "first": lambda value: value is None or _is_time(value),
    "seconds": _is_time,
    "faults": lambda value: isinstance(value, list) and all(map(_is_text, value)),
}
"""Field of an answer -> whether a value is of its kind."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How an exam goes: the rules of each turn, calls in flight, seconds a call may take, faults forgiven a turn."""

    rules: Rules
    concurrency: int
    timeout: float
    max_retries: int


@dataclass(frozen=True, slots=True)
class Result:
    """The answers of one model, marked. `about` says which model, where and how it was asked."""

    about: dict[str, Any]
    marked: tuple[ScoredAnswer, ...]

    def as_json(self) -> dict[str, Any]:
        """The result as it is saved."""
        answers = [asdict(one.given) for one in self.marked]
        marks = [one.as_json() for one in self.marked]
        return {"kind": KIND, **self.about, **scoreboard.board(self.marked), "marks": marks, "answers": answers}


def located(spec: str, own: Settings, key_variable: str) -> Settings:
    """The settings of MODEL, URL or MODEL@URL beside `own`, where a model alone is. Raises `SettingsError`.

    The user's key goes to the server of `own` and to the one that the environment names for it; another server gets
    what `key_variable` holds, if anything.
    """
    model, at, url = spec.rpartition("@") if "@http" in spec else ("", "", spec)
    if not at and not spec.startswith(("http://", "https://")):
        return replace(own, model=spec)
    found = replace(load_settings(base_url=url, key_variable=key_variable), model=model)  # MODEL is not this server's
    if found.key:
        return found
    for home in (own, load_settings()):
        if same_origin(found.address, home.address):
            return replace(home, base_url=found.base_url, model=model)
    if own.key:
        host = urlsplit(found.address).netloc
        log.info("%s is not sent to %s; if that wants a key, set %s.", own.key_variable, host, key_variable)
    return found


def answer_of(row: Any) -> ModelAnswer:  # noqa: ANN401 - whatever a line of JSON holds
    """One answer from its JSON, every field of its kind. Raises `InputError` saying which is not."""
    if not isinstance(row, dict):
        raise InputError("this is no answer of an exam", hint="Name another --out.")
    for key, is_right in FIELDS.items():
        if key in row and not is_right(row[key]):
            raise InputError(f"{key} is {row[key]!r:.40}", hint="Name another --out, or give --overwrite.")
    return ModelAnswer.read(row)


def save(result: dict[str, Any], path: Path) -> None:
    """Write a result, or several compared, in one step."""
    atomic_write(path, json.dumps(result, ensure_ascii=False, indent=1).encode() + b"\n")


async def examine(
    settings: Settings,
    prompts: Sequence[HeldOutPrompt],
    manner: Manner,
    journal_path: Path,
    *,
    fresh: bool,
    announce: Callable[[str, Evaluation], Callable[[], None]],
) -> Result:
    """Ask a model whatever the journal has no answer to; `announce` is told of it before the first call.

    Raises `PlanError` when the journal is of another exam, `FatalServerError` when the server cannot go on.
    """
    sitting = Evaluation(prompts, manner.rules, max_retries=manner.max_retries)
    files = ResumableRun((journal_path,), overwrite=fresh)
    begun = files.resumes
    stored = (files.stored() or {}) if begun else {}
    asked = replace(settings, model=settings.model or stored.get("model", ""))
    plan = {"model": asked.model, "address": address(settings), "heldout": exam.fingerprint(), **asdict(manner.rules)}
    files.check(plan, ignore=(ASKED,))
    async with contextlib.AsyncExitStack() as stack:

        def opened() -> Awaitable[Client]:
            server = Client(asked, timeout=manner.timeout, concurrency=manner.concurrency)
            return stack.enter_async_context(server)

        # before the journal is emptied: a server that is not there, or wants another key, must cost no earlier answer
        server = None if begun else await opened()
        (journal,) = stack.enter_context(files.open(lambda row: sitting.replay(asdict(answer_of(row)))))
        plan[ASKED] = str(stored.get(ASKED, "an unknown day")) if sitting.done else ""
        if sitting.done:
            words = "%d of %d answers are taken from %s (asked: %s); --overwrite asks for all of them again."
            log.info(words, sitting.done, sitting.turns, journal_path, plan[ASKED])
        if sitting.done < sitting.turns:
            plan[ASKED] = _until_now(plan[ASKED])
            server = server or await opened()
            plan["model"] = server.model
            files.store(plan)
            sitting.attach(journal, announce(server.model, sitting))
            await sitting.sit(server.complete_timed, manner.concurrency)
    known = {held.id: held for held in prompts}
    return Result(_about(plan, manner), tuple(mark(sitting.answers(), known)))


def address(settings: Settings) -> str:
    """The base URL without a name and password that may stand in it."""
    parts = urlsplit(settings.address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _about(plan: dict[str, Any], manner: Manner) -> dict[str, Any]:
    return {
        "model": plan["model"],
        "address": plan["address"],
        "date": plan[ASKED],
        "manner": {**asdict(manner.rules), "concurrency": manner.concurrency, "max_retries": manner.max_retries},
        "heldout": plan["heldout"],
    }


def _until_now(asked: str) -> str:
    """When answers were asked for, with what is asked for now."""
    first, now = asked.partition(" to ")[0], datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{first} to {now}" if first not in ("", now) else now
