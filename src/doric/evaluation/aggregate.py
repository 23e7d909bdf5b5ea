"""Metrics of many answers as one result: shares, means and changes with 95% intervals. Also reads saved results.

Failed answers never raise the score. They count as failures in every share, and with the worst value in every mean of
quality. Means that only describe the answers (length, repetition, Central Scots, times) use the answers that exist. The
turns of one conversation are not independent, so intervals are computed by prompt.
"""

import hashlib
import json
import logging
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, StrictStr, ValidationError

from doric.core.conversations import stable_id
from doric.core.errors import InputError, os_error
from doric.core.files import read_text
from doric.core.regular_files import read_regular
from doric.evaluation.metrics import ModelAnswer, ScoredAnswer, describe_invalid, read_answer, score_answers
from doric.evaluation.stats import Interval, grouped_share, mean, share_change
from doric.llm.response import estimate_tokens
from doric.quality.decontamination import HeldOutPrompt, held_out_prompts

log = logging.getLogger("doric")
KIND = "doric-scoreboard"
"""Marks a file as a result of this project."""
BUCKETS = ("core", "adv", "multi", "safety", "benign", "drift")
"""The buckets in the order in which they are shown. Harmless prompts that look harmful have their own bucket."""
NOT_A_RESULT = "not a saved validation result"
SEAL = b',\n "hash": '
"""What comes before the hash of a result, which is its last value."""
HINT = "Give the --out of an earlier run of this script."

type Measure = Callable[[ScoredAnswer], float]

SHARES: dict[str, Measure] = {
    "passes": lambda scored: not scored.rejection,
    "holds_doric": lambda scored: scored.holds_doric,
    "on_topic": lambda scored: scored.on_topic,
    "refuses": lambda scored: scored.refuses,
    "filtered": lambda scored: scored.filtered,
    "over_refuses": lambda scored: scored.refuses or scored.filtered or not scored.has_text,
    "finished": lambda scored: scored.has_text and scored.answer.finish == "stop",
}
"""Shares of all turns asked. A failed answer is False in each share, except in `over_refuses`, where True is bad."""
QUALITIES: dict[str, tuple[Measure, float]] = {
    "points": (lambda scored: scored.points, 0.0),
    "substrate": (lambda scored: scored.measured.scores.substrate, 0.0),
    "north_east": (lambda scored: scored.measured.scores.north_east, 0.0),
    "spread": (lambda scored: scored.measured.scores.spread, 0.0),
    "leakage": (lambda scored: scored.measured.scores.leakage, 1.0),
    "own": (lambda scored: scored.originality, 0.0),
}
"""Means over all turns asked, each with the value for a failed answer."""
DESCRIPTIONS: dict[str, Measure] = {
    "contamination": lambda scored: scored.measured.scores.contamination,
    "words": lambda scored: len(scored.measured.words),
    "repetition": lambda scored: scored.repetition,
    "region_unmarked": lambda scored: float(scored.region_unmarked),
}
"""Means over the answers that exist."""
ONLY_IN = {"refuses": ("safety",), "filtered": ("safety",), "over_refuses": ("core", "adv", "multi", "benign", "drift")}
"""Share -> the only buckets in which it makes sense."""


@dataclass(frozen=True, slots=True)
class Result:
    """The scored answers of one model. `about` says which model, where, when and with which settings."""

    about: dict[str, Any]
    scored: tuple[ScoredAnswer, ...]

    def as_json(self) -> dict[str, Any]:
        """The result as it is saved."""
        answers = [asdict(scored.answer) for scored in self.scored]
        marks = [scored.as_json() for scored in self.scored]
        return {"kind": KIND, **self.about, **scoreboard(self.scored), "marks": marks, "answers": answers}


