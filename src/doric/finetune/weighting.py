"""The shares of the buckets among the trained rows: rows of small buckets are repeated until the shares hold."""

import math
import random
from collections.abc import Mapping, Sequence

from doric.core.errors import SettingsError

HINT = "Write name=share for each bucket, separated by commas, such as core=66, multi=14, adv=12, safety=8."


def parse_weights(text: str) -> dict[str, float]:
    """Bucket -> its share; the shares add up to 1. "" gives {}. Raises `SettingsError`.

    >>> parse_weights("core=3, safety=1")
    {'core': 0.75, 'safety': 0.25}
    """
    found = dict(_parse_one(part) for part in text.split(",") if part.strip())
    total = sum(found.values())
    if found and not total:
        raise SettingsError("BUCKET_WEIGHTS are all 0, so nothing would be trained.", hint=HINT)
    return {name: share / total for name, share in found.items()}


def _parse_one(part: str) -> tuple[str, float]:
    name, _, share = part.partition("=")
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if not name.strip() or not 0 <= value < math.inf:
        raise SettingsError(f"BUCKET_WEIGHTS has {part.strip()!r}.", hint=HINT)
    return name.strip(), value


def repeats(counts: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, int]:
    """Bucket -> the number of its rows that are trained, so that the shares hold and no row of another bucket is lost.

    Buckets without a weight keep their rows and do not count for the shares. A bucket with the weight 0 is not trained.

    >>> repeats({"core": 60, "safety": 5}, {"core": 0.75, "safety": 0.25})
    {'core': 60, 'safety': 20}
    """
    present = {name: weights[name] for name in counts if weights.get(name) and counts[name]}
    total = max((counts[name] / share for name, share in present.items()), default=0.0)
    return {
        name: round(total * present[name]) if name in present else 0 if name in weights else count
        for name, count in counts.items()
    }


def weighted[Item](rows: Sequence[tuple[str, Item]], weights: Mapping[str, float], seed: int) -> list[Item]:
    """The rows, given with their buckets, in random order; rows of small buckets are repeated equally often.

    Without weights, the rows as they are.
    """
    if not weights:
        return [row for _, row in rows]
    by_bucket: dict[str, list[Item]] = {}
    for bucket, row in rows:
        by_bucket.setdefault(bucket, []).append(row)
    wanted = repeats({name: len(group) for name, group in by_bucket.items()}, weights)
    chance = random.Random(seed)
    chosen = [row for name, group in by_bucket.items() for row in _cycled(group, wanted[name], chance)]
    chance.shuffle(chosen)
    return chosen


def _cycled[Item](group: Sequence[Item], count: int, chance: random.Random) -> list[Item]:
    """`count` rows of the group: each comes once, in random order, before any comes again."""
    found: list[Item] = []
    while len(found) < count:
        found += chance.sample(list(group), min(len(group), count - len(found)))
    return found
