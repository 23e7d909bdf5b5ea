"""Which rows are trained: duplicates and held-out prompts are dropped, and whole topics go to the test set."""

import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from doric.core.errors import CheckError, InputError, SettingsError
from doric.core.text import fold
from doric.finetune.config import Settings
from doric.finetune.data import Example, as_examples
from doric.quality.decontamination import find_match

BUCKETS = tuple(Settings().bucket_names)
"""The buckets of the project's own datasets; other datasets may have others."""


@dataclass(frozen=True)
class Split:
    """Training and test examples; they share no topic and no prompt."""

    train: list[Example]
    test: list[Example]


def of_rows(
    rows: Sequence[Mapping[str, Any]], source: str, settings: Settings, seed: int
) -> tuple[Split, Counter[str]]:
    """The checked split of a dataset's rows, and the number of examples by reason, as in `keep`.

    Raises `InputError` or `SettingsError` if the rows cannot be trained on with these settings.
    """
    examples = as_examples(rows, source, settings.max_rows)
    kept, why = keep(examples, settings.bucket_names, settings.max_refusals, seed)
    sets = split_by_topic(kept, settings.test_share, seed)
    check_split(sets)
    return sets, why


def keep(
    found: Iterable[Example], buckets: Iterable[str], max_refusals: float, seed: int
) -> tuple[list[Example], Counter[str]]:
    """The examples to train on, and the number of examples by reason ("kept" or why they were dropped).

    Raises `SettingsError` for a bucket that does not exist, and `InputError` if no example is left.
    """
    found, buckets = list(found), list(buckets)
    check_buckets("BUCKETS", buckets, [example.bucket for example in found])
    wanted, seen, why = set(buckets), set[tuple[str, ...]](), Counter[str]()
    kept = []
    for example in found:
        reason = _reason(example, wanted, seen)
        why[reason] += 1
        if reason == "kept":
            kept.append(example)
    if not kept:
        dropped = ", ".join(f"{count} {reason}" for reason, count in why.most_common())
        hint = "Use a dataset with other rows, or change BUCKETS."
        raise InputError(f"None of the {len(found)} rows is left to train on: {dropped}.", hint=hint)
    surplus = _surplus_refusals(kept, max_refusals, seed)
    if surplus:
        why["kept"] -= len(surplus)
        why["refusal above MAX_REFUSALS"] += len(surplus)
    return [example for example in kept if example.id not in surplus], why


def check_buckets(setting: str, named: Iterable[str], there: Collection[str]) -> None:
    """Raise `SettingsError` if a setting names a bucket that is neither in the data nor one of the project's own."""
    named = list(named)
    if unknown := [name for name in named if name not in there and name not in BUCKETS]:
        hint = f"The data has {', '.join(sorted(set(there)))}."
        raise SettingsError(f"{setting} names the bucket {unknown[0]!r}, which does not exist.", hint=hint)
    if setting == "BUCKETS" and not named:
        raise SettingsError("BUCKETS is empty.", hint=f"Name at least one of {', '.join(BUCKETS)}.")


def _reason(example: Example, wanted: set[str], seen: set[tuple[str, ...]]) -> str:
    """Why an example is dropped, or "kept". Its turns are added to `seen`."""
    key = tuple(fold(turn["content"]) for turn in example.messages)
    known = key in seen
    seen.add(key)
    if example.bucket not in wanted:
        return "another bucket"
    answers = {at for at, turn in enumerate(example.messages) if turn["role"] == "assistant"}
    if answers <= example.untrained:
        return "all answers have the weight 0"
    if known:
        return "duplicate"
    asked = [turn["content"] for turn in example.messages if turn["role"] == "user"]
    return "held-out prompt" if any(map(find_match, asked)) else "kept"


def _surplus_refusals(kept: Sequence[Example], max_refusals: float, seed: int) -> set[str]:
    """The ids of refusals above the share `max_refusals` of all rows: too many teach a model to refuse everything."""
    refusing = [example.id for example in kept if example.bucket == "safety"]
    if max_refusals >= 1:
        return set()
    most = int(max_refusals / (1 - max_refusals) * (len(kept) - len(refusing)))
    return set(random.Random(seed).sample(refusing, len(refusing) - most)) if len(refusing) > most else set()


def split_by_topic(found: Sequence[Example], share: float, seed: int) -> Split:
    """Move about `share` of each group's topics to the test set; drop training rows whose prompt is in the test set.

    Raises `InputError` if there are too few topics.
    """
    aside = _topics_aside(found, share, seed)
    test = [example for example in found if example.topic in aside]
    asked = {fold(example.prompt) for example in test}
    train = [example for example in found if example.topic not in aside and fold(example.prompt) not in asked]
    if not test or not train:
        topics = len({example.topic for example in found})
        raise InputError(
            f"The data has {topics} topic{'s' * (topics != 1)}, too few for a test set of {share:.0%} of them.",
            hint="Use a dataset with more topics (meta.topic of each row)"
            + (f", or a {'larger' if not test else 'smaller'} TEST_SHARE." if topics > 1 else "."),
        )
    return Split(train, test)


def _topics_aside(found: Sequence[Example], share: float, seed: int) -> set[str]:
    by_group: dict[str, set[str]] = {}
    for example in found:
        by_group.setdefault(example.group, set()).add(example.topic)
    aside = set[str]()
    for group, listed in sorted(by_group.items()):
        topics = sorted(listed)
        random.Random(f"{seed} {group}").shuffle(topics)
        aside.update(topics[: round(share * len(topics))])
    return aside


def shared(split: Split) -> dict[str, int]:
    """The number of prompts and topics that are in both sets."""
    both = {
        "prompts": ({fold(one.prompt) for one in part} for part in (split.train, split.test)),
        "topics": ({one.topic for one in part} for part in (split.train, split.test)),
    }
    return {name: len(set.intersection(*parts)) for name, parts in both.items()}


def check_split(split: Split) -> None:
    """Raise `CheckError` if the training and test sets share a prompt or a topic."""
    if any(shared(split).values()):
        hint = "Split with split_by_topic: a test on trained prompts is too easy."
        raise CheckError(f"The training and test sets share {shared(split)}.", hint=hint)