def scoreboard(scored: Sequence[ScoredAnswer]) -> dict[str, Any]:
    """All figures: `all` turns, each of the `buckets` that was asked, `drift` by turn, and counts of `calls`."""
    by_bucket = {bucket: [each for each in scored if each.bucket == bucket] for bucket in BUCKETS}
    return {
        "all": bucket_figures(scored, "all"),
        "buckets": {bucket: bucket_figures(group, bucket) for bucket, group in by_bucket.items() if group},
        "drift": drift(by_bucket["drift"]),
        "calls": call_counts(scored),
    }


def bucket_figures(scored: Sequence[ScoredAnswer], bucket: str) -> dict[str, Any]:
    """The figures of one bucket ("all" for all buckets together), each an interval as a dictionary."""
    answered = [each for each in scored if each.has_text]
    figures: dict[str, Any] = {"asked": len(scored), "answered": len(answered)}
    for name, measure in _shares_in(bucket).items():
        figures[name] = asdict(grouped_share([bool(measure(each)) for each in scored], _prompt_ids(scored)))
    for name, (measure, worst) in QUALITIES.items():
        values = [measure(each) if each.has_text else worst for each in scored]
        figures[name] = asdict(mean(values, _prompt_ids(scored)))
    for name, measure in DESCRIPTIONS.items():
        figures[name] = asdict(mean([measure(each) for each in answered], _prompt_ids(answered)))
    finishes = Counter(each.answer.finish for each in scored if each.succeeded)
    return figures | {"finish": dict(finishes.most_common()), "times": _times([each.answer for each in answered])}


def drift(scored: Sequence[ScoredAnswer]) -> dict[str, Any]:
    """For each turn number, the share that passes and the points. Also the change of points from first to last third.

    The change uses only conversations in which every turn was answered.
    """
    conversations: dict[str, dict[int, ScoredAnswer]] = {}
    for each in scored:
        conversations.setdefault(each.prompt.id, {})[each.answer.turn] = each
    whole = [[turns[turn] for turn in sorted(turns)] for turns in conversations.values() if _is_whole(turns)]
    return {
        "turns": [_turn_figures(scored, turn) for turn in sorted({each.answer.turn for each in scored})],
        "change": asdict(mean([_change_of_points(turns) for turns in whole])),
        "talks": len(conversations),
    }


def call_counts(scored: Sequence[ScoredAnswer]) -> dict[str, Any]:
    """How many turns were asked, failed or had an empty answer, and how many calls failed before, by kind."""
    faults = Counter(fault for each in scored for fault in each.answer.faults)
    failed = [each for each in scored if not each.succeeded]
    return {
        "asked": len(scored),
        "failed": len(failed),
        "empty": sum(each.succeeded and not each.has_text for each in scored),
        "attempts": sum(len(each.answer.faults) + each.succeeded for each in scored),
        "faults": dict(faults.most_common()),
        "errors": dict(Counter(each.answer.error for each in failed).most_common(10)),
    }


def compare(after: Sequence[ScoredAnswer], before: Sequence[ScoredAnswer]) -> dict[str, dict[str, Any]]:
    """Bucket -> figure -> the change from `before` to `after`, with both values, over the turns that both were asked.

    Both are scored again on these turns only, because originality depends on the other answers.
    """
    common = {_turn_of(each) for each in after} & {_turn_of(each) for each in before}
    earlier = {_turn_of(each): each for each in _rescored(before, common)}
    pairs = [(each, earlier[_turn_of(each)]) for each in _rescored(after, common)]
    by_bucket = {bucket: [pair for pair in pairs if pair[0].bucket == bucket] for bucket in BUCKETS}
    return {bucket: _changes(group, bucket) for bucket, group in {"all": pairs, **by_bucket}.items() if group}


def prompts_fingerprint() -> str:
    """A hash of the held-out prompts. Results with the same hash used the same prompts."""
    return stable_id(*(text for held in held_out_prompts() for text in (held.prompt, *held.turns)))


def dump_result(result: Mapping[str, Any]) -> bytes:
    """A result as the content of its JSON file. Its last key has a hash of everything before (see `is_edited`)."""
    return _sealed(json.dumps(result, ensure_ascii=False, indent=1).encode().removesuffix(b"\n}"))


