"""The keys and types of the TOML files for reviews and preference pairs, as pydantic models."""

from typing import Annotated

from pydantic import BaseModel, Field

from doric.lint.models import Count, Share, Strict, Text, Texts

type Ratio = Annotated[float, Field(ge=1)]
type Positive = Annotated[float, Field(gt=0)]


class BalanceLimits(Strict):
    most_of_a_gate: Share
    most_longer: Share
    length_ratio: Ratio
    per_prompt: Count


class Balance(Strict):
    not_worse: dict[str, Text]
    balance: BalanceLimits


class Choice(Strict):
    id: Text
    ask: Text
    example: str = ""
    everywhere: bool = False
    house: Text
    options: Annotated[Texts, Field(min_length=2)]


class Choices(Strict):
    choice: Annotated[list[Choice], Field(min_length=1)]


class ReviewPart(Strict):
    number: Count
    title: Text
    about: Text
    minutes: Positive
    seconds: Positive


class ReviewParts(Strict):
    part: Annotated[list[ReviewPart], Field(min_length=1)]


class Reader(Strict):
    regions: Texts
    ages: Texts
    learnt: Texts
    native: Texts


class Fake(Strict):
    prompt: Text
    answer: Text


class Fakes(Strict):
    text: Annotated[list[Fake], Field(min_length=1)]
    swap: dict[str, dict[str, Text]]


REVIEW_MODELS: dict[str, type[BaseModel]] = {
    "preferences/balance.toml": Balance,
    "review/choices.toml": Choices,
    "review/parts.toml": ReviewParts,
    "review/fakes.toml": Fakes,
    "review/reader.toml": Reader,
}
"""File -> its model."""
