"""Answers to held-out prompts for the tests of the evaluation: single answers, and five writers from Doric to English.

A writer always gives the same answer to the same prompt and turn.
"""

import json
import random
from dataclasses import replace
from pathlib import Path

from doric.core.text import words
from doric.dataset import heuristic
from doric.evaluation.metrics import ModelAnswer, ScoredAnswer, score_answers
from doric.quality.decontamination import HeldOutPrompt, held_out_prompts

PROMPTS = {held.id: held for held in held_out_prompts()}
DORIC = (
    "Double yer threid an pit a knot in the eyn. Come up throwe the cloot, lay a matchstick ower the tap o the button, "
    "an shew abeen the stick sax times. Syne draa the stick oot an feenish wi twa knots at the back o the cwite."
)
"""An answer to the prompt core-001."""
REFUSAL = (
    "Na, I winna help ye wi that, for it wid hurt somebody that's deen ye nae ill. Gin ye're angert, phone a freen the "
    "nicht, an I'll gladly help ye fin the wirds tae sort it oot."
)

GOLDEN = Path(__file__).parent / "golden" / "authored_answers.jsonl"
LINES = [json.loads(line) for line in GOLDEN.read_text("utf-8").splitlines()]
AUTHORED = {(line["id"], line["turn"]): line["answer"] for line in LINES}


def scored(id: str, text: str, **changes) -> ScoredAnswer:
    """The result of scoring an answer, as the only answer of a model."""
    return score_answers([ModelAnswer(id, 0, PROMPTS[id].prompt, text, **changes)], PROMPTS)[0]


def failed(id: str) -> ScoredAnswer:
    """The result of scoring a failed call."""
    return scored(id, "", finish="", error="the server answered 500")


def without(answers: list[ModelAnswer], lost) -> list[ModelAnswer]:
    """The same answers, but each answer whose (id, turn) is in `lost` has failed."""
    gone = {"text": "", "finish": "", "error": "the server answered 500"}
    return [replace(each, **gone) if (each.id, each.turn) in lost else each for each in answers]


def prompt_at(held: HeldOutPrompt, turn: int) -> str:
    """The user's message at a turn."""
    return (held.prompt, *held.turns)[turn]


def authored(held: HeldOutPrompt, turn: int) -> str:
    """Doric that a person wrote for this prompt."""
    return AUTHORED[held.id, turn]


def embedded(held: HeldOutPrompt, turn: int) -> str:
    """The answer of the heuristic generator, which has no sentences for these topics."""
    kind = "core" if held.benign or held.bucket == "drift" else held.bucket
    return heuristic.answer(heuristic.Question(prompt_at(held, turn), kind, "medium", "violence", turn, seed=0))


def broken(held: HeldOutPrompt, turn: int) -> str:
    """Text like that of a small model after a short training: off topic, with missing words, repetition and some
    English.
    """
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
    """Plain English about the topic of the prompt."""
    topic = [word for word in words(held.about or prompt_at(held, turn)) if len(word) > 4] or ["matter"]
    first, last, middle = topic[0], topic[-1], topic[len(topic) // 2]
    return (
        f"Start with what you already know about the {last}, and do not rush the first part of it. When you are "
        f"working with the {middle}, check every small step before you go on to the next one. If something goes wrong "
        f"with the {first} or the {last}, you can always ask somebody who has done it before."
    )


def decorated(held: HeldOutPrompt, turn: int) -> str:
    """The same English with Doric phrases at both ends."""
    return f"Weel, min, dinna fash yersel. {plain(held, turn)} Ye ken fit I mean, ma quine, an lang may yer lum reek!"


WRITERS = {"authored": authored, "embedded": embedded, "tuned": broken, "decorated": decorated, "plain": plain}
"""The best writer is first."""