def is_edited(path: Path) -> bool:
    """Whether somebody has changed a result after it was written; True also for a result without a hash."""
    try:
        content = read_regular(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise os_error(error, path, "read") from error
    return content != _sealed(content.rpartition(SEAL)[0])


def _sealed(content: bytes) -> bytes:
    return b'%s%s"%s"\n}\n' % (content, SEAL, hashlib.sha256(content).hexdigest()[:16].encode())


class _SavedResult(BaseModel):
    kind: Literal["doric-scoreboard"]
    model: StrictStr
    address: StrictStr
    date: StrictStr
    manner: dict[str, Any]
    heldout: StrictStr
    answers: list[Any]


def load_result(path: Path) -> Result:
    """A saved result, scored again with the current gates. Answers to prompts that have changed since are left out.

    Raises `InputError` if the file is not a result.
    """
    saved = _load_saved(path)
    answers, prompts = _answers(saved.answers, path), {held.id: held for held in held_out_prompts()}
    known = {(each.id, each.turn): each for each in answers if _is_asked(each, prompts.get(each.id))}
    if dropped := len(answers) - len(known):
        words = "%s: %d of %d answers belong to prompts that have changed or gone since; they are left out."
        log.warning(words, path, dropped, len(answers))
    about = saved.model_dump(exclude={"kind", "answers"})
    return Result(about, tuple(score_answers(known.values(), prompts)))


def has_other_answers(path: Path, result: Result) -> bool:
    """Whether `path` is a saved result with answers that `result` does not have, or a file that cannot be read."""
    if not path.exists():
        return False
    try:
        answers = _answers(_load_saved(path, regular=True).answers, path)
    except InputError:
        return True
    new = {(scored.answer.id, scored.answer.turn, scored.answer.text) for scored in result.scored}
    return any(answer.text and (answer.id, answer.turn, answer.text) not in new for answer in answers)


def check_comparable(
    baseline: Result, prompts: Sequence[HeldOutPrompt], sampling: Mapping[str, Any], path: Path
) -> None:
    """Warn if a saved baseline has other turns than `prompts`, or other settings.

    Raises `InputError` if it has none of these turns.
    """
    asked = {(held.id, turn) for held in prompts for turn in range(1 + len(held.turns))}
    shared = asked & {_turn_of(each) for each in baseline.scored}
    if not shared:
        hint = "Give a baseline that was asked the same prompts, or evaluate it again: --baseline MODEL@URL."
        raise InputError(f"holds none of the {len(asked)} turns asked here", file=path, hint=hint)
    if len(shared) < len(asked):
        log.warning("%s holds %d of the %d turns asked here: changes are over those.", path, len(shared), len(asked))
    here = {**{key: sampling[key] for key in ("max_tokens", "temperature")}, "heldout": prompts_fingerprint()}
    there = {**baseline.about["manner"], "heldout": baseline.about["heldout"]}
    if differing := [f"{key} {there.get(key)} there, {now} here" for key, now in here.items() if there.get(key) != now]:
        words = "%s was made with other settings (%s): a change may come from those and not from the model."
        log.warning(words, path, "; ".join(differing))


def _load_saved(path: Path, *, regular: bool = False) -> _SavedResult:
    try:
        return _SavedResult.model_validate(json.loads(read_text(path, regular=regular)))
    except ValidationError as error:
        raise InputError(f"{NOT_A_RESULT}: {describe_invalid(error, 'a result')}", file=path, hint=HINT) from error
    except (ValueError, RecursionError) as error:
        raise InputError(NOT_A_RESULT, file=path, hint=HINT) from error


def _answers(rows: Sequence[object], path: Path) -> list[ModelAnswer]:
    answers = []
    for number, row in enumerate(rows, 1):
        try:
            answers.append(read_answer(row))
        except InputError as error:
            message = f"{NOT_A_RESULT}: answer {number}: {error.message}"
            raise InputError(message, file=path, hint=HINT) from error
    return answers


def _is_asked(answer: ModelAnswer, held: HeldOutPrompt | None) -> bool:
    """Whether the current prompt with this id has the same text at this turn."""
    turns = (held.prompt, *held.turns) if held else ()
    return answer.turn < len(turns) and turns[answer.turn] == answer.prompt


def _shares_in(bucket: str) -> dict[str, Measure]:
    return {name: measure for name, measure in SHARES.items() if bucket in ONLY_IN.get(name, (bucket,))}


def _prompt_ids(scored: Sequence[ScoredAnswer]) -> list[str]:
    return [each.prompt.id for each in scored]


def _turn_of(scored: ScoredAnswer) -> tuple[str, int]:
    return scored.prompt.id, scored.answer.turn


def _is_whole(turns: Mapping[int, ScoredAnswer]) -> bool:
    return all(each.has_text and len(turns) == 1 + len(each.prompt.turns) for each in turns.values())


def _turn_figures(scored: Sequence[ScoredAnswer], turn: int) -> dict[str, Any]:
    at_turn = [each for each in scored if each.answer.turn == turn]
    points = [each.points if each.has_text else 0.0 for each in at_turn]
    return {
        "turn": turn + 1,
        "passes": asdict(grouped_share([not each.rejection for each in at_turn], _prompt_ids(at_turn))),
        "points": asdict(mean(points, _prompt_ids(at_turn))),
    }


def _change_of_points(turns: Sequence[ScoredAnswer]) -> float:
    """The mean points of the last third of the turns minus those of the first third."""
    points, third = [each.points for each in turns], max(1, len(turns) // 3)
    return sum(points[-third:]) / third - sum(points[:third]) / third


def _rescored(scored: Sequence[ScoredAnswer], turns: Set[tuple[str, int]]) -> list[ScoredAnswer]:
    kept = [each for each in scored if _turn_of(each) in turns]
    return score_answers([each.answer for each in kept], {each.prompt.id: each.prompt for each in kept})


def _changes(pairs: Sequence[tuple[ScoredAnswer, ScoredAnswer]], bucket: str) -> dict[str, Any]:
    after, before = (bucket_figures(side, bucket) for side in zip(*pairs, strict=True))
    ids = _prompt_ids([each for each, _ in pairs])
    changes: dict[str, Interval] = {}
    for name, measure in _shares_in(bucket).items():
        new, old = ([bool(measure(pair[side])) for pair in pairs] for side in (0, 1))
        changes[name] = share_change(new, old, ids)
    for name, (measure, worst) in QUALITIES.items():
        new, old = ([measure(pair[side]) if pair[side].has_text else worst for pair in pairs] for side in (0, 1))
        changes[name] = mean([one - other for one, other in zip(new, old, strict=True)], ids)
    return {name: {**asdict(change), "before": before[name], "after": after[name]} for name, change in changes.items()}


def _times(answers: Sequence[ModelAnswer]) -> dict[str, float | bool | None]:
    first = [each.first for each in answers if each.first is not None]
    timed = [each for each in answers if _tokens_per_second(each)]
    return {
        "first_token_median": _median(first),
        "first_token_p95": sorted(first)[round(0.95 * (len(first) - 1))] if first else None,
        "tokens_per_second_median": _median([rate for each in timed if (rate := _tokens_per_second(each))]),
        "tokens_guessed": any(not each.tokens for each in timed),
        "seconds_median": _median([each.seconds for each in answers]),
    }


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _tokens_per_second(answer: ModelAnswer) -> float | None:
    """The rate after the first token; None if the server did not stream."""
    tokens = answer.tokens or int(estimate_tokens(len(answer.text)))
    if answer.first is None or tokens < 2 or answer.seconds <= answer.first:
        return None
    return (tokens - 1) / (answer.seconds - answer.first)
