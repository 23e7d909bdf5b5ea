"""Five writers, from one of fluent Doric down to one of plain English, for a scoreboard to tell apart.

Each is a function from a held-out prompt and a turn to an answer; the same ones always give the same.
"""

import json
import random
from pathlib import Path

from doric.core.text import words
from doric.dataset import heuristic
from doric.quality.decontamination import HeldOutPrompt

GOLDEN = Path(__file__).parent / "golden" / "authored_answers.jsonl"
LINES = [json.loads(line) for line in GOLDEN.read_text("utf-8").splitlines()]
AUTHORED = {(line["id"], line["turn"]): line["answer"] for line in LINES}


def said(held: HeldOutPrompt, turn: int) -> str:
    """What the user says at a turn."""
    return (held.prompt, *held.turns)[turn]


def authored(held: HeldOutPrompt, turn: int) -> str:
    """Written for this very prompt."""
    return AUTHORED[held.id, turn]


def embedded(held: HeldOutPrompt, turn: int) -> str:
    """The voice of authored sentences, which knows nothing of these topics."""
    kind = "core" if held.benign or held.bucket == "drift" else held.bucket
    return heuristic.answer(heuristic.Question(said(held, turn), kind, "medium", "violence", turn, seed=0))


def broken(held: HeldOutPrompt, turn: int) -> str:
    """As a small model writes after a short training: off the topic, torn, said again, some of it English."""
    draw = random.Random(f"{held.id}:{turn}")
    kind = "core" if draw.random() < 0.5 or held.bucket == "drift" else held.bucket
    kind = "core" if held.benign else kind
    topic = draw.choice(("keeping hens warm in the winter", "a budget for a young family", "training for a long run"))
    whole = heuristic.answer(heuristic.Question(topic, kind, "medium", "theft", turn, seed=len(held.id))).split()
    kept = [word for word in whole if draw.random() > 0.12]
    if draw.random() < 0.5:
        kept += kept[-9:] + kept[-9:]
    if draw.random() < 0.4:
        kept = [*kept[: len(kept) // 2], "and you should not do that with the things that you have because of it"]
    return " ".join(kept)


def plain(held: HeldOutPrompt, turn: int) -> str:
    """English, sensible and about what was asked."""
    asked = [word for word in words(held.about or said(held, turn)) if len(word) > 4] or ["matter"]
    first, last, middle = asked[0], asked[-1], asked[len(asked) // 2]
    return (
        f"Start with what you already know about the {last}, and do not rush the first part of it. When you are "
        f"working with the {middle}, check every small step before you go on to the next one. If something goes wrong "
        f"with the {first} or the {last}, you can always ask somebody who has done it before."
    )


def decorated(held: HeldOutPrompt, turn: int) -> str:
    """The same English with Doric hung on its ends."""
    return f"Weel, min, dinna fash yersel. {plain(held, turn)} Ye ken fit I mean, ma quine, an lang may yer lum reek!"


VOICES = {"authored": authored, "embedded": embedded, "tuned": broken, "decorated": decorated, "plain": plain}
"""Best first."""
