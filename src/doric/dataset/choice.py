"""Which jobs a run has, and who writes for them, as the command line says."""

import argparse
import itertools
import logging
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

from doric import data
from doric.core.errors import InputError, SettingsError
from doric.core.resume import ResumableRun
from doric.core.settings import Settings, choose_backend, credentials_hint
from doric.dataset import asks
from doric.dataset.english_chats import ChatSource
from doric.dataset.plan import ASK_MIX, Mix, Plan, read_turns
from doric.dataset.provenance import FIELDS as PROVENANCE
from doric.dataset.provenance import Provenance
from doric.dataset.provenance import optional as optional_provenance
from doric.dataset.shards import WHOLE
from doric.dataset.sources import FROM, TEXTS, Source, TopicSource
from doric.dataset.texts import TextSource
from doric.quality.decontamination import find_match
from doric.topics.lists import Topic, read_topics, unique_topics

log = logging.getLogger("doric")


def source_of(args: argparse.Namespace) -> Source:
    """The source of the jobs that the command line names. Raises `DoricError` if it cannot be used."""
    origin = "from_texts" if args.from_texts else "from_chats" if args.from_chats else ""
    _check_flags(args, origin)
    if origin == "from_texts":
        stored = _stored_plan(args) or {}
        provenance = Provenance.of(args, stored if stored.get(FROM) == TEXTS else {})
        return TextSource(Path(args.from_texts), args.passage_words, args.english_questions, args.seed, provenance)
    if origin == "from_chats":
        return ChatSource(Path(args.from_chats), args.seed, optional_provenance(args))
    shares = asks.read_mix(_ask_mix(args))
    mix = Mix(args.n_per_topic, args.adv_ratio, args.safety_ratio, args.multi_ratio, shares, read_turns(args.turns))
    plan = Plan(topics_of(args), mix, langs=(args.langs or "").replace(",", " ").split(), seed=args.seed)
    for name, rows in plan.capped.items():
        file = data.shown(f"asks/{name}.toml")
        log.warning("Only %s rows ask for %s: %s has no more different answers.", f"{rows:,}", name, file)
    if len(plan) < args.shard.count:
        hint = "Give a larger --n-per-topic or more topics, or fewer shards."
        raise SettingsError(f"--shard {args.shard}: the plan has only {len(plan):,} rows", hint=hint)
    return TopicSource(plan, shard=args.shard)


TOPIC_FLAGS = {
    "topics_json": None, "topics": None, "n_per_topic": 6, "adv_ratio": 0.1, "safety_ratio": 0.05, "multi_ratio": 0.2,
    "ask_mix": None, "turns": "2", "langs": None, "shard": WHOLE, "merge": None,
}  # fmt: skip
"""The flags that make a plan over topics, with their defaults."""
TEXT_FLAGS = {"passage_words": 90, "english_questions": 0.65}


def _check_flags(args: argparse.Namespace, origin: str) -> None:
    """Raise `SettingsError` if a flag is given that says nothing about the source of this run."""
    foreign = {**(TOPIC_FLAGS if origin else {}), **(TEXT_FLAGS if origin != "from_texts" else {})}
    foreign |= {} if origin else dict.fromkeys(PROVENANCE)
    if flag := next((name for name, usual in foreign.items() if getattr(args, name) != usual), ""):
        flag, run = (f"--{name.replace('_', '-')}" for name in (flag, origin or "from_texts"))
        words = f"{flag} cannot be given with {run}" if origin else f"{flag} is given without {run}"
        raise SettingsError(words, hint="Leave it out, or run the two commands separately.")
    if origin == "from_texts" and args.judge_model:
        hint = "Leave --judge-model out: the answers are a speaker's own."
        raise SettingsError("--judge-model scores answers that a model writes", hint=hint)


def choose_writer(args: argparse.Namespace, source: Source, settings: Settings) -> str:
    """Who writes. Raises `SettingsError` if there is no model where one is needed; a forecast needs none."""
    if source.needs_model and args.backend == "heuristic":
        hint = credentials_hint(settings)
        raise SettingsError("the embedded voice cannot write for --from-texts and --from-chats", hint=hint)
    if args.dry_run and (source.needs_model or args.backend != "auto"):
        return "openai" if source.needs_model else args.backend
    backend = choose_backend(args.backend, settings)
    if backend == "heuristic" and source.needs_model:
        what = "questions of --from-texts" if args.from_texts else "answers of --from-chats"
        hint = credentials_hint(settings)
        raise SettingsError(f"a model writes the {what}, and there is no key and no base URL", hint=hint)
    return backend


def _stored_plan(args: argparse.Namespace) -> dict[str, Any] | None:
    """The plan of the run that is resumed; None if there is none."""
    files = ResumableRun((Path(args.out), Path(f"{args.out}.rejected.jsonl")), overwrite=args.overwrite)
    return files.stored() if files.resumes else None


def _ask_mix(args: argparse.Namespace) -> str:
    """The value of --ask-mix. Without the flag, rows whose plan has no asks are continued without asks."""
    if args.ask_mix is not None:
        return args.ask_mix
    stored = _stored_plan(args)
    return "none" if stored is not None and ASK_MIX not in stored else "default"


def topics_of(args: argparse.Namespace) -> list[Topic]:
    """The topics of a run, without duplicates and held-out topics. Raises `DoricError` if there are none."""
    lists = [read_topics(args.topics_json, as_json=True)] if args.topics_json else []
    lists += [read_topics(args.topics)] if args.topics else []
    if not lists and not Path("topics.json").is_file():
        hint = "Run the command in the root of the repository, or give a list with --topics-json or --topics."
        raise InputError("the file does not exist", file="topics.json", hint=hint)
    kept = list(_without_held_out(unique_topics(itertools.chain.from_iterable(lists or [read_topics("topics.json")]))))
    if not kept:
        raise SettingsError("every topic matches a held-out prompt", hint="Give topics of your own.")
    return kept


def _without_held_out(topics: Iterable[Topic]) -> Generator[Topic]:
    for topic in topics:
        if held := find_match(topic.text):
            log.warning("Dropped the topic '%s': it matches the held-out prompt %s.", topic.text, held.id)
        else:
            yield topic
