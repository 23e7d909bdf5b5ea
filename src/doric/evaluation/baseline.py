"""A result saved before, as what another is measured against: read, checked, marked anew, and held to today's exam.

Scored again, so that two results are always measured with the same gates. Knows no servers.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from doric.core.errors import InputError, os_error
from doric.evaluation import exam
from doric.evaluation.exam import Rules
from doric.evaluation.metrics import ModelAnswer, mark
from doric.evaluation.run import KIND, Result, answer_of
from doric.quality.decontamination import HeldOutPrompt, held_out_prompts

log = logging.getLogger("doric")
ABOUT = {"model": str, "address": str, "date": str, "manner": dict, "heldout": str}
HINT = "Give the --out of an earlier run of this script."


def saved(path: Path) -> Result:
    """A result saved before, but for answers to prompts that are no longer asked so. Raises `InputError`."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise os_error(error, path, "read") from error
    except (ValueError, RecursionError) as error:
        raise InputError("not a saved validation result", file=path, hint=HINT) from error
    about, given = _about(value, path), _answers(value, path)
    known = {held.id: held for held in held_out_prompts()}
    kept = {(one.id, one.turn): one for one in given if _is_asked(one, known.get(one.id))}
    if len(kept) < len(given):
        lost = len(given) - len(kept)
        log.warning("%s: %d of %d answers are to no prompt of today and are left out.", path, lost, len(given))
    return Result(about, tuple(mark(kept.values(), known)))


def compare_with(earlier: Result, prompts: Sequence[HeldOutPrompt], rules: Rules, path: Path) -> None:
    """Say how an earlier result was asked otherwise than `prompts` by `rules` will be.

    Raises `InputError` when it holds none of these turns, so that there is nothing to compare.
    """
    asked = {(held.id, turn) for held in prompts for turn in range(1 + len(held.turns))}
    shared = asked & {(one.held.id, one.given.turn) for one in earlier.marked}
    if not shared:
        hint = "Give a baseline that was asked the same prompts, or ask it again now: --baseline MODEL@URL."
        raise InputError(f"holds none of the {len(asked)} turns asked here", file=path, hint=hint)
    if len(shared) < len(asked):
        log.warning("%s holds %d of the %d turns asked here: changes are over those.", path, len(shared), len(asked))
    here = {"max_tokens": rules.max_tokens, "temperature": rules.temperature, "heldout": exam.fingerprint()}
    there = {**earlier.about["manner"], "heldout": earlier.about["heldout"]}
    if unlike := [f"{key} {there.get(key)} there, {now} here" for key, now in here.items() if there.get(key) != now]:
        log.warning("%s was asked otherwise (%s): not all of a change is the model's.", path, "; ".join(unlike))


def _about(value: Any, path: Path) -> dict[str, Any]:  # noqa: ANN401 - whatever the file holds
    if not isinstance(value, dict) or value.get("kind") != KIND or not isinstance(value.get("answers"), list):
        raise InputError("not a saved validation result", file=path, hint=HINT)
    for key, kind in ABOUT.items():
        if not isinstance(value.get(key), kind):
            raise InputError(f"not a saved validation result: {key} is {value.get(key)!r:.40}", file=path, hint=HINT)
    return {key: value[key] for key in ABOUT}


def _answers(value: dict[str, Any], path: Path) -> list[ModelAnswer]:
    found = []
    for number, row in enumerate(value["answers"], 1):
        try:
            found.append(answer_of(row))
        except InputError as error:
            message = f"not a saved validation result: answer {number}: {error.message}"
            raise InputError(message, file=path, hint=HINT) from error
    return found


def _is_asked(given: ModelAnswer, held: HeldOutPrompt | None) -> bool:
    """Whether the prompt that was answered is the one of that name and turn."""
    turns = (held.prompt, *held.turns) if held else ()
    return given.turn < len(turns) and turns[given.turn] == given.prompt
