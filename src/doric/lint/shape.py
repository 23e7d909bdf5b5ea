"""The keys and types of the TOML files and of heldout.jsonl, as pydantic models."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from doric.dataset.heuristic import FIELD
from doric.lint.source import Finding, Source, shown

TOPICS_OF_A_THEME = 5
LEAST_ANSWERS = 3
"""Answers of its own that each topic has at least."""

type Text = Annotated[str, Field(min_length=1)]
type Texts = Annotated[list[Text], Field(min_length=1)]
type Part = Annotated[list[Text], Field(min_length=FIELD, max_length=FIELD)]
type Shapes = Annotated[list[Literal["gerund", "clause", "noun"]], Field(min_length=1)]
type Share = Annotated[float, Field(ge=0, le=1)]
type Count = Annotated[int, Field(ge=0)]
type Price = Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=2, max_length=2)]


class Strict(BaseModel):
    """A table without other keys."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Open(BaseModel):
    """A table that may have other keys."""

    model_config = ConfigDict(extra="allow", strict=True)


class Topic(Strict):
    topic: Text
    doric: Text
    answers: Annotated[list[Text], Field(min_length=LEAST_ANSWERS)]


class Theme(Strict):
    name: Text
    keywords: Texts
    starts: Part
    whys: Part
    steps: Part
    checks: Part
    topics: Annotated[list[Topic], Field(min_length=TOPICS_OF_A_THEME, max_length=TOPICS_OF_A_THEME)]


class Phrases(Strict):
    group: Text
    themes: Annotated[list[Theme], Field(min_length=1)]


class General(Strict):
    answers: Texts
    starts: Texts
    whys: Texts
    steps: Texts
    checks: Texts


class Holds(Strict):
    holds: Texts
    openers: Texts
    closers: Texts


class RefusalCategory(Strict):
    name: Text
    refusals: Texts = []
    whys: Texts
    offers: Texts


class Refusals(Strict):
    refusals: Texts
    category: Annotated[list[RefusalCategory], Field(min_length=1)]


class CoreFrame(Strict):
    text: Text
    shapes: Shapes
    voice: Literal["english", "mixed", "doric"] = "english"
    length: Literal["short", "medium", "long"] = "medium"


class AdvFrame(Strict):
    text: Text
    shapes: Shapes


class HarmfulRequest(Strict):
    category: Text
    text: Text
    lang: Literal["en", "sco"] = "en"


class Frames(Strict):
    frames: Texts


class Prompts(Strict):
    tails: Texts
    core: list[CoreFrame]
    adv: list[AdvFrame]
    slots: dict[str, Texts]
    safety: list[HarmfulRequest]
    multi: dict[str, Frames]


class BucketRules(Strict):
    core: Text
    adv: Text
    safety: Text
    multi: Text


class Again(Strict):
    text: Text
    nothing: Text


class Exemplars(Strict):
    count: Count


class Instructions(Open):
    system: Text
    bucket: BucketRules
    again: Again
    exemplars: Exemplars


class Judge(Open):
    criteria: Texts
    system: Text
    question: Text


class When(Strict):
    before: str | Texts = ""
    prev: str | Texts = ""
    next: str | Texts = ""
    initial: bool = False
    scots: Count = 0
    sentence: Count = 0


class Rule(Strict):
    forms: Texts
    kind: Literal["ne", "shared", "scots", "central"] = Field(alias="class")
    when: Annotated[list[When], Field(min_length=1)]
    unless_prev: str | list[Text] = ""
    unless_next: str | list[Text] = ""


class Collisions(Strict):
    once: Texts
    never: Texts
    unlisted: Texts
    sets: dict[str, Texts]
    rule: Annotated[list[Rule], Field(min_length=1)]


class Thresholds(Open):
    min_words: Count
    max_words: Count
    first_words: Count
    first_forms: Count
    substrate: Share
    depth: Share
    north_east: Share
    contamination: Share
    outweighs: Count
    leakage: Share
    spread: Share
    repetition: Share
    prompt_echo: Share
    script: Share
    near_duplicate: Share


