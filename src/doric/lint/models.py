"""The keys and types of the TOML files and of heldout.jsonl, as pydantic models."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from doric.dataset.heuristic import FIELD

TOPICS_OF_A_THEME = 5
LEAST_ANSWERS = 3
"""Answers of its own that each topic has at least."""

type Text = Annotated[str, Field(min_length=1)]
type Texts = Annotated[list[Text], Field(min_length=1)]
type Part = Annotated[list[Text], Field(min_length=FIELD, max_length=FIELD)]
type Shapes = Annotated[list[Literal["gerund", "clause", "noun"]], Field(min_length=1)]
type Share = Annotated[float, Field(ge=0, le=1)]
type Count = Annotated[int, Field(ge=0)]
type Pairs = Annotated[list[Annotated[list[Text], Field(min_length=2, max_length=2)]], Field(min_length=1)]
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


class VerdictLabels(Strict):
    a: Texts
    b: Texts
    tie: Texts


class Judge(Open):
    criteria: Texts
    system: Text
    question: Text
    fence: Text
    labels: VerdictLabels


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


class SpellingWhen(Strict):
    before: list[Text] = []
    prev: list[Text] = []
    next: list[Text] = []
    initial: bool = False


class SpellingRule(Strict):
    forms: Texts
    house: Text
    when: Annotated[list[SpellingWhen], Field(min_length=1)] | None = None
    unless_prev: list[Text] = []
    unless_next: list[Text] = []


class Spelling(Strict):
    keep: list[Text]
    always: list[Text]
    in_context: list[Text]
    also: dict[str, Text]
    rule: list[SpellingRule]


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


class FinishReasons(Strict):
    stop: Texts
    length: Texts
    content_filter: Texts
    abort: Texts
    error: Texts
    none: Texts


class Damage(Strict):
    remains: Annotated[dict[str, Texts], Field(min_length=1)]


class ReasoningMarks(Open):
    names: Texts
    bracketed: Texts
    pairs: Pairs
    enclosed: Pairs
    leading: Pairs
    final_channels: Texts
    answers: Texts


class TurnMarks(Open):
    marks: Texts
    openings: Texts
    ends: Texts
    typed: Texts


class Markers(Strict):
    reasoning: ReasoningMarks
    turns: TurnMarks


class LongLimits(Strict):
    daily: Texts
    weekly: Texts
    monthly: Texts


class ServerErrors(Open):
    quota: Texts
    rate_limited: Texts
    limit_words: Texts
    daily_quota: Texts
    per_minute: Texts
    filtered: Texts
    filtered_400: Texts
    filtered_403: Texts
    filter_codes: Texts
    unsupported: Texts
    too_long: Texts
    token_limit: Texts
    out_of_memory: Texts
    too_large: Texts
    placeholder_keys: Texts
    expects_https: Texts
    no_model: Texts
    no_system_role: Texts
    stream_only: Texts
    long_limits: LongLimits
    extra_body: dict[str, Text]


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
    "spelling.toml": Spelling,
    "gates.toml": Gates,
    "topic_rules.toml": TopicRules,
    "prices.toml": Prices,
    "characters.toml": Damage,
    "finish_reasons.toml": FinishReasons,
    "markers.toml": Markers,
    "server_errors.toml": ServerErrors,
}
"""TOML file -> its model. The files in phrases/ have the model `Phrases`."""
