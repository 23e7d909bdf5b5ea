"""The keys and types of the TOML files and of heldout.jsonl, as pydantic models."""

import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

type Text = Annotated[str, Field(min_length=1)]
type Texts = Annotated[list[Text], Field(min_length=1)]
type Shapes = Annotated[list[Literal["gerund", "clause", "how-to", "when", "noun"]], Field(min_length=1)]
type Share = Annotated[float, Field(ge=0, le=1)]
type Count = Annotated[int, Field(ge=0)]
type Pairs = Annotated[list[Annotated[list[Text], Field(min_length=2, max_length=2)]], Field(min_length=1)]
type Dollars = Annotated[float, Field(ge=0)]
type InputOutput = Annotated[list[Dollars], Field(min_length=2, max_length=2)]


class Strict(BaseModel):
    """A table without other keys."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Open(BaseModel):
    """A table that may have other keys."""

    model_config = ConfigDict(extra="allow", strict=True)


class Topic(Strict):
    topic: Text
    doric: Text
    answers: Texts
    more: Texts = []
    mistakes: Texts = []
    order: Texts = []
    unfit: Texts = []


class Theme(Strict):
    name: Text
    keywords: Texts
    starts: list[Text]
    whys: list[Text]
    steps: list[Text]
    checks: list[Text]
    topics: Annotated[list[Topic], Field(min_length=1)]


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


class SomeRefusals(Strict):
    cases: Texts
    whys: list[Text] = []
    offers: list[Text] = []


class RefusalCategory(Strict):
    name: Text
    refusals: Texts = []
    whys: list[Text]
    offers: list[Text]
    some: list[SomeRefusals] = []


class Refusals(Strict):
    refusals: Texts
    category: Annotated[list[RefusalCategory], Field(min_length=1)]


class CoreFrame(Strict):
    text: Text
    shapes: Shapes
    voice: Literal["english", "mixed", "doric"] = "english"
    length: Literal["short", "medium", "long"] = "medium"
    answer: Literal["", "mistakes"] = ""


class AdvFrame(Strict):
    text: Text
    shapes: Shapes


class HarmfulRequest(Strict):
    category: Text
    case: Text = ""
    text: Text
    lang: Literal["en", "sco"] = "en"


class Translated(Strict):
    text: Text
    shapes: Shapes
    answer: Literal["", "mistakes"] = ""


class Frames(Strict):
    frames: Annotated[list[Text | Translated], Field(min_length=1)]


class Typed(Strict):
    share: Share
    slips: dict[str, Text]


class Prompts(Strict):
    tails: Texts
    core: list[CoreFrame]
    adv: list[AdvFrame]
    slots: dict[str, Texts]
    safety: list[HarmfulRequest]
    multi: dict[str, Frames]
    typed: Typed


class FollowUpFrame(Strict):
    answer: Literal["named", "whys", "checks", "starts", "steps", "mistakes", "more", "model"]
    shapes: Shapes = ["gerund", "clause", "when", "noun"]
    says: Texts
    doric: Texts


class Pressure(Strict):
    share: Share
    says: Texts


class Insisting(Strict):
    categories: Texts = []
    says: Texts


class FollowUpInLanguage(Strict):
    whys: Texts
    checks: Texts
    more: Texts


class FollowUpOfAsk(Strict):
    after: Texts
    of: Text = ""
    says: Texts
    doric: list[Text]
    parts: list[Texts] = []


class FollowUps(Strict):
    instruction: Text
    not_named: Texts
    advice: Annotated[list[FollowUpFrame], Field(min_length=1)]
    adv: Pressure
    safety: Annotated[list[Insisting], Field(min_length=1)]
    multi: dict[str, FollowUpInLanguage]
    ask: Annotated[list[FollowUpOfAsk], Field(min_length=1)]


class AskThen(Strict):
    says: Texts
    doric: list[Text]
    parts: Annotated[list[Texts], Field(min_length=1)]


class AskPair(Strict):
    asks: Texts
    english_first: bool = False
    parts: Annotated[list[Texts], Field(min_length=1)]
    lang: Literal["", "en", "sco"] = ""
    pos: list[Literal["n", "v", "adj", "adv"]] = []
    then: AskThen | None = None


class Ask(Strict):
    share: Share
    about: Text
    instruction: Text
    length: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]
    allows: list[Text] = []
    quotes: bool = False
    code: bool = False
    names_tongue: bool = False
    needs_english: bool = False
    bucket: Literal["core", "adv"] = "core"
    source: Literal["", "lexicon", "sums", "lines"] = Field(default="", alias="from")
    pairs: Annotated[list[AskPair], Field(min_length=1)]


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


class Exemplar(Strict):
    kind: Literal["core", "adv", "safety", "multi"]
    length: Literal["short", "medium", "long"]
    user: Text
    answer: Text


class ExemplarFile(Strict):
    exemplar: Annotated[list[Exemplar], Field(min_length=1)]


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
    around: Texts
    labels: VerdictLabels


class ScoreCriteria(Strict):
    answers: Text
    correct: Text
    doric: Text


class SenseTexts(Strict):
    system: Text
    fence: Text
    question: Text


class SenseTasks(Strict):
    core: Text
    adv: Text
    safety: Text
    multi: Text
    ask: Text


class Sense(Strict):
    criteria: ScoreCriteria
    texts: SenseTexts
    tasks: SenseTasks


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
    ask_substrate: Share
    thick_scots: Share
    unmarked_words: Count
    unmarked_substrate: Share
    unmarked_leakage: Share
    contamination: Share
    outweighs: Count
    leakage: Share
    spread: Share
    repetition: Share
    prompt_echo: Share
    script: Share
    near_duplicate: Share


class Region(Strict):
    elsewhere: Texts


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
    region: Region
    openers: StockOpeners
    meta: MetaPatterns
    markup: Patterns
    refusal: RefusalPatterns


class OtherDialects(Open):
    least: Count


class FWords(Strict):
    least: Count
    words: Texts


class Agreement(Strict):
    certain: Texts
    likely: Texts


class Salad(Strict):
    least: Count
    words_per_pair: Count
    longest_run: Count
    content: Texts
    small_words: Texts
    pairs: Annotated[list[Annotated[list[Texts], Field(min_length=2, max_length=2)]], Field(min_length=1)]


class Grammar(Strict):
    other_dialects: OtherDialects
    f_words: FWords
    relative_fit: Patterns
    agreement: Agreement
    salad: Salad


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


class ListPrice(Strict):
    input: Dollars
    output: Dollars
    cached: Dollars | None = None
    flex: InputOutput | None = None
    batch: InputOutput | None = None
    reasoning: bool = False
    shutdown: datetime.date | None = None
    date: datetime.date


class Prices(Strict):
    models: dict[str, ListPrice]


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
    hourly: Texts
    multi_hour: Texts = Field(alias="multi-hour")
    daily: Texts
    multi_day: Texts = Field(alias="multi-day")
    weekly: Texts
    fortnightly: Texts
    monthly: Texts
    quarterly: Texts
    yearly: Texts


class ServerErrors(Open):
    quota: Texts
    rate_limited: Texts
    limit_words: Texts
    usage_limit: Texts
    daily_quota: Texts
    per_minute: Texts
    filtered: Texts
    filtered_400: Texts
    filtered_403: Texts
    filter_codes: Texts
    tier_is_full: Texts
    unsupported: Texts
    too_long: Texts
    token_limit: Texts
    out_of_memory: Texts
    too_large: Texts
    placeholder_keys: Texts
    invalid_key: Texts
    no_access: Texts
    expects_https: Texts
    no_model: Texts
    no_system_role: Texts
    stream_only: Texts
    long_limits: LongLimits
    other_names: dict[str, Texts]
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
    ask: Literal["", "need"] = ""


MODELS: dict[str, type[BaseModel]] = {
    "exemplars.toml": ExemplarFile,
    "followups.toml": FollowUps,
    "general.toml": General,
    "holds.toml": Holds,
    "refusals.toml": Refusals,
    "prompts.toml": Prompts,
    "instructions.toml": Instructions,
    "judge.toml": Judge,
    "sense.toml": Sense,
    "collisions.toml": Collisions,
    "spelling.toml": Spelling,
    "gates.toml": Gates,
    "grammar.toml": Grammar,
    "topic_rules.toml": TopicRules,
    "prices.toml": Prices,
    "characters.toml": Damage,
    "finish_reasons.toml": FinishReasons,
    "markers.toml": Markers,
    "server_errors.toml": ServerErrors,
}
"""TOML file -> its model. The files in phrases/ have the model `Phrases`, those in asks/ the model `Ask`."""
