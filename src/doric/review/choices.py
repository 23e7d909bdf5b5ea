"""Part 1 of the page: open questions of the language, with their options in random order."""

import random

from doric import data
from doric.review.items import OURS, Item, Part


def choice_items(part: Part, seed: int) -> list[Item]:
    """The questions of `review/choices.toml` in file order."""
    return [_choice(raw, part, seed) for raw in data.read_toml("review/choices.toml")["choice"][: part.most]]


def _choice(raw: dict, part: Part, seed: int) -> Item:
    options = list(raw["options"])
    random.Random(f"{seed}:{raw['id']}").shuffle(options)
    shown = {"text": raw["ask"], "example": raw["example"], "options": options}
    source = {"file": "review/choices.toml", "house": raw["house"]}
    return Item(f"choice:{raw['id']}", part.number, "choice", shown, OURS, source)