class StockOpeners(Open):
    clauses: Texts
    beginnings: Texts


class MetaPatterns(Open):
    patterns: Texts
    subjects: Texts


class Patterns(Open):
    patterns: Texts


class RefusalPatterns(Open):
    plain: Texts
    soft: Texts
    offers: Texts


class Gates(Open):
    thresholds: Thresholds
    openers: StockOpeners
    meta: MetaPatterns
    markup: Patterns
    refusal: RefusalPatterns


class Limits(Open):
    min_words: Count
    max_words: Count
    min_content_words: Count
    similarity: Share
    likeness: Share


class BannedOpeners(Open):
    banned: Texts


class TopicRules(Open):
    limits: Limits
    openers: BannedOpeners
    patterns: dict[str, Text]
    words: dict[str, Text]
    ask: dict[str, Any]


class Prices(Strict):
    date: Text
    models: dict[str, Price]


class HeldOut(Strict):
    id: Text
    bucket: Literal["core", "adv", "safety", "multi", "drift"]
    lang: Text
    group: Text
    prompt: Text
    turns: Texts = []
    benign: bool = False
    about: Text = ""


MODELS: dict[str, type[BaseModel]] = {
    "general.toml": General,
    "holds.toml": Holds,
    "refusals.toml": Refusals,
    "prompts.toml": Prompts,
    "instructions.toml": Instructions,
    "judge.toml": Judge,
    "collisions.toml": Collisions,
    "gates.toml": Gates,
    "topic_rules.toml": TopicRules,
    "prices.toml": Prices,
}
"""TOML file -> its model. The files in phrases/ have the model `Phrases`."""
WANTED = {
    "string_type": "write text between quotation marks",
    "string_too_short": "it is empty: write text between the quotation marks",
    "list_type": "write a list between square brackets",
    "dict_type": "write a table",
    "int_type": "write a whole number",
    "float_type": "write a number",
    "bool_type": "write true or false",
}


def check_shape(source: Source) -> Iterator[Finding]:
    """Missing, unknown and misspelt keys, values of a wrong type, and lists with too few or too many entries."""
    if source.name.endswith(".jsonl"):
        for row in source.rows:
            for error in _errors(HeldOut, row.cells):
                yield source.error(row.line, shown(source.lines[row.line - 1]), _reason(error))
    elif model := Phrases if source.name.startswith("phrases/") else MODELS.get(source.name):
        seen = set()
        for error in _errors(model, source.toml):
            line, reason = _place(source, error), _reason(error)
            if line not in seen:
                yield source.error(line, shown(source.lines[line - 1]) if line else "", reason)
            seen.add(line)


def _errors(model: type[BaseModel], value: object) -> list[ErrorDetails]:
    try:
        model.model_validate(value)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def _reason(error: ErrorDetails) -> str:
    key = next((str(part) for part in reversed(error["loc"]) if isinstance(part, str)), "it")
    context = error.get("ctx", {})
    match error["type"]:
        case "missing":
            return f"'{key}' is missing: add it"
        case "extra_forbidden":
            return f"unknown key '{key}': correct its spelling or delete it"
        case "too_long":
            return f"'{key}' has {context['actual_length']} entries instead of {context['max_length']}: remove the rest"
        case "too_short":
            return f"'{key}' has {context['actual_length']} entries, at least {context['min_length']} are needed"
        case "literal_error":
            return f"'{key}' is {error['input']!r}: write {context['expected']}"
    return f"'{key}': {WANTED.get(error['type'], error['msg'])}"


def _place(source: Source, error: ErrorDetails) -> int:
    """The line of the wrong value, or of the table in which it is missing."""
    value: Any = source.toml
    line = 0
    for part in error["loc"]:
        if isinstance(part, str) and isinstance(value, dict):
            line = source.key_line(part, line - 1) or line
            value = value.get(part)
        elif isinstance(part, int) and isinstance(value, list) and part < len(value):
            value = value[part]
            line = source.line_of(value) or line
    if error["type"] == "too_long" and isinstance(value, list):
        return source.line_of(value[-1]) or line
    return line
